//! A ledger that was lost (status wiped, backup restored) is written again from what cannot be lost with it: the slots,
//! and the token in the target. Destroys nothing, and names only what was committed once.

use jiff::Timestamp;

use crate::effect::{LedgerEntry, Need};
use crate::identity::Serial;
use crate::ledger::{Entry, Ledger, MAXIMUM_RETIRING};
use crate::observation::{Life, Observation, Slot, Target};
use crate::plan::Turn;
use crate::stage::write;

/// Names the highest committed slot as `current` and the others as retiring. The target is asked only for a token whose
/// slot is gone, and never which of several is the current one.
pub fn rebuild(observation: &Observation, _now: Timestamp) -> Turn {
    if !observation.ledger.is_blank() || !has_traces(observation) || observation.account.open().is_none() {
        return Turn::Pass(None);
    }
    if observation.fresh_tokens().is_none() {
        return Turn::read(Need::Tokens(observation.fresh_after));
    }
    write(observation, LedgerEntry::Rebuild, rebuilt(observation))
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
    Ledger {
        installation: Some(observation.installation.clone()),
        serial: observation.highest_serial().0,
        current,
        retiring,
        handled_rotate_at: observation.rotate_at.clone(),
        ..observation.ledger.clone()
    }
}

/// A committed slot counts unless a read of that very token answered that it is inactive.
fn committed_entry(observation: &Observation, slot: &Slot) -> Option<Entry> {
    let token = slot.token()?;
    let counts = slot.committed && !slot.retained && observation.life(token) != Life::Inactive;
    counts.then_some(Entry { serial: slot.serial, token })
}

/// The live token in the target, if it carries our mark and its slot is gone.
fn target_entry(observation: &Observation) -> Option<Entry> {
    let Target::Ours(state) = &observation.target else { return None };
    let token = observation.known_tokens().find(|token| Some(token.id) == state.token && token.active)?;
    let serial: Serial = observation.own_mark(token)?.serial;
    observation.slot(serial).is_none().then_some(Entry { serial, token: token.id })
}
