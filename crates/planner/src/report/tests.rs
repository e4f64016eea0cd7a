//! Each reason of the closed list that this version serves: the whole combination of conditions, and the message.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::conclude::conclude;
use crate::desired::{Deadline, DeletionPolicy, OnDeadline, Refusal};
use crate::effect::{Effect, LetGo, Outcome, RevokedBecause};
use crate::fixture::{at, grant, now, object, permission, rows};
use crate::identity::{RenderRule, Serial};
use crate::observation::CondemnedReason::{GrantsDiffer, Superseded, VerificationRefused};
use crate::observation::TroubleKind::{
    Cluster, DbtUnavailable, LinkRefused, LinksUnreadable, SecretRefused, VerificationInconclusive as Inconclusive,
};
use crate::observation::{Account, Condemnation, Consumer, Consumers, Observation, Reading, Target, Way};
use crate::plan::Step;

/// The conditions in a few words: Ready with its reason, then Reconciling or Stalled, then Ready's message.
fn conditions(report: &Report) -> String {
    let find = |kind| report.conditions.iter().find(|condition| condition.kind == kind);
    let ready = find(ConditionType::Ready).expect("Ready is always there");
    let mut words = format!("{} {}", ready.status.word(), ready.reason);
    for kind in [ConditionType::Reconciling, ConditionType::Stalled] {
        if let Some(condition) = find(kind) {
            words += &format!(", {} {}", kind.word(), condition.reason);
            assert_eq!(condition.message, ready.message);
        }
    }
    format!("{words}: {}", ready.message)
}

#[track_caller]
fn check(observation: &Observation, expected: &str) {
    assert_eq!(conditions(&observation.plan().report), expected);
}

fn one(report: &Report, kind: ConditionType) -> String {
    let condition = report.conditions.iter().find(|condition| condition.kind == kind).expect("it is always there");
    format!("{} {}: {}", condition.status.word(), condition.reason, condition.message)
}

#[track_caller]
fn usable(observation: &Observation, expected: &str) {
    assert_eq!(one(&observation.plan().report, ConditionType::TokenUsable), expected);
}

#[track_caller]
fn rotating(observation: &Observation, expected: &str) {
    assert_eq!(one(&observation.plan().report, ConditionType::Rotating), expected);
}

fn published() -> Observation {
    object().published(5, 2202)
}

fn requested() -> Observation {
    published().with(|it| it.rotate_at = Some("noon".into()))
}

const PUBLISHED: &str = "True Published: Secret dagster-dbt holds token 2202, which dbt accepted with the declared permissions";

/// The observation after the shell wrote the report of its plan.
fn written(observation: Observation) -> Observation {
    let report = observation.plan().report;
    observation.with(|it| {
        it.record.observed_generation = report.observed_generation;
        it.record.published = report.token.map(|token| Published { token: token.id, at: token.published_at });
        it.record.conditions = report.conditions;
    })
}

#[test]
fn ready_while_the_published_token_is_what_is_declared() {
    check(&published(), PUBLISHED);
    let viewer = |it: Observation| it.with_account(|account| account.grants = vec![grant(&["job_viewer"], &[], &[])]);
    check(
        &viewer(published()),
        "True PolicyViolation: token 2202 still works, but no grant of DbtAccount analytics covers job_admin on all projects any \
         more; add the grant, or remove the permission",
    );
    let unproven = object().with_desired(|it| {
        it.permissions = vec![permission("metadata_only", &["701"])];
        it.allow_unproven = true;
    });
    check(
        &unproven.published(5, 2202),
        "True PublishedUnproven: Secret dagster-dbt holds token 2202; no call can try metadata_only; set \
         verification.environmentId",
    );
    check(
        &published().with_desired(|it| it.suspended = true),
        "True Suspended: suspended; generation 1 is not applied; unset suspend to go on",
    );
    check(
        &object().with_account(|account| account.suspended = true),
        "False Suspended: suspended; generation 1 is not applied; unset suspend to go on",
    );
    check(
        &published().inactive(2202).with_desired(|it| it.suspended = true),
        "False Suspended: suspended; generation 1 is not applied; unset suspend to go on",
    );
}

#[test]
fn ready_stays_true_through_what_goes_on_in_the_background() {
    check(&requested(), PUBLISHED);
    check(&requested().budget_used_up(), PUBLISHED);
    check(&published().slot_lost(5), PUBLISHED);
    check(&published().retiring(4, 2190, 100), PUBLISHED);
    check(&published().retiring(4, 2190, 3600), PUBLISHED);
    check(&published().not_ready(), PUBLISHED);
    check(&published().unlisted(2202), PUBLISHED);
    check(&published().listless(), PUBLISHED);
    check(&published().listed(4, 2190).troubled(DbtUnavailable, 20), PUBLISHED);
    check(&requested().attempt(6, Cause::Requested, 0).filled_slot(6, 2206).troubled(Inconclusive, 20), PUBLISHED);
    check(&published().with(|it| it.rule = Some(RenderRule::new("rule-2"))), PUBLISHED);
}

#[test]
fn a_new_generation_is_reconciled() {
    let edited = || published().edited(vec![permission("job_viewer", &[])]);
    check(&edited(), "Unknown Progressing, Reconciling Progressing: creating a token");
    usable(&edited(), "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    rotating(&edited(), "True Replacing: token 2202 is being replaced (PermissionsChanged)");
    check(&written(edited()), "Unknown Progressing, Reconciling Progressing: creating a token");
    check(&edited().unlisted(2202), "Unknown Progressing, Reconciling Progressing: reading token 2202");
    let proving = edited().attempt(6, Cause::PermissionsChanged, 0).filled_slot(6, 2206).listed(6, 2206);
    check(&proving, "Unknown Progressing, Reconciling Progressing: publishing token 2206, which dbt accepted");
    check(&object(), "Unknown Progressing, Reconciling Progressing: creating a token");
    check(&object().attempt(6, Cause::First, 0), "Unknown Progressing, Reconciling Progressing: claiming Secret dagster-dbt");
    check(&published().inactive(2202), "Unknown Progressing, Reconciling Progressing: creating a token");
    let harmless = published().with(|it| it.generation = 2);
    check(&harmless, PUBLISHED);
    assert_eq!(harmless.plan().report.observed_generation, 2);
    let full = edited().retiring(4, 2184, 9).retiring(3, 2183, 9).retiring(2, 2182, 9);
    check(
        &full,
        "Unknown Progressing, Reconciling Progressing: three replaced tokens wait for their end; the next rotation follows the \
         first of them",
    );
}

#[test]
fn what_time_or_a_retry_mends_is_not_stalled() {
    check(
        &object().not_ready(),
        "False AccountNotReady, Reconciling ProgressingWithRetry: DbtAccount analytics: Unreachable; see the DbtAccount",
    );
    let missing = |created| {
        object().with(|it| {
            it.account = Account::Missing;
            it.created_at = at(created);
        })
    };
    check(
        &missing(0),
        "Unknown Progressing, Reconciling Progressing: waiting for DbtAccount analytics, which does not exist yet",
    );
    check(
        &object().listless().troubled(DbtUnavailable, 20),
        "False DbtUnavailable, Reconciling ProgressingWithRetry: it failed since 2026-11-24T07:39Z; it is tried again by itself",
    );
    let proving = object().claimed().attempt(6, Cause::First, 0).filled_slot(6, 2206).listed(6, 2206);
    check(
        &proving.troubled(Inconclusive, 20),
        "False VerificationInconclusive, Reconciling ProgressingWithRetry: the new token could not be tried (it failed) since \
         2026-11-24T07:39Z; nothing is published",
    );
    check(
        &object().troubled(Cluster, 20),
        "Unknown Progressing, Reconciling ProgressingWithRetry: it failed since 2026-11-24T07:39Z",
    );
    check(
        &object().budget_used_up(),
        "False MintBudgetExhausted, Reconciling ProgressingWithRetry: limits.mintsPerHour (200) of DbtAccount analytics is used \
         up; free at 2026-11-24T07:55Z; wait, or raise it",
    );
    check(
        &object().claimed().attempt(now().as_second(), Cause::First, 1),
        "Unknown Progressing, Reconciling ProgressingWithRetry: the last attempt was given up; the next one starts at \
         2026-11-24T07:41Z",
    );
}

#[track_caller]
fn stalled(observation: &Observation, reason: &str, message: &str) {
    check(observation, &format!("False {reason}, Stalled {reason}: {message}"));
    let events = observation.plan().report.events;
    assert_eq!(events, [Event { warning: true, reason: reason.into(), message: message.into() }]);
    assert_eq!(written(observation.clone()).plan().report.events, [], "the event is told again");
}

#[test]
fn what_a_person_must_mend_is_stalled_with_its_remedy() {
    let refused = |refusal| object().with(|it| it.desired = Err(refusal));
    stalled(
        &refused(Refusal::NotImplemented { field: "spec.adopt".into() }),
        "NotImplemented",
        "spec.adopt is not available in this version; remove it, or upgrade",
    );
    let invalid = Refusal::InvalidSpec { field: "secret.name".into(), why: "it is empty".into(), remedy: "write a name".into() };
    stalled(&refused(invalid), "InvalidSpec", "secret.name: it is empty; write a name");
    stalled(
        &object().with(|it| it.account = Account::Missing),
        "AccountNotFound",
        "DbtAccount analytics does not exist; create it (accountRef cannot be changed)",
    );
    stalled(
        &object().with(|it| it.senior = Some("airflow".into())),
        "SecretConflict",
        "the older ServiceToken airflow already writes Secret dagster-dbt; choose another secret.name",
    );
    stalled(
        &object().with(|it| it.target = Target::Foreign { manager: "helm".into() }),
        "SecretNotOwned",
        "Secret dagster-dbt exists and is not the operator's (last written by helm); choose another secret.name, or adopt it",
    );
    stalled(
        &object().crowded_out(),
        "TokenLimitReached",
        "namespace finance has 20 of 20 tokens; raise maxTokens, or delete one",
    );
    stalled(
        &object().edited(vec![permission("brand_new", &[])]),
        "Unprobeable",
        "no call can try brand_new; set verification.environmentId, or verification.allowUnproven: true",
    );
}

#[test]
fn links_that_cannot_be_carried_over_stall_every_rotation() {
    let proving = |failures| {
        requested().attempt(6, Cause::Requested, failures).filled_slot(6, 2206).listed(6, 2206).with(|it| it.generation = 2)
    };
    let refused = "it failed; token 2202 stays published; link it in dbt, or mend the credential's rights";
    stalled(&proving(0).troubled(LinkRefused, 20), "SemanticLayerLinkFailed", refused);
    let unreadable = "it failed; token 2202 stays published; mend the credential's rights";
    stalled(&proving(0).troubled(LinksUnreadable, 20), "SemanticLayerLinkFailed", unreadable);
    usable(&proving(0).troubled(LinkRefused, 20), "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    // It is told until the next try has succeeded, and over what an earlier attempt failed with.
    let told =
        |it: Observation| check(&it, &format!("False SemanticLayerLinkFailed, Stalled SemanticLayerLinkFailed: {refused}"));
    told(written(proving(0).troubled(LinkRefused, 20)).troubled(LinkRefused, 0));
    let failed_before = proving(1).with(|it| {
        it.record.observed_generation = 2;
        it.record.conditions.push(Condition {
            kind: ConditionType::Stalled,
            status: ConditionStatus::True,
            reason: "VerificationRefused".into(),
            message: "of an earlier token".into(),
        });
    });
    told(failed_before.troubled(LinkRefused, 20));
    // What is not held back by it is told as it is.
    check(&published().troubled(LinkRefused, 20), PUBLISHED);
}

#[test]
fn a_refusal_of_the_policy_says_which_grant_is_missing() {
    let refused = |set: &str, projects: &[&str]| {
        object().with_account(|account| account.grants.clear()).edited(vec![permission(set, projects)])
    };
    stalled(
        &refused("account_admin", &[]),
        "PolicyRefused",
        "no grant of DbtAccount analytics allows account_admin on all projects for namespace finance; it needs a grant with \
         permissionSets: [account_admin] and allProjects: true",
    );
    stalled(
        &refused("job_admin", &["Finance"]),
        "PolicyRefused",
        "no grant of DbtAccount analytics allows job_admin on project 700 for namespace finance; it needs a grant with \
         permissionSets: [job_admin] and projects: [{id: 700}] (or allProjects: true)",
    );
    let writing =
        refused("developer", &[]).with_desired(|it| it.permissions[0].writable = crate::fixture::kinds(&["staging", "other"]));
    stalled(
        &writing,
        "PolicyRefused",
        "no grant of DbtAccount analytics allows developer on all projects (writing in other, staging) for namespace finance; it \
         needs a grant with permissionSets: [developer] and allProjects: true and writableEnvironments: [other, staging]",
    );
}

#[test]
fn a_project_that_cannot_be_told_is_named_with_its_neighbours() {
    let named = |name: &str| object().edited(vec![permission("job_admin", &[name])]);
    stalled(
        &named("Finanec"),
        "ProjectNotFound",
        "account 42 has no active project Finanec; one of: Finance (700), Shop (702), Shop (703), Marketing (701)",
    );
    stalled(&named("Shop"), "ProjectAmbiguous", "Shop is the name of projects 702, 703; give the id");
}

#[test]
fn a_failure_for_good_is_told_until_the_next_attempt_ends() {
    let attempt = || object().claimed().attempt(6, Cause::First, 0);
    let refused = || attempt().condemned_slot(6, 2206, VerificationRefused).listed(6, 2206);
    let message =
        "new token 2206 was refused (HTTP 401) and is revoked; nothing is published; check IP restrictions and endpoints";
    stalled(&refused(), "VerificationRefused", message);
    let replacing = requested().attempt(6, Cause::Requested, 0).condemned_slot(6, 2206, VerificationRefused);
    stalled(
        &replacing,
        "VerificationRefused",
        "new token 2206 was refused (HTTP 401) and is revoked; token 2202 stays published; check IP restrictions and endpoints",
    );
    stalled(&attempt().condemned_slot(6, 2206, GrantsDiffer), "GrantsDiffer", "HTTP 401; token 2206 is revoked");
    check(
        &attempt().condemned_slot(6, 2206, Superseded),
        "Unknown Progressing, Reconciling Progressing: giving up an attempt; the next one follows",
    );
    let next = |opened: i64| written(refused()).slot_lost(6).unlisted(2206).attempt(at(opened).as_second(), Cause::First, 1);
    let same = format!("False VerificationRefused, Stalled VerificationRefused: {message}");
    check(&next(0), &same);
    check(&next(-60), &same);
    check(&next(-60).empty_slot(at(-60).as_second()), &same);
    check(
        &next(-60).filled_slot(at(-60).as_second(), 2207).listed(at(-60).as_second(), 2207),
        "Unknown Progressing, Reconciling Progressing: publishing token 2207, which dbt accepted",
    );
    check(&next(-60).with(|it| it.generation = 2), "Unknown Progressing, Reconciling Progressing: creating a token");
}

#[test]
fn a_refused_request_is_told_with_the_plan() {
    let minting = object().claimed().attempt(6, Cause::First, 0).empty_slot(6);
    let Step::Act(effect) = minting.plan().step else { panic!("nothing is minted") };
    let outcome = Outcome::Rejected { message: "no such set".into() };
    let conclusion = conclude(&minting, &effect, &outcome, now()).expect("a conclusion");
    assert_eq!(
        conditions(&conclusion.report),
        "False DbtRejected, Stalled DbtRejected: dbt refuses the request: no such set; check the permission sets against the \
         account's plan (enterprise)",
    );
}

#[test]
fn deletion_is_told() {
    let deleted = |policy| published().deleted(60, policy).with(|it| it.ledger.deletion = Some(policy));
    check(&deleted(DeletionPolicy::Revoke), "False Deleting, Reconciling Progressing: token 2202 is being revoked");
    let cleared = deleted(DeletionPolicy::Revoke).with(|it| it.ledger = it.ledger.cleared());
    check(&cleared, "False Deleting, Reconciling Progressing: the object is being deleted");
    stalled(
        &deleted(DeletionPolicy::Revoke).not_ready(),
        "DeletionBlocked",
        "token 2202 cannot be revoked: Unreachable: ab123.us1.dbt.com: time-out; let go at 2026-11-24T07:49Z; mend DbtAccount \
         analytics, or set deletionPolicy: Retain",
    );
    stalled(
        &cleared.not_ready(),
        "DeletionBlocked",
        "its tokens cannot be revoked: Unreachable: ab123.us1.dbt.com: time-out; let go at 2026-11-24T07:49Z; mend DbtAccount \
         analytics",
    );
}

#[test]
fn token_usable_speaks_of_the_published_token() {
    usable(&object(), "Unknown NoToken: no token is published");
    usable(&published(), "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    usable(&published().inactive(2202), "False TokenLost: dbt no longer has token 2202");
    usable(&published().not_ready(), "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    let attempt = requested().attempt(6, Cause::Requested, 0).condemned_slot(6, 2206, VerificationRefused);
    usable(&attempt, "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    let unproven = object().with_desired(|it| {
        it.permissions = vec![permission("metadata_only", &["701"])];
        it.allow_unproven = true;
    });
    usable(&unproven.published(5, 2202), "Unknown Unprobeable: no call can try metadata_only of token 2202");
}

#[test]
fn rotating_tells_what_goes_on_behind() {
    rotating(&object(), "False UpToDate: no token is being replaced");
    rotating(&object().attempt(6, Cause::First, 0), "False UpToDate: no token is being replaced");
    rotating(&published(), "False UpToDate: token 2202 is what is declared");
    rotating(&requested(), "True Replacing: token 2202 is being replaced (Requested)");
    rotating(
        &requested().budget_used_up(),
        "False WaitingForBudget: token 2202 waits for the account's mint budget until 2026-11-24T07:55Z",
    );
    rotating(
        &published().retiring(4, 2190, 100),
        "True AwaitingConsumers: token 2190 waits: minimum overlap until 2026-11-24T07:49Z",
    );
    rotating(&published().retiring(4, 2190, 3600), "True Retiring: token 2190 is being revoked");
    rotating(
        &published().retiring(4, 2190, 3600).claimed(),
        "True AwaitingConsumers: token 2190 waits: Secret dagster-dbt does not hold token 2202 yet",
    );
    rotating(&published().deleted(1, DeletionPolicy::Revoke), "False UpToDate: no token is being replaced");
}

/// A pod that read the Secret long before token 2190 left it.
fn held_by_a_pod() -> Observation {
    let created_at = at(-90_000);
    let pod = Consumer { pod: "dagster-0".into(), created_at, way: Way::Environment, running_since: Some(created_at) };
    let consumers = Reading::Known { value: Consumers::Seen(vec![pod]), taken_at: now() };
    published().retiring(4, 2190, 3600).with(|it| it.consumers = consumers)
}

#[test]
fn a_deadline_that_holds_is_an_alarm_that_sounds_once() {
    let ends = |seconds, then| {
        let deadline = Some(Deadline { after: Duration::from_secs(seconds), then });
        held_by_a_pod().with_desired(|it| it.retirement.deadline = deadline)
    };
    let message = "token 2190 waits: pod dagster-0 started before the swap";
    rotating(&held_by_a_pod(), &format!("True AwaitingConsumers: {message}"));
    rotating(&ends(3601, OnDeadline::Hold), &format!("True AwaitingConsumers: {message}"));
    let blocked = ends(3600, OnDeadline::Hold);
    rotating(&blocked, &format!("True RetirementBlocked: {message}"));
    rotating(&ends(3600, OnDeadline::Delete), "True Retiring: token 2190 is being revoked");
    let report = blocked.plan().report;
    assert_eq!(report.retiring[0].deadline_at, Some(at(0)));
    assert_eq!(report.events, [Event { warning: true, reason: "RetirementBlocked".into(), message: message.into() }]);
    check(&blocked, PUBLISHED);
    let told = blocked.with(|it| it.record.conditions.clone_from(&report.conditions));
    assert_eq!(told.plan().report.events, []);
    // Of two, the one that is blocked is told of.
    let two = ends(3000, OnDeadline::Hold).retiring(3, 2183, 2000);
    let two = two.with(|it| it.ledger.retiring.sort_unstable());
    rotating(&two, &format!("True RetirementBlocked: {message}"));
    let status = two.plan().report.retiring;
    assert_eq!(status.iter().map(|token| (token.id.0, token.blocked)).collect::<Vec<_>>(), [(2183, false), (2190, true)]);
}

#[test]
fn a_token_that_no_ledger_names_is_told_of_while_it_may_be_in_use() {
    let held = |observation: Observation| observation.with(|it| it.consumers = held_by_a_pod().consumers);
    let waits = "True AwaitingConsumers: token 2190 waits: pod dagster-0 started before the swap";
    let stored = published().committed_slot(4, 2190).listed(4, 2190);
    let lost = published().listed(4, 2190).token(2190, |token| token.last_used = Some(at(-90_000)));
    for observation in [held(stored), held(lost.clone())] {
        rotating(&observation, waits);
        let report = observation.plan().report;
        assert_eq!(report.retiring, []);
        let step = report.next_step.expect("a next step");
        assert_eq!((step.action, step.message.as_str()), ("Retire", "revoke token 2190: pod dagster-0 started before the swap"));
    }
    let up_to_date = "False UpToDate: token 2202 is what is declared";
    rotating(&held(lost.clone().inactive(2190)), up_to_date);
    rotating(&held(published().listed(4, 2190).retained_record(4, 2190)), up_to_date);
    // One that is newer goes after the next rotation.
    let newer = published().committed_slot(7, 2207).listed(7, 2207).with(|it| it.ledger.serial = 7);
    rotating(&held(newer), up_to_date);
    // In doubt nothing is revoked, and nothing announced.
    rotating(&held(lost.with(|it| it.ledger.set_back = Some(Serial(9)))), up_to_date);
}

#[test]
fn times_are_taken_when_something_is_first_seen() {
    let fresh = published().with(|it| it.record.published = None);
    assert_eq!(fresh.plan().report.token.map(|token| token.published_at), Some(now()));
    assert_eq!(published().plan().report.token.map(|token| token.published_at), Some(at(-86_400)));
    assert_eq!(published().plan().report.last_rotation, None);
    let swapped = published().with(|it| it.record.published = Some(Published { token: TokenId(2190), at: at(-100_000) }));
    assert_eq!(swapped.plan().report.last_rotation, Some(now()));
    let retiring = swapped.retiring(4, 2190, 9).with(|it| it.record.retiring.clear());
    assert_eq!(retiring.plan().report.retiring[0].replaced_at, Some(now()));
    let known = published().token(2202, |token| token.created_at = "2022-05-05T10:00:00Z".parse().ok()).plan().report.token;
    assert!(known.is_some_and(|token| token.legacy == Some(true) && token.rows == Some(rows(&[("job_admin", 0)]))));
}

#[test]
fn what_a_status_that_was_set_back_tells_of_times_does_not_count() {
    let behind = || published().retiring(4, 2190, 9000).committed_slot(7, 2207).listed(7, 2207).holding(2207);
    let told = |observation: &Observation| {
        let Report { token, retiring, .. } = observation.plan().report;
        let mut times: Vec<_> = retiring.iter().map(|it| (it.id.0, it.replaced_at)).collect();
        times.extend(token.map(|token| (token.id.0, Some(token.published_at))));
        times
    };
    assert_eq!(told(&behind()), [(2190, Some(now())), (2202, Some(now())), (2207, Some(now()))]);
    // While dbt is away the ledger stays as it is, and the time is that of the first look.
    let away = behind().not_ready().with(|it| it.record.published = Some(Published { token: TokenId(2207), at: at(-60) }));
    assert_eq!(told(&away), [(2190, Some(at(-60))), (2207, Some(at(-60)))]);
}

#[test]
fn history_remembers_replacements() {
    let proving = requested().attempt(6, Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206);
    let begun = proving.plan().report.history;
    let replacement = Replacement {
        cause: Cause::Requested,
        token: TokenId(2206),
        previous: Some(TokenId(2202)),
        published_at: None,
        retired_at: None,
    };
    assert_eq!(begun, std::slice::from_ref(&replacement));
    // Planned again, it is not told twice.
    assert_eq!(proving.with(|it| it.record.history.clone_from(&begun)).plan().report.history, begun);
    let swapped = object().published(6, 2206).retiring(5, 2202, 9).with(|it| it.record.history = begun);
    let shown = Replacement { published_at: Some(at(-86_400)), ..replacement };
    assert_eq!(swapped.plan().report.history, std::slice::from_ref(&shown));
    let gone = swapped.inactive(2202).slot_lost(5);
    assert_eq!(gone.plan().report.history, [Replacement { retired_at: Some(now()), ..shown }]);
    let first = object().claimed().attempt(6, Cause::First, 0).filled_slot(6, 2206).listed(6, 2206);
    assert_eq!(first.plan().report.history, []);
}

#[test]
fn the_next_step_is_told_in_words() {
    let next = |observation: &Observation| observation.plan().report.next_step.map(|next| (next.action, next.message));
    assert_eq!(next(&published()), None);
    assert_eq!(
        next(&published().retiring(4, 2190, 100)),
        Some(("Retire", "revoke token 2190: minimum overlap until 2026-11-24T07:49Z".into()))
    );
    assert_eq!(next(&object()), Some(("Create", "creating a token".into())));
    assert_eq!(next(&published().retiring(4, 2190, 3600)), Some(("Retire", "revoking token 2190".into())));
    assert_eq!(next(&published().claimed()), Some(("Publish", "writing Secret dagster-dbt".into())));
    assert_eq!(next(&object().not_ready()), Some(("Wait", "waiting for DbtAccount analytics to be ready".into())));
}

fn told(observation: &Observation, effect: &Effect, expected: Option<(bool, &str, &str)>) {
    let event = event(observation, effect);
    assert_eq!(event.as_ref().map(|event| (event.warning, event.reason.as_str(), event.message.as_str())), expected);
}

#[test]
fn an_effect_that_matters_is_an_event() {
    let project = |token| Effect::Project { serial: Serial(5), token: TokenId(token), rule: RenderRule::new("rule-1") };
    let revoke = |because| Effect::Revoke { token: TokenId(2190), serial: Serial(4), because };
    told(&published(), &project(2202), Some((false, "SecretRebuilt", "Secret dagster-dbt was written again with token 2202")));
    told(&published(), &project(2206), Some((false, "TokenPublished", "Secret dagster-dbt holds token 2206")));
    let stray = "token 2190 was revoked; it was never published";
    told(&published(), &revoke(RevokedBecause::Stray), Some((false, "StrayRevoked", stray)));
    let deleted = "token 2190 was revoked, since the object is being deleted";
    told(&published(), &revoke(RevokedBecause::Deletion), Some((false, "TokenRetired", deleted)));
    let left = "token 2202 and Secret dagster-dbt were left in place";
    told(&published(), &Effect::RemoveFinalizer(LetGo::Retained), Some((false, "Released", left)));
    let behind = "dbt could not be reached in time; token 2202 will be revoked when it answers again";
    told(&published(), &Effect::RemoveFinalizer(LetGo::LeftBehind), Some((true, "LeftBehind", behind)));
    told(&published(), &Effect::RemoveFinalizer(LetGo::Clean), None);
    told(&published(), &Effect::ClaimTarget, None);
    told(&published(), &Effect::Condemn { serial: Serial(6), why: Condemnation::superseded() }, None);
}

#[test]
fn an_attempt_warns_of_unknown_sets_and_of_a_lost_token() {
    let warnings = |observation: &Observation| {
        observation.plan().report.events.into_iter().map(|event| (event.reason, event.message)).collect::<Vec<_>>()
    };
    let unknown = object().edited(vec![permission("brand_new", &[])]).with_desired(|it| it.allow_unproven = true);
    let words = "this version does not know brand_new; sent to dbt as written";
    assert_eq!(warnings(&unknown), [("UnknownPermissionSet".to_owned(), words.to_owned())]);
    let lost = ("TokenLost".to_owned(), "token 2202 is gone in dbt; it is replaced".to_owned());
    assert_eq!(warnings(&published().inactive(2202)), [lost]);
    assert_eq!(warnings(&requested()), []);
}

#[test]
fn a_published_token_that_dbt_refused_is_not_called_usable() {
    let refused = published().attempt(6, Cause::TokenUnusable, 0);
    usable(&refused, "False VerificationRefused: dbt refused token 2202 when it was last tried");
    check(&refused, "Unknown Progressing, Reconciling Progressing: creating a token");
}

#[test]
fn a_secret_that_is_gone_is_not_called_ready() {
    let gone = || published().with(|it| it.target = Target::Missing);
    check(&gone(), "Unknown Progressing, Reconciling Progressing: claiming Secret dagster-dbt");
    check(
        &gone().troubled(Cluster, 20),
        "Unknown Progressing, Reconciling ProgressingWithRetry: it failed since 2026-11-24T07:39Z",
    );
    check(&published().claimed(), "Unknown Progressing, Reconciling Progressing: writing Secret dagster-dbt");
}

#[test]
fn a_secret_that_the_cluster_refuses_is_stalled() {
    let message = "it failed; check quota, admission policy and RBAC of the namespace";
    stalled(&object().attempt(6, Cause::First, 0).troubled(SecretRefused, 20), "SecretRefused", message);
    stalled(&published().with(|it| it.target = Target::Missing).troubled(SecretRefused, 20), "SecretRefused", message);
}

/// What a failure says must not come and go with each retry.
#[test]
fn a_failure_is_told_until_a_retry_succeeds() {
    let message = "it failed; check quota, admission policy and RBAC of the namespace";
    let claiming = object().attempt(6, Cause::First, 0);
    check(&claiming.clone().troubled(SecretRefused, 0), &format!("False SecretRefused, Stalled SecretRefused: {message}"));
    check(
        &object().listless().troubled(DbtUnavailable, -1),
        "False DbtUnavailable, Reconciling ProgressingWithRetry: it failed since 2026-11-24T07:39Z; it is tried again by itself",
    );
    check(&claiming.troubled(DbtUnavailable, 0), "Unknown Progressing, Reconciling Progressing: claiming Secret dagster-dbt");
}

#[test]
fn a_retained_token_is_not_said_to_be_revoked() {
    let retained = published().deleted(60, DeletionPolicy::Retain).with(|it| it.ledger.deletion = Some(DeletionPolicy::Retain));
    check(&retained, "False Deleting, Reconciling Progressing: token 2202 and Secret dagster-dbt are left in place");
}

#[test]
fn a_missing_project_of_an_empty_account_offers_no_empty_list() {
    let empty = |account: &mut crate::observation::OpenAccount| {
        account.projects = Reading::Known { value: Arc::default(), taken_at: now() };
    };
    stalled(
        &object().edited(vec![permission("job_admin", &["Finance"])]).with_account(empty),
        "ProjectNotFound",
        "account 42 has no active project Finance; it has none at all that the credential can see",
    );
}

#[test]
fn what_was_known_of_the_published_token_outlives_its_account() {
    let lost = written(published().inactive(2202));
    usable(&lost.not_ready(), "False TokenLost: dbt no longer has token 2202");
    let unproven = object().with_desired(|it| {
        it.permissions = vec![permission("metadata_only", &["701"])];
        it.allow_unproven = true;
    });
    let unproven = written(unproven.published(5, 2202));
    let words = "Unknown Unprobeable: no call can try metadata_only of token 2202";
    usable(&unproven.clone().not_ready(), words);
    // Nobody reads environments at rest, so after a restart they are not known.
    let restarted = unproven.with_account(|account| account.environments = Reading::Unknown);
    usable(&restarted, words);
    check(
        &restarted,
        "True PublishedUnproven: Secret dagster-dbt holds token 2202; no call can try metadata_only; set \
         verification.environmentId",
    );
}

/// Tables look on a Tuesday, at 07:40.
fn waiting_for_the_night() -> Observation {
    published().legacy(2202).aged_after(3650, &["0 2 * * *"])
}

fn next(report: &Report) -> String {
    let step = report.next_step.as_ref().map_or_else(String::new, |step| {
        format!("{} {:?} at {:?}: {}", step.action, step.cause, step.at.map(|at| at.to_string()), step.message)
    });
    format!("{:?}, {step}", report.next_rotation.map(|time| time.to_string()))
}

#[test]
fn a_token_that_waits_for_a_window_is_what_is_declared_until_then() {
    let words = "False WaitingForWindow: token 2202 waits for the window that opens at 2026-11-25T02:00Z (Legacy)";
    rotating(&waiting_for_the_night(), words);
    check(&waiting_for_the_night(), PUBLISHED);
    check(&waiting_for_the_night().with(|it| it.generation = 2), PUBLISHED);
    let expected = "Some(\"2026-11-25T02:00:00Z\"), Rotate Some(Legacy) at Some(\"2026-11-25T02:00:00Z\"): replace token 2202 in the next window";
    assert_eq!(next(&waiting_for_the_night().plan().report), expected);
    // An attempt that was opened before the window closed waits as well.
    rotating(&waiting_for_the_night().attempt(6, Cause::Legacy, 0), words);
    check(&waiting_for_the_night().attempt(6, Cause::Legacy, 0), PUBLISHED);
    // What goes on is told before what will.
    let retiring = waiting_for_the_night().retiring(4, 2190, 100);
    rotating(&retiring, "True AwaitingConsumers: token 2190 waits: minimum overlap until 2026-11-24T07:49Z");
    let failed = waiting_for_the_night().attempt(6, Cause::Legacy, 1).with(|it| {
        let kind = ConditionType::Stalled;
        it.record.conditions.push(Condition {
            kind,
            status: ConditionStatus::True,
            reason: "VerificationRefused".into(),
            message: "no".into(),
        });
    });
    check(&failed, "False VerificationRefused, Stalled VerificationRefused: no");
}

#[test]
fn a_legacy_token_is_replaced_or_reported_with_one_event() {
    let reported = || published().legacy(2202).rotated(|it| it.legacy = crate::rotation::LegacyPolicy::Report);
    let message =
        "token 2202 was created on or before 18 July 2023 and is only reported; set rotation.legacy: Rotate to replace it";
    rotating(&reported(), &format!("False LegacyReported: {message}"));
    check(&reported(), PUBLISHED);
    let event = |message: &str| vec![Event { warning: true, reason: "LegacyToken".into(), message: message.into() }];
    assert_eq!(reported().plan().report.events, event(message));
    assert_eq!(written(reported()).plan().report.events, []);
    // Where the list cannot be looked at, what was said still stands.
    rotating(&written(reported()).not_ready(), &format!("False LegacyReported: {message}"));
    assert_eq!(written(reported()).not_ready().plan().report.token.and_then(|token| token.legacy), None);
    rotating(&reported().retiring(4, 2190, 3600), "True Retiring: token 2190 is being revoked");
    rotating(
        &published().rotated(|it| it.legacy = crate::rotation::LegacyPolicy::Report),
        "False UpToDate: token 2202 is what is declared",
    );
    let replaced = published().legacy(2202);
    rotating(&replaced, "True Replacing: token 2202 is being replaced (Legacy)");
    assert_eq!(replaced.plan().report.events, event("token 2202 was created on or before 18 July 2023; it is replaced"));
    check(&replaced, PUBLISHED);
}

#[test]
fn the_next_rotation_is_told_as_far_as_it_is_known() {
    let aged = || published().aged_after(2, &[]);
    let at_rest =
        "Some(\"2026-11-25T08:23:03Z\"), Rotate Some(MaxAge) at Some(\"2026-11-25T08:23:03Z\"): replace token 2202 for its age";
    assert_eq!(next(&aged().plan().report), at_rest);
    assert_eq!(next(&published().plan().report), "None, ");
    let retiring = next(&aged().retiring(4, 2190, 100).plan().report);
    assert!(retiring.starts_with("Some(\"2026-11-25T08:23:03Z\"), Retire None"), "{retiring}");
    // Elsewhere it stays what it was.
    let told = |it: Observation| it.with(|it| it.record.next_rotation = Some(at(-5))).plan().report.next_rotation;
    assert_eq!(told(aged()), at(88_983).into());
    assert_eq!(told(published()), None);
    assert_eq!(told(aged().not_ready()), Some(at(-5)));
    assert_eq!(told(aged().with_desired(|it| it.suspended = true)), Some(at(-5)));
    assert_eq!(told(published().legacy(2202).budget_used_up()), Some(at(-5)));
}

#[test]
fn a_compromised_token_is_told_in_the_history() {
    let called = published().called_compromised("noon");
    rotating(&called, "False UpToDate: token 2202 is what is declared");
    let recorded = called.with(|it| it.ledger.compromised = Some(Serial(5)));
    check(&recorded, PUBLISHED);
    rotating(&recorded, "True Replacing: token 2202 is being replaced (Compromised)");
    let proving = recorded.attempt(6, Cause::Compromised, 0).filled_slot(6, 2206).listed(6, 2206);
    assert_eq!(proving.plan().report.history[0].cause, Cause::Compromised);
}

#[test]
fn a_restart_is_told_before_while_and_after() {
    use crate::desired::WorkloadKind::Deployment;
    use crate::fixture::restarting::workload;
    let swapped = |ago| object().swapped(ago).restarting(&[Deployment]);
    let next = |it: &Observation| {
        let next = it.plan().report.next_step.expect("something comes");
        format!("{} {}: {}", next.action, next.at.map_or_else(String::new, |at| at.to_string()), next.message)
    };
    let waiting = swapped(30);
    assert_eq!(next(&waiting), "Restart 2026-11-24T07:40:30Z: restart the workloads that take Secret dagster-dbt");
    check(&waiting, PUBLISHED);
    let due = swapped(60).working(0, &["b", "a"].map(|name| workload(name, None)));
    assert_eq!(next(&due), "Restart : restarting Deployment a and Deployment b");
    check(&due, PUBLISHED);
    let done = |names: &[&str]| {
        let workloads = names.iter().map(|name| workload(name, None).reference).collect();
        let effect = Effect::RestartWorkloads { serial: Serial(5), at: now(), workloads };
        event(&due, &effect).map(|event| (event.warning, event.reason, event.message)).expect("an event")
    };
    let told = |message: &str| (false, "WorkloadsRestarted".to_owned(), message.to_owned());
    assert_eq!(done(&["web"]), told("Deployment web was restarted to take token 2202"));
    let many = done(&["g", "f", "e", "d", "c", "b", "a"]);
    let names = "Deployment a, Deployment b, Deployment c, Deployment d, Deployment e and 2 more";
    assert_eq!(many, told(&format!("{names} were restarted to take token 2202")));
}

#[test]
fn restarts_that_are_not_permitted_stall_until_they_are() {
    use crate::desired::WorkloadKind::Deployment;
    use crate::observation::{Unreadable, Workloads};
    let looked = |why| {
        let value = Workloads::Unreadable { kind: Deployment, why };
        object()
            .swapped(600)
            .restarting(&[Deployment])
            .restarted(4)
            .with(|it| it.workloads = Reading::Known { value, taken_at: now() })
    };
    let refused = || looked(Unreadable::Forbidden);
    let stalled = "False RestartNotPermitted, Stalled RestartNotPermitted: the operator may not patch Deployment in finance; \
                   allow restarts in the chart, or empty retire.restart";
    check(&refused(), stalled);
    assert_eq!(refused().plan().report.events.len(), 1);
    usable(&refused(), "True VerificationPassed: dbt accepted token 2202 when it was last tried");
    // What time mends is no reason to act.
    check(&looked(Unreadable::Failed), PUBLISHED);
    // It ends with the permission, with the declaration, and when nobody is owed anything.
    let again = written(refused());
    check(&again, stalled);
    assert_eq!(again.plan().report.events, []);
    check(&again.clone().working(0, &[]).restarted(5), PUBLISHED);
    check(&again.clone().restarting(&[]), PUBLISHED);
    check(&again.clone().restarted(5).with(|it| it.ledger.retiring.clear()), PUBLISHED);
    // The old token has gone by its deadline, and its readers still have to be restarted.
    check(&again.clone().with(|it| it.ledger.retiring.clear()), stalled);
    // A rotation in the meantime does not look like a new declaration.
    check(&again.with(|it| it.rotate_at = Some("noon".into())), stalled);
}
