//! Deletion under both policies, with and without dbt.

use super::*;
use crate::fixture::{now, object, turn};
use crate::ledger::{Cause, Ledger};
use crate::observation::TroubleKind::{Cluster, DbtUnavailable};

fn check(observation: &Observation, expected: &str) {
    assert_eq!(turn(&finalize(observation, now())), expected);
}

fn published() -> Observation {
    object().published(5, 2202).retiring(4, 2190, 9)
}

/// Deleted under this policy, which the ledger knows already.
fn deleting(observation: Observation, policy: DeletionPolicy) -> Observation {
    observation.deleted(60, policy).with(|it| it.ledger.deletion = Some(policy))
}

/// Deleted under `Revoke`, and the ledger names nothing any more.
fn cleared(observation: Observation) -> Observation {
    deleting(observation, DeletionPolicy::Revoke).with(|it| it.ledger = it.ledger.cleared())
}

#[test]
fn a_living_object_passes() {
    check(&object(), "pass");
    check(&published(), "pass");
}

#[test]
fn deletion_is_written_down_before_anything_is_done() {
    let policy = DeletionPolicy::Revoke;
    check(&object().deleted(1, policy), "remove_finalizer Clean");
    check(&object().retained_record(5, 2202).deleted(1, policy), "remove_finalizer Clean");
    check(&object().deleted(1, policy).with(|it| it.finalizer = false), "settled");
    check(&published().deleted(1, policy), "delete; serial 5, current 5:2202, retiring 4:2190, deletion Revoke");
    check(&published().deleted(1, DeletionPolicy::Retain), "delete; serial 5, current 5:2202, retiring 4:2190, deletion Retain");
    check(&object().claimed().deleted(1, policy), "delete; serial 0, deletion Revoke");
    check(&object().empty_slot(5).deleted(1, policy), "delete; serial 0, deletion Revoke");
    let changed = |it: Observation| it.with(|it| it.deletion_policy = DeletionPolicy::Retain);
    check(&changed(deleting(published(), policy)), "delete; serial 5, current 5:2202, retiring 4:2190, deletion Retain");
    check(&changed(cleared(published())), "revoke 4:2190 Deletion");
}

#[test]
fn revoke_clears_revokes_and_removes_everything() {
    check(&deleting(published(), DeletionPolicy::Revoke), "clear; serial 5, deletion Revoke");
    // A list from before the deletion was asked for does not prove that dbt answers now.
    let just_deleted = deleting(published(), DeletionPolicy::Revoke).deleted(5, DeletionPolicy::Revoke);
    check(&just_deleted, "read tokens");
    check(&deleting(published(), DeletionPolicy::Revoke).stale(), "read tokens");
    check(&cleared(published()), "revoke 4:2190 Deletion");
    check(&cleared(published().inactive(2190)), "revoke 5:2202 Deletion");
    check(&cleared(published().inactive(2190).unlisted(2202)), "read token 2202");
    check(&cleared(published().inactive(2190).inactive(2202)), "delete_target");
    let revoked = || cleared(published().inactive(2190).inactive(2202).with(|it| it.target = Target::Missing));
    check(&revoked(), "close_slot 4");
    check(&revoked().slot_lost(4), "close_slot 5");
    check(&revoked().slot_lost(4).slot_lost(5), "remove_finalizer Clean");
    check(&cleared(object().claimed()), "delete_target");
    check(&cleared(object().empty_slot(5)), "close_slot 5");
    check(&cleared(published()).stale(), "read tokens");
    check(&cleared(object().listed(3, 2183)), "revoke 3:2183 Deletion");
    check(&cleared(object().attempt(6, Cause::First, 0).filled_slot(6, 2206).listed(6, 2206)), "revoke 6:2206 Deletion");
}

#[test]
fn what_is_not_the_objects_stays() {
    let foreign = |change: fn(&mut crate::observation::Token)| cleared(object().listed(3, 2183).token(2183, change));
    check(&foreign(|token| token.mark = None), "remove_finalizer Clean");
    check(
        &foreign(|token| token.mark.as_mut().expect("a mark").owner = crate::identity::OwnerUid::new("x")),
        "remove_finalizer Clean",
    );
    let copied = cleared(object().listed(3, 2183).filled_slot(3, 2183));
    check(
        &copied.token(2183, |token| token.mark.as_mut().expect("a mark").owner = crate::identity::OwnerUid::new("x")),
        "close_slot 3",
    );
    check(&cleared(object().listed(3, 2183).retained_record(3, 2183)), "remove_finalizer Clean");
    // Another process made a second token of the serial meanwhile: it is not the one that was let go.
    let second = || cleared(object().listed(3, 2190).filled_slot(3, 2190).retained_record(3, 2183));
    check(&second(), "revoke 3:2190 Deletion");
    check(&second().inactive(2190), "close_slot 3");
    check(&cleared(object().with(|it| it.target = Target::Foreign { manager: "helm".into() })), "remove_finalizer Clean");
}

#[test]
fn retain_leaves_records_and_needs_no_dbt() {
    let retain = |it: Observation| deleting(it, DeletionPolicy::Retain);
    let steps = |it: Observation, expected: &str| {
        check(&retain(it.clone()), expected);
        check(&retain(it.not_ready()), expected);
    };
    steps(published(), "leave_record 4:2190");
    steps(published().retained_record(4, 2190), "close_slot 4");
    let first = || published().slot_lost(4).retained_record(4, 2190);
    steps(first(), "leave_record 5:2202");
    steps(first().retained_record(5, 2202), "close_slot 5");
    let both = || first().slot_lost(5).retained_record(5, 2202);
    steps(both(), "release_target");
    // Another process made a second token of the serial meanwhile: it is not the one that is let go.
    let other = both().filled_slot(5, 2209);
    steps(other, "release_target");
    steps(both().with(|it| it.target = Target::Missing), "remove_finalizer Retained");
}

#[test]
fn retain_leaves_records_even_if_the_status_was_lost() {
    let lost = || {
        let wiped = published().with(|it| it.ledger = Ledger::default());
        deleting(wiped, DeletionPolicy::Retain)
    };
    check(&lost(), "leave_record 4:2190");
    check(&lost().slot_lost(4), "leave_record 5:2202");
    check(&lost().slot_lost(4).slot_lost(5).retained_record(5, 2202), "release_target");
    check(&lost().slot_lost(4).slot_lost(5), "leave_record 5:2202");
    check(&lost().slot_lost(4).slot_lost(5).not_ready(), "release_target");
}

#[test]
fn an_object_is_let_go_after_ten_minutes_without_dbt() {
    let deleted = |seconds| deleting(published(), DeletionPolicy::Revoke).deleted(seconds, DeletionPolicy::Revoke);
    let away = "Unreachable: ab123.us1.dbt.com: time-out";
    check(&deleted(60).not_ready(), &format!("blocked Deletion ({away}) until +540 until +540"));
    check(&deleted(599).not_ready(), &format!("blocked Deletion ({away}) until +1 until +1"));
    check(&deleted(600).not_ready(), "delete_target");
    check(&deleted(600).not_ready().with(|it| it.target = Target::Missing), "remove_finalizer LeftBehind");
    let missing = deleted(60).with(|it| it.account = Account::Missing);
    check(&missing, "blocked Deletion (its DbtAccount does not exist) until +540 until +540");
    let set_back = deleted(60).with(|it| it.ledger.set_back = Some(Serial(9)));
    check(&set_back, "blocked Deletion (the account has tokens that this cluster does not know (SetBack)) until +540 until +540");
}

#[test]
fn a_failure_is_tried_again_until_the_patience_ends() {
    let deleted = |seconds| cleared(published()).deleted(seconds, DeletionPolicy::Revoke);
    check(&deleted(60).troubled(DbtUnavailable, 20), "blocked Deletion (it failed) until +540 until +20");
    check(&deleted(60).troubled(DbtUnavailable, 900), "blocked Deletion (it failed) until +540 until +540");
    check(&deleted(60).troubled(DbtUnavailable, 0), "revoke 4:2190 Deletion");
    check(&deleted(60).troubled(Cluster, -5), "revoke 4:2190 Deletion");
    check(&deleted(600).troubled(DbtUnavailable, 0), "delete_target");
}

#[test]
fn a_retry_that_is_over_does_not_hide_the_end_of_the_patience() {
    let deleted = cleared(published()).not_ready().troubled(DbtUnavailable, -5);
    check(&deleted, "blocked Deletion (Unreachable: ab123.us1.dbt.com: time-out) until +540 until +540");
}
