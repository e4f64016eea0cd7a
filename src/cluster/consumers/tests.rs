//! Pods as the API server sends them, and who of them takes the Secret.

use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-11-24T07:00:00Z";
const STARTED: &str = "2026-11-24T07:00:05Z";

/// A pod of one container that runs, with the given parts put over its spec and its status.
fn pod(spec: Value, status: Value) -> PodPart {
    let mut pod = json!({
        "metadata": {"name": "a", "namespace": "finance", "creationTimestamp": CREATED, "managedFields": [{"manager": "x"}]},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "x"}]},
        "status": {"phase": "Running", "containerStatuses": [running("main")]},
    });
    for (part, fields) in [("spec", spec), ("status", status)] {
        let Value::Object(fields) = fields else { panic!("{fields} is no object") };
        for (name, value) in fields {
            pod[part][name] = value;
        }
    }
    serde_json::from_value(pod).expect("a pod")
}

fn running(container: &str) -> Value {
    json!({"name": container, "state": {"running": {"startedAt": STARTED}}, "ready": true, "restartCount": 3})
}

/// The ways of each container, with `+` for one that runs.
#[track_caller]
fn takes(spec: Value, status: Value, expected: &[&str]) {
    let found = consumers_of(&pod(spec, status), "dagster-dbt");
    let words: Vec<String> =
        found.iter().map(|it| format!("{:?}{}", it.way, if it.running_since.is_some() { "+" } else { "" })).collect();
    assert_eq!(words, expected);
    for consumer in found {
        assert_eq!((consumer.pod.as_str(), consumer.created_at), ("a", CREATED.parse().expect("a time")));
        assert!(consumer.running_since.is_none_or(|since| since == STARTED.parse().expect("a time")));
    }
}

fn env(secret: &str) -> Value {
    json!([{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}])
}

/// A volume `v`, and a container that mounts it so.
fn mounted(volume: Value, mount: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("v");
    let mut mount = mount;
    mount["name"] = json!("v");
    mount["mountPath"] = json!("/etc/dbt");
    json!({"volumes": [{"name": "other", "emptyDir": {}}, volume], "containers": [{"name": "main", "volumeMounts": [mount]}]})
}

#[test]
fn each_way_to_take_the_secret_is_found() {
    let plain = || json!({"secret": {"secretName": "dagster-dbt"}});
    let main = |parts: Value| {
        let mut container = parts;
        container["name"] = json!("main");
        json!({"containers": [container]})
    };
    takes(json!({}), json!({}), &[]);
    takes(main(json!({"env": env("dagster-dbt")})), json!({}), &["Environment+"]);
    takes(main(json!({"env": env("another")})), json!({}), &[]);
    takes(main(json!({"envFrom": [{"secretRef": {"name": "dagster-dbt"}}]})), json!({}), &["Environment+"]);
    takes(main(json!({"envFrom": [{"prefix": "X_", "configMapRef": {"name": "dagster-dbt"}}]})), json!({}), &[]);
    takes(mounted(plain(), json!({})), json!({}), &["Volume+"]);
    takes(mounted(plain(), json!({"subPath": "token"})), json!({}), &["SubPath+"]);
    takes(mounted(plain(), json!({"subPathExpr": "$(POD)/token"})), json!({}), &["SubPath+"]);
    takes(mounted(plain(), json!({"subPath": ""})), json!({}), &["Volume+"]);
    takes(mounted(json!({"secret": {"secretName": "another"}}), json!({})), json!({}), &[]);
    takes(mounted(json!({"configMap": {"name": "dagster-dbt"}}), json!({})), json!({}), &[]);
    let projected = |secret: &str| {
        let token = json!({"serviceAccountToken": {"path": "token"}});
        json!({"projected": {"sources": [token, {"secret": {"name": secret}}]}})
    };
    takes(mounted(projected("dagster-dbt"), json!({})), json!({}), &["Volume+"]);
    takes(mounted(projected("dagster-dbt"), json!({"subPath": "token"})), json!({}), &["SubPath+"]);
    takes(mounted(projected("another"), json!({})), json!({}), &[]);
    // A volume that no container mounts reaches nobody.
    takes(json!({"volumes": [{"name": "v", "secret": {"secretName": "dagster-dbt"}}]}), json!({}), &[]);
    // The Secret that pulls images is no use of its token.
    takes(json!({"imagePullSecrets": [{"name": "dagster-dbt"}]}), json!({}), &[]);
    let both = json!({
        "volumes": [{"name": "v", "secret": {"secretName": "dagster-dbt"}}],
        "containers": [{"name": "main", "env": env("dagster-dbt"), "volumeMounts": [{"name": "v", "mountPath": "/x"}]}],
    });
    takes(both, json!({}), &["Environment+", "Volume+"]);
}

#[test]
fn containers_of_every_kind_count_by_their_own_state() {
    let of_kind = |kind: &str| json!({kind: [{"name": "other", "env": env("dagster-dbt")}]});
    for (kind, statuses) in [("initContainers", "initContainerStatuses"), ("ephemeralContainers", "ephemeralContainerStatuses")] {
        takes(of_kind(kind), json!({statuses: [running("other")]}), &["Environment+"]);
        let ended = json!({"name": "other", "state": {"terminated": {"exitCode": 0, "startedAt": STARTED}}});
        takes(of_kind(kind), json!({statuses: [ended]}), &["Environment"]);
        takes(of_kind(kind), json!({}), &["Environment"]);
    }
    let mut sidecar = of_kind("initContainers");
    sidecar["initContainers"][0]["restartPolicy"] = json!("Always");
    takes(sidecar, json!({"initContainerStatuses": [running("other")]}), &["Environment+"]);
}

#[test]
fn only_what_runs_has_read_anything() {
    let spec = || json!({"containers": [{"name": "main", "env": env("dagster-dbt")}]});
    let state = |state: Value| json!({"containerStatuses": [{"name": "main", "state": state}]});
    takes(spec(), json!({"phase": "Pending", "containerStatuses": []}), &["Environment"]);
    takes(spec(), state(json!({"waiting": {"reason": "ContainerCreating"}})), &["Environment"]);
    let between = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    takes(spec(), state(between), &["Environment"]);
    takes(spec(), state(json!({"terminated": {"exitCode": 1, "startedAt": STARTED}})), &["Environment"]);
    takes(spec(), state(json!({"running": {"startedAt": STARTED}})), &["Environment+"]);
    // One that runs since nobody knows when.
    let found = consumers_of(&pod(spec(), state(json!({"running": {}}))), "dagster-dbt");
    assert_eq!(found[0].running_since, Some(Timestamp::MIN));
}

#[test]
fn a_pod_that_has_ended_takes_nothing() {
    let spec = || json!({"containers": [{"name": "main", "env": env("dagster-dbt")}]});
    for phase in ["Succeeded", "Failed"] {
        takes(spec(), json!({"phase": phase}), &[]);
    }
    for phase in ["Running", "Pending", "Unknown"] {
        takes(spec(), json!({"phase": phase}), &["Environment+"]);
    }
}
