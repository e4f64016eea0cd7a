//! What is declared about the end of a replaced token.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ledger::Restarts;

/// When a replaced token may go, with the code's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retirement {
    /// The shortest time that the old and the new token both live, counted from the swap.
    pub after: Duration,
    /// How long a kubelet may take to refresh a mounted Secret; at most an hour.
    pub volume_sync: Duration,
    /// How long dbt must have seen no use of the old token, all of it after the swap. Zero looks at no use at all.
    pub quiet_period: Duration,
    /// The kinds of workloads that are restarted after a swap, if they take the target in a way that does not show them a new
    /// token.
    pub restart: BTreeSet<WorkloadKind>,
    /// When waiting for consumers ends, if it does.
    pub deadline: Option<Deadline>,
}

impl Retirement {
    /// Whether any workloads are restarted.
    pub fn restarts(&self) -> Restarts {
        if self.restart.is_empty() { Restarts::Undeclared } else { Restarts::Declared }
    }
}

/// An end of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deadline {
    /// Counted from the swap; longer than the overlap.
    pub after: Duration,
    /// What happens then.
    pub then: OnDeadline,
}

/// What happens to an old token that is in use at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnDeadline {
    /// It is kept, with an alarm.
    Hold,
    /// It goes, whatever its consumers do.
    Delete,
}

/// A kind of workloads that may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}
