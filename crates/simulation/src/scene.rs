//! The objects as people write them, and what is there before the operator starts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{PermissionSet, ProjectId, TokenId};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::{Key, Kind, Operation};
use crate::dbt::{ACCOUNT, ADMIN, Maker};
use crate::forgery;
use crate::plan::{Plan, Role, Subject};
use crate::replica::{INSTALLATION, NAMESPACE};
use crate::world::State;

/// The name of the DbtAccount.
pub const ACCOUNT_NAME: &str = "analytics";

/// Prefix of the operator's annotations and labels.
pub const PREFIX: &str = "tokens.dbt-operator.dev";

/// Permissions that may be declared: sets, each with the name of a project, or without one for all.
pub const PERMISSIONS: [&[(&str, Option<&str>)]; 5] = [
    &[("job_admin", None)],
    &[("job_viewer", Some("Finance"))],
    &[("job_runner", Some("Marketing")), ("job_viewer", Some("Finance"))],
    &[("metadata_only", Some("Web Shop"))],
    &[("account_viewer", None)],
];

/// What the operator has to ask dbt for, worked out apart from the operator.
pub fn rows(permissions: usize) -> GrantRows {
    let id = |name: &str| crate::dbt::PROJECTS.iter().find(|(_, known)| *known == name).map(|(id, _)| ProjectId(*id));
    let row = |(set, project): &(&str, Option<&str>)| GrantRow {
        permission_set: PermissionSet::new(*set),
        scope: project.and_then(id).map_or(Scope::All, Scope::Project),
        writable: std::collections::BTreeSet::new(),
    };
    GrantRows::new(PERMISSIONS[permissions].iter().map(row).collect())
}

/// As a manifest declares them.
pub fn permissions(place: usize) -> Value {
    let one = |(set, project): &(&str, Option<&str>)| match project {
        Some(name) => json!({"permissionSet": set, "projects": [{"name": name}]}),
        None => json!({"permissionSet": set, "allProjects": true}),
    };
    PERMISSIONS[place].iter().map(one).collect()
}

/// What there is before the operator starts.
pub fn set_up(state: &mut State, plan: &Plan) {
    let old = "2022-05-05T10:00:00Z".parse().expect("a time");
    let admin = GrantRows::new(vec![GrantRow {
        permission_set: PermissionSet::new("account_admin"),
        scope: Scope::All,
        writable: std::collections::BTreeSet::new(),
    }]);
    state.dbt.two_steps = plan.two_steps;
    state.dbt.hides_deleted = plan.hides_deleted;
    let string = state.dbt.make("operator", &admin, Maker::Outsider, old).string.clone();
    // Tokens of other people, and of another installation.
    let terraform = state.dbt.make("terraform", &rows(0), Maker::Outsider, old).token.clone();
    state.dbt.make("x [dbt-token-operator theirs 00000000-0000-4000-8000-000000000001 5]", &rows(0), Maker::Outsider, old);
    for namespace in [NAMESPACE, "finance", "marketing"] {
        create(state, &Key::new(Kind::Namespace, "", namespace), json!({"metadata": {"labels": {"team": namespace}}}));
    }
    create(state, &Key::new(Kind::Secret, NAMESPACE, "dbt-admin"), secret("token", &string));
    create(
        state,
        &Key::new(Kind::DbtAccount, "", ACCOUNT_NAME),
        json!({"spec": {
            "accessUrl": "https://ab123.us1.dbt.com", "accountId": ACCOUNT,
            "credentialsSecretRef": {"name": "dbt-admin"},
            "grants": [{"namespaceSelector": {}, "permissionSets": ["*"], "allProjects": true}],
            "limits": {"mintsPerHour": plan.mints_per_hour},
            "inventory": {"revokeStraysAfter": "1h"},
        }}),
    );
    // A tenant wants somebody else's token to be taken for one that an object of ours has left behind.
    forgery::forge(state, "finance", INSTALLATION, ("finance", "nobody", "00000000-0000-4000-8000-999999999999"), &terraform);
    for subject in &plan.subjects {
        set_up_subject(state, subject, old);
    }
}

fn set_up_subject(state: &mut State, subject: &Subject, old: Timestamp) {
    let Subject { name, namespace, .. } = subject;
    let adopted = |state: &mut State, secret_name: String, adopt_by: Option<&str>| {
        let string = state.dbt.make(&format!("old {name}"), &rows(subject.permissions), Maker::Outsider, old).string.clone();
        let mut body = secret("token", &string);
        if let Some(owner) = adopt_by {
            body["metadata"]["annotations"] = json!({format!("{PREFIX}/adopt-by"): owner});
        }
        create(state, &Key::new(Kind::Secret, namespace, &secret_name), body);
    };
    match subject.role {
        Role::Adopts => adopted(state, format!("{name}-old"), None),
        Role::AdoptsInPlace => adopted(state, secret_name(subject), Some(name)),
        Role::Foreign => create(state, &Key::new(Kind::Secret, namespace, &secret_name(subject)), secret("password", "hunter2")),
        Role::Pods { .. } => create(
            state,
            &Key::new(Kind::Deployment, namespace, name),
            json!({
                "spec": {"replicas": 1, "template": {"spec": pod_spec(subject)}},
                "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            }),
        ),
        Role::Plain | Role::Remote => {}
    }
}

/// The Secret of an object.
pub fn secret_name(subject: &Subject) -> String {
    format!("{}-dbt", subject.name)
}

/// A pod that takes the Secret by environment.
pub fn pod_spec(subject: &Subject) -> Value {
    json!({"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": secret_name(subject)}}]}]})
}

/// The ServiceToken as it is applied.
pub fn manifest(subject: &Subject) -> Value {
    let mut retire = json!({
        "after": format!("{}s", subject.after),
        "quietPeriod": format!("{}s", subject.quiet),
        "volumeSync": "0s",
    });
    let mut spec = json!({
        "accountRef": {"name": ACCOUNT_NAME},
        "permissions": permissions(subject.permissions),
        "secret": {"name": secret_name(subject)},
        "deletionPolicy": if subject.retains { "Retain" } else { "Revoke" },
    });
    match subject.role {
        Role::Pods { restart: true } => retire["restart"] = json!(["Deployment"]),
        Role::Adopts => spec["adopt"] = json!({"secretRef": {"name": format!("{}-old", subject.name), "key": "token"}}),
        Role::AdoptsInPlace => spec["adopt"] = json!({"secretRef": {"name": secret_name(subject), "key": "token"}}),
        _ => {}
    }
    spec["rotation"] = json!({"retire": retire});
    json!({"spec": spec})
}

/// An object as somebody else makes it.
pub fn create(state: &mut State, key: &Key, mut body: Value) {
    body["metadata"]["name"] = json!(key.name);
    state.in_cluster(&Operation::by_hand(crate::cluster::Verb::Create, &Key { name: String::new(), ..key.clone() }, body));
}

/// A Secret with one key.
pub fn secret(key: &str, value: &str) -> Value {
    json!({"type": "Opaque", "metadata": {}, "data": {key: STANDARD.encode(value)}})
}

/// What a key of a Secret holds.
pub fn value_in(secret: &Value, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

/// The token that a Secret holds, if it works.
pub fn token_in(state: &State, key: &Key) -> Option<TokenId> {
    state.dbt.opened_by(&value_in(state.store.get(key)?, "token")?).filter(|id| *id != ADMIN)
}
