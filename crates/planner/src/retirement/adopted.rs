//! What is so of an adopted token alone. Others than the operator's Secret may have handed it out, so that it goes only when
//! its source does not hold it any more and dbt has shown no use of it (see [`super::last_used`]); and its slot is condemned
//! first, so that nobody adopts it in between. One whose slot is lost is never revoked at all.

use jiff::Timestamp;

use super::last_used::{QUIET, may_be_used_since};
use super::{Answer, Case};
use crate::adoption::{Finding, Source};
use crate::effect::Effect;
use crate::identity::TokenId;
use crate::observation::{Life, Observation, Slot};
use crate::plan::Turn;
use crate::stage::retire::{later, replaced_at};

fn slot_of(observation: &Observation, token: TokenId) -> Option<(&Slot, &Source)> {
    let slot = observation.slots.iter().find(|slot| slot.token() == Some(token) && !slot.retained && slot.adopted.is_some())?;
    slot.adopted.as_ref().map(|source| (slot, source))
}

fn slot_of_case<'a>(case: &Case<'a>) -> Option<(&'a Slot, &'a Source)> {
    slot_of(case.observation, case.old.token).filter(|(slot, _)| slot.serial == case.old.serial)
}

/// Whether the token's slot says that it may be revoked.
pub(crate) fn is_condemned(observation: &Observation, token: TokenId) -> bool {
    slot_of(observation, token).is_some_and(|(slot, _)| slot.condemned.is_some())
}

/// Why an adopted token is never revoked, if so: without its slot nothing keeps others from adopting it.
pub(super) fn hindrance(case: &Case<'_>) -> Option<String> {
    let token = case.old.token;
    let lost = case.observation.is_adopted(token) && slot_of_case(case).is_none();
    lost.then(|| format!("token {token} was adopted, and the operator's copy of it is gone; revoke it in dbt"))
}

/// `AdoptSource`: the Secret that the token was adopted from does not hold its string any more. Once the slot is condemned
/// that was so, and nobody adopts it from there again.
pub(super) fn source(case: &Case<'_>) -> Answer {
    let (observation, token) = (case.observation, case.old.token);
    let Some((slot, source)) = slot_of_case(case) else { return Answer::Holds };
    let look = observation.look.as_ref().filter(|look| look.finding == Finding::StillHeld(token));
    let Some(look) = look.filter(|_| slot.condemned.is_none()) else { return Answer::Holds };
    let Source { secret, key } = source;
    let ours = &case.desired.secret_name;
    let message =
        format!("Secret {secret}, key {key}, still holds token {token}; move its readers to Secret {ours}, then delete the key");
    if look.is_believed(case.now) {
        return Answer::Waits { message, look_again_at: Some(look.until()) };
    }
    // What was found stays said until something else is found.
    Answer::LookedAtAgain { message }
}

/// What comes before the revocation of an adopted token, when all rules hold; `None` if it is not adopted or was condemned.
/// The label `committed` is there first: its successor may have been made while the API server refused to write it.
pub(crate) fn condemnation(case: &Case<'_>) -> Option<Turn> {
    let (slot, source) = slot_of_case(case).filter(|(slot, _)| slot.condemned.is_none())?;
    if !slot.committed {
        return Some(Turn::act(Effect::LabelCommitted(slot.serial)));
    }
    let unless_held_in = (!case.goes_regardless_of_consumers()).then(|| source.clone());
    Some(Turn::act(Effect::CondemnAdopted { serial: slot.serial, token: case.old.token, unless_held_in }))
}

/// What becomes of the object's adopted tokens when it is deleted and its tokens are to be revoked: the next step, before
/// the ledger is cleared. One that nobody uses, or that a person called compromised, is condemned and revoked with the
/// others; any other is let go.
pub(crate) fn at_deletion(observation: &Observation, now: Timestamp) -> Option<Turn> {
    let open = observation.slots.iter().filter(|slot| !slot.retained && slot.condemned.is_none());
    let mut adopted = open.filter_map(|slot| Some((slot, slot.adopted.as_ref()?, slot.token()?)));
    let (slot, source, token) = adopted.next()?;
    let serial = slot.serial;
    // A claim that was never committed is given back, and one that was let go is closed.
    if !slot.committed || observation.is_retained(serial) {
        return Some(Turn::act(Effect::CloseSlot(serial)));
    }
    let ours = observation.life(token) == Life::Active && observation.is_ours(token);
    let is_published = observation.ledger.current.is_some_and(|current| current.token == token);
    if !ours || is_published {
        return Some(Turn::act(Effect::LeaveRecord { serial, token }));
    }
    if observation.ledger.is_compromised(serial) {
        return Some(Turn::act(Effect::CondemnAdopted { serial, token, unless_held_in: None }));
    }
    Some(Turn::act(if is_needed(observation, token, now) {
        Effect::LeaveRecord { serial, token }
    } else {
        Effect::CondemnAdopted { serial, token, unless_held_in: Some(source.clone()) }
    }))
}

/// Whether anybody was seen to need an adopted token since it was replaced.
fn is_needed(observation: &Observation, token: TokenId, now: Timestamp) -> bool {
    if observation.look.as_ref().is_some_and(|look| look.finding == Finding::StillHeld(token)) {
        return true;
    }
    let published = observation.record.published.as_ref().filter(|published| published.token != token);
    let replaced = replaced_at(observation, token).or(published.map(|published| published.at));
    let used = observation.known_tokens().find(|known| known.id == token).and_then(|known| known.last_used);
    let period = observation.desired.as_ref().map_or(QUIET, |desired| desired.retirement.quiet_period.max(QUIET));
    used.filter(|used| replaced.is_none_or(|replaced| may_be_used_since(*used, replaced)))
        .is_some_and(|used| now < later(used, period))
}

#[cfg(test)]
mod tests;
