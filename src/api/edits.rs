//! What an edit of each field of a `ServiceToken` does to a token that is published: a table with a row for every field that
//! the schema has, so that a field which is added later cannot be forgotten.

use std::collections::{BTreeMap, BTreeSet};

use dbt_token_planner::adoption::AdoptPolicy;
use dbt_token_planner::desired::Desired;
use dbt_token_planner::effect::{Effect, LedgerEntry};
use dbt_token_planner::grant::{self, AccountGrant, AllowedProjects, AllowedSets};
use dbt_token_planner::identity::{
    AccountId, EnvironmentId, Installation, OwnerUid, ProjectId, RenderRule, Serial, TokenId, TokenUid, WriteCategory,
};
use dbt_token_planner::ledger::{Entry, Ledger};
use dbt_token_planner::mark::{Mark, Origin};
use dbt_token_planner::observation::{
    Account, Allowance, Budget, Observation, OpenAccount, Owner, Project, Reading, Record, Slot, SlotContent, Target,
    TargetState, Token,
};
use dbt_token_planner::plan::{Step, plan};
use dbt_token_planner::report::Published;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::crd::crds;
use super::desired::{deletion_policy, desired};
use super::v1alpha1::ServiceToken;

/// What an edit of a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// No token is made.
    Nothing,
    /// The token is replaced.
    Replaces,
    /// The API server refuses it on an object that has its token.
    Refused,
}

/// The object before an edit.
fn declared() -> Value {
    json!({
        "accountRef": {"name": "analytics"},
        "permissions": [{"permissionSet": "developer", "projects": [{"id": 700}], "writableEnvironments": ["staging"]}],
        "secret": {"name": "ci-dbt"},
    })
}

/// Every field below `spec`, an edit of it (merged into the object above), and what it does.
fn table() -> Vec<(&'static str, Value, Does)> {
    use Does::{Nothing, Refused, Replaces};
    let permission = |permission: Value| json!({"permissions": [permission]});
    let template = |template: Value| json!({"secret": {"template": template}});
    let rotation = |name: &str, value: Value| json!({"rotation": {name: value}});
    let retire = |name: &str, value: Value| json!({"rotation": {"retire": {name: value}}});
    let window = |schedule: &str, length: &str, zone: &str| json!({"rotation": {"windows": [{"schedule": schedule, "duration": length, "timeZone": zone}]}});
    let staging = json!(["staging"]);
    vec![
        ("accountRef.name", json!({"accountRef": {"name": "other"}}), Refused),
        ("tokenName", json!({"tokenName": "finance/other"}), Nothing),
        (
            "permissions[].permissionSet",
            permission(json!({"permissionSet": "analyst", "projects": [{"id": 700}], "writableEnvironments": staging})),
            Replaces,
        ),
        (
            "permissions[].projects[].id",
            permission(json!({"permissionSet": "developer", "projects": [{"id": 701}], "writableEnvironments": staging})),
            Replaces,
        ),
        (
            "permissions[].projects[].name",
            permission(
                json!({"permissionSet": "developer", "projects": [{"name": "Marketing"}], "writableEnvironments": staging}),
            ),
            Replaces,
        ),
        (
            "permissions[].allProjects",
            permission(json!({"permissionSet": "developer", "allProjects": true, "writableEnvironments": staging})),
            Replaces,
        ),
        (
            "permissions[].writableEnvironments[]",
            permission(json!({"permissionSet": "developer", "projects": [{"id": 700}]})),
            Replaces,
        ),
        ("secret.name", json!({"secret": {"name": "other"}}), Refused),
        ("secret.template.type", template(json!({"type": "example.com/dbt"})), Refused),
        ("secret.template.metadata.labels{}", template(json!({"metadata": {"labels": {"team": "data"}}})), Nothing),
        ("secret.template.metadata.annotations{}", template(json!({"metadata": {"annotations": {"team": "data"}}})), Nothing),
        ("secret.template.data{}", template(json!({"data": {"key": "{{ token }}"}})), Nothing),
        ("rotation.legacy", rotation("legacy", json!("Report")), Nothing),
        // An age that the token has not reached; what it does to an older one is its purpose.
        ("rotation.maxAge", rotation("maxAge", json!("30d")), Nothing),
        ("rotation.windows[].schedule", window("* * * * *", "4h", "UTC"), Nothing),
        ("rotation.windows[].duration", window("0 2 * * SAT", "7d", "UTC"), Nothing),
        ("rotation.windows[].timeZone", window("0 2 * * SAT", "4h", "Europe/Berlin"), Nothing),
        ("rotation.retire.after", retire("after", json!("0s")), Nothing),
        ("rotation.retire.volumeSync", retire("volumeSync", json!("0s")), Nothing),
        ("rotation.retire.quietPeriod", retire("quietPeriod", json!("0s")), Nothing),
        ("rotation.retire.restart[]", retire("restart", json!(["Deployment"])), Nothing),
        ("rotation.retire.deadline", retire("deadline", json!("14d")), Nothing),
        ("rotation.retire.onDeadline", json!({"rotation": {"retire": {"deadline": "14d", "onDeadline": "Delete"}}}), Nothing),
        ("adopt.secretRef.name", json!({"adopt": {"secretRef": {"name": "old"}}}), Refused),
        ("adopt.secretRef.key", json!({"adopt": {"secretRef": {"name": "old", "key": "other"}}}), Refused),
        ("adopt.tokenId", json!({"adopt": {"secretRef": {"name": "old"}, "tokenId": 17}}), Refused),
        ("adopt.permissions", json!({"adopt": {"secretRef": {"name": "old"}, "permissions": "Replace"}}), Refused),
        ("verification.environmentId", json!({"verification": {"environmentId": 5}}), Nothing),
        ("verification.allowUnproven", json!({"verification": {"allowUnproven": true}}), Nothing),
        ("deletionPolicy", json!({"deletionPolicy": "Retain"}), Nothing),
        ("suspend", json!({"suspend": true}), Nothing),
        ("dryRun", json!({"dryRun": true}), Nothing),
    ]
}

fn schema() -> Value {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == "ServiceToken").expect("the kind is there");
    let crd = serde_json::to_value(crd).expect("a CRD holds nothing but JSON");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// The paths of all fields that hold no other fields.
fn leaves(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    let mut is_leaf = true;
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        is_leaf = false;
        leaves(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, property, found);
    }
    for (keyword, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(keyword) {
            is_leaf = false;
            leaves(&format!("{path}{mark}"), inner, found);
        }
    }
    if is_leaf {
        found.insert(path.to_owned());
    }
}

/// The paths of fields that a rule compares with what they were.
fn compared(path: &str, schema: &Value, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if rule["rule"].as_str().is_some_and(|text| text.contains("oldSelf")) {
            found.push(format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default().trim_start_matches(".spec")));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        compared(&if name == "spec" { String::new() } else { format!("{path}.{name}") }, property, found);
    }
}

fn merged(mut object: Value, edit: &Value) -> Value {
    match (object.as_object_mut(), edit.as_object()) {
        (Some(fields), Some(edits)) => {
            for (name, edit) in edits {
                let before = fields.remove(name).unwrap_or(Value::Null);
                fields.insert(name.clone(), merged(before, edit));
            }
            object
        }
        _ => edit.clone(),
    }
}

fn service_token(spec: &Value) -> ServiceToken {
    let metadata = json!({"name": "ci", "namespace": "finance"});
    let object =
        json!({"apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "ServiceToken", "metadata": metadata, "spec": spec});
    serde_json::from_value(object).expect("a ServiceToken")
}

/// 2026-11-24T07:40:00Z.
fn now() -> Timestamp {
    Timestamp::from_second(1_795_506_000).expect("a time")
}

fn account(token: Token) -> Account {
    let read = |id, name: &str| Project { id: ProjectId(id), name: name.to_owned() };
    let environments = BTreeMap::from([(ProjectId(700), EnvironmentId(9)), (ProjectId(701), EnvironmentId(10))]);
    Account::Ready(Box::new(OpenAccount {
        id: AccountId(42),
        plan: "enterprise".to_owned(),
        suspended: false,
        tokens: Reading::Known { value: BTreeMap::from([(token.id, token)]), taken_at: now() },
        gone: BTreeMap::new(),
        projects: Reading::Known { value: vec![read(700, "Finance"), read(701, "Marketing")].into(), taken_at: now() },
        environments: Reading::Known { value: environments.into(), taken_at: now() },
        grants: vec![AccountGrant {
            sets: AllowedSets::Any,
            projects: AllowedProjects::All,
            writable: BTreeSet::from([WriteCategory::new("all")]),
            maximum_tokens: None,
            adopt: AdoptPolicy::Proven,
        }],
        budget: Budget { ordinary: Allowance::Free, repair: Allowance::Free },
        crowded_out: None,
        set_back_confirmed: None,
    }))
}

/// A day after the token of `before` was published, with what is declared now.
fn observation(before: &Desired, token: &ServiceToken) -> Observation {
    let (installation, uid) = (Installation::new("here"), OwnerUid::new("uid-1"));
    let (serial, id, day) = (Serial(5), TokenId(2202), SignedDuration::from_hours(24));
    let rows = grant::resolve(&before.permissions, &[]).expect("projects by id");
    let mark = Mark { installation: installation.clone(), owner: uid.clone(), serial, origin: Origin::Made };
    let token_uid = TokenUid::new("abcdefg");
    let content = SlotContent::Filled { token: id, uid: token_uid.clone(), granted: rows.fingerprint() };
    let rule = Some(RenderRule::new("rule-1"));
    let listed = Token {
        id,
        uid: token_uid,
        name: mark.name("finance/ci"),
        mark: Some(mark),
        active: true,
        rows,
        created_at: Some(now() - day),
        last_used: None,
        shows_links: false,
    };
    Observation {
        owner: Owner { uid, namespace: "finance".to_owned(), name: "ci".to_owned() },
        ledger: Ledger {
            installation: Some(installation.clone()),
            serial: serial.0,
            current: Some(Entry { serial, token: id }),
            ..Ledger::default()
        },
        installation,
        generation: 2,
        created_at: now() - day,
        deleted_at: None,
        finalizer: true,
        rotate_at: None,
        compromised: None,
        desired: desired(token),
        deletion_policy: deletion_policy(token),
        record: Record { observed_generation: 1, published: Some(Published { token: id, at: now() - day }), ..Record::default() },
        account: account(listed),
        slots: vec![Slot {
            serial,
            content,
            committed: true,
            retained: false,
            condemned: None,
            created_at: now() - day,
            adopted: None,
        }],
        target: Target::Ours(TargetState { token: Some(id), rule: rule.clone(), intact: true, taken_over: false }),
        rule,
        senior: None,
        look: None,
        fresh_after: now() - day,
        trouble: None,
        consumers: Reading::Unknown,
        workloads: Reading::Unknown,
    }
}

fn step(edit: &Value) -> Step {
    let before = desired(&service_token(&declared())).expect("valid");
    plan(&observation(&before, &service_token(&merged(declared(), edit))), now()).step
}

#[test]
fn the_table_has_a_row_for_every_field_of_the_schema() {
    let mut fields = BTreeSet::new();
    leaves("", &schema()["properties"]["spec"], &mut fields);
    let rows: BTreeSet<String> = table().iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(rows.len(), table().len(), "a field stands in two rows");
    let missing: Vec<_> = fields.difference(&rows).collect();
    let surplus: Vec<_> = rows.difference(&fields).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "say what an edit of {missing:?} does; {surplus:?} is no field");
}

#[test]
fn an_edit_makes_a_token_only_if_the_permissions_differ() {
    assert_eq!(step(&json!({})), Step::Settled);
    for (path, edit, does) in table().into_iter().filter(|(.., does)| *does != Does::Refused) {
        let step = step(&edit);
        let replaces = matches!(&step, Step::Act(Effect::WriteLedger { entry: LedgerEntry::Open, .. }));
        assert_eq!(replaces, does == Does::Replaces, "{path}: {step:?}");
        let is_quiet = matches!(step, Step::Settled | Step::Wait(_) | Step::Blocked(_));
        assert!(replaces || is_quiet, "{path}: {step:?}");
    }
}

#[test]
fn what_cannot_be_edited_is_refused_by_a_rule_of_the_schema() {
    let mut rules = Vec::new();
    compared("", &schema(), &mut rules);
    for (path, edit, _) in table().into_iter().filter(|(.., does)| *does == Does::Refused) {
        let path = format!(".{path}");
        assert!(rules.iter().any(|rule| !rule.is_empty() && path.starts_with(rule)), "{path}: {rules:?}");
        assert_ne!(merged(declared(), &edit), declared());
    }
}

#[test]
fn a_restart_makes_no_token() {
    let token = service_token(&declared());
    let mut observation = observation(&desired(&token).expect("valid"), &token);
    observation.fresh_after = Timestamp::MAX;
    assert_eq!(plan(&observation, now()).step, Step::Settled, "an old list shows the token all the same");
    if let Account::Ready(account) = &mut observation.account {
        account.tokens = Reading::Unknown;
    }
    assert!(matches!(plan(&observation, now()).step, Step::Read(_)));
    observation.account = Account::NotReady { reason: "Progressing".to_owned(), message: "being read".to_owned() };
    assert!(matches!(plan(&observation, now()).step, Step::Wait(_)));
}
