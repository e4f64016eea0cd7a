//! The chain of stages as a whole: its order, what a failure holds back, and when it looks again.

use super::*;
use crate::desired::{DeletionPolicy, Refusal};
use crate::fixture::{at, now, object, planned};
use crate::identity::{Installation, RenderRule};
use crate::ledger::Cause;
use crate::ledger::Ledger;
use crate::observation::TroubleKind::{
    Cluster, DbtUnavailable, LinkRefused, LinksUnreadable, SecretRefused, VerificationInconclusive,
};

fn check(observation: &Observation, expected: &str) {
    assert_eq!(planned(&observation.plan()), expected);
}

/// Published, and a rotation was asked for.
fn requested() -> Observation {
    object().published(5, 2202).with(|it| it.rotate_at = Some("noon".into()))
}

#[test]
fn the_first_stage_with_something_to_do_wins() {
    let retiring = || requested().retiring(4, 2190, 3600);
    let stray = || retiring().listed(3, 2183);
    let unpublished = || stray().claimed();
    let set_back = || unpublished().listed(9, 2209);
    let lost = || set_back().with(|it| it.ledger = Ledger::default());
    let refused = || lost().with(|it| it.desired = Err(Refusal::NotImplemented { field: "spec.adopt".into() }));
    let deleted = || refused().deleted(1, DeletionPolicy::Revoke);
    check(&deleted(), "delete; serial 0, deletion Revoke");
    check(&refused(), "blocked Refused");
    check(&lost(), "rebuild; serial 9, current 5:2202, retiring 4:2190, handled noon");
    check(&set_back(), "set_back; serial 5, current 5:2202, retiring 4:2190, set back 9");
    check(&unpublished(), "project 5:2202");
    check(&stray(), "revoke 3:2183 Stray");
    check(&retiring(), "retire 4:2190 after 5");
    check(&requested(), "open; serial now+0, next now+0 Requested x0, current 5:2202");
    check(&object().published(5, 2202), "settled");
}

#[test]
fn a_ledger_of_another_installation_counts_for_nothing() {
    let elsewhere = |it: Observation| it.with(|it| it.ledger.installation = Some(Installation::new("there")));
    check(&elsewhere(object().attempt(6, Cause::First, 0)), "open; serial now+0, next now+0 First x0");
    check(&elsewhere(object().published(5, 2202).slot_lost(5).unlisted(2202)), "rebuild; serial 1");
    check(&elsewhere(object().published(5, 2202)), "rebuild; serial 5, current 5:2202");
    let nobodys = object().published(5, 2202).listed(9, 2209).with(|it| it.ledger.installation = None);
    check(&nobodys, "rebuild; serial 9, current 5:2202");
}

#[test]
fn a_failure_holds_back_what_needs_the_same_side() {
    let stray = || object().published(5, 2202).listed(3, 2183);
    let unpublished = || object().published(5, 2202).claimed();
    let filled = || object().claimed().attempt(6, Cause::First, 0).filled_slot(6, 2206).listed(6, 2206);
    check(&stray().troubled(DbtUnavailable, 20), "wait Trouble until +20");
    check(&stray().troubled(VerificationInconclusive, 20), "wait Trouble until +20");
    check(&stray().troubled(Cluster, 20), "revoke 3:2183 Stray");
    check(&stray().troubled(DbtUnavailable, 0), "revoke 3:2183 Stray");
    check(&unpublished().troubled(DbtUnavailable, 20), "project 5:2202");
    check(&unpublished().troubled(Cluster, 20), "wait Trouble until +20");
    check(&unpublished().troubled(SecretRefused, 20), "wait Trouble until +20");
    check(&unpublished().troubled(SecretRefused, 0), "project 5:2202");
    check(&unpublished().listed(3, 2183).troubled(SecretRefused, 20), "revoke 3:2183 Stray until +20");
    check(&filled().troubled(VerificationInconclusive, 20), "wait Trouble until +20");
    // What calls dbt and reads or writes the cluster as well waits for both.
    let retiring = || object().published(5, 2202).retiring(4, 2190, 3600);
    let empty = || object().claimed().attempt(6, Cause::First, 0).empty_slot(6);
    for both in [filled(), empty(), retiring()] {
        check(&both.clone().troubled(Cluster, 20), "wait Trouble until +20");
        check(&both.troubled(DbtUnavailable, 20), "wait Trouble until +20");
    }
    check(&retiring().troubled(SecretRefused, 20), "wait Trouble until +20");
    check(&filled().troubled(SecretRefused, 20), "prove 6:2206 with 1 calls; serial 6, current 6:2206");
    check(&object().listless().troubled(DbtUnavailable, 20), "wait Trouble until +20");
    // Links that cannot be carried over hold back the proof alone.
    for links in [LinkRefused, LinksUnreadable] {
        check(&filled().troubled(links, 20), "wait Trouble until +20");
        check(&filled().listed(3, 2183).troubled(links, 20), "revoke 3:2183 Stray");
        check(&object().listless().troubled(links, 20), "read tokens");
        check(&unpublished().troubled(links, 20), "project 5:2202");
    }
    check(&object().published(5, 2202).troubled(DbtUnavailable, 20), "settled");
    check(&object().not_ready().troubled(DbtUnavailable, 20), "wait AccountNotReady");
}

#[test]
fn a_rebuild_that_is_held_back_is_waited_for() {
    let lost = || object().published(5, 2202).with(|it| it.ledger = Ledger::default());
    check(&lost().stale().troubled(DbtUnavailable, 20), "wait Trouble until +20");
    check(&lost().troubled(Cluster, 20), "wait Trouble until +20");
}

#[test]
fn a_finding_that_is_not_written_down_yet_is_waited_for() {
    let found = object().published(5, 2202).listed(9, 2209).listed(3, 2183);
    check(&found.troubled(Cluster, 20), "wait Trouble until +20");
}

#[test]
fn a_deletion_that_is_held_back_makes_nothing_new() {
    let minting = || object().claimed().attempt(6, Cause::First, 0).empty_slot(6).deleted(1, DeletionPolicy::Retain);
    check(&minting().troubled(Cluster, 20), "wait Trouble until +20");
    check(&minting().listed(3, 2183).troubled(Cluster, 20), "wait Trouble until +20");
}

#[test]
fn no_token_is_made_while_taking_one_over_is_held_back() {
    use crate::adoption::AdoptPermissions::Match;
    let begun = || object().adopting(None, Match).unmarked(17).claimed().attempt(6, Cause::First, 0).fitting(&[17]);
    let in_place = || begun().in_place().with(|it| it.target = crate::observation::Target::Missing);
    for trouble in [DbtUnavailable, VerificationInconclusive, Cluster] {
        for it in [begun(), in_place(), begun().empty_slot(6), begun().with(|it| it.look = None)] {
            let step = planned(&it.troubled(trouble, 20).plan());
            assert!(!["claim_target", "reserve", "mint"].iter().any(|making| step.starts_with(making)), "{trouble:?}: {step}");
        }
    }
    check(&in_place().troubled(VerificationInconclusive, 20), "wait Trouble until +20");
}

#[test]
fn the_earliest_time_of_all_stages_wakes() {
    let retiring = |ago| object().published(5, 2202).retiring(4, 2190, ago);
    check(&retiring(100), "settled until +500");
    check(&retiring(100).retiring(3, 2183, 200), "settled until +400");
    let waiting = |ago| retiring(ago).with(|it| it.rotate_at = Some("noon".into())).budget_used_up();
    check(&waiting(100), "wait Budget until +500");
    check(&waiting(0).with_desired(|it| it.retirement.after = std::time::Duration::from_secs(3600)), "wait Budget until +900");
    let unpublished = object().published(5, 2202).claimed().with(|it| it.rotate_at = Some("noon".into())).budget_used_up();
    check(&unpublished.troubled(SecretRefused, 20), "wait Budget until +20");
}

#[test]
fn a_budget_is_free_again_at_the_time_it_names() {
    let free_since = |seconds| {
        object().with_account(|account| {
            account.budget.ordinary = crate::observation::Allowance::UsedUp { limit: 200, free_at: at(seconds) };
        })
    };
    check(&free_since(1), "wait Budget until +1");
    check(&free_since(0), "open; serial now+0, next now+0 First x0");
    check(&free_since(-5), "open; serial now+0, next now+0 First x0");
}

#[test]
fn a_harmless_change_makes_no_token() {
    let published = || object().published(5, 2202).with(|it| it.generation = 2);
    check(&published(), "settled");
    check(&published().with(|it| it.rule = Some(RenderRule::new("rule-2"))), "project 5:2202");
    check(&published().with_desired(|it| it.retirement.after = std::time::Duration::ZERO), "settled");
    check(&published().with_desired(|it| it.token_name = "finance/other".into()), "settled");
    check(&published().with_desired(|it| it.allow_unproven = true), "settled");
    check(&published().with_desired(|it| it.verification_environment = Some(crate::identity::EnvironmentId(1))), "settled");
    check(&published().with_desired(|it| it.deletion_policy = DeletionPolicy::Retain), "settled");
    check(&published().rotated(|it| it.legacy = crate::rotation::LegacyPolicy::Report), "settled");
    check(&published().aged_after(3650, &["* * * * *"]), "settled until +308314037");
}

#[test]
fn at_rest_time_changes_nothing() {
    for observation in [
        object().published(5, 2202),
        object().published(5, 2202).retiring(4, 2190, 100),
        object().published(5, 2202).with_account(|account| account.grants.clear()),
        object().with(|it| it.senior = Some("airflow".into())),
        object().published(5, 2202).with_desired(|it| it.suspended = true),
        object().not_ready(),
        object().budget_used_up(),
        object().published(5, 2202).aged_after(2, &[]),
        object().published(5, 2202).aged_after(2, &["0 2 * * *"]),
        object().published(5, 2202).aged_after(1, &["0 7 * * *"]).budget_used_up(),
        object().published(5, 2202).legacy(2202).aged_after(3650, &["*/15 2 * * *", "0 3 * * *"]),
        object().published(5, 2202).legacy(2202).rotated(|it| it.legacy = crate::rotation::LegacyPolicy::Report),
    ] {
        let first = plan(&observation, now());
        let last = first.wake_at.map_or(at(1_000_000), |time| time - jiff::SignedDuration::from_nanos(1));
        for later in [at(1), at(61), last] {
            assert_eq!(plan(&observation, later), first, "{observation:?}");
        }
    }
}
