//! What is declared about the end of a replaced token.

use std::time::Duration;

/// When a replaced token may go, with the code's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retirement {
    /// The shortest time that the old and the new token both live, counted from the swap.
    pub after: Duration,
    /// How long a kubelet may take to refresh a mounted Secret; at most an hour.
    pub volume_sync: Duration,
    /// How long dbt must have seen no use of the old token, all of it after the swap. Zero looks at no use at all.
    pub quiet_period: Duration,
    /// When waiting for consumers ends, if it does.
    pub deadline: Option<Deadline>,
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
