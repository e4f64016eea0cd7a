//! The deadline: when waiting for consumers ends, and what happens then.

use jiff::Timestamp;

use super::Case;
use crate::desired::{OnDeadline, Retirement};
use crate::stage::retire::later;

/// When waiting for the consumers of a token that was replaced then ends; `None` if it does not.
pub(crate) fn deadline_at(declared: &Retirement, replaced_at: Timestamp) -> Option<Timestamp> {
    declared.deadline.map(|deadline| later(replaced_at, deadline.after))
}

/// Whether the token goes now, whatever its consumers do. Only once the swap is written down, as with every other rule.
pub(super) fn deletes(case: &Case<'_>) -> bool {
    let published = case.observation.record.published.as_ref().map(|published| published.token);
    published == Some(case.current.token) && has_passed(case, OnDeadline::Delete)
}

/// Whether the token is kept beyond its deadline.
pub(super) fn is_held(case: &Case<'_>) -> bool {
    has_passed(case, OnDeadline::Hold)
}

fn has_passed(case: &Case<'_>, then: OnDeadline) -> bool {
    let declared = case.declared();
    let at = case.replaced_at.and_then(|replaced_at| deadline_at(declared, replaced_at));
    declared.deadline.is_some_and(|deadline| deadline.then == then) && at.is_some_and(|at| at <= case.now)
}
