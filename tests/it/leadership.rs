//! Two replicas and one lease: who leads after a graceful end, with or without work under way, after a kill, and after a pause
//! that was longer than the lease. And two replicas without a lease, which both work on everything.

use std::time::{Duration, Instant};

use dbt_cloud_emulator::{Fault, Rule};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::operator::{Operator, OperatorOptions};
use crate::support::scene::Scene;
use crate::support::stage::repository;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Own:
        a_standby_takes_over_at_once_when_the_leader_is_stopped,
        a_standby_takes_over_within_seconds_when_the_leader_is_killed,
        a_leader_that_wakes_up_after_its_lease_ends_and_does_no_harm,
        a_leader_that_is_stopped_finishes_what_is_under_way,
        a_leader_that_is_stopped_abandons_what_does_not_end,
        two_that_both_believe_to_lead_do_no_harm,
    )
}

/// How long a lease holds, as the operator declares it.
const LEASE: SignedDuration = SignedDuration::from_secs(12);

/// Within which time a standby takes over from a leader that does not say goodbye.
const TAKE_OVER: SignedDuration = SignedDuration::from_secs(15);

/// Within which time it takes over from one that does: the leader gives the lease back within three seconds or not at all,
/// and the standby sees that in its watch.
const HAND_OVER: SignedDuration = SignedDuration::from_secs(5);

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

async fn has_ended(operator: &Operator) {
    until(LIMIT, "the process has ended", async || if operator.has_ended() { Ok(()) } else { Err("it runs".to_owned()) }).await;
}

/// How long the chart lets a process live that was asked to stop.
fn grace_period() -> Duration {
    let values = std::fs::read_to_string(repository().join("charts/dbt-token-operator/values.yaml")).expect("the chart's values");
    let values: Value = serde_yaml::from_str(&values).expect("YAML");
    Duration::from_secs(values["terminationGracePeriodSeconds"].as_u64().expect("a number of seconds"))
}

async fn goes_on(scene: &Scene, name: &str) {
    scene.apply(&scene.token(name, runner())).await;
    scene.published(name).await;
    scene.check().await;
}

async fn a_standby_takes_over_at_once_when_the_leader_is_stopped(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    let asked = Timestamp::now();
    first.signal("TERM");
    let waited = taken_over(scene, asked, &second).await;
    assert!(waited <= HAND_OVER, "it took {waited:#}");
    has_ended(&first).await;
    goes_on(scene, "after").await;
}

async fn a_standby_takes_over_within_seconds_when_the_leader_is_killed(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    first.kill();
    let killed = Instant::now();
    let renewed = last_renewed(scene).await;
    let waited = taken_over(scene, renewed, &second).await;
    assert!(waited >= LEASE, "it did not wait for the end of the lease: {waited:#}");
    assert!(waited <= TAKE_OVER, "it took {waited:#}");
    assert!(killed.elapsed() <= TAKE_OVER.unsigned_abs(), "it took {:?} from the kill until it works", killed.elapsed());
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
    has_ended(&first).await;
    goes_on(scene, "after").await;
    assert_eq!(scene.created(), 3, "one token each, and one for the rotation");
}

/// Stops the leader in the middle of a creation that dbt answers after a while, or never; how long it took to end.
async fn stop_amid_a_creation(scene: &Scene, leader: &Operator, ms: Option<u64>) -> Duration {
    let made = scene.created();
    let hang = scene.dbt.add_fault(Rule::new(Fault::HangAfter { ms }).on("POST", "service-tokens/").times(1));
    scene.apply(&scene.token("amid", runner())).await;
    assert!(scene.dbt.wait_until(LIMIT, |_| scene.created() > made).await);
    leader.signal("TERM");
    let asked = Instant::now();
    has_ended(leader).await;
    let took = asked.elapsed();
    scene.dbt.remove_fault(hang);
    took
}

/// Everything rests on one token for each of the two objects, and nothing else of the operator lives in dbt.
async fn one_token_each(scene: &Scene) {
    let strings = [scene.published("before").await, scene.published("amid").await];
    let mut ids = strings.map(|string| scene.id_of(&string));
    ids.sort_unstable();
    scene.only_live(&ids).await;
    scene.check().await;
}

async fn a_leader_that_is_stopped_finishes_what_is_under_way(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    let took = stop_amid_a_creation(scene, &first, Some(2000)).await;
    assert!(took < grace_period(), "it took {took:?}");
    let effects = first.effects("amid");
    assert!(effects.iter().any(|effect| effect == "mint"), "the string is stored: {effects:?}");
    one_token_each(scene).await;
    assert_eq!(scene.created(), 2, "the next leader goes on with the token of the first");
    assert!(second.leads());
}

async fn a_leader_that_is_stopped_abandons_what_does_not_end(scene: &Scene) {
    let (first, second) = two_replicas(scene).await;
    let took = stop_amid_a_creation(scene, &first, None).await;
    assert!(took < grace_period(), "it took {took:?}, and would have been killed");
    one_token_each(scene).await;
    assert_eq!(scene.created(), 3, "the string of one was lost, and it was revoked");
    assert!(second.leads());
}

async fn two_that_both_believe_to_lead_do_no_harm(scene: &Scene) {
    const OBJECTS: usize = 6;
    const ROUNDS: usize = 3;
    let options = |identity| OperatorOptions { identity: Some(identity), ..OperatorOptions::default() };
    let (one, other) = (options("one"), options("other"));
    let (one, other) = futures::join!(scene.stage.start_operator(&one), scene.stage.start_operator(&other));
    scene.connect(|_| {}).await;
    let names: Vec<String> = (0..OBJECTS).map(|number| format!("object-{number}")).collect();
    for name in &names {
        scene.apply(&scene.token(name, runner())).await;
    }
    let mut strings = Vec::new();
    for name in &names {
        strings.push(scene.published(name).await);
    }
    for round in 0..ROUNDS {
        let set = ["job_admin", "job_viewer", "job_runner"][round % 3];
        for (number, name) in names.iter().enumerate() {
            match (number + round) % 2 {
                0 => scene.permit(name, json!([{"permissionSet": set, "projects": [{"id": 700}]}])).await,
                _ => scene.annotate_token(name, "rotate-at", &round.to_string()).await,
            }
        }
        for (name, string) in names.iter().zip(&mut strings) {
            *string = scene.replaced(name, string).await;
        }
    }
    // At rest there is one token an object, however many were made on the way; the guards saw every moment in between.
    let mut ids: Vec<i64> = strings.iter().map(|string| scene.id_of(string)).collect();
    ids.sort_unstable();
    scene.only_live(&ids).await;
    for name in &names {
        scene.expect(name, "Rotating", "False", "UpToDate").await;
        scene.published(name).await;
    }
    let worked = [&one, &other].map(|operator| names.iter().map(|name| operator.effects(name).len()).sum::<usize>());
    assert!(worked.iter().all(|effects| *effects > OBJECTS), "both have worked: {worked:?}");
    let wanted = OBJECTS * (ROUNDS + 1);
    // Each of both may make a token of one serial, and give an attempt up because of a token that the other one just made.
    assert!((wanted..=3 * wanted).contains(&scene.created()), "{} tokens were made for {wanted}", scene.created());
}
