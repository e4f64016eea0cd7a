//! Tokens that exist are taken over: in place and from another Secret, by proof of possession and by nothing less.

use std::collections::BTreeMap;

use dbt_cloud_emulator::{Grant, IssuedToken, SeedToken, StringFormat, TokenId};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::objects::told;
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(
        Shared: a_secret_is_taken_over_in_place_and_keeps_what_others_put_there,
        a_token_in_a_uri_of_another_secret_goes_when_that_does_not_hold_it_any_more,
        an_old_string_that_fits_two_tokens_needs_the_id,
        a_string_made_up_around_a_uid_is_refused,
        other_permissions_stall_and_are_replaced_if_asked_for,
        of_two_objects_with_one_string_the_first_gets_it,
        what_is_somebody_elses_is_never_adopted,
        a_deleted_object_lets_go_of_its_adopted_token,
        a_token_that_dbt_does_not_rename_is_bound_by_its_slot,
        a_secret_that_is_not_there_yet_is_waited_for,
        a_secret_that_does_not_name_the_object_is_not_taken_over,
        a_namespace_that_may_not_adopt_is_told_so,
        a_legacy_token_is_taken_over_and_replaced,
    )
}

fn admin() -> Value {
    json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])
}

/// A token that somebody made by hand, with the permissions of [`admin`].
fn old_token(scene: &Scene, change: impl FnOnce(SeedToken) -> SeedToken) -> IssuedToken {
    scene.dbt.add_token(change(SeedToken::new("made by hand", &[Grant::new("job_admin").in_project(700)])))
}

async fn put_secret(scene: &Scene, name: &str, adopt_by: Option<&str>, data: Value) {
    let annotations = adopt_by.map(|by| json!({"tokens.dbt-operator.dev/adopt-by": by, "kept": "yes"}));
    scene
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": scene.namespace, "annotations": annotations, "labels": {"team": "data"}},
            "stringData": data,
        }))
        .await;
}

fn adopting(scene: &Scene, name: &str, secret: &str, key: &str) -> Value {
    let mut token = scene.token(name, admin());
    token["spec"]["adopt"] = json!({"secretRef": {"name": secret, "key": key}});
    token
}

async fn secret(scene: &Scene, name: &str) -> Secret {
    scene.secrets().get(name).await.expect("the Secret is there")
}

fn ours(map: &BTreeMap<String, String>) -> Vec<String> {
    let ours = map.keys().filter(|key| key.starts_with("tokens.dbt-operator.dev/") && !key.ends_with("/adopt-by"));
    ours.cloned().collect()
}

fn name_in_dbt(scene: &Scene, id: TokenId) -> String {
    scene.dbt.tokens().into_iter().find(|token| token.id == id).expect("dbt has it").name
}

fn is_alive(scene: &Scene, token: &IssuedToken) -> bool {
    scene.dbt.authenticates(&token.string) == Some(token.id)
}

/// Nobody changed or revoked the token through dbt's API.
fn untouched(scene: &Scene, token: &IssuedToken) {
    assert!(is_alive(scene, token), "token {} lives", token.id.0);
    let ending = format!("/service-tokens/{}/", token.id.0);
    let touched = scene.dbt.log().into_iter().filter(|entry| entry.method != "GET" && entry.path.ends_with(&ending));
    assert_eq!(touched.count(), 0, "token {} was changed", token.id.0);
}

async fn dies(scene: &Scene, token: &IssuedToken, name: &str) {
    until(LIMIT, &format!("token {} is revoked", token.id.0), async || {
        if is_alive(scene, token) { Err(format!("{:?}", scene.status(name).await.retiring_tokens)) } else { Ok(()) }
    })
    .await;
}

/// The operator itself tries a token just before it is replaced, and what dbt shows from a minute before the swap may have
/// come after it: the token would stay for a quarter of an hour.
fn shows_no_use(scene: &Scene) {
    scene.dbt.set_modes(|modes| modes.tracks_last_used = false);
}

async fn a_secret_is_taken_over_in_place_and_keeps_what_others_put_there(scene: &Scene) {
    // Counts move only with a new list.
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    shows_no_use(scene);
    let old = old_token(scene, |token| token);
    put_secret(scene, "reporting-dbt", Some("reporting"), json!({"token": old.string, "other": "theirs"})).await;
    scene.apply(&adopting(scene, "reporting", "reporting-dbt", "token")).await;
    assert_eq!(scene.published("reporting").await, old.string);
    let status = scene.status("reporting").await;
    let published = status.token.clone().expect("a token");
    assert_eq!((published.id, published.adopted), (Some(old.id.0), Some(true)));
    assert!(name_in_dbt(scene, old.id).ends_with(" adopted]"));
    assert_eq!(scene.created(), 0, "no token was made");
    let event = scene.event("reporting", "TokenAdopted").await;
    assert!(event.contains(&old.id.0.to_string()) && event.contains("reporting-dbt"), "{event}");
    let taken = secret(scene, "reporting-dbt").await;
    assert_eq!((taken.labels()["team"].as_str(), taken.annotations()["kept"].as_str()), ("data", "yes"));
    assert_eq!(scene.data("reporting-dbt").await.expect("it is there")["other"], "theirs");
    until(LIMIT, "the account counts it as managed", async || {
        let account = scene.accounts().get(&scene.account).await.map_err(|error| error.to_string())?;
        let tokens = account.status.unwrap_or_default().tokens.unwrap_or_default();
        if tokens.managed == Some(1) { Ok(()) } else { Err(format!("{tokens:?}")) }
    })
    .await;
    scene.permit("reporting", json!([{"permissionSet": "job_viewer", "projects": [{"id": 700}]}])).await;
    let new = scene.replaced("reporting", &old.string).await;
    dies(scene, &old, "reporting").await;
    scene.published("reporting").await;
    let history = scene.status("reporting").await.history;
    assert_eq!((history[0].previous_token_id, history[0].cause.as_deref()), (Some(old.id.0), Some("PermissionsChanged")));
    scene.only_live(&[scene.id_of(&new)]).await;
    scene.delete("reporting").await;
    scene.gone("reporting").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    let left = secret(scene, "reporting-dbt").await;
    let data = scene.data("reporting-dbt").await.expect("it stays");
    assert_eq!(data, BTreeMap::from([("other".to_owned(), "theirs".to_owned())]));
    assert_eq!((ours(left.labels()), ours(left.annotations())), (Vec::new(), Vec::new()));
    assert_eq!((left.labels()["team"].as_str(), left.annotations()["kept"].as_str()), ("data", "yes"));
}

async fn a_token_in_a_uri_of_another_secret_goes_when_that_does_not_hold_it_any_more(scene: &Scene) {
    scene.connect(|_| {}).await;
    shows_no_use(scene);
    let old = old_token(scene, |token| token);
    let encoded = old.string.replace('_', "%5F").replace('-', "%2D");
    let uri = format!("dbt-cloud://{}:{encoded}@ab123.us1.dbt.com", scene.dbt.account_id());
    put_secret(scene, "old", None, json!({"AIRFLOW_CONN": uri, "other": "theirs"})).await;
    scene.apply(&adopting(scene, "etl", "old", "AIRFLOW_CONN")).await;
    assert_eq!(scene.published("etl").await, old.string);
    scene.permit("etl", json!([{"permissionSet": "job_viewer", "projects": [{"id": 700}]}])).await;
    scene.replaced("etl", &old.string).await;
    let waits = until(LIMIT, "the old token waits for its source", async || {
        let status = scene.status("etl").await;
        let rules = status.retiring_tokens.first().map(|token| token.waiting_for.clone()).unwrap_or_default();
        let found = rules.iter().find(|rule| rule.rule == "AdoptSource").map(|rule| rule.message.clone());
        found.ok_or_else(|| format!("{rules:?}; {}", told(&status.conditions)))
    });
    let expected = format!(
        "Secret old, key AIRFLOW_CONN, still holds token {}; move its readers to Secret etl-dbt, then delete the key",
        old.id.0
    );
    assert_eq!(waits.await, expected);
    assert!(is_alive(scene, &old));
    let without = json!({"data": {"AIRFLOW_CONN": null}});
    scene.secrets().patch("old", &PatchParams::default(), &Patch::Merge(without)).await.expect("it is edited");
    dies(scene, &old, "etl").await;
    scene.published("etl").await;
    assert_eq!(scene.data("old").await.expect("it stays")["other"], "theirs");
}

async fn an_old_string_that_fits_two_tokens_needs_the_id(scene: &Scene) {
    scene.connect(|_| {}).await;
    let (mine, theirs) = ("aB3-_xY", "zz_9-Qk");
    let string = format!("0123456789{mine}abcdef{theirs}0123456789");
    let old = old_token(scene, |token| SeedToken { uid: Some(mine.to_owned()), ..token.with_string(&string) });
    let victim = old_token(scene, |token| SeedToken { uid: Some(theirs.to_owned()), ..token });
    put_secret(scene, "old", None, json!({"token": string})).await;
    scene.apply(&adopting(scene, "legacy", "old", "token")).await;
    let stalled = scene.expect("legacy", "Stalled", "True", "AdoptAmbiguous").await;
    assert_eq!(stalled.message, "the string fits 2 tokens of the account; set adopt.tokenId");
    scene.patch_token("legacy", json!({"spec": {"adopt": {"tokenId": 4}}})).await;
    let stalled = scene.expect("legacy", "Stalled", "True", "AdoptRefused").await;
    assert!(stalled.message.contains("does not belong to token 4"), "{}", stalled.message);
    scene.patch_token("legacy", json!({"spec": {"adopt": {"tokenId": old.id.0}}})).await;
    assert_eq!(scene.published("legacy").await, string);
    untouched(scene, &victim);
}

async fn a_string_made_up_around_a_uid_is_refused(scene: &Scene) {
    scene.connect(|_| {}).await;
    let victim = old_token(scene, |token| token);
    let old_victim = old_token(scene, |token| token.in_format(StringFormat::Legacy));
    let todays = format!("dbtc_{}{}", victim.uid, "x".repeat(43));
    let old = format!("0123456789{}0123456789", old_victim.uid);
    for (name, string) in [("todays", &todays), ("oldish", &old)] {
        put_secret(scene, &format!("{name}-old"), None, json!({"token": string})).await;
        let mut token = adopting(scene, name, &format!("{name}-old"), "token");
        if name == "oldish" {
            token["spec"]["adopt"]["tokenId"] = json!(old_victim.id.0);
        }
        scene.apply(&token).await;
    }
    for name in ["todays", "oldish"] {
        let stalled = scene.expect(name, "Stalled", "True", "AdoptRefused").await;
        let expected = format!("{name}-old/token does not authenticate");
        assert!(stalled.message.starts_with(&expected), "{}", stalled.message);
        scene.delete(name).await;
        scene.gone(name).await;
    }
    untouched(scene, &victim);
    untouched(scene, &old_victim);
}

async fn other_permissions_stall_and_are_replaced_if_asked_for(scene: &Scene) {
    scene.connect(|_| {}).await;
    let old = old_token(scene, |token| SeedToken { grants: vec![Grant::new("job_viewer")], ..token });
    put_secret(scene, "old", None, json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "etl", "old", "token")).await;
    let stalled = scene.expect("etl", "Stalled", "True", "AdoptPermissionsDiffer").await;
    let expected = format!(
        "token {} may job_viewer on all projects; declared are job_admin on project 700; change permissions, or adopt.permissions: Replace",
        old.id.0
    );
    assert_eq!(stalled.message, expected);
    untouched(scene, &old);
    scene.disturb();
    scene.patch_token("etl", json!({"spec": {"adopt": {"permissions": "Replace"}}})).await;
    scene.published("etl").await;
    until(LIMIT, "a token with the declared permissions is published", async || {
        let string = scene.string_of("etl").await;
        if string == old.string { Err("the adopted one".to_owned()) } else { Ok(()) }
    })
    .await;
    scene.published("etl").await;
    scene.mended();
    let history = scene.status("etl").await.history;
    assert_eq!((history[0].previous_token_id, history[0].cause.as_deref()), (Some(old.id.0), Some("PermissionsChanged")));
    assert!(is_alive(scene, &old), "its source still holds it");
}

async fn of_two_objects_with_one_string_the_first_gets_it(scene: &Scene) {
    let other = format!("{}-b", scene.namespace);
    scene.make_namespace(&other).await;
    scene.connect(|spec| spec["grants"][0]["namespaces"] = json!([scene.namespace, other])).await;
    let old = old_token(scene, |token| token);
    put_secret(scene, "old", None, json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "first", "old", "token")).await;
    scene.published("first").await;
    scene.apply(&adopting(scene, "second", "old", "token")).await;
    let mut third = adopting(scene, "third", "old", "token");
    third["metadata"]["namespace"] = json!(other);
    let copy = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "old", "namespace": other},
        "stringData": {"token": old.string},
    });
    scene.apply(&copy).await;
    scene.apply(&third).await;
    let conflict = format!("token {} already belongs to ServiceToken {}/first", old.id.0, scene.namespace);
    assert_eq!(scene.expect("second", "Stalled", "True", "TokenConflict").await.message, conflict);
    let tokens = kube::Api::<dbt_token_operator::api::v1alpha1::ServiceToken>::namespaced(scene.stage.client(), &other);
    until(LIMIT, "the one in the other namespace is told as well", async || {
        let token = tokens.get("third").await.map_err(|error| error.to_string())?;
        let conditions = token.status.unwrap_or_default().conditions;
        let says = conditions.iter().any(|it| it.type_ == "Stalled" && it.message == conflict);
        if says { Ok(()) } else { Err(told(&conditions)) }
    })
    .await;
    assert!(is_alive(scene, &old));
}

async fn what_is_somebody_elses_is_never_adopted(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("made", admin())).await;
    let made = scene.published("made").await;
    let foreign = old_token(scene, |token| SeedToken {
        name: "x [dbt-token-operator another-cluster 9bd5a1f4-1f0c-4a60-8f3e-7f6e6c1c2a55 1790000000]".to_owned(),
        ..token
    });
    put_secret(scene, "credential", None, json!({"token": scene.dbt.admin_token()})).await;
    put_secret(scene, "managed", None, json!({"token": made})).await;
    put_secret(scene, "foreign", None, json!({"token": foreign.string})).await;
    let of_made = format!("token {} already belongs to ServiceToken {}/made", scene.id_of(&made), scene.namespace);
    let of_another = format!("token {} already belongs to another installation", foreign.id.0);
    let expected = [
        ("credential", "AdoptRefused", "is the credential of a DbtAccount, which is never adopted"),
        ("managed", "TokenConflict", of_made.as_str()),
        ("foreign", "TokenConflict", of_another.as_str()),
    ];
    for (name, ..) in expected {
        scene.apply(&adopting(scene, &format!("of-{name}"), name, "token")).await;
    }
    for (name, reason, message) in expected {
        let stalled = scene.expect(&format!("of-{name}"), "Stalled", "True", reason).await;
        assert!(stalled.message.contains(message), "{}", stalled.message);
    }
    untouched(scene, &foreign);
    assert!(scene.dbt.authenticates(scene.dbt.admin_token()).is_some());
}

async fn a_deleted_object_lets_go_of_its_adopted_token(scene: &Scene) {
    scene.connect(|_| {}).await;
    let old = old_token(scene, |token| token);
    put_secret(scene, "first-dbt", Some("first"), json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "first", "first-dbt", "token")).await;
    scene.published("first").await;
    scene.delete("first").await;
    scene.gone("first").await;
    let released = scene.event("first", "Released").await;
    assert!(released.contains(&old.id.0.to_string()) && released.contains("first-dbt"), "{released}");
    assert!(is_alive(scene, &old));
    assert_eq!(scene.string_of("first").await, old.string);
    let left = secret(scene, "first-dbt").await;
    assert_eq!((ours(left.labels()), ours(left.annotations())), (Vec::new(), Vec::new()));
    // Who was let go can be taken over again.
    scene.apply(&adopting(scene, "second", "first-dbt", "token")).await;
    assert_eq!(scene.published("second").await, old.string);
}

async fn a_token_that_dbt_does_not_rename_is_bound_by_its_slot(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.dbt.set_modes(|modes| modes.rename_refused = true);
    shows_no_use(scene);
    let old = old_token(scene, |token| token);
    put_secret(scene, "etl-dbt", Some("etl"), json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "etl", "etl-dbt", "token")).await;
    assert_eq!(scene.published("etl").await, old.string);
    assert_eq!(name_in_dbt(scene, old.id), "made by hand");
    assert_eq!(scene.status("etl").await.token.expect("a token").adopted, Some(true));
    let tries = || scene.dbt.log().into_iter().filter(|entry| entry.method == "PUT").count();
    assert_eq!(tries(), 1);
    scene.permit("etl", json!([{"permissionSet": "job_viewer", "projects": [{"id": 700}]}])).await;
    scene.disturb();
    scene.replaced("etl", &old.string).await;
    dies(scene, &old, "etl").await;
    assert_eq!(tries(), 1, "it is tried once");
}

async fn a_secret_that_is_not_there_yet_is_waited_for(scene: &Scene) {
    scene.connect(|_| {}).await;
    let old = old_token(scene, |token| token);
    scene.apply(&adopting(scene, "late", "old", "token")).await;
    until(LIMIT, "the object says what it waits for", async || {
        let conditions = scene.status("late").await.conditions;
        let says = |it: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            it.type_ == "Reconciling" && it.message.contains("Secret old has no key token, or does not exist")
        };
        if conditions.iter().any(|it| says(&it)) { Ok(()) } else { Err(told(&conditions)) }
    })
    .await;
    put_secret(scene, "old", None, json!({"token": old.string})).await;
    assert_eq!(scene.published("late").await, old.string);
}

async fn a_secret_that_does_not_name_the_object_is_not_taken_over(scene: &Scene) {
    scene.connect(|_| {}).await;
    let old = old_token(scene, |token| token);
    put_secret(scene, "theirs-dbt", Some("somebody"), json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "theirs", "theirs-dbt", "token")).await;
    let stalled = scene.expect("theirs", "Stalled", "True", "AdoptRefused").await;
    assert!(stalled.message.starts_with("the annotation adopt-by is missing on Secret theirs-dbt"), "{}", stalled.message);
    let left = secret(scene, "theirs-dbt").await;
    assert_eq!((ours(left.labels()), ours(left.annotations())), (Vec::new(), Vec::new()));
    untouched(scene, &old);
}

async fn a_namespace_that_may_not_adopt_is_told_so(scene: &Scene) {
    scene.connect(|spec| spec["grants"][0]["adopt"] = json!("Never")).await;
    let old = old_token(scene, |token| token);
    put_secret(scene, "old", None, json!({"token": old.string})).await;
    scene.apply(&adopting(scene, "etl", "old", "token")).await;
    let stalled = scene.expect("etl", "Stalled", "True", "PolicyRefused").await;
    assert!(stalled.message.contains("adopt: Proven"), "{}", stalled.message);
    untouched(scene, &old);
}

async fn a_legacy_token_is_taken_over_and_replaced(scene: &Scene) {
    scene.connect(|_| {}).await;
    let legacy = |token: SeedToken| token.created_at("2022-05-05T08:00:00Z".parse().expect("a time"));
    let replaced = async |name: &str, old: &IssuedToken| {
        let target = format!("{name}-dbt");
        put_secret(scene, &target, Some(name), json!({"token": old.string})).await;
        scene.apply(&adopting(scene, name, &target, "token")).await;
        let new = scene.replaced(name, &old.string).await;
        scene.published(name).await;
        let status = scene.status(name).await;
        let token = status.token.expect("a token");
        assert_eq!((token.id, token.legacy, token.adopted), (Some(scene.id_of(&new)), Some(false), Some(false)));
        assert_eq!((status.history[0].previous_token_id, status.history[0].cause.as_deref()), (Some(old.id.0), Some("Legacy")));
    };
    // dbt shows that it was used lately, and no quiet period is declared: it stays all the same.
    let used = old_token(scene, legacy);
    replaced("used", &used).await;
    until(LIMIT, "the old token waits for its last use", async || {
        let retiring = scene.status("used").await.retiring_tokens;
        let rules: Vec<_> = retiring.iter().flat_map(|token| &token.waiting_for).map(|rule| rule.rule.as_str()).collect();
        if rules == ["LastUsed"] { Ok(()) } else { Err(format!("{retiring:?}")) }
    })
    .await;
    shows_no_use(scene);
    let unused = old_token(scene, legacy);
    replaced("unused", &unused).await;
    dies(scene, &unused, "unused").await;
    assert!(is_alive(scene, &used));
}
