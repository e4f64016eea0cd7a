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
