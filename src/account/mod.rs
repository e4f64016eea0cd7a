//! One shared instance per `DbtAccount`: its credential and connection, the believed token list with its age, the budget,
//! and the account's own conditions. All judgement is in `planner::account`; this reads, does one thing, and reads again.
//!
//! [`Accounts`] is the registry. An [`AccountHandle`] answers the ServiceTokens of its account: [`AccountHandle::view`] is
//! cheap and does no I/O, [`AccountHandle::ensure`] reads from dbt, once for all who wait. [`Accounts::reconcile`] works on
//! the `DbtAccount` itself.

mod adoption;
mod connect;
mod effects;
mod ensure;
pub mod grants;
mod handle;
mod observe;
mod readings;
mod reconcile;
mod surroundings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbt_token_planner::account::AccountNeed;
use dbt_token_planner::effect::Need;
use dbt_token_planner::identity::AccountId;
use dbt_token_planner::observation::Owner;
use futures::Stream;
use jiff::Timestamp;
use tokio::sync::broadcast;

pub use self::connect::{Connector, DbtConnector};
pub use self::ensure::{ReadError, ReadTrouble};
pub use self::handle::{AccountHandle, AccountVariables, Figures, Wants};
pub use self::reconcile::{AccountOutcome, ReconcileError};
pub use self::surroundings::{AccountCluster, Surroundings, Watched};
use crate::api::v1alpha1::DbtAccount;
use crate::backend::dbt::Limiter;

/// How many changes a slow listener may be behind before it is told that anything may have changed.
const CHANGES: usize = 1024;

/// Something of an account changed that ServiceTokens rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The `DbtAccount`; it is to be looked at as well.
    pub account: String,
    /// Whom it concerns.
    pub affected: Affected,
}

/// Whom a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Every ServiceToken of the account.
    All,
    /// These: dbt lists other tokens of theirs than before.
    Only(Vec<Owner>),
    /// The account itself alone.
    AccountOnly,
}

/// All accounts, by name.
pub struct Accounts {
    shared: Arc<Shared>,
    handles: Mutex<BTreeMap<String, Arc<AccountHandle>>>,
    /// Kept while the process lives: dbt's limit and its cool-down are the account's, whatever object speaks of it.
    limiters: Mutex<BTreeMap<AccountId, Arc<Limiter>>>,
}

/// What the handles need.
pub(crate) struct Shared {
    surroundings: Surroundings,
    changes: broadcast::Sender<Change>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        (self.surroundings.now)()
    }

    /// Nobody listening is no failure: the next look at the object finds it.
    fn announce(&self, account: &str, affected: Affected) {
        let _ = self.changes.send(Change { account: account.to_owned(), affected });
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = lock(&self.handles).keys().cloned().collect();
        formatter.debug_struct("Accounts").field("names", &names).finish_non_exhaustive()
    }
}

impl Accounts {
    /// An empty registry.
    pub fn new(surroundings: Surroundings) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        Self {
            shared: Arc::new(Shared { surroundings, changes }),
            handles: Mutex::new(BTreeMap::new()),
            limiters: Mutex::new(BTreeMap::new()),
        }
    }

    /// The handle of an account; `None` if the watch shows no `DbtAccount` of that name. An account that was deleted and
    /// created anew is another one.
    pub fn get(&self, name: &str) -> Option<Arc<AccountHandle>> {
        let object = self.object(name);
        let mut handles = lock(&self.handles);
        let Some(object) = object else {
            handles.remove(name);
            return None;
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        if let Some(handle) = handles.get(name).filter(|handle| handle.uid() == uid) {
            return Some(Arc::clone(handle));
        }
        let limiter = self.limiter(AccountId(object.spec.account_id));
        let handle = Arc::new(AccountHandle::new(name.to_owned(), uid, Arc::clone(&self.shared), limiter));
        handles.insert(name.to_owned(), Arc::clone(&handle));
        Some(handle)
    }

    /// The handles of all accounts that were looked at, for metrics.
    pub fn all(&self) -> Vec<Arc<AccountHandle>> {
        lock(&self.handles).values().cloned().collect()
    }

    /// Looks at a `DbtAccount` once: reads what is due, does one thing, and writes its status if that changed. Not before
    /// every watch has shown its first list: an object that a watch does not show yet would count as not there.
    ///
    /// # Errors
    /// [`ReconcileError`], for the controller's delay.
    pub async fn reconcile(&self, name: &str) -> Result<AccountOutcome, ReconcileError> {
        let (Some(handle), Some(object)) = (self.get(name), self.object(name)) else { return Ok(AccountOutcome::gone()) };
        handle.reconcile(&object).await
    }

    /// Changes from now on, for whoever wakes objects up. A listener that is too slow gets `None`: then anything may have
    /// changed.
    pub fn changes(&self) -> impl Stream<Item = Option<Change>> + Send + use<> {
        futures::stream::unfold(self.shared.changes.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(change) => Some((Some(change), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((None, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }

    /// The accounts whose credential or CA bundle is in this Secret of the operator's own namespace.
    pub fn using_secret(&self, secret: &str) -> Vec<String> {
        let uses = |account: &DbtAccount| {
            let bundle = account.spec.ca_bundle_secret_ref.as_ref().is_some_and(|reference| reference.name == secret);
            account.spec.credentials_secret_ref.name == secret || bundle
        };
        let accounts = self.shared.surroundings.watched.accounts();
        accounts.iter().filter(|account| uses(account)).filter_map(|account| account.metadata.name.clone()).collect()
    }

    fn object(&self, name: &str) -> Option<Arc<DbtAccount>> {
        self.shared.surroundings.watched.account(name)
    }

    fn limiter(&self, account: AccountId) -> Arc<Limiter> {
        let fresh = || Arc::new(Limiter::new(crate::backend::dbt::DEFAULT_REQUESTS_PER_MINUTE));
        Arc::clone(lock(&self.limiters).entry(account).or_insert_with(fresh))
    }
}

/// What a ServiceToken's plan wants to know, as a need of its account.
fn account_need(need: Need) -> Option<AccountNeed> {
    match need {
        Need::Tokens(time) => Some(AccountNeed::Tokens(time)),
        Need::Token(token) => Some(AccountNeed::Token(token)),
        Need::Projects => Some(AccountNeed::Projects),
        // The account has no pods; whoever asks for them asks the cluster.
        Need::Environments | Need::Consumers(_) | Need::Workloads(_) => None,
    }
}

/// A panic while one of these locks is held leaves no half-made change behind: values are replaced as a whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
