//! The account as a whole, against a dbt and an API server in memory.

mod dbt;
mod orphans;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dbt_token_planner::effect::Need;
use dbt_token_planner::identity::{AccountId, ProjectId, TokenId};
use dbt_token_planner::observation::{Account, Allowance, OpenAccount, Project, Token};
use jiff::SignedDuration;
use serde_json::{Value, json};

use self::dbt::{marked, own_string, own_token, owner};
use self::world::World;
use super::grants::Labels;
use super::handle::Wants;
use super::{Affected, Change, lock};
use crate::api::names::CONFIRM;
use crate::backend::ErrorClass;

fn nothing() -> Value {
    json!({})
}

fn view(world: &World, uid: &str, named: &[i64]) -> Account {
    let named: BTreeSet<TokenId> = named.iter().copied().map(TokenId).collect();
    world.accounts.get("analytics").expect("a handle").view(&owner(uid), &Labels::new(), &named)
}

fn open(world: &World, uid: &str, named: &[i64]) -> Box<OpenAccount> {
    match view(world, uid, named) {
        Account::Ready(account) => account,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_is_connected_and_bound_step_by_step() {
    let world = World::settled(nothing()).await;
    assert_eq!(world.ready(), "True Connected");
    assert_eq!(world.dbt.calls(), "account, list");
    assert_eq!(world.cluster.calls(), "secret dbt-admin, finalizer, status, status");
    let status = world.cluster.status();
    assert_eq!(status.installation.as_deref(), Some("ours"));
    assert_eq!(status.credential.and_then(|credential| credential.token_id), Some(9));
    assert_eq!(status.tokens.and_then(|tokens| tokens.active), Some(1));
    let effective = status.effective.expect("values");
    assert_eq!(effective.discovery_url.as_deref(), Some("https://ab123.metadata.us1.dbt.com/graphql"));
}

#[tokio::test]
async fn at_rest_one_list_an_interval_is_all_that_happens() {
    let world = World::settled(nothing()).await;
    world.forget_calls();
    assert_eq!(world.settle().await, Some(600));
    world.pass(300);
    assert_eq!(world.settle().await, Some(300));
    assert_eq!((world.dbt.calls(), world.cluster.calls()), (String::new(), String::new()));
    world.pass(300);
    assert_eq!(world.settle().await, Some(600));
    assert_eq!((world.dbt.calls().as_str(), world.cluster.calls()), ("list", String::new()));
}

#[tokio::test]
async fn all_who_wait_share_one_list() {
    let world = World::settled(nothing()).await;
    world.forget_calls();
    let handle = world.accounts.get("analytics").expect("a handle");
    world.pass(1);
    let asked = Need::Tokens(world.now());
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let handle = Arc::clone(&handle);
            tokio::spawn(async move { handle.ensure(asked).await })
        })
        .collect();
    for task in waiting {
        task.await.expect("no panic").expect("a list");
    }
    assert_eq!(world.dbt.calls(), "list");
    world.pass(1);
    handle.ensure(Need::Tokens(world.now())).await.expect("a list");
    assert_eq!(world.dbt.calls(), "list, list");
    assert_eq!(world.dbt.lists.1.load(Ordering::SeqCst), 1, "never two at once");
}

#[tokio::test]
async fn a_failed_reading_holds_back_everybody() {
    let world = World::settled(nothing()).await;
    let handle = world.accounts.get("analytics").expect("a handle");
    world.forget_calls();
    world.dbt.fail(Some(ErrorClass::Unavailable));
    world.pass(1);
    let first = handle.ensure(Need::Tokens(world.now())).await.expect_err("a failure");
    assert_eq!(first.retry_at.duration_since(world.now()).as_secs(), 5);
    assert_eq!(handle.ensure(Need::Tokens(world.now())).await, Err(first));
    assert_eq!(world.dbt.calls(), "list");
    assert_eq!(world.settle().await, Some(5));
    assert_eq!(world.ready(), "False Unreachable");
    assert!(matches!(view(&world, "o1", &[]), Account::NotReady { reason, .. } if reason == "Unreachable"));
    world.pass(5);
    assert_eq!(world.settle().await, Some(10));
    world.dbt.fail(None);
    world.pass(10);
    assert_eq!(world.settle().await, Some(600));
    assert_eq!(world.ready(), "True Connected");
    assert_eq!(world.dbt.calls(), "list, list, list, account", "who it is may have changed while it was away");
}

#[tokio::test]
async fn each_class_of_failure_becomes_its_condition() {
    for (class, expected) in [
        (ErrorClass::CredentialRefused, "False CredentialRefused Stalled"),
        (ErrorClass::AccountLocked, "False AccountLocked Stalled"),
        (ErrorClass::IpRefused, "False IPRefused Stalled"),
        (ErrorClass::Denied, "False CredentialInsufficient Stalled"),
        (ErrorClass::Malformed, "False Unreachable"),
    ] {
        let world = World::new();
        world.cluster.put_account(nothing());
        world.cluster.put_credential(&own_string(), "1");
        world.dbt.fail(Some(class));
        assert_eq!(world.settle().await, Some(5));
        assert_eq!(world.ready(), expected);
        assert_eq!(world.dbt.calls(), "account", "a broken connection costs one call a try");
    }
}

#[tokio::test]
async fn a_missing_secret_is_waited_for_and_then_asks_for_a_person() {
    let world = World::new();
    world.cluster.put_account(nothing());
    assert_eq!(world.settle().await, Some(60));
    assert_eq!(world.ready(), "False CredentialNotFound Reconciling");
    world.pass(60);
    assert_eq!(world.settle().await, Some(60));
    world.pass(60);
    world.settle().await;
    assert_eq!(world.ready(), "False CredentialNotFound Stalled");
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    assert_eq!(world.ready(), "True Connected");
}

#[tokio::test]
async fn only_another_credential_makes_another_connection() {
    let world = World::settled(nothing()).await;
    world.forget_calls();
    world.cluster.put_credential(&format!("{}\n", own_string()), "2");
    world.settle().await;
    assert_eq!((world.cluster.calls().as_str(), world.dbt.calls()), ("secret dbt-admin", String::new()));
    assert_eq!(world.dbt.connections.load(Ordering::SeqCst), 1);
    let other = format!("dbtc_another{}", "y".repeat(43));
    world.cluster.put_credential(&other, "3");
    world.settle().await;
    assert_eq!(world.dbt.connections.load(Ordering::SeqCst), 2);
    assert_eq!(world.ready(), "False AccountMismatch Reconciling", "its token is not in the list");
    world
        .cluster
        .change_account(|object| object.spec.limits = Some(serde_json::from_value(json!({"mintsPerHour": 5})).expect("")));
    world.settle().await;
    assert_eq!(world.dbt.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn another_account_that_answers_is_told_by_its_id() {
    let world = World::new();
    *lock(&world.dbt.other_account) = Some(AccountId(71));
    world.cluster.put_account(nothing());
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    assert_eq!(world.ready(), "False AccountMismatch Stalled");
    let ready = world.cluster.status().conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("Ready");
    assert_eq!(ready.message, "the credential belongs to account 71; compare accountId with it");
}

#[tokio::test]
async fn a_service_token_sees_its_own_tokens_and_those_that_it_names() {
    let world = World::new();
    for token in [marked(1, "o1", 1), marked(2, "o1", 2), marked(3, "o2", 1), marked(4, "o3", 1)] {
        world.dbt.put(token);
    }
    for uid in ["o1", "o2", "o3"] {
        world.cluster.put_token(uid, None);
    }
    world.cluster.put_account(nothing());
    world.cluster.put_credential(&own_string(), "1");
    assert!(matches!(view(&world, "o1", &[]), Account::NotReady { reason, .. } if reason == "Progressing"));
    world.settle().await;
    let account = open(&world, "o1", &[3, 77]);
    let tokens: Vec<i64> = account.tokens.value().expect("read").keys().map(|id| id.0).collect();
    assert_eq!(tokens, [1, 2, 3]);
    let handle = world.accounts.get("analytics").expect("a handle");
    handle.ensure(Need::Token(TokenId(77))).await.expect("read");
    assert_eq!(open(&world, "o1", &[3, 77]).gone.keys().collect::<Vec<_>>(), [&TokenId(77)]);
    assert!(world.accounts.get("another").is_none());
}

#[tokio::test]
async fn a_token_that_only_a_single_read_shows_is_there() {
    let world = World::settled(nothing()).await;
    world.dbt.put(marked(5, "o1", 1));
    world.pass(1);
    let handle = world.accounts.get("analytics").expect("a handle");
    handle.ensure(Need::Token(TokenId(5))).await.expect("read");
    let account = open(&world, "o1", &[5]);
    assert!(account.tokens.value().expect("read").contains_key(&TokenId(5)) && account.gone.is_empty());
}

#[tokio::test]
async fn grants_by_name_wait_for_the_projects_and_report_what_is_unresolved() {
    let grant = json!({
        "namespaces": ["finance"],
        "permissionSets": ["*"],
        "projects": [{"name": "Finance"}, {"name": "Shop"}],
        "maxTokens": 1,
    });
    let world = World::new();
    *lock(&world.dbt.projects) = vec![Project { id: ProjectId(812), name: "Finance".to_owned() }];
    world.cluster.put_account(json!({"grants": [grant]}));
    world.cluster.put_credential(&own_string(), "1");
    for uid in ["o1", "o2"] {
        world.cluster.put_token(uid, None);
    }
    world.settle().await;
    assert_eq!(world.dbt.calls(), "account, list, projects");
    assert_eq!(world.cluster.status().unresolved_projects, ["Shop"]);
    let account = open(&world, "o2", &[]);
    assert_eq!(account.grants.len(), 1);
    assert_eq!(account.crowded_out.map(|limit| (limit.scope, limit.count)), Some(("namespace finance".to_owned(), 2)));
    assert_eq!(open(&world, "o1", &[]).crowded_out, None);
    world.forget_calls();
    world.pass(600);
    world.settle().await;
    assert_eq!(world.dbt.calls(), "list, projects");
}

#[tokio::test]
async fn the_budget_counts_what_dbt_lists_and_what_was_just_made() {
    let world = World::new();
    world.dbt.put(Token { created_at: Some(world.now()), ..marked(1, "o1", 1) });
    world.cluster.put_token("o1", None);
    world.cluster.put_account(json!({"limits": {"mintsPerHour": 3}}));
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    let handle = world.accounts.get("analytics").expect("a handle");
    assert_eq!(open(&world, "o1", &[]).budget.ordinary, Allowance::Free);
    world.pass(1);
    handle.note_waiting(&owner("o1"), Wants::Token);
    handle.note_created(&owner("o1"), world.now());
    let budget = open(&world, "o1", &[]).budget;
    assert!(matches!(budget.ordinary, Allowance::UsedUp { limit: 3, .. }), "{budget:?}");
    assert_eq!(budget.repair, Allowance::Free);
    assert_eq!(handle.figures().made_last_hour, 2);
    world.pass(3600);
    assert_eq!(open(&world, "o1", &[]).budget.ordinary, Allowance::Free);
}

#[tokio::test]
async fn the_budget_counts_a_token_that_was_revoked_since_and_that_dbt_shows_no_more() {
    let world = World::new();
    world.cluster.put_token("o1", None);
    world.cluster.put_account(json!({"limits": {"mintsPerHour": 1}}));
    world.cluster.put_credential(&own_string(), "1");
    world.dbt.put(Token { created_at: Some(world.now()), ..marked(1, "o1", 1) });
    world.settle().await;
    lock(&world.dbt.tokens).remove(&TokenId(1));
    world.pass(600);
    world.settle().await;
    let budget = open(&world, "o1", &[]).budget;
    assert!(matches!(budget.ordinary, Allowance::UsedUp { limit: 1, .. }), "{budget:?}");
    world.pass(3600);
    world.settle().await;
    assert_eq!(open(&world, "o1", &[]).budget.ordinary, Allowance::Free);
}

#[tokio::test]
async fn many_vanished_tokens_stop_everything_with_the_very_list_that_shows_it() {
    let world = World::new();
    for id in 1..=4 {
        world.dbt.put(marked(id, &format!("o{id}"), 1));
        world.cluster.put_token(&format!("o{id}"), Some(id));
    }
    world.cluster.put_account(nothing());
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    assert_eq!(world.ready(), "True Connected");
    lock(&world.dbt.tokens).retain(|id, _| id.0 == 9 || id.0 == 4);
    world.pass(1);
    let handle = world.accounts.get("analytics").expect("a handle");
    handle.ensure(Need::Tokens(world.now())).await.expect("a list");
    assert!(matches!(view(&world, "o1", &[1]), Account::NotReady { reason, .. } if reason == "TokensVanished"));
    world.settle().await;
    assert_eq!(world.ready(), "False TokensVanished Stalled");
    let confirm = |object: &mut crate::api::v1alpha1::DbtAccount| {
        object.metadata.annotations = Some([(CONFIRM.to_owned(), "vanished-3-3".to_owned())].into());
    };
    world.cluster.change_account(confirm);
    world.settle().await;
    assert_eq!(world.ready(), "True Connected");
}

#[tokio::test]
async fn deletion_waits_for_the_service_tokens() {
    let world = World::settled(nothing()).await;
    world.cluster.put_token("o1", None);
    world.cluster.change_account(|object| object.metadata.deletion_timestamp = object.metadata.creation_timestamp.clone());
    world.settle().await;
    assert_eq!(world.ready(), "False InUse");
    assert!(open(&world, "o1", &[]).suspended, "what it has can be revoked, nothing is made");
    world.cluster.remove_token("o1");
    world.settle().await;
    assert!(world.cluster.now().metadata.finalizers.is_none());
}

#[tokio::test]
async fn changes_wake_those_whom_they_concern() {
    let world = World::settled(nothing()).await;
    world.cluster.put_token("o1", None);
    world.settle().await;
    let mut changes = Box::pin(world.accounts.changes());
    let expected = Change { account: "analytics".to_owned(), affected: Affected::Only(vec![owner("o1")]) };
    // A new token, and one of which dbt says something else than before.
    for token in [marked(1, "o1", 1), Token { created_at: Some(world.now()), ..marked(1, "o1", 1) }] {
        world.dbt.put(token);
        world.pass(600);
        world.settle().await;
        let mut told = futures::StreamExt::next(&mut changes).await;
        while told.as_ref().is_some_and(|told| told.as_ref().is_some_and(|told| told.affected == Affected::AccountOnly)) {
            told = futures::StreamExt::next(&mut changes).await;
        }
        assert_eq!(told, Some(Some(expected.clone())));
    }
}

/// dbt need not have renamed what was adopted.
#[tokio::test]
async fn a_change_of_a_token_without_a_mark_wakes_whoever_holds_it() {
    let world = World::settled(nothing()).await;
    let unmarked = |id| Token { mark: None, ..marked(id, "o1", 1) };
    // One is in a slot, the other in the ledger, the third is nobody's.
    world.cluster.put_token("o1", None);
    lock(&world.cluster.slots).push(orphans::slot(&world));
    world.cluster.put_token("o2", Some(2));
    world.cluster.put_token("o3", Some(9));
    world.dbt.put(unmarked(1));
    world.dbt.put(unmarked(2));
    world.dbt.put(unmarked(3));
    world.pass(600);
    world.settle().await;
    let mut changes = Box::pin(world.accounts.changes());
    for id in 1..=3 {
        world.dbt.put(Token { created_at: Some(world.now()), ..unmarked(id) });
    }
    world.pass(600);
    world.settle().await;
    let mut told = futures::StreamExt::next(&mut changes).await;
    while told.as_ref().is_some_and(|told| told.as_ref().is_some_and(|told| told.affected == Affected::AccountOnly)) {
        told = futures::StreamExt::next(&mut changes).await;
    }
    let affected = Affected::Only(vec![owner("o1"), owner("o2")]);
    assert_eq!(told, Some(Some(Change { account: "analytics".to_owned(), affected })));
}

#[tokio::test]
async fn a_copy_of_the_cluster_touches_nothing() {
    let world = World::new();
    world.dbt.put(Token { created_at: Some(world.now() - SignedDuration::from_hours(99)), ..marked(1, "gone", 1) });
    world.cluster.put_account(nothing());
    world.cluster.change_account(|object| {
        object.status = Some(serde_json::from_value(json!({"installation": "theirs"})).expect("a status"));
    });
    world.cluster.put_credential(&own_string(), "1");
    world.settle().await;
    assert_eq!((world.ready().as_str(), world.dbt.calls()), ("False OtherInstallation Stalled", String::new()));
}

#[tokio::test]
async fn a_list_without_the_own_credential_is_not_shown_to_anybody() {
    let world = World::settled(nothing()).await;
    lock(&world.dbt.tokens).remove(&own_token().id);
    world.pass(600);
    assert_eq!(world.settle().await, Some(60));
    assert_eq!(world.ready(), "False AccountMismatch Reconciling");
    assert!(matches!(view(&world, "o1", &[]), Account::NotReady { .. }));
    world.pass(120);
    world.settle().await;
    assert_eq!(world.ready(), "False AccountMismatch Stalled");
}

#[tokio::test]
async fn an_address_without_tls_is_refused_in_words() {
    let world = World::settled(json!({"accessUrl": "http://127.0.0.1:8080"})).await;
    assert_eq!(world.ready(), "False InsecureEndpoint Stalled");
    assert!(matches!(view(&world, "o1", &[]), Account::NotReady { reason, .. } if reason == "InsecureEndpoint"));
    world.cluster.change_account(|object| object.spec.access_url = "https://ab123.us1.dbt.com".to_owned());
    world.settle().await;
    assert_eq!(world.ready(), "True Connected");
    assert_eq!(world.cluster.status().installation.as_deref(), Some("ours"));
}

#[tokio::test]
async fn a_credential_that_may_not_create_says_so_until_it_changes() {
    let world = World::settled(nothing()).await;
    let handle = world.accounts.get("analytics").expect("a handle");
    assert!(handle.is_own_credential(TokenId(9)) && !handle.is_own_credential(TokenId(1)));
    handle.note_create_refused("words", world.now());
    assert!(matches!(view(&world, "o1", &[]), Account::NotReady { reason, .. } if reason == "CredentialInsufficient"));
    world.settle().await;
    assert_eq!(world.ready(), "False CredentialInsufficient Stalled");
    world.pass(600);
    world.settle().await;
    assert_eq!(world.ready(), "True Connected", "it is tried again after an interval");
}

/// The controller needs futures that may move between threads.
#[test]
fn a_look_can_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    let world = World::new();
    moves(&world.accounts.reconcile("analytics"));
}
