//! A ledger that was lost (status wiped, backup restored), or set back to what it was before the last commit, is written
//! again from what cannot be lost with it: the slots, and the token in the target. Destroys nothing, and names only what was
//! committed once.

use jiff::Timestamp;

use crate::effect::{LedgerEntry, Need};
use crate::identity::{Serial, TokenId};
use crate::ledger::{Entry, Ledger, MAXIMUM_RETIRING};
use crate::observation::{Life, Observation, Slot, Target};
use crate::plan::Turn;
use crate::stage::write;

/// Names the highest committed slot as `current` and the others as retiring. The target is asked only for a token whose
/// slot is gone, and never which of several is the current one.
pub fn rebuild(observation: &Observation, _now: Timestamp) -> Turn {
    let is_lost = observation.ledger.is_blank() && has_traces(observation);
    if !(is_lost || is_behind(observation)) || observation.account.open().is_none() {
        return Turn::Pass(None);
    }
    if observation.fresh_tokens().is_none() {
        return Turn::read(Need::Tokens(observation.fresh_after));
    }
    write(observation, LedgerEntry::Rebuild, rebuilt(observation))
}

/// Whether somebody set the status back: see [`published_since`].
pub(crate) fn is_behind(observation: &Observation) -> bool {
    published_since(observation).is_some()
}

/// The token that the target holds, if it was committed after the one that the ledger calls current. That older one may have
/// been revoked since, or be about to be.
pub(crate) fn published_since(observation: &Observation) -> Option<TokenId> {
    let ledger = &observation.ledger;
    let is_after = |slot: &&Slot| ledger.current.is_none_or(|current| slot.serial > current.serial);
    let is_published = |token: &TokenId| observation.target_holds(*token) && observation.life(*token) != Life::Inactive;
    let later = observation.slots.iter().filter(|slot| slot.committed && !slot.retained).filter(is_after);
    later.filter_map(Slot::token).find(is_published).filter(|_| !ledger.is_blank())
}

fn has_traces(observation: &Observation) -> bool {
    let slots = observation.slots.iter().any(|slot| !slot.retained);
    let target = matches!(&observation.target, Target::Ours(state) if state.token.is_some());
    slots || target || observation.known_tokens().any(|token| observation.own_mark(token).is_some())
}

fn rebuilt(observation: &Observation) -> Ledger {
    let mut entries: Vec<Entry> = observation.slots.iter().filter_map(|slot| committed_entry(observation, slot)).collect();
    entries.sort();
    let current = entries.pop().or_else(|| target_entry(observation));
    let in_target = target_entry(observation).filter(|entry| Some(*entry) != current && !entries.contains(entry));
    // Of too many, the newest stay, and the one that consumers hold in any case; the others are swept later, by the rule
    // for tokens that were in use.
    let room = MAXIMUM_RETIRING - usize::from(in_target.is_some());
    let mut retiring: Vec<Entry> = in_target.into_iter().collect();
    retiring.extend(entries.iter().skip(entries.len().saturating_sub(room)));
    retiring.sort();
    let ledger = &observation.ledger;
    let handled_rotate_at = if ledger.is_blank() { &observation.rotate_at } else { &ledger.handled_rotate_at };
    Ledger {
        installation: Some(observation.installation.clone()),
        serial: serial(observation),
        current,
        retiring,
        next: None,
        handled_rotate_at: handled_rotate_at.clone(),
        ..ledger.clone()
    }
}

/// Marks count only where the whole status was lost: above a ledger that was set back they tell of tokens whose slots were
/// set back with it, which a person has to confirm.
fn serial(observation: &Observation) -> i64 {
    if observation.ledger.is_blank() {
        // Never 0, even if nothing tells of a serial: a ledger that stays blank would be rebuilt again and again.
        return observation.highest_serial().0.max(1);
    }
    observation.slots.iter().map(|slot| slot.serial.0).fold(observation.ledger.serial, i64::max)
}

/// A committed slot counts unless a read of that very token answered that it is inactive.
fn committed_entry(observation: &Observation, slot: &Slot) -> Option<Entry> {
    let token = slot.token()?;
    let counts = slot.committed && !slot.retained && observation.life(token) != Life::Inactive;
    counts.then_some(Entry { serial: slot.serial, token })
}

/// The live token in the target, if it carries our mark and its slot is gone.
pub(crate) fn target_entry(observation: &Observation) -> Option<Entry> {
    let Target::Ours(state) = &observation.target else { return None };
    let token = observation.known_tokens().find(|token| Some(token.id) == state.token && token.active)?;
    let serial: Serial = observation.own_mark(token)?.serial;
    observation.slot(serial).is_none().then_some(Entry { serial, token: token.id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{now, object, turn};
    use crate::observation::Observation;

    /// The object after its status was lost.
    fn wiped(observation: Observation) -> Observation {
        observation.with(|it| {
            it.ledger = Ledger::default();
            it.record = crate::observation::Record::default();
        })
    }

    fn check(observation: Observation, expected: &str) {
        assert_eq!(turn(&rebuild(&wiped(observation), now())), expected);
    }

    #[test]
    fn a_lost_ledger_is_written_again_from_what_was_committed() {
        let published = || object().published(5, 2202);
        check(object(), "pass");
        check(object().claimed(), "pass");
        check(object().retained_record(5, 2202), "pass");
        check(published(), "rebuild; serial 5, current 5:2202");
        check(published().unlisted(2202), "rebuild; serial 5, current 5:2202");
        check(published().inactive(2202), "rebuild; serial 5");
        check(published().gone(2202), "rebuild; serial 5");
        check(published().filled_slot(6, 2203), "rebuild; serial 6, current 5:2202");
        check(published().empty_slot(6), "rebuild; serial 6, current 5:2202");
        check(published().listed(8, 2210), "rebuild; serial 8, current 5:2202");
        check(published().committed_slot(6, 2203), "rebuild; serial 6, current 6:2203, retiring 5:2202");
        check(object().empty_slot(6), "rebuild; serial 6");
        check(object().listed(6, 2203), "rebuild; serial 6");
        check(published().with(|it| it.rotate_at = Some("noon".into())), "rebuild; serial 5, current 5:2202, handled noon");
        check(published().with(|it| it.finalizer = false), "add_finalizer");
    }

    #[test]
    fn the_target_names_only_a_token_whose_slot_is_gone() {
        let published = || object().published(5, 2202);
        check(published().slot_lost(5), "rebuild; serial 5, current 5:2202");
        check(published().slot_lost(5).unlisted(2202).empty_slot(4), "rebuild; serial 4");
        check(published().slot_lost(5).inactive(2202), "rebuild; serial 5");
        check(published().slot_lost(5).committed_slot(6, 2203), "rebuild; serial 6, current 6:2203, retiring 5:2202");
        let older =
            published().slot_lost(5).retiring(3, 2183, 9).retiring(2, 2182, 9).retiring(1, 2181, 9).committed_slot(6, 2203);
        check(older, "rebuild; serial 6, current 6:2203, retiring 2:2182 3:2183 5:2202");
        let many = published().retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9).retiring(1, 2181, 9);
        check(many, "rebuild; serial 5, current 5:2202, retiring 2:2182 3:2183 4:2184");
    }

    #[test]
    fn a_rebuild_waits_for_a_list_and_for_the_account() {
        let published = || object().published(5, 2202);
        check(published().stale(), "read tokens");
        check(published().listless(), "read tokens");
        check(published().not_ready(), "pass");
        assert_eq!(turn(&rebuild(&published(), now())), "pass");
    }

    #[test]
    fn a_ledger_that_was_set_back_is_written_again_from_what_was_committed_since() {
        let check = |observation: &Observation, expected: &str| assert_eq!(turn(&rebuild(observation, now())), expected);
        let behind = |serial: i64| object().published(5, 2202).committed_slot(serial, 2206).listed(serial, 2206).holding(2206);
        let again = "rebuild; serial 6, current 6:2206, retiring 5:2202";
        check(&behind(6), again);
        check(&behind(6).unlisted(2206), again);
        check(&behind(6).inactive(2202), "rebuild; serial 6, current 6:2206");
        check(&behind(6).slot_lost(5), "rebuild; serial 6, current 6:2206");
        // The attempt that made the token is over, and so is any other that was opened beside it.
        check(&behind(6).attempt(6, crate::ledger::Cause::Requested, 0), again);
        check(&behind(6).attempt(7, crate::ledger::Cause::Requested, 0), "rebuild; serial 7, current 6:2206, retiring 5:2202");
        // A mark without a slot is for a person to judge.
        let found = |serial: i64| behind(6).with(|it| it.ledger.set_back = Some(Serial(serial)));
        check(&behind(6).listed(9, 2209), again);
        check(&found(9), "rebuild; serial 6, current 6:2206, retiring 5:2202, set back 9");
        check(&found(6), "rebuild; serial 6, current 6:2206, retiring 5:2202, set back 6");
        let requests = behind(6).with(|it| it.rotate_at = Some("noon".into()));
        check(&requests, again);
        check(&behind(6).stale(), "read tokens");
        check(&behind(6).not_ready(), "pass");
        // What the target does not hold, or was never committed, is no reason.
        check(&behind(6).holding(2202), "pass");
        check(&behind(6).inactive(2206), "pass");
        check(&behind(6).slot_changed(6, |slot| slot.committed = false), "pass");
        check(&behind(6).slot_changed(6, |slot| slot.retained = true), "pass");
        check(&behind(4), "pass");
    }

    #[test]
    fn a_rebuilt_ledger_is_not_lost_any_more() {
        // Nothing but a target tells of the object: the token in it is unknown to dbt.
        check(object().holding(2202), "rebuild; serial 1");
        check(object().empty_slot(0), "rebuild; serial 1");
        check(object().empty_slot(-5), "rebuild; serial 1");
    }
}
