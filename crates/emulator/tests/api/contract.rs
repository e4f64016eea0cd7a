//! Replays the contract files that the client's tests parse (see `tests/contract/README.md`).

use std::path::PathBuf;

use dbt_cloud_emulator::{Emulator, Grant, Seed, SeedToken};
use serde_json::Value;

use crate::support::{Extra, World};

/// What the files take for granted, beyond the seed of the demonstration.
const SEED: &str = "
account: { id: 70403103922125, name: Example, plan: enterprise_plus_2025 }
projects:
  - { id: 700, name: Finance }
  - { id: 701, name: Marketing }
  - { id: 702, name: Web Shop }
  - { id: 812, name: Shop Floor }
environments:
  - { id: 218762, project_id: 700, name: Production, deployment_type: production, metrics: [revenue] }
jobs:
  - { id: 30001, project_id: 700, environment_id: 218762, name: Nightly build }
tokens:
  - id: 70471800000101
    name: nightly jobs
    uid: pL-4_xZ
    created_at: '2025-10-21 14:03:11.482913+00:00'
    last_used: '2025-11-02 08:15:40.000127+00:00'
    grants:
      - { permission_set: job_admin, project_id: 700 }
      - { permission_set: developer, project_id: 701, writable_environment_categories: [staging] }
      - { permission_set: readonly }
  - id: 70471800000102
    name: retired
    uid: Q9aB0cE
    deleted: true
    created_at: '2025-10-21 14:03:11.482913+00:00'
    last_used: '2025-11-02 08:15:40.000127+00:00'
    grants: [{ permission_set: readonly }]
  - id: 70471800000103
    name: bare
    uid: a_B-c1E
  - id: 70471800000104
    name: admin
    admin: true
    grants: [{ permission_set: account_admin }]
semantic_layer_credentials:
  - { id: 5001, project_id: 700, name: Finance warehouse }
semantic_layer_mappings:
  - { id: 6001, project_id: 700, semantic_layer_credentials_id: 5001, service_token_id: 70471800000101 }
";

#[tokio::test]
async fn every_contract_file_holds() {
    let mut problems = Vec::new();
    let files = files();
    assert!(files.len() > 30, "the contract files were found");
    for (name, file) in &files {
        assert!(file["source"].as_str().is_some_and(|source| !source.is_empty()), "{name}");
        for problem in replay(file).await {
            problems.push(format!("{name}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn files() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder of contract files") {
        let path = entry.expect("a folder entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let file = serde_json::from_str(&text).expect("JSON");
            files.push((path.file_name().expect("a name").to_string_lossy().into_owned(), file));
        }
    }
    files.sort_by(|left, right| left.0.cmp(&right.0));
    files
}

/// Sends the request of a file to a fresh emulator and names what differs.
async fn replay(file: &Value) -> Vec<String> {
    let world = World::with(seed(file)).await;
    let caller = caller(&world.dbt, file["given"]["caller"].as_str().unwrap_or("admin"));
    let authorization = format!("Bearer {caller}");
    let extra = Extra { authorization: Some(&authorization), host: None };
    let method = file["method"].as_str().expect("a method");
    let path = file["path"].as_str().expect("a path");
    let body = Some(&file["request"]).filter(|body| !body.is_null());
    let reply = world.try_call(method, path, body, extra).await.expect("an answer");
    let actual = if reply.body.is_empty() { Value::Null } else { reply.json() };
    let mut problems = Vec::new();
    if file["status"] != reply.status {
        problems.push(format!("status {} instead of {}", reply.status, file["status"]));
    }
    if file["response"].is_null() && !actual.is_null() {
        problems.push("a body where none was expected".to_owned());
    }
    let open = pointers(&file["open"]);
    compare_shape(&file["response"], &actual, "", &open, &mut problems);
    for pointer in pointers(&file["exact"]) {
        let (expected, found) = (file["response"].pointer(&pointer), actual.pointer(&pointer));
        if without(expected, &pointer, &open) != without(found, &pointer, &open) {
            problems.push(format!("{pointer}: {found:?} instead of {expected:?}"));
        }
    }
    problems
}

/// The seed with the modes of the file.
fn seed(file: &Value) -> Seed {
    let mut seed = Seed::from_yaml(SEED).expect("the seed is valid");
    if !file["given"]["modes"].is_null() {
        seed.modes = serde_json::from_value(file["given"]["modes"].clone()).expect("known modes");
    }
    seed
}

fn caller(dbt: &Emulator, name: &str) -> String {
    let token = |set: &str| dbt.add_token(SeedToken::new(set, &[Grant::new(set)])).string;
    match name {
        "admin" => dbt.admin_token().to_owned(),
        "unknown" => "dbtc_unknown".to_owned(),
        "without_permission" => token("job_runner"),
        "semantic_layer" => token("semantic_layer_only"),
        other => panic!("unknown caller {other}"),
    }
}

fn pointers(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The value without the keys that are open below `pointer`.
fn without(value: Option<&Value>, pointer: &str, open: &[String]) -> Option<Value> {
    let mut value = value.cloned()?;
    for inner in open.iter().filter_map(|path| path.strip_prefix(pointer)) {
        if let (Some(key), Some(fields)) = (inner.strip_prefix('/'), value.as_object_mut()) {
            fields.remove(key);
        }
    }
    Some(value)
}

fn compare_shape(expected: &Value, actual: &Value, at: &str, open: &[String], problems: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Null, _)
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => {}
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                match found.get(key) {
                    Some(other) => {
                        compare_shape(value, other, &format!("{at}/{key}"), open, problems);
                    }
                    None => problems.push(format!("{at}/{key} is missing")),
                }
            }
            let is_open = open.iter().any(|pointer| pointer == at);
            for key in found.keys().filter(|key| !is_open && !wanted.contains_key(*key)) {
                problems.push(format!("{at}/{key} is too much"));
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            if found.len() < wanted.len() {
                problems.push(format!("{at} has {} items instead of {}", found.len(), wanted.len()));
            }
            for (index, item) in found.iter().enumerate() {
                compare_item(wanted, item, &format!("{at}/{index}"), open, problems);
            }
        }
        _ => problems.push(format!("{at} is {actual} and not like {expected}")),
    }
}

/// An item must have the shape of the item written at its place; further ones that of the first.
fn compare_item(wanted: &[Value], item: &Value, at: &str, open: &[String], problems: &mut Vec<String>) {
    let (list, index) = at.rsplit_once('/').expect("an item has a place in its list");
    let index: usize = index.parse().expect("the place of an item is a number");
    let place = if index < wanted.len() { index } else { 0 };
    // What is open in the first item is open in all of them.
    let first = format!("{list}/0");
    let opened: Vec<String> = open.iter().map(|pointer| pointer.replacen(&first, at, 1)).collect();
    if let Some(shape) = wanted.get(place) {
        compare_shape(shape, item, at, &opened, problems);
    }
}
