//! Whether the object may be worked on at all: its declaration makes sense, nobody suspended it, its Secret is its own.

use jiff::Timestamp;

use crate::observation::{Observation, Target};
use crate::plan::{Block, Step, Turn, Wait};

/// Refuses or suspends the object.
pub fn admit(observation: &Observation, _now: Timestamp) -> Turn {
    let Ok(desired) = &observation.desired else {
        return Turn::Take(Step::Blocked(Block::Refused), None);
    };
    if desired.suspended || observation.account.open().is_some_and(|account| account.suspended) {
        return Turn::Take(Step::Wait(Wait::Suspended), None);
    }
    if let Some(senior) = &observation.senior {
        return Turn::Take(Step::Blocked(Block::SecretConflict { senior: senior.clone() }), None);
    }
    match &observation.target {
        Target::Foreign { manager } => Turn::Take(Step::Blocked(Block::SecretNotOwned { manager: manager.clone() }), None),
        Target::OtherOwner { name } => Turn::Take(Step::Blocked(Block::SecretConflict { senior: name.clone() }), None),
        Target::Missing | Target::Ours(_) => Turn::Pass(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Refusal;
    use crate::fixture::{now, object, turn};

    fn check(observation: &Observation, expected: &str) {
        assert_eq!(turn(&admit(observation, now())), expected);
    }

    #[test]
    fn an_object_is_worked_on_only_if_it_may_be() {
        let published = || object().published(5, 2202);
        let refused = Refusal::NotImplemented { field: "spec.adopt".into() };
        let foreign = |it: &mut Observation| it.target = Target::Foreign { manager: "helm".into() };
        check(&object(), "pass");
        check(&object().claimed(), "pass");
        check(&published(), "pass");
        check(&published().not_ready(), "pass");
        check(&published().with(|it| it.account = crate::observation::Account::Missing), "pass");
        check(&published().with(|it| it.desired = Err(refused)), "blocked Refused");
        check(&published().with_desired(|desired| desired.suspended = true), "wait Suspended");
        check(&published().with_account(|account| account.suspended = true), "wait Suspended");
        check(&published().with(|it| it.senior = Some("airflow".into())), "blocked SecretConflict airflow");
        check(&published().with(foreign), "blocked SecretNotOwned helm");
        check(&published().with(|it| it.target = Target::OtherOwner { name: "ci".into() }), "blocked SecretConflict ci");
        check(&published().with(foreign).with_desired(|desired| desired.suspended = true), "wait Suspended");
    }
}
