//! The changes that an account's plan asks for, one arm and one call each. Chooses nothing.

use std::sync::Arc;

use dbt_token_planner::account::AccountEffect;
use dbt_token_planner::account::observation::{SlotKind, SlotName};
use dbt_token_planner::identity::TokenId;

use super::handle::AccountHandle;
use super::lock;
use super::reconcile::ReconcileError;
use crate::api::v1alpha1::DbtAccount;
use crate::cluster::slot::ObservedSlot;

impl AccountHandle {
    /// Does one thing. Binding the installation is a write of the status, and done there.
    pub(super) async fn execute(&self, object: &DbtAccount, effect: &AccountEffect) -> Result<(), ReconcileError> {
        let cluster = &self.shared.surroundings.cluster;
        let done = match effect {
            AccountEffect::AddFinalizer => {
                cluster.add_finalizer(object).await.map_err(ReconcileError::cluster("add the finalizer"))
            }
            AccountEffect::RemoveFinalizer => {
                cluster.remove_finalizer(object).await.map_err(ReconcileError::cluster("remove the finalizer"))
            }
            AccountEffect::BindInstallation(_) => Ok(()),
            AccountEffect::RevokeStray { token, .. } => self.revoke(*token).await,
            AccountEffect::CloseOrphanSlot { slot, .. } => self.close(object, slot).await,
        };
        if done.is_ok() {
            tracing::info!(resource.name = self.name, effect = ?effect, "account: {}", word(effect));
        }
        done
    }

    /// Revokes a token, then reads it: only that tells that it is gone.
    async fn revoke(&self, token: TokenId) -> Result<(), ReconcileError> {
        let backend = self.backend().ok_or_else(|| ReconcileError::not_connected(&self.name))?;
        let revoked = backend.revoke(token).await;
        // Whatever the answer was, the token may be gone, so older lists say nothing about it any more.
        lock(&self.state).fresh_after = Some(self.shared.now());
        revoked.map_err(ReconcileError::dbt)?;
        if self.read_token(token).await.is_ok() && lock(&self.state).readings.is_gone(token) {
            // The one token that was changed was read since: the list need not be read again for it.
            lock(&self.state).fresh_after = None;
        }
        Ok(())
    }

    async fn close(&self, object: &DbtAccount, name: &SlotName) -> Result<(), ReconcileError> {
        let fits = |slot: &Arc<ObservedSlot>| {
            let kind = if slot.slot.retained { SlotKind::Record } else { SlotKind::Slot };
            (&slot.belonging.owner.uid, slot.slot.serial, kind) == (&name.owner, name.serial, name.kind)
        };
        // That it is gone already is as good.
        let Some(slot) = self.slots(object).into_iter().find(fits) else { return Ok(()) };
        let closed = self.shared.surroundings.cluster.close_slot(&slot.reference).await;
        closed.map_err(ReconcileError::cluster("close a slot"))
    }
}

fn word(effect: &AccountEffect) -> &'static str {
    match effect {
        AccountEffect::AddFinalizer => "finalizer added",
        AccountEffect::RemoveFinalizer => "finalizer removed",
        AccountEffect::BindInstallation(_) => "bound to this installation",
        AccountEffect::RevokeStray { .. } => "a token without an owner was revoked",
        AccountEffect::CloseOrphanSlot { .. } => "a slot without an owner was closed",
    }
}
