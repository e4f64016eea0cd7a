//! What work costs, counted exactly: calls of dbt from its request log, requests from the API server's audit log.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::audit::{Request, requests_of};
use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Own: work_rest_and_restart_cost_what_they_must)
}

/// How many objects there are.
const OBJECTS: usize = 6;

/// Requests to the API server that one created object may cost.
const REQUESTS: usize = 12;

/// Two API families: one call each tries a token.
fn permissions() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}, {"permissionSet": "metadata_only", "projects": [{"id": 700}]}])
}

async fn work_rest_and_restart_cost_what_they_must(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("ci-{number}")).collect();
    let (before, log_before) = (requests(scene).len(), scene.dbt.log().len());
    for name in &names {
        scene.apply(&scene.token(name, permissions())).await;
    }
    for name in &names {
        scene.published(name).await;
    }
    managed(scene, OBJECTS).await;
    creation_costs(scene, &requests(scene)[before..], log_before);
    scene.world.note_strings(&scene.dbt.issued_token_strings());
    scene.world.search("the metrics of an operator", &operator.metrics().await);
    operator.kill();
    restart_and_rest_cost(scene).await;
}

fn requests(scene: &Scene) -> Vec<Request> {
    requests_of(&scene.stage.audit_log(), &scene.stage.user()).into_iter().filter(Request::counts).collect()
}

/// Waits until the account's status counts so many tokens: nothing is left to be written then.
async fn managed(scene: &Scene, count: usize) {
    until(LIMIT, "the account counts its tokens", async || {
        let status = scene.accounts().get(&scene.account).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let managed = status.tokens.and_then(|tokens| tokens.managed);
        if managed == Some(i32::try_from(count).expect("few")) { Ok(()) } else { Err(format!("{managed:?}")) }
    })
    .await;
}

fn creation_costs(scene: &Scene, requests: &[Request], log_before: usize) {
    let by_kind = |requests: &[Request]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        requests.iter().for_each(|it| *counts.entry(format!("{} {}", it.verb, it.resource())).or_default() += 1);
        counts
    };
    assert!(requests.iter().all(|it| it.verb != "list"), "no list: {:?}", by_kind(requests));
    // The account's own status, which says how many tokens it has, is shared by all that come at once.
    let (shared, own): (Vec<_>, Vec<_>) = requests.iter().cloned().partition(|it| it.resource() == "dbtaccounts");
    assert!(own.len() <= REQUESTS * OBJECTS, "{} requests for {OBJECTS} objects: {:?}", own.len(), by_kind(requests));
    assert!(shared.len() <= OBJECTS, "{:?}", by_kind(requests));
    let admin = scene.dbt.authenticates(scene.dbt.admin_token());
    let log = scene.dbt.log().split_off(log_before);
    let (own, probes): (Vec<_>, Vec<_>) = log.iter().partition(|entry| entry.token_id == admin);
    assert_eq!(own.iter().filter(|entry| entry.method == "POST").count(), OBJECTS, "one create each");
    let mut tried: BTreeMap<i64, usize> = BTreeMap::new();
    probes.iter().for_each(|entry| *tried.entry(entry.token_id.expect("every call was let in").0).or_default() += 1);
    assert_eq!(tried.into_values().collect::<Vec<_>>(), [2; OBJECTS], "one probe for each API family");
    let other: Vec<&str> = own.iter().filter(|entry| entry.method == "GET").map(|entry| entry.path.as_str()).collect();
    let shared =
        |path: &&&str| path.contains("/service-tokens/?") || path.contains("/environments/") || path.contains("/projects/");
    assert_eq!(other.iter().filter(|path| !shared(path)).count(), 0, "nothing but shared lists: {other:?}");
}

async fn restart_and_rest_cost(scene: &Scene) {
    let (before, log_before) = (requests(scene).len(), scene.dbt.log().len());
    let _operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    let lists = |scene: &Scene| {
        let log = scene.dbt.log().split_off(log_before);
        log.into_iter().filter(|entry| entry.method == "GET" && entry.template.ends_with("/service-tokens/")).count()
    };
    // From the first list on the operator is at rest; an interval later comes the next one.
    assert!(scene.dbt.wait_until(LIMIT, |_| lists(scene) >= 2).await, "a list comes every interval");
    let log = scene.dbt.log().split_off(log_before);
    assert_eq!(lists(scene), 2, "one list at the start, one an interval later: {log:?}");
    let others: Vec<&str> =
        log.iter().map(|entry| entry.template.as_str()).filter(|it| !it.ends_with("/service-tokens/")).collect();
    assert!(others.len() <= 2, "beside them only who the account is: {others:?}");
    let requests = requests(scene).split_off(before);
    let writes: Vec<_> = requests.iter().filter(|it| it.writes()).collect();
    assert!(writes.is_empty(), "nothing is written: {writes:?}");
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    requests.iter().filter(|it| it.verb == "list").for_each(|it| *listed.entry(it.uri.as_str()).or_default() += 1);
    assert!(listed.values().all(|count| *count == 1), "one list for each watch: {listed:?}");
    let kinds: Vec<&str> = requests.iter().filter(|it| it.verb == "list").map(Request::resource).collect();
    assert!(kinds.len() <= 6, "tokens, accounts, namespaces and three kinds of Secrets: {kinds:?}");
    let single: Vec<_> = requests.iter().filter(|it| it.verb == "get").collect();
    // Its namespace's uid, the credential and the CA bundle.
    assert!(single.len() <= 3, "no object is read one by one: {single:?}");
    assert_eq!(scene.created(), OBJECTS);
}
