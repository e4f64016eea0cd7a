//! Removing what nothing names any more: slots of attempts that were given up, and tokens whose string was lost.
//!
//! Only serials that are not above the ledger's are touched, since only for them "named nowhere" is permanent. What may
//! have reached a consumer (its slot was committed, or is gone and dbt saw the token used) waits until a successor is
//! published for the whole overlap, and goes the way of a retiring token.

use jiff::Timestamp;

use crate::effect::{Effect, Need, RevokedBecause};
use crate::identity::{Serial, TokenId};
use crate::ledger::Entry;
use crate::observation::{Condemnation, Life, Observation, Slot, SlotContent, Token};
use crate::plan::Turn;
use crate::stage::retire::{replaced_at, retirement};

/// Closes, condemns and revokes, one a pass.
pub fn sweep(observation: &Observation, now: Timestamp) -> Turn {
    if !may_sweep(observation) {
        return Turn::Pass(None);
    }
    let slots: Vec<&Slot> = observation.slots.iter().filter(|slot| is_unnamed(observation, slot)).collect();
    let strays: Vec<(&Token, Serial)> = strays(observation);
    if slots.is_empty() && strays.is_empty() {
        return Turn::Pass(None);
    }
    if observation.fresh_tokens().is_none() {
        return Turn::read(Need::Tokens(observation.fresh_after));
    }
    let turns = slots.into_iter().map(|slot| sweep_slot(observation, slot, now));
    first(turns.chain(strays.into_iter().map(|(token, serial)| sweep_stray(observation, token, serial, now))))
}

/// What goes the way of a retiring token although no ledger names it, and since when it counts as replaced.
pub(crate) fn kept(observation: &Observation) -> Vec<(Entry, Option<Timestamp>)> {
    if !may_sweep(observation) {
        return Vec::new();
    }
    let slots = observation.slots.iter().filter(|slot| is_unnamed(observation, slot) && slot.committed);
    let stored = slots.filter_map(|slot| {
        let token = slot.token().filter(|token| is_this_slots(observation, slot, *token))?;
        (observation.life(token) == Life::Active).then_some(Entry { serial: slot.serial, token })
    });
    let lost = strays(observation).into_iter().filter(|(token, serial)| may_be_in_use(observation, token, *serial));
    let lost = lost.map(|(token, serial)| Entry { serial, token: token.id });
    stored.chain(lost).map(|entry| (entry, replaced(observation, entry.token))).collect()
}

fn may_sweep(observation: &Observation) -> bool {
    !observation.ledger.is_blank() && observation.ledger.set_back.is_none() && observation.account.open().is_some()
}

/// The first turn that takes a step; otherwise the earliest time at which one may.
fn first(turns: impl Iterator<Item = Turn>) -> Turn {
    let mut earliest = None;
    for turn in turns {
        match turn {
            Turn::Take(..) => return turn,
            Turn::Pass(time) => earliest = [earliest, time].into_iter().flatten().min(),
        }
    }
    Turn::Pass(earliest)
}

fn is_unnamed(observation: &Observation, slot: &Slot) -> bool {
    !slot.retained && slot.serial.0 <= observation.ledger.serial && !observation.ledger.names(slot.serial)
}

fn sweep_slot(observation: &Observation, slot: &Slot, now: Timestamp) -> Turn {
    let token = match &slot.content {
        // An empty slot is closed first, so that nothing can be put into it; its token is a stray from then on.
        SlotContent::Empty => return Turn::act(Effect::CloseSlot(slot.serial)),
        SlotContent::Filled { token, .. } => *token,
    };
    match observation.life(token) {
        // A claim that was given up is given back; its token stays as it was.
        _ if slot.adopted.is_some() && !slot.committed => Turn::act(Effect::CloseSlot(slot.serial)),
        // A filled slot is closed last: it may be the only proof that the token is ours.
        Life::Inactive => Turn::act(Effect::CloseSlot(slot.serial)),
        Life::Unlisted => Turn::read(Need::Token(token)),
        Life::Unknown => Turn::Pass(None),
        Life::Active if !is_this_slots(observation, slot, token) => Turn::Pass(None),
        Life::Active if slot.committed => retirement(observation, token, slot.serial, replaced(observation, token), now),
        Life::Active if slot.condemned.is_none() => {
            Turn::act(Effect::Condemn { serial: slot.serial, why: Condemnation::superseded() })
        }
        Life::Active => Turn::act(Effect::Revoke { token, serial: slot.serial, because: RevokedBecause::Stray }),
    }
}

/// Whether a token may go by this slot. Not if it is somebody else's, or if the ledger names it under another serial: both
/// never happen. And what somebody else made goes by the slot of its adoption only.
fn is_this_slots(observation: &Observation, slot: &Slot, token: TokenId) -> bool {
    let is_known = observation.is_ours(token) && !observation.ledger.names_token(token);
    is_known && (slot.adopted.is_some() || !observation.is_adopted(token))
}

/// Active tokens with our mark that no slot of ours holds and that the ledger does not name. One that was adopted is none:
/// without its slot nothing tells whether somebody else still hands it out.
fn strays(observation: &Observation) -> Vec<(&Token, Serial)> {
    let named = observation.named_tokens();
    observation
        .known_tokens()
        .filter(|token| token.active && !named.contains(&token.id) && !observation.is_adopted(token.id))
        .filter_map(|token| observation.own_mark(token).map(|mark| (token, mark.serial)))
        .filter(|(token, serial)| serial.0 <= observation.ledger.serial && !observation.is_let_go(token.id, *serial))
        .filter(|(_, serial)| !may_still_be_taken_up(observation, *serial))
        .collect()
}

/// The attempt under way decides about its own token: as long as its slot is empty, the string may be on its way there.
fn may_still_be_taken_up(observation: &Observation, serial: Serial) -> bool {
    let under_way = observation.ledger.next.as_ref().is_some_and(|attempt| attempt.serial == serial);
    under_way && observation.slot(serial).is_none_or(|slot| slot.content == SlotContent::Empty)
}

fn sweep_stray(observation: &Observation, token: &Token, serial: Serial, now: Timestamp) -> Turn {
    if !may_be_in_use(observation, token, serial) {
        return Turn::act(Effect::Revoke { token: token.id, serial, because: RevokedBecause::Stray });
    }
    retirement(observation, token.id, serial, replaced(observation, token.id), now)
}

/// Whether a stray may have been published. The string of one whose serial another token has was never kept.
fn may_be_in_use(observation: &Observation, token: &Token, serial: Serial) -> bool {
    !observation.ledger.names(serial) && (token.last_used.is_some() || observation.target_holds(token.id))
}

/// Since when a token that the ledger does not name may count as replaced: since the published one took its place, and not
/// before the time that a status tells, if it tells one.
fn replaced(observation: &Observation, token: TokenId) -> Option<Timestamp> {
    replaced_at(observation, token).max(observation.record.published.as_ref().map(|published| published.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, now, object, turn};
    use crate::ledger::Cause;
    use crate::observation::CondemnedReason::{GrantsDiffer, Superseded};
    use crate::report::RetiringRecord;

    fn check(observation: &Observation, expected: &str) {
        assert_eq!(turn(&sweep(observation, now())), expected);
    }

    fn published() -> Observation {
        object().published(5, 2202)
    }

    #[test]
    fn slots_that_nothing_names_are_emptied_and_closed() {
        check(&published(), "pass");
        check(&published().empty_slot(4), "close_slot 4");
        check(&published().filled_slot(4, 2190).listed(4, 2190), "condemn 4 Superseded");
        check(&published().condemned_slot(4, 2190, Superseded).listed(4, 2190), "revoke 4:2190 Stray");
        check(&published().condemned_slot(4, 2190, GrantsDiffer).listed(4, 2190).inactive(2190), "close_slot 4");
        check(&published().condemned_slot(4, 2190, GrantsDiffer).gone(2190), "close_slot 4");
        check(&published().filled_slot(4, 2190), "read token 2190");
        check(&published().filled_slot(4, 2190).listed(4, 2190).inactive(2190), "close_slot 4");
        let foreign = |token: &mut Token| token.mark.as_mut().expect("a mark").owner = crate::identity::OwnerUid::new("x");
        check(&published().filled_slot(4, 2190).listed(4, 2190).token(2190, foreign), "pass");
        check(&published().condemned_slot(4, 2190, Superseded).listed(4, 2190).token(2190, foreign), "pass");
        check(&published().condemned_slot(4, 2202, Superseded), "pass");
        check(&published().retained_record(4, 2190).listed(4, 2190), "pass");
        check(&published().empty_slot(6), "pass");
        check(&published().filled_slot(6, 2206), "pass");
        check(&published().attempt(6, Cause::Requested, 0).empty_slot(6), "pass");
        check(&published().attempt(6, Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206), "pass");
        check(&published().retiring(4, 2190, 9), "pass");
    }

    #[test]
    fn tokens_whose_string_was_lost_are_revoked() {
        check(&published().listed(4, 2190), "revoke 4:2190 Stray");
        check(&published().listed(4, 2190).inactive(2190), "pass");
        check(&published().listed(6, 2206), "pass");
        check(&published().listed(4, 2190).retained_record(4, 2190), "pass");
        // Another process made a second token of a serial whose token was let go.
        check(&published().listed(4, 2190).retained_record(4, 9), "revoke 4:2190 Stray");
        check(&published().listed(5, 2203), "revoke 5:2203 Stray");
        let attempt = || published().attempt(6, Cause::Requested, 0).listed(6, 2206);
        check(&attempt(), "pass");
        check(&attempt().empty_slot(6), "pass");
        check(&attempt().filled_slot(6, 2207), "revoke 6:2206 Stray");
        check(&attempt().filled_slot(6, 2206), "pass");
    }

    #[test]
    fn what_may_be_in_use_goes_the_way_of_a_retiring_token() {
        let used = || published().listed(4, 2190).token(2190, |token| token.last_used = Some(at(-9)));
        let just = |it: Observation| it.with(|it| it.record.published.as_mut().expect("published").at = at(-100));
        check(&used(), "retire 4:2190 after 5");
        check(&just(used()), "pass until +500");
        check(&used().claimed(), "pass");
        check(&published().listed(4, 2190).holding(2190), "pass");
        check(&published().committed_slot(4, 2190).listed(4, 2190), "retire 4:2190 after 5");
        check(&just(published().committed_slot(4, 2190).listed(4, 2190)), "pass until +500");
        check(&just(published().committed_slot(4, 2190).listed(4, 2190)).listed(3, 2183), "revoke 3:2183 Stray");
    }

    /// A status that a stranger wrote may tell of a swap that is still to come.
    #[test]
    fn a_swap_that_a_status_tells_of_counts_if_it_is_later() {
        let told = |seconds: i64| {
            published().committed_slot(4, 2190).listed(4, 2190).with(|it| {
                it.record.retiring.push(RetiringRecord { token: TokenId(2190), replaced_at: at(seconds) });
            })
        };
        check(&told(-90_000), "retire 4:2190 after 5");
        check(&told(500), "pass until +1100");
    }

    #[test]
    fn what_may_be_in_use_and_is_compromised_does_not_wait() {
        let just = published().with(|it| it.record.published.as_mut().expect("published").at = at(-100));
        let called = |it: Observation| it.with(|it| it.ledger.compromised = Some(Serial(4)));
        check(&called(just.clone().committed_slot(4, 2190).listed(4, 2190)), "retire 4:2190 after 5");
        check(&called(just.clone().committed_slot(4, 2190).listed(4, 2190)).claimed(), "pass");
        check(&just.committed_slot(4, 2190).listed(4, 2190), "pass until +500");
    }

    #[test]
    fn nothing_is_swept_in_doubt() {
        let stray = || published().listed(4, 2190).empty_slot(3);
        check(&stray().with(|it| it.ledger = crate::ledger::Ledger::default()), "pass");
        check(&stray().with(|it| it.ledger.set_back = Some(Serial(9))), "pass");
        check(&stray().not_ready(), "pass");
        check(&stray().stale(), "read tokens");
        check(&published().stale(), "pass");
        check(&published().empty_slot(3).listless(), "read tokens");
        let foreign = |change: fn(&mut Token)| published().listed(4, 2190).token(2190, change);
        check(&foreign(|token| token.mark = None), "pass");
        check(
            &foreign(|token| token.mark.as_mut().expect("a mark").installation = crate::identity::Installation::new("x")),
            "pass",
        );
        check(&foreign(|token| token.mark.as_mut().expect("a mark").owner = crate::identity::OwnerUid::new("x")), "pass");
    }
}
