//! One look at a `DbtAccount`: read what is due, do one thing, write the status if it changed.

use std::collections::{BTreeMap, BTreeSet};

use dbt_token_planner::account::observation::OwnerLife;
use dbt_token_planner::account::{AccountEffect, AccountNeed, AccountPlan, AccountStep};
use dbt_token_planner::identity::{Installation, OwnerUid};
use dbt_token_planner::report::Event;
use jiff::Timestamp;

use super::handle::{AccountHandle, variables};
use super::readings::later;
use super::{grants, lock};
use crate::api::desired_account::account_settings;
use crate::api::v1alpha1::DbtAccount;
use crate::backend::BackendError;
use crate::cluster::account_access::LiveOwners;
use crate::cluster::account_report::{Additions, changed};
use crate::cluster::failure::{Class, Failure};

/// Readings in one look. Who the account is, its list, its projects, owners and one token are five; more means that a
/// reading does not settle what it was made for.
const READINGS: usize = 8;

/// What came of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOutcome {
    /// When to look again if nothing happens before; `None` if only a change can bring something new.
    pub wake_at: Option<Timestamp>,
    /// Whether something was done, so that it should be looked at again at once.
    pub acted: bool,
    /// Events to emit about the object.
    pub events: Vec<Event>,
}

impl AccountOutcome {
    /// The object is not there.
    pub(super) fn gone() -> Self {
        Self::default()
    }
}

/// A look failed; the next one is a retry. What dbt itself answers to a reading is no failure of the look but a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// A write to Kubernetes, or a reading from it.
    #[error("could not {attempt}")]
    Cluster {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        source: Failure,
    },
    /// A change in dbt.
    #[error("a change in dbt failed")]
    Dbt {
        /// Why.
        source: BackendError,
    },
    /// The connection went away in between.
    #[error("account {account} is not connected")]
    NotConnected {
        /// Name of the `DbtAccount`.
        account: String,
    },
}

impl ReconcileError {
    pub(super) fn cluster(attempt: &'static str) -> impl Fn(Failure) -> Self {
        move |source| Self::Cluster { attempt, source }
    }

    pub(super) fn dbt(source: BackendError) -> Self {
        Self::Dbt { source }
    }

    pub(super) fn not_connected(account: &str) -> Self {
        Self::NotConnected { account: account.to_owned() }
    }

    /// Whether something had changed in between, so that looking again at once mends it.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Cluster { source, .. } if source.class == Class::Conflict)
    }
}

impl AccountHandle {
    /// Looks at the account once.
    ///
    /// # Errors
    /// [`ReconcileError`].
    pub(super) async fn reconcile(&self, object: &DbtAccount) -> Result<AccountOutcome, ReconcileError> {
        let _turn = self.looking.lock().await;
        if let Ok(settings) = account_settings(object) {
            self.connect(&settings).await;
        }
        let mut failed = false;
        for _ in 0..READINGS {
            let plan = self.judge(object);
            match &plan.step {
                // After a failed reading the plan says when the next try is due; it is not due now.
                AccountStep::Read(needs) if !failed => failed = !self.read(needs).await?,
                AccountStep::Act(effect) => return self.act(object, &plan, effect).await,
                AccountStep::Read(_) | AccountStep::Wait | AccountStep::Settled => {
                    return Ok(match self.write_status(object, &plan, None).await? {
                        None => self.outcome(plan, failed),
                        // Its events are told with it.
                        postponed => AccountOutcome { wake_at: postponed, ..AccountOutcome::default() },
                    });
                }
            }
        }
        tracing::error!(resource.name = self.name, "account: a reading does not settle what it is made for");
        Ok(AccountOutcome { wake_at: Some(later(self.shared.now(), FALLBACK)), ..AccountOutcome::default() })
    }

    fn outcome(&self, plan: AccountPlan, failed: bool) -> AccountOutcome {
        let now = self.shared.now();
        let again = lock(&self.state).link.again_at().map(|time| time.max(later(now, SHORTEST)));
        let fallback = (failed && plan.wake_at.is_none()).then(|| later(now, FALLBACK));
        let wake_at = [plan.wake_at, again, fallback].into_iter().flatten().min();
        AccountOutcome { wake_at, acted: false, events: plan.report.events }
    }

    async fn act(
        &self,
        object: &DbtAccount,
        plan: &AccountPlan,
        effect: &AccountEffect,
    ) -> Result<AccountOutcome, ReconcileError> {
        let acted = |events| AccountOutcome { wake_at: None, acted: true, events };
        if let AccountEffect::BindInstallation(installation) = effect {
            self.write_status(object, plan, Some(installation)).await?;
            return Ok(acted(plan.report.events.clone()));
        }
        self.execute(object, effect).await?;
        Ok(acted(effect.event().into_iter().collect()))
    }

    /// Reads all that is needed; false if something could not be read.
    async fn read(&self, needs: &BTreeSet<AccountNeed>) -> Result<bool, ReconcileError> {
        let owners: BTreeSet<&OwnerUid> = needs
            .iter()
            .filter_map(|need| match need {
                AccountNeed::OwnerLife(owner) => Some(owner),
                _ => None,
            })
            .collect();
        if !owners.is_empty() {
            self.read_owners(&owners).await?;
        }
        for need in needs {
            if let Err(error) = self.ensure_for_account(need).await {
                tracing::warn!(resource.name = self.name, "account: {error}");
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks for owners that the watch does not show. One that is gone stays gone: uids are not used twice.
    async fn read_owners(&self, owners: &BTreeSet<&OwnerUid>) -> Result<(), ReconcileError> {
        let live = self.shared.surroundings.cluster.live_owners().await;
        let live = live.map_err(ReconcileError::cluster("look for the owners of tokens"))?;
        let now = self.shared.now();
        let life = |owner: &OwnerUid| match &live {
            LiveOwners::All(uids) if !uids.contains(owner) => OwnerLife::Gone { since: now },
            _ => OwnerLife::MayLive,
        };
        let found: BTreeMap<OwnerUid, OwnerLife> = owners.iter().map(|owner| ((*owner).clone(), life(owner))).collect();
        let mut state = lock(&self.state);
        state.lives_read_at = Some(now);
        state.lives.extend(found);
        Ok(())
    }

    /// Writes what differs; a time if so much was written lately that it has to wait.
    async fn write_status(
        &self,
        object: &DbtAccount,
        plan: &AccountPlan,
        bind: Option<&Installation>,
    ) -> Result<Option<Timestamp>, ReconcileError> {
        let effective = account_settings(object).ok().map(|settings| {
            let variables = variables(&settings);
            settings.effective(variables.discovery_url, variables.semantic_layer_url)
        });
        let declared = object.spec.grants.as_deref().unwrap_or_default();
        let unresolved_projects = if grants::name_projects(declared) {
            let state = lock(&self.state);
            state.readings.projects.value().map(|projects| grants::unresolved(declared, projects))
        } else {
            Some(Vec::new())
        };
        let additions = Additions { effective, bind: bind.cloned(), unresolved_projects };
        let now = self.shared.now();
        let Some(status) = changed(object.status.as_ref(), &plan.report, additions, now) else { return Ok(None) };
        if let Some(due) = lock(&self.state).reports.due(now).filter(|_| bind.is_none()) {
            return Ok(Some(due));
        }
        let written = self.shared.surroundings.cluster.write_status(object, &status).await;
        written.map_err(ReconcileError::cluster("write the status"))?;
        lock(&self.state).reports.note(now);
        Ok(None)
    }
}

/// When to look again if the plan says nothing.
const FALLBACK: std::time::Duration = std::time::Duration::from_secs(60);

/// A time that has passed already must not make the controller spin.
const SHORTEST: std::time::Duration = std::time::Duration::from_secs(1);
