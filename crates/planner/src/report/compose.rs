//! Puts the report together: the conditions from `ready`, the tokens, the times, the history.

use jiff::Timestamp;

use crate::effect::{Effect, LedgerEntry};
use crate::ledger::{Cause, Entry, Ledger, MAXIMUM_HISTORY};
use crate::legacy;
use crate::observation::{Life, Observation};
use crate::plan::{Block, Step, Wait};
use crate::report::ready::{self, Verdict};
use crate::report::words;
use crate::report::{
    Condition, ConditionStatus, ConditionType, Event, NextStep, Published, Replacement, Report, RetiringReport, TokenReport,
};
use crate::retirement::{self, Case};
use crate::rotation::LegacyPolicy;
use crate::stage::{rebuild, retire, sweep};
use crate::trigger;

/// The reason of `Rotating` for a legacy token that is left alone.
const LEGACY_REPORTED: &str = "LegacyReported";

/// The reason of `Rotating`, and of an event, for a token that is kept beyond its deadline.
const BLOCKED: &str = "RetirementBlocked";

/// What the status shall say when this step is taken.
pub fn report(observation: &Observation, step: &Step, now: Timestamp) -> Report {
    let published = published(observation, now);
    let verdict = ready::ready(observation, step, published.as_ref());
    compose(observation, step, published.as_ref(), &verdict, now)
}

/// What the status shall say when dbt refused to make the token.
pub(crate) fn rejected(observation: &Observation, step: &Step, message: &str, now: Timestamp) -> Report {
    let published = published(observation, now);
    compose(observation, step, published.as_ref(), &ready::dbt_rejected(observation, message), now)
}

fn compose(observation: &Observation, step: &Step, published: Option<&Published>, verdict: &Verdict, now: Timestamp) -> Report {
    let retiring = retiring(observation, step, published, now);
    let mut conditions = vec![verdict.ready()];
    conditions.push(ready::token_usable(observation, published));
    let waiting = [retiring.clone(), unnamed(observation, now)].concat();
    conditions.push(rotating(observation, step, published, &waiting));
    conditions.extend(verdict.reconciling());
    conditions.extend(verdict.stalled());
    let stalled = stalled_event(observation, &conditions);
    let told = [blocked_event(observation, &conditions), legacy_event(observation, &conditions)].into_iter().flatten();
    let events = stalled.into_iter().chain(told).chain(words::opening_events(observation, step)).collect();
    Report {
        observed_generation: observation.generation,
        // Nothing while no token can be read in the target: when it comes back it counts as published anew, since consumers
        // could not take it up in between.
        token: published.filter(|_| observation.target_is_readable()).map(|published| token(observation, published)),
        next_step: next_step(observation, step, &waiting),
        plan: Vec::new(),
        history: history(observation, step, published, now),
        last_rotation: last_rotation(observation, published),
        next_rotation: next_rotation(observation, step),
        retiring,
        conditions,
        events,
    }
}

/// The token that the target is known to hold, and since when that is known.
fn published(observation: &Observation, now: Timestamp) -> Option<Published> {
    let before = observation.record.published.clone();
    let named = observation.ledger.current.map(|current| current.token);
    match rebuild::published_since(observation).or(named) {
        Some(token) if observation.target_holds(token) => {
            before.filter(|published| published.token == token).or(Some(Published { token, at: now }))
        }
        _ => before
            .filter(|published| observation.ledger.names_token(published.token) || observation.target_holds(published.token)),
    }
}

fn token(observation: &Observation, published: &Published) -> TokenReport {
    let listed = observation.known_tokens().find(|token| token.id == published.token);
    TokenReport {
        id: published.token,
        uid: listed.map(|token| token.uid.clone()),
        name: listed.map(|token| token.name.clone()),
        created_at: listed.and_then(|token| token.created_at),
        published_at: published.at,
        legacy: listed.and_then(|token| token.created_at).map(legacy::is_legacy),
        adopted: observation.is_adopted(published.token),
        rows: listed.filter(|token| token.active).map(|token| token.rows.clone()),
    }
}

/// The ledger as it is once the step is done.
fn ledger_after<'a>(observation: &'a Observation, step: &'a Step) -> &'a Ledger {
    match step {
        Step::Act(Effect::WriteLedger { ledger, .. } | Effect::Prove { committed: ledger, .. }) => ledger,
        _ => &observation.ledger,
    }
}

fn retiring(observation: &Observation, step: &Step, published: Option<&Published>, now: Timestamp) -> Vec<RetiringReport> {
    let retiring = ledger_after(observation, step).retiring.iter();
    retiring.map(|entry| retiring_one(observation, *entry, replaced_at(observation, *entry, published), now)).collect()
}

/// Replaced tokens that somebody may use and that no ledger names: what told of them was removed. One that is newer than the
/// published token is none of them: it goes after the next rotation, and until then nothing is under way.
fn unnamed(observation: &Observation, now: Timestamp) -> Vec<RetiringReport> {
    let Some(current) = observation.ledger.current else { return Vec::new() };
    let older = sweep::kept(observation).into_iter().filter(|(entry, _)| entry.serial < current.serial);
    older.map(|(entry, replaced_at)| retiring_one(observation, entry, replaced_at, now)).collect()
}

fn replaced_at(observation: &Observation, entry: Entry, published: Option<&Published>) -> Option<Timestamp> {
    // A time that is not written down would be another one with each look.
    let is_told = observation.target_is_readable();
    let since = published.filter(|published| is_told && published.token != entry.token).map(|published| published.at);
    // After a time without a readable target (or without a status, or with that of an earlier time) the overlap begins again.
    let is_known = observation.record.published.is_some() && !rebuild::is_behind(observation);
    retire::replaced_at(observation, entry.token).filter(|_| is_known).or(since)
}

fn retiring_one(observation: &Observation, entry: Entry, replaced_at: Option<Timestamp>, now: Timestamp) -> RetiringReport {
    let listed = observation.known_tokens().find(|token| token.id == entry.token);
    let case = Case::of(observation, entry, replaced_at, now);
    let declared = observation.desired.as_ref().ok().map(|desired| &desired.retirement);
    RetiringReport {
        id: entry.token,
        uid: listed.map(|token| token.uid.clone()),
        created_at: listed.and_then(|token| token.created_at),
        replaced_at,
        deadline_at: replaced_at.zip(declared).and_then(|(replaced_at, declared)| retirement::deadline_at(declared, replaced_at)),
        waiting_for: case.as_ref().map(retirement::waiting_for).unwrap_or_default(),
        blocked: case.as_ref().is_some_and(retirement::is_blocked),
    }
}

fn last_rotation(observation: &Observation, published: Option<&Published>) -> Option<Timestamp> {
    let swapped = match (&observation.record.published, published) {
        (Some(before), Some(after)) if before.token != after.token => Some(after.at),
        _ => None,
    };
    swapped.or(observation.record.last_rotation)
}

/// Told where nothing stands in its way; elsewhere what was told before still counts.
fn next_rotation(observation: &Observation, step: &Step) -> Option<Timestamp> {
    match step {
        Step::Settled => trigger::next_rotation(observation),
        Step::Wait(Wait::Window { opens_at, .. }) => Some(*opens_at),
        _ => observation.record.next_rotation,
    }
}

fn history(observation: &Observation, step: &Step, published: Option<&Published>, now: Timestamp) -> Vec<Replacement> {
    let mut history = observation.record.history.clone();
    match step {
        Step::Act(Effect::Prove { token, .. }) => {
            let attempt = observation.ledger.next.as_ref();
            let cause = attempt.map_or(Cause::First, |attempt| attempt.cause);
            let is_told = history.iter().any(|replacement| replacement.token == *token);
            if let Some(previous) = observation.ledger.current.filter(|_| !is_told) {
                // One that dbt had lost already never retires.
                let retired_at = (observation.life(previous.token) == Life::Inactive).then_some(now);
                let previous = Some(previous.token);
                history.insert(0, Replacement { cause, token: *token, previous, published_at: None, retired_at });
            }
        }
        Step::Act(Effect::WriteLedger { entry: LedgerEntry::Forget(serial), .. }) => {
            let gone = observation.ledger.retiring.iter().find(|entry| entry.serial == *serial).map(|entry| entry.token);
            for replacement in history.iter_mut().filter(|replacement| replacement.previous == gone) {
                replacement.retired_at = replacement.retired_at.or(Some(now));
            }
        }
        _ => {}
    }
    for replacement in &mut history {
        let shown = published.filter(|published| published.token == replacement.token);
        replacement.published_at = replacement.published_at.or(shown.map(|published| published.at));
    }
    history.truncate(MAXIMUM_HISTORY);
    history
}

fn rotating(observation: &Observation, step: &Step, published: Option<&Published>, retiring: &[RetiringReport]) -> Condition {
    let (status, reason, message) = rotating_words(observation, step, published, retiring);
    Condition { kind: ConditionType::Rotating, status, reason: reason.into(), message }
}

fn rotating_words(
    observation: &Observation,
    step: &Step,
    published: Option<&Published>,
    retiring: &[RetiringReport],
) -> (ConditionStatus, &'static str, String) {
    let Some(published) = published.filter(|_| observation.deleted_at.is_none()) else {
        return (ConditionStatus::False, "UpToDate", "no token is being replaced".into());
    };
    if let Step::Wait(Wait::Budget { free_at, .. }) = step {
        let message = format!("token {} waits for the account's mint budget until {}", published.token, retire::minute(*free_at));
        return (ConditionStatus::False, "WaitingForBudget", message);
    }
    if let (Step::Wait(Wait::Window { cause, opens_at }), []) = (step, retiring) {
        let opens_at = retire::minute(*opens_at);
        let message = format!("token {} waits for the window that opens at {opens_at} ({})", published.token, cause.word());
        return (ConditionStatus::False, "WaitingForWindow", message);
    }
    if let Some(attempt) = ledger_after(observation, step).next.as_ref() {
        let message = format!("token {} is being replaced ({})", published.token, attempt.cause.word());
        return (ConditionStatus::True, "Replacing", message);
    }
    let Some(first) = retiring.first() else {
        return match step {
            Step::Blocked(Block::DryRun) => {
                (ConditionStatus::False, "UpToDate", format!("token {} is not replaced while dryRun is set", published.token))
            }
            _ => up_to_date(observation, published),
        };
    };
    // One that is kept beyond its deadline is told of first, however many wait as they should.
    let first = retiring.iter().find(|token| token.blocked).unwrap_or(first);
    match first.waiting_for.first() {
        Some(rule) => {
            let reason = if first.blocked { BLOCKED } else { "AwaitingConsumers" };
            (ConditionStatus::True, reason, format!("token {} waits: {}", first.id, rule.message))
        }
        None => (ConditionStatus::True, "Retiring", format!("token {} is being revoked", first.id)),
    }
}

/// No token is being replaced and none waits for its end.
fn up_to_date(observation: &Observation, published: &Published) -> (ConditionStatus, &'static str, String) {
    let token = published.token;
    let is_reported = observation.desired.as_ref().is_ok_and(|desired| desired.rotation.legacy == LegacyPolicy::Report);
    let is_legacy = match observation.known_tokens().find(|known| known.id == token) {
        Some(listed) => listed.created_at.is_some_and(legacy::is_legacy),
        // Where the list cannot be looked at now, what was said of the token before still stands.
        None => ready::before(observation, published, ConditionType::Rotating).is_some_and(|it| it.reason == LEGACY_REPORTED),
    };
    if is_reported && is_legacy {
        let message = format!(
            "token {token} was created on or before 18 July 2023 and is only reported; set rotation.legacy: Rotate to replace it"
        );
        return (ConditionStatus::False, LEGACY_REPORTED, message);
    }
    (ConditionStatus::False, "UpToDate", format!("token {token} is what is declared"))
}

fn next_step(observation: &Observation, step: &Step, retiring: &[RetiringReport]) -> Option<NextStep> {
    if *step != Step::Settled {
        return Some(words::next_step(observation, step));
    }
    if let Some(restart) = words::next_restart(observation) {
        return Some(restart);
    }
    let Some(waiting) = retiring.iter().find(|token| observation.life(token.id) != Life::Inactive) else {
        return words::next_rotation(observation);
    };
    let message = waiting.waiting_for.first().map_or_else(String::new, |rule| format!(": {}", rule.message));
    let at = waiting.replaced_at.zip(observation.desired.as_ref().ok());
    Some(NextStep {
        action: "Retire",
        cause: None,
        at: at.map(|(replaced, desired)| retirement::earliest(&desired.retirement, replaced)),
        message: format!("revoke token {}{message}", waiting.id),
    })
}

/// A warning that a legacy token is only reported, as that begins.
fn legacy_event(observation: &Observation, conditions: &[Condition]) -> Option<Event> {
    let is_reported = |condition: &&Condition| condition.kind == ConditionType::Rotating && condition.reason == LEGACY_REPORTED;
    let now = conditions.iter().find(is_reported)?;
    let was_told = observation.record.conditions.iter().any(|before| before == now);
    (!was_told).then(|| Event { warning: true, reason: "LegacyToken".into(), message: now.message.clone() })
}

/// A warning for every reason to act, as it begins.
fn stalled_event(observation: &Observation, conditions: &[Condition]) -> Option<Event> {
    let stalled = conditions.iter().find(|condition| condition.kind == ConditionType::Stalled)?;
    let before = observation.record.conditions.iter().find(|condition| condition.kind == ConditionType::Stalled);
    if before.is_some_and(|before| before.reason == stalled.reason && before.message == stalled.message) {
        return None;
    }
    Some(Event { warning: true, reason: stalled.reason.clone(), message: stalled.message.clone() })
}

/// A warning as a token begins to be kept beyond its deadline.
fn blocked_event(observation: &Observation, conditions: &[Condition]) -> Option<Event> {
    let is_blocked = |it: &&Condition| it.kind == ConditionType::Rotating && it.reason == BLOCKED;
    let blocked = conditions.iter().find(is_blocked)?;
    let was_blocked = observation.record.conditions.iter().any(|before| is_blocked(&before));
    (!was_blocked).then(|| Event { warning: true, reason: BLOCKED.into(), message: blocked.message.clone() })
}
