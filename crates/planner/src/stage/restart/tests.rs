//! Who is restarted, when, and how often.

use super::*;
use crate::desired::WorkloadKind::{DaemonSet, Deployment, StatefulSet};
use crate::fixture::restarting::workload;
use crate::fixture::{at, now, object, turn};
use crate::identity::Serial;
use crate::observation::{Pace, Reading, Unreadable, Workload, Workloads};

#[track_caller]
fn check(observation: &Observation, expected: &str) {
    assert_eq!(turn(&restart(observation, now())), expected);
}

/// 2202 replaced 2190 so many seconds ago, and Deployments are to be restarted for it.
fn swapped(seconds_ago: i64) -> Observation {
    object().swapped(seconds_ago).restarting(&[Deployment])
}

const WRITES_DOWN: &str = "restarted; serial 5, current 5:2202, retiring 4:2190, restarted 5";

#[test]
fn nobody_is_restarted_unless_that_is_declared_and_somebody_may_hold_another_token() {
    check(&object().swapped(600), "pass");
    check(&object().published(5, 2202).restarting(&[Deployment]), "pass");
    // Declared afterwards, while the old token waits for its readers.
    check(&swapped(600), "read workloads");
    // Nothing is left to be held.
    check(&swapped(600).with(|it| it.ledger.retiring.clear()), "pass");
    // Declared at the commit: whoever held it is owed a restart, even if it was lost or has gone since.
    check(&swapped(600).restarted(4).with(|it| it.ledger.retiring.clear()), "read workloads");
    check(&swapped(600).restarted(4), "read workloads");
    check(&swapped(600).restarted(5), "pass");
    // A token that waits for a later swap than the published one is held by nobody who would take that.
    check(&object().published(5, 2202).restarting(&[Deployment]).retiring(6, 2206, 600), "pass");
}

#[test]
fn the_new_token_has_to_be_in_its_place() {
    check(&swapped(600).holding(2190), "pass");
    check(&swapped(600).claimed(), "pass");
    check(&swapped(600).inactive(2202), "pass");
    check(&swapped(600).with(|it| it.record.published = None), "pass");
    check(&swapped(600).with(|it| it.ledger.current = None), "pass");
    check(&swapped(600).attempt(6, crate::ledger::Cause::TokenUnusable, 0), "pass");
    // dbt is not needed.
    check(&swapped(600).not_ready(), "read workloads");
    check(&swapped(600).listless(), "read workloads");
}

#[test]
fn swaps_of_one_minute_have_one_restart() {
    check(&swapped(0), "pass until +60");
    check(&swapped(59), "pass until +1");
    check(&swapped(60), "read workloads");
    // A look from before then does not count.
    check(&swapped(60).working(-1, &[]), "read workloads");
    check(&swapped(60).working(0, &[workload("web", None)]), "restart_workloads for 5 at +0: Deployment web@7");
    // The same workload was restarted for another Secret, or by somebody, since this swap.
    check(&swapped(60).working(0, &[workload("web", Some(-59))]), WRITES_DOWN);
    check(&swapped(60).working(0, &[workload("web", Some(-60))]), "restart_workloads for 5 at +0: Deployment web@7");
}

#[test]
fn a_compromised_token_is_not_waited_with() {
    let compromised = |ago| swapped(ago).restarted(4).with(|it| it.ledger.compromised = Some(Serial(4)));
    check(&compromised(0), "pass until +1");
    check(&compromised(1), "read workloads");
    check(&compromised(1).working(0, &[workload("web", Some(-1))]), "restart_workloads for 5 at +0: Deployment web@7");
    // It has gone in the meantime.
    check(&compromised(1).with(|it| it.ledger.retiring.clear()), "read workloads");
    check(&swapped(1).with(|it| it.ledger.compromised = Some(Serial(4))), "read workloads");
    // An older one was, and its readers were restarted since.
    check(&swapped(1).restarted(4).with(|it| it.ledger.compromised = Some(Serial(3))), "pass until +59");
}

#[test]
fn each_workload_that_is_left_is_restarted_and_no_other() {
    let seen = |workloads: &[Workload]| swapped(600).working(0, workloads);
    check(&seen(&[]), WRITES_DOWN);
    let set = |kind, name: &str| {
        let mut it = workload(name, None);
        it.reference.kind = kind;
        it
    };
    let others = [set(StatefulSet, "db"), workload("web", None), set(DaemonSet, "agent")];
    check(&seen(&others), "restart_workloads for 5 at +0: Deployment web@7");
    check(
        &seen(&others).restarting(&[StatefulSet, DaemonSet]),
        "restart_workloads for 5 at +0: StatefulSet db@7, DaemonSet agent@7",
    );
    let done = [workload("a", Some(-599)), workload("b", Some(-9000)), Workload { created_at: at(-599), ..workload("c", None) }];
    check(&seen(&done), "restart_workloads for 5 at +0: Deployment b@7");
    check(&seen(&[Workload { created_at: at(-600), ..workload("c", None) }]), "restart_workloads for 5 at +0: Deployment c@7");
    let fraction = now().checked_add(std::time::Duration::from_millis(900)).expect("a time");
    let words = turn(&restart(&seen(&[workload("web", None)]), fraction));
    assert_eq!(words, "restart_workloads for 5 at +0: Deployment web@7");
    let Turn::Take(crate::plan::Step::Act(Effect::RestartWorkloads { at: mark, .. }), _) = restart(&seen(&done), fraction) else {
        panic!("it restarts");
    };
    assert_eq!(mark, now(), "marks are written in whole seconds");
}

#[test]
fn many_are_restarted_in_turns() {
    let many: Vec<Workload> = (0..120).map(|number| workload(&format!("web-{number:03}"), None)).collect();
    let step = restart(&swapped(600).working(0, &many), now());
    let Turn::Take(crate::plan::Step::Act(Effect::RestartWorkloads { workloads, .. }), None) = step else { panic!("{step:?}") };
    assert_eq!((workloads.len(), workloads[0].name.as_str()), (MOST_AT_ONCE, "web-000"));
}

#[test]
fn what_is_paused_is_waited_for_and_the_others_are_not() {
    let paused = |name: &str| Workload { pace: Pace::Paused, ..workload(name, None) };
    let seen = |seconds, workloads: &[Workload]| swapped(600).working(seconds, workloads);
    check(&seen(0, &[paused("a")]), "pass until +75");
    check(&seen(-60, &[paused("a")]), "pass until +7");
    check(&seen(-80, &[paused("a")]), "read workloads");
    check(&seen(0, &[paused("a"), workload("b", None)]), "restart_workloads for 5 at +0: Deployment b@7");
    check(&seen(0, &[paused("a"), workload("b", Some(-10))]), "pass until +75");
    // Somebody restarted it before it was paused.
    check(&seen(0, &[Workload { restarted_at: Some(at(-10)), ..paused("a") }]), WRITES_DOWN);
}

#[test]
fn what_may_not_be_done_is_tried_again_in_time() {
    let refused = |seconds, kind, why| {
        let value = Workloads::Unreadable { kind, why };
        swapped(600).with(|it| it.workloads = Reading::Known { value, taken_at: at(seconds) })
    };
    for why in [Unreadable::Forbidden, Unreadable::Failed] {
        check(&refused(0, Deployment, why), "pass until +75");
        check(&refused(-80, Deployment, why), "read workloads");
        // The kind is not declared any more.
        check(&refused(0, StatefulSet, why), "read workloads");
    }
    // A kind was declared since.
    let some = Workloads::Seen { kinds: [StatefulSet].into(), workloads: Vec::new() };
    check(&swapped(600).with(|it| it.workloads = Reading::Known { value: some, taken_at: now() }), "read workloads");
}

#[test]
fn nothing_is_written_for_an_object_that_could_vanish() {
    check(&swapped(600).working(0, &[]).with(|it| it.finalizer = false), "add_finalizer");
}

mod races;
