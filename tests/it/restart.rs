//! Restarts of workloads that cannot see a new token: who is restarted, how often, and what the old token waits for. One test
//! waits the minute that a restart waits for other swaps; compromised tokens do not wait, and serve for the rest.

use dbt_token_operator::api::v1alpha1::ServiceToken;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, next_second, until};

pub fn cases() -> Vec<Case> {
    let rolling = cases!(Rolling: readers_are_restarted_once_for_the_swaps_of_a_minute);
    let own = cases!(Own: without_the_right_a_person_is_told_and_with_it_it_goes_on);
    [rolling, own].concat()
}

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

fn deployments(scene: &Scene) -> Api<Deployment> {
    Api::namespaced(scene.stage.client(), &scene.namespace)
}

/// A Deployment of one pod with the given parts in its one container, and further parts of the pod.
#[expect(clippy::needless_pass_by_value, reason = "every caller makes the parts on the spot")]
fn deployment(scene: &Scene, name: &str, container: Value, pod: Value) -> Value {
    let mut main = json!({"name": "main", "image": "reader"});
    main.as_object_mut().expect("an object").extend(container.as_object().expect("an object").clone());
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "containers": [main]});
    spec.as_object_mut().expect("an object").extend(pod.as_object().expect("an object").clone());
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": scene.namespace},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    })
}

fn by_environment(scene: &Scene, name: &str, secrets: &[&str]) -> Value {
    let sources: Vec<Value> = secrets.iter().map(|secret| json!({"secretRef": {"name": secret}})).collect();
    deployment(scene, name, json!({"envFrom": sources}), json!({}))
}

/// When the Deployment was restarted, and its generation.
async fn mark(scene: &Scene, name: &str) -> (Option<String>, i64) {
    let found = deployments(scene).get(name).await.expect("the Deployment is there");
    let template = found.spec.template.metadata.as_ref();
    let annotations = template.and_then(|template| template.annotations.as_ref());
    let marked = annotations.and_then(|annotations| annotations.get(RESTARTED_AT)).cloned();
    (marked, found.metadata.generation.unwrap_or_default())
}

/// How many templates the Deployment has had that made pods.
async fn templates(scene: &Scene, name: &str) -> usize {
    let sets: Api<ReplicaSet> = Api::namespaced(scene.stage.client(), &scene.namespace);
    sets.list(&ListParams::default().labels(&format!("app={name}"))).await.expect("the API server answers").items.len()
}

async fn rolled_out(scene: &Scene, name: &str) {
    until(LIMIT, &format!("Deployment {name} has rolled out"), async || {
        let found = deployments(scene).get(name).await.map_err(|error| error.to_string())?;
        let status = found.status.unwrap_or_default();
        let done = status.available_replicas == Some(1) && status.updated_replicas == Some(1) && status.replicas == Some(1);
        if done && status.observed_generation == found.metadata.generation { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

async fn pause(scene: &Scene, name: &str, paused: bool) {
    let patch = json!({"spec": {"paused": paused}});
    deployments(scene).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("an admin may");
}

/// Publishes a token after whose swaps Deployments are restarted, and which is retired as soon as nobody holds it.
async fn publish(scene: &Scene, name: &str) -> String {
    let mut token = scene.token(name, json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]));
    let retire = &mut token["spec"]["rotation"]["retire"];
    (retire["volumeSync"], retire["restart"]) = (json!("0s"), json!(["Deployment"]));
    scene.apply(&token).await;
    scene.published(name).await
}

/// Waits until the status says that an old token waits by the rule `Restart` in these words.
async fn waits(scene: &Scene, name: &str, message: &str) {
    until(LIMIT, &format!("a token of {name} waits: {message}"), async || {
        let retiring = scene.status(name).await.retiring_tokens;
        let waiting: Vec<_> = retiring.into_iter().flat_map(|token| token.waiting_for).collect();
        let told = waiting.iter().any(|it| it.rule == "Restart" && it.message == message);
        if told { Ok(()) } else { Err(format!("{waiting:?}")) }
    })
    .await;
}

/// What the events say of restarts for an object.
async fn told(scene: &Scene, name: &str) -> Vec<String> {
    let events = scene.events(&scene.namespace).await.into_iter();
    let about = events.filter(|it| it.data["regarding"]["name"] == name && it.data["reason"] == "WorkloadsRestarted");
    let mut notes: Vec<String> = about.filter_map(|it| it.data["note"].as_str().map(str::to_owned)).collect();
    notes.sort();
    notes
}

async fn readers_are_restarted_once_for_the_swaps_of_a_minute(scene: &Scene) {
    scene.stage.grant("restart-rules.yaml");
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.connect(|_| {}).await;
    let firsts = [publish(scene, "ci").await, publish(scene, "cd").await];
    let old = firsts.each_ref().map(|string| scene.id_of(string));
    let web = by_environment(scene, "web", &["ci-dbt", "cd-dbt"]);
    let volume = json!({"volumes": [{"name": "token", "secret": {"secretName": "ci-dbt"}}]});
    let mounts = json!({"volumeMounts": [{"name": "token", "mountPath": "/token"}]});
    let others = [
        deployment(scene, "mounted", mounts, volume),
        by_environment(scene, "other", &["another"]),
        by_environment(scene, "held", &["ci-dbt"]),
    ];
    for object in others.iter().chain([&web]) {
        scene.apply(object).await;
        rolled_out(scene, object["metadata"]["name"].as_str().expect("a name")).await;
    }
    pause(scene, "held", true).await;
    // The object whose swap is the older one does the restart; of two in one second either does.
    for (name, first) in ["ci", "cd"].into_iter().zip(&firsts) {
        next_second().await;
        scene.annotate_token(name, "rotate-at", "now").await;
        scene.replaced(name, first).await;
    }
    let new = [scene.id_of(&scene.string_of("ci").await), scene.id_of(&scene.string_of("cd").await)];
    until(LIMIT, "the restart is announced", async || {
        let next = scene.status("cd").await.next_step;
        if next.as_ref().is_some_and(|next| next.action == "Restart") { Ok(()) } else { Err(format!("{next:?}")) }
    })
    .await;
    assert_eq!(mark(scene, "web").await, (None, 1), "a minute has not passed");

    assert_eq!(scene.event("ci", "WorkloadsRestarted").await, format!("Deployment web was restarted to take token {}", new[0]));
    rolled_out(scene, "web").await;
    waits(scene, "ci", "Deployment held is paused").await;
    scene.only_live(&[old[0], new[0], new[1]]).await;
    scene.check().await;
    let (marked, generation) = mark(scene, "web").await;
    assert!(marked.is_some());
    assert_eq!(generation, 2);
    for (name, generation) in [("mounted", 1), ("other", 1), ("held", 2)] {
        assert_eq!(mark(scene, name).await, (None, generation), "{name}");
    }
    // Whoever applies manifests again changes nothing, and sees nothing changed.
    scene.apply(&web).await;
    assert_eq!(mark(scene, "web").await, (marked, generation));

    pause(scene, "held", false).await;
    scene.only_live(&new).await;
    rolled_out(scene, "held").await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    assert_eq!([templates(scene, "web").await, templates(scene, "held").await, templates(scene, "mounted").await], [2, 2, 1]);
    let of = |name: &str| format!("Deployment {name} was restarted to take token {}", new[0]);
    assert_eq!(told(scene, "ci").await, [of("held"), of("web")]);
    assert_eq!(told(scene, "cd").await, Vec::<String>::new());
    operator.stop();
}

async fn without_the_right_a_person_is_told_and_with_it_it_goes_on(scene: &Scene) {
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.connect(|_| {}).await;
    let first = publish(scene, "ci").await;
    scene.apply(&by_environment(scene, "web", &["ci-dbt"])).await;
    assert_eq!(scene.status("ci").await.ledger.and_then(|ledger| ledger.restarted), None, "a first token restarts nobody");
    next_second().await;
    let both = json!({"tokens.dbt-operator.dev/rotate-at": "now", "tokens.dbt-operator.dev/compromised": "now"});
    scene.patch_token("ci", json!({"metadata": {"annotations": both}})).await;

    let stalled = scene.expect("ci", "Stalled", "True", "RestartNotPermitted").await;
    let message = format!(
        "the operator may not patch Deployment in {}; allow restarts in the chart, or empty retire.restart",
        scene.namespace
    );
    assert_eq!(stalled.message, message);
    assert_eq!(scene.event("ci", "RestartNotPermitted").await, message);
    scene.expect("ci", "Ready", "False", "RestartNotPermitted").await;
    scene.expect("ci", "TokenUsable", "True", "VerificationPassed").await;
    let second = scene.string_of("ci").await;
    assert!(second != first, "the swap itself is done");
    scene.only_live(&[scene.id_of(&second)]).await;
    assert_eq!(mark(scene, "web").await, (None, 1));

    scene.stage.grant("restart-rules.yaml");
    scene.expect("ci", "Ready", "True", "Published").await;
    let (marked, generation) = mark(scene, "web").await;
    assert!(marked.is_some());
    assert_eq!(generation, 2);
    let token: ServiceToken = scene.tokens().get("ci").await.expect("it is there");
    let ledger = token.status.and_then(|status| status.ledger).expect("a ledger");
    assert_eq!(ledger.restarted, ledger.current.map(|current| current.serial), "nobody is owed a restart any more");
    operator.stop();
}
