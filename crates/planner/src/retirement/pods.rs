//! `Pods`: the pods of the object's namespace that take the target have moved on to the new token.
//!
//! What a pod holds is decided when its kubelet reads the Secret, and that is not told. What is told bounds it: a pod that
//! was created after the swap, or a container that was started well after it, read the new value. Both stay true, so one
//! look that finds nobody left is enough for good. A container that does not run holds nothing, but may have read the Secret
//! already and be about to be told of; that is over [`CLOCKS`] after the swap.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, CLOCKS, Case, WRITTEN_TO_THE_SECOND, words};
use crate::effect::Need;
use crate::observation::{Consumer, Consumers, Reading, Unreadable, Way};
use crate::stage::retire::{later, minute};

/// How soon pods are looked at again, at first and at the most: an eighth of the time that has passed since the swap, so
/// that a restart after a minute shows in seconds, and one after a week costs no list a second.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(5 * 60);

/// A container that starts so long after the swap was made after it, if its pod was created within the very second of the
/// swap: what rolls pods over as soon as a Secret changes creates them then. A kubelet needs longer than the rest of that
/// second to read the Secret for a new pod, and then less than a second to start the container.
const WITHIN_THE_SECOND: Duration = Duration::from_secs(2);

/// Where a consumer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It has, or will read, the new value.
    Moved,
    /// It has the old value until it ends.
    Left,
    /// It may have the old value until then, and not afterwards.
    Settling(Timestamp),
    /// It may be about to start with the old value; a look at that time or later tells.
    Starting(Timestamp),
}

pub(super) fn pods(case: &Case<'_>) -> Answer {
    let namespace = &case.observation.owner.namespace;
    let unseen = || format!("the pods of namespace {namespace} were not looked at yet");
    let Some(replaced_at) = case.replaced_at else { return Answer::Waits { message: unseen(), look_again_at: None } };
    // A look within the second of the swap may have come before it, and lack a pod that was created in between.
    let after_swap = later(replaced_at, WRITTEN_TO_THE_SECOND);
    match &case.observation.consumers {
        Reading::Known { value: Consumers::Seen(consumers), taken_at } if *taken_at >= after_swap => {
            seen(case, consumers, replaced_at, *taken_at)
        }
        Reading::Known { value: Consumers::Unreadable(why), taken_at } if *taken_at >= after_swap => {
            wait(case, unreadable(namespace, *why), None, paced(replaced_at, *taken_at))
        }
        _ => Answer::Unread { message: unseen(), need: Need::Consumers(after_swap) },
    }
}

fn seen(case: &Case<'_>, consumers: &[Consumer], replaced_at: Timestamp, taken_at: Timestamp) -> Answer {
    let stands = consumers.iter().map(|consumer| (consumer.pod.as_str(), stand(case, consumer, replaced_at, taken_at)));
    let open: Vec<(&str, Stand)> = stands
        .filter(|(_, stand)| match stand {
            Stand::Moved => false,
            Stand::Settling(until) => *until > case.now,
            Stand::Left | Stand::Starting(_) => true,
        })
        .collect();
    if open.is_empty() {
        return Answer::Holds;
    }
    let settled = open.iter().filter_map(|(_, stand)| if let Stand::Settling(until) = stand { Some(*until) } else { None }).min();
    let started = open.iter().filter_map(|(_, stand)| if let Stand::Starting(until) = stand { Some(*until) } else { None }).min();
    let message = message(&open);
    if open.iter().all(|(_, stand)| matches!(stand, Stand::Settling(_))) {
        return Answer::Waits { message, look_again_at: settled };
    }
    let paced = paced(replaced_at, taken_at);
    wait(case, message, settled, started.map_or(paced, |started| started.min(paced)))
}

/// Waits for the next look, or asks for it.
fn wait(case: &Case<'_>, message: String, settled: Option<Timestamp>, look_at: Timestamp) -> Answer {
    if case.now < look_at {
        return Answer::Waits { message, look_again_at: Some(settled.map_or(look_at, |settled| settled.min(look_at))) };
    }
    Answer::Unread { message, need: Need::Consumers(look_at) }
}

/// When to look again after a look at this time, if the swap was at that one.
pub(crate) fn paced(replaced_at: Timestamp, taken_at: Timestamp) -> Timestamp {
    let passed = Duration::try_from(taken_at.duration_since(replaced_at)).unwrap_or_default();
    later(taken_at, (passed / 8).clamp(SOONEST, LATEST))
}

fn stand(case: &Case<'_>, consumer: &Consumer, replaced_at: Timestamp, taken_at: Timestamp) -> Stand {
    if consumer.created_at > replaced_at {
        return Stand::Moved;
    }
    let refreshed = later(replaced_at, case.declared().volume_sync);
    let settled = later(replaced_at, CLOCKS);
    let made_after = match consumer.way {
        // A volume needs no restart.
        Way::Volume => return Stand::Settling(refreshed),
        Way::Environment if consumer.created_at == replaced_at => later(replaced_at, WITHIN_THE_SECOND),
        Way::Environment => settled,
        // The volume of a pod that was there before may still have held the old file.
        Way::SubPath => settled.max(refreshed),
    };
    match consumer.running_since {
        Some(since) if since >= made_after => Stand::Moved,
        Some(_) => Stand::Left,
        None => {
            let known_from = made_after.max(settled);
            if taken_at >= known_from { Stand::Moved } else { Stand::Starting(known_from) }
        }
    }
}

fn message(open: &[(&str, Stand)]) -> String {
    let names = |which: fn(&Stand) -> bool| -> BTreeSet<&str> {
        open.iter().filter(|(_, stand)| which(stand)).map(|(pod, _)| *pod).collect()
    };
    let left = names(|stand| *stand == Stand::Left);
    let starting = names(|stand| matches!(stand, Stand::Starting(_)));
    let settling = names(|stand| matches!(stand, Stand::Settling(_)));
    let until = open.iter().filter_map(|(_, stand)| if let Stand::Settling(until) = stand { Some(*until) } else { None }).max();
    let told = [
        (!left.is_empty()).then(|| format!("{} started before the swap", words::pods(&left))),
        (!starting.is_empty()).then(|| format!("{} may be starting with the old token", words::pods(&starting))),
        until.map(|until| format!("the volume of {} may hold the old token until {}", words::pods(&settling), minute(until))),
    ];
    told.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn unreadable(namespace: &str, why: Unreadable) -> String {
    match why {
        Unreadable::Forbidden => format!(
            "the operator may not list the pods of namespace {namespace}; allow it, as the chart does, or set a deadline with onDeadline: Delete"
        ),
        Unreadable::Failed => format!("the pods of namespace {namespace} could not be read; it is tried again"),
    }
}
