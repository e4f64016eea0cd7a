//! Why a token is made or replaced: the chain of reasons, strongest first. One function a reason.

use jiff::Timestamp;

use crate::desired::{Permission, ProjectReference, Projects};
use crate::grant::{GrantRows, Scope};
use crate::ledger::{Cause, Entry};
use crate::legacy::is_legacy;
use crate::observation::{Life, Observation, Token};
use crate::report;
use crate::rotation::LegacyPolicy;

/// The reason for a new token, if there is one. `current` is the published token.
pub fn cause(observation: &Observation, wanted: &GrantRows, now: Timestamp) -> Option<Cause> {
    let Some(current) = observation.ledger.current else { return Some(Cause::First) };
    token_lost(observation, current)
        .or_else(|| slot_lost(observation, current))
        .or_else(|| compromised(observation, current))
        .or_else(|| permissions_changed(observation, current, wanted))
        .or_else(|| requested(observation))
        .or_else(|| legacy(observation, current))
        .or_else(|| aged(observation, current, now))
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

/// Rests on the ledger alone: the annotations may have changed since.
fn compromised(observation: &Observation, current: Entry) -> Option<Cause> {
    observation.ledger.is_compromised(current.serial).then_some(Cause::Compromised)
}

/// Whether a person calls the published token compromised, and that is not written down yet: the annotation counts only with
/// the value of a `rotate-at` that was not dealt with. One that was left behind from last time does nothing.
pub(crate) fn is_called_compromised(observation: &Observation) -> bool {
    let called = observation.compromised.is_some() && observation.compromised == observation.rotate_at;
    let news = requested(observation).is_some();
    called && news && observation.ledger.current.is_some_and(|current| !observation.ledger.is_compromised(current.serial))
}

fn legacy(observation: &Observation, current: Entry) -> Option<Cause> {
    let desired = observation.desired.as_ref().ok()?;
    let is_due = desired.rotation.legacy == LegacyPolicy::Rotate && is_legacy(created_at(observation, current)?);
    is_due.then_some(Cause::Legacy)
}

fn aged(observation: &Observation, current: Entry, now: Timestamp) -> Option<Cause> {
    (age_counts_from(observation, current)? <= now).then_some(Cause::MaxAge)
}

/// From when on the published token is replaced for its age, if it is known today.
pub(crate) fn next_rotation(observation: &Observation) -> Option<Timestamp> {
    age_counts_from(observation, observation.ledger.current?)
}

fn age_counts_from(observation: &Observation, current: Entry) -> Option<Timestamp> {
    let desired = observation.desired.as_ref().ok()?;
    let listed = listed(observation, current).map(|_| opened_at(current));
    let born = created_at(observation, current).or(listed?)?;
    desired.rotation.starts_at(born, &observation.owner.uid)
}

/// When dbt made the token.
///
/// One that was made only because of the age of the one before it is no older than its attempt, whatever dbt says: a service
/// whose clock stands still would have its tokens replaced without end otherwise. The history of the status may be lost; then
/// one token more is made.
fn created_at(observation: &Observation, current: Entry) -> Option<Timestamp> {
    let created_at = listed(observation, current)?.created_at?;
    let made_for_age =
        |replacement: &report::Replacement| replacement.token == current.token && replacement.cause.waits_for_a_window();
    let opened_at = observation.record.history.first().filter(|last| made_for_age(last)).and_then(|_| opened_at(current));
    Some(opened_at.map_or(created_at, |opened_at| created_at.max(opened_at)))
}

/// When the attempt was opened that made the token: its serial says so.
fn opened_at(entry: Entry) -> Option<Timestamp> {
    Timestamp::from_second(entry.serial.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, now, object, permission, rows};
    use crate::identity::Serial;
    use crate::observation::CondemnedReason::Superseded;

    fn check(observation: &Observation, wanted: &[(&str, i64)], expected: Option<Cause>) {
        assert_eq!(cause(observation, &rows(wanted), now()), expected);
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
        check(&published().with(|it| it.ledger.compromised = Some(Serial(5))), &ALL, Some(Cause::Compromised));
        check(&published().with(|it| it.ledger.compromised = Some(Serial(4))), &ALL, None);
        check(&published().legacy(2202), &ALL, Some(Cause::Legacy));
        check(&published().legacy(2202).listless(), &ALL, None);
        check(&published().legacy(2202).rotated(|it| it.legacy = LegacyPolicy::Report), &ALL, None);
    }

    #[test]
    fn a_token_counts_as_compromised_once_both_annotations_have_a_new_value() {
        let called = |it: &Observation, expected| assert_eq!(is_called_compromised(it), expected);
        let noon = || published().called_compromised("noon");
        called(&noon(), true);
        called(&published(), false);
        called(&noon().with(|it| it.rotate_at = None), false);
        called(&noon().with(|it| it.compromised = None), false);
        called(&noon().with(|it| it.compromised = Some("morning".into())), false);
        called(&noon().with(|it| it.rotate_at = Some("later".into())), false);
        // Left behind from last time.
        called(&noon().with(|it| it.ledger.handled_rotate_at = Some("noon".into())), false);
        called(&noon().with(|it| it.ledger.handled_rotate_at = Some("morning".into())), true);
        called(&noon().with(|it| it.ledger.compromised = Some(Serial(4))), true);
        called(&noon().with(|it| it.ledger.compromised = Some(Serial(5))), false);
        called(&noon().with(|it| it.ledger.current = None), false);
    }

    /// The token of the fixture is 80 000 seconds old.
    #[test]
    fn a_token_is_aged_from_its_due_time_on() {
        let start = |it: &Observation| next_rotation(it).map(|time| time.as_second() - now().as_second());
        let day = published().aged_after(1, &[]);
        let due = start(&day).expect("a limit");
        assert!((-2240..6400).contains(&due), "{due}");
        assert_eq!(cause(&day, &rows(&ALL), at(due - 1)), None);
        assert_eq!(cause(&day, &rows(&ALL), at(due)), Some(Cause::MaxAge));
        assert_eq!(start(&published()), None);
        assert_eq!(start(&day.clone().listless()), None);
        assert_eq!(start(&day.clone().unlisted(2202)), None);
        assert_eq!(start(&day.clone().with(|it| it.ledger.current = None)), None);
        let moved = day.with(|it| it.owner.uid = crate::identity::OwnerUid::new("uid-2"));
        assert_ne!(start(&moved), Some(due), "every object has a point of its own");
        // Where dbt does not say when it made the token, the attempt says it.
        let silent = |serial| object().published(serial, 2202).token(2202, |it| it.created_at = None).aged_after(1, &[]);
        check(&silent(at(-90_000).as_second()), &ALL, Some(Cause::MaxAge));
        check(&silent(at(-70_000).as_second()), &ALL, None);
        check(&silent(i64::MAX), &ALL, None);
    }

    /// A service whose clock stands still would have every new token replaced at once.
    #[test]
    fn a_token_that_was_made_for_the_age_of_another_one_is_as_young_as_its_attempt() {
        let serial = at(-60).as_second();
        let after = |cause: Cause, token: i64| {
            let replacement = report::Replacement {
                cause,
                token: crate::identity::TokenId(token),
                previous: None,
                published_at: None,
                retired_at: None,
            };
            let it = object().published(serial, 2202).legacy(2202).aged_after(90, &[]);
            it.with(|it| it.record.history = vec![replacement])
        };
        check(&after(Cause::Legacy, 2202), &ALL, None);
        check(&after(Cause::MaxAge, 2202), &ALL, None);
        check(
            &after(Cause::MaxAge, 2202)
                .with(|it| it.ledger.current.as_mut().expect("current").serial = Serial(5))
                .slot_lost(serial)
                .committed_slot(5, 2202),
            &ALL,
            Some(Cause::Legacy),
        );
        check(&after(Cause::Requested, 2202), &ALL, Some(Cause::Legacy));
        check(&after(Cause::Legacy, 2190), &ALL, Some(Cause::Legacy));
        check(&after(Cause::Requested, 2202).rotated(|it| it.legacy = LegacyPolicy::Report), &ALL, Some(Cause::MaxAge));
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
        let old = || handled("morning").legacy(2202).aged_after(90, &[]);
        let all = || old().with(|it| it.ledger.compromised = Some(Serial(5))).inactive(2202).slot_lost(5);
        let other = [("job_viewer", 0)];
        check(&all().with(|it| it.ledger.current = None), &other, Some(Cause::First));
        check(&all(), &other, Some(Cause::TokenLost));
        let compromised = || old().with(|it| it.ledger.compromised = Some(Serial(5)));
        check(&compromised().slot_lost(5), &other, Some(Cause::SlotLost));
        check(&compromised(), &other, Some(Cause::Compromised));
        check(&old(), &other, Some(Cause::PermissionsChanged));
        check(&old(), &ALL, Some(Cause::Requested));
        let handled = || old().with(|it| it.rotate_at = None);
        check(&handled(), &ALL, Some(Cause::Legacy));
        check(&handled().rotated(|it| it.legacy = LegacyPolicy::Report), &ALL, Some(Cause::MaxAge));
    }
}
