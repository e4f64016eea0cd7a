//! What a tenant can write, made to look like the operator's own: marks, slots and targets. And templates, which are no programs.

use serde_json::{Value, json};

use super::{Victim, connect, name_in_dbt, runner};
use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::tenant::Tenant;

pub fn cases() -> Vec<Case> {
    cases!(Shared: forged_marks_slots_and_targets_end_nobodys_token, a_template_is_no_program)
}

/// A Secret that says of itself what the operator's slot of the victim says, in the tenant's namespace.
fn forged_slot(scene: &Scene, tenant: &Tenant, victim: &Victim, owner: &str) -> Value {
    let prefix = "tokens.dbt-operator.dev";
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": format!("{prefix}/slot"), "immutable": true,
        "metadata": {
            "name": format!("slot-{owner}-1-00000000"), "namespace": tenant.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "dbt-token-operator", format!("{prefix}/slot"): "true",
                format!("{prefix}/owner-uid"): owner, format!("{prefix}/serial"): "1",
                format!("{prefix}/installation"): scene.stage.installation, format!("{prefix}/condemned"): "Superseded",
                format!("{prefix}/managed"): "true",
            },
            "annotations": {
                format!("{prefix}/owner-namespace"): tenant.namespace, format!("{prefix}/owner-name"): "forger",
                format!("{prefix}/account"): scene.account, format!("{prefix}/account-id"): scene.dbt.account_id().to_string(),
                format!("{prefix}/token-id"): victim.id.to_string(), format!("{prefix}/token-uid"): &victim.string[5..12],
                format!("{prefix}/granted"): "x",
            },
        },
        "stringData": {"token": victim.string},
    })
}

/// A Secret that says of itself that the operator made it for an object, and put the victim's token into it.
fn forged_target(tenant: &Tenant, victim: &Victim, object: &str) -> Value {
    let prefix = "tokens.dbt-operator.dev";
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": format!("{object}-dbt"), "namespace": tenant.namespace,
            "labels": {"app.kubernetes.io/managed-by": "dbt-token-operator", format!("{prefix}/managed"): "true"},
            "annotations": {
                format!("{prefix}/service-token"): object, format!("{prefix}/token-id"): victim.id.to_string(),
                format!("{prefix}/token-uid"): &victim.string[5..12], format!("{prefix}/published-at"): "2026-11-24T08:00:00Z",
                format!("{prefix}/rule"): "0", format!("{prefix}/data-keys"): "token,kept",
            },
        },
        "stringData": {"token": victim.string, "kept": "the tenant's own"},
    })
}

async fn forged_marks_slots_and_targets_end_nobodys_token(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let victim = Victim::publish(scene, "victim").await;
    let theirs = scene.tokens().get("victim").await.expect("it is there").metadata.uid.expect("a uid");
    // A mark in a name: refused with its brackets, and no mark without them.
    let mark = victim.name_in_dbt.rsplit_once('[').expect("a mark").1.trim_end_matches(']').to_owned();
    for name in [format!("x [{mark}]"), format!("[{mark}]"), format!("x [{mark}")] {
        let mut token = tenant.token(scene, "marked", runner());
        token["spec"]["tokenName"] = json!(name);
        let refusal = tenant.try_apply(&token).await.expect_err("brackets are refused");
        assert!(refusal.contains("tokenName takes letters") || refusal.contains("spec.tokenName: Too long"), "{refusal}");
    }
    let mut marked = tenant.token(scene, "marked", runner());
    marked["spec"]["tokenName"] = json!(mark.get(..100).unwrap_or(&mark).trim_end());
    tenant.apply(&marked).await;
    // Targets that were there before their objects, and slots of an object's own uid and of the victim's.
    tenant.apply(&forged_target(&tenant, &victim, "forger")).await;
    tenant.apply(&forged_target(&tenant, &victim, "taken-over")).await;
    let taken_over = json!({"metadata": {"annotations": {"tokens.dbt-operator.dev/taken-over": "true"}}});
    let path = format!("/api/v1/namespaces/{}/secrets/taken-over-dbt", tenant.namespace);
    assert_eq!(tenant.status_of("PATCH", &path, taken_over).await, 200);
    for name in ["forger", "taken-over"] {
        tenant.apply(&tenant.token(scene, name, runner())).await;
    }
    let own = tenant.tokens().get("forger").await.expect("it is there").metadata.uid.expect("a uid");
    for owner in [&own, &theirs] {
        tenant.apply(&forged_slot(scene, &tenant, &victim, owner)).await;
    }
    for name in ["marked", "forger", "taken-over"] {
        let string = tenant.published(name).await;
        assert_ne!(string, victim.string, "{name} got a token of its own");
        assert!(name_in_dbt(scene, scene.id_of(&string)).ends_with(']'), "{name}");
    }
    // What was published is replaced, and then all goes, with whatever it names.
    let before = tenant.string_of("forger-dbt").await;
    tenant.apply(&forged_target(&tenant, &victim, "forger")).await;
    tenant.rotate("forger", "again").await;
    tenant.replaced("forger", &[&before, &victim.string]).await;
    // Nobody mends what a suspended object's Secret says, so that it still does when the object goes.
    for name in ["forger", "taken-over"] {
        tenant.patch(name, &json!({"spec": {"suspend": true}})).await;
        tenant.expect(name, "Ready", "True", "Suspended").await;
        tenant.apply(&forged_target(&tenant, &victim, name)).await;
    }
    for name in ["marked", "forger", "taken-over"] {
        tenant.delete(name).await;
    }
    victim.unharmed(scene).await;
    assert_eq!(scene.live(), [victim.id], "the tenant's own are revoked, and nobody else's");
}

async fn a_template_is_no_program(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let wrong = [
        "{{ token.__class__ }}",
        "{{ token['__class__'] }}",
        "{{ token | attr('x') }}",
        "{{ token | replace('a', 'b') }}",
        "{{ self }}",
        "{{ env }} token",
        "{{ env('KUBECONFIG') }} token",
        "{{ debug() }} token",
        "{{ range(999999999) }} token",
        "{{ token * 999999999 }}",
        "{{ 'x' ~ token }}",
        "{{ secret('other', 'key') }} token",
        "{{ lookup('v1', 'Secret', 'kube-system', 'x') }} token",
        "{{ .Values.token }}",
        "{{ data.token }}",
        "{% include '/etc/passwd' %} token",
        "{% extends 'token' %}",
        "{% import 'token' as t %}",
        "{% set t = token %}{{ t }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }} token",
        "{% raw %}{{ token }}{% endraw %}",
        "{%- for a in token -%}{%- for b in token -%}{{ a }}{%- endfor -%}{%- endfor -%}",
        "{# {{ token }} #}",
        "{{ {{ token }} }}",
        "{{ token\u{0} }}",
        "{{ t\u{f6}ken }} token",
    ];
    for (number, template) in wrong.iter().enumerate() {
        let mut token = tenant.token(scene, &format!("wrong-{number}"), runner());
        token["spec"]["secret"]["template"] = json!({"data": {"token": "{{ token }}", "other": template}});
        tenant.apply(&token).await;
    }
    for (number, template) in wrong.iter().enumerate() {
        let stalled = tenant.expect(&format!("wrong-{number}"), "Stalled", "True", "InvalidSpec").await;
        assert!(stalled.message.starts_with("secret.template.data.other: "), "{template}: {}", stalled.message);
    }
    for key in ["../other", "a/b", "a b", ""] {
        let mut token = tenant.token(scene, "key", runner());
        token["spec"]["secret"]["template"] = json!({"data": {"token": "{{ token }}", key: "x"}});
        let refusal = tenant.try_apply(&token).await.expect_err(key);
        assert!(refusal.contains("a key of a Secret takes letters"), "{refusal}");
    }
    assert_eq!(scene.created(), 0, "nothing is made for a wrong template");
    // What looks like another language is plain text, and outside of the data there are no templates at all.
    let mut token = tenant.token(scene, "plain", runner());
    token["spec"]["secret"]["template"] = json!({
        "metadata": {"annotations": {"note": "{{ token }}"}},
        "data": {"token": "{{ token }}", "shell": "$(cat /etc/passwd) ${token} `token` %TOKEN% <?php token ?> #{token}"},
    });
    tenant.apply(&token).await;
    let string = tenant.published("plain").await;
    let secret = tenant.secrets().get("plain-dbt").await.expect("it is there");
    let shell = &secret.data.as_ref().expect("data")["shell"].0;
    assert_eq!(shell, b"$(cat /etc/passwd) ${token} `token` %TOKEN% <?php token ?> #{token}");
    assert_eq!(secret.metadata.annotations.expect("annotations")["note"], "{{ token }}");
    assert!(scene.dbt.authenticates(&string).is_some());
}
