//! Point 13: everything that may go wrong, and what is true afterwards.

use dbt_cloud_emulator::{Fault, FaultHandle, Lost, RateLimit, Rule, SeedToken};
use serde_json::{Value, json};

use crate::support::{LIMIT, Reply, World};

const TOKENS: &str = "service-tokens/";

/// Creates a token called `name`; the connection may break.
async fn create(world: &World, name: &str) -> Result<Reply, String> {
    let authorization = format!("Token {}", world.dbt.admin_token());
    let extra = crate::support::Extra { authorization: Some(&authorization), host: None };
    let body = json!({ "name": name });
    world.try_call("POST", &world.v3(TOKENS), Some(&body), extra).await
}

fn exists(world: &World, name: &str) -> bool {
    world.dbt.tokens().iter().any(|token| token.name == name)
}

fn applied(world: &World, handle: FaultHandle) -> u64 {
    world.dbt.faults().iter().find(|state| state.handle == handle).map_or(0, |state| state.applied)
}

fn waiting(world: &dbt_cloud_emulator::Emulator) -> u64 {
    world.faults().iter().map(|state| state.waiting).sum()
}

#[tokio::test]
async fn errors_before_and_after_the_effect() {
    let world = World::start().await;
    world.dbt.add_fault(Rule::new(Fault::ErrorBefore { status: 500 }).on("POST", TOKENS).times(1));
    world.dbt.add_fault(Rule::new(Fault::ErrorAfter { status: 503 }).on("POST", TOKENS).times(1));
    world.dbt.add_fault(Rule::new(Fault::Html { status: 502 }).on("POST", TOKENS).times(1));
    let first = create(&world, "first").await.expect("an answer");
    assert_eq!((first.status, exists(&world, "first")), (500, false));
    assert_eq!(first.json()["status"]["code"], 500);
    let second = create(&world, "second").await.expect("an answer");
    assert_eq!((second.status, exists(&world, "second")), (503, true));
    let third = create(&world, "third").await.expect("an answer");
    assert_eq!((third.status, exists(&world, "third")), (502, false));
    assert_eq!(third.headers["content-type"], "text/html");
    assert_eq!(create(&world, "fourth").await.expect("an answer").status, 200);
    let faults: Vec<_> = world.dbt.log().into_iter().map(|entry| entry.fault).collect();
    assert_eq!(faults, [Some("error_before"), Some("error_after"), Some("html"), None].map(|name| name.map(str::to_owned)));
}

#[tokio::test]
async fn connections_drop_before_and_after_the_effect() {
    let world = World::start().await;
    world.dbt.add_fault(Rule::new(Fault::DropBefore).on("POST", TOKENS).nth(1));
    world.dbt.add_fault(Rule::new(Fault::DropAfter).on("POST", TOKENS).nth(1));
    assert!(create(&world, "before").await.is_err());
    assert!(create(&world, "after").await.is_err());
    assert!(!exists(&world, "before") && exists(&world, "after"));
    assert_eq!(world.dbt.log()[1].status, None);
}

#[tokio::test]
async fn a_hanging_call_is_served_on_release() {
    let world = World::start().await;
    let rule = Rule::new(Fault::HangBefore { ms: None }).on("POST", TOKENS);
    let handle = world.dbt.add_fault(rule);
    let meddle = async {
        assert!(world.dbt.wait_until(LIMIT, |dbt| waiting(dbt) == 1).await);
        assert!(!exists(&world, "held"));
        world.dbt.release(handle);
    };
    let (reply, ()) = tokio::join!(create(&world, "held"), meddle);
    assert_eq!((reply.expect("an answer").status, exists(&world, "held")), (200, true));
    assert_eq!(create(&world, "free").await.expect("an answer").status, 200, "a released rule is over");
}

#[tokio::test]
async fn a_client_may_give_up_while_the_effect_has_happened() {
    let world = World::start().await;
    world.dbt.add_fault(Rule::new(Fault::HangAfter { ms: None }).on("POST", TOKENS));
    let gives_up = async {
        tokio::select! {
            reply = create(&world, "slow") => panic!("an answer came: {reply:?}"),
            held = world.dbt.wait_until(LIMIT, |dbt| waiting(dbt) == 1) => assert!(held),
        }
    };
    gives_up.await;
    assert!(exists(&world, "slow"));
    assert!(world.dbt.wait_until(LIMIT, |dbt| waiting(dbt) == 0).await, "the connection is gone");
    let timed = Rule::new(Fault::HangAfter { ms: Some(1) });
    world.dbt.clear_faults();
    world.dbt.add_fault(timed);
    assert_eq!(world.get(&world.v3(TOKENS)).await.status, 200);
}

#[tokio::test]
async fn a_lost_create_lands_late() {
    for (lost, status) in [(Lost::Drop, None), (Lost::GatewayTimeout, Some(504))] {
        let world = World::start().await;
        let fault = Fault::LateEffect { after_ms: None, lost };
        let handle = world.dbt.add_fault(Rule::new(fault).on("POST", TOKENS).times(1));
        let reply = create(&world, "late").await;
        assert_eq!(reply.ok().map(|reply| reply.status), status);
        assert!(!exists(&world, "late"));
        world.dbt.release(handle);
        assert!(world.dbt.wait_until(LIMIT, |dbt| waiting(dbt) == 0).await);
        assert!(exists(&world, "late"));
    }
}

#[tokio::test]
async fn a_late_effect_may_land_by_time_and_after_the_client_gave_up() {
    let world = World::start().await;
    let fault = Fault::LateEffect { after_ms: Some(5), lost: Lost::Hang };
    world.dbt.add_fault(Rule::new(fault).on("POST", TOKENS).times(1));
    let landed = |dbt: &dbt_cloud_emulator::Emulator| dbt.tokens().iter().any(|token| token.name == "late");
    tokio::select! {
        reply = create(&world, "late") => panic!("an answer came: {reply:?}"),
        done = world.dbt.wait_until(LIMIT, landed) => assert!(done),
    }
}

#[tokio::test]
async fn throttling_is_a_fault_or_a_mode() {
    let world = World::start().await;
    let path = world.v3(TOKENS);
    world.dbt.add_fault(Rule::new(Fault::TooManyRequests { retry_after_seconds: Some(7) }).times(1));
    world.dbt.add_fault(Rule::new(Fault::TooManyRequests { retry_after_seconds: None }).times(1));
    let first = world.get(&path).await;
    assert_eq!((first.status, first.header("retry-after")), (429, Some("7")));
    let second = world.get(&path).await;
    assert_eq!((second.status, second.headers.get("retry-after")), (429, None));
    let limit = |cooldown_ms, retry_after| Some(RateLimit { per_minute: 2, cooldown_ms, retry_after });
    world.dbt.set_modes(|modes| modes.rate_limit = limit(300_000, true));
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(world.get(&path).await.status, 200);
    let closed = world.get(&path).await;
    assert_eq!((closed.status, closed.header("retry-after")), (429, Some("300")));
    let graphql = world.graphql(world.dbt.admin_token(), "/graphql", "{ __typename }", json!({})).await;
    assert_eq!(graphql.status, 200, "the GraphQL limit is its own");
    world.dbt.set_modes(|modes| modes.rate_limit = None);
    assert_eq!(world.get(&path).await.status, 200);
}

#[tokio::test]
async fn a_short_401_and_a_restricted_address() {
    let world = World::start().await;
    let path = world.v3(TOKENS);
    world.dbt.add_fault(Rule::new(Fault::Unauthorized).times(1));
    world.dbt.add_fault(Rule::new(Fault::AddressDenied).times(1));
    let first = world.get(&path).await;
    assert_eq!((first.status, first.message().as_str()), (401, "Invalid token."));
    let denied = world.get(&path).await;
    assert_eq!((denied.status, denied.message().as_str()), (403, "Forbidden: Access denied"));
    let data = denied.data();
    assert_eq!((&data["account_access_denied"], &data["is_service_token"]), (&json!(true), &json!(true)));
    world.dbt.set_modes(|modes| modes.ip_restricted = true);
    assert_eq!(world.get(&path).await.json(), denied.json());
    world.dbt.set_modes(|modes| modes.account_locked = true);
    let locked = world.get(&path).await;
    assert_eq!(locked.status, 401);
    assert!(locked.message().contains("unpaid"));
}

#[tokio::test]
async fn lists_lie_in_many_ways() {
    let world = World::start().await;
    let path = world.v3(TOKENS);
    let before = world.get(&path).await.ids();
    let rules = [Fault::StaleList, Fault::EmptyList, Fault::DuplicateIds];
    for fault in rules {
        world.dbt.add_fault(Rule::new(fault).on("GET", TOKENS).times(1));
    }
    world.create(json!({ "name": "new" })).await;
    assert_eq!(world.get(&path).await.ids(), before, "stale");
    let empty = world.get(&path).await;
    assert_eq!(empty.json()["extra"]["pagination"], json!({ "count": 0, "total_count": 0 }));
    let twice = world.get(&path).await.ids();
    assert_eq!(twice.len(), 2 * (before.len() + 1));
    assert_eq!(world.get(&path).await.ids().len(), before.len() + 1);
}

#[tokio::test]
async fn a_created_token_is_called_another_one() {
    let world = World::start().await;
    let fault = Fault::OtherToken { id: 7, uid: Some("another".to_owned()) };
    world.dbt.add_fault(Rule::new(fault).on("POST", TOKENS).times(1));
    let before = world.dbt.tokens().len();
    let told = world.create(json!({ "name": "new" })).await;
    assert_eq!((&told["id"], &told["uid"]), (&json!(7), &json!("another")));
    let made = world.dbt.tokens();
    assert_eq!(made.len(), before + 1);
    assert!(made.iter().all(|token| token.id.0 != 7 && token.uid != "another"));
}

#[tokio::test]
async fn bodies_break_in_many_ways() {
    let world = World::start().await;
    let path = world.v3(TOKENS);
    let whole = world.get(&path).await.body;
    let faults = [
        Fault::SlowBody { chunk_bytes: 400, pause_ms: 1 },
        Fault::HugeBody { bytes: 300_000 },
        Fault::InvalidUtf8,
        Fault::Truncated,
        Fault::Redirect { location: "https://elsewhere.invalid/".to_owned() },
    ];
    for fault in faults {
        world.dbt.add_fault(Rule::new(fault).times(1));
    }
    assert_eq!(world.get(&path).await.body.len(), whole.len(), "slow but whole");
    let huge = world.get(&path).await;
    assert!(huge.body.len() > 300_000 && huge.json()["data"].is_string());
    let broken = world.get(&path).await.body;
    assert!(String::from_utf8(broken.clone()).is_err());
    assert!(serde_json::from_slice::<Value>(&broken).is_err());
    let cut = world.get(&path).await.body;
    assert!(String::from_utf8(cut.clone()).is_ok() && serde_json::from_slice::<Value>(&cut).is_err());
    let redirect = world.get(&path).await;
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("https://elsewhere.invalid/")));
}

#[tokio::test]
async fn rules_count_choose_and_repeat() {
    let world = World::start().await;
    let path = world.v3(TOKENS);
    let other = world.dbt.add_token(SeedToken::new("other", &[]));
    let by_other = Rule::new(Fault::Html { status: 503 }).by(other.id);
    world.dbt.add_fault(by_other);
    let skipped = Rule::new(Fault::ErrorBefore { status: 500 }).on("GET", TOKENS).skip(1).times(1);
    let handle = world.dbt.add_fault(skipped);
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(world.get(&path).await.status, 500);
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(applied(&world, handle), 1);
    assert_eq!(world.call_as(&other.string, "GET", &path, None).await.status, 503);
    let mut runs = Vec::new();
    for _ in 0..2 {
        world.dbt.clear_faults();
        world.dbt.add_fault(Rule::new(Fault::ErrorBefore { status: 500 }).with_probability(0.5, 42));
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(world.get(&path).await.status);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1], "the same seed gives the same choices");
    assert!(runs[0].contains(&200) && runs[0].contains(&500));
}
