//! An effect carried out in thought: what an observation says after it, if everything that it asks for succeeds. Touches
//! nothing but the copy that it is given, and decides nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::effect::Effect;
use crate::grant::GrantRows;
use crate::identity::{Serial, TokenId, TokenUid};
use crate::mark::Mark;
use crate::observation::{Account, Condemnation, Observation, Reading, Slot, SlotContent, Target, TargetState, Token};
use crate::report::{Published, Report, RetiringRecord};

/// What stands where dbt would say which identifier it gave; never shown to anybody.
const UNKNOWN_UID: &str = "unknown";

/// Carries the effect out on the copy. What it speaks of and is not there stays away.
pub(crate) fn carry_out(copy: &mut Observation, effect: &Effect, now: Timestamp) {
    match effect {
        Effect::AddFinalizer => copy.finalizer = true,
        Effect::WriteLedger { ledger, .. } | Effect::Prove { committed: ledger, .. } => copy.ledger = (**ledger).clone(),
        Effect::ClaimTarget => copy.target = empty_target(false),
        Effect::TakeOverTarget { .. } => copy.target = empty_target(true),
        Effect::Project { token, rule, .. } => {
            let taken_over = matches!(&copy.target, Target::Ours(state) if state.taken_over);
            copy.target = Target::Ours(TargetState { token: Some(*token), rule: Some(rule.clone()), intact: true, taken_over });
        }
        Effect::ReleaseTarget | Effect::DeleteTarget | Effect::StripTarget => copy.target = Target::Missing,
        Effect::Reserve(serial) => add_slot(copy, reserved(*serial, now)),
        Effect::Mint { serial, name, rows } => mint(copy, *serial, name, rows, now),
        Effect::Grant { token, rows, .. } => with_token(copy, *token, |token| token.rows = rows.clone()),
        Effect::Rename { token, name, .. } => with_token(copy, *token, |token| {
            token.mark = Mark::parse(name);
            token.name.clone_from(name);
        }),
        Effect::Retire { token, .. } | Effect::Revoke { token, .. } => with_token(copy, *token, |token| token.active = false),
        Effect::Condemn { serial, why } => with_slot(copy, *serial, |slot| slot.condemned = Some(why.clone())),
        Effect::CondemnAdopted { serial, .. } => {
            with_slot(copy, *serial, |slot| slot.condemned = Some(Condemnation::replaced()));
        }
        Effect::LabelCommitted(serial) => with_slot(copy, *serial, |slot| slot.committed = true),
        Effect::ClaimAdoption { serial, token, source, .. } => {
            let adopted = Some(source.clone());
            add_slot(copy, Slot { content: filled(copy, *token), adopted, ..reserved(*serial, now) });
        }
        Effect::CloseSlot(serial) => copy.slots.retain(|slot| slot.serial != *serial || slot.retained),
        Effect::LeaveRecord { serial, token } => {
            let content = filled(copy, *token);
            add_slot(copy, Slot { content, retained: true, ..reserved(*serial, now) });
        }
        Effect::RemoveFinalizer(_) => copy.finalizer = false,
        // What the one finds is not for us to say, nor when what the other restarts has rolled out.
        Effect::InspectSource(_) | Effect::RestartWorkloads { .. } => {}
    }
}

/// Writes the report into the copy; whether it differs. The shell writes it less often: with ledger and target, and at rest.
pub(crate) fn note(copy: &mut Observation, report: &Report) -> bool {
    let record = &mut copy.record;
    let before = record.clone();
    record.published = report.token.as_ref().map(|token| Published { token: token.id, at: token.published_at });
    let retiring = report.retiring.iter();
    let retiring = retiring.filter_map(|it| it.replaced_at.map(|replaced_at| RetiringRecord { token: it.id, replaced_at }));
    record.retiring = retiring.collect();
    record.history.clone_from(&report.history);
    record.last_rotation = report.last_rotation;
    record.next_rotation = report.next_rotation;
    record.conditions.clone_from(&report.conditions);
    *record != before
}

/// The list of tokens as if it had been read at this time.
pub(crate) fn list_is_read(copy: &mut Observation, time: Timestamp) {
    if let Account::Ready(account) = &mut copy.account
        && let Reading::Known { taken_at, .. } = &mut account.tokens
    {
        *taken_at = time;
    }
}

fn empty_target(taken_over: bool) -> Target {
    Target::Ours(TargetState { token: None, rule: None, intact: true, taken_over })
}

fn reserved(serial: Serial, now: Timestamp) -> Slot {
    let content = SlotContent::Empty;
    Slot { serial, content, committed: false, retained: false, condemned: None, created_at: now, adopted: None }
}

fn filled(copy: &Observation, token: TokenId) -> SlotContent {
    let listed = copy.known_tokens().find(|listed| listed.id == token);
    let (uid, granted) = listed.map_or_else(
        || (TokenUid::new(UNKNOWN_UID), GrantRows::default().fingerprint()),
        |listed| (listed.uid.clone(), listed.rows.fingerprint()),
    );
    SlotContent::Filled { token, uid, granted }
}

fn add_slot(copy: &mut Observation, slot: Slot) {
    copy.slots.push(slot);
    copy.slots.sort_by_key(|slot| (slot.serial, slot.retained));
}

fn with_slot(copy: &mut Observation, serial: Serial, change: impl FnOnce(&mut Slot)) {
    if let Some(slot) = copy.slots.iter_mut().find(|slot| slot.serial == serial && !slot.retained) {
        change(slot);
    }
}

fn tokens(copy: &mut Observation) -> Option<&mut BTreeMap<TokenId, Token>> {
    let Account::Ready(account) = &mut copy.account else { return None };
    match &mut account.tokens {
        Reading::Known { value, .. } => Some(value),
        Reading::Unknown => None,
    }
}

fn with_token(copy: &mut Observation, token: TokenId, change: impl FnOnce(&mut Token)) {
    if let Some(token) = tokens(copy).and_then(|tokens| tokens.get_mut(&token)) {
        change(token);
    }
}

fn mint(copy: &mut Observation, serial: Serial, name: &str, rows: &GrantRows, now: Timestamp) {
    let id = unused_id(copy);
    let uid = TokenUid::new(UNKNOWN_UID);
    let content = SlotContent::Filled { token: id, uid: uid.clone(), granted: rows.fingerprint() };
    with_slot(copy, serial, |slot| slot.content = content);
    let made = Token {
        id,
        uid,
        name: name.to_owned(),
        mark: Mark::parse(name),
        active: true,
        rows: rows.clone(),
        created_at: Some(now),
        last_used: None,
        shows_links: false,
    };
    if let Some(tokens) = tokens(copy) {
        tokens.insert(id, made);
    }
}

/// An id above all that anything speaks of. dbt gives another one.
fn unused_id(copy: &Observation) -> TokenId {
    let named = copy.named_tokens();
    let held = match &copy.target {
        Target::Ours(state) => state.token,
        _ => None,
    };
    let known = copy.known_tokens().map(|token| token.id).chain(named).chain(held);
    TokenId(known.map(|token| token.0).max().unwrap_or(0).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, now, object, rows};
    use crate::observation::Life;

    /// A new token gets its slot filled, is listed as granted, and is nobody else's.
    #[test]
    fn a_token_that_is_made_is_seen_by_the_next_look() {
        let mut copy = object().published(5, 2202).attempt(6, crate::ledger::Cause::Requested, 0);
        carry_out(&mut copy, &Effect::Reserve(Serial(6)), now());
        let mark = Mark {
            installation: copy.installation.clone(),
            owner: copy.owner.uid.clone(),
            serial: Serial(6),
            origin: crate::mark::Origin::Made,
        };
        let name = mark.name("finance/dagster");
        carry_out(&mut copy, &Effect::Mint { serial: Serial(6), name, rows: rows(&[("job_admin", 0)]) }, at(5));
        let made = copy.slot(Serial(6)).and_then(Slot::token).expect("a filled slot");
        assert_eq!(made, TokenId(2203));
        assert_eq!((copy.life(made), copy.is_ours(made)), (Life::Active, true));
        assert_eq!(copy.known_tokens().find(|token| token.id == made).and_then(|token| token.created_at), Some(at(5)));
        assert_eq!(copy.fresh_tokens().map(BTreeMap::len), Some(2));
    }

    #[test]
    fn what_is_not_there_stays_away() {
        let before = object();
        for effect in [
            Effect::LabelCommitted(Serial(9)),
            Effect::CloseSlot(Serial(9)),
            Effect::Condemn { serial: Serial(9), why: Condemnation::superseded() },
            Effect::Grant { serial: Serial(9), token: TokenId(9), rows: GrantRows::default() },
            Effect::InspectSource(crate::adoption::Source { secret: "old".into(), key: "token".into() }),
        ] {
            let mut copy = before.clone();
            carry_out(&mut copy, &effect, now());
            assert_eq!(copy, before, "{effect:?}");
        }
        let mut copy = before.clone().listless();
        carry_out(&mut copy, &Effect::Mint { serial: Serial(9), name: "x".into(), rows: GrantRows::default() }, now());
        assert_eq!(copy, before.listless());
    }
}
