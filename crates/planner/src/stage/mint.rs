//! Making a token: from the reason for it to the commit. One attempt is one serial; what fails for good is given up and
//! swept, and the next attempt has a serial of its own.

use jiff::Timestamp;

use crate::desired::Desired;
use crate::effect::{Effect, LedgerEntry, Need};
use crate::gate;
use crate::grant::GrantRows;
use crate::identity::{Fingerprint, TokenId};
use crate::ledger::{Attempt, Cause, MAXIMUM_RETIRING, Opening};
use crate::link;
use crate::mark::{Mark, Origin};
use crate::observation::{Account, Condemnation, Life, Observation, OpenAccount, Slot, SlotContent, Target};
use crate::plan::{Block, Step, Turn, Wait};
use crate::stage::retire::later;
use crate::stage::write;
use crate::trigger;

/// How long an account, or a Secret to adopt from, that is not there is waited for, so that one sync may bring everything
/// in any order.
pub(crate) const PATIENCE_FOR_MISSING: std::time::Duration = std::time::Duration::from_secs(2 * 60);

/// What a minting step needs to know.
struct Facts<'a> {
    observation: &'a Observation,
    account: &'a OpenAccount,
    desired: &'a Desired,
    wanted: GrantRows,
    fingerprint: Fingerprint,
    now: Timestamp,
}

/// Opens, reserves, mints, grants and proves, one a pass; `Settled` if nothing is left to do.
pub fn mint(observation: &Observation, now: Timestamp) -> Turn {
    // Written down before anything else, since the annotations may change while the account or a budget is waited for.
    if trigger::is_called_compromised(observation) {
        return write(observation, LedgerEntry::CallCompromised, observation.ledger.called_compromised());
    }
    match facts(observation, now) {
        Err(turn) => turn,
        // Somebody took it off: without it the object would vanish at its deletion, and leave its tokens behind.
        Ok(_) if !observation.finalizer && !observation.ledger.is_blank() => Turn::act(Effect::AddFinalizer),
        Ok(facts) => match &observation.ledger.next {
            Some(attempt) => attend(&facts, attempt),
            None => open(&facts),
        }
        .unwrap_or_else(|turn| turn),
    }
}

fn facts(observation: &Observation, now: Timestamp) -> Result<Facts<'_>, Turn> {
    let Ok(desired) = &observation.desired else { return Err(Turn::Take(Step::Blocked(Block::Refused), None)) };
    let account = account(observation, now)?;
    let wanted = gate::wanted(account, desired)?;
    if account.tokens.value().is_none() {
        return Err(Turn::read(Need::Tokens(observation.fresh_after)));
    }
    let fingerprint = wanted.fingerprint();
    Ok(Facts { observation, account, desired, wanted, fingerprint, now })
}

fn account(observation: &Observation, now: Timestamp) -> Result<&OpenAccount, Turn> {
    let patience = later(observation.created_at, PATIENCE_FOR_MISSING);
    match &observation.account {
        Account::Ready(account) => Ok(account),
        Account::NotReady { .. } => Err(Turn::Take(Step::Wait(Wait::AccountNotReady), None)),
        // What is published works on without the account; only something new cannot be made.
        Account::Missing if now < patience || is_published(observation) => {
            Err(Turn::Take(Step::Wait(Wait::AccountMissing), Some(patience)))
        }
        Account::Missing => Err(Turn::Take(Step::Blocked(Block::AccountNotFound), None)),
    }
}

fn is_published(observation: &Observation) -> bool {
    observation.ledger.current.is_some() && observation.record.published.is_some()
}

/// No attempt is under way: is there a reason for one?
fn open(facts: &Facts<'_>) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if let Some(turn) = look_again(observation) {
        return Err(turn);
    }
    let Some(cause) = trigger::cause(observation, &facts.wanted, facts.now) else {
        return Ok(Turn::Take(Step::Settled, trigger::next_rotation(observation)));
    };
    // What is missing for a new token is told as soon as one is due, not only while a window is open.
    admitted(facts)?;
    let closes_at = gate::window(facts.desired, cause, facts.now)?;
    room_and_budget(facts, cause).map_err(|turn| turn.at_the_latest(closes_at))?;
    Ok(open_attempt(facts, Opening { fingerprint: facts.fingerprint.clone(), cause, failures: 0 }, LedgerEntry::Open))
}

/// The published token has to be seen in a list before it can be judged.
fn look_again(observation: &Observation) -> Option<Turn> {
    let current = observation.ledger.current?;
    match observation.life(current.token) {
        Life::Unknown => Some(Turn::read(Need::Tokens(observation.fresh_after))),
        Life::Unlisted => Some(Turn::read(Need::Token(current.token))),
        Life::Active | Life::Inactive => None,
    }
}

fn room_and_budget(facts: &Facts<'_>, cause: Cause) -> Result<(), Turn> {
    gate::room(facts.observation)?;
    gate::budget(facts.account, cause, facts.now)
}

fn admitted(facts: &Facts<'_>) -> Result<(), Turn> {
    gate::policy(facts.account, &facts.wanted, facts.observation.ledger.current.is_some())?;
    gate::provable(facts.observation, facts.desired, &facts.wanted).map(|_| ())
}

fn open_attempt(facts: &Facts<'_>, opening: Opening, entry: LedgerEntry) -> Turn {
    let observation = facts.observation;
    let ledger = observation.ledger.opened(&observation.installation, opening, observation.highest_serial(), facts.now);
    write(observation, entry, ledger)
}

/// An attempt is under way: what is its next step?
fn attend(facts: &Facts<'_>, attempt: &Attempt) -> Result<Turn, Turn> {
    let observation = facts.observation;
    let slot = observation.slot(attempt.serial);
    let nothing_made = slot.is_none_or(|slot| slot.content == SlotContent::Empty);
    if attempt.fingerprint != facts.fingerprint || nothing_made && is_overtaken(facts, attempt) {
        return edited(facts, attempt);
    }
    // Given up even where no further attempt is allowed: only then is the condemned token swept.
    if slot.is_some_and(|slot| slot.condemned.is_some()) {
        return Ok(give_up(facts, attempt));
    }
    admitted(facts)?;
    match slot {
        Some(slot) => match &slot.content {
            SlotContent::Filled { token, .. } => filled(facts, attempt, *token),
            SlotContent::Empty => empty(facts, attempt, slot),
        },
        None => reserve(facts, attempt),
    }
}

/// Nothing was made yet, and the age that the attempt was opened for is no reason any more, or something stronger is: that
/// must not wait for a window.
fn is_overtaken(facts: &Facts<'_>, attempt: &Attempt) -> bool {
    let still = trigger::cause(facts.observation, &facts.wanted, facts.now);
    attempt.cause.waits_for_a_window() && !still.is_some_and(Cause::waits_for_a_window)
}

/// The declaration changed while the attempt was under way, or the reason for it.
fn edited(facts: &Facts<'_>, attempt: &Attempt) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if let Some(turn) = look_again(observation) {
        return Err(turn);
    }
    let Some(cause) = trigger::cause(observation, &facts.wanted, facts.now) else {
        return Ok(write(observation, LedgerEntry::Abandon, observation.ledger.abandoned()));
    };
    admitted(facts)?;
    let failures = attempt.failures.min(gate::FAILURES_AFTER_EDIT);
    Ok(open_attempt(facts, Opening { fingerprint: facts.fingerprint.clone(), cause, failures }, LedgerEntry::Open))
}

fn give_up(facts: &Facts<'_>, attempt: &Attempt) -> Turn {
    let opening =
        Opening { fingerprint: attempt.fingerprint.clone(), cause: attempt.cause, failures: attempt.failures.saturating_add(1) };
    open_attempt(facts, opening, LedgerEntry::GiveUp)
}

fn was_minted(facts: &Facts<'_>, attempt: &Attempt) -> bool {
    let observation = facts.observation;
    observation.known_tokens().filter_map(|token| observation.own_mark(token)).any(|mark| mark.serial == attempt.serial)
}

fn reserve(facts: &Facts<'_>, attempt: &Attempt) -> Result<Turn, Turn> {
    if was_minted(facts, attempt) {
        return Ok(give_up(facts, attempt));
    }
    let closes_at = gate::window(facts.desired, attempt.cause, facts.now)?;
    let until_it_closes = |turn: Turn| turn.at_the_latest(closes_at);
    gate::delay(attempt, facts.now).map_err(until_it_closes)?;
    if !facts.observation.finalizer {
        return Ok(Turn::act(Effect::AddFinalizer));
    }
    // Before the budget: whether the Secret is somebody else's is found by claiming it, and a person has to hear of that
    // at once.
    if facts.observation.target == Target::Missing {
        return Ok(Turn::act(Effect::ClaimTarget));
    }
    room_and_budget(facts, attempt.cause).map_err(until_it_closes)?;
    Ok(Turn::act(Effect::Reserve(attempt.serial)))
}

fn empty(facts: &Facts<'_>, attempt: &Attempt, slot: &Slot) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if observation.fresh_tokens().is_none() {
        return Err(Turn::read(Need::Tokens(observation.fresh_after)));
    }
    if was_minted(facts, attempt) {
        return Ok(give_up(facts, attempt));
    }
    let closes_at = gate::window(facts.desired, attempt.cause, facts.now)?;
    gate::budget(facts.account, attempt.cause, facts.now).map_err(|turn| turn.at_the_latest(closes_at))?;
    let mark = Mark {
        installation: observation.installation.clone(),
        owner: observation.owner.uid.clone(),
        serial: slot.serial,
        origin: Origin::Made,
    };
    let name = mark.name(&facts.desired.token_name);
    Ok(Turn::act(Effect::Mint { serial: slot.serial, name, rows: facts.wanted.clone() }))
}

/// Whatever dbt answered to the create call, what it lists is what counts: a token that is listed with other grants would
/// be replaced again as soon as it was published.
fn filled(facts: &Facts<'_>, attempt: &Attempt, token: TokenId) -> Result<Turn, Turn> {
    let observation = facts.observation;
    if observation.life(token) == Life::Inactive {
        return Ok(give_up(facts, attempt));
    }
    let rows = reported_rows(observation, token)?;
    if rows.is_empty() {
        return Ok(Turn::act(Effect::Grant { serial: attempt.serial, token, rows: facts.wanted.clone() }));
    }
    if *rows != facts.wanted {
        let why = Condemnation::grants_differ(rows, &facts.wanted);
        return Ok(Turn::act(Effect::Condemn { serial: attempt.serial, why }));
    }
    gate::room(observation)?;
    prove(facts, attempt, token)
}

fn reported_rows(observation: &Observation, token: TokenId) -> Result<&GrantRows, Turn> {
    match observation.life(token) {
        Life::Unlisted => Err(Turn::read(Need::Token(token))),
        _ => observation
            .fresh_tokens()
            .and_then(|tokens| tokens.get(&token))
            .map(|token| &token.rows)
            .ok_or(Turn::read(Need::Tokens(observation.fresh_after))),
    }
}

fn prove(facts: &Facts<'_>, attempt: &Attempt, token: TokenId) -> Result<Turn, Turn> {
    let observation = facts.observation;
    let probes = gate::provable(observation, facts.desired, &facts.wanted)?;
    // One that has no place goes as what was swept and may be in use: by the same rules, only that no entry names it.
    let joins = observation.current_is_usable() && observation.ledger.retiring.len() < MAXIMUM_RETIRING;
    let inheritance = link::inheritance(observation, &facts.wanted);
    let committed = observation.ledger.committed(token, joins, observation.rotate_at.clone());
    let committed = Box::new(observation.ledger.owing(committed, facts.desired.retirement.restarts()));
    Ok(Turn::act(Effect::Prove { serial: attempt.serial, token, probes, inheritance, committed }))
}

/// What a failed mint or proof leads to, at once.
pub(crate) fn after_rejection(observation: &Observation, now: Timestamp) -> Option<Effect> {
    let attempt = observation.ledger.next.as_ref()?;
    let opening =
        Opening { fingerprint: attempt.fingerprint.clone(), cause: attempt.cause, failures: attempt.failures.saturating_add(1) };
    let ledger = observation.ledger.opened(&observation.installation, opening, observation.highest_serial(), now);
    Some(Effect::WriteLedger { entry: LedgerEntry::GiveUp, ledger: Box::new(ledger) })
}

#[cfg(test)]
mod tests;
