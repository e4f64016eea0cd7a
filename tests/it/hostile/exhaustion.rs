//! What a tenant can use up: the budget, the size of objects, and the patience of a finalizer. Neighbours are served all the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Victim, connect, runner};
use crate::support::case::{Case, cases};
use crate::support::objects::told;
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::tenant::Tenant;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    // Huge objects keep the API server busy, and this test writes many: beside others it took five times as long as alone.
    let alone = cases!(Own: huge_objects_hold_nobody_up);
    let beside_others = cases!(Shared:
        whoever_rotates_in_a_loop_leaves_something_for_others,
        whoever_takes_finalizers_off_leaves_only_his_own_behind,
    );
    [alone, beside_others].concat()
}

async fn whoever_rotates_in_a_loop_leaves_something_for_others(scene: &Scene) {
    const BUDGET: usize = 10;
    let (tenant, neighbour) = (scene.tenant("x").await, scene.tenant("y").await);
    connect(scene, &[&tenant, &neighbour]).await;
    scene.patch_account(json!({"spec": {"limits": {"mintsPerHour": BUDGET}}})).await;
    let victim = Victim::publish(scene, "victim").await;
    tenant.apply(&tenant.token(scene, "loop", runner())).await;
    tenant.published("loop").await;
    let mut round = 0;
    until(LIMIT, "the tenant has used up what it may", async || {
        let status = tenant.status("loop").await;
        if status.conditions.iter().any(|it| it.reason == "WaitingForBudget") {
            return Ok(());
        }
        if round == 0 || status.last_handled_rotate_at == Some(round.to_string()) {
            round += 1;
            tenant.rotate("loop", &round.to_string()).await;
        }
        Err(told(&status.conditions))
    })
    .await;
    let made = scene.created();
    assert!(round > 2 && made < BUDGET, "{made} tokens after {round} rounds");
    // Whoever comes now gets a token, and need not wait for the hour to pass.
    neighbour.apply(&neighbour.token(scene, "late", runner())).await;
    neighbour.published("late").await;
    assert_eq!(scene.created(), made + 1);
    victim.unharmed(scene).await;
}

/// More labels than an object can have, at half a kilobyte each with what the API server notes of it.
const TOO_MANY_LABELS: usize = 9000;

/// How many labels are tried at once: together they take less than all annotations may.
const SOME_LABELS: usize = 100;

/// More text than that.
const MUCH_TEXT: usize = 200_000;

/// How much may be left: less than a finalizer or a ledger takes.
const LEFT_BYTES: usize = 64;

fn labels(count: usize) -> BTreeMap<String, String> {
    let prefix = "x".repeat(60);
    (0..count).map(|number| (format!("{prefix}.{prefix}.example.com/{number:063}"), "y".repeat(63))).collect()
}

/// The largest size that is taken, to within `apart`. The first one that is known not to be is `too_much`.
async fn largest(apart: usize, mut too_much: usize, mut is_taken: impl AsyncFnMut(usize) -> bool) -> usize {
    let (limit, mut fits) = (too_much, 0);
    while too_much - fits > apart {
        let size = usize::midpoint(fits, too_much);
        if is_taken(size).await {
            fits = size;
        } else {
            too_much = size;
        }
    }
    assert!(too_much < limit, "{limit} is not too much");
    fits
}

/// Merges into the metadata of an object; whether the API server takes it.
async fn patched(tenant: &Tenant, name: &str, metadata: Value) -> bool {
    let path = format!("/apis/tokens.dbt-operator.dev/v1alpha1/namespaces/{}/servicetokens/{name}", tenant.namespace);
    tenant.status_of("PATCH", &path, json!({"metadata": metadata})).await == 200
}

/// About as many labels as an object may have.
async fn most_labels(tenant: &Tenant, name: &str) -> usize {
    // Whatever is tried has all labels of the last size that was taken, and more.
    let is_taken = async |count| patched(tenant, name, json!({"labels": labels(count)})).await;
    largest(SOME_LABELS, TOO_MANY_LABELS, is_taken).await - SOME_LABELS
}

/// Makes an object so large that nothing can be added to it any more.
async fn stuff(tenant: &Tenant, name: &str, count: usize) {
    assert!(
        patched(tenant, name, json!({"labels": null})).await && patched(tenant, name, json!({"labels": labels(count)})).await
    );
    let is_taken = async |size| patched(tenant, name, json!({"annotations": {"note": "z".repeat(size)}})).await;
    largest(LEFT_BYTES, MUCH_TEXT, is_taken).await;
}

/// Waits until the operator was told that an object is too large.
async fn is_told(scene: &Scene, name: &str) {
    until(LIMIT, &format!("{name} is too large to be written"), async || {
        let lines = scene.stage.log_lines(&[&format!("\"{name}\"")], 5);
        if lines.contains("request is too large") { Ok(()) } else { Err(lines) }
    })
    .await;
}

async fn huge_objects_hold_nobody_up(scene: &Scene) {
    let _operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    let victim = Victim::publish(scene, "victim").await;
    // The largest templates that the schema takes, as constants and as expressions.
    let constant = format!("{{{{ token }}}}{}", "c".repeat(4085));
    let expressions = "{{token}}".repeat(455);
    for (name, value) in [("constants", &constant), ("expressions", &expressions)] {
        let mut token = tenant.token(scene, name, runner());
        let data: BTreeMap<String, &String> = (0..32).map(|number| (format!("token-{number}"), value)).collect();
        let annotations: BTreeMap<String, String> = (0..32).map(|number| (format!("a-{number}"), "z".repeat(4096))).collect();
        token["spec"]["secret"]["template"] = json!({"data": data, "metadata": {"annotations": annotations}});
        tenant.apply(&token).await;
    }
    // Objects to which nothing can be added: before there is a token, and afterwards.
    let mut stuffed = tenant.token(scene, "stuffed", runner());
    stuffed["spec"]["suspend"] = json!(true);
    tenant.apply(&stuffed).await;
    tenant.expect("stuffed", "Ready", "False", "Suspended").await;
    let mut grown = tenant.token(scene, "grown", runner());
    grown["metadata"]["annotations"] = json!({"tokens.dbt-operator.dev/rotate-at": "a"});
    tenant.apply(&grown).await;
    let grown = tenant.published("grown").await;
    for name in ["constants", "expressions"] {
        tenant.expect(name, "Ready", "True", "Published").await;
    }
    let made = scene.created();
    let count = most_labels(&tenant, "stuffed").await;
    for name in ["stuffed", "grown"] {
        stuff(&tenant, name, count).await;
    }
    // Neither takes room.
    tenant.patch("stuffed", &json!({"spec": {"suspend": null}})).await;
    tenant.rotate("grown", "b").await;

    for name in ["stuffed", "grown"] {
        is_told(scene, name).await;
    }
    scene.apply(&scene.token("neighbour", runner())).await;
    scene.published("neighbour").await;
    assert_eq!(scene.created(), made + 1, "nothing is made that cannot be written down first");
    assert_eq!(tenant.string_of("grown-dbt").await, grown);
    victim.unharmed(scene).await;
    // Nobody can even ask for the deletion of one before there is room for that.
    assert!(patched(&tenant, "grown", json!({"labels": null})).await);
    for name in ["stuffed", "grown"] {
        tenant.delete(name).await;
    }
    for name in ["constants", "expressions"] {
        tenant.delete(name).await;
    }
    let neighbour = scene.id_of(&scene.string_of("neighbour").await);
    scene.only_live(&[victim.id, neighbour]).await;
}

async fn whoever_takes_finalizers_off_leaves_only_his_own_behind(scene: &Scene) {
    let tenant = scene.tenant("x").await;
    connect(scene, &[&tenant]).await;
    scene.patch_account(json!({"spec": {"inventory": {"interval": "1m"}}})).await;
    let victim = Victim::publish(scene, "victim").await;
    tenant.apply(&tenant.token(scene, "left", runner())).await;
    let left = tenant.published("left").await;
    let id = scene.id_of(&left);
    // Suspended, so that the operator does not put the finalizer back.
    tenant.patch("left", &json!({"spec": {"suspend": true}})).await;
    tenant.expect("left", "Ready", "True", "Suspended").await;
    tenant.patch("left", &json!({"metadata": {"finalizers": null}})).await;
    tenant.delete("left").await;
    assert!(scene.live().contains(&id), "nobody was there to revoke it");
    // It is told of; one of the same name begins anew, and has nothing to do with what is left.
    tenant.apply(&tenant.token(scene, "left", runner())).await;
    let next = tenant.published("left").await;
    assert_ne!(next, left);
    until(LIMIT, "the account tells of a stray", async || {
        let account = scene.accounts().get(&scene.account).await.map_err(|error| error.to_string())?;
        let tokens = account.status.unwrap_or_default().tokens.unwrap_or_default();
        if tokens.strays == Some(1) && tokens.managed == Some(2) { Ok(()) } else { Err(format!("{tokens:?}")) }
    })
    .await;
    tenant.delete("left").await;
    scene.only_live(&[victim.id, id]).await;
    victim.unharmed(scene).await;
}
