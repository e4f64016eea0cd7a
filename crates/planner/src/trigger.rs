//! Why a token is made or replaced: the chain of reasons, strongest first. One function a reason.

use crate::desired::{Permission, ProjectReference, Projects};
use crate::grant::{GrantRows, Scope};
use crate::ledger::{Cause, Entry};
use crate::observation::{Life, Observation, Token};

/// The reason for a new token, if there is one. `current` is the published token.
pub fn cause(observation: &Observation, wanted: &GrantRows) -> Option<Cause> {
    let Some(current) = observation.ledger.current else { return Some(Cause::First) };
    token_lost(observation, current)
        .or_else(|| slot_lost(observation, current))
        .or_else(|| permissions_changed(observation, current, wanted))
        .or_else(|| requested(observation))
}

fn token_lost(observation: &Observation, current: Entry) -> Option<Cause> {
    (observation.life(current.token) == Life::Inactive).then_some(Cause::TokenLost)
}

/// The slot is gone, holds something else, or was condemned by a replica that lost the race for the commit.
fn slot_lost(observation: &Observation, current: Entry) -> Option<Cause> {
    let slot = observation.slot(current.serial);
    let intact = slot.is_some_and(|slot| slot.token() == Some(current.token) && slot.condemned.is_none());
    (!intact).then_some(Cause::SlotLost)
}

fn permissions_changed(observation: &Observation, current: Entry, wanted: &GrantRows) -> Option<Cause> {
    let token = listed(observation, current)?;
    if token.rows == *wanted {
        return None;
    }
    let moved = only_projects_moved(observation, token, wanted);
    Some(if moved { Cause::ProjectMoved } else { Cause::PermissionsChanged })
}

fn listed(observation: &Observation, current: Entry) -> Option<&Token> {
    observation.known_tokens().find(|token| token.id == current.token)
}

/// Whether the generation is the one that was published, so that only the meaning of a name can have changed.
fn only_projects_moved(observation: &Observation, token: &Token, wanted: &GrantRows) -> bool {
    let by_name = observation.desired.as_ref().is_ok_and(|desired| desired.permissions.iter().any(names_projects));
    let same_generation = observation.record.observed_generation == observation.generation;
    let shape = |rows: &GrantRows| {
        let mut shape: Vec<_> =
            rows.rows().iter().map(|row| (row.permission_set.clone(), row.scope == Scope::All, row.writable.clone())).collect();
        shape.sort();
        shape
    };
    by_name && same_generation && shape(&token.rows) == shape(wanted)
}

fn names_projects(permission: &Permission) -> bool {
    match &permission.projects {
        Projects::All => false,
        Projects::Named(references) => references.iter().any(|reference| matches!(reference, ProjectReference::Name(_))),
    }
}

fn requested(observation: &Observation) -> Option<Cause> {
    let asked = observation.rotate_at.as_ref()?;
    (observation.ledger.handled_rotate_at.as_ref() != Some(asked)).then_some(Cause::Requested)
}
