//! The control API, as another process drives it.

use dbt_cloud_emulator::{Emulator, Options};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

async fn control(dbt: &Emulator, method: &str, path: &str, body: Value) -> (u16, Vec<u8>) {
    let url = format!("{}{path}", dbt.control_url().expect("the control API runs"));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder().method(method).uri(url).body(Full::new(body)).expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let response = client.request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    (status, bytes.to_vec())
}

async fn json_of(dbt: &Emulator, method: &str, path: &str, body: Value) -> Value {
    let (status, bytes) = control(dbt, method, path, body).await;
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn controlled() -> Emulator {
    let options = Options { control_port: Some(0), ..Options::default() };
    Emulator::start(options).await.expect("the emulator starts")
}

#[tokio::test]
async fn tokens_modes_and_plan_are_changed_from_outside() {
    let dbt = controlled().await;
    assert_eq!(json_of(&dbt, "GET", "/control/health", Value::Null).await["ok"], true);
    let fixture = json!({ "name": "fixture", "format": "legacy", "created_at": "2023-07-18" });
    let added = json_of(&dbt, "POST", "/control/tokens", fixture).await;
    let string = added["token_string"].as_str().expect("a string").to_owned();
    assert!(dbt.authenticates(&string).is_some());
    let tokens = json_of(&dbt, "GET", "/control/tokens", Value::Null).await.to_string();
    assert!(tokens.contains("fixture") && !tokens.contains(&string));
    json_of(&dbt, "DELETE", &format!("/control/tokens/{}", added["id"]), Value::Null).await;
    assert!(dbt.authenticates(&string).is_none());
    let modes = json_of(&dbt, "PATCH", "/control/modes", json!({ "latency_ms": 3 })).await;
    assert_eq!((&modes["latency_ms"], &modes["limit_enforced"]), (&json!(3), &json!(true)));
    assert_eq!(control(&dbt, "PATCH", "/control/modes", json!({ "latency": 3 })).await.0, 400);
    let account = json_of(&dbt, "PATCH", "/control/account", json!({ "plan": "free" })).await;
    assert_eq!(account["plan"], "free");
}

#[tokio::test]
async fn faults_and_log_are_driven_from_outside() {
    let dbt = controlled().await;
    let rules = json!([{ "fault": { "kind": "drop_before" } }, {
        "match": { "method": "POST", "path": "service-tokens/" },
        "fault": { "kind": "hang_before", "ms": null },
    }]);
    let handles = json_of(&dbt, "POST", "/control/faults", rules).await;
    assert_eq!(handles["handles"], json!([1, 2]));
    json_of(&dbt, "POST", "/control/faults/2/release", Value::Null).await;
    json_of(&dbt, "DELETE", "/control/faults/1", Value::Null).await;
    let left = json_of(&dbt, "GET", "/control/faults", Value::Null).await;
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!((&left[0]["handle"], &left[0]["released"]), (&json!(2), &json!(true)));
    json_of(&dbt, "DELETE", "/control/faults", Value::Null).await;
    assert!(dbt.faults().is_empty());
    let wrong = json!({ "fault": { "kind": "no_such_fault" } });
    assert_eq!(control(&dbt, "POST", "/control/faults", wrong).await.0, 400);
    assert_eq!(json_of(&dbt, "GET", "/control/log?since=0", Value::Null).await, json!([]));
    assert_eq!(json_of(&dbt, "GET", "/control/counters", Value::Null).await, json!([]));
    let (_, pem) = control(&dbt, "GET", "/control/ca.pem", Value::Null).await;
    assert_eq!(pem, dbt.ca_pem().as_bytes());
    assert_eq!(control(&dbt, "GET", "/control/nothing", Value::Null).await.0, 404);
}

#[tokio::test]
async fn the_log_can_leave_out_the_calls_of_one_method() {
    let dbt = controlled().await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    for method in ["GET", "DELETE", "GET"] {
        let url = format!("{}/api/v2/accounts/", dbt.http_url());
        let request = Request::builder().method(method).uri(url).body(Full::default()).expect("a request");
        client.request(request).await.expect("an answer");
    }
    let methods = async |query: &str| -> Vec<String> {
        let log = json_of(&dbt, "GET", &format!("/control/log?{query}"), Value::Null).await;
        let entries = log.as_array().expect("entries").iter();
        entries.map(|entry| entry["method"].as_str().expect("a method").to_owned()).collect()
    };
    assert_eq!(methods("since=0").await, ["GET", "DELETE", "GET"]);
    assert_eq!(methods("since=0&without_method=GET").await, ["DELETE"]);
    assert_eq!(methods("since=1&without_method=DELETE").await, ["GET"]);
}

#[tokio::test]
async fn every_string_goes_to_a_private_file() {
    let directory = std::env::temp_dir().join(format!("emulator-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let issued = directory.join("issued");
    let options = Options { issued_tokens_file: Some(issued.clone()), ..Options::default() };
    let dbt = Emulator::start(options).await.expect("the emulator starts");
    dbt.add_token(dbt_cloud_emulator::SeedToken::new("more", &[]));
    let written = std::fs::read_to_string(&issued).expect("the file is there");
    assert_eq!(written.lines().collect::<Vec<_>>(), dbt.issued_token_strings());
    assert_eq!(written.lines().count(), 5);
    let mode = std::fs::metadata(&issued).expect("the file is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(&directory).expect("the directory can go");
}
