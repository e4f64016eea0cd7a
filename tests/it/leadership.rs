//! Two replicas and one lease: who leads after a graceful end, after a kill, and after a pause that was longer than the lease.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::operator::{Operator, OperatorOptions};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Own:
        a_standby_takes_over_at_once_when_the_leader_is_stopped,
        a_standby_takes_over_within_seconds_when_the_leader_is_killed,
        a_leader_that_wakes_up_after_its_lease_ends_and_does_no_harm,
    )
}

/// How long a lease holds, as the operator declares it.
const LEASE: SignedDuration = SignedDuration::from_secs(12);

/// Within which time a standby takes over from a leader that does not say goodbye.
const TAKE_OVER: SignedDuration = SignedDuration::from_secs(15);

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

async fn replica(scene: &Scene, identity: &'static str) -> Operator {
    let options = OperatorOptions { leader_election: true, identity: Some(identity), ..OperatorOptions::default() };
    scene.stage.start_operator(&options).await
}

async fn lease(scene: &Scene) -> LeaseSpec {
    let leases: Api<Lease> = Api::namespaced(scene.stage.client(), &scene.stage.namespace);
    leases.get("dbt-token-operator").await.expect("the lease is there").spec.unwrap_or_default()
}

/// Two replicas: one that leads and has published a token, and one that waits with warm caches.
async fn two_replicas(scene: &Scene) -> (Operator, Operator) {
    scene.connect(|_| {}).await;
    let first = replica(scene, "first").await;
    scene.apply(&scene.token("before", runner())).await;
    scene.published("before").await;
    let second = replica(scene, "second").await;
    until(LIMIT, "the standby is ready", async || {
        let metrics = second.metrics().await;
        if metrics.is_empty() { Err("no metrics".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(first.leads() && !second.leads());
    (first, second)
}

/// Waits until the standby has the lease; when it took it, and when its holder before had last renewed it.
async fn taken_over(scene: &Scene, renewed: Timestamp, second: &Operator) -> SignedDuration {
    let acquired = until(LIMIT, "the standby leads", async || {
        let lease = lease(scene).await;
        let is_second = lease.holder_identity.as_deref() == Some("second") && second.leads();
        lease.acquire_time.filter(|_| is_second).map(|time| time.0).ok_or_else(|| format!("{:?}", lease.holder_identity))
    });
    acquired.await.duration_since(renewed)
}

async fn last_renewed(scene: &Scene) -> Timestamp {
    lease(scene).await.renew_time.expect("the leader renews it").0
}

async fn goes_on(scene: &Scene, name: &str) {
    scene.apply(&scene.token(name, runner())).await;
    scene.published(name).await;
    scene.check().await;
}

async fn a_standby_takes_over_at_once_when_the_leader_is_stopped(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    let renewed = last_renewed(scene).await;
    first.signal("TERM");
    let waited = taken_over(scene, renewed, &second).await;
    assert!(waited < LEASE, "it waited for the end of the lease: {waited:#}");
    until(LIMIT, "the first one has ended", async || if first.has_ended() { Ok(()) } else { Err("it runs".to_owned()) }).await;
    goes_on(scene, "after").await;
}

async fn a_standby_takes_over_within_seconds_when_the_leader_is_killed(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    first.kill();
    let renewed = last_renewed(scene).await;
    let waited = taken_over(scene, renewed, &second).await;
    assert!(waited >= LEASE, "it did not wait for the end of the lease: {waited:#}");
    assert!(waited <= TAKE_OVER, "it took {waited:#}");
    goes_on(scene, "after").await;
}

async fn a_leader_that_wakes_up_after_its_lease_ends_and_does_no_harm(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    first.signal("STOP");
    let renewed = last_renewed(scene).await;
    taken_over(scene, renewed, &second).await;
    let string = scene.string_of("before").await;
    scene.annotate_token("before", "rotate-at", "now").await;
    scene.replaced("before", &string).await;
    first.signal("CONT");
    until(LIMIT, "the first one has ended", async || if first.has_ended() { Ok(()) } else { Err("it runs".to_owned()) }).await;
    goes_on(scene, "after").await;
    assert_eq!(scene.created(), 3, "one token each, and one for the rotation");
}
