//! Statuses as they are written and read back, without an API server.

use dbt_token_planner::grant::GrantRow;
use dbt_token_planner::identity::{PermissionSet, Serial, TokenId, TokenUid, WriteCategory};
use dbt_token_planner::ledger::{Cause, Entry};
use dbt_token_planner::report::{ConditionStatus, ConditionType, Event, Waiting};
use serde_json::json;

use super::*;

fn at(minute: u32) -> Timestamp {
    format!("2026-11-24T08:{minute:02}:00.987654Z").parse().expect("a time")
}

fn condition(kind: ConditionType, status: ConditionStatus, message: &str) -> Condition {
    Condition { kind, status, reason: "Published".to_owned(), message: message.to_owned() }
}

fn row(set: &str, scope: Scope, writable: &[&str]) -> GrantRow {
    GrantRow {
        permission_set: PermissionSet::new(set),
        scope,
        writable: writable.iter().map(|kind| WriteCategory::new(*kind)).collect(),
    }
}

fn report() -> Report {
    Report {
        observed_generation: 3,
        conditions: vec![
            condition(ConditionType::Ready, ConditionStatus::True, "Secret dbt holds token 2202"),
            condition(ConditionType::Rotating, ConditionStatus::False, "up to date"),
        ],
        token: Some(TokenReport {
            id: TokenId(2202),
            uid: Some(TokenUid::new("k0PqL-2")),
            name: Some("finance/dagster [...]".to_owned()),
            created_at: Some(at(1)),
            published_at: at(2),
            legacy: Some(false),
            adopted: false,
            rows: Some(GrantRows::new(vec![row("job_admin", Scope::Project(ProjectId(700)), &[])])),
        }),
        retiring: vec![RetiringReport {
            id: TokenId(2190),
            uid: Some(TokenUid::new("zz81Hs0")),
            created_at: Some(at(0)),
            replaced_at: Some(at(2)),
            deadline_at: Some(at(22)),
            waiting_for: vec![Waiting { rule: "Overlap", message: "until 08:12".to_owned() }],
            blocked: false,
        }],
        next_step: Some(NextStep {
            action: "Retire",
            cause: Some(Cause::Requested),
            at: Some(at(12)),
            message: "token 2190 is revoked".to_owned(),
        }),
        plan: Vec::new(),
        history: vec![Replacement {
            cause: Cause::Requested,
            token: TokenId(2202),
            previous: Some(TokenId(2190)),
            published_at: Some(at(2)),
            retired_at: None,
        }],
        last_rotation: Some(at(2)),
        next_rotation: Some(at(59)),
        events: vec![Event { warning: false, reason: "Published".to_owned(), message: String::new() }],
    }
}

fn ledger() -> Ledger {
    Ledger {
        serial: 9,
        current: Some(Entry { serial: Serial(9), token: TokenId(2202) }),
        retiring: vec![Entry { serial: Serial(8), token: TokenId(2190) }],
        handled_rotate_at: Some("now".to_owned()),
        ..Ledger::default()
    }
}

fn wanted<'a>(report: &'a Report, ledger: &'a Ledger) -> Wanted<'a> {
    Wanted { report, ledger, effective: None, projects: &[] }
}

/// What the API server gives back after a write.
fn stored(status: &ServiceTokenStatus) -> ServiceTokenStatus {
    serde_json::from_value(serde_json::to_value(status).expect("JSON")).expect("a status")
}

fn written() -> ServiceTokenStatus {
    stored(&status(&ServiceTokenStatus::default(), wanted(&report(), &ledger()), at(3)))
}

#[test]
fn a_first_status_says_everything() {
    let never = ServiceTokenStatus { observed_generation: Some(-1), ..ServiceTokenStatus::default() };
    let patch = patch(&never, wanted(&report(), &ledger()), at(3)).expect("something to write");
    let expected = json!({
        "observedGeneration": 3,
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Published", "message": "Secret dbt holds token 2202",
             "observedGeneration": 3, "lastTransitionTime": "2026-11-24T08:03:00Z"},
            {"type": "Rotating", "status": "False", "reason": "Published", "message": "up to date",
             "observedGeneration": 3, "lastTransitionTime": "2026-11-24T08:03:00Z"},
        ],
        "token": {
            "id": 2202, "uid": "k0PqL-2", "name": "finance/dagster [...]", "creationTime": "2026-11-24T08:01:00Z",
            "publicationTime": "2026-11-24T08:02:00Z", "legacy": false, "adopted": false,
            "permissions": [{"permissionSet": "job_admin", "projects": [{"id": 700}]}],
        },
        "retiringTokens": [{
            "id": 2190, "uid": "zz81Hs0", "creationTime": "2026-11-24T08:00:00Z",
            "replacementTime": "2026-11-24T08:02:00Z", "deadlineTime": "2026-11-24T08:22:00Z", "waitingFor": [{"rule": "Overlap", "message": "until 08:12"}],
        }],
        "nextStep": {
            "action": "Retire", "cause": "Requested", "time": "2026-11-24T08:12:00Z", "message": "token 2190 is revoked",
        },
        "nextRotationTime": "2026-11-24T08:59:00Z",
        "lastRotationTime": "2026-11-24T08:02:00Z",
        "lastHandledRotateAt": "now",
        "history": [{
            "cause": "Requested", "tokenId": 2202, "previousTokenId": 2190, "publicationTime": "2026-11-24T08:02:00Z",
        }],
        "ledger": {
            "serial": 9, "current": {"serial": 9, "tokenId": 2202}, "retiring": [{"serial": 8, "tokenId": 2190}],
        },
    });
    assert_eq!(patch, expected);
}

#[test]
fn what_is_said_already_is_not_written_again() {
    assert_eq!(patch(&written(), wanted(&report(), &ledger()), at(30)), None);
}

#[test]
fn a_transition_time_moves_with_the_status_alone() {
    let mut report = report();
    report.conditions[0].message = "another message".to_owned();
    report.conditions[1].status = ConditionStatus::True;
    let patch = patch(&written(), wanted(&report, &ledger()), at(30)).expect("a change");
    let times: Vec<_> = (0..2).map(|place| patch["conditions"][place]["lastTransitionTime"].clone()).collect();
    assert_eq!(times, [json!("2026-11-24T08:03:00Z"), json!("2026-11-24T08:30:00Z")]);
    assert_eq!(patch.as_object().expect("a map").len(), 1, "{patch}");
}

#[test]
fn what_is_no_longer_so_is_removed_by_a_null() {
    let report = Report { token: None, retiring: Vec::new(), next_step: None, ..report() };
    let ledger = Ledger { current: None, retiring: Vec::new(), handled_rotate_at: None, ..ledger() };
    let patch = patch(&written(), wanted(&report, &ledger), at(30)).expect("a change");
    let expected = json!({
        "token": null, "retiringTokens": null, "nextStep": null, "lastHandledRotateAt": null,
        "ledger": {"current": null, "retiring": null},
    });
    assert_eq!(patch, expected);
}

#[test]
fn a_plan_is_written_as_a_whole_and_goes_with_the_dry_run() {
    let step = |at, message: &str| PlannedStep { action: "Create", at, message: message.to_owned() };
    let planned = Report { plan: vec![step(Some(at(40)), "a token"), step(None, &"x".repeat(5000))], ..report() };
    let told = patch(&written(), wanted(&planned, &ledger()), at(30)).expect("a change");
    let whole = serde_json::to_value(time(at(40))).expect("JSON");
    let cut = &told["plan"][1]["message"];
    assert_eq!(cut.as_str().map(str::len), Some(LONGEST_MESSAGE));
    let expected = json!({"plan": [
        {"action": "Create", "time": whole, "message": "a token"},
        {"action": "Create", "message": cut},
    ]});
    assert_eq!(told, expected);
    let before = status(&written(), wanted(&planned, &ledger()), at(30));
    assert_eq!(patch(&before, wanted(&planned, &ledger()), at(59)), None, "nothing at rest");
    assert_eq!(patch(&before, wanted(&report(), &ledger()), at(59)), Some(json!({"plan": null})));
}

#[test]
fn what_cannot_be_read_now_stays_as_long_as_it_is_the_same_token() {
    let mut report = report();
    let token = report.token.as_mut().expect("a token");
    (token.uid, token.name, token.created_at, token.rows) = (None, None, None, None);
    (report.retiring[0].uid, report.retiring[0].created_at) = (None, None);
    assert_eq!(patch(&written(), wanted(&report, &ledger()), at(30)), None);

    report.token.as_mut().expect("a token").id = TokenId(2300);
    let patch = patch(&written(), wanted(&report, &ledger()), at(30)).expect("a change");
    assert_eq!(patch["token"], json!({"id": 2300, "uid": null, "name": null, "creationTime": null, "permissions": null}));
}

#[test]
fn the_values_in_force_stay_while_the_spec_is_refused() {
    let effective = TokenEffective { token_name: Some("finance/dagster".to_owned()), ..TokenEffective::default() };
    let before = ServiceTokenStatus { effective: Some(effective.clone()), ..written() };
    assert_eq!(patch(&before, wanted(&report(), &ledger()), at(30)), None);
    let (report, ledger) = (report(), ledger());
    let patch = patch(&written(), Wanted { effective: Some(&effective), ..wanted(&report, &ledger) }, at(30));
    assert_eq!(patch, Some(json!({"effective": {"tokenName": "finance/dagster"}})));
}

#[test]
fn rows_are_shown_as_permissions() {
    let rows = GrantRows::new(vec![
        row("job_admin", Scope::Project(ProjectId(701)), &[]),
        row("job_admin", Scope::Project(ProjectId(700)), &[]),
        row("job_admin", Scope::Project(ProjectId(700)), &["staging"]),
        row("developer", Scope::All, &["all"]),
        row("developer", Scope::Project(ProjectId(9)), &["all"]),
    ]);
    let projects = [Project { id: ProjectId(700), name: "Finance".to_owned() }];
    let shown = serde_json::to_value(permissions(&rows, &projects)).expect("JSON");
    let expected = json!([
        {"permissionSet": "developer", "allProjects": true, "writableEnvironments": ["all"]},
        {"permissionSet": "developer", "projects": [{"id": 9}], "writableEnvironments": ["all"]},
        {"permissionSet": "job_admin", "projects": [{"id": 700, "name": "Finance"}, {"id": 701}]},
        {"permissionSet": "job_admin", "projects": [{"id": 700, "name": "Finance"}], "writableEnvironments": ["staging"]},
    ]);
    assert_eq!(shown, expected);
}

#[test]
fn messages_are_cut_to_what_the_schema_takes() {
    let long = "x".repeat(9000);
    let mut report = report();
    report.conditions[0].message = long.clone();
    report.retiring[0].waiting_for[0].message = long.clone();
    report.next_step.as_mut().expect("a step").message = long;
    let status = status(&written(), wanted(&report, &ledger()), at(30));
    assert_eq!(status.conditions[0].message.len(), LONGEST_CONDITION_MESSAGE);
    assert_eq!(status.retiring_tokens[0].waiting_for[0].message.len(), LONGEST_MESSAGE);
    assert_eq!(status.next_step.expect("a step").message.len(), LONGEST_MESSAGE);
}

#[test]
fn the_record_is_what_was_reported() {
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).expect("a time");
    let record = record(&written());
    let report = report();
    assert_eq!(record.observed_generation, 3);
    assert_eq!(record.published.map(|published| (published.token, published.at)), Some((TokenId(2202), whole(at(2)))));
    assert_eq!(record.retiring.len(), 1);
    assert_eq!((record.retiring[0].token, record.retiring[0].replaced_at), (TokenId(2190), whole(at(2))));
    assert_eq!(record.history, [Replacement { published_at: Some(whole(at(2))), ..report.history[0].clone() }]);
    assert_eq!(record.last_rotation, Some(whole(at(2))));
    assert_eq!(record.next_rotation, Some(whole(at(59))));
    assert_eq!(record.conditions, report.conditions);
}

#[test]
fn a_record_leaves_out_what_it_cannot_read() {
    let mut status = written();
    status.observed_generation = None;
    status.history[0].cause = Some("Later".to_owned());
    status.retiring_tokens[0].replacement_time = None;
    status.conditions[0].type_ = "Later".to_owned();
    status.token.as_mut().expect("a token").publication_time = None;
    let record = record(&status);
    assert_eq!((record.observed_generation, record.published), (-1, None));
    assert!(record.history.is_empty() && record.retiring.is_empty());
    assert_eq!(record.conditions.len(), 1);
}
