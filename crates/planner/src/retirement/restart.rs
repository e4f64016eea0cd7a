//! `Restart`: the declared workloads that take the Secret have been restarted since the swap, and their roll-outs are over.
//!
//! Whether a pod still holds the old token is what [`super::pods`] says, of every pod. This rule tells why one is still there,
//! and waits until the new ones work, as long as the workload does that by itself.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Answer, Case, pods, words};
use crate::desired::WorkloadKind;
use crate::effect::Need;
use crate::observation::{Pace, Unreadable, Workload};
use crate::restart::{Look, Restart, is_rolling_out};
use crate::stage::retire::minute;

pub(super) fn restart(case: &Case<'_>) -> Answer {
    let Some(restart) = Restart::of(case.observation) else { return Answer::Holds };
    let secret = &case.desired.secret_name;
    let (owed, due) = (restart.is_owed(), restart.due_at());
    if case.now < due {
        let what = if owed { "restarted" } else { "looked at" };
        let message = format!("the workloads that take Secret {secret} are {what} after {}", minute(due));
        return Answer::Waits { message, look_again_at: Some(due) };
    }
    let namespace = &case.observation.owner.namespace;
    let (workloads, again_at) = match restart.look() {
        Look::Unread(need) => {
            return Answer::Unread { message: format!("the workloads of namespace {namespace} were not looked at yet"), need };
        }
        Look::Unreadable { kind, why, again_at } => return wait(case, unreadable(kind, namespace, why), again_at),
        Look::Seen { workloads, again_at } => (workloads, again_at),
    };
    if !owed {
        return rolled_out(case, &workloads, again_at);
    }
    let paused = named(workloads.iter().filter(|it| restart.is_left(it) && it.pace == Pace::Paused));
    if paused.is_empty() {
        // The stage of restarts has something to do, and the next look tells.
        let message = format!("the workloads that take Secret {secret} are being restarted");
        return Answer::Waits { message, look_again_at: None };
    }
    wait(case, is_paused(&paused), again_at)
}

fn rolled_out(case: &Case<'_>, workloads: &[&Workload], again_at: Timestamp) -> Answer {
    let those = |fits: &dyn Fn(&Workload) -> bool| named(workloads.iter().filter(|workload| fits(workload)));
    let paused = those(&|it| it.pace == Pace::Paused && is_rolling_out(it));
    let rolling = those(&|it| it.pace != Pace::Paused && is_rolling_out(it));
    let under_way = [
        (!paused.is_empty()).then(|| is_paused(&paused)),
        (!rolling.is_empty()).then(|| format!("the roll-out of {} is under way", words::list(&rolling))),
    ];
    let told = join(under_way);
    if !told.is_empty() {
        return wait(case, told, again_at);
    }
    // What a workload never replaces by itself is waited for as long as one of its pods is, and not for its own sake.
    if pods::pods(case) == Answer::Holds {
        return Answer::Holds;
    }
    let on_delete = those(&|it| it.pace == Pace::OnDelete && it.progress.outdated > 0);
    let parted = those(&|it| matches!(it.pace, Pace::Partition(_)));
    let by_hand = [
        (!on_delete.is_empty()).then(|| {
            format!("{} {} a pod only when it is deleted (OnDelete)", words::list(&on_delete), verb(&on_delete, "replaces"))
        }),
        (!parted.is_empty()).then(|| {
            format!("{} {} no pod below the partition of the update strategy", words::list(&parted), verb(&parted, "replaces"))
        }),
    ];
    let message = join(by_hand);
    if message.is_empty() { Answer::Holds } else { Answer::LookedAtAgain { message } }
}

fn wait(case: &Case<'_>, message: String, again_at: Timestamp) -> Answer {
    if case.now < again_at {
        return Answer::Waits { message, look_again_at: Some(again_at) };
    }
    Answer::Unread { message, need: Need::Workloads(again_at) }
}

fn join(told: [Option<String>; 2]) -> String {
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn is_paused(paused: &BTreeSet<String>) -> String {
    format!("{} {} paused", words::list(paused), if paused.len() == 1 { "is" } else { "are" })
}

fn verb(names: &BTreeSet<String>, singular: &'static str) -> &'static str {
    if names.len() == 1 { singular } else { singular.trim_end_matches('s') }
}

fn named<'a>(workloads: impl Iterator<Item = &'a &'a Workload>) -> BTreeSet<String> {
    workloads.map(|workload| words::workload(&workload.reference)).collect()
}

fn unreadable(kind: WorkloadKind, namespace: &str, why: Unreadable) -> String {
    match why {
        Unreadable::Forbidden => refused(kind, namespace),
        Unreadable::Failed => format!("the {}s of namespace {namespace} could not be read; it is tried again", kind.word()),
    }
}

/// What a person has to be told if the operator may not restart workloads of a kind.
pub(crate) fn refused(kind: WorkloadKind, namespace: &str) -> String {
    format!("the operator may not patch {} in {namespace}; allow restarts in the chart, or empty retire.restart", kind.word())
}

#[cfg(test)]
mod tests;
