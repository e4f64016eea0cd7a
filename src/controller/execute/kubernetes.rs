//! The effects that only touch Kubernetes.

use std::collections::BTreeMap;

use dbt_token_planner::effect::{Effect, LedgerEntry, LetGo, Outcome};
use dbt_token_planner::identity::{RenderRule, Serial, TokenId};
use dbt_token_planner::ledger::{Cause, Ledger};
use dbt_token_planner::observation::{Condemnation, TroubleKind};
use dbt_token_planner::report;
use jiff::Timestamp;
use kube::Api;
use serde_json::Value;

use super::{Done, Executor, token_uid};
use crate::api::v1alpha1::{ServiceToken, ServiceTokenStatus};
use crate::cluster::ledger::ServiceTokenReference;
use crate::cluster::render::{self, RenderedSecret, TokenIdentity};
use crate::cluster::slot::ObservedSlot;
use crate::cluster::target::{Claim, Projection, TargetReference};
use crate::cluster::{finalizer, status};
use crate::controller::expect::Expect;
use crate::controller::failure;
use crate::controller::retry::Failure;

/// Whether a ledger follows from which slots there are, and not only from what it said before.
fn rests_on_slots(entry: LedgerEntry, ledger: &Ledger) -> bool {
    let replaces_a_lost_one = ledger.next.as_ref().is_some_and(|attempt| attempt.cause == Cause::SlotLost);
    entry == LedgerEntry::Rebuild || entry == LedgerEntry::Open && replaces_a_lost_one
}

impl Executor<'_> {
    pub(super) async fn finalizer(&self, add: bool) -> Result<Done, Failure> {
        let namespace = &self.seen.observation.owner.namespace;
        let api: Api<ServiceToken> = Api::namespaced(self.context.client.clone(), namespace);
        let seen = &self.seen.token.metadata;
        let changed = if add { finalizer::add(&api, seen).await } else { finalizer::remove(&api, seen).await };
        changed.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(Expect::token(&self.seen.token))))
    }

    /// The event goes out first: afterwards there is no object to attach it to.
    pub(super) async fn let_go(&self, how: LetGo) -> Result<Done, Failure> {
        let event = report::event(&self.seen.observation, &Effect::RemoveFinalizer(how));
        self.context.tell_first(&self.seen.token, event.into_iter().collect()).await;
        self.finalizer(false).await
    }

    pub(super) async fn write_ledger(&self, ledger: &Ledger) -> Result<Done, Failure> {
        self.write_status(ledger).await?;
        let mut done = Done::new(Outcome::Done, Some(Expect::token(&self.seen.token)));
        done.events = self.report.events.clone();
        Ok(done)
    }

    /// The object as it is once its status says what it shall; `None` if it did so already.
    pub(super) async fn write_status(&self, ledger: &Ledger) -> Result<Option<ServiceToken>, Failure> {
        let Some(patch) = self.status_patch(ledger) else { return Ok(None) };
        let object = self.reference()?;
        let written = self.context.statuses.write(&object, patch).await;
        written.map(Some).map_err(|error| failure::cluster(&error, error.class()))
    }

    /// Whether the status does not say yet what it shall. Costs far less than the patch.
    pub(super) fn status_differs(&self, ledger: &Ledger) -> bool {
        self.with_status(ledger, |previous, wanted, now| status::changed(previous, wanted, now).is_some())
    }

    /// What of the status differs from what is written.
    fn status_patch(&self, ledger: &Ledger) -> Option<Value> {
        self.with_status(ledger, status::patch)
    }

    fn with_status<T>(
        &self,
        ledger: &Ledger,
        compare: impl FnOnce(&ServiceTokenStatus, status::Wanted<'_>, Timestamp) -> T,
    ) -> T {
        let nothing = ServiceTokenStatus::default();
        let previous = self.seen.token.status.as_ref().unwrap_or(&nothing);
        let effective = self.seen.effective();
        let projects = self.seen.observation.account.open().and_then(|account| account.projects.value());
        let wanted = status::Wanted {
            report: self.report,
            ledger,
            effective: effective.as_ref(),
            projects: projects.map_or(&[], |projects| projects.as_slice()),
        };
        compare(previous, wanted, self.context.clock.now())
    }

    /// The ledger makes the token its current one.
    pub(super) async fn commit(&self, ledger: &Ledger) -> Result<Done, Failure> {
        let written = self.write_status(ledger).await?;
        let object = written.and_then(|written| written.metadata.resource_version);
        if let (Some(object), Some(target)) = (object, &self.seen.target) {
            self.context.memories.note_commit(&self.seen.observation.owner.uid, object, target.resource_version.clone());
        }
        let mut done = Done::new(Outcome::Done, Some(Expect::token(&self.seen.token)));
        done.events = self.report.events.clone();
        Ok(done)
    }

    pub(super) async fn claim(&self) -> Result<Done, Failure> {
        let owner = &self.seen.observation.owner;
        let name = &self.seen.token.spec.secret.name;
        let claim = self
            .context
            .targets
            .claim(&owner.namespace, name, &owner.name, &self.seen.template)
            .await
            .map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        let expect = Some(Expect::target(&owner.namespace, name, None));
        match claim {
            Claim::Created(_) | Claim::Ours(_) => Ok(Done::new(Outcome::Done, expect)),
            Claim::Foreign { manager } => {
                self.context.memories.note_foreign(&owner.uid, manager.clone(), self.context.clock.now());
                Ok(Done::new(Outcome::TargetForeign { manager }, None))
            }
            Claim::OtherOwner { .. } => Ok(Done::new(Outcome::Conflict, expect)),
        }
    }

    pub(super) async fn reserve(&self, serial: Serial) -> Result<Done, Failure> {
        let belonging = self.seen.belonging(self.context, self.account_id()?);
        self.context.slots.reserve(&belonging, serial).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, None))))
    }

    pub(super) async fn condemn(&self, serial: Serial, why: &Condemnation) -> Result<Done, Failure> {
        let slot = self.slot(serial)?;
        self.context.slots.condemn(slot, why).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, Some(slot)))))
    }

    pub(super) async fn label(&self, serial: Serial) -> Result<Done, Failure> {
        let slot = self.slot(serial)?;
        self.context.slots.label_committed(slot).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, Some(slot)))))
    }

    pub(super) async fn project(&self, serial: Serial, token: TokenId, rule: &RenderRule) -> Result<Done, Failure> {
        let target = self.target()?;
        self.still_current(target).await?;
        let rendered = self.rendered(serial).await?;
        let slot = self.slot(serial)?;
        let uid = token_uid(slot).ok_or_else(|| failure::stale("the slot lost its token"))?;
        let published = self.seen.observation.record.published.as_ref().filter(|published| published.token == token);
        let projection = Projection {
            service_token: &self.seen.observation.owner.name,
            token: TokenIdentity { id: token, uid },
            published_at: published.map_or_else(|| self.context.clock.now(), |published| published.at),
            rule,
            template: &self.seen.template,
            data: &rendered,
        };
        self.context
            .targets
            .project(target, projection)
            .await
            .map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        Ok(Done::new(Outcome::Done, Some(Expect::target(&target.namespace, &target.name, Some(target)))))
    }

    /// Makes sure that the ledger which names the token is the latest one, after the target was looked at; and that the
    /// status tells of a target that could not be read, since nothing would tell of it afterwards. The commit of this very
    /// process does both, as long as neither the object nor the target has changed since.
    async fn still_current(&self, target: &TargetReference) -> Result<(), Failure> {
        let object = self.reference()?;
        let owner = &self.seen.observation.owner.uid;
        if self.context.memories.is_last_commit(owner, &object.resource_version, &target.resource_version) {
            return Ok(());
        }
        if self.write_status(&self.seen.observation.ledger).await?.is_some() {
            self.context.expect(owner, Expect::token(&self.seen.token));
            return Ok(());
        }
        self.still_there().await
    }

    /// Makes sure that the object is there in the version that was seen, after the target was looked at. Another process may
    /// have let it go, and what the target holds may already be that of an object which was applied anew under its name.
    pub(super) async fn still_there(&self) -> Result<(), Failure> {
        let object = self.reference()?;
        self.context.statuses.confirm(&object).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(())
    }

    fn reference(&self) -> Result<ServiceTokenReference, Failure> {
        ServiceTokenReference::of(&self.seen.token.metadata).ok_or_else(|| failure::stale("the object has no version"))
    }

    /// A lost ledger is rebuilt from all the slots there are, and a lost slot replaced only if there is none: not from those
    /// that a watch has shown so far.
    pub(super) async fn write_entry(&self, entry: LedgerEntry, ledger: &Ledger) -> Result<Done, Failure> {
        if !rests_on_slots(entry, ledger) {
            return self.write_ledger(ledger).await;
        }
        let owner = &self.seen.observation.owner.uid;
        let live = self.context.slots.list(owner).await.map_err(|error| failure::cluster(&error, error.class()))?;
        let ours = live.iter().filter(|slot| slot.belonging.installation == self.context.installation);
        let seen = self.seen.slots.iter().map(|slot| version(slot));
        if ours.map(version).collect::<BTreeMap<_, _>>() != seen.collect() {
            return Err(failure::stale("the slots are others than those that were seen"));
        }
        self.write_ledger(ledger).await
    }

    pub(super) async fn rendered(&self, serial: Serial) -> Result<RenderedSecret, Failure> {
        let slot = self.slot(serial)?;
        let string = self.read_slot(serial).await?;
        let (Some(id), Some(uid)) = (slot.slot.token(), token_uid(slot)) else { return Err(failure::stale("the slot is empty")) };
        let Some(variables) = &self.seen.variables else { return Err(failure::stale("the account is gone")) };
        render::render(&self.seen.template, variables, TokenIdentity { id, uid }, &string).map_err(|error| Failure {
            kind: TroubleKind::SecretRefused,
            message: error.to_string(),
            not_before: None,
            stale: false,
        })
    }

    pub(super) async fn close(&self, serial: Serial) -> Result<Done, Failure> {
        let slot = self.slot(serial)?;
        self.context.slots.close(&slot.reference).await.map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(self.expect_slot(serial, Some(slot)))))
    }

    pub(super) async fn leave_record(&self, serial: Serial, token: TokenId) -> Result<Done, Failure> {
        let slot = self.slot(serial).ok();
        let belonging = match slot {
            Some(slot) => slot.belonging.clone(),
            None => self.seen.belonging(self.context, self.account_id()?),
        };
        let uid = slot.and_then(token_uid);
        self.context
            .slots
            .leave_record(&belonging, serial, token, uid, slot.and_then(|slot| slot.slot.adopted.as_ref()))
            .await
            .map_err(|error| failure::cluster(&error, error.class()))?;
        Ok(Done::new(Outcome::Done, Some(Expect::record(&belonging.owner.uid, serial))))
    }

    pub(super) async fn release(&self) -> Result<Done, Failure> {
        let target = self.target()?;
        self.still_there().await?;
        self.context
            .targets
            .release(target)
            .await
            .map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        Ok(Done::new(Outcome::Done, Some(Expect::target(&target.namespace, &target.name, Some(target)))))
    }

    pub(super) async fn delete_target(&self) -> Result<Done, Failure> {
        let target = self.target()?;
        self.still_there().await?;
        self.context
            .targets
            .delete(target)
            .await
            .map_err(|error| failure::target(&error, error.class(), &self.seen.token.spec.secret.name))?;
        Ok(Done::new(Outcome::Done, Some(Expect::target(&target.namespace, &target.name, Some(target)))))
    }
}

fn version(slot: &ObservedSlot) -> (&str, &str) {
    (&slot.reference.name, &slot.reference.resource_version)
}
