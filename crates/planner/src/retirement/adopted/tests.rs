//! When an adopted token may go, what it waits for, and what becomes of it at a deletion.

use std::time::Duration;

use super::*;
use crate::adoption::Look;
use crate::desired::{Deadline, DeletionPolicy, OnDeadline};
use crate::fixture::{at, now, object, turn};
use crate::observation::{Condemnation, Token};
use crate::retirement::{is_blocked, waiting_for};
use crate::stage::finalize::finalize;
use crate::stage::retire::retire;
use crate::stage::sweep::sweep;

fn check(observation: &Observation, expected: &str) {
    assert_eq!(turn(&retire(observation, now())), expected);
}

/// 2202 is published; the adopted 17 left the target an hour ago.
fn replaced() -> Observation {
    object().published(5, 2202).retiring(4, 17, 3600).by_adoption(4)
}

fn condemned(observation: Observation) -> Observation {
    observation.slot_changed(4, |slot| slot.condemned = Some(Condemnation::replaced()))
}

fn used(observation: Observation, seconds_ago: i64) -> Observation {
    observation.token(17, |token| token.last_used = Some(at(-seconds_ago)))
}

fn still_held(observation: Observation, seconds_ago: i64) -> Observation {
    observation.found(Finding::StillHeld(TokenId(17)), seconds_ago)
}

#[test]
fn an_adopted_token_is_condemned_before_it_is_revoked() {
    check(&replaced(), "condemn_adopted 4:17");
    check(&condemned(replaced()), "retire 4:17 after 5");
    check(&object().published(5, 2202).retiring(4, 17, 100).by_adoption(4), "pass until +500");
    check(&replaced().stale(), "read tokens");
}

#[test]
fn a_label_that_could_not_be_written_while_it_was_current_is_written_first() {
    let unlabelled = || replaced().slot_changed(4, |slot| slot.committed = false);
    check(&unlabelled(), "label_committed 4");
    check(&used(unlabelled(), 959), "pass until +1");
}

#[test]
fn it_goes_only_when_nobody_uses_it() {
    check(&used(replaced(), 3601), "condemn_adopted 4:17");
    check(&used(replaced(), 3600), "condemn_adopted 4:17");
    check(&used(replaced(), 970), "condemn_adopted 4:17");
    check(&used(replaced(), 960), "read tokens");
    check(&used(replaced(), 959), "pass until +1");
    check(&used(condemned(replaced()), 959), "pass until +1");
    check(&used(replaced(), 0).with_desired(|it| it.retirement.after = Duration::ZERO), "pass until +960");
    let quiet_for = |it: Observation, seconds| it.with_desired(|it| it.retirement.quiet_period = Duration::from_secs(seconds));
    check(&quiet_for(used(replaced(), 1800), 2000), "pass until +260");
    // A shorter period than the least one is none of its own.
    check(&quiet_for(used(replaced(), 959), 60), "pass until +1");
    // A longer one also counts from the swap, as for every token.
    check(&quiet_for(replaced(), 4000), "pass until +400");
    // dbt's clock may be behind ours by a minute: what it shows from before the swap may have come after it.
    let swapped = || object().published(5, 2202).retiring(4, 17, 700).by_adoption(4);
    check(&used(swapped(), 760), "pass until +200");
    check(&used(swapped(), 761), "condemn_adopted 4:17");
    let untold = used(replaced(), 10_000).with(|it| {
        it.record.retiring.clear();
        it.record.published.as_mut().expect("published").at = at(-90_000);
    });
    check(&untold, "condemn_adopted 4:17");
}

#[test]
fn only_a_list_from_after_the_overlap_shows_that() {
    let due_now = || object().published(5, 2202).retiring(4, 17, 605).by_adoption(4);
    check(&due_now(), "read tokens");
    check(&object().published(5, 2202).retiring(4, 17, 610).by_adoption(4), "condemn_adopted 4:17");
    check(&condemned(due_now()), "read tokens");
}

#[test]
fn it_stays_while_its_source_holds_the_string() {
    check(&still_held(replaced(), 5), "pass until +55");
    check(&still_held(replaced(), 60), "condemn_adopted 4:17");
    check(&still_held(condemned(replaced()), 5), "retire 4:17 after 5");
    check(&replaced().found(Finding::StillHeld(TokenId(18)), 5), "condemn_adopted 4:17");
    check(&replaced().found(Finding::Missing, 5), "condemn_adopted 4:17");
}

#[test]
fn without_its_slot_nothing_of_it_is_touched() {
    check(&replaced().slot_lost(4), "pass");
    check(&condemned(replaced()).slot_lost(4).with_slot(3, Some(17), |_| {}), "pass");
    let stray = |change: fn(&mut Token)| object().published(5, 2202).listed(4, 17).token(17, change);
    assert_eq!(turn(&sweep(&stray(|_| {}), now())), "revoke 4:17 Stray");
    let adopted = |token: &mut Token| token.mark.iter_mut().for_each(|mark| mark.origin = crate::mark::Origin::Adopted);
    assert_eq!(turn(&sweep(&stray(adopted), now())), "pass");
    // Another slot that holds it does not count, whatever it says of an attempt.
    let superseded = crate::observation::CondemnedReason::Superseded;
    let elsewhere =
        |change: fn(&mut Token)| object().published(5, 2202).condemned_slot(4, 17, superseded).listed(4, 17).token(17, change);
    assert_eq!(turn(&sweep(&elsewhere(|_| {}), now())), "revoke 4:17 Stray");
    assert_eq!(turn(&sweep(&elsewhere(adopted), now())), "pass");
}

#[test]
fn a_claim_that_nothing_names_is_given_back_and_its_token_lives() {
    let claim = || object().published(5, 2202).unmarked(17).adopted_slot(4, 17, |_| {});
    assert_eq!(turn(&sweep(&claim(), now())), "close_slot 4");
    let committed = claim().slot_changed(4, |slot| slot.committed = true);
    assert_eq!(turn(&sweep(&committed, now())), "condemn_adopted 4:17");
    let used = committed.token(17, |token| token.last_used = Some(at(-5)));
    assert_eq!(turn(&sweep(&used, now())), "pass until +955");
}

#[test]
fn what_it_waits_for_is_told() {
    let waits = |observation: &Observation, expected: &[(&str, &str)]| {
        let found = waiting_for(&case(observation));
        let found: Vec<_> = found.iter().map(|rule| (rule.rule, rule.message.as_str())).collect();
        assert_eq!(found, expected);
    };
    let source = "Secret old, key token, still holds token 17; move its readers to Secret dagster-dbt, then delete the key";
    waits(&replaced(), &[]);
    waits(&still_held(replaced(), 5), &[("AdoptSource", source)]);
    waits(&still_held(replaced(), 5000), &[("AdoptSource", source)]);
    waits(&condemned(still_held(replaced(), 5)), &[]);
    let use_of_it = "dbt saw token 17 in use after 2026-11-24T07:30Z; it goes after 15m without use";
    waits(&used(replaced(), 600), &[("LastUsed", use_of_it)]);
    let lost = "token 17 was adopted, and the operator's copy of it is gone; revoke it in dbt";
    waits(&replaced().slot_lost(4), &[("Verification", lost)]);
}

fn case(observation: &Observation) -> Case<'_> {
    let entry = observation.ledger.retiring[0];
    Case::of(observation, entry, replaced_at(observation, entry.token), now()).expect("something is published")
}

fn compromised(observation: Observation) -> Observation {
    observation.with(|it| it.ledger.compromised = Some(crate::identity::Serial(4)))
}

#[test]
fn a_compromised_one_goes_whoever_holds_it() {
    let recent = || object().published(5, 2202).retiring(4, 17, 1).by_adoption(4);
    let goes = "condemn_adopted 4:17 whoever holds it";
    check(&compromised(recent()), goes);
    check(&compromised(used(recent(), 0)), goes);
    check(&compromised(still_held(recent(), 1)), goes);
    check(&condemned(compromised(used(still_held(recent(), 1), 0))), "retire 4:17 after 5");
    assert_eq!(waiting_for(&case(&compromised(used(still_held(recent(), 1), 0)))), []);
    // Not before its successor is in place, and never without its slot.
    check(&compromised(recent()).claimed(), "pass");
    check(&compromised(recent()).slot_lost(4), "pass");
    deletes(compromised(used(replaced(), 5)), goes);
    deletes(compromised(still_held(replaced(), 5)), goes);
}

#[test]
fn a_deadline_excuses_its_source_but_not_its_use() {
    let ends = |it: Observation, then| {
        it.with_desired(|it| it.retirement.deadline = Some(Deadline { after: Duration::from_secs(3600), then }))
    };
    let deletes = |it: Observation| ends(it, OnDeadline::Delete);
    check(&deletes(replaced()), "condemn_adopted 4:17 whoever holds it");
    check(&deletes(still_held(replaced(), 5)), "condemn_adopted 4:17 whoever holds it");
    check(&deletes(condemned(replaced())), "retire 4:17 after 5");
    check(&deletes(used(replaced(), 5)), "pass until +955");
    check(&deletes(used(condemned(replaced()), 5)), "pass until +955");
    let rules: Vec<_> = waiting_for(&case(&deletes(used(replaced(), 5)))).into_iter().map(|rule| rule.rule).collect();
    assert_eq!(rules, ["LastUsed"]);
    // Kept beyond its deadline, whatever that says, it raises the alarm.
    for then in [OnDeadline::Delete, OnDeadline::Hold] {
        assert!(is_blocked(&case(&ends(used(replaced(), 5), then))), "{then:?}");
        assert!(!is_blocked(&case(&ends(replaced(), then))), "{then:?}");
    }
    check(&ends(still_held(replaced(), 5), OnDeadline::Hold), "pass until +55");
}

fn deletes(observation: Observation, expected: &str) {
    let deleted = observation.deleted(1, DeletionPolicy::Revoke).with(|it| {
        it.ledger.deletion = Some(DeletionPolicy::Revoke);
        it.fresh_after = at(-10);
    });
    let read = deleted.with_account(|account| {
        if let crate::observation::Reading::Known { taken_at, .. } = &mut account.tokens {
            *taken_at = now();
        }
    });
    assert_eq!(turn(&finalize(&read, now())), expected);
}

#[test]
fn at_a_deletion_it_is_revoked_only_if_nobody_uses_it() {
    deletes(replaced(), "condemn_adopted 4:17");
    deletes(condemned(replaced()), "clear; serial 5, deletion Revoke");
    deletes(used(replaced(), 5), "leave_record 4:17");
    deletes(still_held(replaced(), 5000), "leave_record 4:17");
    deletes(used(replaced(), 5).with_slot(4, Some(17), |slot| slot.retained = true), "close_slot 4");
    deletes(object().published(5, 2202).unmarked(17).adopted_slot(6, 17, |_| {}), "close_slot 6");
    let cleared = |it: Observation| it.with(|it| it.ledger = it.ledger.cleared()).inactive(2202);
    deletes(cleared(condemned(replaced())), "revoke 4:17 Deletion");
    deletes(cleared(replaced()), "delete_target");
    deletes(cleared(replaced()).slot_lost(4), "delete_target");
}

#[test]
fn while_it_is_published_a_deletion_only_lets_go_of_it() {
    let published = || object().published(5, 17).by_adoption(5);
    let step = |it: &Observation| turn(&finalize(it, now()));
    let deleted = published().deleted(1, DeletionPolicy::Revoke);
    assert_eq!(step(&deleted), "delete; serial 5, current 5:17, deletion Retain");
    let begun = || deleted.clone().with(|it| it.ledger.deletion = Some(DeletionPolicy::Retain));
    assert_eq!(step(&begun()), "leave_record 5:17");
    let record = |it: Observation| it.adopted_slot(5, 17, |slot| slot.retained = true);
    assert_eq!(step(&record(begun())), "close_slot 5");
    let closed = record(begun()).with(|it| it.slots.retain(|slot| slot.retained));
    assert_eq!(step(&closed), "release_target");
    // The record and the mark go on saying that it was adopted, so that the policy does not turn to Revoke.
    let unmarked = closed.clone().token(17, |token| token.mark = None);
    assert_eq!(step(&unmarked), "release_target");
    let let_go = closed.with(|it| it.target = crate::observation::Target::Missing);
    assert_eq!(step(&let_go), "remove_finalizer Retained");
}

#[test]
fn a_secret_that_was_there_before_is_never_deleted() {
    let taken_over = |it: Observation| {
        it.with(|it| {
            if let crate::observation::Target::Ours(state) = &mut it.target {
                state.taken_over = true;
            }
        })
    };
    let cleared = || object().published(5, 2202).inactive(2202).with(|it| it.ledger = it.ledger.cleared());
    deletes(cleared(), "delete_target");
    deletes(taken_over(cleared()), "strip_target");
    let left = taken_over(object().published(5, 2202).not_ready()).deleted(700, DeletionPolicy::Revoke);
    let left = left.with(|it| it.ledger.deletion = Some(DeletionPolicy::Revoke));
    assert_eq!(turn(&finalize(&left, now())), "strip_target");
}

#[test]
fn a_look_of_the_future_holds_nothing_back() {
    let future = replaced().with(|it| {
        it.look = Some(Look { finding: Finding::StillHeld(TokenId(17)), taken_at: at(100) });
    });
    check(&future, "condemn_adopted 4:17");
}
