//! What a replaced token waits for before it goes, told ahead for a dry run. Of a token that left the target already the rules
//! speak for themselves; of one that would leave it only in thought, what they would say is told by lengths, since every time
//! would be another one with each look. Decides nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::last_used::QUIET;
use super::{Case, earliest, waiting_for, words};
use crate::adoption::Source;
use crate::desired::{Desired, OnDeadline};
use crate::ledger::Entry;
use crate::observation::{Consumer, Consumers, Observation, Reading, Way};
use crate::report::planned::named;
use crate::stage::retire::replaced_at;

/// The rules whose words stay true while the plan is only told: the others speak of what comes before, or of a look.
const TOLD: [&str; 3] = ["Overlap", "Pods", "LastUsed"];

/// What a token waits for.
pub(crate) struct Waits {
    /// In words; `None` if it waits for nothing.
    pub(crate) message: Option<String>,
    /// The first time at which it may go, if that does not depend on when it is asked.
    pub(crate) earliest: Option<Timestamp>,
}

/// When the swap happens by which a token is replaced in thought, if that is known, and when it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The swap.
    pub(crate) swap: Option<Timestamp>,
    /// The present.
    pub(crate) now: Timestamp,
}

/// What the token waits for. `real` is what was observed, `copy` what would be by then; `source` is the Secret that an adopted
/// token came from, unless it goes whoever holds it. `None` if it does not wait at all: a person called it compromised.
pub(crate) fn waits(real: &Observation, copy: &Observation, old: Entry, source: Option<&Source>, times: Times) -> Option<Waits> {
    let desired = copy.desired.as_ref().ok().filter(|_| !copy.ledger.is_compromised(old.serial))?;
    // A swap that is not told, or whose target cannot be read now, is counted anew.
    let is_told = real.record.published.is_some() && real.target_is_readable();
    let before = replaced_at(real, old.token).filter(|_| is_told);
    let source = source.filter(|source| is_held_on(desired, source)).map(|source| held(desired, source));
    let (mut parts, swap, verb) = match before {
        Some(replaced_at) => (by_the_rules(real, old, replaced_at, times.now), before, "waits:"),
        None => (by_length(real, copy, old, desired), times.swap, "waits for"),
    };
    parts.extend(source);
    Some(Waits {
        message: (!parts.is_empty()).then(|| format!("{} {verb} {}", named(real, old.token), parts.join("; "))),
        earliest: swap.map(|swap| earliest(&desired.retirement, swap)),
    })
}

fn by_the_rules(real: &Observation, old: Entry, replaced_at: Timestamp, now: Timestamp) -> Vec<String> {
    let Some(case) = Case::of(real, old, Some(replaced_at), now) else { return Vec::new() };
    let waiting = waiting_for(&case).into_iter().filter(|waiting| TOLD.contains(&waiting.rule));
    waiting.map(|waiting| waiting.message).collect()
}

fn by_length(real: &Observation, copy: &Observation, old: Entry, desired: &Desired) -> Vec<String> {
    let declared = &desired.retirement;
    let mut parts = Vec::new();
    if !declared.after.is_zero() {
        parts.push(format!("an overlap of {}", words::length(declared.after)));
    }
    parts.extend(pods(real, desired));
    let adopted = copy.is_adopted(old.token);
    let quiet = if adopted { declared.quiet_period.max(QUIET) } else { declared.quiet_period };
    if !quiet.is_zero() {
        parts.push(format!("{} in which dbt sees no use of it", words::length(quiet)));
    }
    let end = declared.deadline.filter(|deadline| deadline.then == OnDeadline::Delete && !parts.is_empty() && !adopted);
    parts.extend(end.map(|deadline| format!("{} at the longest", words::length(deadline.after))));
    parts
}

/// The pods that take the Secret now and will not see the new token by themselves, or not before the overlap is over.
fn pods(real: &Observation, desired: &Desired) -> Vec<String> {
    let consumers = match &real.consumers {
        Reading::Known { value: Consumers::Seen(consumers), .. } => consumers,
        Reading::Known { value: Consumers::Unreadable(_), .. } => {
            return vec![format!("a look at the pods of namespace {}, which cannot be read now", real.owner.namespace)];
        }
        Reading::Unknown => return Vec::new(),
    };
    let names = |which: &dyn Fn(&Consumer) -> bool| -> BTreeSet<&str> {
        consumers.iter().filter(|consumer| which(consumer)).map(|consumer| consumer.pod.as_str()).collect()
    };
    let left = names(&|it| it.way != Way::Volume && it.running_since.is_some());
    let declared = &desired.retirement;
    let refreshed = names(&|it| it.way == Way::Volume && declared.volume_sync > declared.after);
    let sync = words::length(declared.volume_sync);
    let told = [
        (!left.is_empty()).then(|| format!("a restart of {}", words::pods(&left))),
        (!refreshed.is_empty()).then(|| format!("{sync} until the volume of {} is refreshed", words::pods(&refreshed))),
    ];
    told.into_iter().flatten().collect()
}

/// Whether the Secret that a token was adopted from goes on holding it: all but a key that the operator writes over.
fn is_held_on(desired: &Desired, source: &Source) -> bool {
    source.secret != desired.secret_name || !desired.secret_keys.contains(&source.key)
}

fn held(desired: &Desired, source: &Source) -> String {
    let (Source { secret, key }, ours) = (source, &desired.secret_name);
    format!("Secret {secret}, key {key}, to hold it no more (move its readers to Secret {ours}, then delete the key)")
}
