//! The end of objects: revoked, retained, or let go, in whatever order things are deleted.

use dbt_cloud_emulator::{Fault, Rule};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_deleted_object_takes_its_tokens_and_secret_with_it,
        an_account_deleted_first_waits_for_its_tokens,
        a_deleted_namespace_takes_its_tokens_with_it,
        a_retained_token_stays_with_its_secret,
        retain_lets_go_at_once_while_dbt_is_down,
        a_deletion_goes_on_when_dbt_is_back,
        an_object_that_made_nothing_goes_at_once,
    )
}

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

async fn no_slots(scene: &Scene, uid: &str) {
    until(LIMIT, "no slot is left", async || {
        let left: Vec<String> = scene.slots_of(uid).await.iter().map(ResourceExt::name_any).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

async fn a_deleted_object_takes_its_tokens_and_secret_with_it(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", runner());
    token["spec"]["rotation"]["retire"]["after"] = json!("1h");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    scene.replaced("ci", &first).await;
    assert_eq!(scene.live().len(), 2);
    let uid = scene.tokens().get("ci").await.expect("it is there").uid().expect("a uid");
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    assert!(scene.data("ci-dbt").await.is_none(), "the Secret is gone");
    no_slots(scene, &uid).await;
}

async fn an_account_deleted_first_waits_for_its_tokens(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    scene.accounts().delete(&scene.account, &DeleteParams::default()).await.expect("deletion is accepted");
    let in_use = until(LIMIT, "the account waits", async || {
        let account = scene.accounts().get(&scene.account).await.map_err(|error| error.to_string())?;
        let conditions = account.status.unwrap_or_default().conditions;
        let found = conditions.iter().find(|it| it.type_ == "Ready" && it.status == "False" && it.reason == "InUse");
        found.cloned().ok_or_else(|| crate::support::objects::told(&conditions))
    });
    let in_use = in_use.await;
    assert!(in_use.message.contains(&format!("{}/ci", scene.namespace)), "{}", in_use.message);
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    until(LIMIT, "the account is gone", async || {
        match scene.accounts().get_opt(&scene.account).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(account) => Err(crate::support::objects::told(&account.status.unwrap_or_default().conditions)),
        }
    })
    .await;
}

async fn a_deleted_namespace_takes_its_tokens_with_it(scene: &Scene) {
    scene.connect(|_| {}).await;
    for name in ["one", "two"] {
        scene.apply(&scene.token(name, runner())).await;
    }
    for name in ["one", "two"] {
        scene.published(name).await;
    }
    scene.disturb();
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(scene.stage.client());
    namespaces.delete(&scene.namespace, &DeleteParams::default()).await.expect("deletion is accepted");
    until(LIMIT, "the namespace is gone", async || {
        match namespaces.get_opt(&scene.namespace).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(namespace) => Err(format!("{:?}", namespace.status)),
        }
    })
    .await;
    assert_eq!(scene.live(), Vec::<i64>::new());
}

async fn a_retained_token_stays_with_its_secret(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("handover", runner());
    token["spec"]["deletionPolicy"] = json!("Retain");
    scene.apply(&token).await;
    let string = scene.published("handover").await;
    let id = scene.id_of(&string);
    let uid = scene.tokens().get("handover").await.expect("it is there").uid().expect("a uid");
    scene.delete("handover").await;
    scene.gone("handover").await;
    let released = scene.event("handover", "Released").await;
    assert!(released.contains(&id.to_string()) && released.contains("handover-dbt"), "{released}");
    assert_eq!(scene.live(), [id]);
    assert_eq!(scene.string_of("handover").await, string);
    let secret = scene.secrets().get("handover-dbt").await.expect("the Secret stays");
    let ours =
        |map: &std::collections::BTreeMap<String, String>| map.keys().any(|key| key.starts_with("tokens.dbt-operator.dev/"));
    assert!(!ours(secret.labels()) && !ours(secret.annotations()), "{:?}", secret.metadata);
    let left = scene.slots_of(&uid).await;
    assert_eq!(left.len(), 1, "a record stays");
    assert!(left[0].data.is_none(), "without the string");
    assert_eq!(left[0].labels()["tokens.dbt-operator.dev/retained"], "true");
}

async fn retain_lets_go_at_once_while_dbt_is_down(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let id = scene.id_of(&string);
    scene.dbt.add_fault(Rule::new(Fault::Html { status: 502 }));
    // A new object makes the operator find out.
    scene.apply(&scene.token("later", runner())).await;
    scene.expect_account("Ready", "False", "Unreachable").await;
    scene.delete("ci").await;
    until(LIMIT, "the deletion is blocked", async || {
        let conditions = scene.status("ci").await.conditions;
        let blocked = conditions.iter().any(|it| it.type_ == "Ready" && it.reason == "DeletionBlocked");
        if blocked { Ok(()) } else { Err(crate::support::objects::told(&conditions)) }
    })
    .await;
    assert_eq!(scene.live(), [id]);
    scene.patch_token("ci", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), [id]);
    assert_eq!(scene.string_of("ci").await, string);
}

async fn a_deletion_goes_on_when_dbt_is_back(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    let down = scene.dbt.add_fault(Rule::new(Fault::Html { status: 502 }));
    scene.delete("ci").await;
    until(LIMIT, "the deletion waits", async || {
        let conditions = scene.status("ci").await.conditions;
        let waits =
            conditions.iter().any(|it| it.type_ == "Ready" && ["Deleting", "DeletionBlocked"].contains(&it.reason.as_str()));
        if waits { Ok(()) } else { Err(crate::support::objects::told(&conditions)) }
    })
    .await;
    assert_eq!(scene.live().len(), 1);
    scene.dbt.remove_fault(down);
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    assert!(scene.data("ci-dbt").await.is_none());
}

async fn an_object_that_made_nothing_goes_at_once(scene: &Scene) {
    scene.apply(&scene.token("early", runner())).await;
    scene.expect("early", "Reconciling", "True", "Progressing").await;
    scene.delete("early").await;
    scene.gone("early").await;
    assert_eq!(scene.dbt.log().len(), 0);
}
