//! What an account says about a string that somebody holds: which of its tokens it fits, and whose those are. Judges nothing
//! and asks nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use dbt_token_planner::adoption::{Fit, Holder};
use dbt_token_planner::identity::{Fingerprint, OwnerUid, TokenId, TokenUid};
use dbt_token_planner::mark::{Mark, Origin};

use super::handle::AccountHandle;
use super::{Accounts, lock};
use crate::backend::dbt::contains_uid;
use crate::cluster::slot::ObservedSlot;
use crate::token::TokenString;

impl AccountHandle {
    /// The active tokens of the last believed list whose uid stands in the string; `None` without such a list. A string of
    /// today's form has to have it in its place.
    pub fn fitting(&self, string: &TokenString) -> Option<Vec<TokenId>> {
        let state = lock(&self.state);
        let snapshot = state.readings.tokens.value().filter(|snapshot| snapshot.is_believed)?;
        let active = snapshot.list.tokens.values().filter(|token| token.active && contains_uid(string, &token.uid));
        Some(active.map(|token| token.id).collect())
    }

    /// What identifies a listed token on its slot: dbt's short identifier, and a digest of what it may do.
    pub fn identity(&self, token: TokenId) -> Option<(TokenUid, Fingerprint)> {
        let state = lock(&self.state);
        let listed = state.readings.tokens.value()?.list.tokens.get(&token)?;
        Some((listed.uid.clone(), listed.rows.fingerprint()))
    }

    fn mark_of(&self, token: TokenId) -> Option<Mark> {
        let state = lock(&self.state);
        state.readings.tokens.value()?.list.tokens.get(&token)?.mark.clone()
    }

    fn account_id(&self) -> Option<i64> {
        lock(&self.state).declared.as_ref().map(|declared| declared.settings.account_id)
    }

    /// Whether the token of this uid may be the credential of this account, also of one whose list was never read.
    fn may_be_credential(&self, uid: &TokenUid) -> bool {
        lock(&self.state).link.connected().is_some_and(|connected| contains_uid(&connected.credential, uid))
    }
}

impl Accounts {
    /// Whether a token is, or may be, the credential of any account that is declared here.
    pub fn is_any_credential(&self, account: &AccountHandle, token: TokenId) -> bool {
        let Some((uid, _)) = account.identity(token) else { return account.is_own_credential(token) };
        let all = self.all();
        let same = all.iter().filter(|other| other.account_id() == account.account_id());
        account.is_own_credential(token) || same.into_iter().any(|other| other.may_be_credential(&uid))
    }

    /// Whose the tokens are that a string fits, for the object `owner`. `living` are the names of all objects by uid.
    pub fn fits(
        &self,
        account: &AccountHandle,
        string: &TokenString,
        owner: &OwnerUid,
        living: &BTreeMap<OwnerUid, String>,
    ) -> Option<Vec<Fit>> {
        let slots = self.shared.surroundings.watched.slots();
        let slots: Vec<_> = slots
            .into_iter()
            .filter(|slot| slot.belonging.installation == self.shared.surroundings.installation)
            .filter(|slot| Some(slot.belonging.account_id.0) == account.account_id())
            .collect();
        let fitting = account.fitting(string)?;
        Some(fitting.into_iter().map(|token| Fit { token, holder: self.holder(account, token, &slots, owner, living) }).collect())
    }

    fn holder(
        &self,
        account: &AccountHandle,
        token: TokenId,
        slots: &[Arc<ObservedSlot>],
        owner: &OwnerUid,
        living: &BTreeMap<OwnerUid, String>,
    ) -> Holder {
        if self.is_any_credential(account, token) {
            return Holder::Account;
        }
        let mut of_token = slots.iter().filter(|slot| slot.slot.token() == Some(token));
        let released = of_token.clone().any(|slot| slot.slot.retained);
        if let Some(slot) = of_token.find(|slot| !slot.slot.retained && slot.belonging.owner.uid != *owner) {
            let holder = &slot.belonging.owner;
            return Holder::Object(format!("{}/{}", holder.namespace, holder.name));
        }
        let mark = account.mark_of(token).filter(|mark| mark.installation == self.shared.surroundings.installation);
        match mark.filter(|mark| mark.owner != *owner) {
            None => Holder::Nobody,
            Some(mark) => match living.get(&mark.owner) {
                Some(name) => Holder::Object(name.clone()),
                None if released || mark.origin == Origin::Adopted => Holder::Nobody,
                None => Holder::GoneObject,
            },
        }
    }
}
