//! What may hold a token back before it is made: the account's grants and limits, calls that can try it, the budget, the
//! declared windows, the delay after failures. Each gate is a question of its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::desired::Desired;
use crate::effect::Need;
use crate::grant::{self, GrantRows};
use crate::identity::{EnvironmentId, PermissionSet, ProjectId};
use crate::ledger::{Attempt, Cause, MAXIMUM_RETIRING};
use crate::observation::{Allowance, Observation, OpenAccount};
use crate::permission::{self, Probe};
use crate::plan::{Block, Step, Turn, Wait};
use crate::stage::retire::later;
use crate::window;

/// How long the next attempt waits after so many that were given up in a row. The first repeat is quick, since a person
/// may be watching; the last is rare, since each attempt may make and revoke a token.
const BACKOFF: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(4 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(6 * 60 * 60),
];

/// What an edit brings the count of failures down to: a person who mends the declaration waits a minute at most, and one
/// who edits in a loop makes at most sixty tokens an hour.
pub const FAILURES_AFTER_EDIT: u32 = 2;

/// The delay before the attempt's slot is reserved.
pub fn backoff(failures: u32) -> Duration {
    let place = usize::try_from(failures).unwrap_or(usize::MAX).min(BACKOFF.len() - 1);
    BACKOFF[place]
}

/// The declared permissions as rows, or what has to be read or mended first.
///
/// # Errors
/// A turn that reads the projects, or one that is blocked by a project that cannot be resolved.
pub fn wanted(account: &OpenAccount, desired: &Desired) -> Result<GrantRows, Turn> {
    let projects = match account.projects.value() {
        Some(projects) => projects.as_slice(),
        None if grant::needs_projects(&desired.permissions) => return Err(Turn::read(Need::Projects)),
        None => &[],
    };
    grant::resolve(&desired.permissions, projects)
        .map_err(|unresolved| Turn::Take(Step::Blocked(Block::Project(unresolved)), None))
}

/// Whether the account's grants cover the rows, and leave a place for the object.
///
/// # Errors
/// The turn that says what is missing.
pub fn policy(account: &OpenAccount, rows: &GrantRows, published: bool) -> Result<(), Turn> {
    if let Some(row) = grant::uncovered(rows, &account.grants) {
        return Err(Turn::Take(Step::Blocked(Block::PolicyRefused(row.clone())), None));
    }
    match &account.crowded_out {
        Some(limit) if !published => Err(Turn::Take(Step::Blocked(Block::TokenLimit(limit.clone())), None)),
        _ => Ok(()),
    }
}

/// The calls that try a token with these rows, and the sets that none can try.
///
/// # Errors
/// A turn that reads the environments.
pub fn probes(observation: &Observation, rows: &GrantRows) -> Result<(Vec<Probe>, Vec<PermissionSet>), Turn> {
    let declared = observation.desired.as_ref().ok().and_then(|desired| desired.verification_environment);
    let known = observation.account.open().map(|account| &account.environments);
    if declared.is_none() && permission::needs_environment(rows) && known.is_some_and(|known| known.value().is_none()) {
        return Err(Turn::read(Need::Environments));
    }
    let environments = known.and_then(|known| known.value());
    Ok(permission::probes(rows, |project: Option<ProjectId>| -> Option<EnvironmentId> {
        declared.or_else(|| match project {
            Some(project) => environments?.get(&project).copied(),
            None => environments?.values().next().copied(),
        })
    }))
}

/// The calls that must pass before a token with these rows is published.
///
/// # Errors
/// A turn that reads the environments, or is blocked because no call can try some sets and the user did not allow that.
pub fn provable(observation: &Observation, desired: &Desired, rows: &GrantRows) -> Result<Vec<Probe>, Turn> {
    let (probes, untried) = probes(observation, rows)?;
    if untried.is_empty() || desired.allow_unproven {
        return Ok(probes);
    }
    Err(Turn::Take(Step::Blocked(Block::Unprobeable(untried)), None))
}

/// Whether the mint budget has room.
///
/// # Errors
/// The turn that waits for room.
pub fn budget(account: &OpenAccount, cause: Cause, now: Timestamp) -> Result<(), Turn> {
    let allowance = if cause.is_repair() { account.budget.repair } else { account.budget.ordinary };
    match allowance {
        Allowance::Free => Ok(()),
        // The answer is as old as the observation; nobody would be woken at a time that has passed.
        Allowance::UsedUp { free_at, .. } if free_at <= now => Ok(()),
        Allowance::UsedUp { limit, free_at } => Err(Turn::Take(Step::Wait(Wait::Budget { limit, free_at }), Some(free_at))),
    }
}

/// Whether a rotation for this cause may begin now; if a window allows it, until when.
///
/// # Errors
/// The turn that waits for the next window.
pub fn window(desired: &Desired, cause: Cause, now: Timestamp) -> Result<Option<Timestamp>, Turn> {
    let windows = &desired.rotation.windows;
    if windows.is_empty() || !cause.waits_for_a_window() {
        return Ok(None);
    }
    let until = window::open_until(windows, now);
    if until.is_some() {
        return Ok(until);
    }
    let opens_at = window::next_opening(windows, now).unwrap_or(Timestamp::MAX);
    Err(Turn::Take(Step::Wait(Wait::Window { cause, opens_at }), Some(opens_at)))
}

/// Whether the delay after failures has passed.
///
/// # Errors
/// The turn that waits for its end.
pub fn delay(attempt: &Attempt, now: Timestamp) -> Result<(), Turn> {
    let opened = Timestamp::from_second(attempt.serial.0).unwrap_or(Timestamp::MAX);
    let until = later(opened, backoff(attempt.failures));
    // A serial far ahead of the clock (which was wrong once) says nothing about the time; the budget still bounds attempts.
    let is_from_another_clock = opened > later(now, BACKOFF[BACKOFF.len() - 1]);
    if attempt.failures == 0 || now >= until || is_from_another_clock {
        return Ok(());
    }
    Err(Turn::Take(Step::Wait(Wait::Backoff { until }), Some(until)))
}

/// Whether the published token has a place among the retiring ones. One that is unusable needs none; nor does one whose string
/// is stored no more, since nothing can retire before it is replaced.
///
/// # Errors
/// The turn that waits for a retirement.
pub fn room(observation: &Observation) -> Result<(), Turn> {
    let needs_none = !observation.current_is_usable() || !observation.current_is_stored();
    if observation.ledger.retiring.len() < MAXIMUM_RETIRING || needs_none {
        return Ok(());
    }
    Err(Turn::Take(Step::Wait(Wait::RetiringFull), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, grant, now, object, permission, rows, turn};
    use crate::identity::{Fingerprint, Serial};
    use crate::observation::Reading;

    fn check<T: std::fmt::Debug>(answer: Result<T, Turn>, expected: &str) {
        let found = answer.map_or_else(|blocked| turn(&blocked), |value| format!("{value:?}"));
        assert_eq!(found, expected);
    }

    fn wants(observation: &Observation, expected: &str) {
        let (account, desired) = (observation.account.open().expect("an account"), observation.desired.as_ref().expect("a spec"));
        check(wanted(account, desired).map(|rows| rows.fingerprint() == rows.fingerprint()), expected);
    }

    #[test]
    fn projects_are_read_for_names_only() {
        let with = |projects: &[&str]| object().edited(vec![permission("job_admin", projects)]);
        let unread = |projects| with(projects).with_account(|account| account.projects = Reading::Unknown);
        wants(&with(&["Finance"]), "true");
        wants(&with(&["Nowhere"]), "blocked Project");
        wants(&with(&["Shop"]), "blocked Project");
        wants(&unread(&["Finance"]), "read projects");
        wants(&unread(&["700"]), "true");
        wants(&unread(&[]), "true");
    }

    #[test]
    fn a_grant_and_a_place_are_needed() {
        let none = object().with_account(|account| account.grants = Vec::new());
        let narrow = object().with_account(|account| account.grants = vec![grant(&["job_viewer"], &[], &[])]);
        let allowed = |observation: &Observation, published| {
            policy(observation.account.open().expect("an account"), &rows(&[("job_admin", 0)]), published)
        };
        check(allowed(&object(), false), "()");
        check(allowed(&none, false), "blocked PolicyRefused job_admin on all projects");
        check(allowed(&none, true), "blocked PolicyRefused job_admin on all projects");
        check(allowed(&narrow, false), "blocked PolicyRefused job_admin on all projects");
        check(allowed(&object().crowded_out(), false), "blocked TokenLimit namespace finance");
        check(allowed(&object().crowded_out(), true), "()");
    }

    #[test]
    fn a_token_has_to_be_tried_or_allowed_unproven() {
        let tried = |observation: &Observation, granted: &[(&str, i64)]| {
            provable(observation, observation.desired.as_ref().expect("a spec"), &rows(granted))
        };
        let unread = || object().with_account(|account| account.environments = Reading::Unknown);
        let declared = || unread().with_desired(|desired| desired.verification_environment = Some(EnvironmentId(5)));
        let unproven = || object().with_desired(|desired| desired.allow_unproven = true);
        check(tried(&object(), &[("job_admin", 0)]), "[Jobs(None)]");
        check(tried(&unread(), &[("job_admin", 0)]), "[Jobs(None)]");
        check(tried(&unread(), &[("metadata_only", 700)]), "read environments");
        check(tried(&object(), &[("metadata_only", 700)]), "[Discovery(EnvironmentId(9))]");
        check(tried(&object(), &[("metadata_only", 0)]), "[Discovery(EnvironmentId(9))]");
        check(tried(&object(), &[("metadata_only", 701)]), "blocked Unprobeable metadata_only");
        check(tried(&declared(), &[("metadata_only", 701)]), "[Discovery(EnvironmentId(5))]");
        check(tried(&object(), &[("brand_new", 0)]), "blocked Unprobeable brand_new");
        check(tried(&unproven(), &[("brand_new", 0)]), "[]");
        check(tried(&unproven(), &[("brand_new", 0), ("job_admin", 7)]), "[Jobs(Some(ProjectId(7)))]");
    }

    #[test]
    fn repairs_have_a_budget_of_their_own() {
        let used_up = Allowance::UsedUp { limit: 200, free_at: at(900) };
        let reserve = || object().with_account(|account| account.budget.ordinary = used_up);
        let ask = |observation: &Observation, cause| budget(observation.account.open().expect("an account"), cause, now());
        check(ask(&object(), Cause::First), "()");
        check(ask(&reserve(), Cause::First), "wait Budget until +900");
        check(ask(&reserve(), Cause::PermissionsChanged), "wait Budget until +900");
        check(ask(&reserve(), Cause::Requested), "wait Budget until +900");
        check(ask(&reserve(), Cause::TokenLost), "()");
        check(ask(&object().budget_used_up(), Cause::TokenLost), "wait Budget until +900");
    }

    #[test]
    fn repeated_failures_wait_longer_and_longer() {
        let waits = |failures, opened: i64, expected| {
            let attempt = Attempt {
                serial: Serial(at(opened).as_second()),
                fingerprint: Fingerprint::new("wanted"),
                failures,
                cause: Cause::First,
            };
            check(delay(&attempt, now()), expected);
        };
        waits(0, 0, "()");
        waits(1, 0, "wait Backoff until +10");
        waits(1, -9, "wait Backoff until +1");
        waits(1, -10, "()");
        waits(2, 0, "wait Backoff until +60");
        waits(3, 0, "wait Backoff until +240");
        waits(4, 0, "wait Backoff until +900");
        waits(5, 0, "wait Backoff until +3600");
        waits(6, 0, "wait Backoff until +21600");
        waits(u32::MAX, 0, "wait Backoff until +21600");
        waits(u32::MAX, -21_600, "()");
        // A serial may be ahead of the clock by the attempts of the same second.
        waits(1, 2, "wait Backoff until +12");
    }

    /// Tables look on a Tuesday, at 07:40.
    #[test]
    fn only_legacy_and_aged_tokens_wait_for_a_window() {
        let ask = |schedules: &[&str], cause| {
            let it = object().aged_after(90, schedules);
            let answer = window(it.desired.as_ref().expect("a spec"), cause, now());
            answer.map_or_else(
                |turn| self::turn(&turn),
                |until| format!("until {:?}", until.map(|it| it.as_second() - now().as_second())),
            )
        };
        for cause in [Cause::Legacy, Cause::MaxAge] {
            assert_eq!(ask(&[], cause), "until None");
            assert_eq!(ask(&["0 2 * * *"], cause), "wait Window until +66000");
            assert_eq!(ask(&["0 2 * * *", "0 8 * * *"], cause), "wait Window until +1200");
            assert_eq!(ask(&["0 2 * * *", "0 7 * * *"], cause), "until Some(12000)");
        }
        for cause in [
            Cause::First,
            Cause::PermissionsChanged,
            Cause::ProjectMoved,
            Cause::Requested,
            Cause::Compromised,
            Cause::TokenLost,
            Cause::SlotLost,
            Cause::TokenUnusable,
        ] {
            assert_eq!(ask(&["0 2 * * *"], cause), "until None", "{cause:?}");
        }
    }

    #[test]
    fn a_fourth_token_waits_unless_the_published_one_is_unusable_or_stored_no_more() {
        let two = || object().published(5, 2202).retiring(3, 2183, 9).retiring(4, 2184, 9);
        let three = || two().retiring(2, 2182, 9);
        check(room(&object()), "()");
        check(room(&two()), "()");
        check(room(&three()), "wait RetiringFull");
        check(room(&three().inactive(2202)), "()");
        check(room(&three().slot_lost(5)), "()");
        check(room(&three().slot_lost(5).claimed()), "()");
    }
}
