//! Which pods take a Secret, read from the API server when somebody asks, page by page. At rest nothing here runs, and no
//! pod is watched or remembered: of each page only what tells of the Secret is kept.
//!
//! Judges nothing: a container that took the old value and one that took the new one look alike here.

use std::time::Duration;

use dbt_token_planner::observation::{Consumer, Consumers, Unreadable};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Client, Resource};
use serde::Deserialize;

use super::failure::{Class, Failure};
use super::pages;
use super::pod_spec::{Container, PodSpec};

/// A look that takes longer is given up and repeated later, so that it holds no place in the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pods that have ended are not sent at all.
const NOT_FINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Looks at pods.
pub struct Pods {
    client: Client,
}

impl Pods {
    /// Looks with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Every container of a living pod of the namespace that takes the Secret. A look that fails says so.
    pub async fn consumers(&self, namespace: &str, secret: &str) -> Consumers {
        match tokio::time::timeout(PATIENCE, self.all(namespace, secret)).await {
            Ok(Ok(found)) => Consumers::Seen(found),
            Ok(Err(why)) => Consumers::Unreadable(why),
            Err(_) => {
                tracing::warn!(resource.namespace = namespace, "no list of the pods within {} s", PATIENCE.as_secs());
                Consumers::Unreadable(Unreadable::Failed)
            }
        }
    }

    async fn all(&self, namespace: &str, secret: &str) -> Result<Vec<Consumer>, Unreadable> {
        let path = Pod::url_path(&(), Some(namespace));
        let parameters = ListParams::default().fields(NOT_FINISHED);
        let found = pages::kept(&self.client, &path, parameters, |pod: PodPart| consumers_of(&pod, secret)).await;
        let mut found = found.map_err(|failure| unreadable(namespace, &failure))?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// The status of the object says of a missing right what there is to do; of anything else the log tells more.
fn unreadable(namespace: &str, failure: &Failure) -> Unreadable {
    match failure.class {
        Class::Refused { .. } => {
            tracing::debug!(resource.namespace = namespace, error = failure.detail, "the pods may not be listed");
            Unreadable::Forbidden
        }
        Class::Conflict | Class::Unavailable => failed(namespace, &failure.detail),
    }
}

fn failed(namespace: &str, detail: &str) -> Unreadable {
    tracing::warn!(resource.namespace = namespace, error = detail, "the pods cannot be listed; it is tried again");
    Unreadable::Failed
}

/// A pod as far as it matters here.
#[derive(Debug, Deserialize)]
struct PodPart {
    metadata: PodMetadata,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMetadata {
    name: String,
    #[serde(default)]
    creation_timestamp: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize)]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Debug, Default, Deserialize)]
struct ContainerState {
    #[serde(default)]
    running: Option<Running>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    #[serde(default)]
    started_at: Option<Timestamp>,
}

/// The containers of a pod that take the Secret; none if the pod has ended.
fn consumers_of(pod: &PodPart, secret: &str) -> Vec<Consumer> {
    if matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let kinds = [
        (&pod.spec.init_containers, &pod.status.init_container_statuses),
        (&pod.spec.containers, &pod.status.container_statuses),
        (&pod.spec.ephemeral_containers, &pod.status.ephemeral_container_statuses),
    ];
    let containers = kinds.into_iter().flat_map(|(containers, states)| containers.iter().map(move |it| (it, states)));
    let consumers = containers.flat_map(|(container, states)| {
        let running_since = running_since(container, states);
        pod.spec.ways_of(container, secret).into_iter().map(move |way| Consumer {
            pod: pod.metadata.name.clone(),
            // Without one it is as old as can be, and counts as one that read the old value.
            created_at: pod.metadata.creation_timestamp.unwrap_or(Timestamp::MIN),
            way,
            running_since,
        })
    });
    consumers.collect()
}

/// A container that runs since nobody knows when may have read anything.
fn running_since(container: &Container, states: &[ContainerStatus]) -> Option<Timestamp> {
    let state = states.iter().find(|state| state.name == container.name)?;
    state.state.running.as_ref().map(|running| running.started_at.unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
mod tests;
