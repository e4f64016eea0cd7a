//! What the rule tells, and what it waits for.

use super::super::{Case, waiting_for};
use super::*;
use crate::desired::WorkloadKind::{Deployment, StatefulSet};
use crate::fixture::restarting::workload;
use crate::fixture::{at, now, object, turn};
use crate::observation::{Consumer, Consumers, Observation, Progress, Reading, Way, Workloads};
use crate::stage::retire::{replaced_at, retire};

/// The old token left the target an hour ago, and nobody else waits for anything.
fn replaced() -> Observation {
    object().swapped(3600).restarting(&[Deployment, StatefulSet])
}

const GOES: &str = "retire 4:2190 after 5";

#[track_caller]
fn check(observation: &Observation, message: &str, expected_turn: &str) {
    let entry = observation.ledger.retiring[0];
    let case = Case::of(observation, entry, replaced_at(observation, entry.token), now()).expect("something is published");
    let told: Vec<String> =
        waiting_for(&case).into_iter().filter(|it| it.rule == "Restart").map(|waiting| waiting.message).collect();
    assert_eq!(told.join("|"), message);
    assert_eq!(turn(&retire(observation, now())), expected_turn);
}

fn rolling(name: &str, outdated: u32, unavailable: u32) -> Workload {
    let progress = Progress { is_observed: true, outdated, unavailable };
    Workload { progress, ..workload(name, Some(-3000)) }
}

fn paced(name: &str, pace: Pace, outdated: u32) -> Workload {
    Workload { pace, ..rolling(name, outdated, 0) }
}

#[test]
fn what_is_owed_a_restart_waits_for_it() {
    check(&object().swapped(3600), "", GOES);
    check(&replaced(), "the workloads of namespace finance were not looked at yet", "read workloads");
    let left = replaced().working(0, &[workload("web", None)]);
    check(&left, "the workloads that take Secret dagster-dbt are being restarted", "pass");
    // Until it is written down that nobody is left.
    check(&replaced().working(0, &[]), "the workloads that take Secret dagster-dbt are being restarted", "pass");
    check(&replaced().working(0, &[]).restarted(5), "", GOES);
    let soon = object().swapped(30).restarting(&[Deployment]).with_desired(|it| it.retirement.after = std::time::Duration::ZERO);
    check(&soon, "the workloads that take Secret dagster-dbt are restarted after 2026-11-24T07:41Z", "pass until +30");
}

#[test]
fn a_paused_workload_is_named() {
    let paused = |name: &str| Workload { pace: Pace::Paused, ..workload(name, None) };
    check(&replaced().working(0, &[paused("web")]), "Deployment web is paused", "pass until +300");
    check(&replaced().working(-301, &[paused("web")]), "Deployment web is paused", "read workloads");
    let two = replaced().working(0, &[paused("web"), paused("api")]);
    check(&two, "Deployment api and Deployment web are paused", "pass until +300");
    // It was restarted, and paused in the middle of its roll-out.
    let halted = replaced().restarted(5).working(0, &[paced("web", Pace::Paused, 1)]);
    check(&halted, "Deployment web is paused", "pass until +300");
    check(&replaced().restarted(5).working(0, &[paced("web", Pace::Paused, 0)]), "", GOES);
}

#[test]
fn a_roll_out_under_way_is_waited_for() {
    let restarted = |workloads: &[Workload]| replaced().restarted(5).working(0, workloads);
    check(&restarted(&[rolling("web", 0, 0)]), "", GOES);
    let under_way = "the roll-out of Deployment web is under way";
    check(&restarted(&[rolling("web", 1, 0), rolling("api", 0, 0)]), under_way, "pass until +300");
    check(&restarted(&[rolling("web", 0, 1)]), under_way, "pass until +300");
    let unseen = Workload { progress: Progress::default(), ..rolling("web", 0, 0) };
    check(&restarted(&[unseen]), under_way, "pass until +300");
    let mixed = restarted(&[rolling("web", 1, 0), paced("api", Pace::Paused, 2)]);
    check(&mixed, "Deployment api is paused; the roll-out of Deployment web is under way", "pass until +300");
    // A look from before the restarts says nothing.
    let early = replaced().restarted(5).working(-3541, &[]);
    check(&early, "the workloads of namespace finance were not looked at yet", "read workloads");
}

/// What never rolls by itself is told as long as a pod is left, and not waited for afterwards.
#[test]
fn what_is_replaced_by_hand_is_told_while_a_pod_is_left() {
    let left = |it: Observation| {
        let consumer =
            Consumer { pod: "db-0".into(), created_at: at(-9000), way: Way::Environment, running_since: Some(at(-9000)) };
        it.with(|it| it.consumers = Reading::Known { value: Consumers::Seen(vec![consumer]), taken_at: now() })
    };
    let set = |pace, outdated| {
        let mut set = paced("db", pace, outdated);
        set.reference.kind = StatefulSet;
        replaced().restarted(5).working(0, &[set])
    };
    let on_delete = "StatefulSet db replaces a pod only when it is deleted (OnDelete)";
    check(&left(set(Pace::OnDelete, 1)), on_delete, "pass until +300");
    check(&left(set(Pace::OnDelete, 0)), "", "pass until +300");
    check(&set(Pace::OnDelete, 1), "", GOES);
    let parted = "StatefulSet db replaces no pod below the partition of the update strategy";
    check(&left(set(Pace::Partition(1), 0)), parted, "pass until +300");
    check(&set(Pace::Partition(1), 0), "", GOES);
    check(&set(Pace::Partition(1), 2), "the roll-out of StatefulSet db is under way", "pass until +300");
}

#[test]
fn what_the_operator_may_not_do_is_told() {
    let refused = |why| {
        let value = Workloads::Unreadable { kind: Deployment, why };
        replaced().with(|it| it.workloads = Reading::Known { value, taken_at: now() })
    };
    check(
        &refused(Unreadable::Forbidden),
        "the operator may not patch Deployment in finance; allow restarts in the chart, or empty retire.restart",
        "pass until +300",
    );
    let failed = "the Deployments of namespace finance could not be read; it is tried again";
    check(&refused(Unreadable::Failed), failed, "pass until +300");
}

#[test]
fn neither_a_compromised_token_nor_one_past_its_deadline_waits() {
    let owed = || replaced().restarted(4);
    check(&owed().with(|it| it.ledger.compromised = Some(crate::identity::Serial(4))), "", GOES);
    let deadline =
        crate::desired::Deadline { after: std::time::Duration::from_secs(3600), then: crate::desired::OnDeadline::Delete };
    check(&owed().with_desired(|it| it.retirement.deadline = Some(deadline)), "", GOES);
}
