//! How far a tenant's arm reaches: what the API server refuses him, and what the grants of the account do.

use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{Victim, connect, runner};
use crate::support::case::{Case, cases};
use crate::support::scene::Scene;

pub fn cases() -> Vec<Case> {
    cases!(Shared: the_api_server_refuses_what_is_not_the_tenants, a_forged_ledger_does_not_arrive, nothing_is_made_without_a_grant)
}

/// What the API server answers to what is forbidden.
const FORBIDDEN: u16 = 403;

async fn the_api_server_refuses_what_is_not_the_tenants(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let victim = Victim::publish(scene, "victim").await;
    tenant.apply(&tenant.token(scene, "own", runner())).await;
    tenant.published("own").await;
    let (kind, core) = ("/apis/tokens.dbt-operator.dev/v1alpha1", "/api/v1/namespaces");
    let (own, theirs, operators) = (&tenant.namespace, &scene.namespace, &scene.stage.namespace);
    let slot = scene.slots_of(&scene.tokens().get("victim").await.expect("it is there").metadata.uid.expect("a uid")).await;
    let slot = slot[0].metadata.name.as_deref().expect("a name");
    let role = json!({"metadata": {"name": "x"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}});
    let ledger = json!({"status": {"ledger": scene.status("victim").await.ledger}});
    let pod = json!({"metadata": {"name": "x"}, "spec": {"serviceAccountName": "operator", "containers": [{"name": "x", "image": "x"}]}});
    let attempts: [(&str, String, Value); 26] = [
        // The victim's Secret and object.
        ("GET", format!("{core}/{theirs}/secrets/victim-dbt"), Value::Null),
        ("GET", format!("{core}/{theirs}/secrets"), Value::Null),
        ("PATCH", format!("{core}/{theirs}/secrets/victim-dbt"), json!({"data": {"token": "eA=="}})),
        ("DELETE", format!("{core}/{theirs}/secrets/victim-dbt"), Value::Null),
        ("GET", format!("{kind}/namespaces/{theirs}/servicetokens/victim"), Value::Null),
        ("PATCH", format!("{kind}/namespaces/{theirs}/servicetokens/victim"), json!({"spec": {"suspend": true}})),
        ("DELETE", format!("{kind}/namespaces/{theirs}/servicetokens/victim"), Value::Null),
        ("POST", format!("{kind}/namespaces/{theirs}/servicetokens"), tenant.token(scene, "x", runner())),
        // The operator's own namespace: slots, credentials, and whatever could act as the operator.
        ("GET", format!("{core}/{operators}/secrets"), Value::Null),
        ("GET", format!("{core}/{operators}/secrets/{slot}"), Value::Null),
        ("GET", format!("{core}/{operators}/secrets/{}", scene.account), Value::Null),
        ("PATCH", format!("{core}/{operators}/secrets/{slot}"), json!({"metadata": {"labels": {"x": "y"}}})),
        ("DELETE", format!("{core}/{operators}/secrets/{slot}"), Value::Null),
        ("POST", format!("{core}/{operators}/secrets"), json!({"metadata": {"name": "x"}})),
        ("POST", format!("{core}/{operators}/pods"), pod),
        ("POST", format!("{core}/{operators}/serviceaccounts/operator/token"), json!({"spec": {}})),
        ("GET", format!("/apis/coordination.k8s.io/v1/namespaces/{operators}/leases"), Value::Null),
        // The account, and with it the grants.
        ("GET", format!("{kind}/dbtaccounts/{}", scene.account), Value::Null),
        ("PATCH", format!("{kind}/dbtaccounts/{}", scene.account), json!({"spec": {"grants": null}})),
        ("POST", format!("{kind}/dbtaccounts"), scene.account_manifest()),
        // The ledger, which says what may be revoked.
        ("PATCH", format!("{kind}/namespaces/{own}/servicetokens/own/status"), ledger.clone()),
        ("PUT", format!("{kind}/namespaces/{own}/servicetokens/own/status"), ledger),
        // What else would give more rights, or a grant that goes by labels.
        ("PATCH", format!("{core}/{own}"), json!({"metadata": {"labels": {"team": "data"}}})),
        ("POST", "/api/v1/namespaces".to_owned(), json!({"metadata": {"name": "x", "labels": {"team": "data"}}})),
        ("POST", format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{own}/rolebindings"), role.clone()),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(), role),
    ];
    for (method, path, body) in attempts {
        assert_eq!(tenant.status_of(method, &path, body).await, FORBIDDEN, "{method} {path}");
    }
    victim.unharmed(scene).await;
}

/// A status that comes with the object itself is dropped, at its creation and later.
async fn a_forged_ledger_does_not_arrive(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let victim = Victim::publish(scene, "victim").await;
    let theirs = scene.status("victim").await;
    let mut forged = tenant.token(scene, "forged", runner());
    forged["status"] = json!({"ledger": theirs.ledger, "token": theirs.token});
    let object = serde_json::from_value(forged.clone()).expect("a ServiceToken");
    tenant.tokens().create(&PostParams::default(), &object).await.expect("a tenant may create it");
    let own = tenant.published("forged").await;
    tenant.patch("forged", &json!({"status": forged["status"]})).await;
    tenant.rotate("forged", "again").await;
    tenant.patch("forged", &json!({"status": {"ledger": null}})).await;
    tenant.replaced("forged", &[&own]).await;
    tenant.delete("forged").await;
    victim.unharmed(scene).await;
    assert_eq!(scene.live(), [victim.id]);
}

async fn nothing_is_made_without_a_grant(scene: &Scene) {
    let (tenant, outsider) = (scene.tenant("x").await, scene.tenant("y").await);
    scene
        .connect(|spec| {
            let usual = spec["grants"][0].clone();
            spec["grants"] = json!([
                usual,
                {"namespaces": [tenant.namespace], "permissionSets": ["job_runner", "developer"], "projects": [{"id": 700}],
                 "writableEnvironments": ["development"]},
                {"namespaceSelector": {"matchLabels": {"team": scene.account}}, "permissionSets": ["*"], "allProjects": true},
            ]);
        })
        .await;
    let victim = Victim::publish(scene, "victim").await;
    tenant.apply(&tenant.token(scene, "granted", runner())).await;
    let granted = tenant.published("granted").await;
    let on = |set: &str, project: i64| json!({"permissionSet": set, "projects": [{"id": project}]});
    let environments = json!({"permissionSet": "developer", "projects": [{"id": 700}], "writableEnvironments": ["production"]});
    let asks = [
        ("other-set", json!([on("job_admin", 700)])),
        ("other-project", json!([on("job_runner", 701)])),
        ("by-name", json!([{"permissionSet": "job_runner", "projects": [{"name": "Marketing"}]}])),
        ("every-project", json!([{"permissionSet": "job_runner", "allProjects": true}])),
        ("whole-account", json!([{"permissionSet": "account_admin", "allProjects": true}])),
        ("environment", json!([environments])),
        ("mixed", json!([on("job_runner", 700), on("job_admin", 700)])),
        ("unknown-set", json!([on("a_set_of_tomorrow", 700)])),
    ];
    for (name, permissions) in &asks {
        tenant.apply(&tenant.token(scene, name, permissions.clone())).await;
    }
    let mut labelled = outsider.token(scene, "labelled", runner());
    labelled["metadata"]["labels"] = json!({"team": scene.account});
    outsider.apply(&labelled).await;
    for (name, _) in &asks {
        let stalled = tenant.expect(name, "Stalled", "True", "PolicyRefused").await;
        assert!(stalled.message.contains(&tenant.namespace), "{}", stalled.message);
    }
    // A namespace that no grant speaks of: labels on the object are not those of the namespace, which it cannot write.
    outsider.expect("labelled", "Stalled", "True", "PolicyRefused").await;
    let path = format!("/api/v1/namespaces/{}", outsider.namespace);
    let labels = json!({"metadata": {"labels": {"team": scene.account}}});
    assert_eq!(outsider.status_of("PATCH", &path, labels.clone()).await, FORBIDDEN);
    // What was granted once cannot be widened by an edit.
    tenant.patch("granted", &json!({"spec": {"permissions": [on("job_runner", 700), on("developer", 701)]}})).await;
    tenant.expect("granted", "Stalled", "True", "PolicyRefused").await;
    assert_eq!(tenant.string_of("granted-dbt").await, granted);
    assert_eq!(scene.created(), 2, "the victim's token and the one that was granted");
    victim.unharmed(scene).await;
    // The label counts once somebody sets it who may.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(scene.stage.client());
    namespaces.patch(&outsider.namespace, &PatchParams::default(), &Patch::Merge(&labels)).await.expect("an admin may");
    outsider.published("labelled").await;
}
