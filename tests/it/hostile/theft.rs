//! Secrets and tokens of others, taken by name, by a string, or by a lie about a string.

use dbt_cloud_emulator::{Grant, IssuedToken, SeedToken, StringFormat, TokenId};
use serde_json::{Value, json};

use super::{Victim, by_hand, connect, name_in_dbt, runner, writes_to};
use crate::support::case::{Case, cases};
use crate::support::objects::told;
use crate::support::scene::Scene;
use crate::support::tenant::Tenant;
use crate::support::wait::{LIMIT, next_second, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_secret_of_somebody_else_is_not_written,
        no_string_and_no_lie_about_one_takes_a_token,
        of_two_namespaces_with_one_string_the_first_keeps_it,
        of_two_namespaces_that_adopt_at_once_one_does,
    )
}

/// A ServiceToken that adopts from a Secret of the tenant, under the key `held`.
fn adopting(scene: &Scene, tenant: &Tenant, name: &str) -> Value {
    let mut token = tenant.token(scene, name, runner());
    token["spec"]["adopt"] = json!({"secretRef": {"name": format!("{name}-old"), "key": "held"}});
    token
}

/// It lives, nobody changed it, and its name says whose it is.
fn untouched(scene: &Scene, token: &IssuedToken, name: &str) {
    assert_eq!(scene.dbt.authenticates(&token.string), Some(token.id), "token {} lives", token.id.0);
    assert_eq!(name_in_dbt(scene, token.id.0), name);
}

async fn a_secret_of_somebody_else_is_not_written(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    // Another team of the same namespace has a Secret, and a ServiceToken with one.
    scene.apply(&tenant.secret("database", "password", "of another team")).await;
    scene.apply(&tenant.token(scene, "older", runner())).await;
    tenant.published("older").await;
    let secrets = async || {
        [
            tenant.secrets().get("database").await.expect("it is there"),
            tenant.secrets().get("older-dbt").await.expect("it is there"),
        ]
    };
    let before = secrets().await;
    next_second().await;
    for (name, secret) in [("foreign", "database"), ("younger", "older-dbt")] {
        let mut token = tenant.token(scene, name, runner());
        token["spec"]["secret"]["name"] = json!(secret);
        // Its key and its labels would be the other one's.
        token["spec"]["secret"]["template"] = json!({"data": {"password": "{{ token }}", "token": "{{ token }}"}});
        tenant.apply(&token).await;
    }
    let stalled = tenant.expect("foreign", "Stalled", "True", "SecretNotOwned").await;
    assert!(stalled.message.contains("database"), "{}", stalled.message);
    tenant.expect("younger", "Stalled", "True", "SecretConflict").await;
    for name in ["foreign", "younger"] {
        tenant.delete(name).await;
    }
    assert_eq!(secrets().await, before, "not a byte was written");
    assert_eq!(scene.created(), 1);
}

async fn no_string_and_no_lie_about_one_takes_a_token(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let victim = Victim::publish(scene, "victim").await;
    let (of_others, own) = (by_hand(scene), by_hand(scene));
    let old = SeedToken::new("old", &[Grant::new("job_runner").in_project(700)]).in_format(StringFormat::Legacy);
    let old = scene.dbt.add_token(old);
    let around = |string: &str| format!("{}{}", &string[..12], "x".repeat(43));
    let admin = scene.dbt.admin_token();
    let credential = TokenId(scene.id_of(admin));
    let names: Vec<String> = [of_others.id, own.id, old.id, credential].map(|id| name_in_dbt(scene, id.0)).into();
    let lies = [
        // Around a uid, which every reader of dbt's list knows.
        ("around-managed", around(&victim.string), None, "TokenConflict", "already belongs to ServiceToken"),
        ("around-foreign", around(&of_others.string), None, "AdoptRefused", "does not authenticate"),
        ("around-credential", around(admin), None, "AdoptRefused", "is the credential of a DbtAccount"),
        ("around-old", format!("0123456789{}0123456789", old.uid), Some(old.id.0), "AdoptRefused", "does not authenticate"),
        // With a string that works, for a token that it does not belong to.
        ("other-id", own.string.clone(), Some(victim.id), "AdoptRefused", "does not belong to token"),
        ("two-strings", format!("{} {}", own.string, around(&victim.string)), None, "AdoptRefused", "2 strings"),
        ("appended", format!("{}{}", old.string, of_others.uid), Some(of_others.id.0), "AdoptRefused", "does not authenticate"),
        ("with-a-blank", format!("{} {}", old.string, of_others.uid), Some(of_others.id.0), "AdoptRefused", "holds no string"),
        // With strings that got out.
        ("leaked", victim.string.clone(), None, "TokenConflict", "already belongs to ServiceToken"),
        ("leaked-credential", admin.to_owned(), None, "AdoptRefused", "is the credential of a DbtAccount"),
    ];
    for (name, held, id, ..) in &lies {
        tenant.apply(&tenant.secret(&format!("{name}-old"), "held", held)).await;
        let mut token = adopting(scene, &tenant, name);
        if let Some(id) = id {
            token["spec"]["adopt"]["tokenId"] = json!(id);
        }
        tenant.apply(&token).await;
    }
    for (name, _, _, reason, message) in &lies {
        let stalled = tenant.expect(name, "Stalled", "True", reason).await;
        assert!(stalled.message.contains(message), "{name}: {}", stalled.message);
    }
    // As much harm as an object can do: everything that it holds is compromised, and then it goes.
    for (name, ..) in &lies {
        let annotations = json!({"tokens.dbt-operator.dev/rotate-at": "now", "tokens.dbt-operator.dev/compromised": "now"});
        tenant.patch(name, &json!({"metadata": {"annotations": annotations}})).await;
    }
    for (name, ..) in &lies {
        tenant.delete(name).await;
    }
    victim.unharmed(scene).await;
    for (token, name) in [&of_others, &own, &old].into_iter().zip(&names) {
        untouched(scene, token, name);
        assert_eq!(writes_to(scene, token.id.0), 0);
    }
    assert_eq!((scene.id_of(admin), name_in_dbt(scene, credential.0)), (credential.0, names[3].clone()));
    assert_eq!(scene.created(), 1);
}

async fn of_two_namespaces_with_one_string_the_first_keeps_it(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let shared = by_hand(scene);
    let mut first = scene.token("first", runner());
    first["spec"]["adopt"] = json!({"secretRef": {"name": "first-old", "key": "held"}});
    scene
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "first-old", "namespace": scene.namespace},
            "stringData": {"held": shared.string},
        }))
        .await;
    scene.apply(&first).await;
    assert_eq!(scene.published("first").await, shared.string);
    let victim = Victim::published(scene, "first").await;
    tenant.apply(&tenant.secret("second-old", "held", &shared.string)).await;
    tenant.apply(&adopting(scene, &tenant, "second")).await;
    let stalled = tenant.expect("second", "Stalled", "True", "TokenConflict").await;
    assert!(stalled.message.contains(&format!("{}/first", scene.namespace)), "{}", stalled.message);
    let annotations = json!({"tokens.dbt-operator.dev/rotate-at": "now", "tokens.dbt-operator.dev/compromised": "now"});
    tenant.patch("second", &json!({"metadata": {"annotations": annotations}})).await;
    tenant
        .patch(
            "second",
            &json!({"spec": {"adopt": {"permissions": "Replace"}, "permissions": [
                {"permissionSet": "job_admin", "projects": [{"id": 700}]},
            ]}}),
        )
        .await;
    tenant.expect("second", "Stalled", "True", "TokenConflict").await;
    tenant.delete("second").await;
    victim.unharmed(scene).await;
}

async fn of_two_namespaces_that_adopt_at_once_one_does(scene: &Scene) {
    let tenants = [scene.tenant("x").await, scene.tenant("y").await];
    connect(scene, &[&tenants[0], &tenants[1]]).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let shared = by_hand(scene);
    for tenant in &tenants {
        tenant.apply(&tenant.secret("mine-old", "held", &shared.string)).await;
    }
    let objects = tenants.each_ref().map(|tenant| adopting(scene, tenant, "mine"));
    futures::join!(tenants[0].apply(&objects[0]), tenants[1].apply(&objects[1]));
    let reason = async |tenant: &Tenant| {
        until(LIMIT, "it is decided", async || {
            let conditions = tenant.status("mine").await.conditions;
            let decided = conditions.iter().find(|it| ["Published", "TokenConflict"].contains(&it.reason.as_str()));
            decided.map(|it| it.reason.clone()).ok_or_else(|| told(&conditions))
        })
        .await
    };
    let mut reasons = [reason(&tenants[0]).await, reason(&tenants[1]).await];
    let winner = usize::from(reasons[1] == "Published");
    reasons.sort();
    assert_eq!(reasons, ["Published", "TokenConflict"]);
    // The loser takes nothing with it.
    tenants[1 - winner].delete("mine").await;
    assert_eq!(tenants[winner].published("mine").await, shared.string);
    assert_eq!(scene.dbt.authenticates(&shared.string), Some(shared.id));
    assert_eq!(scene.created(), 0);
}
