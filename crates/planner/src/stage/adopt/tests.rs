//! The way of an adoption, and everything that may speak against it.

use super::*;
use crate::adoption::{Look, Source};
use crate::desired::Refusal;
use crate::fixture::{at, now, object, permission, rows, turn};
use crate::identity::{Installation, OwnerUid};
use crate::ledger::Ledger;
use crate::observation::{Condemnation, Reading, TargetState};

fn check(observation: &Observation, expected: &str) {
    assert_eq!(turn(&adopt(observation, now())), expected);
}

/// Token 17 shall be taken over from Secret `old`; nothing was begun yet.
fn wanted() -> Observation {
    object().adopting(None, AdoptPermissions::Match).unmarked(17)
}

/// The attempt is open and the target is claimed.
fn begun() -> Observation {
    wanted().claimed().attempt(6, Cause::First, 0)
}

/// A look found the string of token 17.
fn found() -> Observation {
    begun().fitting(&[17])
}

/// Its slot was created, and the string is to be tried again.
fn claimed() -> Observation {
    begun().adopted_slot(6, 17, |_| {})
}

#[test]
fn a_token_is_looked_for_claimed_tried_again_and_committed() {
    check(&wanted(), "open; serial now+0, next now+0 First x0");
    check(&wanted().attempt(6, Cause::First, 0), "claim_target");
    check(&begun(), "inspect_source old/token");
    check(&found(), "claim_adoption 6:17 with 1 calls");
    check(&claimed(), "prove 6:17 with 1 calls; serial 6, current 6:17");
    check(
        &claimed().with(|it| it.rotate_at = Some("noon".into())),
        "prove 6:17 with 1 calls; serial 6, current 6:17, handled noon",
    );
    check(&found().with(|it| it.finalizer = false), "add_finalizer");
    check(&wanted().with(|it| it.finalizer = false), "add_finalizer");
}

#[test]
fn only_the_first_token_is_adopted() {
    check(&object().unmarked(17).fitting(&[17]), "pass");
    check(&wanted().published(5, 2202), "pass");
    check(&wanted().retiring(5, 2202, 9), "pass");
    check(&wanted().committed_slot(5, 2202), "pass");
    check(&wanted().holding(2202), "pass");
    check(&wanted().published(5, 2202).with(|it| it.ledger = Ledger::default()), "pass");
    check(&wanted().with(|it| it.desired = Err(Refusal::NotImplemented { field: "x".into() })), "pass");
    check(&wanted().not_ready(), "pass");
}

#[test]
fn a_look_is_repeated_when_it_is_old_or_its_token_has_gone() {
    let looked = |finding, seconds_ago| begun().found(finding, seconds_ago);
    check(&looked(Finding::Missing, 60), "inspect_source old/token");
    check(&looked(Finding::StillHeld(TokenId(17)), 1), "inspect_source old/token");
    check(&found().inactive(17), "inspect_source old/token");
    check(&found().unlisted(17), "inspect_source old/token");
    check(&found().stale(), "read tokens");
    let listed = |seconds_ago: i64| {
        begun().with(|it| it.fresh_after = Timestamp::MIN).with_account(|account| {
            if let Reading::Known { taken_at, .. } = &mut account.tokens {
                *taken_at = at(-seconds_ago);
            }
        })
    };
    check(&listed(300), "inspect_source old/token");
    check(&listed(301), "read tokens");
    let just_opened = wanted().claimed().attempt(at(-5).as_second(), Cause::First, 0);
    check(&just_opened, "read tokens");
    check(&begun().with(|it| it.look = Some(Look { finding: Finding::Missing, taken_at: at(5) })), "inspect_source old/token");
}

#[test]
fn a_string_is_nobodys_only_by_a_list_from_after_the_second_of_the_attempt() {
    let looked = |opened: i64, listed_ms: i64, fits: &[i64], token: Option<i64>| {
        let it = wanted().claimed().attempt(at(opened).as_second(), Cause::First, 0).unmarked(17).unmarked(18).fitting(fits);
        let it = it.with_desired(|desired| desired.adopt.as_mut().expect("something is adopted").token = token.map(TokenId));
        it.with(|it| it.fresh_after = Timestamp::MIN).with_account(|account| {
            if let Reading::Known { taken_at, .. } = &mut account.tokens {
                *taken_at = at(0) + jiff::SignedDuration::from_millis(listed_ms);
            }
        })
    };
    let nobodys = "blocked Adopt the string in old/token belongs to no active token of the account until +59";
    check(&looked(-5, -4999, &[], None), "read tokens");
    check(&looked(-5, -4000, &[], None), nobodys);
    check(&looked(-5, -4999, &[17], None), "claim_adoption now-5:17 with 1 calls");
    check(&looked(-5, -4999, &[17], Some(18)), "read tokens");
    check(&looked(-5, -4000, &[17], Some(18)), "blocked Adopt the string in old/token does not belong to token 18 until +59");
    check(&looked(0, -1500, &[], None), "wait AdoptSource until +1");
    check(&looked(9, -1500, &[], None), nobodys);
    // A list that came after the look may know more.
    check(&looked(-5, -1000, &[], None), nobodys);
    check(&looked(-5, -500, &[], None), "inspect_source old/token");
    check(&looked(-5, -500, &[17], None), "claim_adoption now-5:17 with 1 calls");
}

#[test]
fn what_is_not_there_is_waited_for_two_minutes() {
    let missing = |age: i64| begun().found(Finding::Missing, 5).with(|it| it.created_at = at(-age));
    check(&missing(30), "wait AdoptSource until +55");
    check(&missing(100), "wait AdoptSource until +20");
    check(&missing(120), "blocked Adopt SourceNotFound until +55");
}

#[test]
fn what_the_secret_is_not_fit_for_is_said() {
    let looked = |finding| begun().found(finding, 5);
    let refused = |detail: &str| Finding::Refused { detail: detail.into() };
    check(&looked(refused("HTTP 401")), "blocked Adopt old/token does not authenticate (HTTP 401) until +295");
    let unannounced = "blocked Adopt the annotation adopt-by is missing on Secret old, or names another ServiceToken until +55";
    check(&looked(Finding::Unannounced), unannounced);
    let controlled = Finding::Controlled { controller: "SealedSecret old".into() };
    check(&looked(controlled), "blocked Adopt SealedSecret old owns Secret old and would write over it until +55");
    let unusable = Finding::Unusable { why: "holds 2 strings of today's form".into() };
    check(&looked(unusable), "blocked Adopt old/token holds 2 strings of today's form until +55");
    let taken = Finding::Claimed { token: TokenId(17), by: "finance/other".into() };
    check(&looked(taken), "blocked Adopt 17 is of ServiceToken finance/other until +55");
}

#[test]
fn a_string_of_several_tokens_needs_the_id() {
    let two = |it: Observation| it.unmarked(18).fitting(&[17, 18]);
    check(&two(begun()), "blocked Adopt 2 fit until +59");
    check(&two(begun()).adopting(Some(18), AdoptPermissions::Match), "claim_adoption 6:18 with 1 calls");
    let not_it = "blocked Adopt the string in old/token does not belong to token 19 until +59";
    check(&two(begun()).adopting(Some(19), AdoptPermissions::Match), not_it);
    check(&begun().fitting(&[]), "blocked Adopt the string in old/token belongs to no active token of the account until +59");
}

#[test]
fn a_token_of_somebody_else_is_never_adopted() {
    let held = |holder| begun().found(Finding::Fits(vec![Fit { token: TokenId(17), holder }]), 1);
    check(&held(Holder::Nobody), "claim_adoption 6:17 with 1 calls");
    check(&held(Holder::Object("airflow/etl".into())), "blocked Adopt 17 is of ServiceToken airflow/etl until +59");
    check(&held(Holder::GoneObject), "blocked Adopt 17 is of a ServiceToken that is gone until +59");
    let credential = "blocked Adopt token 17 is the credential of a DbtAccount, which is never adopted until +59";
    check(&held(Holder::Account), credential);
    let marked = |installation: &str, owner: &str| {
        let mark = Mark {
            installation: Installation::new(installation),
            owner: OwnerUid::new(owner),
            serial: Serial(5),
            origin: Origin::Made,
        };
        found().token(17, |token| token.mark = Some(mark))
    };
    check(&marked("there", "uid-1"), "blocked Adopt 17 is of another installation until +59");
    check(&marked("there", "uid-2"), "blocked Adopt 17 is of another installation until +59");
    // A mark that an object left which let the token go.
    check(&marked("here", "uid-2"), "claim_adoption 6:17 with 1 calls");
}

#[test]
fn the_grants_decide_whether_a_namespace_may_adopt() {
    let allowed = |adopt| found().with_account(|account| account.grants[0].adopt = adopt);
    check(&allowed(AdoptPolicy::Never), "blocked Adopt needs Proven");
    check(&allowed(AdoptPolicy::Unproven), "claim_adoption 6:17 with 1 calls");
    let untried = |adopt| {
        allowed(adopt)
            .with_desired(|desired| {
                desired.permissions = vec![permission("brand_new", &[])];
                desired.allow_unproven = true;
            })
            .token(17, |token| token.rows = rows(&[("brand_new", 0)]))
    };
    check(&untried(AdoptPolicy::Proven), "blocked Adopt needs Unproven until +59");
    check(&untried(AdoptPolicy::Unproven), "claim_adoption 6:17 with 0 calls");
    check(&found().with_account(|account| account.grants.clear()), "blocked PolicyRefused job_admin on all projects");
    check(&found().crowded_out(), "blocked TokenLimit namespace finance");
    // One call is proof enough of possession, whatever else the token may do.
    let partly = found().adopting(None, AdoptPermissions::Replace);
    check(
        &partly.token(17, |token| token.rows = rows(&[("job_admin", 0), ("brand_new", 0)])),
        "claim_adoption 6:17 with 1 calls",
    );
}

#[test]
fn other_permissions_stall_unless_they_shall_be_replaced() {
    let other = |it: Observation| it.token(17, |token| token.rows = rows(&[("job_admin", 700), ("job_viewer", 0)]));
    let difference = "17 may job_admin on project 700; job_viewer on all projects, not job_admin on all projects";
    check(&other(found()), &format!("blocked Adopt {difference} until +59"));
    check(&other(claimed()), "abandon; serial 6");
    let replace = |it: Observation| other(it).adopting(None, AdoptPermissions::Replace);
    check(&replace(found()), "claim_adoption 6:17 with 1 calls");
    check(&replace(claimed()), "prove 6:17 with 1 calls; serial 6, current 6:17");
}

#[test]
fn the_very_secret_is_taken_over_after_the_claim() {
    let missing = |it: Observation| it.in_place().with(|it| it.target = Target::Missing);
    check(&missing(begun()), "inspect_source dagster-dbt/token");
    check(&missing(found()), "claim_adoption 6:17 with 1 calls");
    let slot = |it: Observation| {
        it.slot_changed(6, |slot| {
            slot.adopted = Some(Source { secret: "dagster-dbt".into(), key: "token".into() });
        })
    };
    check(&slot(missing(claimed())), "take_over_target 6");
    let ours = TargetState { token: None, rule: None, intact: true, taken_over: true };
    check(
        &slot(claimed().in_place()).with(|it| it.target = Target::Ours(ours)),
        "prove 6:17 with 1 calls; serial 6, current 6:17",
    );
    // Somebody deleted the target in between.
    check(&claimed().with(|it| it.target = Target::Missing), "claim_target");
}

#[test]
fn a_claim_that_is_not_declared_any_more_is_given_up() {
    let abandoned = "abandon; serial 6";
    check(&claimed().with_desired(|desired| desired.adopt = None), abandoned);
    check(&claimed().in_place(), abandoned);
    check(&claimed().adopting(Some(18), AdoptPermissions::Match), abandoned);
    check(&claimed().adopting(Some(17), AdoptPermissions::Match), "prove 6:17 with 1 calls; serial 6, current 6:17");
    check(&claimed().inactive(17), abandoned);
    check(&claimed().gone(17), abandoned);
    check(&claimed().slot_changed(6, |slot| slot.condemned = Some(Condemnation::superseded())), abandoned);
    // What was begun before adoption was declared.
    check(&begun().empty_slot(6), abandoned);
    check(&begun().filled_slot(6, 18), abandoned);
    check(&claimed().unlisted(17), "read token 17");
    check(&claimed().stale(), "read tokens");
    let there = |token: &mut Token| {
        let installation = Installation::new("there");
        token.mark = Some(Mark { installation, owner: OwnerUid::new("uid-1"), serial: Serial(5), origin: Origin::Made });
    };
    check(&claimed().token(17, there), abandoned);
    let environments = claimed().with_account(|account| account.environments = Reading::Unknown);
    check(&environments, "prove 6:17 with 1 calls; serial 6, current 6:17");
}

fn marks(observation: &Observation, expected: &str) {
    let current = observation.ledger.current.expect("it is committed");
    let slot = observation.slot(current.serial).expect("it has a slot");
    assert_eq!(mark(observation, current, slot).map_or_else(|| "nothing".into(), |it| turn(&it)), expected);
}

/// Token 17 is committed, and its slot is not labelled yet.
fn committed() -> Observation {
    claimed().with(|it| {
        it.ledger.next = None;
        it.ledger.current = Some(Entry { serial: Serial(6), token: TokenId(17) });
    })
}

#[test]
fn a_committed_token_gets_its_mark_once() {
    marks(&committed(), "rename 6:17");
    let marked = |serial, origin| {
        committed().token(17, |token| {
            let owner = OwnerUid::new("uid-1");
            token.mark = Some(Mark { installation: Installation::new("here"), owner, serial: Serial(serial), origin });
        })
    };
    marks(&marked(6, Origin::Adopted), "nothing");
    marks(&marked(5, Origin::Adopted), "rename 6:17");
    marks(&marked(6, Origin::Made), "rename 6:17");
    marks(&committed().stale(), "read tokens");
    marks(&committed().unlisted(17), "read token 17");
    marks(&committed().not_ready(), "pass");
    marks(&committed().slot_changed(6, |slot| slot.adopted = None), "nothing");
    let there = |token: &mut Token| {
        let installation = Installation::new("there");
        token.mark = Some(Mark { installation, owner: OwnerUid::new("uid-1"), serial: Serial(5), origin: Origin::Made });
    };
    marks(&committed().token(17, there), "nothing");
}
