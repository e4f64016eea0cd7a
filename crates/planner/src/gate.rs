//! What may hold a token back before it is made: the account's grants and limits, calls that can try it, the budget, the
//! delay after failures. Each gate is a question of its own.

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
pub fn budget(account: &OpenAccount, cause: Cause) -> Result<(), Turn> {
    let allowance = if cause.is_repair() { account.budget.repair } else { account.budget.ordinary };
    match allowance {
        Allowance::Free => Ok(()),
        Allowance::UsedUp { limit, free_at } => Err(Turn::Take(Step::Wait(Wait::Budget { limit, free_at }), Some(free_at))),
    }
}

/// Whether the delay after failures has passed.
///
/// # Errors
/// The turn that waits for its end.
pub fn delay(attempt: &Attempt, now: Timestamp) -> Result<(), Turn> {
    let opened = Timestamp::from_second(attempt.serial.0).unwrap_or(Timestamp::MAX);
    let until = later(opened, backoff(attempt.failures));
    if attempt.failures == 0 || now >= until {
        return Ok(());
    }
    Err(Turn::Take(Step::Wait(Wait::Backoff { until }), Some(until)))
}

/// Whether the published token has a place among the retiring ones. One that is unusable needs none.
///
/// # Errors
/// The turn that waits for a retirement.
pub fn room(observation: &Observation) -> Result<(), Turn> {
    if observation.ledger.retiring.len() < MAXIMUM_RETIRING || !observation.current_is_usable() {
        return Ok(());
    }
    Err(Turn::Take(Step::Wait(Wait::RetiringFull), None))
}
