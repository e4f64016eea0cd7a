//! Restarts after a swap: who cannot see the new token without one, when it is time, and what a look at the workloads tells.
//!
//! What was restarted says so itself, in its pod template, whoever did it. So a crash costs nothing but another look, and the
//! swaps of several Secrets that one workload takes lead to one restart if they lie close together.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::WorkloadKind;
use crate::effect::Need;
use crate::identity::Serial;
use crate::ledger::Entry;
use crate::observation::{Observation, Pace, Reading, Unreadable, Workload, Workloads};
use crate::retirement::{WRITTEN_TO_THE_SECOND, paced};
use crate::stage::retire::later;

/// How long a restart waits for the swaps of other Secrets that the same workload takes.
const TOGETHER: Duration = Duration::from_secs(60);

/// The restarts that are declared for the swap to the published token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart<'a> {
    observation: &'a Observation,
    kinds: &'a BTreeSet<WorkloadKind>,
    /// The published token.
    pub(crate) current: Entry,
    swapped_at: Timestamp,
}

/// What the last look at the workloads tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// It was not looked, or too early.
    Unread(Need),
    /// It could not be looked, or nothing done.
    Unreadable {
        /// At workloads of this kind.
        kind: WorkloadKind,
        /// Why.
        why: Unreadable,
        /// When to look again.
        again_at: Timestamp,
    },
    /// These are all.
    Seen {
        /// The workloads.
        workloads: Vec<&'a Workload>,
        /// When to look again, if they have to become others.
        again_at: Timestamp,
    },
}

impl<'a> Restart<'a> {
    /// Those of the published token; `None` if none are declared, or the swap is not written down yet: another process would
    /// count from another time.
    pub(crate) fn of(observation: &'a Observation) -> Option<Self> {
        let (current, desired) = (observation.ledger.current?, observation.desired.as_ref().ok()?);
        let published = observation.record.published.as_ref().filter(|published| published.token == current.token)?;
        let kinds = &desired.retirement.restart;
        (!kinds.is_empty()).then_some(Self { observation, kinds, current, swapped_at: published.at })
    }

    /// Whether somebody may hold a predecessor and was not restarted, and would take the published token if it were.
    pub(crate) fn is_owed(&self) -> bool {
        let in_place = self.observation.target_shows(self.current.token) && self.observation.current_is_usable();
        in_place && self.observation.ledger.owes_restarts()
    }

    /// When it is time. At once if one of the tokens that may be held is compromised; but in a later second than the swap,
    /// since the marks of restarts are compared with it.
    pub(crate) fn due_at(&self) -> Timestamp {
        later(self.swapped_at, if self.is_urgent() { WRITTEN_TO_THE_SECOND } else { TOGETHER })
    }

    /// Whether what is made or restarted at this time takes the published token.
    pub(crate) fn is_later(&self, time: Timestamp) -> bool {
        time > self.swapped_at
    }

    fn is_urgent(&self) -> bool {
        let ledger = &self.observation.ledger;
        let oldest: Option<Serial> = ledger.restarted.or(ledger.retiring.first().map(|entry| entry.serial));
        oldest.is_some_and(|serial| ledger.is_compromised(serial))
    }

    /// What is known of the workloads. A look from before it is time does not count: it may lack what was declared since.
    pub(crate) fn look(&self) -> Look<'a> {
        let due = self.due_at();
        match &self.observation.workloads {
            Reading::Known { value: Workloads::Seen { kinds, workloads }, taken_at }
                if *taken_at >= due && self.kinds.is_subset(kinds) =>
            {
                let workloads = workloads.iter().filter(|it| self.kinds.contains(&it.reference.kind)).collect();
                Look::Seen { workloads, again_at: paced(self.swapped_at, *taken_at) }
            }
            Reading::Known { value: Workloads::Unreadable { kind, why }, taken_at }
                if *taken_at >= due && self.kinds.contains(kind) =>
            {
                Look::Unreadable { kind: *kind, why: *why, again_at: paced(self.swapped_at, *taken_at) }
            }
            _ => Look::Unread(Need::Workloads(due)),
        }
    }

    /// Whether its pods may have taken a predecessor.
    pub(crate) fn is_left(&self, workload: &Workload) -> bool {
        let made_at = workload.restarted_at.map_or(workload.created_at, |at| at.max(workload.created_at));
        !self.is_later(made_at)
    }

    /// The kind of workloads that the operator may not restart, if it was refused and still matters.
    pub(crate) fn refused(&self) -> Option<WorkloadKind> {
        let matters = self.is_owed() || !self.observation.ledger.retiring.is_empty();
        match self.look() {
            Look::Unreadable { kind, why: Unreadable::Forbidden, .. } if matters => Some(kind),
            _ => None,
        }
    }
}

/// Whether a workload still replaces pods that took the Secret before, or would if it were not paused. What it replaces only
/// when somebody deletes it is not counted.
pub(crate) fn is_rolling_out(workload: &Workload) -> bool {
    let progress = workload.progress;
    workload.pace != Pace::OnDelete && (!progress.is_observed || progress.outdated > 0 || progress.unavailable > 0)
}
