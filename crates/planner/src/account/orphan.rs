//! Tokens and slots of ours whose owner is gone: what was left behind when dbt could not be reached, and tokens whose
//! string was lost together with their object.
//!
//! What all of it rests on: a uid is never used twice, so an owner that a live read proved gone stays gone, and no ledger
//! can ever name its tokens again. "Not in the watch" is not gone, and "forbidden" is not gone.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::census::{Belonging, Census};
use super::observation::{AccountObservation, AccountSettings, AccountSlot, OwnerLife, TokenList};
use super::{AccountEffect, AccountNeed};
use crate::identity::{OwnerUid, TokenId};
use crate::observation::{SlotContent, Token};

/// How long after its owner was proven gone a token with a filled slot is revoked.
///
/// Its deletion was asked for: an object with a finalizer disappears only after that, and the slot stayed because dbt could
/// not be reached (or because somebody took the finalizer off by hand). So the long wait for strays is not needed; these
/// minutes give a person who did the latter by mistake time to suspend the account.
pub const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(600);

/// What is to be done about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing, as far as this observation tells.
    Keep,
    /// Something must be read first.
    Read(AccountNeed),
    /// Its time comes.
    Later(Timestamp),
    /// Now.
    Act(AccountEffect),
}

/// What is to be done about all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// The first effect, in the order of slots and then of token ids.
    pub effect: Option<AccountEffect>,
    /// What must be read before more can be said.
    pub needs: BTreeSet<AccountNeed>,
    /// When the next one's time comes.
    pub next_at: Option<Timestamp>,
}

/// Judges slots without a living owner, then tokens. Call it only while the list is believed, the account is bound to this
/// installation, and no alarm is on.
pub fn orphans(
    observation: &AccountObservation,
    settings: &AccountSettings,
    list: &TokenList,
    own: TokenId,
    now: Timestamp,
) -> Orphans {
    let judge = Judge { observation, settings, list, own, now, census: Census::new(observation) };
    let orphaned = observation.slots.iter().filter(|slot| !judge.census.lives(&slot.owner));
    let slots = orphaned.map(|slot| judge.slot(slot));
    // A single read is newer than the list: dbt may show nothing of a token that it has deleted, not even that it did.
    let lives = |token: &Token| token.active && !observation.gone.contains_key(&token.id);
    let strays = list.tokens.values().filter(|token| lives(token) && judge.census.belonging(token) == Belonging::Stray);
    let mut found = Orphans::default();
    for fate in slots.chain(strays.map(|token| judge.stray(token))) {
        match fate {
            Fate::Keep => {}
            Fate::Read(need) => {
                found.needs.insert(need);
            }
            Fate::Later(time) => found.next_at = found.next_at.into_iter().chain([time]).min(),
            Fate::Act(effect) => found.effect = found.effect.or(Some(effect)),
        }
    }
    found
}

struct Judge<'observation> {
    observation: &'observation AccountObservation,
    settings: &'observation AccountSettings,
    list: &'observation TokenList,
    own: TokenId,
    now: Timestamp,
    census: Census<'observation>,
}

impl Judge<'_> {
    /// A slot whose owner the watch does not show.
    fn slot(&self, slot: &AccountSlot) -> Fate {
        let since = match self.life(&slot.owner) {
            Ok(since) => since,
            Err(fate) => return fate,
        };
        let close = || Fate::Act(AccountEffect::CloseOrphanSlot { slot: slot.slot_name(), owner_name: slot.owner_name.clone() });
        let SlotContent::Filled { token: id, uid, .. } = &slot.slot.content else { return close() };
        // Somebody else made it and may still hand it out: the copy goes, the token stays.
        let given_back = slot.slot.adopted.is_some() && slot.slot.condemned.is_none();
        if !slot.slot.retained && (given_back || self.census.is_released(*id)) {
            // The record was left, and the process died before it closed the slot: nobody needs the string any more.
            return close();
        }
        if self.observation.gone.contains_key(id) {
            return close();
        }
        let Some(token) = self.list.tokens.get(id) else { return Fate::Read(AccountNeed::Token(*id)) };
        let marked_otherwise = token
            .mark
            .as_ref()
            .is_some_and(|mark| mark.installation != self.observation.installation || mark.owner != slot.owner);
        if token.uid != *uid || marked_otherwise {
            // Slot and token contradict each other about whose it is, so neither is evidence.
            return Fate::Keep;
        }
        match (token.active, slot.slot.retained) {
            (false, _) => close(),
            (true, true) => Fate::Keep,
            (true, false) => self.revoke(token, slot.owner.clone(), Some(slot), after(since, LEFT_BEHIND_GRACE)),
        }
    }

    /// A token with our mark whose owner the watch does not show, and which was not let go on purpose.
    fn stray(&self, token: &Token) -> Fate {
        let Some(mark) = &token.mark else { return Fate::Keep };
        // Its slot comes first: an empty one must be closed before the token goes, and the one that holds it decides by
        // itself. One that holds another token says nothing: a creation whose answer was lost may land after a second one.
        let concerns = |slot: &AccountSlot| match slot.slot.token() {
            None => slot.slot.serial == mark.serial,
            Some(held) => held == token.id,
        };
        if self.observation.slots.iter().any(|slot| slot.owner == mark.owner && concerns(slot)) {
            return Fate::Keep;
        }
        // A use that dbt saw stands for a workload that still holds the string, so it starts the wait anew.
        let Some(quiet_since) = token.created_at.map(|created| token.last_used.map_or(created, |used| used.max(created))) else {
            return Fate::Keep;
        };
        let due = after(quiet_since, self.settings.revoke_strays_after);
        if due > self.now {
            return Fate::Later(due);
        }
        match self.life(&mark.owner) {
            Ok(_) => self.revoke(token, mark.owner.clone(), None, due),
            Err(fate) => fate,
        }
    }

    fn revoke(&self, token: &Token, owner: OwnerUid, slot: Option<&AccountSlot>, due: Timestamp) -> Fate {
        // What tenants can write may keep a token alive, never end one.
        let held = self.observation.held.contains_key(&token.id);
        let stopped = slot.is_none() && self.settings.suspended;
        if held || stopped || token.id == self.own || self.census.is_released(token.id) {
            return Fate::Keep;
        }
        if due > self.now {
            return Fate::Later(due);
        }
        let owner_name = slot.map(|slot| slot.owner_name.clone());
        Fate::Act(AccountEffect::RevokeStray { token: token.id, owner, owner_name, slot: slot.map(AccountSlot::slot_name) })
    }

    /// Since when the owner is proven gone, or what to do instead.
    fn life(&self, owner: &OwnerUid) -> Result<Timestamp, Fate> {
        match self.observation.lives.get(owner) {
            Some(OwnerLife::Gone { since }) => Ok(*since),
            Some(OwnerLife::MayLive) => Err(Fate::Keep),
            None => Err(Fate::Read(AccountNeed::OwnerLife(owner.clone()))),
        }
    }
}

/// A time so much later, or the end of time.
pub fn after(time: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{empty_slot, filled_slot, list, marked, now, observation, owner, record_of, settings};
    use super::*;
    use crate::identity::TokenUid;

    const OWN: TokenId = TokenId(999);

    fn ago(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    fn gone_since(seconds: i64) -> OwnerLife {
        OwnerLife::Gone { since: ago(seconds) }
    }

    struct Case {
        tokens: Vec<Token>,
        slots: Vec<AccountSlot>,
        life: Option<OwnerLife>,
        settings: AccountSettings,
        change: fn(&mut AccountObservation),
    }

    impl Default for Case {
        fn default() -> Self {
            Self { tokens: Vec::new(), slots: Vec::new(), life: Some(gone_since(86_400)), settings: settings(), change: |_| {} }
        }
    }

    /// What is done about owner `o1`: `revoke 1`, `close 1`, `read owner`, `read 1`, `in 60`, or nothing.
    fn check(why: &str, case: Case, expected: &str) {
        let mut observation = observation();
        observation.slots = case.slots;
        observation.lives = case.life.into_iter().map(|life| (OwnerUid::new("o1"), life)).collect();
        (case.change)(&mut observation);
        let found = orphans(&observation, &case.settings, &list(case.tokens), OWN, now());
        let effect = found.effect.map(|effect| match effect {
            AccountEffect::RevokeStray { token, .. } => format!("revoke {token}"),
            AccountEffect::CloseOrphanSlot { slot, .. } => format!("close {}", slot.serial),
            other => format!("{other:?}"),
        });
        let need = found.needs.first().map(|need| match need {
            AccountNeed::OwnerLife(_) => "read owner".to_owned(),
            AccountNeed::Token(token) => format!("read {token}"),
            other => format!("{other:?}"),
        });
        let later = found.next_at.map(|time| format!("in {}", time.duration_since(now()).as_secs()));
        assert_eq!(effect.or(need).or(later).unwrap_or_default(), expected, "{why}");
    }

    fn made(seconds: i64) -> Token {
        Token { created_at: Some(ago(seconds)), ..marked(1, "o1", 5) }
    }

    const DAY: i64 = 86_400;

    #[test]
    fn the_claim_of_an_owner_that_is_gone_is_given_back_and_its_token_lives() {
        let adopted = |condemned: bool| {
            let mut slot = filled_slot("o1", 5, 1);
            slot.slot.adopted = Some(crate::adoption::Source { secret: "old".into(), key: "token".into() });
            slot.slot.condemned = condemned.then(crate::observation::Condemnation::replaced);
            let mut token = Token { uid: TokenUid::new("uid0001"), ..made(DAY) };
            token.mark.iter_mut().for_each(|mark| mark.origin = crate::mark::Origin::Adopted);
            Case { tokens: vec![token], slots: vec![slot], ..Case::default() }
        };
        check("nobody said that it may be revoked", adopted(false), "close 5");
        check("it was replaced and nobody used it", adopted(true), "revoke 1");
        let stray = Case { slots: Vec::new(), ..adopted(false) };
        check("nothing tells who uses it", stray, "");
    }

    #[test]
    fn a_stray_goes_when_it_is_old_and_its_owner_is_proven_gone() {
        let stray = |seconds| Case { tokens: vec![made(seconds)], ..Case::default() };
        check("old enough", stray(DAY), "revoke 1");
        check("too young", stray(DAY - 60), "in 60");
        check("not read", Case { life: None, ..stray(DAY) }, "read owner");
        check("not read and too young", Case { life: None, ..stray(0) }, "in 86400");
        check("may live", Case { life: Some(OwnerLife::MayLive), ..stray(DAY) }, "");
        check("just found gone", Case { life: Some(gone_since(0)), ..stray(DAY) }, "revoke 1");
        check("of unknown age", Case { tokens: vec![marked(1, "o1", 5)], ..Case::default() }, "");
        let used = Token { last_used: Some(ago(60)), ..made(2 * DAY) };
        check("used a minute ago", Case { tokens: vec![used], ..Case::default() }, "in 86340");
        check("gone already", Case { tokens: vec![Token { active: false, ..made(DAY) }], ..Case::default() }, "");
    }

    #[test]
    fn a_stray_stays_if_anything_speaks_for_it() {
        let stray = |change| Case { tokens: vec![made(DAY)], change, ..Case::default() };
        check("watched", stray(|it| it.living = [OwnerUid::new("o1")].into()), "");
        check("an object of this account", stray(|it| it.owners = vec![owner("o1", "finance", None)]), "");
        check("named by a ledger", stray(|it| it.owners = vec![owner("o2", "finance", Some(1))]), "");
        check("held by a Secret", stray(|it| it.held = [(TokenId(1), "finance/dbt".to_owned())].into()), "");
        check("let go on purpose", stray(|it| it.slots = vec![record_of("o1", 5, 1)]), "");
        let own = Token { id: OWN, ..made(DAY) };
        check("the own credential", Case { tokens: vec![own], ..Case::default() }, "");
        let mut foreign = made(DAY);
        if let Some(mark) = foreign.mark.as_mut() {
            mark.installation = crate::identity::Installation::new("other");
        }
        check("another installation's", Case { tokens: vec![foreign], ..Case::default() }, "");
        let unmarked = Token { mark: None, ..made(DAY) };
        check("somebody else's", Case { tokens: vec![unmarked], ..Case::default() }, "");
        let suspended = AccountSettings { suspended: true, ..settings() };
        check("suspended", Case { tokens: vec![made(DAY)], settings: suspended, ..Case::default() }, "");
    }

    #[test]
    fn what_a_deletion_left_behind_goes_after_a_short_grace() {
        let left = |life| Case { tokens: vec![made(60)], slots: vec![filled_slot("o1", 5, 1)], life, ..Case::default() };
        check("after the grace", left(Some(gone_since(600))), "revoke 1");
        check("within the grace", left(Some(gone_since(540))), "in 60");
        check("not read", left(None), "read owner");
        check("may live", left(Some(OwnerLife::MayLive)), "");
        let suspended = AccountSettings { suspended: true, ..settings() };
        check("suspended", Case { settings: suspended, ..left(Some(gone_since(600))) }, "revoke 1");
        let held: fn(&mut AccountObservation) = |it| it.held = [(TokenId(1), "finance/dbt".to_owned())].into();
        check("held by a Secret", Case { change: held, ..left(Some(gone_since(600))) }, "");
        let other_mark = Token { id: TokenId(1), uid: TokenUid::new("uid0001"), ..marked(2, "o2", 5) };
        check("marked as another's", Case { tokens: vec![other_mark], ..left(Some(gone_since(600))) }, "");
        let other_uid = Token { uid: TokenUid::new("another"), ..made(60) };
        check("another token of that id", Case { tokens: vec![other_uid], ..left(Some(gone_since(600))) }, "");
    }

    #[test]
    fn a_slot_is_closed_only_after_its_token_was_observed_inactive() {
        let slot = || vec![filled_slot("o1", 5, 1)];
        let inactive = || vec![Token { active: false, ..made(60) }];
        check("inactive", Case { tokens: inactive(), slots: slot(), ..Case::default() }, "close 5");
        check("not listed", Case { slots: slot(), ..Case::default() }, "read 1");
        let gone: fn(&mut AccountObservation) = |it| it.gone = [(TokenId(1), now())].into();
        check("not there", Case { slots: slot(), change: gone, ..Case::default() }, "close 5");
        let listed = || Case { tokens: vec![made(2 * DAY)], change: gone, ..Case::default() };
        check("gone since it was listed", Case { slots: slot(), ..listed() }, "close 5");
        check("a stray that is gone since it was listed", listed(), "");
        check(
            "the record of one that is inactive",
            Case { tokens: inactive(), slots: vec![record_of("o1", 5, 1)], ..Case::default() },
            "close 5",
        );
        check(
            "the record of one that lives",
            Case { tokens: vec![made(DAY)], slots: vec![record_of("o1", 5, 1)], ..Case::default() },
            "",
        );
    }

    #[test]
    fn an_empty_slot_is_closed_before_its_token_goes() {
        let case = || Case { tokens: vec![made(DAY)], slots: vec![empty_slot("o1", 5)], ..Case::default() };
        check("gone", case(), "close 5");
        check("may live", Case { life: Some(OwnerLife::MayLive), ..case() }, "");
        check("not read", Case { life: None, ..case() }, "read owner");
        check("of another serial", Case { slots: vec![filled_slot("o1", 6, 2)], ..case() }, "revoke 1");
    }

    #[test]
    fn a_creation_that_landed_late_goes_though_another_token_of_its_serial_was_let_go() {
        let late = |slot| Case { tokens: vec![made(DAY), marked(2, "o1", 5)], slots: vec![slot], ..Case::default() };
        check("beside a record", late(record_of("o1", 5, 2)), "revoke 1");
        check("beside its own record", late(record_of("o1", 5, 1)), "");
    }
}
