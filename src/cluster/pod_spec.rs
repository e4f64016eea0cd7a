//! The part of a pod's specification that tells which containers take a Secret, and how. Pods and the templates of workloads
//! are judged by the same functions, so that whoever is waited for is also who is restarted.

use dbt_token_planner::observation::Way;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    pub(super) init_containers: Vec<Container>,
    #[serde(default)]
    pub(super) containers: Vec<Container>,
    #[serde(default)]
    pub(super) ephemeral_containers: Vec<Container>,
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
pub(super) struct Container {
    pub(super) name: String,
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

impl PodSpec {
    /// Every way in which the container, one of this specification, takes the Secret.
    pub(super) fn ways_of(&self, container: &Container, secret: &str) -> Vec<Way> {
        let volumes: Vec<&str> =
            self.volumes.iter().filter(|volume| is_of(volume, secret)).map(|volume| volume.name.as_str()).collect();
        ways(container, &volumes, secret)
    }

    /// Whether a container takes the Secret in a way that shows it a new value only when it is made anew.
    pub(super) fn needs_restart(&self, secret: &str) -> bool {
        let containers = self.init_containers.iter().chain(&self.containers).chain(&self.ephemeral_containers);
        containers.flat_map(|container| self.ways_of(container, secret)).any(|way| way != Way::Volume)
    }
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
