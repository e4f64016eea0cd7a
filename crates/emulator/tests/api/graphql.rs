//! The probes of section 5 on the two GraphQL hosts.

use dbt_cloud_emulator::{DiscoveryRefusal, Grant, Refusal, SeedToken};
use serde_json::{Value, json};

use crate::support::{Extra, World};

const DISCOVERY: &str = "query Probe($environmentId: BigInt!) { environment(id: $environmentId) { dbtProjectName adapterType } }";
const SEMANTIC_LAYER: &str =
    "query Probe($environmentId: BigInt!) { environmentInfo(environmentId: $environmentId) { dialect } }";

fn environment(id: i64) -> Value {
    json!({ "environmentId": id })
}

#[tokio::test]
async fn discovery_answers_those_who_may_read_the_project() {
    let world = World::start().await;
    let metadata = world.dbt.add_token(SeedToken::new("m", &[Grant::new("metadata_only").in_project(700)]));
    let reply = world.graphql(&metadata.string, "/graphql", DISCOVERY, environment(218_762)).await;
    let expected = json!({ "data": { "environment": { "dbtProjectName": "finance", "adapterType": "postgres" } } });
    assert_eq!((reply.status, reply.json()), (200, expected));
    for other in [218_770, 1] {
        let reply = world.graphql(&metadata.string, "/graphql", DISCOVERY, environment(other)).await;
        assert_eq!(reply.status, 200);
        assert!(reply.json()["errors"][0]["message"].is_string());
    }
    let runner = world.dbt.add_token(SeedToken::new("r", &[Grant::new("job_runner")]));
    let refused = world.graphql(&runner.string, "/graphql", DISCOVERY, environment(218_762)).await;
    assert!(refused.json()["errors"].is_array());
    world.dbt.set_modes(|modes| modes.discovery_refusal = DiscoveryRefusal::Forbidden);
    let refused = world.graphql(&runner.string, "/graphql", DISCOVERY, environment(218_762)).await;
    assert_eq!(refused.status, 403);
    let unknown = world.graphql("dbtc_unknown", "/graphql", DISCOVERY, environment(218_762)).await;
    assert_eq!(unknown.status, 401);
    let nonsense = world.graphql(&metadata.string, "/graphql", "{ nowhere }", json!({})).await;
    assert_eq!(nonsense.status, 400);
}

#[tokio::test]
async fn the_semantic_layer_has_one_refusal_for_everything() {
    let world = World::start().await;
    let good = world.dbt.add_token(SeedToken::new("s", &[Grant::new("semantic_layer_only").in_project(700)]));
    let metadata = world.dbt.add_token(SeedToken::new("m", &[Grant::new("metadata_only")]));
    let reply = world.graphql(&good.string, "/api/graphql", SEMANTIC_LAYER, environment(218_762)).await;
    assert_eq!(reply.json(), json!({ "data": { "environmentInfo": { "dialect": "POSTGRES" } } }));
    let refusals = [
        (good.string.as_str(), 218_763, "nothing was deployed there"),
        (good.string.as_str(), 218_770, "another project"),
        (metadata.string.as_str(), 218_762, "another permission set"),
        ("dbtc_unknown", 218_762, "an unknown token"),
    ];
    for (token, id, why) in refusals {
        let reply = world.graphql(token, "/api/graphql", SEMANTIC_LAYER, environment(id)).await;
        assert_eq!(reply.json()["errors"][0]["message"], "User is not authorized", "{why}");
    }
    let body = json!({ "query": SEMANTIC_LAYER, "variables": environment(218_762) });
    let authorization = format!("Token {}", good.string);
    let extra = Extra { authorization: Some(&authorization), host: None };
    let reply = world.try_call("POST", "/api/graphql", Some(&body), extra).await.expect("an answer");
    assert!(reply.json()["errors"].is_array(), "Bearer is the documented scheme");
}

#[tokio::test]
async fn real_queries_need_a_linked_credential() {
    let world = World::start().await;
    let token = world.dbt.add_token(SeedToken::new("s", &[Grant::new("semantic_layer_only")]));
    let query = "mutation { createQuery(environmentId: 218762, metrics: [{name: \"revenue\"}]) { queryId } }";
    let refused = world.graphql(&token.string, "/api/graphql", query, Value::Null).await;
    let message = refused.json()["errors"][0]["message"].to_string();
    assert!(message.contains("warehouse credentials"), "{message}");
    let path = world.v3("semantic-layer-credential-to-service-token-mapping/");
    let link = json!({
        "id": null,
        "account_id": world.dbt.account_id(),
        "project_id": 700,
        "semantic_layer_credentials_id": 5001,
        "service_token_id": token.id,
        "state": 1,
    });
    let linked = world.call("POST", &path, Some(&link)).await;
    assert_eq!(linked.status, 200);
    let answered = world.graphql(&token.string, "/api/graphql", query, Value::Null).await;
    assert!(answered.json()["data"]["createQuery"]["queryId"].is_string());
    assert_eq!(world.call("POST", &path, Some(&link)).await.status, 400, "one credential per project");
    let shown = world.get(&world.v3("semantic-layer-credentials/?project_id=700")).await;
    let names: Vec<String> =
        shown.data()[0]["service_tokens"].as_array().expect("an array").iter().map(|linked| linked["name"].to_string()).collect();
    assert_eq!(names, ["\"Dashboards\"", "\"s\""]);
    let id = linked.data()["id"].clone();
    assert_eq!(world.get(&format!("{path}?project_id=700")).await.ids().len(), 2);
    assert_eq!(world.call("DELETE", &format!("{path}{id}/"), None).await.status, 204);
    assert_eq!(world.get(&format!("{path}?project_id=700")).await.ids(), [6001]);
    world.dbt.set_modes(|modes| modes.semantic_layer_credentials_hidden = true);
    assert_eq!(world.get(&path).await.status, 404);
}

#[tokio::test]
async fn hosts_are_told_apart_by_their_labels() {
    let world = World::start().await;
    let authorization = format!("Bearer {}", world.dbt.admin_token());
    let body = json!({ "query": DISCOVERY, "variables": environment(218_762) });
    for (host, path, status) in [
        ("metadata.localhost", "/graphql", 200),
        ("ab1.metadata.us1.localhost", "/graphql", 200),
        ("ab1.semantic-layer.us1.localhost", "/graphql", 404),
        ("semantic-layer.localhost", "/api/graphql", 200),
        ("metadata.localhost", "/api/v3/accounts/", 404),
    ] {
        let extra = Extra { authorization: Some(&authorization), host: Some(host) };
        let reply = world.try_call("POST", path, Some(&body), extra).await.expect("an answer");
        assert_eq!(reply.status, status, "{host}{path}");
    }
}

#[tokio::test]
async fn graphql_tokens_are_strangers_to_the_admin_api() {
    let world = World::start().await;
    let sets = [Grant::new("metadata_only"), Grant::new("semantic_layer_only")];
    let token = world.dbt.add_token(SeedToken::new("g", &sets));
    for (refusal, status) in [(Refusal::NotFound, 404), (Refusal::Unauthorized, 401), (Refusal::Forbidden, 403)] {
        world.dbt.set_modes(|modes| modes.graphql_token_on_admin = refusal);
        let reply = world.call_as(&token.string, "GET", "/api/v2/accounts/", None).await;
        assert_eq!(reply.status, status);
    }
}

/// The request text of dbt-sl-sdk 0.13: fragments, variables, a lower-case scheme word.
#[tokio::test]
async fn the_shapes_of_the_published_semantic_layer_client_work() {
    let world = World::start().await;
    let token = world.dbt.add_token(SeedToken::new("s", &[Grant::new("semantic_layer_only")]));
    let query = "query getMetrics($environmentId: BigInt!) { metrics(environmentId: $environmentId) { ...fragmentMetric } } \
                 fragment fragmentMetric on Metric { name description type label requiresMetricTime queryableGranularities }";
    let authorization = format!("bearer {}", token.string);
    let extra = Extra { authorization: Some(&authorization), host: None };
    let body = json!({ "query": query, "variables": environment(218_762) });
    let reply = world.try_call("POST", "/api/graphql", Some(&body), extra).await.expect("an answer");
    let names: Vec<Value> =
        reply.data()["metrics"].as_array().expect("metrics").iter().map(|metric| metric["name"].clone()).collect();
    assert_eq!(names, ["revenue", "orders"]);
    let paged = "{ metricsPaginated(environmentId: \"218762\", pageNum: 2, pageSize: 1) { items { name } totalPages } }";
    let reply = world.graphql(&token.string, "/api/graphql", paged, Value::Null).await;
    assert_eq!(reply.data()["metricsPaginated"], json!({ "items": [{ "name": "orders" }], "totalPages": 2 }));
}
