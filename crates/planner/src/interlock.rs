//! A second opinion on every effect, written without the stages: would it, on this observation, break a promise?
//! The shell refuses to run what the interlock refuses, and says that a person must look.

use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Desired, OnDeadline};
use crate::effect::{Effect, LedgerEntry, RevokedBecause};
use crate::identity::{Serial, TokenId};
use crate::ledger::{Ledger, MAXIMUM_RETIRING};
use crate::observation::{
    Consumer, Consumers, Life, Observation, Pace, SlotContent, Target, Way, Workload, WorkloadReference, Workloads,
};

/// Why an effect is refused.
pub type Objection = &'static str;

/// Whether the effect may run.
///
/// # Errors
/// The promise that it would break.
pub fn check(observation: &Observation, effect: &Effect) -> Result<(), Objection> {
    let observation = observation.of_this_installation();
    let observation = observation.as_ref();
    let only_looks = matches!(effect, Effect::InspectSource(_));
    require(only_looks || !observation.is_dry_run(), "something is done although only a plan was asked for")?;
    match effect {
        Effect::AddFinalizer => require(observation.deleted_at.is_none(), "a finalizer is added to an object under deletion"),
        Effect::WriteLedger { entry, ledger } => write_ledger(observation, *entry, ledger),
        Effect::ClaimTarget => require(observation.target == Target::Missing, "a Secret that exists is claimed"),
        Effect::Reserve(serial) => require(
            is_next(observation, *serial) && observation.slot(*serial).is_none(),
            "a slot is reserved that is not that of the attempt under way",
        ),
        Effect::Mint { serial, .. } => mint(observation, *serial),
        Effect::Grant { serial, token, .. } => is_attempted(observation, *serial, *token),
        Effect::Prove { serial, token, inheritance, .. } => {
            is_attempted(observation, *serial, *token)?;
            let named = inheritance.from.iter().all(|from| observation.ledger.names_token(*from));
            require(named, "links are taken over from a token that is not this object's")
        }
        Effect::Condemn { serial, .. } => condemn(observation, *serial),
        Effect::LabelCommitted(serial) => label_committed(observation, *serial),
        Effect::Project { serial, token, .. } => project(observation, *serial, *token),
        Effect::InspectSource(_) => require(observation.deleted_at.is_none(), "a token is adopted for an object under deletion"),
        Effect::ClaimAdoption { serial, token, .. } => claim_adoption(observation, *serial, *token),
        Effect::TakeOverTarget { serial, .. } => take_over(observation, *serial),
        Effect::Rename { serial, token, .. } => rename(observation, *serial, *token),
        Effect::CondemnAdopted { serial, token, unless_held_in } => {
            condemn_adopted(observation, *serial, *token, unless_held_in.is_none())
        }
        Effect::RestartWorkloads { serial, at, workloads } => restart(observation, *serial, *at, workloads),
        Effect::Retire { token, serial, successor, .. } => retire(observation, *token, *serial, *successor),
        Effect::Revoke { token, serial, because } => revoke(observation, *token, *serial, *because),
        Effect::CloseSlot(serial) => close_slot(observation, *serial),
        Effect::LeaveRecord { .. } | Effect::ReleaseTarget | Effect::StripTarget | Effect::RemoveFinalizer(_) => {
            require(observation.deleted_at.is_some(), "an object that is not deleted is let go")
        }
        Effect::DeleteTarget => delete_target(observation),
    }
}

fn require(holds: bool, objection: Objection) -> Result<(), Objection> {
    if holds { Ok(()) } else { Err(objection) }
}

fn is_next(observation: &Observation, serial: Serial) -> bool {
    observation.ledger.next.as_ref().is_some_and(|attempt| attempt.serial == serial)
}

fn is_current(observation: &Observation, serial: Serial) -> bool {
    observation.ledger.current.is_some_and(|current| current.serial == serial)
}

fn holds(observation: &Observation, serial: Serial, token: TokenId) -> bool {
    observation.slot(serial).and_then(|slot| slot.token()) == Some(token)
}

fn is_attempted(observation: &Observation, serial: Serial, token: TokenId) -> Result<(), Objection> {
    let is_held = is_next(observation, serial) && holds(observation, serial, token);
    require(is_held, "a token is proved that its slot does not hold")
}

fn write_ledger(observation: &Observation, entry: LedgerEntry, ledger: &Ledger) -> Result<(), Objection> {
    let before = &observation.ledger;
    require(ledger.installation.as_ref() == Some(&observation.installation), "a ledger is written for another installation")?;
    require(ledger.serial >= before.serial, "the ledger's serial goes back")?;
    require(ledger.retiring.len() <= MAXIMUM_RETIRING, "too many tokens are retiring")?;
    let keeps_current = ledger.current == before.current;
    let keeps_compromised = ledger.compromised >= before.compromised || entry == LedgerEntry::Rebuild;
    require(keeps_compromised, "a compromised token is taken for a sound one")?;
    let keeps_set_back = ledger.set_back >= before.set_back || entry == LedgerEntry::SetBackConfirmed;
    require(keeps_set_back, "it is forgotten that the cluster may have been set back in time")?;
    let opens_new =
        ledger.next.as_ref().is_none_or(|attempt| before.next.as_ref() == Some(attempt) || attempt.serial.0 > before.serial);
    require(opens_new, "a serial is opened twice")?;
    let keeps_restarted = ledger.restarted == before.restarted;
    let forgets = matches!(entry, LedgerEntry::Rebuild | LedgerEntry::Restarted);
    require(keeps_restarted || forgets, "a restart is forgotten")?;
    match entry {
        LedgerEntry::Restarted => {
            let of_current = ledger.restarted.is_some() && ledger.restarted == before.current.map(|current| current.serial);
            let alone = Ledger { restarted: before.restarted, ..ledger.clone() } == *before;
            require(of_current && alone, "more than a restart is written down")
        }
        LedgerEntry::Rebuild => {
            let forward = ledger.current.map(|current| current.serial) >= before.current.map(|current| current.serial);
            require(before.is_blank() || is_set_back(observation), "a ledger is rebuilt that is neither lost nor set back")?;
            require(forward, "an older token is published again")
        }
        LedgerEntry::Clear => require(observation.deleted_at.is_some(), "the ledger of a living object is cleared"),
        LedgerEntry::Forget(serial) => {
            let gone = before.retiring.iter().find(|entry| entry.serial == serial);
            let inactive = gone.is_some_and(|entry| observation.life(entry.token) == Life::Inactive);
            require(keeps_current && inactive, "a retiring token is forgotten that was not seen inactive")
        }
        _ => require(keeps_current && ledger.retiring == before.retiring, "the published token changes without a proof"),
    }
}

/// Whether consumers find a token that was committed after the one that the ledger calls current.
fn is_set_back(observation: &Observation) -> bool {
    let current = observation.ledger.current.map(|current| current.serial);
    let is_found = |token| observation.target_holds(token);
    let mut found = observation.slots.iter().filter(|slot| slot.token().is_some_and(is_found));
    found.any(|slot| slot.committed && Some(slot.serial) > current)
}

fn mint(observation: &Observation, serial: Serial) -> Result<(), Objection> {
    let empty = observation.slot(serial).is_some_and(|slot| slot.content == SlotContent::Empty);
    let marked = observation.known_tokens().filter_map(|token| observation.own_mark(token)).any(|mark| mark.serial == serial);
    require(observation.deleted_at.is_none(), "a token is made for an object under deletion")?;
    require(is_next(observation, serial) && empty && !marked, "a second token is made for one serial")
}

fn condemn(observation: &Observation, serial: Serial) -> Result<(), Objection> {
    let committed = observation.slot(serial).is_none_or(|slot| slot.committed);
    require(!committed && !is_current(observation, serial), "a committed slot is condemned")
}

/// Only the first token of an object is adopted, and none that carries the mark of another installation.
fn claim_adoption(observation: &Observation, serial: Serial, token: TokenId) -> Result<(), Objection> {
    let first = observation.ledger.current.is_none() && observation.ledger.retiring.is_empty();
    require(observation.deleted_at.is_none() && first, "a token is adopted for an object that has one")?;
    let free = is_next(observation, serial) && observation.slot(serial).is_none();
    require(free, "a token is adopted outside the attempt under way")?;
    require(!is_foreign(observation, token), "a token of another installation is adopted")?;
    let active = observation.fresh_tokens().and_then(|tokens| tokens.get(&token)).is_some_and(|token| token.active);
    require(active, "a token is adopted that dbt does not list")
}

fn is_foreign(observation: &Observation, token: TokenId) -> bool {
    let mark = observation.known_tokens().find(|known| known.id == token).and_then(|known| known.mark.as_ref());
    mark.is_some_and(|mark| mark.installation != observation.installation)
}

fn take_over(observation: &Observation, serial: Serial) -> Result<(), Objection> {
    let claimed = observation.slot(serial).is_some_and(|slot| slot.adopted.is_some() && slot.condemned.is_none());
    require(is_next(observation, serial) && claimed, "a Secret is taken over before its token is claimed")?;
    require(observation.target == Target::Missing, "a Secret that is ours is taken over")
}

fn rename(observation: &Observation, serial: Serial, token: TokenId) -> Result<(), Objection> {
    let adopted = observation.slot(serial).is_some_and(|slot| slot.adopted.is_some());
    require(adopted && holds(observation, serial, token), "a token is renamed that no slot of an adoption holds")?;
    require(is_current(observation, serial), "a token is renamed that is not committed")?;
    require(!is_foreign(observation, token) && observation.is_ours(token), "a token is renamed that is not ours")
}

fn label_committed(observation: &Observation, serial: Serial) -> Result<(), Objection> {
    let was_adopted = observation.slot(serial).is_some_and(|slot| slot.adopted.is_some());
    let was_current = was_adopted && observation.ledger.retiring.iter().any(|entry| entry.serial == serial);
    require(is_current(observation, serial) || was_current, "a slot is labelled that was not committed")
}

fn condemn_adopted(observation: &Observation, serial: Serial, token: TokenId, regardless: bool) -> Result<(), Objection> {
    let adopted = observation.slot(serial).is_some_and(|slot| slot.adopted.is_some() && slot.committed);
    require(adopted && holds(observation, serial, token), "a slot is condemned as replaced that holds no adopted token")?;
    let current = observation.ledger.current.is_some_and(|current| current.token == token);
    require(!current && !is_next(observation, serial), "the published token is condemned")?;
    let excused = observation.ledger.is_compromised(serial) || observation.desired.as_ref().is_ok_and(may_end_waiting);
    require(!regardless || excused, "an adopted token is condemned whoever holds it")?;
    destroy_in_principle(observation, token)
}

fn delete_target(observation: &Observation) -> Result<(), Objection> {
    require(observation.deleted_at.is_some(), "an object that is not deleted is let go")?;
    let taken_over = matches!(&observation.target, Target::Ours(state) if state.taken_over);
    require(!taken_over, "a Secret is deleted that was there before")
}

fn project(observation: &Observation, serial: Serial, token: TokenId) -> Result<(), Objection> {
    let committed = observation.slot(serial).is_some_and(|slot| slot.committed && slot.condemned.is_none());
    require(
        is_current(observation, serial) && committed && holds(observation, serial, token),
        "a token is published that is not committed",
    )?;
    require(observation.life(token) != Life::Inactive, "a token is published that dbt no longer has")?;
    require(matches!(observation.target, Target::Ours(_)), "a Secret is written that was not seen, or is not ours")
}

/// A workload is somebody else's: it is touched once a swap, for the token that the target holds, and never against a pause.
fn restart(observation: &Observation, serial: Serial, at: Timestamp, references: &[WorkloadReference]) -> Result<(), Objection> {
    let Ok(desired) = &observation.desired else { return Err("workloads are restarted under a declaration that is refused") };
    let published = observation.record.published.as_ref();
    let current = observation.ledger.current.filter(|it| it.serial == serial && observation.target_holds(it.token));
    let Some(published) = published.filter(|it| current.is_some_and(|current| current.token == it.token)) else {
        return Err("workloads are restarted and the new token is not published");
    };
    require(observation.deleted_at.is_none(), "workloads are restarted for an object under deletion")?;
    require(observation.ledger.restarted.is_none_or(|done| done < serial), "workloads are restarted twice for one swap")?;
    require(at > published.at, "a restart cannot be told from one before the swap")?;
    let Some(Workloads::Seen { workloads, .. }) = observation.workloads.since(published.at) else {
        return Err("workloads are restarted that nobody looked at");
    };
    let may_be = |seen: &Workload| seen.restarted_at.is_none_or(|at| at <= published.at) && seen.pace != Pace::Paused;
    let is_known = |it: &WorkloadReference| workloads.iter().any(|seen| seen.reference == *it && may_be(seen));
    let declared = |it: &WorkloadReference| desired.retirement.restart.contains(&it.kind);
    require(references.iter().all(|it| declared(it) && is_known(it)), "a workload is restarted that need not or must not be")
}

fn retire(observation: &Observation, token: TokenId, serial: Serial, successor: Serial) -> Result<(), Objection> {
    let Some(current) = observation.ledger.current else { return Err("a token is retired and nothing follows it") };
    require(current.token != token && current.serial == successor && successor > serial, "the published token is retired")?;
    require(observation.target_shows(current.token), "a token is retired before its successor is published")?;
    require(observation.current_is_usable(), "a token is retired and its successor does not work")?;
    require(observation.current_is_stored(), "a token is retired and its successor cannot be tried")?;
    // What a person called compromised goes whoever holds it.
    if !observation.ledger.is_compromised(serial) {
        unneeded(observation, token)?;
    }
    destroy(observation, token)
}

/// Whether a deadline may have let a token go. Whether it has passed is a question of time, which is not asked here.
fn may_end_waiting(desired: &Desired) -> bool {
    desired.retirement.deadline.is_some_and(|deadline| deadline.then == OnDeadline::Delete)
}

/// Whether nobody is seen who still holds the token, unless a deadline may have let it go. That never excuses the use of an
/// adopted one.
fn unneeded(observation: &Observation, token: TokenId) -> Result<(), Objection> {
    let Ok(desired) = &observation.desired else { return Err("a token is retired under a declaration that is refused") };
    let (declared, adopted) = (&desired.retirement, observation.is_adopted(token));
    if may_end_waiting(desired) && !adopted {
        return Ok(());
    }
    let owed = !declared.restart.is_empty() && observation.ledger.owes_restarts();
    require(!owed || may_end_waiting(desired), "a token is retired before those who hold it were restarted")?;
    let recorded = observation.record.retiring.iter().find(|record| record.token == token).map(|record| record.replaced_at);
    let Some(swap) = recorded.or(observation.record.published.as_ref().map(|published| published.at)) else {
        return Err("a token is retired and nobody knows since when it is replaced");
    };
    if !may_end_waiting(desired) {
        unheld(observation, swap)?;
    }
    let listed = observation.known_tokens().find(|listed| listed.id == token);
    let counts = |used_at: &Timestamp| adopted && *used_at >= swap || !declared.quiet_period.is_zero();
    let Some(used_at) = listed.and_then(|listed| listed.last_used).filter(counts) else { return Ok(()) };
    // A list from the very time of a use does not tell of the next one.
    let quiet_from = used_at.checked_add(declared.quiet_period.max(Duration::from_secs(1))).unwrap_or(Timestamp::MAX);
    let list = observation.account.open().and_then(|account| account.tokens.since(quiet_from));
    require(list.is_some(), "a token is retired that dbt saw in use")
}

fn unheld(observation: &Observation, swap: Timestamp) -> Result<(), Objection> {
    let Some(Consumers::Seen(consumers)) = observation.consumers.since(swap) else {
        return Err("a token is retired and nobody looked for its consumers");
    };
    let read_before = |it: &Consumer| it.created_at <= swap && it.running_since.is_some_and(|since| since <= swap);
    let held = consumers.iter().any(|it| it.way != Way::Volume && read_before(it));
    require(!held, "a token is retired that a pod holds")
}

fn revoke(observation: &Observation, token: TokenId, serial: Serial, because: RevokedBecause) -> Result<(), Objection> {
    if because == RevokedBecause::Deletion {
        let cleared = observation.ledger.current.is_none() && observation.ledger.next.is_none();
        require(observation.deleted_at.is_some() && cleared, "a token is revoked before the deletion is recorded")?;
        return destroy(observation, token);
    }
    require(!observation.ledger.names_token(token), "a token is swept that the ledger names")?;
    require(serial.0 <= observation.ledger.serial, "a token is swept that the ledger may still come to name")?;
    let slot = observation.slot(serial);
    let harmless = slot.is_none_or(|slot| slot.condemned.is_some() && !slot.committed || slot.token() != Some(token));
    require(harmless, "a token is swept whose string may still be published")?;
    destroy(observation, token)
}

/// What holds for every destruction: the token is ours, nobody doubts that this cluster is the only one, and what somebody
/// else made was condemned first.
fn destroy(observation: &Observation, token: TokenId) -> Result<(), Objection> {
    let condemned = observation
        .slots
        .iter()
        .any(|slot| slot.token() == Some(token) && slot.adopted.is_some() && slot.condemned.is_some() && !slot.retained);
    require(!observation.is_adopted(token) || condemned, "an adopted token is revoked that was not condemned")?;
    destroy_in_principle(observation, token)
}

fn destroy_in_principle(observation: &Observation, token: TokenId) -> Result<(), Objection> {
    require(observation.is_ours(token), "a token is revoked that is not ours")?;
    require(!observation.ledger.is_blank() || observation.deleted_at.is_some(), "a token is revoked with an empty ledger")?;
    require(observation.ledger.set_back.is_none(), "a token is revoked although the cluster may have been set back in time")?;
    require(observation.fresh_tokens().is_some(), "a token is revoked on an old list")
}

fn close_slot(observation: &Observation, serial: Serial) -> Result<(), Objection> {
    let Some(slot) = observation.slot(serial) else { return Err("a slot is closed that is not there") };
    if observation.deleted_at.is_some() {
        return Ok(());
    }
    require(serial.0 <= observation.ledger.serial, "a slot is closed that the ledger may still come to name")?;
    require(!is_next(observation, serial) && !is_current(observation, serial), "the slot of a token in use is closed")?;
    let gone = slot.token().is_none_or(|token| observation.life(token) == Life::Inactive);
    // A claim that was never committed is given back, and its token lives on.
    let given_back = slot.adopted.is_some() && !slot.committed;
    require(gone || given_back, "a slot is closed whose token still lives")
}

#[cfg(test)]
mod tests;
