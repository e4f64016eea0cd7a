//! Which pods take a Secret, read from the API server when somebody asks, page by page. At rest nothing here runs, and no
//! pod is watched or remembered: of each page only what tells of the Secret is kept.
//!
//! Judges nothing: a container that took the old value and one that took the new one look alike here.

use std::time::Duration;

use dbt_token_planner::observation::{Consumer, Consumers, Unreadable, Way};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Client, Resource};
use serde::Deserialize;

use super::failure::{Class, Failure};

/// Pods a page: some megabytes of text, of which a fraction is kept for the moment.
const PAGE: u32 = 250;

/// Pages of one look. Fifty thousand pods in one namespace are beyond what clusters are built for; a look that does not end
/// proves nothing about who is left.
const MOST_PAGES: usize = 200;

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
        let mut found = Vec::new();
        let mut parameters = ListParams::default().fields(NOT_FINISHED).limit(PAGE);
        for _ in 0..MOST_PAGES {
            let request = kube::core::Request::new(&path).list(&parameters);
            let request = request.map_err(|error| failed(namespace, &error.to_string()))?;
            let page: PodPage = self.client.request(request).await.map_err(|error| unreadable(namespace, &error.into()))?;
            found.extend(page.items.iter().flat_map(|pod| consumers_of(pod, secret)));
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => parameters = parameters.continue_token(&next),
                None => {
                    found.sort_unstable();
                    found.dedup();
                    return Ok(found);
                }
            }
        }
        Err(failed(namespace, "the list has no end"))
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

/// A page of pods as far as it matters here. Everything else of it is skipped while it is read.
#[derive(Debug, Deserialize)]
struct PodPage {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<PodPart>,
}

#[derive(Debug, Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

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
struct PodSpec {
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    init_containers: Vec<Container>,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    ephemeral_containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Volume {
    name: String,
    #[serde(default)]
    secret: Option<SecretVolume>,
    #[serde(default)]
    projected: Option<Projected>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretVolume {
    #[serde(default)]
    secret_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Projected {
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(default)]
    secret: Option<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(default)]
    env: Vec<Variable>,
    #[serde(default)]
    env_from: Vec<VariableSource>,
    #[serde(default)]
    volume_mounts: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable {
    #[serde(default)]
    value_from: Option<ValueFrom>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    #[serde(default)]
    secret_key_ref: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VariableSource {
    #[serde(default)]
    secret_ref: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: String,
    #[serde(default)]
    sub_path: Option<String>,
    #[serde(default)]
    sub_path_expr: Option<String>,
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
    let volumes: Vec<&str> =
        pod.spec.volumes.iter().filter(|volume| is_of(volume, secret)).map(|volume| volume.name.as_str()).collect();
    let kinds = [
        (&pod.spec.init_containers, &pod.status.init_container_statuses),
        (&pod.spec.containers, &pod.status.container_statuses),
        (&pod.spec.ephemeral_containers, &pod.status.ephemeral_container_statuses),
    ];
    let containers = kinds.into_iter().flat_map(|(containers, states)| containers.iter().map(move |it| (it, states)));
    let consumers = containers.flat_map(|(container, states)| {
        let running_since = running_since(container, states);
        ways(container, &volumes, secret).into_iter().map(move |way| Consumer {
            pod: pod.metadata.name.clone(),
            // Without one it is as old as can be, and counts as one that read the old value.
            created_at: pod.metadata.creation_timestamp.unwrap_or(Timestamp::MIN),
            way,
            running_since,
        })
    });
    consumers.collect()
}

fn is_of(volume: &Volume, secret: &str) -> bool {
    let plain = volume.secret.as_ref().is_some_and(|it| it.secret_name.as_deref() == Some(secret));
    let sources = volume.projected.iter().flat_map(|projected| &projected.sources);
    plain || sources.filter_map(|source| source.secret.as_ref()).any(|it| is_named(it, secret))
}

fn is_named(reference: &Named, secret: &str) -> bool {
    reference.name.as_deref() == Some(secret)
}

fn ways(container: &Container, volumes: &[&str], secret: &str) -> Vec<Way> {
    let single = container.env.iter().filter_map(|it| it.value_from.as_ref()?.secret_key_ref.as_ref());
    let whole = container.env_from.iter().filter_map(|it| it.secret_ref.as_ref());
    let by_environment = single.chain(whole).any(|reference| is_named(reference, secret)).then_some(Way::Environment);
    let is_set = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.is_empty());
    let mounts = container.volume_mounts.iter().filter(|mount| volumes.contains(&mount.name.as_str()));
    let by_volume =
        mounts.map(|mount| if is_set(&mount.sub_path) || is_set(&mount.sub_path_expr) { Way::SubPath } else { Way::Volume });
    by_environment.into_iter().chain(by_volume).collect()
}

/// A container that runs since nobody knows when may have read anything.
fn running_since(container: &Container, states: &[ContainerStatus]) -> Option<Timestamp> {
    let state = states.iter().find(|state| state.name == container.name)?;
    state.state.running.as_ref().map(|running| running.started_at.unwrap_or(Timestamp::MIN))
}

#[cfg(test)]
mod tests;
