//! Why a token is made or replaced: the chain of reasons, strongest first. One function a reason.

use crate::desired::{Permission, ProjectReference, Projects};
use crate::grant::{GrantRows, Scope};
use crate::ledger::{Cause, Entry};
use crate::observation::{Life, Observation, Token};
use crate::report;

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
    let shape = |rows: &GrantRows| {
        let mut shape: Vec<_> =
            rows.rows().iter().map(|row| (row.permission_set.clone(), row.scope == Scope::All, row.writable.clone())).collect();
        shape.sort();
        shape
    };
    by_name && report::was_in_order(observation) && shape(&token.rows) == shape(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, permission, rows};
    use crate::observation::CondemnedReason::Superseded;

    fn check(observation: &Observation, wanted: &[(&str, i64)], expected: Option<Cause>) {
        assert_eq!(cause(observation, &rows(wanted)), expected);
    }

    const ALL: [(&str, i64); 1] = [("job_admin", 0)];

    fn published() -> Observation {
        object().published(5, 2202)
    }

    #[test]
    fn each_reason_for_a_token() {
        check(&object(), &ALL, Some(Cause::First));
        check(&object().retiring(4, 2190, 9), &ALL, Some(Cause::First));
        check(&published(), &ALL, None);
        check(&published().inactive(2202), &ALL, Some(Cause::TokenLost));
        check(&published().gone(2202), &ALL, Some(Cause::TokenLost));
        check(&published().unlisted(2202), &ALL, None);
        check(&published().listless(), &ALL, None);
        check(&published().stale(), &ALL, None);
        check(&published().slot_lost(5), &ALL, Some(Cause::SlotLost));
        check(&published().slot_lost(5).empty_slot(5), &ALL, Some(Cause::SlotLost));
        check(&published().slot_lost(5).committed_slot(5, 2203), &ALL, Some(Cause::SlotLost));
        check(&published().slot_lost(5).condemned_slot(5, 2202, Superseded), &ALL, Some(Cause::SlotLost));
        check(&published().slot_lost(5).retained_record(5, 2202), &ALL, Some(Cause::SlotLost));
        check(&published(), &[("job_viewer", 0)], Some(Cause::PermissionsChanged));
        check(&published().token(2202, |token| token.rows = rows(&[])), &ALL, Some(Cause::PermissionsChanged));
        check(&published().unlisted(2202), &[("job_viewer", 0)], None);
        check(&published().with(|it| it.rotate_at = Some("noon".into())), &ALL, Some(Cause::Requested));
        check(&handled("noon"), &ALL, None);
        check(&handled("morning"), &ALL, Some(Cause::Requested));
        check(&handled("noon").with(|it| it.rotate_at = None), &ALL, None);
        check(&published().with(|it| it.target = crate::observation::Target::Missing), &ALL, None);
    }

    /// The annotation says noon, and this value was dealt with.
    fn handled(value: &str) -> Observation {
        published().with(|it| {
            it.rotate_at = Some("noon".into());
            it.ledger.handled_rotate_at = Some(value.into());
        })
    }

    #[test]
    fn a_project_moved_if_only_the_meaning_of_a_name_changed() {
        let by_name = || {
            object().with_desired(|desired| desired.permissions = vec![permission("job_admin", &["Finance"])]).published(5, 2202)
        };
        check(&by_name(), &[("job_admin", 700)], None);
        check(&by_name(), &[("job_admin", 704)], Some(Cause::ProjectMoved));
        check(&by_name(), &[("job_viewer", 704)], Some(Cause::PermissionsChanged));
        check(&by_name(), &[("job_admin", 0)], Some(Cause::PermissionsChanged));
        check(&by_name(), &[("job_admin", 704), ("job_admin", 705)], Some(Cause::PermissionsChanged));
        let edited = by_name().edited(vec![permission("job_admin", &["Marketing"])]);
        check(&edited, &[("job_admin", 701)], Some(Cause::PermissionsChanged));
        // Told of, but not published yet: the edit is still the cause.
        let told = edited.with(|it| {
            it.record.observed_generation = it.generation;
            it.record.conditions.clear();
        });
        check(&told, &[("job_admin", 701)], Some(Cause::PermissionsChanged));
        let by_id = object().with_desired(|desired| desired.permissions = vec![permission("job_admin", &["700"])]);
        check(&by_id.published(5, 2202), &[("job_admin", 704)], Some(Cause::PermissionsChanged));
    }

    #[test]
    fn the_strongest_reason_wins() {
        let all = || handled("morning").inactive(2202).slot_lost(5);
        let other = [("job_viewer", 0)];
        check(&all().with(|it| it.ledger.current = None), &other, Some(Cause::First));
        check(&all(), &other, Some(Cause::TokenLost));
        check(&handled("morning").slot_lost(5), &other, Some(Cause::SlotLost));
        check(&handled("morning"), &other, Some(Cause::PermissionsChanged));
        check(&handled("morning"), &ALL, Some(Cause::Requested));
    }
}
