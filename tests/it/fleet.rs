//! Fifty legacy tokens, each in use by something that runs: all are taken over and replaced, and nobody is refused. What
//! each consumer holds is watched from outside, and used for a call to dbt five times a second, all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dbt_cloud_emulator::{Grant, IssuedToken, SeedToken};
use dbt_token_operator::api::v1alpha1::ServiceTokenStatus;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use xtask::consumers::{Consumers, Options, Report};

use crate::support::case::{Case, cases};
use crate::support::objects::told;
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::stage::apply;
use crate::support::wait::{until, until_with};

pub fn cases() -> Vec<Case> {
    cases!(Rolling: fifty_legacy_tokens_are_replaced_under_five_kinds_of_consumers)
}

/// How many tokens each kind of consumer has.
const OF_EACH_KIND: usize = 10;

/// The operator waits a minute before it restarts anything, and everything else goes on at the same time.
const LIMIT: Duration = Duration::from_secs(300);

/// How often all statuses are read.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A volume shows the old string so long; the operator is told two seconds more, since it knows times to the second.
const VOLUME_LAG: Duration = Duration::from_secs(4);
const VOLUME_SYNC: &str = "6s";

/// What runs, how it takes its Secret, and who moves it to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A Deployment, by an environment variable; the operator restarts it.
    Deployment,
    /// A Deployment, by a part of a volume; the operator restarts it.
    SubPath,
    /// A StatefulSet, by all keys as environment variables; somebody restarts it.
    StatefulSet,
    /// A DaemonSet, by a projected volume; nobody has to.
    DaemonSet,
    /// A CronJob, by an environment variable; each of its runs ends.
    CronJob,
}

const KINDS: [Kind; 5] = [Kind::Deployment, Kind::SubPath, Kind::StatefulSet, Kind::DaemonSet, Kind::CronJob];

/// One token with its consumer.
struct Member {
    kind: Kind,
    name: String,
    legacy: IssuedToken,
}

impl Member {
    fn new(scene: &Scene, kind: Kind, number: usize) -> Self {
        let name = format!("{}-{number}", format!("{kind:?}").to_lowercase());
        let created_at: Timestamp = "2022-03-04T09:30:00Z".parse().expect("a time");
        let token = SeedToken::new(&format!("made by hand for {name}"), &[Grant::new("job_admin").in_project(700)]);
        Self { kind, legacy: scene.dbt.add_token(token.created_at(created_at)), name }
    }

    fn secret(&self) -> String {
        format!("{}-dbt", self.name)
    }

    /// The Secret as it was before there was an operator, with its owner's leave to take it over.
    fn secret_manifest(&self, scene: &Scene) -> Value {
        let annotations = json!({"tokens.dbt-operator.dev/adopt-by": self.name});
        let metadata = json!({"name": self.secret(), "namespace": scene.namespace, "annotations": annotations});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": self.legacy.string}})
    }

    fn declaration(&self, scene: &Scene) -> Value {
        let mut token = scene.token(&self.name, json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}]));
        token["spec"]["adopt"] = json!({"secretRef": {"name": self.secret()}});
        let mut retire = json!({"after": "5s", "volumeSync": VOLUME_SYNC, "quietPeriod": "0s"});
        if matches!(self.kind, Kind::Deployment | Kind::SubPath) {
            retire["restart"] = json!(["Deployment"]);
        }
        token["spec"]["rotation"] = json!({"retire": retire});
        token
    }

    /// What a container needs to read the Secret, and the volumes of its pod.
    fn reads(&self) -> (Value, Value) {
        let secret = self.secret();
        let mount = |path: Value| json!({"volumeMounts": [{"name": "dbt", "mountPath": "/dbt", "subPath": path}]});
        match self.kind {
            Kind::Deployment | Kind::CronJob => {
                let source = json!({"secretKeyRef": {"name": secret, "key": "token"}});
                (json!({"env": [{"name": "DBT_TOKEN", "valueFrom": source}]}), json!([]))
            }
            Kind::StatefulSet => (json!({"envFrom": [{"secretRef": {"name": secret}}]}), json!([])),
            Kind::SubPath => (mount(json!("token")), json!([{"name": "dbt", "secret": {"secretName": secret}}])),
            Kind::DaemonSet => {
                let sources = json!([{"secret": {"name": secret}}]);
                (mount(json!("")), json!([{"name": "dbt", "projected": {"sources": sources}}]))
            }
        }
    }

    fn workload(&self, scene: &Scene) -> Value {
        let (mut container, volumes) = self.reads();
        container["name"] = json!("main");
        container["image"] = json!("reader");
        let labels = json!({"reader": self.name});
        let mut spec = json!({"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0});
        let selector = json!({"matchLabels": labels});
        let (version, kind, spec) = match self.kind {
            Kind::CronJob => {
                spec["restartPolicy"] = json!("Never");
                let job = json!({"spec": {"template": {"metadata": {"labels": labels}, "spec": spec}}});
                ("batch/v1", "CronJob", json!({"schedule": "0 0 29 2 *", "jobTemplate": job}))
            }
            kind => {
                let template = json!({"metadata": {"labels": labels}, "spec": spec});
                let spec = json!({"selector": selector, "template": template});
                match kind {
                    Kind::StatefulSet => ("apps/v1", "StatefulSet", spec),
                    Kind::DaemonSet => ("apps/v1", "DaemonSet", spec),
                    _ => ("apps/v1", "Deployment", spec),
                }
            }
        };
        let metadata = json!({"name": self.name, "namespace": scene.namespace});
        json!({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    }

    /// Starts a run of a CronJob ahead of its time, as people do.
    fn run(&self, scene: &Scene, number: usize) {
        let (from, name) = (format!("--from=cronjob/{}", self.name), format!("{}-run-{number}", self.name));
        scene.stage.kubectl(&["create", "job", "-n", &scene.namespace, &from, &name]).expect("an admin may");
    }

    /// What its owner does when the status says that the old token waits for pods.
    async fn move_on(&self, scene: &Scene) {
        match self.kind {
            Kind::StatefulSet => {
                let workload = format!("statefulset/{}", self.name);
                scene.stage.kubectl(&["rollout", "restart", "-n", &scene.namespace, &workload]).expect("an admin may");
            }
            Kind::CronJob => {
                end_run(scene, &self.name).await;
                self.run(scene, 2);
            }
            Kind::Deployment | Kind::SubPath | Kind::DaemonSet => {}
        }
    }
}

/// Says what a kubelet would when the program of a Job has done its work.
async fn end_run(scene: &Scene, name: &str) {
    let pods: Api<Pod> = Api::namespaced(scene.stage.client(), &scene.namespace);
    let running = pods.list(&ListParams::default().labels(&format!("reader={name}"))).await.expect("an admin may");
    for pod in running.items {
        let state = json!({"terminated": {"exitCode": 0, "startedAt": Timestamp::now(), "finishedAt": Timestamp::now()}});
        let container =
            json!({"name": "main", "image": "reader", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let patch = json!({"status": {"phase": "Succeeded", "containerStatuses": [container]}});
        let patched = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("an admin may");
    }
}

async fn fifty_legacy_tokens_are_replaced_under_five_kinds_of_consumers(scene: &Scene) {
    scene.connect(|_| {}).await;
    // A token that dbt saw in use after its replacement waits for a quarter of an hour more, and all are used here.
    scene.dbt.set_modes(|modes| modes.tracks_last_used = false);
    let members = KINDS.into_iter().flat_map(|kind| (0..OF_EACH_KIND).map(move |number| Member::new(scene, kind, number)));
    let members: Vec<Member> = members.collect();
    for member in &members {
        apply(&scene.stage.client(), &member.secret_manifest(scene)).await;
        apply(&scene.stage.client(), &member.workload(scene)).await;
        if member.kind == Kind::CronJob {
            member.run(scene, 1);
        }
    }
    let consumers = watch(scene);
    let each = OF_EACH_KIND;
    let expected = [("the Secret itself", 5 * each), ("environment", 3 * each), ("subPath", each), ("volume", each)];
    until(LIMIT, "everything runs", async || {
        let holders = consumers.holders();
        if holders == BTreeMap::from(expected) { Ok(()) } else { Err(format!("{holders:?}")) }
    })
    .await;

    scene.stage.grant("restart-rules.yaml");
    let _operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    for member in &members {
        apply(&scene.stage.client(), &member.declaration(scene)).await;
    }
    replace_all(scene, &members).await;
    judge(scene, &members, &consumers.stop());
}

fn watch(scene: &Scene) -> Consumers {
    let options = Options {
        kubectl: scene.stage.kubectl_program(),
        kubeconfig: scene.stage.kubeconfig(),
        cache: scene.stage.kubeconfig().with_file_name("consumers-cache"),
        namespace: scene.namespace.clone(),
        key: "token",
        volume_lag: VOLUME_LAG,
        dbt: scene.dbt.http_url(),
        dbt_authority: String::new(),
        path: format!("/api/v2/accounts/{}/jobs/?limit=1", scene.dbt.account_id()),
    };
    Consumers::start(&options).expect("they start")
}

/// Waits until every token was replaced and revoked, and does meanwhile what the owners of the consumers do.
async fn replace_all(scene: &Scene, members: &[Member]) {
    let mut moved: BTreeSet<&str> = BTreeSet::new();
    until_with(LOOK_EVERY, LIMIT, "every legacy token is replaced and revoked", async || {
        let objects = scene.tokens().list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let statuses: BTreeMap<String, ServiceTokenStatus> =
            objects.into_iter().map(|object| (object.name_any(), object.status.unwrap_or_default())).collect();
        for member in members.iter().filter(|member| waits_for_pods(&statuses[&member.name])) {
            if moved.insert(&member.name) {
                member.move_on(scene).await;
            }
        }
        let left = members.iter().filter(|member| !is_replaced(&statuses[&member.name], member));
        let left: Vec<String> =
            left.map(|member| format!("{}: {}", member.name, told(&statuses[&member.name].conditions))).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
    .await;
}

/// Whether there is nothing left to wait for but pods. Those that were made within the very second of the swap would not
/// count as new.
fn waits_for_pods(status: &ServiceTokenStatus) -> bool {
    let waits = |name: &str| status.retiring_tokens.iter().flat_map(|token| &token.waiting_for).any(|rule| rule.rule == name);
    waits("Pods") && !waits("Overlap")
}

fn is_replaced(status: &ServiceTokenStatus, member: &Member) -> bool {
    let old = status.history.iter().find(|entry| entry.previous_token_id == Some(member.legacy.id.0));
    let is_over = old.is_some_and(|entry| entry.cause.as_deref() == Some("Legacy") && entry.retirement_time.is_some());
    is_over && status.retiring_tokens.is_empty()
}

/// Nobody was refused, although everybody went on using what was replaced; and nothing of the old is left.
fn judge(scene: &Scene, members: &[Member], report: &Report) {
    eprintln!(
        "{} calls by {} consumers, {} of them with a token that was replaced already; refused: {}; longest pause: {} ms",
        report.total(),
        members.len(),
        report.outdated.values().sum::<u64>(),
        report.refused.len(),
        report.longest_pause.as_millis()
    );
    let refused: Vec<String> = report.refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused, Vec::<String>::new());
    for way in ["environment", "subPath", "volume"] {
        assert!(report.outdated.contains_key(way), "nobody held an old token by {way}: {report:?}");
    }
    let active = scene.dbt.tokens().into_iter().filter(|token| token.is_active());
    let (new, old): (Vec<_>, Vec<_>) = active.partition(|token| token.created_by.is_some());
    assert_eq!(new.len(), members.len(), "one new token each");
    let legacy: Vec<i64> = members.iter().map(|member| member.legacy.id.0).collect();
    assert!(old.iter().all(|token| !legacy.contains(&token.id.0)), "a legacy token lives");
}
