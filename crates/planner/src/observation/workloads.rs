//! What an observation says of the workloads whose pods take the target by `env` or `subPath`: those that a swap may have to
//! restart. Those that take it by a volume alone are not among them, nor are kinds that nobody declared.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Unreadable;
use crate::desired::WorkloadKind;

/// What a look at the workloads of the object's namespace came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Workloads {
    /// All workloads of these kinds that take the target.
    Seen {
        /// The kinds that were looked at.
        kinds: BTreeSet<WorkloadKind>,
        /// The workloads, in their order.
        workloads: Vec<Workload>,
    },
    /// A look at one of the kinds, or a restart of one of them, failed. It is a reading like any other: it holds back what
    /// needs one, and is repeated in time.
    Unreadable {
        /// The kind.
        kind: WorkloadKind,
        /// Why.
        why: Unreadable,
    },
}

/// One workload whose pod template takes the target by `env` or `subPath`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// Which one, in the version that was seen.
    pub reference: WorkloadReference,
    /// When it was created, by the API server's clock, in whole seconds.
    pub created_at: Timestamp,
    /// When its pod template was last marked as restarted, by the clock of whoever did so, in whole seconds.
    pub restarted_at: Option<Timestamp>,
    /// How it replaces its pods.
    pub pace: Pace,
    /// How far it has come with that.
    pub progress: Progress,
}

/// A workload in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadReference {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Its resourceVersion, which the API server never gives twice.
    pub version: String,
}

/// How a workload replaces its pods after its template has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pace {
    /// By itself.
    Rolling,
    /// Not now: somebody paused it.
    Paused,
    /// Each when somebody deletes it (`OnDelete`).
    OnDelete,
    /// By itself, but for those of an ordinal below this one, which is above 0.
    Partition(u32),
}

/// How far a workload has come with replacing its pods, as its controller told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Progress {
    /// Whether the controller has seen the present template at all.
    pub is_observed: bool,
    /// Pods that are still to be replaced, among those that it replaces by itself or on deletion.
    pub outdated: u32,
    /// Pods that are wanted and not available.
    pub unavailable: u32,
}
