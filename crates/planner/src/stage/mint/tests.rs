//! Every step of an attempt, and what holds it back.

use super::*;
use crate::fixture::{at, grant, now, object, permission, rows, turn};
use crate::identity::Fingerprint;
use crate::ledger::Cause;
use crate::observation::CondemnedReason::{GrantsDiffer, Superseded, VerificationRefused};
use crate::observation::Reading;

fn check(observation: &Observation, expected: &str) {
    assert_eq!(turn(&mint(observation, now())), expected);
}

fn published() -> Observation {
    object().published(5, 2202)
}

/// A published object whose owner asked for a rotation.
fn requested() -> Observation {
    published().with(|it| it.rotate_at = Some("noon".into()))
}

/// The first attempt of an object, serial 6.
fn attempt() -> Observation {
    object().attempt(6, Cause::First, 0)
}

#[test]
fn an_attempt_is_opened_for_a_reason_only() {
    check(&object(), "open; serial now+0, next now+0 First x0");
    check(&published(), "settled");
    check(&requested(), "open; serial now+0, next now+0 Requested x0, current 5:2202");
    check(
        &published().edited(vec![permission("job_viewer", &[])]),
        "open; serial now+0, next now+0 PermissionsChanged x0, current 5:2202",
    );
    check(&published().inactive(2202), "open; serial now+0, next now+0 TokenLost x0, current 5:2202");
    check(&published().slot_lost(5), "open; serial now+0, next now+0 SlotLost x0, current 5:2202");
    check(&object().with(|it| it.finalizer = false), "add_finalizer");
    let seconds = now().as_second();
    check(&object().listed(seconds + 5, 2203), "open; serial now+6, next now+6 First x0");
    check(&object().empty_slot(seconds + 5), "open; serial now+6, next now+6 First x0");
}

#[test]
fn the_published_token_is_seen_before_it_is_judged() {
    check(&published().listless(), "read tokens");
    check(&published().stale(), "settled");
    check(&published().unlisted(2202), "read token 2202");
    check(&published().unlisted(2202).stale(), "read tokens");
    check(&published().unlisted(2202).attempt(6, Cause::Requested, 0).edited(vec![permission("x", &[])]), "read token 2202");
}

#[test]
fn the_account_is_waited_for_and_then_missed() {
    let missing = |created| {
        object().with(|it| {
            it.account = Account::Missing;
            it.created_at = at(created);
        })
    };
    check(&object().not_ready(), "wait AccountNotReady");
    check(&missing(-119), "wait AccountMissing until +1");
    check(&missing(-120), "blocked AccountNotFound");
}

#[test]
fn what_is_not_allowed_is_not_opened() {
    let none = |it: Observation| it.with_account(|account| account.grants = vec![grant(&["job_viewer"], &[], &[])]);
    let three = || requested().retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9);
    check(&none(object()), "blocked PolicyRefused job_admin on all projects");
    check(&none(published()), "settled");
    check(&none(requested()), "blocked PolicyRefused job_admin on all projects");
    check(&object().crowded_out(), "blocked TokenLimit namespace finance");
    check(&requested().crowded_out(), "open; serial now+0, next now+0 Requested x0, current 5:2202");
    check(&object().budget_used_up(), "wait Budget until +900");
    check(&three(), "wait RetiringFull");
    check(&object().edited(vec![permission("brand_new", &[])]), "blocked Unprobeable brand_new");
    check(&object().edited(vec![permission("job_admin", &["Nowhere"])]), "blocked Project");
    check(&published().edited(vec![permission("job_admin", &["Nowhere"])]), "blocked Project");
    check(&object().with_account(|account| account.tokens = Reading::Unknown), "read tokens");
}

#[test]
fn an_attempt_claims_the_target_then_reserves_then_mints() {
    check(&attempt().with(|it| it.finalizer = false), "add_finalizer");
    check(&attempt(), "claim_target");
    // A Secret that is somebody else's is found by claiming it, whatever the budget.
    check(&attempt().budget_used_up(), "claim_target");
    check(&attempt().claimed(), "reserve 6");
    check(&attempt().claimed().empty_slot(6), "mint 6");
    check(&attempt().claimed().empty_slot(6).stale(), "read tokens");
    check(&attempt().claimed().empty_slot(6).listless(), "read tokens");
    check(&attempt().claimed().budget_used_up(), "wait Budget until +900");
    check(&attempt().claimed().empty_slot(6).budget_used_up(), "wait Budget until +900");
    check(&attempt().with_account(|account| account.grants.clear()), "blocked PolicyRefused job_admin on all projects");
    let Turn::Take(Step::Act(Effect::Mint { name, rows, .. }), _) = mint(&attempt().claimed().empty_slot(6), now()) else {
        panic!("nothing is minted");
    };
    assert_eq!(name, "finance/dagster [dbt-token-operator here uid-1 6]");
    assert_eq!(rows.to_string(), "job_admin on all projects");
}

#[test]
fn an_attempt_is_given_up_once_its_string_is_lost_or_its_token_failed() {
    let again = "give_up; serial now+0, next now+0 First x1";
    check(&attempt().listed(6, 2206), again);
    check(&attempt().listed(6, 2206).inactive(2206), again);
    check(&attempt().empty_slot(6).listed(6, 2206), again);
    check(&attempt().condemned_slot(6, 2206, VerificationRefused), again);
    check(&attempt().condemned_slot(6, 2206, GrantsDiffer), again);
    check(&attempt().condemned_slot(6, 2206, Superseded), again);
    check(&attempt().filled_slot(6, 2206).listed(6, 2206).inactive(2206), again);
    check(&attempt().filled_slot(6, 2206).gone(2206), again);
    let many = object().attempt(6, Cause::First, u32::MAX).condemned_slot(6, 2206, Superseded);
    check(&many, "give_up; serial now+0, next now+0 First x4294967295");
}

#[test]
fn the_next_attempt_waits_after_failures() {
    let failed = |serial: i64, failures| object().claimed().attempt(at(serial).as_second(), Cause::First, failures);
    check(&failed(0, 1), "wait Backoff until +10");
    check(&failed(-10, 1), "reserve 1795505990");
    check(&failed(0, 0), "reserve 1795506000");
    check(&failed(-59, 2), "wait Backoff until +1");
}

#[test]
fn a_filled_slot_is_proved_and_committed() {
    let filled = || attempt().claimed().filled_slot(6, 2206).listed(6, 2206);
    let committed = "prove 6:2206 with 1 calls; serial 6, current 6:2206";
    check(&filled(), committed);
    // Whatever the create call answered, the list has to show the same.
    check(&filled().unlisted(2206), "read token 2206");
    check(&filled().listless(), "read tokens");
    check(&filled().stale(), "read tokens");
    let lists_less = || filled().token(2206, |token| token.rows = rows(&[("job_viewer", 0)]));
    check(&lists_less(), "condemn 6 GrantsDiffer");
    check(&filled().budget_used_up(), committed);
    check(&filled().with(|it| it.rotate_at = Some("noon".into())), &format!("{committed}, handled noon"));
    let second = || published().attempt(6, Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206);
    check(&second(), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
    check(&second().inactive(2202), "prove 6:2206 with 1 calls; serial 6, current 6:2206");
    check(&second().slot_lost(5), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
    check(&second().slot_lost(5).claimed(), "prove 6:2206 with 1 calls; serial 6, current 6:2206");
    let full = || second().retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9);
    check(&full(), "wait RetiringFull");
    check(&full().inactive(2202), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 4:2184 3:2183 2:2182");
    // Nothing retires while the published token cannot be tried, so that it makes no place either.
    let unstored = full().slot_lost(5);
    check(&unstored, "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 4:2184 3:2183 2:2182");
    let unstored = second().slot_lost(5);
    check(&unstored, "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
}

#[test]
fn links_are_carried_over_before_the_commit() {
    let layer = || object().with_desired(|it| it.permissions = vec![permission("semantic_layer_only", &["Finance"])]);
    let proves = |it: Observation, expected: &str| {
        check(&it.attempt(6, Cause::Requested, 0).claimed().filled_slot(6, 2206).listed(6, 2206), expected);
    };
    proves(layer(), "prove 6:2206 with 1 calls; serial 6, current 6:2206");
    let links = "prove 6:2206 with 1 calls and links of 2202 2190; serial 6, current 6:2206, retiring 4:2190 5:2202";
    proves(layer().published(5, 2202).retiring(4, 2190, 9), links);
    let lost = "prove 6:2206 with 1 calls; serial 6, current 6:2206";
    proves(layer().published(5, 2202).inactive(2202), lost);
    proves(published(), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
}

#[test]
fn what_dbt_granted_is_compared_with_what_was_wanted() {
    let other = |granted: &[(&str, i64)]| {
        let granted = rows(granted);
        attempt().claimed().listed(6, 2206).token(2206, |token| token.rows = granted).with_slot(6, Some(2206), |slot| {
            if let SlotContent::Filled { granted, .. } = &mut slot.content {
                *granted = Fingerprint::new("other");
            }
        })
    };
    check(&other(&[]), "grant 6:2206");
    check(&other(&[("job_admin", 0)]), "prove 6:2206 with 1 calls; serial 6, current 6:2206");
    check(&other(&[("job_viewer", 0)]), "condemn 6 GrantsDiffer");
    check(&other(&[("job_admin", 0), ("job_admin", 0)]), "condemn 6 GrantsDiffer");
    check(&other(&[]).stale(), "read tokens");
    check(&other(&[]).unlisted(2206), "read token 2206");
}

#[test]
fn an_edit_starts_over_or_calls_the_attempt_off() {
    let viewer = || vec![permission("job_viewer", &[])];
    check(&attempt().edited(viewer()), "open; serial now+0, next now+0 First x0");
    check(&object().attempt(6, Cause::First, 1).edited(viewer()), "open; serial now+0, next now+0 First x1");
    check(&object().attempt(6, Cause::First, 6).edited(viewer()), "open; serial now+0, next now+0 First x2");
    let under_way = || published().attempt(6, Cause::PermissionsChanged, 0);
    check(&under_way().edited(viewer()), "open; serial now+0, next now+0 PermissionsChanged x0, current 5:2202");
    let back = under_way().with(|it| it.ledger.next.as_mut().expect("an attempt").fingerprint = Fingerprint::new("other"));
    check(&back, "abandon; serial 6, current 5:2202");
    check(&back.with(|it| it.finalizer = false), "add_finalizer");
    let refused = vec![permission("job_viewer", &[])];
    let narrow = |it: Observation| it.with_account(|account| account.grants = vec![grant(&["job_admin"], &[], &[])]);
    check(&narrow(under_way().edited(refused)), "blocked PolicyRefused job_viewer on all projects");
}

#[test]
fn a_finalizer_that_somebody_took_off_is_put_back() {
    let without = |it: Observation| it.with(|it| it.finalizer = false);
    check(&without(published()), "add_finalizer");
    check(&without(attempt().claimed().empty_slot(6)), "add_finalizer");
    check(&without(attempt().claimed().filled_slot(6, 2206)), "add_finalizer");
}

#[test]
fn a_refused_token_is_given_up_even_if_no_further_one_is_allowed() {
    let refused = attempt().condemned_slot(6, 2206, VerificationRefused);
    check(&refused.with_account(|account| account.grants.clear()), "give_up; serial now+0, next now+0 First x1");
}

/// Tables look on a Tuesday, at 07:40.
const NIGHT: [&str; 1] = ["0 2 * * *"];
const MORNING: [&str; 1] = ["0 7 * * *"];

#[test]
fn legacy_and_aged_tokens_are_replaced_in_a_window() {
    let legacy = |schedules| published().legacy(2202).aged_after(3650, schedules);
    let aged = |schedules| published().token(2202, |token| token.created_at = Some(at(-90 * 86_400))).aged_after(90, schedules);
    check(&legacy(&[]), "open; serial now+0, next now+0 Legacy x0, current 5:2202");
    check(&legacy(&MORNING), "open; serial now+0, next now+0 Legacy x0, current 5:2202");
    check(&legacy(&NIGHT), "wait Window until +66000");
    check(&aged(&[]), "open; serial now+0, next now+0 MaxAge x0, current 5:2202");
    check(&aged(&NIGHT), "wait Window until +66000");
    check(&legacy(&NIGHT).rotated(|it| it.legacy = crate::rotation::LegacyPolicy::Report), "settled until +164658000");
    // What is missing for a new token is told all the same, and what holds it back is asked again when the window closes.
    let none = |it: Observation| it.with_account(|account| account.grants.clear());
    check(&none(legacy(&NIGHT)), "blocked PolicyRefused job_admin on all projects");
    check(&legacy(&MORNING).budget_used_up(), "wait Budget until +900");
    let full = |it: Observation| it.retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9);
    check(&full(legacy(&MORNING)), "wait RetiringFull until +12000");
    // Nothing else waits for a window.
    check(
        &legacy(&NIGHT).with(|it| it.rotate_at = Some("noon".into())),
        "open; serial now+0, next now+0 Requested x0, current 5:2202",
    );
    check(&legacy(&NIGHT).inactive(2202), "open; serial now+0, next now+0 TokenLost x0, current 5:2202");
    check(
        &legacy(&NIGHT).edited(vec![permission("job_viewer", &[])]),
        "open; serial now+0, next now+0 PermissionsChanged x0, current 5:2202",
    );
}

#[test]
fn at_rest_it_looks_again_when_a_token_is_due() {
    check(&published().aged_after(2, &[]), "settled until +88983");
    check(&published().aged_after(2, &NIGHT), "settled until +66000");
    check(&published(), "settled");
}

#[test]
fn an_attempt_for_age_goes_on_in_a_window_only() {
    let under_way = |schedules| published().legacy(2202).aged_after(3650, schedules).attempt(6, Cause::Legacy, 0);
    check(&under_way(&MORNING), "reserve 6");
    check(&under_way(&MORNING).empty_slot(6), "mint 6");
    check(&under_way(&MORNING).budget_used_up(), "wait Budget until +900");
    check(&under_way(&NIGHT), "wait Window until +66000");
    check(&under_way(&NIGHT).empty_slot(6), "wait Window until +66000");
    // A token that was made is published, whatever the time.
    let made = under_way(&NIGHT).filled_slot(6, 2206).listed(6, 2206);
    check(&made, "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
    // Something stronger came up, or the reason is gone.
    for it in [under_way(&NIGHT), under_way(&NIGHT).empty_slot(6)] {
        let asked = it.clone().with(|it| it.rotate_at = Some("noon".into()));
        check(&asked, "open; serial now+0, next now+0 Requested x0, current 5:2202");
        check(&it.clone().inactive(2202), "open; serial now+0, next now+0 TokenLost x0, current 5:2202");
        check(&it.clone().token(2202, |token| token.created_at = Some(at(-60))), "abandon; serial 6, current 5:2202");
        check(&it.unlisted(2202), "read token 2202");
    }
    let asked = made.with(|it| it.rotate_at = Some("noon".into()));
    check(&asked, "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202, handled noon");
    let waits = published().attempt(6, Cause::Legacy, 0).legacy(2202).aged_after(3650, &MORNING);
    check(&waits.retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9), "wait RetiringFull until +12000");
}

#[test]
fn that_a_token_is_compromised_is_written_down_before_anything_else() {
    let called = || published().called_compromised("noon");
    let written = "call_compromised; serial 5, current 5:2202, compromised 5";
    check(&called(), written);
    check(&called().listless(), written);
    check(&called().not_ready(), written);
    check(&called().budget_used_up(), written);
    check(&called().with(|it| it.finalizer = false), "add_finalizer");
    let recorded = || called().with(|it| it.ledger.compromised = Some(crate::identity::Serial(5)));
    check(&recorded(), "open; serial now+0, next now+0 Compromised x0, current 5:2202, compromised 5");
    // The annotations may have changed since.
    let gone = recorded().with(|it| (it.rotate_at, it.compromised) = (None, None));
    check(&gone, "open; serial now+0, next now+0 Compromised x0, current 5:2202, compromised 5");
    // An attempt that is under way for another reason goes on.
    let under_way = called().attempt(6, Cause::PermissionsChanged, 0).filled_slot(6, 2206).listed(6, 2206);
    check(&under_way, "call_compromised; serial 6, next 6 PermissionsChanged x0, current 5:2202, compromised 5");
    check(
        &under_way.with(|it| it.ledger.compromised = Some(crate::identity::Serial(5))),
        "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202, compromised 5, handled noon",
    );
    let handled = published().called_compromised("noon").with(|it| it.ledger.handled_rotate_at = Some("noon".into()));
    check(&handled, "settled");
}

#[test]
fn restarts_are_owed_with_the_commit() {
    let proving = || published().attempt(6, Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206);
    check(&proving(), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
    let declared = || proving().restarting(&[crate::desired::WorkloadKind::Deployment]);
    check(&declared(), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202, restarted 5");
    check(&declared().restarted(3), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202, restarted 3");
    check(&proving().restarted(3), "prove 6:2206 with 1 calls; serial 6, current 6:2206, retiring 5:2202");
    // One that is lost retires no more, and is held all the same.
    let lost = declared().inactive(2202);
    check(&lost, "prove 6:2206 with 1 calls; serial 6, current 6:2206, restarted 5");
    let first = attempt().claimed().filled_slot(6, 2206).listed(6, 2206);
    let first = first.restarting(&[crate::desired::WorkloadKind::Deployment]);
    check(&first, "prove 6:2206 with 1 calls; serial 6, current 6:2206");
}
