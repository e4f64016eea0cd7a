//! Workloads whose pods take a Secret in a way that does not show them a new value, read when somebody asks, page by page; and
//! their restart, by the same mark in the pod template as `kubectl rollout restart`. Nothing else of a workload is written, and
//! tools that apply manifests leave a mark alone that no manifest names.
//!
//! Judges nothing: what was restarted and what was not look alike here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dbt_token_planner::desired::WorkloadKind;
use dbt_token_planner::observation::{Pace, Progress, Unreadable, Workload, WorkloadReference, Workloads};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Class, Failure};
use super::pod_spec::PodSpec;
use super::{names, pages};

/// The annotation of a pod template that `kubectl rollout restart` sets to the time of asking.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A look that takes longer is given up and repeated later, so that it holds no place in the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads and restarts workloads.
pub struct Restarts {
    client: Client,
}

impl Restarts {
    /// Works with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Every workload of these kinds in the namespace that takes the Secret and has to be restarted to see another value. A
    /// look that fails says so.
    pub async fn workloads(&self, namespace: &str, secret: &str, kinds: &BTreeSet<WorkloadKind>) -> Workloads {
        let mut workloads = Vec::new();
        for &kind in kinds {
            let found = tokio::time::timeout(PATIENCE, self.of_kind(kind, namespace, secret)).await;
            let failure = match found {
                Ok(Ok(found)) => {
                    workloads.extend(found);
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure { class: Class::Unavailable, detail: format!("no answer within {} s", PATIENCE.as_secs()) },
            };
            return Workloads::Unreadable { kind, why: unreadable(kind, namespace, &failure) };
        }
        workloads.sort_unstable();
        Workloads::Seen { kinds: kinds.clone(), workloads }
    }

    async fn of_kind(&self, kind: WorkloadKind, namespace: &str, secret: &str) -> Result<Vec<Workload>, Failure> {
        let keep = |part: WorkloadPart| workload(kind, part, secret).into_iter().collect();
        pages::kept(&self.client, &path(kind, namespace), ListParams::default(), keep).await
    }

    /// Marks the pod template as restarted at this time, if the workload is still in the version that was seen.
    ///
    /// # Errors
    /// [`Failure`]; [`Class::Conflict`] if it has changed or is gone.
    pub async fn restart(&self, namespace: &str, workload: &WorkloadReference, at: Timestamp) -> Result<(), Failure> {
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(mark(&workload.version, at));
        let path = path(workload.kind, namespace);
        let request = kube::core::Request::new(path).patch(&workload.name, &parameters, &patch);
        let request = request.map_err(|error| Failure { class: Class::Unavailable, detail: error.to_string() })?;
        self.client.request::<Ignored>(request).await?;
        Ok(())
    }
}

/// The answer repeats the whole workload, which is nobody's business here.
#[derive(Debug, Deserialize)]
struct Ignored {}

fn mark(version: &str, at: Timestamp) -> Value {
    json!({
        "metadata": {"resourceVersion": version},
        "spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at.to_string()}}}},
    })
}

fn path(kind: WorkloadKind, namespace: &str) -> String {
    match kind {
        WorkloadKind::Deployment => Deployment::url_path(&(), Some(namespace)),
        WorkloadKind::StatefulSet => StatefulSet::url_path(&(), Some(namespace)),
        WorkloadKind::DaemonSet => DaemonSet::url_path(&(), Some(namespace)),
    }
}

/// The status of the object says of a missing right what there is to do; of anything else the log tells more.
pub fn unreadable(kind: WorkloadKind, namespace: &str, failure: &Failure) -> Unreadable {
    let (why, detail) = match &failure.class {
        Class::Refused { .. } => (Unreadable::Forbidden, &failure.detail),
        Class::Conflict | Class::Unavailable => (Unreadable::Failed, &failure.detail),
    };
    tracing::warn!(resource.namespace = namespace, kind = kind.word(), error = detail, "workloads cannot be read or restarted");
    why
}

/// A workload as far as it matters here, of any of the three kinds.
#[derive(Debug, Deserialize)]
struct WorkloadPart {
    metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    generation: i64,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
    #[serde(default)]
    deletion_timestamp: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// Not of a DaemonSet, whose status says how many pods it wants.
    #[serde(default)]
    replicas: Option<u32>,
    /// Of a Deployment.
    #[serde(default)]
    paused: bool,
    /// Of a StatefulSet or a DaemonSet.
    #[serde(default)]
    update_strategy: Strategy,
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Strategy {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Deserialize)]
struct RollingUpdate {
    #[serde(default)]
    partition: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Template {
    #[serde(default)]
    metadata: TemplateMetadata,
    #[serde(default)]
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
struct TemplateMetadata {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    observed_generation: i64,
    #[serde(default)]
    replicas: u32,
    #[serde(default)]
    updated_replicas: u32,
    #[serde(default)]
    available_replicas: u32,
    #[serde(default)]
    desired_number_scheduled: u32,
    #[serde(default)]
    updated_number_scheduled: u32,
    #[serde(default)]
    number_available: u32,
}

/// The workload, if it takes the Secret so that it has to be restarted, and is not about to go.
fn workload(kind: WorkloadKind, part: WorkloadPart, secret: &str) -> Option<Workload> {
    if part.metadata.deletion_timestamp.is_some() || !part.spec.template.spec.needs_restart(secret) {
        return None;
    }
    let annotations = part.spec.template.metadata.annotations.as_ref();
    // One that is no time was not written by a restart.
    let restarted_at = annotations.and_then(|all| all.get(RESTARTED_AT)).and_then(|text| text.parse().ok());
    let pace = pace(&part.spec);
    let progress = progress(kind, &part, pace);
    let Metadata { name, resource_version: version, creation_timestamp, .. } = part.metadata;
    Some(Workload {
        reference: WorkloadReference { kind, name, version },
        // Without one it is as old as can be, and counts as one whose pods took the old value.
        created_at: creation_timestamp.unwrap_or(Timestamp::MIN),
        restarted_at,
        pace,
        progress,
    })
}

fn pace(spec: &Spec) -> Pace {
    let strategy = &spec.update_strategy;
    if spec.paused {
        return Pace::Paused;
    }
    if strategy.kind.as_deref() == Some("OnDelete") {
        return Pace::OnDelete;
    }
    match strategy.rolling_update.as_ref().and_then(|it| it.partition).unwrap_or(0) {
        0 => Pace::Rolling,
        partition => Pace::Partition(partition),
    }
}

/// Counted as `kubectl rollout status` counts. Of a Deployment, pods of an earlier template count as long as they are there.
fn progress(kind: WorkloadKind, part: &WorkloadPart, pace: Pace) -> Progress {
    let (spec, status) = (&part.spec, &part.status);
    // The API server fills in 1 where nothing is said.
    let replicas = spec.replicas.unwrap_or(1);
    let (wanted, updated, available) = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => (replicas, status.updated_replicas, status.available_replicas),
        WorkloadKind::DaemonSet => (status.desired_number_scheduled, status.updated_number_scheduled, status.number_available),
    };
    let kept = if let Pace::Partition(partition) = pace { partition } else { 0 };
    let surplus = if kind == WorkloadKind::Deployment { status.replicas.saturating_sub(updated) } else { 0 };
    Progress {
        is_observed: status.observed_generation >= part.metadata.generation,
        outdated: wanted.saturating_sub(kept).saturating_sub(updated).max(surplus),
        unavailable: wanted.saturating_sub(available),
    }
}

#[cfg(test)]
mod tests;
