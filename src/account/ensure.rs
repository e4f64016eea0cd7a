//! Reading from dbt, once for all who wait. A failed read is an error with a class, and holds back everybody until its
//! next try is due.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::account::AccountNeed;
use dbt_token_planner::account::budget::{BUDGET_WINDOW, note_listed};
use dbt_token_planner::account::observation::{AccountInfo, Failure, FailureClass, OwnerClaim};
use dbt_token_planner::effect::Need;
use dbt_token_planner::identity::{OwnerUid, TokenId};
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::observation::Owner;
use jiff::Timestamp;

use super::handle::{AccountHandle, ENVIRONMENTS_MEMORY, State, changed_tokens, owners_of};
use super::readings::{Kept, Snapshot, later};
use super::{Affected, account_need, lock};
use crate::backend::{self, Backend, BackendError, ErrorClass, Lookup};

/// Which part of the account's requests lists may take while objects wait for them.
const LIST_SHARE: u32 = 4;

/// How soon an object looks again that was not woken by the list under way.
const LIST_PATIENCE: Duration = Duration::from_millis(500);

/// Tokens on one page of dbt's list.
const PAGE: usize = 100;

/// The shortest time between the beginnings of two lists of so many tokens.
fn list_spacing(tokens: usize, requests_per_minute: u32) -> Duration {
    let pages = u32::try_from(tokens / PAGE + 1).unwrap_or(u32::MAX);
    Duration::from_secs(60) * LIST_SHARE.saturating_mul(pages) / requests_per_minute.max(1)
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account {account} cannot be read: {detail}")]
pub struct ReadError {
    /// Name of the `DbtAccount`.
    pub account: String,
    /// What happened, in words, without secrets.
    pub detail: String,
    /// What it means.
    pub trouble: ReadTrouble,
    /// Since when it has been failing.
    pub since: Timestamp,
    /// When the next try is due; until then every reading of this kind fails at once.
    pub retry_at: Timestamp,
}

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadTrouble {
    /// There is no connection: the account's own condition says why.
    NotConnected,
    /// dbt, or the way to it, failed.
    Dbt(FailureClass),
}

impl AccountHandle {
    /// Reads what a plan needs, unless it is known already. One list at most is in flight; all who need one that is taken
    /// at a time or later share the first that begins after it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn ensure(&self, need: Need) -> Result<(), ReadError> {
        match account_need(need) {
            Some(need) => self.ensure_for_account(&need).await,
            None if need == Need::Environments => self.ensure_environments().await,
            None => Ok(()),
        }
    }

    /// When to come back for a token list, if this need should not wait for one now: one is being read, or the last one is
    /// too young. Lists take a fixed part of the account's requests at most, however many objects wait for one, and nobody
    /// holds a place while waiting: a list that shows something new of an object wakes it.
    pub fn list_due(&self, need: Need) -> Option<Timestamp> {
        let Need::Tokens(not_before) = need else { return None };
        let now = self.shared.now();
        let state = lock(&self.state);
        let (snapshot, taken_at) = state.readings.tokens.known.as_ref()?;
        if *taken_at >= not_before {
            return None;
        }
        if self.listing.try_lock().is_err() {
            return Some(later(now, LIST_PATIENCE));
        }
        let rate = state.declared.as_ref().map_or(1, |declared| declared.settings.requests_per_minute);
        let due = later(*taken_at, list_spacing(snapshot.list.tokens.len(), rate));
        (due > now).then_some(due)
    }

    /// The same for the account's own plan.
    pub(super) async fn ensure_for_account(&self, need: &AccountNeed) -> Result<(), ReadError> {
        match need {
            AccountNeed::Info => self.ensure_info().await,
            AccountNeed::Tokens(time) => self.ensure_tokens(*time).await,
            AccountNeed::Projects => self.ensure_projects().await,
            AccountNeed::Token(token) => self.read_token(*token).await,
            // Owners are not in dbt: reconcile reads them from Kubernetes.
            AccountNeed::OwnerLife(_) => Ok(()),
        }
    }

    async fn ensure_tokens(&self, not_before: Timestamp) -> Result<(), ReadError> {
        let _turn = self.listing.lock().await;
        let backend = self.open()?;
        let begun_at = self.shared.now();
        {
            let state = lock(&self.state);
            if state.readings.tokens.failure.is_none() && state.readings.tokens.taken_at().is_some_and(|time| time >= not_before)
            {
                return Ok(());
            }
            self.not_held_back(&state.readings.tokens, begun_at)?;
        }
        let result = backend.list().await;
        if !self.is_current(&backend) {
            return Err(self.not_connected());
        }
        match result {
            Ok(tokens) => {
                let affected = self.install(tokens, begun_at);
                self.judge_again();
                self.look_again(affected);
                Ok(())
            }
            Err(error) => {
                let failure = lock(&self.state).readings.tokens.fail(&error, self.shared.now());
                self.judge_again();
                self.look_again(Affected::AccountOnly);
                Err(self.failed(failure))
            }
        }
    }

    /// Takes over a list, and says whom it concerns.
    fn install(&self, tokens: Vec<dbt_token_planner::observation::Token>, begun_at: Timestamp) -> Affected {
        let now = self.shared.now();
        let installation = &self.shared.surroundings.installation;
        let owners = self.owner_claims(&lock(&self.state));
        let slots = self.shared.surroundings.watched.slots();
        let mut state = lock(&self.state);
        let State { link, readings, creations, listed, made, changed, .. } = &mut *state;
        let Some(connected) = link.connected() else { return Affected::AccountOnly };
        let snapshot = Snapshot::new(tokens, connected, installation);
        made.retain(|made| made.at > begun_at && later(made.at, BUDGET_WINDOW) > now);
        note_listed(listed, &snapshot.list, installation, &owners, now);
        *creations = listed.values().chain(&*made).collect();
        changed.retain(|_, changed_at| *changed_at > begun_at);
        let (list, before) = (Arc::clone(&snapshot.list), readings.install(snapshot, begun_at));
        let Some(before) = before else { return Affected::All };
        let changed = changed_tokens(&before.list, &list);
        let uids: BTreeSet<OwnerUid> = owners_of(&changed, &before.list, &list);
        // A token that dbt did not rename when it was adopted carries no mark, and none does before that.
        let named = |ledger: &Ledger| changed.iter().any(|token| ledger.names_token(*token));
        let held = slots.iter().filter(|slot| slot.slot.token().is_some_and(|token| changed.contains(&token)));
        let holders: BTreeSet<&OwnerUid> = held.map(|slot| &slot.belonging.owner.uid).collect();
        let concerns = |claim: &OwnerClaim| uids.contains(&claim.uid) || holders.contains(&claim.uid) || named(&claim.ledger);
        let affected = owners.into_iter().filter(concerns);
        let affected = affected.map(|claim| Owner { uid: claim.uid, namespace: claim.namespace, name: claim.name });
        Affected::Only(affected.collect())
    }

    async fn ensure_info(&self) -> Result<(), ReadError> {
        let _turn = self.reading.lock().await;
        let backend = self.open()?;
        let begun_at = self.shared.now();
        self.not_held_back(&lock(&self.state).readings.info, begun_at)?;
        let result = backend.account().await.map(account_info);
        self.keep(&backend, begun_at, result, |state| &mut state.readings.info)
    }

    async fn ensure_projects(&self) -> Result<(), ReadError> {
        let _turn = self.reading.lock().await;
        let backend = self.open()?;
        let begun_at = self.shared.now();
        {
            let state = lock(&self.state);
            let interval = state.declared.as_ref().map(|declared| declared.settings.inventory_interval).unwrap_or_default();
            let projects = &state.readings.projects;
            if projects.failure.is_none() && projects.taken_at().is_some_and(|taken_at| later(taken_at, interval) > begun_at) {
                return Ok(());
            }
            self.not_held_back(projects, begun_at)?;
        }
        let result = backend.projects().await;
        self.keep(&backend, begun_at, result, |state| &mut state.readings.projects)?;
        self.judge_again();
        self.look_again(Affected::All);
        Ok(())
    }

    async fn ensure_environments(&self) -> Result<(), ReadError> {
        let _turn = self.reading.lock().await;
        let backend = self.open()?;
        let begun_at = self.shared.now();
        {
            let environments = &lock(&self.state).readings.environments;
            let known = environments.taken_at().is_some_and(|time| later(time, ENVIRONMENTS_MEMORY) > begun_at);
            if environments.failure.is_none() && known {
                return Ok(());
            }
            self.not_held_back(environments, begun_at)?;
        }
        let result = backend.environments().await;
        self.keep(&backend, begun_at, result, |state| &mut state.readings.environments)
    }

    /// Reads one token, and takes over what it says.
    pub(super) async fn read_token(&self, token: TokenId) -> Result<(), ReadError> {
        let _turn = self.reading.lock().await;
        let backend = self.open()?;
        let begun_at = self.shared.now();
        self.not_held_back(&lock(&self.state).readings.tokens, begun_at)?;
        let found = match backend.get(token).await {
            Ok(Lookup::Found(found)) => Some(found),
            Ok(Lookup::Absent) => None,
            // Not noted as a failure of the list: only this one token could not be read.
            Err(error) => return Err(self.single_failed(&error, begun_at)),
        };
        let installation = &self.shared.surroundings.installation;
        lock(&self.state).readings.note_single(token, found, begun_at, installation);
        self.judge_again();
        Ok(())
    }

    /// Takes over what was read, or its failure, unless the connection was replaced in between.
    fn keep<T>(
        &self,
        backend: &Arc<dyn Backend>,
        begun_at: Timestamp,
        result: Result<T, BackendError>,
        kept: impl FnOnce(&mut State) -> &mut Kept<T>,
    ) -> Result<(), ReadError> {
        if !self.is_current(backend) {
            return Err(self.not_connected());
        }
        let now = self.shared.now();
        let mut state = lock(&self.state);
        let kept = kept(&mut state);
        match result {
            Ok(value) => {
                kept.succeed(value, begun_at);
                Ok(())
            }
            Err(error) => {
                let failure = kept.fail(&error, now);
                Err(self.failed(failure))
            }
        }
    }

    fn open(&self) -> Result<Arc<dyn Backend>, ReadError> {
        self.backend().ok_or_else(|| self.not_connected())
    }

    fn is_current(&self, backend: &Arc<dyn Backend>) -> bool {
        self.backend().is_some_and(|current| Arc::ptr_eq(&current, backend))
    }

    fn not_held_back<T>(&self, kept: &Kept<T>, now: Timestamp) -> Result<(), ReadError> {
        kept.held_back(now).map_or(Ok(()), |failure| Err(self.failed(failure.clone())))
    }

    fn not_connected(&self) -> ReadError {
        let now = self.shared.now();
        ReadError {
            account: self.name.clone(),
            detail: "there is no connection".to_owned(),
            trouble: ReadTrouble::NotConnected,
            since: now,
            retry_at: super::readings::retry_at(&ErrorClass::Unavailable, 1, now),
        }
    }

    fn failed(&self, failure: Failure) -> ReadError {
        let Failure { class, detail, since, retry_at } = failure;
        ReadError { account: self.name.clone(), detail, trouble: ReadTrouble::Dbt(class), since, retry_at }
    }

    fn single_failed(&self, error: &BackendError, now: Timestamp) -> ReadError {
        let mut kept = Kept::<()>::default();
        let failure = kept.fail(error, now);
        self.failed(failure)
    }
}

fn account_info(info: backend::AccountInfo) -> AccountInfo {
    AccountInfo { account: Some(info.id), name: info.name, plan: info.plan, locked: info.locked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_leave_most_of_the_requests_to_others() {
        for (tokens, rate, expected) in
            [(0, 2500, 96), (99, 2500, 96), (100, 2500, 192), (1000, 2500, 1056), (10_000, 5000, 4848)]
        {
            assert_eq!(list_spacing(tokens, rate), Duration::from_millis(expected), "{tokens} tokens at {rate} a minute");
        }
        assert_eq!(list_spacing(0, 0), Duration::from_secs(240), "a rate of nothing is no division by nothing");
    }
}
