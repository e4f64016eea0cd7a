//! Everything that is known of an account, as one observation for its planner. Reads only what is in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use dbt_token_planner::account::observation::{
    AccountObservation, AccountRefusal, AccountSettings, AccountSlot, OwnerClaim, OwnerLife, ProjectReading, ProjectsFor,
};
use dbt_token_planner::account::{AccountPlan, AccountState, plan};
use dbt_token_planner::identity::{AccountId, OwnerUid, TokenId};
use jiff::Timestamp;

use super::grants::name_projects;
use super::handle::{AccountHandle, Declared, Judged, State, variables};
use super::readings::later;
use super::{Affected, lock};
use crate::api::desired_account::{self, account_settings};
use crate::api::names::CONFIRM;
use crate::api::v1alpha1::{DbtAccount, Grant, ServiceToken, ServiceTokenStatus};
use crate::cluster::account_report::record;
use crate::cluster::slot::ObservedSlot;
use crate::cluster::{ledger, names};

impl AccountHandle {
    /// Judges the account anew from what is in memory, so that what ServiceTokens see follows each reading at once.
    pub(super) fn judge_again(&self) {
        if let Some(object) = self.shared.surroundings.watched.account(&self.name) {
            self.judge(&object);
        }
    }

    /// Judges the account, remembers how it stands, and tells those who rest on it if that changed.
    pub(super) fn judge(&self, object: &DbtAccount) -> AccountPlan {
        let now = self.shared.now();
        let observation = self.observe(object, now);
        let plan = plan(&observation, now);
        let judged = Judged {
            state: plan.state.clone(),
            suspended: plan.suspended,
            set_back_confirmed: plan.set_back_confirmed,
            tokens: plan.report.tokens.map(|(counts, _)| counts),
        };
        let mut state = lock(&self.state);
        let declared = declared(object);
        let same_grants = same_grants(state.declared.as_deref(), declared.as_ref());
        state.declared = declared.map(Arc::new);
        let before = state.judged.replace(judged.clone());
        state.lives.retain(|owner, _| !observation.living.contains(owner));
        state.waiting.values_mut().for_each(|waiting| waiting.retain(|owner| observation.living.contains(owner)));
        state.waiting.retain(|_, waiting| !waiting.is_empty());
        drop(state);
        let served = |judged: &Judged| (judged.state == AccountState::Ready, judged.suspended, judged.set_back_confirmed);
        if before.as_ref().map(served) != Some(served(&judged)) || !same_grants {
            self.look_again(Affected::All);
        }
        plan
    }

    /// One look at the account.
    fn observe(&self, object: &DbtAccount, now: Timestamp) -> AccountObservation {
        let surroundings = &self.shared.surroundings;
        let all = surroundings.watched.tokens();
        let mine: Vec<&ServiceToken> =
            all.iter().map(Arc::as_ref).filter(|token| token.spec.account_ref.name == self.name).collect();
        let mut users: Vec<String> = mine.iter().map(|token| qualified(token)).collect();
        users.sort();
        let state = lock(&self.state);
        let declared = account_settings(object);
        let interval = declared.as_ref().map(|settings| settings.inventory_interval).unwrap_or_default();
        let refused = state.create_refused.as_ref();
        AccountObservation {
            name: self.name.clone(),
            generation: object.metadata.generation.unwrap_or_default(),
            deleted_at: object.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            finalizer: object.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER),
            installation: surroundings.installation.clone(),
            confirm: object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CONFIRM)).cloned(),
            settings: settings(declared, state.link.refusal.as_ref()),
            senior: self.senior(object),
            users,
            record: record(object.status.as_ref()),
            credential: state.link.credential(state.readings.tokens.value().map(|snapshot| snapshot.own.clone())),
            info: state.readings.info.answer(|info| info.as_ref().clone()),
            tokens: state.readings.tokens.answer(|snapshot| Arc::clone(&snapshot.list)),
            unbelieved_since: state.readings.unbelieved_since,
            projects: project_reading(&state, object, &mine),
            create_refused: refused.filter(|(_, at)| later(*at, interval) > now).map(|(why, _)| why.clone()),
            fresh_after: state.fresh_after.unwrap_or(Timestamp::MIN),
            owners: mine.iter().filter_map(|token| claim(token, &state)).collect(),
            living: all.iter().filter_map(|token| token.metadata.uid.clone()).map(OwnerUid::new).collect(),
            lives: lives(&state, interval, now),
            slots: self.slots(object).iter().map(|slot| account_slot(slot)).collect(),
            held: self.held(),
            gone: state.readings.gone.clone(),
        }
    }

    /// What the ServiceTokens of this account say.
    pub(super) fn owner_claims(&self, state: &State) -> Vec<OwnerClaim> {
        let tokens = self.shared.surroundings.watched.tokens_of(&self.name);
        tokens.iter().filter_map(|token| claim(token, state)).collect()
    }

    /// The slots and records of this account that this installation made. The account is told by dbt's id: a `DbtAccount`
    /// that was created anew under another name still owes what was left behind under the old one.
    pub(super) fn slots(&self, object: &DbtAccount) -> Vec<Arc<ObservedSlot>> {
        let surroundings = &self.shared.surroundings;
        let mut slots = surroundings.watched.slots();
        slots.retain(|slot| {
            slot.belonging.installation == surroundings.installation
                && slot.belonging.account_id == AccountId(object.spec.account_id)
        });
        slots.sort_by(|one, other| one.reference.name.cmp(&other.reference.name));
        slots
    }

    /// Which tokens are still held by Secrets with our label. Tenants can write these annotations, so they may only keep a
    /// token alive.
    fn held(&self) -> BTreeMap<TokenId, String> {
        self.shared.surroundings.watched.held().into_iter().collect()
    }

    /// The oldest `DbtAccount` for the same host and id, if it is another one.
    fn senior(&self, object: &DbtAccount) -> Option<String> {
        let same = |other: &DbtAccount| {
            other.spec.account_id == object.spec.account_id && host(&other.spec.access_url) == host(&object.spec.access_url)
        };
        let age = |account: &DbtAccount| {
            (account.metadata.creation_timestamp.as_ref().map(|time| time.0), account.metadata.uid.clone())
        };
        let accounts = self.shared.surroundings.watched.accounts();
        let oldest = accounts.into_iter().filter(|account| same(account)).min_by_key(|account| age(account))?;
        (age(&oldest) < age(object)).then(|| oldest.metadata.name.clone().unwrap_or_default())
    }
}

/// The host of an access URL, as it is compared and shown.
fn host(access_url: &str) -> String {
    let rest = access_url.split_once("://").map_or(access_url, |(_, rest)| rest);
    rest.trim_end_matches('/').to_ascii_lowercase()
}

fn qualified(token: &ServiceToken) -> String {
    let metadata = &token.metadata;
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn declared(object: &DbtAccount) -> Option<Declared> {
    let settings = account_settings(object).ok()?;
    let variables = variables(&settings);
    Some(Declared { settings, grants: object.spec.grants.clone().unwrap_or_default(), variables })
}

/// Whether ServiceTokens are served by the same rules as before.
fn same_grants(before: Option<&Declared>, after: Option<&Declared>) -> bool {
    fn rules(declared: &Declared) -> (&[Grant], Option<u32>, u32, &str) {
        let settings = &declared.settings;
        (&declared.grants, settings.maximum_tokens, settings.mints_per_hour, &settings.access_url)
    }
    before.map(rules) == after.map(rules)
}

fn settings(
    declared: Result<desired_account::AccountSettings, dbt_token_planner::desired::Refusal>,
    refused: Option<&AccountRefusal>,
) -> Result<AccountSettings, AccountRefusal> {
    let declared = declared.map_err(AccountRefusal::Spec)?;
    if let Some(refusal) = refused {
        return Err(refusal.clone());
    }
    Ok(AccountSettings {
        account: AccountId(declared.account_id),
        host: host(&declared.access_url),
        suspended: declared.suspended,
        mints_per_hour: declared.mints_per_hour,
        maximum_tokens: declared.maximum_tokens,
        interval: declared.inventory_interval,
        aged_after: declared.aged_after,
        unused_after: declared.unused_after,
        revoke_strays_after: declared.revoke_strays_after,
    })
}

fn claim(token: &ServiceToken, state: &State) -> Option<OwnerClaim> {
    let uid = OwnerUid::new(token.metadata.uid.clone()?);
    let nothing = ServiceTokenStatus::default();
    Some(OwnerClaim {
        namespace: token.metadata.namespace.clone()?,
        name: token.metadata.name.clone()?,
        created_at: token.metadata.creation_timestamp.as_ref()?.0,
        deleting: token.metadata.deletion_timestamp.is_some(),
        ledger: ledger::read(token.status.as_ref().unwrap_or(&nothing)).ledger,
        changed_at: state.changed.get(&uid).copied(),
        uid,
    })
}

fn account_slot(observed: &ObservedSlot) -> AccountSlot {
    let owner = &observed.belonging.owner;
    AccountSlot {
        owner_name: format!("{}/{}", owner.namespace, owner.name),
        owner: owner.uid.clone(),
        slot: observed.slot.clone(),
    }
}

fn project_reading(state: &State, object: &DbtAccount, tokens: &[&ServiceToken]) -> ProjectReading {
    let names_project = |token: &&ServiceToken| {
        let permissions = token.spec.permissions.iter();
        permissions.flat_map(|permission| permission.projects.iter().flatten()).any(|project| project.name.is_some())
    };
    let by = if name_projects(object.spec.grants.as_deref().unwrap_or_default()) {
        ProjectsFor::Grants
    } else if tokens.iter().any(names_project) {
        ProjectsFor::ServiceTokens
    } else {
        return ProjectReading::NotWanted;
    };
    let projects = &state.readings.projects;
    ProjectReading::Wanted { by, taken_at: projects.taken_at(), failure: projects.failure.clone() }
}

/// What live reads said. That an owner is gone is final; that it may live is asked again after an interval.
fn lives(state: &State, interval: std::time::Duration, now: Timestamp) -> BTreeMap<OwnerUid, OwnerLife> {
    let recent = state.lives_read_at.is_some_and(|read_at| later(read_at, interval) > now);
    let lives = state.lives.iter().filter(|(_, life)| recent || **life != OwnerLife::MayLive);
    lives.map(|(owner, life)| (owner.clone(), *life)).collect()
}
