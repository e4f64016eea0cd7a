//! What ServiceTokens see of their account. Everything here is cheap and does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use dbt_token_planner::account::AccountState;
use dbt_token_planner::account::budget::{BUDGET_WINDOW, Creation, Creations, Peer, budget, crowded_out};
use dbt_token_planner::account::census::TokenCounts;
use dbt_token_planner::account::observation::{OwnCredential, OwnerLife, TokenList};
use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::{AccountId, OwnerUid, Serial, TokenId};
use dbt_token_planner::mark::Mark;
use dbt_token_planner::observation::{Account, OpenAccount, Owner, Reading, Token};
use jiff::Timestamp;

use super::connect::Link;
use super::grants::{self, Labels};
use super::readings::{Readings, later};
use super::{Affected, Shared, lock};
use crate::api::desired_account::AccountSettings;
use crate::api::v1alpha1::{Grant, ServiceToken};
use crate::backend::Backend;
use crate::backend::dbt::{Limiter, derive_endpoints};
use crate::pace::Pace;

/// How long environments are used before they are read again, the next time that a probe needs one. They are only asked for
/// by tokens that nothing but GraphQL can try, and at rest nobody asks.
pub(super) const ENVIRONMENTS_MEMORY: std::time::Duration = std::time::Duration::from_secs(3600);

/// One account, shared by all who work with it.
pub struct AccountHandle {
    pub(super) name: String,
    uid: String,
    pub(super) shared: Arc<Shared>,
    pub(super) limiter: Arc<Limiter>,
    pub(super) state: Mutex<State>,
    /// Held while a list is read, so that all who wait for one share it.
    pub(super) listing: tokio::sync::Mutex<()>,
    /// Held while something else is read.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// Held while the account itself is looked at.
    pub(super) looking: tokio::sync::Mutex<()>,
}

/// What the process remembers of an account.
#[derive(Default)]
pub(super) struct State {
    pub(super) link: Link,
    pub(super) readings: Readings,
    /// What is declared, as of the last look.
    pub(super) declared: Option<Arc<Declared>>,
    /// How the account stood at the last look.
    pub(super) judged: Option<Judged>,
    /// What this process made since the list was asked for.
    pub(super) made: Vec<Creation>,
    /// The tokens under our mark that lists showed, and that still count for the budget.
    pub(super) listed: BTreeMap<TokenId, Creation>,
    /// Both.
    pub(super) creations: Creations,
    /// The objects that want a token, by their namespaces; no namespace without one.
    pub(super) waiting: BTreeMap<String, BTreeSet<OwnerUid>>,
    /// When this process last changed something of an object in dbt.
    pub(super) changed: BTreeMap<OwnerUid, Timestamp>,
    pub(super) lives: BTreeMap<OwnerUid, OwnerLife>,
    /// When owners were last looked for; those that may live are looked for again after an interval.
    pub(super) lives_read_at: Option<Timestamp>,
    /// dbt's words when it refused to let this credential create a token, and when.
    pub(super) create_refused: Option<(String, Timestamp)>,
    pub(super) fresh_after: Option<Timestamp>,
    /// How often the status was written lately.
    pub(super) reports: Pace,
}

impl State {
    fn no_longer_waits(&mut self, owner: &Owner) {
        if let Some(waiting) = self.waiting.get_mut(&owner.namespace) {
            waiting.remove(&owner.uid);
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }
}

/// What is declared.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) settings: AccountSettings,
    pub(super) grants: Vec<Grant>,
    /// What follows from the settings for templates.
    pub(super) variables: AccountVariables,
}

/// How the account stood at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) state: AccountState,
    pub(super) suspended: bool,
    pub(super) set_back_confirmed: Option<Serial>,
    pub(super) tokens: Option<TokenCounts>,
}

/// What templates may say about the account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountVariables {
    /// dbt's id of it.
    pub account_id: AccountId,
    /// The access URL, without a last slash.
    pub access_url: String,
    /// The whole URL of Discovery; `None` if it is neither declared nor follows from the access URL.
    pub discovery_url: Option<String>,
    /// The whole URL of the Semantic Layer; `None` likewise.
    pub semantic_layer_url: Option<String>,
}

/// Numbers for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether ServiceTokens can be served.
    pub ready: bool,
    /// The counts of the last believed list.
    pub tokens: Option<TokenCounts>,
    /// When the request for the last list began.
    pub list_taken_at: Option<Timestamp>,
    /// Tokens made in the last hour.
    pub made_last_hour: usize,
    /// Tokens that may be made in an hour.
    pub mints_per_hour: Option<u32>,
}

impl fmt::Debug for AccountHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AccountHandle").field("name", &self.name).finish_non_exhaustive()
    }
}

impl AccountHandle {
    pub(super) fn new(name: String, uid: String, shared: Arc<Shared>, limiter: Arc<Limiter>) -> Self {
        Self {
            name,
            uid,
            shared,
            limiter,
            state: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Name of the `DbtAccount`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// What the planner of one ServiceToken may rest on. `named` are the tokens that its ledger and its slots name.
    pub fn view(&self, owner: &Owner, labels: &Labels, named: &BTreeSet<TokenId>) -> Account {
        let now = self.shared.now();
        let state = lock(&self.state);
        let Some(judged) = &state.judged else { return not_looked_at() };
        if let AccountState::NotReady { reason, message } = &judged.state {
            return Account::NotReady { reason: reason.word().to_owned(), message: message.clone() };
        }
        let Some(declared) = &state.declared else { return not_looked_at() };
        let Some((snapshot, taken_at)) = state.readings.tokens.known.as_ref().filter(|known| known.0.is_believed) else {
            return not_looked_at();
        };
        let settings = &declared.settings;
        let tokens = snapshot.of_owner(&owner.uid, named);
        let projects = state.readings.projects.value().map_or(&[][..], |projects| projects);
        let grants = grants::matching(&declared.grants, &owner.namespace, labels, projects);
        let limited = settings.maximum_tokens.is_some() || grants.iter().any(|grant| grant.maximum_tokens.is_some());
        let peers = if limited { self.peers() } else { Vec::new() };
        let environments = match state.readings.environments.reading() {
            Reading::Known { taken_at, .. } if later(taken_at, ENVIRONMENTS_MEMORY) <= now => Reading::Unknown,
            reading => reading,
        };
        let gone = named.iter().filter_map(|id| Some((*id, *state.readings.gone.get(id)?))).collect();
        Account::Ready(Box::new(OpenAccount {
            id: AccountId(settings.account_id),
            plan: state.readings.info.value().map(|info| info.plan.clone()).unwrap_or_default(),
            suspended: judged.suspended,
            gone,
            tokens: Reading::Known { value: tokens, taken_at: *taken_at },
            projects: state.readings.projects.reading(),
            environments,
            budget: self.budget(&state, &owner.namespace, now),
            crowded_out: crowded_out(settings.maximum_tokens, &peers, &grants, &owner.uid),
            grants,
            set_back_confirmed: judged.set_back_confirmed,
        }))
    }

    fn budget(&self, state: &State, namespace: &str, now: Timestamp) -> dbt_token_planner::observation::Budget {
        let limit = state.declared.as_ref().map_or(1, |declared| declared.settings.mints_per_hour);
        let rivals = state.waiting.len() - usize::from(state.waiting.contains_key(namespace));
        budget(limit, &state.creations, namespace, rivals, now)
    }

    /// The ServiceTokens that the watch shows for this account: newer than the last look at the account.
    fn peers(&self) -> Vec<Peer> {
        let tokens = self.shared.surroundings.watched.tokens_of(&self.name);
        let peer = |token: &ServiceToken| {
            Some(Peer {
                created_at: token.metadata.creation_timestamp.as_ref()?.0,
                uid: OwnerUid::new(token.metadata.uid.clone()?),
                namespace: token.metadata.namespace.clone()?,
            })
        };
        tokens.iter().filter_map(|token| peer(token)).collect()
    }

    /// The connection, if there is one. Whether it may be used is said by [`AccountHandle::view`].
    pub fn backend(&self) -> Option<Arc<dyn Backend>> {
        lock(&self.state).link.connected().map(|connected| Arc::clone(&connected.backend))
    }

    /// What templates may say about the account; `None` before the first look, or if the declaration makes no sense.
    pub fn variables(&self) -> Option<AccountVariables> {
        lock(&self.state).declared.as_ref().map(|declared| declared.variables.clone())
    }

    /// Whether a token is, or may be, the account's own credential, which nobody ever revokes.
    pub fn is_own_credential(&self, token: TokenId) -> bool {
        let state = lock(&self.state);
        state.readings.tokens.value().is_some_and(|snapshot| match &snapshot.own {
            OwnCredential::Uid(uid) => snapshot.list.tokens.get(&token).is_some_and(|token| token.uid == *uid),
            OwnCredential::Candidates(ids) => ids.contains(&token),
        })
    }

    /// The last list, as it is at this moment.
    pub fn listed(&self) -> Option<Arc<TokenList>> {
        lock(&self.state).readings.tokens.value().map(|snapshot| Arc::clone(&snapshot.list))
    }

    /// Notes that a token was made for an object, or may have been: call it after every create that was sent.
    pub fn note_created(&self, owner: &Owner, now: Timestamp) {
        let mut state = lock(&self.state);
        let creation = Creation { at: now, namespace: Some(owner.namespace.clone()) };
        state.creations.add(&creation);
        state.made.push(creation);
        state.made.retain(|made| later(made.at, BUDGET_WINDOW) > now);
        state.no_longer_waits(owner);
        state.changed.insert(owner.uid.clone(), now);
    }

    /// Notes that something of an object was changed in dbt, so that older lists say nothing about its tokens.
    pub fn note_changed(&self, owner: &OwnerUid, now: Timestamp) {
        lock(&self.state).changed.insert(owner.clone(), now);
    }

    /// Notes whether an object wants a token and has none of the budget: call it after each plan. While several namespaces
    /// want one, none gets more than its share.
    pub fn note_waiting(&self, owner: &Owner, wants: Wants) {
        let mut state = lock(&self.state);
        match wants {
            Wants::Token => drop(state.waiting.entry(owner.namespace.clone()).or_default().insert(owner.uid.clone())),
            Wants::Nothing => state.no_longer_waits(owner),
        }
    }

    /// Notes that dbt refused to let the credential create a token, in dbt's words (class `Denied`, or a personal token).
    /// It counts until the credential changes, for one inventory interval at most.
    pub fn note_create_refused(&self, detail: &str, now: Timestamp) {
        lock(&self.state).create_refused = Some((detail.to_owned(), now));
        self.judge_again();
        self.look_again(Affected::AccountOnly);
    }

    /// Numbers for metrics.
    pub fn figures(&self) -> Figures {
        let now = self.shared.now();
        let state = lock(&self.state);
        Figures {
            ready: state.judged.as_ref().is_some_and(|judged| judged.state == AccountState::Ready),
            tokens: state.judged.as_ref().and_then(|judged| judged.tokens),
            list_taken_at: state.readings.tokens.taken_at(),
            made_last_hour: state.creations.counted(now),
            mints_per_hour: state.declared.as_ref().map(|declared| declared.settings.mints_per_hour),
        }
    }

    pub(super) fn look_again(&self, affected: Affected) {
        self.shared.announce(&self.name, affected);
    }
}

/// Whether an object waits for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// It would make one if the budget had room, or is about to.
    Token,
    /// It does not.
    Nothing,
}

fn not_looked_at() -> Account {
    Account::NotReady { reason: "Progressing".to_owned(), message: "the account is being read for the first time".to_owned() }
}

pub(super) fn variables(settings: &AccountSettings) -> AccountVariables {
    let derived = derive_endpoints(&settings.access_url);
    let (discovery, semantic_layer) = derived.map(|derived| (derived.discovery, derived.semantic_layer)).unzip();
    AccountVariables {
        account_id: AccountId(settings.account_id),
        access_url: settings.access_url.clone(),
        discovery_url: settings.discovery_url.clone().or(discovery),
        semantic_layer_url: settings.semantic_layer_url.clone().or(semantic_layer),
    }
}

/// What a list says of a token that an object may have to act on at once.
fn said_of(token: &Token) -> (bool, Option<&Mark>, &GrantRows, Option<Timestamp>) {
    (token.active, token.mark.as_ref(), &token.rows, token.created_at)
}

/// The tokens of which a list says something else than the list before.
pub(super) fn changed_tokens(before: &TokenList, after: &TokenList) -> BTreeSet<TokenId> {
    let ids: BTreeSet<&TokenId> = before.tokens.keys().chain(after.tokens.keys()).collect();
    let changed = ids.into_iter().filter(|id| {
        let (old, new) = (before.tokens.get(id), after.tokens.get(id));
        old.map(said_of) != new.map(said_of)
    });
    changed.copied().collect()
}

/// The owners that the marks of these tokens name, in either list.
pub(super) fn owners_of(changed: &BTreeSet<TokenId>, before: &TokenList, after: &TokenList) -> BTreeSet<OwnerUid> {
    let listed = changed.iter().flat_map(|id| [before.tokens.get(id), after.tokens.get(id)]).flatten();
    listed.filter_map(|token| token.mark.as_ref()).map(|mark| mark.owner.clone()).collect()
}
