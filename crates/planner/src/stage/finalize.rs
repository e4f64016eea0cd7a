//! Deletion. Under `Revoke` every token of the object is revoked and its Secrets are removed; under `Retain` they stay,
//! and a record without the string says so. If dbt cannot be reached in time the object is let go all the same.

use std::time::Duration;

use jiff::Timestamp;

use crate::desired::DeletionPolicy;
use crate::effect::{Effect, LedgerEntry, LetGo, Need, RevokedBecause};
use crate::identity::{Serial, TokenId};
use crate::ledger::Entry;
use crate::observation::{Account, Life, Observation, Target, TargetState};
use crate::plan::{Block, Step, Turn};
use crate::retirement::adopted;
use crate::stage::rebuild::target_entry;
use crate::stage::retire::{has_slot, later};
use crate::stage::set_back::set_back;
use crate::stage::write;

/// How long a deleted object waits for dbt before it is let go. The slots stay then, and the tokens are revoked when the
/// account answers again.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The whole deletion, one effect a pass. An object that is not deleted passes.
pub fn finalize(observation: &Observation, now: Timestamp) -> Turn {
    let Some(deleted_at) = observation.deleted_at else { return Turn::Pass(None) };
    if !observation.finalizer {
        return Turn::Take(Step::Settled, None);
    }
    if nothing_was_made(observation) {
        return Turn::act(Effect::RemoveFinalizer(LetGo::Clean));
    }
    let policy = policy(observation);
    let undecided = observation.ledger.deletion.is_none();
    if undecided || (observation.ledger.deletion != Some(policy) && !is_cleared(observation)) {
        let ledger = observation.ledger.deleting(&observation.installation, policy);
        return write(observation, LedgerEntry::Delete, ledger);
    }
    match observation.ledger.deletion {
        Some(DeletionPolicy::Retain) => retain(observation),
        _ => revoke(observation, later(deleted_at, PATIENCE), now),
    }
}

/// While the published token is one that somebody else made, the object only lets go of it.
fn policy(observation: &Observation) -> DeletionPolicy {
    let adopted = observation.ledger.current.is_some_and(|current| observation.is_adopted(current.token));
    if adopted { DeletionPolicy::Retain } else { observation.deletion_policy }
}

fn nothing_was_made(observation: &Observation) -> bool {
    observation.ledger.is_blank()
        && observation.ledger.deletion.is_none()
        && observation.slots.iter().all(|slot| slot.retained)
        && !matches!(observation.target, Target::Ours(_))
}

/// From the moment at which the ledger names nothing any more, the deletion cannot be called off.
fn is_cleared(observation: &Observation) -> bool {
    let ledger = &observation.ledger;
    ledger.next.is_none() && ledger.current.is_none() && ledger.retiring.is_empty()
}

fn retain(observation: &Observation) -> Turn {
    for entry in kept(observation) {
        if !observation.is_retained(entry.serial) {
            return Turn::act(Effect::LeaveRecord { serial: entry.serial, token: entry.token });
        }
        // One that holds another token stays: the account revokes that one when the object is gone, and closes it then.
        if has_slot(observation, entry) {
            return Turn::act(Effect::CloseSlot(entry.serial));
        }
    }
    if matches!(observation.target, Target::Ours(_)) {
        return Turn::act(Effect::ReleaseTarget);
    }
    Turn::act(Effect::RemoveFinalizer(LetGo::Retained))
}

/// The tokens that stay. Not only those that the ledger names: it may have been lost, and a token without a record would be
/// taken for a stray.
fn kept(observation: &Observation) -> Vec<Entry> {
    let ledger = &observation.ledger;
    let committed = observation.slots.iter().filter(|slot| slot.committed && !slot.retained);
    let stored = committed.filter_map(|slot| slot.token().map(|token| Entry { serial: slot.serial, token }));
    let mut kept: Vec<Entry> = ledger.retiring.iter().chain(&ledger.current).copied().collect();
    for entry in stored.chain(target_entry(observation)) {
        if !kept.contains(&entry) {
            kept.push(entry);
        }
    }
    kept
}

fn revoke(observation: &Observation, let_go_at: Timestamp, now: Timestamp) -> Turn {
    // The finding comes first here as well: what only the tokens tell of may be in use elsewhere.
    if let turn @ Turn::Take(..) = set_back(observation, now) {
        return turn;
    }
    if let Some(why) = hindrance(observation) {
        return hindered(observation, why, let_go_at, now);
    }
    if observation.fresh_tokens().is_none() {
        return Turn::read(Need::Tokens(observation.fresh_after));
    }
    if !is_cleared(observation) {
        // From here on nothing can be called off, so dbt has to answer once more first: while it does not, the policy can
        // still be changed.
        let since = observation.fresh_after.max(observation.deleted_at.unwrap_or(now));
        if observation.account.open().and_then(|account| account.tokens.since(since)).is_none() {
            return Turn::read(Need::Tokens(since));
        }
        if let Some(turn) = adopted::at_deletion(observation, now) {
            return turn;
        }
        return write(observation, LedgerEntry::Clear, observation.ledger.cleared());
    }
    if let Some(turn) = revoke_next(observation) {
        return turn;
    }
    if let Target::Ours(state) = &observation.target {
        return Turn::act(removal(state));
    }
    match observation.slots.iter().find(|slot| !slot.retained) {
        Some(slot) => Turn::act(Effect::CloseSlot(slot.serial)),
        None => Turn::act(Effect::RemoveFinalizer(LetGo::Clean)),
    }
}

/// What was there before us loses our keys only.
fn removal(target: &TargetState) -> Effect {
    if target.taken_over { Effect::StripTarget } else { Effect::DeleteTarget }
}

/// What stands in the way of revoking anything.
fn hindrance(observation: &Observation) -> Option<String> {
    if observation.ledger.set_back.is_some() {
        return Some("the account has tokens that this cluster does not know (SetBack)".into());
    }
    match &observation.account {
        Account::Missing => Some("its DbtAccount does not exist".into()),
        Account::NotReady { reason, message } => Some(format!("{reason}: {message}")),
        Account::Ready(_) => observation.trouble.as_ref().map(|trouble| trouble.message.clone()),
    }
}

/// dbt cannot be reached, or failed the last time. A failure alone is tried again; the patience ends all the same.
fn hindered(observation: &Observation, why: String, let_go_at: Timestamp, now: Timestamp) -> Turn {
    if now >= let_go_at {
        return let_go(observation);
    }
    let retry_at = observation.trouble.as_ref().map(|trouble| trouble.retry_at);
    let retry_now = observation.ledger.set_back.is_none()
        && observation.account.open().is_some()
        && retry_at.is_some_and(|retry_at| retry_at <= now);
    if retry_now {
        return revoke(&Observation { trouble: None, ..observation.clone() }, let_go_at, now);
    }
    let wake_at = retry_at.filter(|retry_at| *retry_at > now).map_or(let_go_at, |retry_at| retry_at.min(let_go_at));
    Turn::Take(Step::Blocked(Block::Deletion { why, let_go_at }), Some(wake_at))
}

fn let_go(observation: &Observation) -> Turn {
    match observation.target {
        Target::Ours(ref state) => Turn::act(removal(state)),
        _ => Turn::act(Effect::RemoveFinalizer(LetGo::LeftBehind)),
    }
}

/// The next token of the object that is not known to be inactive.
fn revoke_next(observation: &Observation) -> Option<Turn> {
    for (token, serial) in tokens_of_the_object(observation) {
        match observation.life(token) {
            Life::Active if !observation.is_ours(token) => {}
            // It was let go, or nothing tells whether somebody else still hands it out.
            Life::Active if observation.is_adopted(token) && !adopted::is_condemned(observation, token) => {}
            Life::Active => return Some(Turn::act(Effect::Revoke { token, serial, because: RevokedBecause::Deletion })),
            Life::Unlisted => return Some(Turn::read(Need::Token(token))),
            Life::Inactive | Life::Unknown => {}
        }
    }
    None
}

/// Those with its mark, and those in its slots; one that was let go stays.
fn tokens_of_the_object(observation: &Observation) -> Vec<(TokenId, Serial)> {
    let marked = observation.known_tokens().filter_map(|token| observation.own_mark(token).map(|mark| (token.id, mark.serial)));
    let stored = observation.slots.iter().filter_map(|slot| slot.token().map(|token| (token, slot.serial)));
    let mut tokens: Vec<_> = marked.chain(stored).filter(|(token, serial)| !observation.is_let_go(*token, *serial)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[cfg(test)]
mod tests;
