//! Workloads as the API server sends them: who takes the Secret, and how far a roll-out is.

use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-11-24T07:00:00Z";

/// A workload whose one container takes the Secret by its environment, with the given parts put over it.
fn part(parts: Value) -> WorkloadPart {
    let container = json!({"name": "main", "image": "x", "envFrom": [{"secretRef": {"name": "airflow-dbt"}}]});
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "airflow", "resourceVersion": "41", "generation": 3, "creationTimestamp": CREATED},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
        },
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2},
    });
    merge(&mut object, parts);
    serde_json::from_value(object).expect("a workload")
}

fn merge(object: &mut Value, parts: Value) {
    match (object, parts) {
        (Value::Object(fields), Value::Object(parts)) => {
            for (name, part) in parts {
                merge(fields.entry(name).or_insert(Value::Null), part);
            }
        }
        (object, part) => *object = part,
    }
}

fn read(kind: WorkloadKind, parts: Value) -> Option<Workload> {
    workload(kind, part(parts), "airflow-dbt")
}

#[expect(clippy::needless_pass_by_value, reason = "every caller makes the parts on the spot")]
fn template(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn only_those_that_take_the_secret_once_are_found() {
    use WorkloadKind::Deployment;
    let found = read(Deployment, json!({})).expect("it takes the Secret");
    assert_eq!((found.reference.name.as_str(), found.reference.version.as_str()), ("web", "41"));
    assert_eq!((found.created_at, found.restarted_at), (CREATED.parse().expect("a time"), None));
    let one = |container: Value| read(Deployment, template(json!({"containers": [container]}))).is_some();
    let volume = |mount: Value| {
        let volumes = json!([{"name": "v", "secret": {"secretName": "airflow-dbt"}}]);
        read(Deployment, template(json!({"volumes": volumes, "containers": [{"name": "main", "volumeMounts": [mount]}]})))
            .is_some()
    };
    assert!(!one(json!({"name": "main"})));
    assert!(!one(json!({"name": "main", "envFrom": [{"secretRef": {"name": "another"}}]})));
    assert!(!volume(json!({"name": "v", "mountPath": "/token"})), "a volume is refreshed");
    assert!(volume(json!({"name": "v", "mountPath": "/token", "subPath": "token"})));
    let variable = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "airflow-dbt", "key": "token"}}}]);
    assert!(one(json!({"name": "main", "env": variable})));
    let init = template(json!({"containers": [{"name": "main"}], "initContainers": [{"name": "first", "env": variable}]}));
    assert!(read(Deployment, init).is_some());
    assert_eq!(read(Deployment, json!({"metadata": {"deletionTimestamp": CREATED}})), None, "it goes");
}

#[test]
fn the_mark_of_a_restart_is_read_whoever_wrote_it() {
    for (text, expected) in [
        ("2026-11-24T08:40:00+01:00", Some("2026-11-24T07:40:00Z")),
        ("2026-11-24T07:40:00Z", Some("2026-11-24T07:40:00Z")),
        ("yesterday", None),
    ] {
        let parts = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": text}}}}});
        let found = read(WorkloadKind::StatefulSet, parts).expect("it takes the Secret");
        assert_eq!(found.restarted_at, expected.map(|time| time.parse().expect("a time")), "{text}");
    }
}

#[test]
fn the_mark_is_that_of_kubectl_and_names_the_version() {
    let written = mark("41", "2026-11-24T07:40:00Z".parse().expect("a time"));
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-24T07:40:00Z"});
    let expected =
        json!({"metadata": {"resourceVersion": "41"}, "spec": {"template": {"metadata": {"annotations": annotations}}}});
    assert_eq!(written, expected);
}

#[test]
fn how_a_workload_replaces_its_pods_is_read() {
    use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
    let pace = |kind, spec: Value| read(kind, json!({"spec": spec})).expect("it takes the Secret").pace;
    assert_eq!(pace(Deployment, json!({})), Pace::Rolling);
    assert_eq!(pace(Deployment, json!({"paused": true})), Pace::Paused);
    assert_eq!(pace(Deployment, json!({"strategy": {"type": "Recreate"}})), Pace::Rolling);
    for kind in [StatefulSet, DaemonSet] {
        assert_eq!(pace(kind, json!({"updateStrategy": {"type": "OnDelete"}})), Pace::OnDelete);
        assert_eq!(pace(kind, json!({"updateStrategy": {"type": "RollingUpdate"}})), Pace::Rolling);
    }
    let parted = |partition| json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}});
    assert_eq!(pace(StatefulSet, parted(2)), Pace::Partition(2));
    assert_eq!(pace(StatefulSet, parted(0)), Pace::Rolling);
}

#[test]
fn a_roll_out_is_counted_as_kubectl_counts_it() {
    use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
    let progress = |kind, status: Value, spec: Value| {
        let it = read(kind, json!({"status": status, "spec": spec})).expect("it takes the Secret").progress;
        (it.is_observed, it.outdated, it.unavailable)
    };
    let none = || json!({});
    assert_eq!(progress(Deployment, none(), none()), (true, 0, 0));
    assert_eq!(progress(Deployment, json!({"observedGeneration": 2}), none()), (false, 0, 0));
    assert_eq!(progress(Deployment, json!({"updatedReplicas": 1}), none()), (true, 1, 0));
    assert_eq!(progress(Deployment, json!({"replicas": 3}), none()), (true, 1, 0), "an old pod is still there");
    assert_eq!(progress(Deployment, json!({"availableReplicas": 0}), none()), (true, 0, 2));
    let asleep = json!({"replicas": 0, "updatedReplicas": 0, "availableReplicas": 0});
    assert_eq!(progress(Deployment, asleep, json!({"replicas": 0})), (true, 0, 0));
    assert_eq!(progress(StatefulSet, json!({"updatedReplicas": 0}), none()), (true, 2, 0));
    let parted = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
    assert_eq!(progress(StatefulSet, json!({"updatedReplicas": 1}), parted), (true, 0, 0));
    let daemons = json!({"desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 2});
    assert_eq!(progress(DaemonSet, daemons, none()), (true, 2, 1));
}

#[test]
fn a_workload_without_a_status_has_everything_before_it() {
    let mut object = json!({
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": "airflow-dbt"}}]}]}}},
    });
    let found = |object: &Value| {
        workload(WorkloadKind::StatefulSet, serde_json::from_value(object.clone()).expect("a workload"), "airflow-dbt")
    };
    assert_eq!(found(&object).expect("it takes the Secret").progress.outdated, 1);
    object["metadata"]["generation"] = json!(1);
    assert!(!found(&object).expect("it takes the Secret").progress.is_observed);
}
