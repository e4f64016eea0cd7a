//! Connects to the API server, finds out which installation this is, and takes part in the election.

use std::future::Future;

use dbt_token_planner::identity::Installation;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use kube_lease_manager::LeaseManagerError;

use super::leader::{Campaign, Leadership};
use super::{Ports, Settings, run};
use crate::cluster::failure::Failure;
use crate::cluster::names;
use crate::health::Health;
use crate::metrics::Metrics;

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's own namespace.
    pub namespace: String,
    /// The name of this process.
    pub identity: String,
    /// The installation, if it is pinned.
    pub installation: Option<String>,
    /// The name of the Lease; `None` if there is no election.
    pub lease: Option<String>,
    /// How many objects are worked on at once.
    pub concurrency: u16,
    /// Whether http to loopback addresses is allowed.
    pub allow_insecure_endpoints: bool,
}

/// Why the operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is neither a kubeconfig nor the ServiceAccount of a pod, or the client cannot be built from it.
    #[error("no connection to an API server can be made; set KUBECONFIG, or run in a pod with a ServiceAccount ({detail})")]
    Connection {
        /// What is wrong.
        detail: String,
    },
    /// The namespace cannot be read.
    #[error("namespace {namespace} cannot be read; it must exist, and the operator may get it")]
    Namespace {
        /// Its name.
        namespace: String,
        /// Why.
        source: Failure,
    },
    /// The namespace has no uid, which no API server would answer.
    #[error("namespace {namespace} has no uid")]
    NoUid {
        /// Its name.
        namespace: String,
    },
    /// The pinned id does not fit a label.
    #[error("--installation-id {id}: write at most 63 letters, digits, dashes, underscores or dots")]
    InstallationId {
        /// As given.
        id: String,
    },
    /// The lease can neither be read nor created.
    #[error("the lease {lease} in namespace {namespace} cannot be had")]
    Lease {
        /// Its name.
        lease: String,
        /// Its namespace.
        namespace: String,
        /// Why.
        source: LeaseManagerError,
    },
}

/// Runs until it is asked to stop, or loses the lease.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    options: Options,
    metrics: Metrics,
    health: Health,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), StartError> {
    let connect = |error: kube::Error| StartError::Connection { detail: Failure::from(error).detail };
    let client = Client::try_default().await.map_err(connect)?;
    let installation = installation(&client, &options).await?;
    let (campaign, leadership) = campaign(&client, &options).await?;
    tracing::info!(%installation, namespace = options.namespace, "starting");
    let settings = Settings {
        namespace: options.namespace,
        installation,
        identity: options.identity,
        concurrency: options.concurrency,
        allow_insecure_endpoints: options.allow_insecure_endpoints,
    };
    let ports = Ports::real(client, leadership, &metrics);
    run(ports, settings, metrics, health, stop).await;
    campaign.resign().await;
    Ok(())
}

async fn installation(client: &Client, options: &Options) -> Result<Installation, StartError> {
    let id = match &options.installation {
        Some(id) => id.clone(),
        None => namespace_uid(client, &options.namespace).await?,
    };
    if names::is_label_value(&id) { Ok(Installation::new(id)) } else { Err(StartError::InstallationId { id }) }
}

async fn namespace_uid(client: &Client, namespace: &str) -> Result<String, StartError> {
    let read = Api::<Namespace>::all(client.clone()).get_metadata(namespace).await;
    let found = read.map_err(|error| StartError::Namespace { namespace: namespace.to_owned(), source: error.into() })?;
    found.uid().ok_or_else(|| StartError::NoUid { namespace: namespace.to_owned() })
}

async fn campaign(client: &Client, options: &Options) -> Result<(Campaign, Leadership), StartError> {
    let Some(lease) = &options.lease else { return Ok((Campaign::none(), Leadership::alone())) };
    let campaign = Campaign::begin(client.clone(), &options.namespace, lease, &options.identity).await;
    campaign.map_err(|source| StartError::Lease { lease: lease.clone(), namespace: options.namespace.clone(), source })
}
