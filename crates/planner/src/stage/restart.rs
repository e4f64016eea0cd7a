//! Restarts: after a swap, the declared workloads that cannot see the new token by themselves are restarted, each once. Needs
//! nothing of dbt. Comes after the retirement of replaced tokens, which waits for it by itself, so that a compromised token
//! does not live longer because of it.

use jiff::Timestamp;

use crate::effect::{Effect, LedgerEntry, Need};
use crate::observation::{Observation, Pace, WorkloadReference};
use crate::plan::Turn;
use crate::restart::{Look, Restart};
use crate::stage::write;

/// How many workloads are restarted at once. What is left is seen by the next look.
const MOST_AT_ONCE: usize = 50;

/// Restarts whoever is owed it, or writes down that nobody is any more. What is paused is waited for.
pub fn restart(observation: &Observation, now: Timestamp) -> Turn {
    let Some(restart) = Restart::of(observation).filter(Restart::is_owed) else { return Turn::Pass(None) };
    let due = restart.due_at();
    if now < due {
        return Turn::Pass(Some(due));
    }
    let at = whole_second(now);
    if !restart.is_later(at) {
        // At the end of time no mark would tell that it was done.
        return Turn::Pass(None);
    }
    let again_at = match restart.look() {
        Look::Unread(need) => return Turn::read(need),
        Look::Unreadable { again_at, .. } => again_at,
        Look::Seen { workloads, again_at } => {
            let mut left = workloads.into_iter().filter(|workload| restart.is_left(workload)).peekable();
            if left.peek().is_none() {
                return write(observation, LedgerEntry::Restarted, observation.ledger.restarts_done());
            }
            let free = left.filter(|workload| workload.pace != Pace::Paused).map(|workload| workload.reference.clone());
            let workloads: Vec<WorkloadReference> = free.take(MOST_AT_ONCE).collect();
            if !workloads.is_empty() {
                let serial = restart.current.serial;
                return Turn::act(Effect::RestartWorkloads { serial, at, workloads });
            }
            again_at
        }
    };
    if now < again_at { Turn::Pass(Some(again_at)) } else { Turn::read(Need::Workloads(again_at)) }
}

/// Marks are written in whole seconds.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
