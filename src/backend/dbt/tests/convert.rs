//! What is believed of a well-formed answer, and what is not.

use serde_json::{Value, json};

use super::*;

const ACCOUNT: AccountId = AccountId(70_403_103_922_125);

fn item(change: &[(&str, Value)]) -> WireToken {
    let mut item = json!({
        "id": 2202, "account_id": ACCOUNT.0, "uid": "k0PqL-2", "name": "finance/dagster", "state": 1,
        "permission_grants": [
            {"permission_set": "metadata_only", "project_id": null, "writable_environment_categories": []},
            {"permission_set": "developer", "project_id": 812, "writable_environment_categories": ["staging", "all"]},
            {"permission_set": "developer", "project_id": 700},
        ],
        "last_used": null, "semantic_layer_credentials": null, "metadata_only": false, "webhooks_only": false,
        "created_at": "2025-10-01 08:15:30.123456+00:00", "updated_at": "2025-10-01 08:15:30.123456+00:00",
    });
    for (field, value) in change {
        match value {
            Value::String(text) if text == "absent" => {
                item.as_object_mut().expect("an object").remove(*field);
            }
            value => item[*field] = value.clone(),
        }
    }
    serde_json::from_value(item).expect("well formed")
}

fn row(set: &str, scope: Scope, writable: &[&str]) -> GrantRow {
    GrantRow {
        permission_set: PermissionSet::new(set),
        scope,
        writable: writable.iter().map(|kind| WriteCategory::new(*kind)).collect(),
    }
}

#[test]
fn a_token_is_read_whole() {
    let name = "finance/dagster [dbt-token-operator install owner 1764000000]";
    let read = token(item(&[("name", json!(name)), ("last_used", json!("2025-10-02T00:00:00Z"))]), ACCOUNT).expect("believed");
    assert_eq!(read.id, TokenId(2202));
    assert_eq!(read.uid, TokenUid::new("k0PqL-2"));
    assert_eq!(read.mark, Mark::parse(name));
    assert!(read.mark.is_some() && read.active);
    let expected = GrantRows::new(vec![
        row("metadata_only", Scope::All, &[]),
        row("developer", Scope::Project(ProjectId(812)), &["all", "staging"]),
        row("developer", Scope::Project(ProjectId(700)), &[]),
    ]);
    assert_eq!(read.rows, expected);
    assert_eq!(read.created_at, "2025-10-01T08:15:30.123456Z".parse().ok());
    assert_eq!(read.last_used, "2025-10-02T00:00:00Z".parse().ok());
}

#[test]
fn a_deleted_token_needs_no_grants() {
    for grants in [json!([]), json!(null), json!("absent")] {
        let read = token(item(&[("state", json!(2)), ("permission_grants", grants)]), ACCOUNT).expect("believed");
        assert!(!read.active && read.rows.is_empty());
    }
}

#[test]
fn what_would_do_harm_if_wrong_is_not_believed() {
    let table = [
        ("id", json!(0), "0 cannot be the id of a token"),
        ("account_id", json!(1), "the answer is about account 1, not 70403103922125"),
        ("state", json!(null), "token 2202 comes without its state"),
        ("state", json!("absent"), "token 2202 comes without its state"),
        ("permission_grants", json!(null), "token 2202 comes without its grants"),
        ("permission_grants", json!("absent"), "token 2202 comes without its grants"),
        ("permission_grants", json!([{"permission_set": ""}]), "token 2202 has a grant whose permission set is none"),
        ("permission_grants", json!([{"permission_set": "a\u{1b}b"}]), "token 2202 has a grant whose permission set is none"),
        ("permission_grants", json!([{"permission_set": "x".repeat(65)}]), "token 2202 has a grant whose permission set is none"),
        (
            "permission_grants",
            json!([{"permission_set": "developer", "writable_environment_categories": ["a\nb"]}]),
            "token 2202 has a grant whose permission set is none",
        ),
        ("uid", json!("k0PqL\n2"), "token 2202 has a uid that is none"),
        ("uid", json!("x".repeat(65)), "token 2202 has a uid that is none"),
        ("last_used", json!("yesterday"), "last_used of token 2202 is not a time"),
        ("created_at", json!(""), "created_at of token 2202 is not a time"),
    ];
    for (field, value, expected) in table {
        assert_eq!(token(item(&[(field, value.clone())]), ACCOUNT), Err(expected.to_owned()), "{field} {value}");
    }
}

#[test]
fn harmless_gaps_are_filled() {
    let change = [("uid", json!(null)), ("name", json!(null)), ("account_id", json!(null)), ("created_at", json!("absent"))];
    let read = token(item(&change), ACCOUNT).expect("believed");
    assert_eq!((read.name.as_str(), read.mark, read.created_at), ("", None, None));
}

#[test]
fn links_that_a_list_shows_are_seen_in_any_form() {
    let shown = |value: Value| token(item(&[("semantic_layer_credentials", value)]), ACCOUNT).expect("believed").shows_links;
    for nothing in [json!(null), json!([]), json!("absent")] {
        assert!(!shown(nothing.clone()), "{nothing}");
    }
    for something in [json!([5001]), json!([{"id": 5001}]), json!({"id": 5001}), json!(1)] {
        assert!(shown(something.clone()), "{something}");
    }
}

#[test]
fn a_credential_without_its_tokens_is_not_one_without_links() {
    let read = |credentials: Value| links(serde_json::from_value(credentials).expect("well formed"), ACCOUNT);
    let link = |project, credential, token| Link {
        project: ProjectId(project),
        credential: CredentialId(credential),
        token: TokenId(token),
    };
    let two = json!([
        {"id": 51, "project_id": 7, "account_id": ACCOUNT.0, "state": 1, "service_tokens": [{"id": 2}, {"id": 3}]},
        {"id": 52, "project_id": 8, "service_tokens": []},
        {"id": 53, "state": 2, "service_tokens": null},
    ]);
    assert_eq!(read(two), Ok(vec![link(7, 51, 2), link(7, 51, 3)]));
    for (credential, expected) in [
        (json!({"id": 51, "project_id": 7}), "Semantic Layer credential 51 comes without its tokens"),
        (json!({"id": 51, "project_id": 7, "service_tokens": null}), "Semantic Layer credential 51 comes without its tokens"),
        (json!({"id": 51, "service_tokens": []}), "Semantic Layer credential 51 comes without its project"),
        (json!({"id": 51, "account_id": 1}), "the answer is about account 1, not 70403103922125"),
    ] {
        assert_eq!(read(json!([credential])), Err(expected.to_owned()));
    }
}

fn answer(change: &[(&str, Value)]) -> Result<Created, Disbelief> {
    let mut body = json!({
        "id": 9, "uid": "k0PqL-2", "account_id": ACCOUNT.0, "token": "tail", "token_string": "dbtc_k0PqL-2tail",
        "permission_grants": [{"permission_set": "job_admin", "project_id": 812}],
    });
    for (field, value) in change {
        body[*field] = value.clone();
    }
    created(serde_json::from_value(body).expect("well formed"), ACCOUNT)
}

#[test]
fn a_created_token_is_read_whole() {
    let created = answer(&[]).map_err(|reason| panic!("{reason}")).expect("believed");
    assert_eq!((created.id, created.uid), (TokenId(9), TokenUid::new("k0PqL-2")));
    assert_eq!(created.rows, GrantRows::new(vec![row("job_admin", Scope::Project(ProjectId(812)), &[])]));
    assert_eq!(created.string.expose(), "dbtc_k0PqL-2tail");
    let created = answer(&[("token_string", json!("0ldf0rm")), ("account_id", json!(null)), ("permission_grants", json!(null))]);
    assert!(created.is_ok_and(|created| created.rows.is_empty() && created.string.expose() == "0ldf0rm"));
}

#[test]
fn half_a_created_token_is_not_believed() {
    let table = [
        ("id", json!(null)),
        ("id", json!(0)),
        ("id", json!(-4)),
        ("uid", json!(null)),
        ("uid", json!("")),
        ("account_id", json!(1)),
        ("token_string", json!(null)),
        ("token_string", json!("")),
        ("token_string", json!("two words")),
        ("token_string", json!("line\nbreak")),
        ("token_string", json!("é")),
        ("token_string", json!("x".repeat(4097))),
        ("token_string", json!(format!("dbtc_zzzzzzz{}", "x".repeat(43)))),
        ("uid", json!("k0PqL\u{1b}2")),
        ("permission_grants", json!([{"permission_set": ""}])),
    ];
    for (field, value) in table {
        let Err(reason) = answer(&[(field, value.clone())]) else { panic!("believed: {field} {value}") };
        assert!(!reason.contains("dbtc_") && !reason.contains("tail"), "{reason}");
    }
}

#[test]
fn rows_that_cannot_be_said_are_refused() {
    assert!(requested(&GrantRows::default()).is_err());
    for id in [0, -1] {
        let rows = GrantRows::new(vec![row("job_admin", Scope::All, &[]), row("job_admin", Scope::Project(ProjectId(id)), &[])]);
        assert!(requested(&rows).is_err());
        assert!(older(&rows, TokenId(1), ACCOUNT).is_err());
    }
}

#[test]
fn both_forms_of_a_row_agree() {
    let rows =
        GrantRows::new(vec![row("developer", Scope::Project(ProjectId(7)), &["staging"]), row("job_admin", Scope::All, &[])]);
    let new = serde_json::to_value(requested(&rows).expect("sayable")).expect("plain data");
    assert_eq!(
        new,
        json!([
            {"permission_set": "developer", "project_id": 7, "writable_environment_categories": ["staging"]},
            {"permission_set": "job_admin"},
        ])
    );
    let old = serde_json::to_value(older(&rows, TokenId(3), ACCOUNT).expect("sayable")).expect("plain data");
    assert_eq!(
        old,
        json!([
            {"account_id": ACCOUNT.0, "service_token_id": 3, "all_projects": false, "permission_set": "developer",
             "project_id": 7, "writable_environment_categories": ["staging"]},
            {"account_id": ACCOUNT.0, "service_token_id": 3, "all_projects": true, "permission_set": "job_admin"},
        ])
    );
}

#[test]
fn deleted_projects_are_left_out_and_names_kept() {
    let wire: Vec<WireProject> = serde_json::from_value(json!([
        {"id": 1, "name": " Finance ", "state": 1, "account_id": ACCOUNT.0},
        {"id": 2, "name": "Finance", "state": 2},
        {"id": 3, "name": "Shop"},
    ]))
    .expect("well formed");
    let names: Vec<(i64, String)> =
        projects(wire, ACCOUNT).expect("believed").into_iter().map(|project| (project.id.0, project.name)).collect();
    assert_eq!(names, [(1, " Finance ".to_owned()), (3, "Shop".to_owned())]);
    let foreign: Vec<WireProject> = serde_json::from_value(json!([{"id": 1, "account_id": 2}])).expect("well formed");
    assert!(projects(foreign, ACCOUNT).is_err());
}

#[test]
fn a_production_environment_comes_first_and_then_the_lowest_id() {
    let wire: Vec<WireEnvironment> = serde_json::from_value(json!([
        {"id": 5, "project_id": 1, "type": "deployment", "deployment_type": null, "state": 1},
        {"id": 9, "project_id": 1, "type": "deployment", "deployment_type": "production", "state": 1},
        {"id": 8, "project_id": 1, "type": "deployment", "deployment_type": "production", "state": 2},
        {"id": 7, "project_id": 2, "type": "deployment", "deployment_type": "staging"},
        {"id": 6, "project_id": 2, "type": "deployment"},
        {"id": 4, "project_id": 2, "type": "development"},
        {"id": 3, "project_id": 3, "type": "development"},
        {"id": 2, "project_id": 4, "deployment_type": "staging"},
        {"id": 1, "project_id": null, "type": "deployment"},
    ]))
    .expect("well formed");
    let expected =
        BTreeMap::from([(ProjectId(1), EnvironmentId(9)), (ProjectId(2), EnvironmentId(6)), (ProjectId(4), EnvironmentId(2))]);
    assert_eq!(environments(wire, ACCOUNT), Ok(expected));
}

#[test]
fn a_project_whose_name_no_message_can_show_has_none() {
    let long = "x".repeat(1025);
    let wire =
        json!([{"id": 1, "name": "a\u{1b}[2Jb"}, {"id": 2, "name": long}, {"id": 3, "name": "\u{1f469}\u{200d}\u{1f467}"}]);
    let wire: Vec<WireProject> = serde_json::from_value(wire).expect("well formed");
    let names: Vec<String> = projects(wire, ACCOUNT).expect("believed").into_iter().map(|project| project.name).collect();
    assert_eq!(names, ["", "", "\u{1f469}\u{200d}\u{1f467}"]);
}

#[test]
fn foreign_words_are_fit_to_be_shown() {
    let long = "x".repeat(5000);
    let locked = json!({"id": 3, "name": long, "plan": "a\nb", "locked": true, "lock_reason": "pay\u{202e}now"});
    let read = account(serde_json::from_value(locked).expect("well formed"));
    assert_eq!((read.name.chars().count(), read.plan.as_str(), read.locked.as_deref()), (513, "a b", Some("pay now")));
    let name = format!("{long}\u{1b} [dbt-token-operator install owner 1764000000]");
    let read = token(item(&[("name", json!(name))]), ACCOUNT).expect("believed");
    assert!(read.mark.is_some() && read.name.chars().count() == 513, "the mark is read before the name is cut");
}

#[test]
fn an_account_says_who_it_is_and_whether_it_is_locked() {
    let read = |body: Value| account(serde_json::from_value(body).expect("well formed"));
    let open =
        read(json!({"id": ACCOUNT.0, "name": "Example", "plan": "enterprise_plus_2025", "locked": false, "lock_reason": "x"}));
    let (name, plan) = ("Example".to_owned(), "enterprise_plus_2025".to_owned());
    assert_eq!(open, AccountInfo { id: ACCOUNT, name, plan, locked: None });
    let locked = read(json!({"id": ACCOUNT.0, "locked": true, "lock_reason": null, "lock_cause": "trial_expired"}));
    assert_eq!(locked.locked.as_deref(), Some("trial_expired"));
    assert_eq!(read(json!({"id": ACCOUNT.0, "locked": true})).locked.as_deref(), Some(UNNAMED_LOCK));
    assert_eq!(read(json!({"id": 3})).id, AccountId(3), "it may be another one than was asked for");
}
