//! The probes: what is asked, and what each answer proves about the new token.

use dbt_token_planner::identity::{EnvironmentId, ProjectId};
use dbt_token_planner::permission::Probe;
use serde_json::json;

use super::*;
use crate::backend::{Backend, Verdict};

const DISCOVERY: Probe = Probe::Discovery(EnvironmentId(834));
const SEMANTIC_LAYER: Probe = Probe::SemanticLayer(EnvironmentId(834));

/// A server that answers the new token and the account's own credential differently.
async fn verdict(
    probe: Probe,
    of_new: impl Fn() -> Reply + Send + Sync + 'static,
    of_own: impl Fn() -> Reply + Send + Sync + 'static,
) -> (Verdict, Server) {
    let server = Server::start(move |seen| if seen.authorization().ends_with(NEW) { of_new() } else { of_own() }).await;
    let verdict = client(&server).verify(probe, &token(NEW)).await;
    (verdict, server)
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Refused { .. } => "refused",
        Verdict::Inconclusive { .. } => "inconclusive",
    }
}

fn graphql(data: &Value, errors: &[&str]) -> Reply {
    let errors: Vec<Value> = errors.iter().map(|message| json!({"message": message})).collect();
    if errors.is_empty() {
        Reply::Json(200, json!({"data": data}))
    } else {
        Reply::Json(200, json!({"data": data, "errors": errors}))
    }
}

fn discovered() -> Reply {
    graphql(&json!({"environment": {"dbtProjectName": "finance"}}), &[])
}

#[tokio::test]
async fn each_probe_asks_its_question() {
    let account = ACCOUNT.0;
    let table = [
        (Probe::Jobs(None), format!("GET /api/v2/accounts/{account}/jobs/?limit=1")),
        (Probe::Jobs(Some(ProjectId(812))), format!("GET /api/v2/accounts/{account}/jobs/?limit=1&project_id=812")),
        (Probe::Projects, format!("GET /api/v3/accounts/{account}/projects/?limit=1")),
        (Probe::ServiceTokens, format!("GET /api/v3/accounts/{account}/service-tokens/?limit=1")),
        (Probe::Notifications, format!("GET /api/v2/accounts/{account}/notifications/?limit=1")),
        (Probe::Accounts, "GET /api/v2/accounts/".to_owned()),
        (Probe::Webhooks, format!("GET /api/v3/accounts/{account}/webhooks/subscriptions?limit=1")),
    ];
    for (probe, line) in table {
        let (verdict, server) = verdict(probe, || list(&json!([{"id": ACCOUNT.0}]), Some(1)), invalid_token).await;
        assert_eq!((verdict, server.lines()), (Verdict::Passed, vec![line]));
        assert_eq!(server.seen()[0].authorization(), format!("Token {NEW}"));
    }
}

#[tokio::test]
async fn graphql_probes_ask_for_one_environment() {
    let (verdict, server) = verdict(DISCOVERY, discovered, invalid_token).await;
    assert_eq!((verdict, server.lines()), (Verdict::Passed, vec!["POST /graphql".to_owned()]));
    let seen = &server.seen()[0];
    assert_eq!(seen.authorization(), format!("Token {NEW}"));
    assert_eq!(seen.json()["variables"], json!({"environmentId": 834}));
    assert!(seen.json()["query"].as_str().expect("text").contains("environment(id: $environmentId)"));
}

#[tokio::test]
async fn the_semantic_layer_gets_a_bearer() {
    let info = || graphql(&json!({"environmentInfo": {"dialect": "SNOWFLAKE"}}), &[]);
    let (verdict, server) = verdict(SEMANTIC_LAYER, info, invalid_token).await;
    assert_eq!((verdict, server.lines()), (Verdict::Passed, vec!["POST /api/graphql".to_owned()]));
    assert_eq!(server.seen()[0].authorization(), format!("Bearer {NEW}"));
}

#[tokio::test]
async fn answers_of_the_admin_api_have_their_verdicts() {
    let ip = || refusal(403, "Forbidden: Access denied");
    let table: [(Script, Script, &str, usize); 13] = [
        (invalid_token, account, "refused", 4),
        (invalid_token, invalid_token, "inconclusive", 4),
        (invalid_token, || success(&json!({"id": 5})), "inconclusive", 4),
        (not_found, account, "refused", 4),
        (not_found, not_found, "inconclusive", 4),
        (|| refusal(403, "Forbidden"), account, "refused", 4),
        (ip, account, "inconclusive", 1),
        (|| refusal(401, "This account is unpaid."), account, "inconclusive", 1),
        (|| refusal(429, "Too many requests."), account, "inconclusive", 1),
        (|| Reply::Text(502, HTML), account, "inconclusive", 3),
        (|| Reply::Text(200, HTML), account, "inconclusive", 3),
        (|| Reply::Drop, account, "inconclusive", 3),
        (|| Reply::Header(302, "location", "/".to_owned()), account, "inconclusive", 1),
    ];
    for (place, (of_new, of_own, expected, requests)) in table.into_iter().enumerate() {
        let (verdict, server) = verdict(Probe::Jobs(None), of_new, of_own).await;
        assert_eq!(word(&verdict), expected, "{place}: {verdict:?}");
        assert_eq!(server.seen().len(), requests, "{place}");
    }
}

#[tokio::test]
async fn a_new_token_may_be_unknown_for_a_while() {
    let tries = Mutex::new(0);
    let of_new = move || {
        let mut tries = tries.lock().expect("no panic");
        *tries += 1;
        if *tries < 3 { invalid_token() } else { list(&json!([]), Some(0)) }
    };
    let (verdict, server) = verdict(Probe::Jobs(None), of_new, account).await;
    assert_eq!((verdict, server.seen().len()), (Verdict::Passed, 3));
}

#[tokio::test]
async fn a_token_of_another_account_is_refused() {
    for accounts in [json!([]), json!([{"id": 5}])] {
        let (verdict, _) = verdict(Probe::Accounts, move || list(&accounts, Some(1)), account).await;
        assert_eq!(word(&verdict), "refused", "{verdict:?}");
    }
}

#[tokio::test]
async fn answers_of_discovery_have_their_verdicts() {
    let gone = || graphql(&json!({"environment": null}), &["not found"]);
    let table: [(Script, Script, &str); 10] = [
        (|| graphql(&Value::Null, &["Forbidden"]), discovered, "refused"),
        (|| graphql(&json!({"environment": {}}), &["partly"]), discovered, "refused"),
        (|| graphql(&json!({"environment": null}), &[]), discovered, "refused"),
        (gone, gone, "inconclusive"),
        (invalid_token, discovered, "refused"),
        (invalid_token, gone, "refused"),
        (invalid_token, invalid_token, "inconclusive"),
        (|| refusal(403, "Forbidden"), discovered, "refused"),
        (|| Reply::Json(400, json!({"errors": [{"message": "no such field"}]})), discovered, "inconclusive"),
        (|| Reply::Text(200, HTML), discovered, "inconclusive"),
    ];
    for (place, (of_new, of_own, expected)) in table.into_iter().enumerate() {
        let (verdict, _) = verdict(DISCOVERY, of_new, of_own).await;
        assert_eq!(word(&verdict), expected, "{place}: {verdict:?}");
    }
}

#[tokio::test]
async fn answers_of_the_semantic_layer_have_their_verdicts() {
    let unauthorized = || graphql(&Value::Null, &["User is not authorized"]);
    let table: [(Script, Script, &str); 6] = [
        (unauthorized, unauthorized, "refused"),
        (unauthorized, || graphql(&Value::Null, &["internal error"]), "refused"),
        (unauthorized, || Reply::Text(502, HTML), "inconclusive"),
        (|| graphql(&Value::Null, &["warehouse is asleep"]), unauthorized, "inconclusive"),
        (invalid_token, unauthorized, "refused"),
        (invalid_token, invalid_token, "inconclusive"),
    ];
    for (place, (of_new, of_own, expected)) in table.into_iter().enumerate() {
        let (verdict, _) = verdict(SEMANTIC_LAYER, of_new, of_own).await;
        assert_eq!(word(&verdict), expected, "{place}: {verdict:?}");
    }
}

#[tokio::test]
async fn an_unknown_address_is_inconclusive_and_says_what_to_set() {
    let server = Server::start(|_| account()).await;
    let connection = Connection { discovery_url: None, semantic_layer_url: None, ..connection(&server.url()) };
    let client = DbtCloud::connect(&connection, &token(OWN), surroundings(timing())).expect("valid");
    for (probe, field) in [(DISCOVERY, "endpoints.discovery"), (SEMANTIC_LAYER, "endpoints.semanticLayer")] {
        let Verdict::Inconclusive { detail } = client.verify(probe, &token(NEW)).await else { panic!("a verdict") };
        assert!(detail.contains(field), "{detail}");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_string_that_no_header_can_carry_is_refused_unsent() {
    let server = Server::start(|_| account()).await;
    for bad in ["", "line\r\nbreak", "é"] {
        assert_eq!(word(&client(&server).verify(Probe::Accounts, &token(bad)).await), "refused");
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_verdict_never_shows_the_token() {
    let (verdict, _) = verdict(DISCOVERY, || graphql(&Value::Null, &[&format!("{NEW} may not")]), discovered).await;
    assert_eq!(word(&verdict), "refused");
    assert!(!format!("{verdict:?}").contains("newnew"), "{verdict:?}");
}
