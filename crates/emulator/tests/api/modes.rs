//! The switches that hold for all calls, and the seed that sets them.

use std::time::Duration;

use dbt_cloud_emulator::{GrantChange, ListPaging, Match, Seed};
use serde_json::json;

use crate::support::World;

const TOKENS: &str = "service-tokens/";

#[tokio::test]
async fn paging_may_be_ignored() {
    let world = World::start().await;
    let path = world.v3("service-tokens/?limit=2&offset=2");
    let honoured = world.get(&path).await.ids();
    world.dbt.set_modes(|modes| modes.list_paging = ListPaging::FirstPage);
    let first = world.get(&path).await;
    assert_eq!(first.ids().len(), 2);
    assert_ne!(first.ids(), honoured);
    assert_eq!(first.json()["extra"]["pagination"]["total_count"], 4);
    world.dbt.set_modes(|modes| modes.list_paging = ListPaging::Everything);
    assert_eq!(world.get(&path).await.ids().len(), 4);
    world.dbt.set_modes(|modes| modes.list_honours_state = false);
    assert_eq!(world.get(&world.v3("service-tokens/?state=1")).await.ids().len(), 4);
}

#[tokio::test]
async fn create_may_ignore_or_alter_grants() {
    let world = World::start().await;
    let grants = json!([
        { "permission_set": "developer", "project_id": 700, "writable_environment_categories": ["staging"] },
        { "permission_set": "readonly", "project_id": 701, "writable_environment_categories": [] },
    ]);
    let body = json!({ "name": "t", "permission_grants": grants });
    assert_eq!(world.create(body.clone()).await["permission_grants"], grants);
    for change in [
        GrantChange::WidenProjects,
        GrantChange::DropWriteCategories,
        GrantChange::DropLast,
        GrantChange::ReplaceSet("account_admin".to_owned()),
    ] {
        world.dbt.set_modes(|modes| modes.create_alters_grants = Some(change.clone()));
        let created = world.create(body.clone()).await;
        assert_ne!(created["permission_grants"], grants, "{change:?}");
        let shown = world.get(&world.v3(&format!("service-tokens/{}/", created["id"]))).await.data();
        assert_eq!(shown["permission_grants"], created["permission_grants"], "{change:?}");
    }
    world.dbt.set_modes(|modes| {
        modes.create_alters_grants = None;
        modes.create_ignores_grants = true;
    });
    let created = world.create(body).await;
    assert_eq!(created["permission_grants"], json!([]));
    let row = json!([{
        "account_id": world.dbt.account_id(),
        "service_token_id": created["id"],
        "permission_set": "readonly",
        "all_projects": false,
        "project_id": 701,
    }]);
    let path = world.v3(&format!("service-tokens/{}/permissions/", created["id"]));
    assert_eq!(world.call("POST", &path, Some(&row)).await.status, 200, "the second call is needed");
}

#[tokio::test]
async fn a_new_token_may_need_time_and_a_deleted_one_may_linger() {
    let world = World::start().await;
    world.dbt.set_modes(|modes| modes.new_token_delay_ms = 3_600_000);
    let early = world.create(json!({ "name": "early" })).await;
    let string = early["token_string"].as_str().expect("a string");
    assert_eq!(world.call_as(string, "GET", "/api/v2/accounts/", None).await.status, 401);
    assert_eq!(world.dbt.authenticates(string), None);
    world.dbt.set_modes(|modes| {
        modes.new_token_delay_ms = 0;
        modes.deleted_token_grace_ms = 3_600_000;
    });
    let lingering = world.create(json!({ "name": "lingering" })).await;
    let path = world.v3(&format!("service-tokens/{}/", lingering["id"]));
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    let string = lingering["token_string"].as_str().expect("a string");
    assert_eq!(world.call_as(string, "GET", "/api/v2/accounts/", None).await.status, 200);
    assert_eq!(world.get(&path).await.data()["state"], 2);
}

#[tokio::test]
async fn latency_is_added_to_each_call() {
    let world = World::start().await;
    world.dbt.set_modes(|modes| modes.latency_ms = 30);
    let start = std::time::Instant::now();
    world.get(&world.v3(TOKENS)).await;
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_seed_brings_modes_and_faults() {
    let text = "
account: { id: 9, name: Small, plan: starter_2025 }
modes: { deleted_get: not_found, rate_limit: { per_minute: 5 } }
faults:
  - match: { method: GET, path: '/api/v2/accounts/', times: 1 }
    fault: { kind: late_effect, after_ms: 1, lost: gateway_timeout }
";
    let seed = Seed::from_yaml(text).expect("the seed is valid");
    let expected =
        Match { method: Some("GET".to_owned()), path: Some("/api/v2/accounts/".to_owned()), times: Some(1), ..Match::default() };
    assert_eq!(seed.faults[0].matching, expected);
    let world = World::with(seed).await;
    assert_eq!(world.dbt.account_id(), 9);
    assert_eq!(world.get("/api/v2/accounts/").await.status, 504);
    assert_eq!(world.get("/api/v2/accounts/").await.data()[0]["plan"], "starter_2025");
    assert!(Seed::from_yaml("modes: { no_such_mode: 1 }").is_err());
}
