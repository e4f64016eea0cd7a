//! Every manifest of `tests/manifests` meets the verdict that stands in its first line, and none of the wrong ones creates
//! anything in dbt.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dbt_cloud_emulator::{Emulator, Seed, SeedProject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::stage::{apply, repository, try_apply};
use crate::support::wait::until;

pub fn cases() -> Vec<Case> {
    cases!(Own: every_manifest_meets_its_verdict)
}

/// What is not there is waited for two minutes before it stalls an object.
const PATIENT: Duration = Duration::from_secs(200);

/// The fewest wrong manifests that count as a test.
const FEWEST: usize = 40;

/// What the manifests call the account's host.
const HOST: &str = "https://ab123.us1.dbt.com";

/// Where one of them moves to.
const MOVED_TO: &str = "https://cd456.eu1.dbt.com";

/// One file.
struct Manifest {
    name: String,
    verdicts: Vec<Verdict>,
    status: Option<Value>,
    documents: Vec<Value>,
}

impl Manifest {
    fn becomes_ready(&self) -> bool {
        self.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Ready(_)))
    }
}

enum Verdict {
    Refused(String),
    Stalled(String, String),
    Ready(String),
    Accepted,
}

async fn every_manifest_meets_its_verdict(scene: &Scene) {
    let dbt = Emulator::start(seed()).await.expect("the emulator starts");
    scene.world.note_strings(&dbt.issued_token_strings());
    prepare(scene, &dbt).await;
    let _operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    let scenarios = read("scenarios", &dbt);
    let mut late = Vec::new();
    for manifest in &scenarios {
        late.extend(put(scene, manifest).await.err());
    }
    // What has to be ready is what the wrong ones stand beside. Those that lack something take two minutes to say so, in
    // both folders at the same time.
    let (ready, stalled): (Vec<_>, Vec<_>) = scenarios.iter().partition(|manifest| manifest.becomes_ready());
    for manifest in ready {
        late.extend(judge(scene, manifest).await.err());
    }
    let wrong = read("wrong", &dbt);
    assert!(wrong.len() >= FEWEST, "only {} wrong manifests", wrong.len());
    for manifest in &wrong {
        late.extend(put(scene, manifest).await.err());
    }
    for manifest in stalled.into_iter().chain(&wrong) {
        late.extend(judge(scene, manifest).await.err());
    }
    assert_eq!(late, Vec::<String>::new());
    wrong_ones_created_nothing(&dbt, &scenarios, &wrong);
    for manifest in read("right", &dbt) {
        late.extend(put(scene, &manifest).await.err());
    }
    assert_eq!(late, Vec::<String>::new());
    scene.world.note_strings(&dbt.issued_token_strings());
}

/// Only what was right before it, or beside it, has a token: one each, however often it was edited in a wrong way.
fn wrong_ones_created_nothing(dbt: &Emulator, scenarios: &[Manifest], wrong: &[Manifest]) {
    let before = wrong.iter().filter_map(|manifest| manifest.documents.split_last()).flat_map(|(_, before)| before);
    let right = scenarios.iter().flat_map(|manifest| &manifest.documents).chain(before);
    // A dry run makes nothing, however right it is.
    let right: Vec<&Value> = right.filter(|document| document["spec"]["dryRun"] != true).collect();
    let shown = |document: &Value| -> String {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let default = || format!("{}/{}", word(&document["metadata"]["namespace"]), word(&document["metadata"]["name"]));
        document["spec"]["tokenName"].as_str().map_or_else(default, str::to_owned)
    };
    let mut allowed: Vec<String> = right.into_iter().map(shown).collect();
    for token in dbt.tokens().into_iter().filter(|token| token.created_by.is_some()) {
        let name = token.name.split(" [").next().unwrap_or_default().to_owned();
        let place = allowed.iter().position(|one| *one == name);
        allowed.swap_remove(place.unwrap_or_else(|| panic!("a wrong manifest created token {}", token.name)));
    }
}

/// The account that the manifests speak of.
fn seed() -> Seed {
    let mut seed = Seed::demo();
    seed.account.id = 70_403_103_922_125;
    let twin = |id| SeedProject { id, name: "Twin".to_owned(), description: String::new(), deleted: false };
    seed.projects.extend([twin(710), twin(711)]);
    seed
}

async fn prepare(scene: &Scene, dbt: &Emulator) {
    for namespace in ["airflow", "finance", "crowded", "stranger"] {
        scene.make_namespace(namespace).await;
    }
    for (name, key, value) in [("dbt-admin", "token", dbt.admin_token()), ("dbt-test-ca", "ca.crt", dbt.ca_pem())] {
        apply(
            &scene.stage.client(),
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": scene.stage.namespace},
                "stringData": {key: value},
            }),
        )
        .await;
    }
}

/// The manifests of a folder.
fn read(folder: &str, dbt: &Emulator) -> Vec<Manifest> {
    let folder = repository().join("tests/manifests").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files.iter().map(|file| manifest(file, dbt)).collect()
}

fn manifest(file: &PathBuf, dbt: &Emulator) -> Manifest {
    let text = std::fs::read_to_string(file).expect("a manifest");
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lines = |word: &str| -> Vec<String> {
        let prefix = format!("# {word}: ");
        text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    let stalled = lines("stalled").into_iter().map(|line| {
        let (reason, message) = line.split_once(": ").expect("a reason and a message");
        Verdict::Stalled(reason.to_owned(), message.to_owned())
    });
    let verdicts = lines("refused").into_iter().map(Verdict::Refused).chain(stalled);
    let verdicts = verdicts
        .chain(lines("ready").into_iter().map(Verdict::Ready))
        .chain(lines("accepted").into_iter().map(|_| Verdict::Accepted));
    let verdicts: Vec<Verdict> = verdicts.collect();
    assert!(!verdicts.is_empty(), "{name} has no verdict");
    let documents = serde_yaml::Deserializer::from_str(&text).map(|one| Value::deserialize(one).expect("a document"));
    Manifest {
        documents: documents.map(|document| at_home(document, dbt)).collect(),
        status: lines("status").first().map(|line| serde_json::from_str(line).expect("JSON")),
        verdicts,
        name,
    }
}

/// An account with the emulator's address instead of dbt's, so that no test ever calls dbt.
fn at_home(mut document: Value, dbt: &Emulator) -> Value {
    let url = match document["spec"]["accessUrl"].as_str() {
        Some(HOST) => dbt.https_url(),
        Some(MOVED_TO) => dbt.https_url().replace("localhost", "127.0.0.1"),
        _ => return document,
    };
    let spec = document["spec"].as_object_mut().expect("a spec");
    spec.insert("accessUrl".to_owned(), json!(url));
    let endpoints = json!({"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")});
    spec.entry("endpoints").or_insert(endpoints);
    spec.entry("caBundleSecretRef").or_insert(json!({"name": "dbt-test-ca"}));
    document
}

/// Applies the documents; what a refusal says must hold at once.
async fn put(scene: &Scene, manifest: &Manifest) -> Result<(), String> {
    let client = scene.stage.client();
    let (last, first) = manifest.documents.split_last().expect("a document");
    for (place, document) in first.iter().enumerate() {
        try_apply(&client, document).await.map_err(|error| format!("{}: {error}", manifest.name))?;
        if let (0, Some(status)) = (place, &manifest.status) {
            let api = api(scene, document);
            let body = Patch::Merge(json!({"status": status}));
            let name = document["metadata"]["name"].as_str().expect("a name");
            api.patch_status(name, &PatchParams::default(), &body)
                .await
                .map_err(|error| format!("{}: {error}", manifest.name))?;
        }
    }
    if let Some(elder) = first.last().filter(|elder| is_another(elder, last)) {
        is_older_than_a_second(scene, elder).await;
    }
    let answer = try_apply(&client, last).await;
    for verdict in &manifest.verdicts {
        match (verdict, &answer) {
            (Verdict::Refused(text), Err(error)) if error.to_string().contains(text) => {}
            (Verdict::Refused(text), Err(error)) => {
                return Err(format!("{}: refused, but without \"{text}\": {error}", manifest.name));
            }
            (Verdict::Refused(_), Ok(_)) => return Err(format!("{}: accepted", manifest.name)),
            (_, Err(error)) => return Err(format!("{}: refused: {error}", manifest.name)),
            (_, Ok(_)) => {}
        }
    }
    Ok(())
}

/// Whether both are of one kind, but not the same object.
fn is_another(elder: &Value, last: &Value) -> bool {
    elder["kind"] == last["kind"] && elder["metadata"]["name"] != last["metadata"]["name"]
}

/// Which of two objects is the older one is told by whole seconds.
async fn is_older_than_a_second(scene: &Scene, document: &Value) {
    let name = document["metadata"]["name"].as_str().expect("a name");
    let created = api(scene, document).get(name).await.expect("it was just applied").metadata.creation_timestamp;
    let created = created.expect("the API server says when").0;
    until(PATIENT, &format!("a second since {name} was created"), async || {
        let age = jiff::Timestamp::now().duration_since(created);
        if age.as_secs() >= 1 { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
}

/// Waits for what the operator must say.
async fn judge(scene: &Scene, manifest: &Manifest) -> Result<(), String> {
    let last = manifest.documents.last().expect("a document");
    for verdict in &manifest.verdicts {
        let (reason, text, stalled) = match verdict {
            Verdict::Stalled(reason, text) => (reason, text.as_str(), true),
            Verdict::Ready(reason) => (reason, "", false),
            Verdict::Refused(_) | Verdict::Accepted => continue,
        };
        let what = format!("{}: {reason}", manifest.name);
        let condition = until(PATIENT, &what, async || {
            let conditions = conditions(scene, last).await?;
            let told = || format!("{conditions:?}");
            let ready = conditions.get("Ready").ok_or_else(told)?;
            let status = if stalled { "False" } else { "True" };
            let fits = ready.reason == *reason && ready.status == status && conditions.contains_key("Stalled") == stalled;
            if fits { Ok(ready.clone()) } else { Err(told()) }
        });
        let condition = condition.await;
        if !condition.message.contains(text) {
            return Err(format!("{}: {reason} says \"{}\", not \"{text}\"", manifest.name, condition.message));
        }
    }
    Ok(())
}

async fn conditions(scene: &Scene, document: &Value) -> Result<BTreeMap<String, Condition>, String> {
    let name = document["metadata"]["name"].as_str().expect("a name");
    let object = api(scene, document).get(name).await.map_err(|error| error.to_string())?;
    let conditions: Vec<Condition> = serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default();
    Ok(conditions.into_iter().map(|condition| (condition.type_.clone(), condition)).collect())
}

fn api(scene: &Scene, document: &Value) -> Api<DynamicObject> {
    let kind = document["kind"].as_str().expect("a kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tokens.dbt-operator.dev", "v1alpha1", kind));
    match document["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(scene.stage.client(), namespace, &resource),
        None => Api::all_with(scene.stage.client(), &resource),
    }
}
