//! What an account needs of the rest of the process, as traits, so that all of it is tested without a server.

use std::sync::Arc;

use async_trait::async_trait;
use dbt_token_planner::identity::{Installation, TokenId};

use super::connect::Connector;
use crate::api::v1alpha1::{DbtAccount, DbtAccountStatus, ServiceToken};
use crate::backend::dbt::Now;
use crate::cluster::account_access::{AccountAccess, LiveOwners, SecretValue};
use crate::cluster::failure::Failure;
use crate::cluster::slot::{ObservedSlot, SlotReference};

/// What all accounts share with the rest of the process.
pub struct Surroundings {
    /// This installation of the operator.
    pub installation: Installation,
    /// The operator's own namespace.
    pub namespace: String,
    /// Whether http is allowed for loopback hosts (`--allow-insecure-endpoints`).
    pub allow_insecure: bool,
    /// What the watches show.
    pub watched: Arc<dyn Watched>,
    /// Kubernetes, for what is not watched.
    pub cluster: Arc<dyn AccountCluster>,
    /// Opens connections to dbt.
    pub connector: Arc<dyn Connector>,
    /// Tells the time.
    pub now: Now,
}

/// What the watches show. Every method is cheap and asks nobody.
pub trait Watched: Send + Sync {
    /// The `DbtAccount` of this name.
    fn account(&self, name: &str) -> Option<Arc<DbtAccount>>;

    /// All `DbtAccount`s.
    fn accounts(&self) -> Vec<Arc<DbtAccount>>;

    /// All `ServiceToken`s that the operator may watch.
    fn tokens(&self) -> Vec<Arc<ServiceToken>>;

    /// Those that name this account.
    fn tokens_of(&self, account: &str) -> Vec<Arc<ServiceToken>>;

    /// The slots and records in the operator's own namespace, those that can be read.
    fn slots(&self) -> Vec<Arc<ObservedSlot>>;

    /// The tokens that Secrets with our label say to hold (by their annotation), with `namespace/name` of the Secret.
    fn held(&self) -> Vec<(TokenId, String)>;

    /// The version of a Secret in the operator's own namespace; `None` if it is not there.
    fn secret_version(&self, name: &str) -> Option<String>;
}

/// What an account reads from Kubernetes that no watch shows, and what it writes. See [`AccountAccess`] for each method.
#[async_trait]
pub trait AccountCluster: Send + Sync {
    /// A key of a Secret in the operator's own namespace.
    ///
    /// # Errors
    /// [`Failure`].
    async fn secret_value(&self, secret: &str, key: &str) -> Result<Option<SecretValue>, Failure>;

    /// The uids of all ServiceTokens, by a live read.
    ///
    /// # Errors
    /// [`Failure`].
    async fn live_owners(&self) -> Result<LiveOwners, Failure>;

    /// Adds the finalizer.
    ///
    /// # Errors
    /// [`Failure`].
    async fn add_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure>;

    /// Takes the finalizer off.
    ///
    /// # Errors
    /// [`Failure`].
    async fn remove_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure>;

    /// Writes the status.
    ///
    /// # Errors
    /// [`Failure`].
    async fn write_status(&self, seen: &DbtAccount, status: &DbtAccountStatus) -> Result<(), Failure>;

    /// Deletes a slot.
    ///
    /// # Errors
    /// [`Failure`].
    async fn close_slot(&self, slot: &SlotReference) -> Result<(), Failure>;
}

#[async_trait]
impl AccountCluster for AccountAccess {
    async fn secret_value(&self, secret: &str, key: &str) -> Result<Option<SecretValue>, Failure> {
        self.secret_value(secret, key).await
    }

    async fn live_owners(&self) -> Result<LiveOwners, Failure> {
        self.live_owners().await
    }

    async fn add_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        self.add_finalizer(seen).await
    }

    async fn remove_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        self.remove_finalizer(seen).await
    }

    async fn write_status(&self, seen: &DbtAccount, status: &DbtAccountStatus) -> Result<(), Failure> {
        self.write_status(seen, status).await
    }

    async fn close_slot(&self, slot: &SlotReference) -> Result<(), Failure> {
        self.close_slot(slot).await
    }
}
