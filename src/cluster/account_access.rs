//! What an account reads from Kubernetes that no watch shows, and what it writes. Every write names the version of what
//! was seen.

use std::collections::BTreeSet;

use dbt_token_planner::identity::OwnerUid;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use zeroize::Zeroizing;

use super::account_status::AccountStatuses;
use super::failure::Failure;
use super::finalizer;
use super::slot::{SlotReference, Slots};
use crate::api::v1alpha1::{DbtAccount, DbtAccountStatus, ServiceToken};

/// Objects a page of a live listing: a page of metadata stays below a megabyte.
const PAGE: u32 = 500;

/// Pages of one live listing. Fifty thousand ServiceTokens are more than any account of dbt was heard to have; a longer
/// list proves nothing about who is gone.
const MOST_PAGES: usize = 100;

/// A key of a Secret.
pub struct SecretValue {
    /// What it holds; wiped when this is dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The version of the Secret.
    pub version: Option<String>,
}

/// What a live listing of ServiceTokens says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveOwners {
    /// These are all there are, in every namespace.
    All(BTreeSet<OwnerUid>),
    /// The operator may not look everywhere, so whoever is not seen may live.
    NotAll,
}

/// Reads and writes for accounts.
pub struct AccountAccess {
    accounts: Api<DbtAccount>,
    statuses: AccountStatuses,
    tokens: Api<ServiceToken>,
    secrets: Api<Secret>,
    slots: Slots,
}

impl AccountAccess {
    /// Works with this client; `namespace` is the operator's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            accounts: Api::all(client.clone()),
            statuses: AccountStatuses::new(client.clone()),
            tokens: Api::all(client.clone()),
            secrets: Api::namespaced(client.clone(), namespace),
            slots: Slots::new(client, namespace),
        }
    }

    /// A key of a Secret in the operator's own namespace; `None` if the Secret or the key is not there.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn secret_value(&self, secret: &str, key: &str) -> Result<Option<SecretValue>, Failure> {
        let Some(mut found) = self.secrets.get_opt(secret).await? else { return Ok(None) };
        // Every value is wiped, not only the one that is wanted.
        let data = found.data.take().unwrap_or_default();
        let values: Vec<(String, Zeroizing<Vec<u8>>)> =
            data.into_iter().map(|(name, bytes)| (name, Zeroizing::new(bytes.0))).collect();
        let value = values.into_iter().find(|(name, _)| name == key);
        Ok(value.map(|(_, bytes)| SecretValue { bytes, version: found.metadata.resource_version }))
    }

    /// The uids of all ServiceTokens, read from the API server itself and not from a cache.
    ///
    /// # Errors
    /// [`Failure`]; that the operator may not is no error but [`LiveOwners::NotAll`].
    pub async fn live_owners(&self) -> Result<LiveOwners, Failure> {
        let mut uids = BTreeSet::new();
        // Without a resourceVersion the API server answers with the newest state, not with a cache that may lag.
        let mut parameters = ListParams::default().limit(PAGE);
        for _ in 0..MOST_PAGES {
            let page = match self.tokens.list_metadata(&parameters).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 403 => return Ok(LiveOwners::NotAll),
                Err(error) => return Err(error.into()),
            };
            uids.extend(page.items.into_iter().filter_map(|item| item.metadata.uid).map(OwnerUid::new));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(LiveOwners::All(uids)),
            }
        }
        Ok(LiveOwners::NotAll)
    }

    /// Adds the finalizer to the version that was seen.
    ///
    /// # Errors
    /// [`Failure`]; [`super::failure::Class::Conflict`] if the object has changed.
    pub async fn add_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        finalizer::add(&self.accounts, &seen.metadata).await.map_err(|error| error.source)
    }

    /// Takes the finalizer off the version that was seen.
    ///
    /// # Errors
    /// [`Failure`]; [`super::failure::Class::Conflict`] if the object has changed.
    pub async fn remove_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        finalizer::remove(&self.accounts, &seen.metadata).await.map_err(|error| error.source)
    }

    /// Makes the status of the version that was seen say what it shall.
    ///
    /// # Errors
    /// [`Failure`]; [`super::failure::Class::Conflict`] if the object has changed.
    pub async fn write_status(&self, seen: &DbtAccount, wanted: &DbtAccountStatus) -> Result<(), Failure> {
        self.statuses.write(seen, wanted).await.map(drop).map_err(|error| error.source)
    }

    /// Deletes a slot, if it is still what was seen.
    ///
    /// # Errors
    /// [`Failure`]; [`super::failure::Class::Conflict`] if it has changed.
    pub async fn close_slot(&self, slot: &SlotReference) -> Result<(), Failure> {
        self.slots.close(slot).await.map_err(|error| Failure { class: error.class(), detail: error.to_string() })
    }
}
