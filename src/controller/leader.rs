//! The lease. It spares duplicate work; safety never rests on it. Losing it ends the process, so that nothing of an old
//! leader is left running.

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;

/// How long a lease holds without renewal, in seconds: after a kill a standby takes over within it.
const LEASE_SECONDS: u64 = 12;

/// How long before its end the lease is renewed, in seconds.
const RENEWAL_SECONDS: u64 = 4;

/// Whether this process leads.
#[derive(Clone)]
pub struct Leadership(Option<watch::Receiver<bool>>);

impl Leadership {
    /// A process that always leads, since it is the only one.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Takes part in the election.
    ///
    /// # Errors
    /// If the lease can neither be read nor created.
    pub async fn campaign(client: Client, namespace: &str, lease: &str, identity: &str) -> Result<Self, LeaseManagerError> {
        let manager = LeaseManagerBuilder::new(client, lease)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(LEASE_SECONDS)
            .with_grace(RENEWAL_SECONDS)
            .build()
            .await?;
        let (leads, _task) = manager.watch().await;
        Ok(Self(Some(leads)))
    }

    /// Whether it leads now.
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|leads| *leads.borrow())
    }

    /// Waits until it leads.
    pub async fn gained(&mut self) {
        if let Some(leads) = &mut self.0 {
            // The channel closes only together with the task that renews the lease; then the lease is lost.
            let _lost = leads.wait_for(|leads| *leads).await;
        }
    }

    /// Waits until it no longer leads.
    pub async fn lost(&mut self) {
        match &mut self.0 {
            Some(leads) => {
                let _lost = leads.wait_for(|leads| !leads).await;
            }
            None => std::future::pending().await,
        }
    }
}
