//! The rules of retirement: an old token lives as long as a pod holds it, or dbt sees it used. No kubelet runs on the plane,
//! so tests write what one would tell of its containers.

use std::time::Duration;

use dbt_token_operator::api::v1alpha1::RetiringToken;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::stage::apply;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    let shared = cases!(Shared:
        an_old_token_waits_for_the_container_that_took_it,
        an_old_token_waits_until_the_pod_is_gone,
        pods_that_read_anew_are_not_waited_for,
        an_old_token_in_use_outside_the_cluster_waits,
        a_deadline_that_holds_raises_an_alarm_and_one_that_deletes_lets_go,
        a_lost_copy_of_the_new_token_is_replaced_before_the_old_one_goes,
    );
    let own = cases!(Own: pods_that_may_not_be_listed_hold_the_token_back);
    [own, shared].concat()
}

/// Rotates once under what the test says more of retirement; the ids of the old and the new token.
async fn rotated(scene: &Scene, retire: Value) -> (i64, i64) {
    let first = scene.string_of("ci").await;
    // It may be revoked as soon as it is replaced.
    let old = scene.id_of(&first);
    let patch = json!({"spec": {"rotation": {"retire": retire}}});
    scene.patch_token("ci", patch).await;
    scene.annotate_token("ci", "rotate-at", "now").await;
    let second = scene.replaced("ci", &first).await;
    (old, scene.id_of(&second))
}

/// Publishes a token whose retirement looks at pods alone.
async fn published(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]));
    token["spec"]["rotation"]["retire"]["volumeSync"] = json!("0s");
    scene.apply(&token).await;
    scene.published("ci").await;
    // Nobody makes it where no controller runs.
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": scene.namespace}});
    apply(&scene.stage.client(), &account).await;
}

fn pods(scene: &Scene) -> Api<Pod> {
    Api::namespaced(scene.stage.client(), &scene.namespace)
}

/// Creates a pod of one container, `main`.
async fn create(scene: &Scene, name: &str, parts: Value) {
    let mut spec = json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0});
    let Value::Object(parts) = parts else { panic!("{parts} is no object") };
    spec.as_object_mut().expect("an object").extend(parts);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": scene.namespace}, "spec": spec});
    apply(&scene.stage.client(), &pod).await;
}

fn by_environment() -> Value {
    let source = json!([{"secretRef": {"name": "ci-dbt"}}]);
    json!({"containers": [{"name": "main", "image": "reader", "envFrom": source}]})
}

/// Says what a kubelet would: the container runs since then.
async fn runs_since(scene: &Scene, name: &str, since: Timestamp) {
    let started = Timestamp::from_second(since.as_second()).expect("a time of this century").to_string();
    told(scene, name, json!({"running": {"startedAt": started}}), "Running").await;
}

async fn told(scene: &Scene, name: &str, state: Value, phase: &str) {
    let container = json!({"name": "main", "image": "reader", "imageID": "", "ready": true, "restartCount": 1, "state": state});
    let patch = json!({"status": {"phase": phase, "containerStatuses": [container]}});
    pods(scene).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("an admin may");
}

async fn end(scene: &Scene, name: &str) {
    pods(scene).delete(name, &DeleteParams::default().grace_period(0)).await.expect("an admin may");
}

/// Waits until the status says that the old token waits by this rule alone, in these words.
async fn waits(scene: &Scene, old: i64, rule: &str, message: &str) -> RetiringToken {
    until(LIMIT, &format!("token {old} waits by {rule}: {message}"), async || {
        let retiring = scene.status("ci").await.retiring_tokens;
        let told = retiring.iter().find(|token| token.id == old);
        let rules = told.map(|token| token.waiting_for.clone()).unwrap_or_default();
        let fits = matches!(&rules[..], [it] if it.rule == rule && it.message.contains(message));
        told.filter(|_| fits).cloned().ok_or_else(|| format!("{rules:?}"))
    })
    .await
}

async fn an_old_token_waits_for_the_container_that_took_it(scene: &Scene) {
    published(scene).await;
    create(scene, "reader", by_environment()).await;
    runs_since(scene, "reader", Timestamp::now()).await;
    let (old, new) = rotated(scene, json!({})).await;
    waits(scene, old, "Pods", "pod reader started before the swap").await;
    let rotating = scene.expect("ci", "Rotating", "True", "AwaitingConsumers").await;
    assert_eq!(rotating.message, format!("token {old} waits: pod reader started before the swap"));
    assert_eq!(scene.live(), [old, new]);
    scene.check().await;
    // Its container restarts in place, well after the swap.
    runs_since(scene, "reader", Timestamp::now() + SignedDuration::from_secs(90)).await;
    scene.only_live(&[new]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    assert!(scene.event("ci", "TokenRetired").await.contains(&old.to_string()));
}

async fn an_old_token_waits_until_the_pod_is_gone(scene: &Scene) {
    published(scene).await;
    for name in ["reader-b", "reader-a"] {
        create(scene, name, by_environment()).await;
        runs_since(scene, name, Timestamp::now()).await;
    }
    let (old, new) = rotated(scene, json!({})).await;
    waits(scene, old, "Pods", "pods reader-a and reader-b started before the swap").await;
    end(scene, "reader-b").await;
    waits(scene, old, "Pods", "pod reader-a started before the swap").await;
    // A Job's pod that ends is one that is gone.
    told(scene, "reader-a", json!({"terminated": {"exitCode": 0}}), "Succeeded").await;
    scene.only_live(&[new]).await;
}

async fn pods_that_read_anew_are_not_waited_for(scene: &Scene) {
    published(scene).await;
    let volume = json!({
        "volumes": [{"name": "token", "secret": {"secretName": "ci-dbt"}}],
        "containers": [{"name": "main", "image": "reader", "volumeMounts": [{"name": "token", "mountPath": "/token"}]}],
    });
    let other = json!({"containers": [{"name": "main", "image": "x", "envFrom": [{"secretRef": {"name": "another"}}]}]});
    for (name, parts) in [("mounted", volume), ("finished", by_environment()), ("other", other)] {
        create(scene, name, parts).await;
        runs_since(scene, name, Timestamp::now()).await;
    }
    told(scene, "finished", json!({"terminated": {"exitCode": 1}}), "Failed").await;
    let (_, new) = rotated(scene, json!({})).await;
    scene.only_live(&[new]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
}

async fn an_old_token_in_use_outside_the_cluster_waits(scene: &Scene) {
    published(scene).await;
    let string = scene.string_of("ci").await;
    use_token(scene, &string).await;
    let (old, new) = rotated(scene, json!({"quietPeriod": "1h"})).await;
    waits(scene, old, "LastUsed", &format!("dbt saw token {old} in use after ")).await;
    use_token(scene, &string).await;
    assert_eq!(scene.live(), [old, new]);
    scene.patch_token("ci", json!({"spec": {"rotation": {"retire": {"quietPeriod": "0s"}}}})).await;
    scene.only_live(&[new]).await;
}

/// Somebody outside the cluster calls dbt with a token.
async fn use_token(scene: &Scene, string: &str) {
    let address = scene.dbt.http_url();
    let host = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = tokio::net::TcpStream::connect(&host).await.expect("the emulator listens");
    let path = format!("/api/v2/accounts/{}/jobs/?limit=1&project_id=700", scene.dbt.account_id());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {string}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "the token is not accepted");
}

async fn a_deadline_that_holds_raises_an_alarm_and_one_that_deletes_lets_go(scene: &Scene) {
    published(scene).await;
    create(scene, "reader", by_environment()).await;
    runs_since(scene, "reader", Timestamp::now()).await;
    let (old, new) = rotated(scene, json!({"after": "1s", "deadline": "4s"})).await;
    let blocked = scene.expect("ci", "Rotating", "True", "RetirementBlocked").await;
    assert_eq!(blocked.message, format!("token {old} waits: pod reader started before the swap"));
    assert_eq!(scene.event("ci", "RetirementBlocked").await, blocked.message);
    let told = waits(scene, old, "Pods", "pod reader").await;
    let (replaced, deadline) = (told.replacement_time.expect("replaced").0, told.deadline_time.expect("a deadline").0);
    assert_eq!(deadline, replaced + Duration::from_secs(4));
    let effective = scene.status("ci").await.effective.expect("values in force");
    assert_eq!((effective.deadline.as_deref(), effective.on_deadline.as_deref()), (Some("4s"), Some("Hold")));
    assert_eq!(scene.live(), [old, new]);
    scene.check().await;
    scene.expect("ci", "Ready", "True", "Published").await;
    scene.patch_token("ci", json!({"spec": {"rotation": {"retire": {"onDeadline": "Delete"}}}})).await;
    scene.only_live(&[new]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    pods(scene).get("reader").await.expect("it still runs");
}

/// Nothing is left to try the new token with, so that the old one, although it is due, must not be tried to be ended first.
async fn a_lost_copy_of_the_new_token_is_replaced_before_the_old_one_goes(scene: &Scene) {
    published(scene).await;
    let (_, new) = rotated(scene, json!({"after": "1h"})).await;
    scene.expect("ci", "Rotating", "True", "AwaitingConsumers").await;
    scene.patch_token("ci", json!({"spec": {"suspend": true}})).await;
    scene.expect("ci", "Ready", "True", "Suspended").await;
    let uid = scene.tokens().get("ci").await.expect("it is there").uid().expect("a uid");
    let holds_new = |slot: &Secret| slot.annotations().get("tokens.dbt-operator.dev/token-id") == Some(&new.to_string());
    let slot = scene.slots_of(&uid).await.into_iter().find(holds_new).expect("the slot of the new token");
    scene.slots().delete(&slot.name_any(), &DeleteParams::default()).await.expect("an admin may");
    let second = scene.string_of("ci").await;
    scene.patch_token("ci", json!({"spec": {"suspend": false, "rotation": {"retire": {"after": "0s"}}}})).await;
    let third = scene.replaced("ci", &second).await;
    scene.only_live(&[scene.id_of(&third)]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
}

async fn pods_that_may_not_be_listed_hold_the_token_back(scene: &Scene) {
    let role = scene.stage.namespace.as_str();
    let described = scene.stage.kubectl(&["get", "clusterrole", role, "-o", "json"]).expect("it is there");
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let rules = described["rules"].as_array().expect("rules");
    let without: Vec<&Value> = rules.iter().filter(|rule| rule["resources"] != json!(["pods"])).collect();
    assert_eq!(without.len() + 1, rules.len(), "one rule is about pods");
    let rights = |rules: Value| {
        let patch = json!({"rules": rules}).to_string();
        scene.stage.kubectl(&["patch", "clusterrole", role, "--type=merge", "-p", &patch]).expect("an admin may");
    };
    rights(json!(without));
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    published(scene).await;
    let (old, new) = rotated(scene, json!({})).await;
    let message = format!("the operator may not list the pods of namespace {}", scene.namespace);
    waits(scene, old, "Pods", &message).await;
    assert_eq!(scene.live(), [old, new]);
    rights(json!(rules));
    scene.only_live(&[new]).await;
    operator.kill();
}
