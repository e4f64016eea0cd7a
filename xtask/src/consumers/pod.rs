//! Which Secrets the containers of a pod take, and by which way. Written from the documentation of pods, and not shared with
//! the operator, which has to come to the same result by itself.

use serde_json::Value;

/// How a container takes a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// By environment variables: as it was when the container started.
    Environment,
    /// By a part of a volume: likewise.
    SubPath,
    /// By a volume, which follows the Secret after a while.
    Volume,
}

impl Way {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::SubPath => "subPath",
            Self::Volume => "volume",
        }
    }
}

/// A container that runs, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) name: String,
    /// When it started, if it runs, as the kubelet writes it.
    pub(super) started: Option<String>,
    /// Secrets by name.
    pub(super) takes: Vec<(String, Way)>,
}

/// All containers of a pod, those that run beside and before the others included.
pub(super) fn containers(pod: &Value) -> Vec<Container> {
    let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let kinds = [("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")];
    let all = kinds.into_iter().flat_map(|(specs, statuses)| {
        list(&pod["spec"][specs]).map(move |container| {
            let name = text(&container["name"]);
            let status = list(&pod["status"][statuses]).find(|status| status["name"] == name);
            let started = status.and_then(|status| status["state"]["running"]["startedAt"].as_str());
            let started = started.filter(|_| !is_over).map(str::to_owned);
            Container { name, started, takes: takes(&pod["spec"], container) }
        })
    });
    all.collect()
}

fn takes(spec: &Value, container: &Value) -> Vec<(String, Way)> {
    let variables = list(&container["env"]).map(|variable| &variable["valueFrom"]["secretKeyRef"]["name"]);
    let sources = list(&container["envFrom"]).map(|source| &source["secretRef"]["name"]);
    let by_environment = variables.chain(sources).filter_map(Value::as_str).map(|name| (name.to_owned(), Way::Environment));
    let by_mounts = list(&container["volumeMounts"]).flat_map(|mount| {
        let is_part = ["subPath", "subPathExpr"].iter().any(|field| mount[field].as_str().is_some_and(|path| !path.is_empty()));
        let way = if is_part { Way::SubPath } else { Way::Volume };
        let volumes = list(&spec["volumes"]).filter(|volume| volume["name"] == mount["name"]);
        volumes.flat_map(secrets_of).map(move |name| (name, way))
    });
    let mut takes: Vec<_> = by_environment.chain(by_mounts).collect();
    takes.sort();
    takes.dedup();
    takes
}

fn secrets_of(volume: &Value) -> Vec<String> {
    let projected = list(&volume["projected"]["sources"]).map(|source| &source["secret"]["name"]);
    std::iter::once(&volume["secret"]["secretName"]).chain(projected).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_is_seen() {
        let pod = json!({
            "spec": {
                "volumes": [
                    {"name": "plain", "secret": {"secretName": "a"}},
                    {"name": "mixed", "projected": {"sources": [{"configMap": {"name": "x"}}, {"secret": {"name": "b"}}]}},
                ],
                "initContainers": [{"name": "proxy", "envFrom": [{"secretRef": {"name": "c"}}]}],
                "containers": [{
                    "name": "main",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "d", "key": "k"}}}],
                    "volumeMounts": [{"name": "plain", "subPath": "k"}, {"name": "mixed"}, {"name": "other"}],
                }],
            },
            "status": {
                "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": "then"}}}],
                "initContainerStatuses": [{"name": "proxy", "state": {"terminated": {}}}],
            },
        });
        let [main, proxy] = &containers(&pod)[..] else { panic!("two containers") };
        let takes = |container: &Container| -> Vec<String> {
            container.takes.iter().map(|(name, way)| format!("{name} {}", way.word())).collect()
        };
        assert_eq!(
            (takes(main), takes(proxy)),
            (["a subPath", "b volume", "d environment"].map(str::to_owned).into(), ["c environment"].map(str::to_owned).into(),)
        );
        assert_eq!((main.started.as_deref(), proxy.started.as_deref()), (Some("then"), None));
    }

    #[test]
    fn nothing_of_a_pod_that_ended_runs() {
        let status = json!([{"name": "main", "state": {"running": {"startedAt": "then"}}}]);
        let pod =
            |phase| json!({"spec": {"containers": [{"name": "main"}]}, "status": {"phase": phase, "containerStatuses": status}});
        assert!(containers(&pod("Running"))[0].started.is_some());
        assert!(containers(&pod("Succeeded"))[0].started.is_none());
    }
}
