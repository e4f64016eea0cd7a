//! The client's half of the contract files: every recorded answer is understood, and what is sent is what was recorded.
//! The emulator's tests hold the other half.

use std::fs;
use std::path::PathBuf;

use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{CredentialId, EnvironmentId, PermissionSet, ProjectId, TokenId, WriteCategory};
use dbt_token_planner::link::Link;
use dbt_token_planner::permission::Probe;
use hyper::StatusCode;
use serde_json::json;
use zeroize::Zeroizing;

use super::classify::{Effect, judge};
use super::wire::{Envelope, WireCredential, WireEnvironment, WireProject, WireToken};
use super::*;
use crate::backend::{Backend, Lookup, Verdict};

/// The one link of the recorded account.
const LINKED: Link = Link { project: ProjectId(700), credential: CredentialId(5001), token: TokenId(70_471_800_000_101) };

/// One recorded exchange.
struct Exchange {
    name: String,
    line: String,
    request: Value,
    status: u16,
    response: Value,
}

impl Exchange {
    fn body(&self) -> Vec<u8> {
        if self.response.is_null() { Vec::new() } else { self.response.to_string().into_bytes() }
    }

    /// The class of an answer that is not a success, and its detail.
    fn problem(&self) -> (&'static str, String) {
        let status = StatusCode::from_u16(self.status).expect("valid");
        let body = Zeroizing::new(self.body());
        let answer = Answer { status, location_host: None, retry_after: None, body };
        let problem = judge(&answer, Effect::Change, OWN, now()).expect_err(&self.name);
        (problem.class.word(), problem.detail)
    }

    fn data<T: for<'de> serde::Deserialize<'de>>(&self) -> T {
        let envelope: Envelope<T> = wire::read(&self.body()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        envelope.data.unwrap_or_else(|| panic!("{}: no data", self.name))
    }

    /// A server that gives this answer, though not to the account's own credential if `of_own` is given.
    async fn served(&self, of_own: Option<Script>) -> Server {
        let (status, response) = (self.status, self.response.clone());
        Server::start(move |seen| match of_own {
            Some(of_own) if !seen.authorization().ends_with(NEW) => of_own(),
            _ if response.is_null() => Reply::Text(status, ""),
            _ => Reply::Json(status, response.clone()),
        })
        .await
    }

    fn assert_sent(&self, server: &Server) {
        assert_eq!(server.lines(), std::slice::from_ref(&self.line), "{}", self.name);
    }

    async fn verdict(&self, probe: Probe, of_own: Option<Script>) -> Verdict {
        let server = self.served(of_own).await;
        let verdict = client(&server).verify(probe, &token(NEW)).await;
        if verdict == Verdict::Passed {
            self.assert_sent(&server);
        }
        verdict
    }
}

fn exchanges() -> Vec<Exchange> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let files = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let read = |path: PathBuf| {
        let file: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        let text = |field: &str| file[field].as_str().expect("text").to_owned();
        Exchange {
            name: path.file_stem().expect("a name").to_string_lossy().into_owned(),
            line: format!("{} {}", text("method"), text("path")),
            request: file["request"].clone(),
            status: file["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
            response: file["response"].clone(),
        }
    };
    files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).map(read).collect()
}

fn row(set: &str, scope: Scope, writable: &[&str]) -> GrantRow {
    GrantRow {
        permission_set: PermissionSet::new(set),
        scope,
        writable: writable.iter().map(|kind| WriteCategory::new(*kind)).collect(),
    }
}

/// Both lists of rows in the same order.
fn sorted(rows: &Value) -> Vec<String> {
    let mut rows: Vec<String> = rows.as_array().expect("a list").iter().map(ToString::to_string).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn every_recorded_exchange_is_understood() {
    let exchanges = exchanges();
    assert!(exchanges.len() >= 40, "only {} files were found", exchanges.len());
    for exchange in &exchanges {
        if !(read_of(exchange).await || change_of(exchange).await || refusal_of(exchange) || probe_of(exchange).await) {
            assert!(unused(exchange), "{} is not tried by the client's tests; add it here", exchange.name);
        }
    }
}

/// Reads of the Admin API.
async fn read_of(exchange: &Exchange) -> bool {
    let server = exchange.served(None).await;
    let client = client(&server);
    match exchange.name.as_str() {
        "account_get" => {
            assert!(!client.account().await.expect("understood").plan.is_empty());
            exchange.assert_sent(&server);
        }
        "projects_list" => {
            assert!(!client.projects().await.expect("understood").is_empty());
            exchange.assert_sent(&server);
        }
        // Recorded with a filter, and with fewer items than they announce: only the items are read.
        "projects_list_by_name" => {
            let projects: Vec<WireProject> = exchange.data();
            assert!(!convert::projects(projects, ACCOUNT).expect("believed").is_empty());
        }
        "environments_list" | "environments_list_of_project" => {
            let environments: Vec<WireEnvironment> = exchange.data();
            let found = convert::environments(environments, ACCOUNT).expect("believed");
            assert_eq!(found.get(&ProjectId(700)), Some(&EnvironmentId(218_762)));
        }
        "semantic_layer_credentials_list" => {
            let credentials: Vec<WireCredential> = exchange.data();
            assert_eq!(convert::links(credentials, ACCOUNT).expect("believed"), [LINKED]);
        }
        "semantic_layer_credentials_list_of_all_projects" => {
            assert_eq!(client.links().await.expect("understood"), [LINKED]);
            exchange.assert_sent(&server);
        }
        "service_tokens_list" => {
            let tokens: Vec<WireToken> = exchange.data();
            let read = tokens.into_iter().map(|token| convert::token(token, ACCOUNT));
            let tokens: Vec<_> = read.collect::<Result<_, _>>().expect("believed");
            assert!(tokens.iter().any(|token| token.active) && tokens.iter().any(|token| !token.active));
            assert!(tokens.iter().all(|token| token.created_at.is_some() && token.uid.as_str().len() == 7));
        }
        "service_token_get" | "service_token_get_deleted" => {
            let id = TokenId(exchange.response["data"]["id"].as_i64().expect("an id"));
            let Ok(Lookup::Found(found)) = client.get(id).await else { panic!("{} was not found", exchange.name) };
            assert_eq!(found.active, exchange.name == "service_token_get");
            exchange.assert_sent(&server);
        }
        _ => return false,
    }
    true
}

/// Changes.
async fn change_of(exchange: &Exchange) -> bool {
    let server = exchange.served(None).await;
    let client = client(&server);
    match exchange.name.as_str() {
        "service_token_create" => {
            let rows = GrantRows::new(vec![
                row("job_admin", Scope::Project(ProjectId(700)), &[]),
                row("developer", Scope::All, &["all"]),
            ]);
            let created = client.create("from the operator", &rows).await.expect("understood");
            assert_eq!(created.rows, rows);
            assert_eq!(credential_uid(&created.string), Some(created.uid));
            exchange.assert_sent(&server);
            let sent = server.seen()[0].json();
            assert_eq!(sent["name"], exchange.request["name"]);
            assert_eq!(sorted(&sent["permission_grants"]), sorted(&exchange.request["permission_grants"]));
        }
        "service_token_create_two_step" | "service_token_create_unknown_keys" => {
            let created = convert::created(exchange.data(), ACCOUNT).map_err(|reason| panic!("{reason}")).expect("believed");
            assert!(created.rows.is_empty() && contains_uid(&created.string, &created.uid));
        }
        "service_token_permissions_assign" => {
            let rows = GrantRows::new(vec![
                row("job_admin", Scope::Project(ProjectId(700)), &[]),
                row("developer", Scope::All, &["staging", "production"]),
            ]);
            let token = TokenId(exchange.request[0]["service_token_id"].as_i64().expect("an id"));
            client.grant(token, &rows).await.expect("understood");
            exchange.assert_sent(&server);
            assert_eq!(sorted(&normal(server.seen()[0].json())), sorted(&normal(exchange.request.clone())));
        }
        "semantic_layer_mapping_create" => {
            client.link(Link { token: TokenId(70_471_800_000_103), ..LINKED }).await.expect("understood");
            exchange.assert_sent(&server);
            assert_eq!(server.seen()[0].json(), exchange.request);
        }
        "service_token_rename" => {
            client.rename(TokenId(70_471_800_000_103), "renamed").await.expect("understood");
            exchange.assert_sent(&server);
            assert_eq!(server.seen()[0].json(), exchange.request);
        }
        "service_token_delete" => {
            client.revoke(TokenId(70_471_800_000_103)).await.expect("understood");
            exchange.assert_sent(&server);
        }
        _ => return false,
    }
    true
}

/// The order in which write categories are sent means nothing.
fn normal(mut rows: Value) -> Value {
    for row in rows.as_array_mut().expect("a list") {
        if let Some(kinds) = row.get_mut("writable_environment_categories").and_then(Value::as_array_mut) {
            kinds.sort_by_key(ToString::to_string);
        }
    }
    rows
}

/// Answers that are no success.
fn refusal_of(exchange: &Exchange) -> bool {
    let (expected, part) = match exchange.name.as_str() {
        "discovery_bad_token" => ("credential_refused", ""),
        "error_400_limit" => ("rejected", "limit: "),
        "error_401_invalid_token" => ("credential_refused", "Invalid token."),
        "error_401_unpaid" => ("account_locked", "unpaid"),
        "error_403_address" => ("ip_refused", "Access denied"),
        "error_404_not_permitted" | "service_token_create_foreign_project" | "service_token_get_unknown" => {
            ("denied", "check that you have the proper permissions")
        }
        "error_429" => ("throttled", "2026-11-24T08:05:00Z"),
        "semantic_layer_mapping_create_again" => ("rejected", ""),
        "semantic_layer_mapping_create_unknown" => ("denied", "check that you have the proper permissions"),
        "service_token_create_without_name" => ("rejected", "name: "),
        "service_token_permissions_assign_again" => ("rejected", "cannot be updated after assigment"),
        _ => return false,
    };
    let (class, detail) = exchange.problem();
    assert_eq!(class, expected, "{}", exchange.name);
    assert!(detail.contains(part), "{}: {detail}", exchange.name);
    true
}

/// Calls with a token of one's own.
async fn probe_of(exchange: &Exchange) -> bool {
    let environment = EnvironmentId(218_762);
    let discovered: Script = || Reply::Json(200, json!({"data": {"environment": {"dbtProjectName": "finance"}}}));
    let (probe, of_own, passes) = match exchange.name.as_str() {
        "accounts_list" => (Probe::Accounts, None, true),
        "jobs_list" => (Probe::Jobs(Some(ProjectId(700))), None, true),
        "discovery_environment" => (Probe::Discovery(environment), None, true),
        "discovery_not_permitted" => (Probe::Discovery(environment), Some(discovered), false),
        "semantic_layer_environment_info" => (Probe::SemanticLayer(environment), None, true),
        "semantic_layer_not_authorized" => (Probe::SemanticLayer(environment), None, false),
        _ => return false,
    };
    let verdict = exchange.verdict(probe, of_own).await;
    let is_as_expected = if passes { verdict == Verdict::Passed } else { matches!(verdict, Verdict::Refused { .. }) };
    assert!(is_as_expected, "{}: {verdict:?}", exchange.name);
    true
}

/// Exchanges that this client never has.
fn unused(exchange: &Exchange) -> bool {
    matches!(
        exchange.name.as_str(),
        "project_get" | "semantic_layer_mapping_delete" | "semantic_layer_mappings_list" | "service_token_permissions_list"
    )
}
