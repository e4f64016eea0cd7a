//! Who may ask for what, whose Secret it is, and the alarms that only a person can end.

use dbt_cloud_emulator::{Grant, SeedToken, TokenId};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, next_second, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_foreign_secret_is_never_touched,
        of_two_objects_that_name_one_secret_the_older_writes_it,
        a_namespace_without_a_grant_is_refused,
        a_grant_follows_the_labels_of_namespaces,
        a_withdrawn_grant_is_reported_and_takes_nothing_away,
        a_namespace_may_have_only_so_many_tokens,
        a_used_up_budget_makes_tokens_wait,
        of_two_accounts_for_one_dbt_the_older_serves,
        many_vanished_tokens_are_replaced_only_when_a_person_says_so,
        an_older_ledger_revokes_nothing_until_a_person_says_so,
        an_older_status_is_written_again_from_what_was_published_since,
    )
}

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

async fn a_foreign_secret_is_never_touched(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ci-dbt", "namespace": scene.namespace},
            "stringData": {"token": "somebody else's"},
        }))
        .await;
    let before = scene.secrets().get("ci-dbt").await.expect("it is there").resource_version();
    scene.apply(&scene.token("ci", runner())).await;
    let stalled = scene.expect("ci", "Stalled", "True", "SecretNotOwned").await;
    assert!(stalled.message.contains("ci-dbt") && stalled.message.contains("last written by it"), "{}", stalled.message);
    assert_eq!(scene.secrets().get("ci-dbt").await.expect("it is there").resource_version(), before);
    assert_eq!(scene.created(), 0, "nothing is made before its place is known");
    // The object goes without it, too.
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.secrets().get("ci-dbt").await.expect("it is there").resource_version(), before);
}

async fn of_two_objects_that_name_one_secret_the_older_writes_it(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let mut second = scene.token("second", runner());
    second["spec"]["secret"]["name"] = json!("ci-dbt");
    next_second().await;
    crate::support::stage::apply(&scene.stage.client(), &second).await;
    let stalled = scene.expect("second", "Stalled", "True", "SecretConflict").await;
    assert!(stalled.message.contains("the older ServiceToken ci already writes Secret ci-dbt"), "{}", stalled.message);
    assert_eq!(scene.created(), 1);
    scene.delete("second").await;
    scene.gone("second").await;
    assert_eq!(scene.published("ci").await, string);
}

async fn a_namespace_without_a_grant_is_refused(scene: &Scene) {
    scene.connect(|spec| spec["grants"][0]["namespaces"] = json!(["elsewhere"])).await;
    scene.apply(&scene.token("ci", runner())).await;
    let stalled = scene.expect("ci", "Stalled", "True", "PolicyRefused").await;
    let wanted =
        format!("no grant of DbtAccount {} allows job_runner on project 700 for namespace {}", scene.account, scene.namespace);
    assert!(stalled.message.contains(&wanted), "{}", stalled.message);
    scene.expect("ci", "Ready", "False", "PolicyRefused").await;
    assert!(scene.event("ci", "PolicyRefused").await.contains(&wanted));
    assert_eq!(scene.created(), 0);
    assert!(scene.data("ci-dbt").await.is_none());
    // A grant that comes later is enough.
    scene.patch_account(json!({"spec": scene.account_manifest()["spec"]})).await;
    scene.published("ci").await;
}

async fn a_grant_follows_the_labels_of_namespaces(scene: &Scene) {
    scene
        .connect(|spec| {
            spec["grants"] = json!([{"namespaceSelector": {"matchLabels": {"team": scene.account}},
                                     "permissionSets": ["*"], "allProjects": true}]);
        })
        .await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.expect("ci", "Stalled", "True", "PolicyRefused").await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(scene.stage.client());
    let label = json!({"metadata": {"labels": {"team": scene.account}}});
    namespaces.patch(&scene.namespace, &PatchParams::default(), &Patch::Merge(&label)).await.expect("it is labelled");
    scene.published("ci").await;
}

async fn a_withdrawn_grant_is_reported_and_takes_nothing_away(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    scene.patch_account(json!({"spec": {"grants": null}})).await;
    let ready = scene.expect("ci", "Ready", "True", "PolicyViolation").await;
    assert!(ready.message.contains("still works"), "{}", ready.message);
    assert_eq!(scene.string_of("ci").await, string);
    // A Secret is mended all the same, and nothing new is made.
    scene.disturb();
    scene.secrets().delete("ci-dbt", &DeleteParams::default()).await.expect("it is deleted");
    until(LIMIT, "the Secret is back", async || {
        let data = scene.data("ci-dbt").await.unwrap_or_default();
        if data.get("token") == Some(&string) { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    scene.mended();
    assert_eq!(scene.created(), 1);
}

async fn of_two_accounts_for_one_dbt_the_older_serves(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let second = format!("{}-again", scene.account);
    let mut account = scene.account_manifest();
    account["metadata"]["name"] = json!(second);
    next_second().await;
    scene.apply(&account).await;
    let expect = async |reason: &str| {
        until(LIMIT, &format!("DbtAccount {second} is {reason}"), async || {
            let status = scene.accounts().get(&second).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            let told = || crate::support::objects::told(&status.conditions);
            ready.filter(|ready| ready.reason == reason).map(|_| ()).ok_or_else(told)
        })
        .await;
    };
    expect("DuplicateAccount").await;
    let mut token = scene.token("ci", runner());
    token["spec"]["accountRef"]["name"] = json!(second);
    scene.apply(&token).await;
    scene.expect("ci", "Ready", "False", "AccountNotReady").await;
    assert_eq!(scene.created(), 0);
    // When the older one goes the younger one takes its place by itself.
    scene.accounts().delete(&scene.account, &DeleteParams::default()).await.expect("deletion is accepted");
    expect("Connected").await;
    scene.published("ci").await;
}

async fn a_namespace_may_have_only_so_many_tokens(scene: &Scene) {
    scene.connect(|spec| spec["grants"][0]["maxTokens"] = json!(1)).await;
    scene.apply(&scene.token("first", runner())).await;
    scene.published("first").await;
    next_second().await;
    scene.apply(&scene.token("second", runner())).await;
    let stalled = scene.expect("second", "Stalled", "True", "TokenLimitReached").await;
    assert!(stalled.message.contains(&scene.namespace), "{}", stalled.message);
    assert_eq!(scene.created(), 1);
    scene.delete("first").await;
    scene.published("second").await;
}

async fn a_used_up_budget_makes_tokens_wait(scene: &Scene) {
    scene.connect(|spec| spec["limits"] = json!({"mintsPerHour": 2})).await;
    scene.apply(&scene.token("first", runner())).await;
    let first = scene.published("first").await;
    scene.permit("first", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    // Whether the second one fits depends on the reserve for repairs; the third one never does.
    scene.apply(&scene.token("second", runner())).await;
    scene.apply(&scene.token("third", runner())).await;
    until(LIMIT, "somebody waits for the budget", async || {
        let mut told = String::new();
        for name in ["second", "third"] {
            let conditions = scene.status(name).await.conditions;
            if conditions.iter().any(|it| it.type_ == "Ready" && it.status == "False" && it.reason == "MintBudgetExhausted") {
                return Ok(());
            }
            told.push_str(&crate::support::objects::told(&conditions));
        }
        Err(told)
    })
    .await;
    assert!(scene.created() <= 2);
    // More budget is taken up at once.
    scene.patch_account(json!({"spec": {"limits": {"mintsPerHour": 100}}})).await;
    for name in ["first", "second", "third"] {
        scene.published(name).await;
    }
    assert_ne!(scene.string_of("first").await, first);
    assert_eq!(scene.created(), 4);
}

async fn many_vanished_tokens_are_replaced_only_when_a_person_says_so(scene: &Scene) {
    scene.connect(|_| {}).await;
    let names = ["one", "two", "three", "four"];
    let mut strings = Vec::new();
    for name in names {
        scene.apply(&scene.token(name, runner())).await;
    }
    for name in names {
        strings.push(scene.published(name).await);
    }
    scene.disturb();
    for string in &strings[..3] {
        assert!(scene.dbt.delete_token(TokenId(scene.id_of(string))));
    }
    // A new object makes the operator look at dbt's list.
    scene.apply(&scene.token("five", runner())).await;
    let stalled = scene.expect_account("Stalled", "True", "TokensVanished").await;
    assert!(stalled.message.contains("3 of 4 managed tokens are gone"), "{}", stalled.message);
    scene.expect("one", "Ready", "True", "Published").await;
    let made = scene.created();
    assert!(made <= 5, "what vanished is not replaced, though one attempt may have been under way already");
    let (_, value) = stalled.message.rsplit_once('=').expect("the condition names the value that confirms");
    scene.confirm(value).await;
    for (name, string) in names.iter().zip(&strings[..3]) {
        scene.replaced(name, string).await;
    }
    scene.mended();
    scene.published("five").await;
    scene.expect_account("Ready", "True", "Connected").await;
    assert_eq!(scene.string_of("four").await, strings[3]);
    until(LIMIT, "five tokens live", async || {
        let live = scene.live().len();
        if live == 5 { Ok(()) } else { Err(live.to_string()) }
    })
    .await;
}

async fn an_older_ledger_revokes_nothing_until_a_person_says_so(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", runner());
    token["spec"]["rotation"]["retire"]["after"] = json!("1h");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    // What the cluster made before it was set back in time, or what a copy of it makes.
    let name = scene.status("ci").await.token.and_then(|token| token.name).expect("a published token has a name");
    let (before, serial) = name.trim_end_matches(']').rsplit_once(' ').expect("a mark ends with the serial");
    // Serials follow the clock: an hour is later than any that this test opens before it is found.
    let later = serial.parse::<i64>().expect("a serial is a number") + 3600;
    let unknown = scene.dbt.add_token(SeedToken::new(&format!("{before} {later}]"), &[Grant::new("job_runner").in_project(700)]));
    scene.disturb();
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let told = scene.expect_account("Ready", "True", "SetBack").await;
    let second = scene.replaced("ci", &first).await;
    scene.patch_token("ci", json!({"spec": {"rotation": {"retire": {"after": "0s"}}}})).await;
    scene.expect("ci", "Ready", "True", "Published").await;
    let strings = [&first, &second, &unknown.string];
    assert!(strings.iter().all(|string| scene.dbt.authenticates(string).is_some()), "nothing is revoked");
    let (_, value) = told.message.rsplit_once('=').expect("the condition names the value that confirms");
    assert_eq!(value, format!("set-back-{later}"));
    scene.confirm(value).await;
    scene.expect_account("Ready", "True", "Connected").await;
    until(LIMIT, "what the ledger does not know is revoked", async || {
        if scene.dbt.authenticates(&unknown.string).is_none() { Ok(()) } else { Err("it lives".to_owned()) }
    })
    .await;
    scene.mended();
    scene.only_live(&[scene.id_of(&second)]).await;
}

async fn an_older_status_is_written_again_from_what_was_published_since(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", runner());
    token["spec"]["rotation"]["retire"]["after"] = json!("1h");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    let old_ledger = serde_json::to_value(scene.status("ci").await.ledger).expect("plain JSON");
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let second = scene.replaced("ci", &first).await;
    scene.expect("ci", "Rotating", "True", "AwaitingConsumers").await;
    let ledger = scene.status("ci").await.ledger;
    let mut restored = old_ledger;
    restored["retiring"] = Value::Null;
    restored["next"] = Value::Null;
    scene.damage_status("ci", json!({"status": {"ledger": restored}})).await;
    until(LIMIT, "the ledger is as it was", async || {
        let now = scene.status("ci").await.ledger;
        if now == ledger { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    assert_eq!(scene.published("ci").await, second);
    assert_eq!(scene.live(), [scene.id_of(&first), scene.id_of(&second)]);
    scene.patch_token("ci", json!({"spec": {"rotation": {"retire": {"after": "0s"}}}})).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    scene.expect_account("Ready", "True", "Connected").await;
}
