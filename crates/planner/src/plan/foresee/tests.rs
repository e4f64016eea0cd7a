//! What a dry run tells, and what it leaves alone.

use super::*;
use crate::adoption::{AdoptPermissions, Finding};
use crate::desired::{Deadline, DeletionPolicy, OnDeadline};
use crate::fixture::{at, grant, now, object, permission, planned as in_words, rows};
use crate::observation::{Consumer, Target, TroubleKind, Unreadable, Way};
use crate::plan::plan;

/// The same under `dryRun`.
fn dry(observation: Observation) -> Observation {
    observation.with_desired(|desired| desired.dry_run = true)
}

fn entries(plan: &Plan) -> Vec<String> {
    let entry = |it: &PlannedStep| {
        let time = it.at.map_or_else(String::new, |time| format!(" {time}"));
        format!("{}{time}: {}", it.action, it.message)
    };
    plan.report.plan.iter().map(entry).collect()
}

#[track_caller]
fn check(observation: Observation, step: &str, expected: &[&str]) {
    let plan = plan(&dry(observation), now());
    assert_eq!((in_words(&plan).as_str(), entries(&plan)), (step, expected.iter().map(|it| (*it).to_owned()).collect()));
}

/// Containers that take the Secret, all of which run since long before.
fn taken_by(observation: Observation, pods: &[(&str, Way)]) -> Observation {
    let consumer = |(pod, way): &(&str, Way)| Consumer {
        pod: (*pod).to_owned(),
        created_at: at(-90_000),
        way: *way,
        running_since: Some(at(-89_990)),
    };
    let value = Consumers::Seen(pods.iter().map(consumer).collect());
    observation.with(|it| it.consumers = Reading::Known { value, taken_at: at(-1) })
}

fn published() -> Observation {
    object().published(5, 2202)
}

fn viewer(observation: Observation) -> Observation {
    observation.edited(vec![permission("job_viewer", &["Finance", "Marketing"])])
}

/// Legacy and aged tokens are replaced at two in the morning of the first of December, in Berlin.
fn in_berlin(observation: Observation) -> Observation {
    observation.rotated(|rotation| {
        rotation.windows = vec![window::Window {
            schedule: crate::schedule::Schedule::parse("0 2 1 12 *").expect("a schedule"),
            length: Duration::from_secs(4 * 3600),
            zone: window::Zone::named("Europe/Berlin").expect("a zone"),
        }];
    })
}

fn adopting() -> Observation {
    object().adopting(None, AdoptPermissions::Match).unmarked(17)
}

fn edited_by_hand(observation: Observation) -> Observation {
    observation.with(|it| {
        if let Target::Ours(state) = &mut it.target {
            state.intact = false;
        }
    })
}

#[test]
fn a_first_token_is_told_from_its_making_to_its_secret() {
    check(
        object().edited(vec![permission("job_admin", &["Marketing"])]),
        "blocked DryRun",
        &[
            "Create: a token with job_admin on Marketing (701)",
            "Verify: list the jobs of Marketing with it",
            "Publish: create Secret dagster-dbt with the key token",
        ],
    );
    let wide = object().with_desired(|it| {
        it.permissions = vec![permission("metadata_only", &[]), permission("job_admin", &["700", "812"])];
        it.secret_keys = vec!["host".into(), "token".into()];
    });
    check(
        wide.with(|it| it.finalizer = false),
        "blocked DryRun",
        &[
            "Create: a token with job_admin on Finance (700) and project 812; metadata_only on all projects",
            "Verify: list the jobs of Finance, ask the Discovery API about environment 9 with it",
            "Publish: create Secret dagster-dbt with the keys host and token",
        ],
    );
}

#[test]
fn with_nothing_to_do_the_object_is_judged_as_if_nothing_was_asked() {
    check(published(), "settled", &[]);
    check(published().aged_after(90, &["0 2 * * SAT"]), "settled until +7582800", &[]);
    check(published().with(|it| it.finalizer = false), "settled", &[]);
    let (dry, earnest) = (plan(&dry(published()), now()), plan(&published(), now()));
    assert_eq!(dry, earnest);
}

#[test]
fn an_edit_of_permissions_names_the_pods_that_would_be_waited_for() {
    let pods = [("b", Way::Environment), ("a", Way::SubPath), ("c", Way::Volume)];
    let edited = || taken_by(viewer(published()), &pods);
    let replaced = [
        "Create: a token with job_viewer on Finance (700) and Marketing (701), in place of token 2202 created 2026-11-23 \
         (PermissionsChanged)",
        "Verify: list the jobs of Finance with it",
        "Publish: replace token 2202 in Secret dagster-dbt by it",
    ];
    let ends_with = |wait: &'static str| [&replaced[..], &[wait, "Retire: delete token 2202 created 2026-11-23"]].concat();
    check(
        edited(),
        "blocked DryRun until +899",
        &ends_with("Wait: token 2202 waits for an overlap of 10m; a restart of pods a and b"),
    );
    let quick = edited().with_desired(|it| {
        it.retirement.after = Duration::ZERO;
        it.retirement.quiet_period = Duration::from_secs(900);
        it.retirement.deadline = Some(Deadline { after: Duration::from_secs(14 * 86_400), then: OnDeadline::Delete });
    });
    check(
        quick,
        "blocked DryRun until +899",
        &ends_with(
            "Wait: token 2202 waits for a restart of pods a and b; 3m until the volume of pod c is refreshed; 15m in which dbt \
             sees no use of it; 14d at the longest",
        ),
    );
    let unreadable = edited().with(|it| {
        it.consumers = Reading::Known { value: Consumers::Unreadable(Unreadable::Forbidden), taken_at: at(-1) };
    });
    check(
        unreadable,
        "blocked DryRun until +899",
        &ends_with(
            "Wait: token 2202 waits for an overlap of 10m; a look at the pods of namespace finance, which cannot be read now",
        ),
    );
    // Who takes the Secret is read, and read again in time.
    check(edited().with(|it| it.consumers = Reading::Unknown), "read consumers", &replaced);
    let old = edited().with(|it| it.consumers = Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: at(-900) });
    check(old, "read consumers", &replaced);
    let nobody = viewer(published()).with_desired(|it| it.retirement.after = Duration::ZERO);
    check(nobody, "blocked DryRun until +900", &[&replaced[..], &["Retire: delete token 2202 created 2026-11-23"]].concat());
}

#[test]
fn a_window_is_told_by_its_own_clock() {
    let pods = [("a", Way::Environment), ("b", Way::Environment), ("c", Way::Environment)];
    let legacy = || taken_by(published().legacy(2202), &pods);
    check(
        in_berlin(legacy()),
        "blocked DryRun until +899",
        &[
            "Create 2026-12-01T01:00:00Z: 2026-12-01 02:00 Europe/Berlin: a token with job_admin on all projects, in place of \
             token 2202 created 2022-05-05 (Legacy)",
            "Verify 2026-12-01T01:00:00Z: list the jobs of all projects with it",
            "Publish 2026-12-01T01:00:00Z: replace token 2202 in Secret dagster-dbt by it",
            "Wait: token 2202 waits for an overlap of 10m; a restart of pods a, b and c",
            "Retire 2026-12-01T01:10:00Z: delete token 2202 created 2022-05-05",
        ],
    );
    // One that is open now is over at its end.
    let open = plan(&dry(published().legacy(2202).aged_after(3650, &["0 7 * * *"])), now());
    assert_eq!((open.report.plan[0].at, in_words(&open).as_str()), (None, "blocked DryRun until +900"));
    let closing = taken_by(published().legacy(2202).aged_after(3650, &["0 4 * * *"]), &[]);
    assert_eq!(in_words(&plan(&dry(closing), now())), "blocked DryRun until +899");
    let closing = dry(published().legacy(2202).aged_after(3650, &["50 3 * * *"]));
    assert_eq!(in_words(&plan(&closing, now())), "blocked DryRun until +600");
}

#[test]
fn a_used_up_budget_says_when() {
    check(
        object().budget_used_up(),
        "blocked DryRun until +900",
        &[
            "Create 2026-11-24T07:55:00Z: when the account's mint budget is free again: a token with job_admin on all projects",
            "Verify 2026-11-24T07:55:00Z: list the jobs of all projects with it",
            "Publish 2026-11-24T07:55:00Z: create Secret dagster-dbt with the key token",
        ],
    );
}

#[test]
fn replaced_tokens_are_held_and_listed_with_their_earliest_end() {
    check(
        published().retiring(3, 2183, 100).retiring(4, 2190, 50),
        "blocked DryRun until +500",
        &[
            "Wait: token 2183 waits: minimum overlap until 2026-11-24T07:49Z",
            "Retire 2026-11-24T07:48:20Z: delete token 2183 created 2026-11-23",
            "Wait: token 2190 waits: minimum overlap until 2026-11-24T07:50Z",
            "Retire 2026-11-24T07:49:10Z: delete token 2190 created 2026-11-23",
        ],
    );
    let held = taken_by(published().retiring(4, 2190, 700), &[("a", Way::Environment)]);
    check(
        held.clone(),
        "blocked DryRun until +86",
        &["Wait: token 2190 waits: pod a started before the swap", "Retire: delete token 2190 created 2026-11-23"],
    );
    let told = plan(&dry(held), now()).report;
    assert_eq!(told.retiring[0].waiting_for[0].rule, "Verification");
    assert!(told.retiring[0].waiting_for[0].message.contains("dryRun"), "{:?}", told.retiring);
    // A token that nobody needs would go at once.
    check(published().retiring(4, 2190, 3600), "blocked DryRun", &["Retire: delete token 2190 created 2026-11-23"]);
    // What comes after their ends is another story.
    let aged = published().retiring(4, 2190, 50).aged_after(1, &[]).with_account(|it| it.grants.clear());
    let aged = plan(&dry(aged.with_desired(|it| it.retirement.after = Duration::from_secs(90_000))), now());
    assert_eq!((aged.step, aged.report.plan.len()), (Step::Blocked(Block::DryRun), 2));
    // What would stay for good is no step.
    let foreign = |token: &mut crate::observation::Token| token.mark = None;
    check(published().retiring(4, 2190, 700).slot_lost(4).token(2190, foreign), "settled", &[]);
}

#[test]
fn a_rotation_that_has_no_place_follows_the_first_end() {
    let full = published().retiring(2, 2182, 150).retiring(3, 2183, 100).retiring(4, 2190, 50);
    let lines = entries(&plan(&dry(viewer(full)), now()));
    let actions: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap_or_default()).collect();
    let starts = ["Wait", "Retire 2026-11-24T07", "Create 2026-11-24T07", "Verify 2026-11-24T07", "Publish 2026-11-24T07"];
    assert_eq!(actions[..5], starts);
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert_eq!(lines[10], "Retire 2026-11-24T07:57:30Z: delete token 2202 created 2026-11-23");
}

#[test]
fn an_adoption_is_looked_at_and_told() {
    check(adopting(), "inspect_source old/token until +290", &[]);
    let taken = [
        "Verify: list the jobs of all projects with it",
        "Adopt: add the operator's mark to the name of token 17 in dbt",
        "Publish: create Secret dagster-dbt with the key token",
    ];
    let first = ["Adopt: take over token 17 created 2026-11-23 from Secret old, key token"];
    check(adopting().fitting(&[17]), "blocked DryRun until +59", &[&first[..], &taken].concat());
    let legacy = ["Adopt: take over token 17 created 2022-05-05 from Secret old, key token"];
    let then = [
        "Create: a token with job_admin on all projects, in place of token 17 created 2022-05-05 (Legacy)",
        "Verify: list the jobs of all projects with it",
        "Publish: replace token 17 in Secret dagster-dbt by it",
        "Wait: token 17 waits for an overlap of 10m; 15m in which dbt sees no use of it; Secret old, key token, to hold it no \
         more (move its readers to Secret dagster-dbt, then delete the key)",
        "Retire: delete token 17 created 2022-05-05",
    ];
    check(adopting().legacy(17).fitting(&[17]), "blocked DryRun until +59", &[&legacy[..], &taken, &then].concat());
    let in_place = entries(&plan(&dry(adopting().in_place().legacy(17).fitting(&[17])), now()));
    assert_eq!(in_place[1], "Adopt: take over Secret dagster-dbt");
    assert_eq!(in_place[4], "Publish: write the key token of Secret dagster-dbt; what else it holds stays");
    assert_eq!(in_place[8], "Wait: token 17 waits for an overlap of 10m; 15m in which dbt sees no use of it");
    // The list that a string is looked for in is not older than in earnest.
    let old = adopting().with(|it| it.fresh_after = at(-400)).with_account(|account| {
        if let Reading::Known { taken_at, .. } = &mut account.tokens {
            *taken_at = at(-300);
        }
    });
    check(old, "read tokens", &[]);
}

#[test]
fn what_would_be_refused_is_told_as_ever() {
    check(object().with_account(|it| it.grants.clear()), "blocked PolicyRefused job_admin on all projects", &[]);
    check(object().crowded_out(), "blocked TokenLimit namespace finance", &[]);
    check(object().edited(vec![permission("job_admin", &["Nowhere"])]), "blocked Project", &[]);
    check(object().with(|it| it.senior = Some("airflow".into())), "blocked SecretConflict airflow", &[]);
    let differs = adopting().token(17, |it| it.rows = rows(&[("job_viewer", 700)])).fitting(&[17]);
    check(differs, "blocked Adopt 17 may job_viewer on project 700, not job_admin on all projects until +59", &[]);
    check(adopting().found(Finding::Missing, 5), "blocked Adopt SourceNotFound until +55", &[]);
    // What comes before the refusal is told beside it.
    check(
        viewer(edited_by_hand(published())).with_account(|it| it.grants = vec![grant(&["job_admin"], &[], &[])]),
        "blocked PolicyRefused job_viewer on project 700",
        &["Publish: write Secret dagster-dbt again with token 2202, as declared"],
    );
    let plan = plan(&dry(object().with_account(|it| it.grants.clear())), now());
    assert_eq!(plan.report.conditions.last().map(|it| it.reason.as_str()), Some("PolicyRefused"));
}

#[test]
fn what_is_waited_for_is_told_as_ever() {
    check(viewer(published()).with_desired(|it| it.suspended = true), "wait Suspended", &[]);
    check(published().not_ready(), "wait AccountNotReady", &[]);
    check(
        object().with(|it| (it.account, it.created_at) = (crate::observation::Account::Missing, at(-1))),
        "wait AccountMissing until +119",
        &[],
    );
    check(published().listless(), "read tokens", &[]);
    check(published().listless().troubled(TroubleKind::DbtUnavailable, 20), "wait Trouble until +20", &[]);
    check(adopting().troubled(TroubleKind::Cluster, 20), "wait Trouble until +20", &[]);
    // What can be told is told, up to what nobody knows the end of.
    check(
        edited_by_hand(published()).not_ready(),
        "blocked DryRun",
        &[
            "Publish: write Secret dagster-dbt again with token 2202, as declared",
            "Wait: waiting for DbtAccount analytics to be ready",
        ],
    );
    // A failure of what was done before does not hold back the telling.
    check(
        edited_by_hand(published()).troubled(TroubleKind::SecretRefused, 20),
        "blocked DryRun",
        &["Publish: write Secret dagster-dbt again with token 2202, as declared"],
    );
}

#[test]
fn annotations_and_damage_are_told_and_left_alone() {
    let requested = |cause: &str| {
        format!("Create: a token with job_admin on all projects, in place of token 2202 created 2026-11-23 ({cause})")
    };
    let first = |observation: Observation| entries(&plan(&dry(observation), now())).swap_remove(0);
    assert_eq!(first(published().with(|it| it.rotate_at = Some("noon".into()))), requested("Requested"));
    assert_eq!(first(published().inactive(2202)), requested("TokenLost"));
    let compromised = published().called_compromised("noon").retiring(4, 2190, 50);
    check(
        compromised,
        "blocked DryRun until +550",
        &[
            "Rotate: token 2202 is called compromised: it and all before it go without an overlap",
            "Retire: delete token 2190 created 2026-11-23",
            &requested("Compromised"),
            "Verify: list the jobs of all projects with it",
            "Publish: replace token 2202 in Secret dagster-dbt by it",
            "Retire: delete token 2202 created 2026-11-23",
        ],
    );
    check(
        published().with(|it| it.target = Target::Missing),
        "blocked DryRun",
        &["Publish: create Secret dagster-dbt again with token 2202, as declared"],
    );
    check(published().listed(3, 2183), "blocked DryRun", &["Delete: delete token 2183 created 2026-11-23, which is not in use"]);
    let lost = published().with(|it| it.ledger = crate::ledger::Ledger::default());
    check(lost, "blocked DryRun", &["Wait: the status was lost, or set back, and is written again"]);
    check(published().listed(9, 2209), "blocked DryRun", &["Wait: tokens exist that this cluster does not know"]);
}

#[test]
fn an_attempt_under_way_is_told_from_where_it_stands() {
    let begun = || published().attempt(6, crate::ledger::Cause::Requested, 0).filled_slot(6, 2206).listed(6, 2206);
    let lines = entries(&plan(&dry(begun()), now()));
    assert_eq!(lines[0], "Verify: list the jobs of all projects with token 2206");
    let wrong = entries(&plan(&dry(begun().token(2206, |it| it.rows = rows(&[("job_viewer", 700)]))), now()));
    let then = ["Delete: delete token 2206 created 2026-11-23, which is not in use", "Wait: waiting before the next attempt"];
    assert_eq!(wrong[1..], then);
    assert_eq!(
        wrong[0],
        "Delete: give up token 2206: dbt granted job_viewer on project 700 instead of job_admin on all projects"
    );
}

#[test]
fn a_deletion_goes_on_and_what_is_refused_is_no_dry_run() {
    check(published().deleted(1, DeletionPolicy::Revoke), "delete; serial 5, current 5:2202, deletion Revoke", &[]);
    check(object().deleted(1, DeletionPolicy::Revoke).with(|it| it.finalizer = false), "settled", &[]);
}

#[test]
fn the_status_says_why_nothing_is_done() {
    let report = plan(&dry(viewer(published())), now()).report;
    let said = |kind: report::ConditionType| report.conditions.iter().find(|it| it.kind == kind).expect("it is there");
    for kind in [report::ConditionType::Ready, report::ConditionType::Stalled] {
        assert_eq!(said(kind).reason, "DryRun");
        assert_eq!(said(kind).message, "dryRun is set: status.plan lists what would be done; unset dryRun");
    }
    assert_eq!(said(report::ConditionType::TokenUsable).reason, "VerificationPassed");
    assert_eq!(said(report::ConditionType::Rotating).message, "token 2202 is not replaced while dryRun is set");
}

/// Planned again a minute later, or right before it is looked at again, the list is the same.
#[test]
fn a_plan_is_the_same_until_something_changes() {
    let pods = [("b", Way::Environment), ("a", Way::SubPath), ("c", Way::Volume)];
    for observation in [
        object(),
        object().budget_used_up(),
        taken_by(viewer(published()), &pods),
        taken_by(in_berlin(published().legacy(2202)), &pods),
        taken_by(published().retiring(4, 2190, 100), &pods),
        taken_by(viewer(published()).retiring(2, 2182, 150).retiring(3, 2183, 100).retiring(4, 2190, 50), &pods),
        viewer(published()).retiring(4, 2190, 550),
        published().called_compromised("noon").retiring(4, 2190, 50),
        viewer(published()).aged_after(1, &[]),
        published().attempt(6, crate::ledger::Cause::Requested, 3).with(|it| it.finalizer = false),
        adopting().legacy(17).fitting(&[17]),
        adopting().in_place().found(Finding::Unannounced, 5),
    ] {
        let observation = dry(observation);
        let first = plan(&observation, now());
        let last = first.wake_at.map_or(at(1_000_000), |time| time - jiff::SignedDuration::from_nanos(1));
        for later in [at(1), at(61), last] {
            if later <= last {
                assert_eq!(plan(&observation, later), first, "{observation:?}");
            }
        }
    }
}

/// A list has an end, however much there is to do.
#[test]
fn a_list_is_cut_at_twenty() {
    let strays = (10..40).fold(published().with(|it| it.ledger.serial = 50), |it, serial| it.listed(serial, 3000 + serial));
    let plan = plan(&dry(strays), now());
    assert_eq!((in_words(&plan).as_str(), plan.report.plan.len()), ("blocked DryRun", MAXIMUM_ENTRIES));
}

#[test]
fn restarts_are_told_between_the_swap_and_the_end() {
    use crate::desired::WorkloadKind::{Deployment, StatefulSet};
    let kinds = [StatefulSet, Deployment];
    let edited = taken_by(viewer(published()), &[("web-1", Way::Environment)]).restarting(&kinds);
    check(
        edited,
        "blocked DryRun until +899",
        &[
            "Create: a token with job_viewer on Finance (700) and Marketing (701), in place of token 2202 created 2026-11-23 (PermissionsChanged)",
            "Verify: list the jobs of Finance with it",
            "Publish: replace token 2202 in Secret dagster-dbt by it",
            "Restart: restart every Deployment and StatefulSet that takes Secret dagster-dbt by env or subPath",
            "Wait: token 2202 waits for an overlap of 10m; a restart of pod web-1",
            "Retire: delete token 2202 created 2026-11-23",
        ],
    );
    // A swap that was made already, and whose restarts are held.
    let held = object().swapped(600).restarting(&[Deployment]);
    let told = entries(&plan(&dry(held.restarted(4)), now()));
    assert_eq!(told[0], "Restart: restart every Deployment that takes Secret dagster-dbt by env or subPath");
    // A first token has no readers yet.
    let first = object().restarting(&[Deployment]);
    assert!(entries(&plan(&dry(first), now())).iter().all(|entry| !entry.starts_with("Restart")));
}
