//! The census of a scene: the truth about each object, from the Secret, dbt and the ledger themselves, for the planner's own
//! predicates.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use dbt_cloud_emulator::{Emulator, TokenState};
use dbt_token_operator::api::desired;
use dbt_token_operator::api::v1alpha1::ServiceToken;
use dbt_token_operator::cluster::ledger;
use dbt_token_planner::grant::{GrantRow, GrantRows, Scope, resolve};
use dbt_token_planner::identity::{PermissionSet, ProjectId, TokenId, WriteCategory};
use dbt_token_planner::invariant::{Census, CensusTarget, CensusToken, violations};
use dbt_token_planner::mark::Mark;
use dbt_token_planner::observation::Project;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::guard::Guard;
use super::scene::Scene;
use super::wait::{LIMIT, until};

/// What was declared for one object, as the rows that dbt shall grant.
#[derive(Clone, Default)]
pub struct Declarations(Arc<Mutex<Vec<GrantRows>>>);

impl Declarations {
    /// Adds what a ServiceToken declares now, if it can be resolved at all.
    pub fn add(&self, token: &ServiceToken, dbt: &Emulator) {
        let Ok(declared) = desired::desired(token) else { return };
        let projects: Vec<Project> = dbt.projects().into_iter().map(|(id, name)| Project { id: ProjectId(id), name }).collect();
        if let Ok(rows) = resolve(&declared.permissions, &projects) {
            self.0.lock().expect("no holder panics").push(rows);
        }
    }

    fn all(&self) -> Vec<GrantRows> {
        self.0.lock().expect("no holder panics").clone()
    }
}

/// The token whose string stands anywhere in the Secret, and whether dbt accepts it.
pub fn held(secret: &Secret, dbt: &Emulator) -> Option<(i64, bool)> {
    let values: Vec<String> =
        secret.data.iter().flatten().map(|(_, value)| String::from_utf8_lossy(&value.0).into_owned()).collect();
    let string = dbt.issued_token_strings().into_iter().rev().find(|string| values.iter().any(|value| value.contains(string)))?;
    let alive = dbt.authenticates(&string);
    let id = dbt.tokens().into_iter().find(|token| string.contains(&token.uid)).map(|token| token.id.0)?;
    Some((id, alive.is_some()))
}

impl Scene {
    /// Checks every promise for every guarded object, at a moment in which nothing changed while it was looked at.
    pub async fn check(&self) {
        let names: Vec<(String, String)> = {
            let guards = self.guards.lock().expect("no holder panics");
            guards.iter().map(|guard| (guard.namespace.clone(), guard.name.clone())).collect()
        };
        for (namespace, name) in names {
            let what = format!("{namespace}/{name} stands still for a census");
            let census = until(LIMIT, &what, async || self.census(&namespace, &name).await);
            if let Some(census) = census.await {
                let broken = violations(&census);
                assert!(broken.is_empty(), "{namespace}/{name} breaks promises: {broken:?}; {census:#?}");
            }
        }
    }

    async fn census(&self, namespace: &str, name: &str) -> Result<Option<Census>, String> {
        let (secret_name, declared, was_ready) = {
            let guards = self.guards.lock().expect("no holder panics");
            let guard = guards.iter().find(|guard| guard.namespace == namespace && guard.name == name);
            let Some(guard) = guard else { return Ok(None) };
            (guard.secret.clone(), guard.declared.all(), was_ready(guard))
        };
        let tokens: Api<ServiceToken> = Api::namespaced(self.stage.client(), namespace);
        let secrets: Api<Secret> = Api::namespaced(self.stage.client(), namespace);
        let look = async || {
            let token = tokens.get_opt(name).await.map_err(|error| error.to_string())?;
            let secret = secrets.get_opt(&secret_name).await.map_err(|error| error.to_string())?;
            Ok::<_, String>((token, secret))
        };
        let (token, secret) = look().await?;
        let Some(token) = token else { return Ok(None) };
        let slots = self.slots_of(&token.uid().unwrap_or_default()).await;
        let mut census = Census {
            was_ready,
            deleting: token.metadata.deletion_timestamp.is_some(),
            disturbed: self.disturbed.load(Ordering::SeqCst),
            target: self.target(&token, secret.as_ref()),
            consumers: BTreeSet::new(),
            overdue: BTreeSet::new(),
            compromised: BTreeSet::new(),
            declared,
            tokens: Vec::new(),
            ledger: ledger::read(&token.status.clone().unwrap_or_default()).ledger,
        };
        let stored = self.stored(&slots, secret.as_ref());
        let bound = bound(&token);
        census.tokens = self.dbt.tokens().iter().map(|state| self.token_of(state, &stored, &bound)).collect();
        let (again, secret_again) = look().await?;
        let version = |secret: &Option<Secret>| secret.as_ref().and_then(ResourceExt::resource_version);
        let still = again.and_then(|token| token.resource_version()) == token.resource_version()
            && version(&secret) == version(&secret_again);
        if still { Ok(Some(census)) } else { Err("it changes".to_owned()) }
    }

    fn target(&self, token: &ServiceToken, secret: Option<&Secret>) -> CensusTarget {
        let Some(secret) = secret else { return CensusTarget::Absent };
        let owner = secret.annotations().get("tokens.dbt-operator.dev/service-token");
        if owner != Some(&token.name_any()) {
            return CensusTarget::Absent;
        }
        held(secret, &self.dbt).map_or(CensusTarget::Empty, |(id, _)| CensusTarget::Token(TokenId(id)))
    }

    fn stored(&self, slots: &[Secret], target: Option<&Secret>) -> HashSet<i64> {
        slots.iter().chain(target).filter_map(|secret| held(secret, &self.dbt)).map(|(id, _)| id).collect()
    }

    fn token_of(&self, state: &TokenState, stored: &HashSet<i64>, bound: &HashSet<i64>) -> CensusToken {
        let mark = Mark::parse(&state.name).is_some_and(|mark| mark.installation.as_str() == self.stage.installation);
        CensusToken {
            id: TokenId(state.id.0),
            ours: mark || state.created_by.is_some() || bound.contains(&state.id.0),
            active: state.is_active(),
            rows: rows(state),
            stored: stored.contains(&state.id.0),
            touched: !state.is_active() && self.was_revoked(state.id.0),
        }
    }

    /// Whether a call through the API, that is by the operator, revoked it.
    fn was_revoked(&self, id: i64) -> bool {
        let ending = format!("/service-tokens/{id}/");
        self.dbt.log().iter().any(|entry| entry.method == "DELETE" && entry.path.ends_with(&ending))
    }
}

/// The tokens that were published for the object: an adopted one that dbt did not rename was bound by its slot alone, and
/// that is closed when it is gone.
fn bound(token: &ServiceToken) -> HashSet<i64> {
    let status = token.status.clone().unwrap_or_default();
    let replaced = status.history.iter().flat_map(|entry| [entry.token_id, entry.previous_token_id]);
    replaced.chain([status.token.and_then(|token| token.id)]).flatten().collect()
}

fn was_ready(guard: &Guard) -> bool {
    guard.was_ready.load(Ordering::SeqCst)
}

fn rows(state: &TokenState) -> GrantRows {
    let row = |grant: &dbt_cloud_emulator::Grant| GrantRow {
        permission_set: PermissionSet::new(&grant.permission_set),
        scope: grant.project_id.map_or(Scope::All, |id| Scope::Project(ProjectId(id))),
        writable: grant.writable_environment_categories.iter().map(WriteCategory::new).collect(),
    };
    GrantRows::new(state.grants.iter().map(row).collect())
}
