//! What the emulator must reproduce, in the order of the checklist: envelopes, credentials, plans, the
//! log and the listeners. Points 4 to 11 are in `token_checklist.rs`.

use serde_json::json;

use dbt_cloud_emulator::{Emulator, Grant, Options, SeedToken, StringFormat};

use crate::support::{Extra, LIMIT, World, get_https};

const NOT_FOUND: &str = "The requested resource was not found. Please check that you have the proper permissions.";

#[tokio::test]
async fn point_1_lists_have_envelopes_pages_and_a_limit() {
    let world = World::start().await;
    let list = world.get(&world.v3("projects/?limit=3&offset=1")).await;
    let body = list.json();
    assert_eq!(list.ids(), [701, 702, 812]);
    assert_eq!(body["status"]["code"], 200);
    assert_eq!(body["status"]["is_success"], true);
    assert_eq!(body["extra"]["pagination"], json!({ "count": 3, "total_count": 4 }));
    assert_eq!(body["extra"]["filters"]["limit"], 3);
    assert_eq!(body["extra"]["filters"]["offset"], 1);
    assert_eq!(body["extra"]["order_by"], "id");
    let refused = world.get(&world.v3("projects/?limit=101")).await;
    assert_eq!((refused.status, refused.json()["status"]["is_success"].clone()), (400, json!(false)));
    let descending = world.get(&world.v3("projects/?order_by=-name")).await;
    assert_eq!(descending.ids(), [702, 812, 701, 700]);
    let found = world.get(&world.v3("projects/?name__icontains=sHOP")).await;
    assert_eq!(found.ids(), [702, 812]);
    let picked = world.get(&world.v3("projects/?pk__in=%5B700,812%5D")).await;
    assert_eq!(picked.ids(), [700, 812]);
}

#[tokio::test]
async fn point_1_pages_hold_a_hundred() {
    let world = World::start().await;
    for number in 0..101 {
        world.dbt.add_token(SeedToken::new(&format!("t{number}"), &[]));
    }
    let first = world.get(&world.v3("service-tokens/")).await;
    assert_eq!(first.json()["extra"]["pagination"], json!({ "count": 100, "total_count": 105 }));
    let second = world.get(&world.v3("service-tokens/?offset=100")).await;
    assert_eq!(second.ids().len(), 5);
    world.dbt.set_modes(|modes| modes.limit_enforced = false);
    let all = world.get(&world.v3("service-tokens/?limit=500")).await;
    assert_eq!(all.ids().len(), 105);
}

#[tokio::test]
async fn point_2_every_bad_credential_gets_the_same_401() {
    let world = World::start().await;
    let admin = world.dbt.admin_token().to_owned();
    let gone = world.create(json!({ "name": "gone" })).await;
    world.dbt.delete_token(dbt_cloud_emulator::TokenId(gone["id"].as_i64().expect("an id")));
    let bad = [
        None,
        Some(admin.clone()),
        Some(format!("Basic {admin}")),
        Some("Token dbtc_unknown".to_owned()),
        Some(format!("Token {}", gone["token_string"].as_str().expect("a string"))),
    ];
    for authorization in bad {
        let extra = Extra { authorization: authorization.as_deref(), host: None };
        let reply = world.try_call("GET", "/api/v2/accounts/", None, extra).await.expect("an answer");
        let expected = json!({
            "status": {
                "code": 401,
                "is_success": false,
                "user_message": "Invalid token.",
                "developer_message": null,
            },
            "data": null,
        });
        assert_eq!((reply.status, reply.json()), (401, expected));
    }
    for scheme in ["Token", "Bearer", "bearer"] {
        let authorization = format!("{scheme} {admin}");
        let extra = Extra { authorization: Some(&authorization), host: None };
        let reply = world.try_call("GET", "/api/v2/accounts/", None, extra).await.expect("an answer");
        assert_eq!(reply.status, 200, "{scheme}");
        assert_eq!(reply.data()[0]["id"], world.dbt.account_id());
    }
}

#[tokio::test]
async fn point_3_grants_decide_and_deletion_ends_a_token() {
    let world = World::start().await;
    let token = world
        .create(json!({
            "name": "jobs of finance",
            "permission_grants": [{ "permission_set": "job_viewer", "project_id": 700 }],
        }))
        .await;
    let string = token["token_string"].as_str().expect("a string");
    let jobs = world.call_as(string, "GET", &world.v2("jobs/?limit=1&project_id=700"), None).await;
    assert_eq!((jobs.status, jobs.ids()), (200, vec![30001]));
    for path in [
        world.v2("jobs/?project_id=701"),
        world.v2(""),
        world.v3("service-tokens/"),
        world.v2("notifications/?limit=1"),
        world.v3("audit-logs/"),
        "/api/v2/accounts/1/".to_owned(),
    ] {
        let reply = world.call_as(string, "GET", &path, None).await;
        assert_eq!((reply.status, reply.message().as_str()), (404, NOT_FOUND), "{path}");
    }
    let all = world.call_as(string, "GET", &world.v2("jobs/"), None).await;
    assert_eq!(all.ids(), [30001]);
    let path = world.v3(&format!("service-tokens/{}/", token["id"]));
    assert_eq!(world.call_as(string, "DELETE", &path, None).await.status, 404);
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    let after = world.call_as(string, "GET", &world.v2("jobs/"), None).await;
    assert_eq!((after.status, after.message().as_str()), (401, "Invalid token."));
}

#[tokio::test]
async fn point_12_ids_are_wide_and_slashes_needed() {
    let world = World::start().await;
    assert!(world.dbt.account_id() > i64::from(u32::MAX));
    let created = world.create(json!({ "name": "wide" })).await;
    assert!(created["id"].as_i64().expect("an id") > i64::from(u32::MAX));
    let before = world.dbt.tokens().len();
    for path in [world.v3("service-tokens"), world.v3("projects"), "/api/v2/accounts".to_owned()] {
        assert_eq!(world.get(&path).await.status, 404, "{path}");
        let posted = world.call("POST", &path, Some(&json!({ "name": "x" }))).await;
        assert_eq!((posted.status, posted.headers.get("location")), (404, None), "{path}");
    }
    assert_eq!(world.dbt.tokens().len(), before);
    assert_eq!(world.get(&world.v3("webhooks/subscriptions?limit=1")).await.status, 200);
    world.dbt.set_modes(|modes| modes.redirects_missing_slash = true);
    let redirected = world.get(&world.v3("service-tokens?state=1")).await;
    assert_eq!(redirected.status, 301);
    assert_eq!(redirected.headers["location"], world.v3("service-tokens/?state=1"));
}

#[tokio::test]
async fn point_14_plans_and_personal_tokens_are_refused() {
    let world = World::on_plan("starter_2025").await;
    let body = |set: &str| json!({ "name": "t", "permission_grants": [{ "permission_set": set }] });
    let path = world.v3("service-tokens/");
    assert_eq!(world.call("POST", &path, Some(&body("job_admin"))).await.status, 400);
    assert_eq!(world.call("POST", &path, Some(&body("semantic_layer_only"))).await.status, 200);
    world.dbt.set_plan("enterprise_2025");
    assert_eq!(world.call("POST", &path, Some(&body("job_admin"))).await.status, 200);
    let personal = world.dbt.add_token(SeedToken::new("me", &[Grant::new("account_admin")]).in_format(StringFormat::Personal));
    assert!(personal.string.starts_with("dbtu_"));
    let listed = world.call_as(&personal.string, "GET", &path, None).await;
    assert!(listed.status == 200 && !listed.ids().contains(&personal.id.0));
    let refused = world.call_as(&personal.string, "POST", &path, Some(&body("job_admin"))).await;
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn point_15_the_log_tells_order_and_no_secret() {
    let world = World::start().await;
    let created = world.create(json!({ "name": "logged" })).await;
    let string = created["token_string"].as_str().expect("a string").to_owned();
    let mark = world.dbt.log().len() as u64;
    world.call_as(&string, "GET", &world.v3(&format!("projects/?q={string}")), None).await;
    world.call_as("dbtc_wrong", "GET", &world.v3("projects/"), None).await;
    let path = world.v3(&format!("service-tokens/{}/", created["id"]));
    world.call("DELETE", &path, None).await;
    let log = world.dbt.log_since(mark);
    let seen: Vec<_> =
        log.iter().map(|entry| (entry.sequence, entry.method.as_str(), entry.token_id.map(|id| id.0), entry.status)).collect();
    let admin = world.dbt.authenticates(world.dbt.admin_token()).map(|id| id.0);
    assert_eq!(
        seen,
        [
            (mark + 1, "GET", created["id"].as_i64(), Some(404)),
            (mark + 2, "GET", None, Some(401)),
            (mark + 3, "DELETE", admin, Some(204)),
        ]
    );
    let everything = format!("{:?}", world.dbt.log());
    for secret in world.dbt.issued_token_strings() {
        assert!(!everything.contains(&secret));
    }
    let counters = world.dbt.counters();
    let creates = counters.iter().find(|counter| counter.method == "POST").expect("a counter");
    assert_eq!(creates.template, "/api/v3/accounts/{id}/service-tokens/");
    assert_eq!(creates.calls, 1);
}

#[tokio::test]
async fn https_is_trusted_through_the_test_ca() {
    let world = World::start().await;
    let token = world.dbt.admin_token();
    for name in ["localhost", "127.0.0.1", "metadata.localhost", "ab1.metadata.us1.localhost"] {
        let reply = get_https(&world.dbt, name, "/api/v2/accounts/", token).await.expect(name);
        let expected = if name.contains("metadata") { 404 } else { 200 };
        assert_eq!(reply.status, expected, "{name}");
    }
    let other = World::start().await;
    let reply = get_https(&other.dbt, "localhost", "/api/v2/accounts/", token).await.expect("an answer");
    assert_eq!(reply.status, 401, "another emulator does not know the token");
    assert!(get_https(&world.dbt, "example.com", "/", token).await.is_err(), "only loopback names");
}

#[tokio::test]
async fn only_loopback_is_served_and_drop_stops() {
    let outside = Options { address: "0.0.0.0".parse().expect("an address"), ..Options::default() };
    assert!(Emulator::start(outside).await.is_err());
    let world = World::start().await;
    let address = world.dbt.http_url().trim_start_matches("http://").to_owned();
    drop(world);
    let closed = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, closed).await.expect("the port closes");
}

#[tokio::test]
async fn two_emulators_do_not_share_state() {
    let (one, other) = tokio::join!(World::start(), World::start());
    one.create(json!({ "name": "only here" })).await;
    assert_eq!(one.dbt.tokens().len(), other.dbt.tokens().len() + 1);
    assert!(other.dbt.log().is_empty());
    assert_ne!(one.dbt.admin_token(), other.dbt.admin_token());
}
