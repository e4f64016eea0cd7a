//! Reads what users wrote into what the planner and the account work with, with the defaults filled in. The only place
//! where user input is judged after the API server has judged it.
//!
//! The schema is not relied on for anything that the planner needs: an object may have been stored under an older CRD.
//! Nothing here reads or writes anything else than the object it is given.

use std::collections::BTreeSet;
use std::time::Duration;

use dbt_token_planner::adoption;
use dbt_token_planner::desired::{self as planner, Desired, ProjectReference, Projects, Refusal};
use dbt_token_planner::identity::{EnvironmentId, PermissionSet, ProjectId, TokenId, WriteCategory};
use dbt_token_planner::rotation::LegacyPolicy;
use kube::ResourceExt;

use super::v1alpha1::{
    AdoptPermissions, AdoptSecretRef, Adoption, DeletionPolicy, Permission, ProjectRef, ServiceToken, TokenEffective,
    WritableEnvironment,
};
use super::{desired_retirement, desired_rotation, duration, names, template};

/// Under this key the bare token stands if the spec has no template.
pub const DEFAULT_SECRET_KEY: &str = "token";

/// The template of [`DEFAULT_SECRET_KEY`].
pub const DEFAULT_SECRET_TEMPLATE: &str = "{{ token }}";

/// `status.lastHandledRotateAt` takes as much; a longer value could never be said to be handled.
const LONGEST_ROTATE_AT: usize = 256;

/// Types of Secrets that Kubernetes fills or acts on by itself. Whoever may create ServiceTokens but not Secrets could
/// get hold of the token of any ServiceAccount of the namespace by them.
const RESERVED_SECRET_TYPES: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// What a `ServiceToken` declares.
///
/// # Errors
/// [`Refusal::InvalidSpec`] for a value that the schema let through and that makes no sense. The first one found is told.
pub fn desired(token: &ServiceToken) -> Result<Desired, Refusal> {
    let spec = &token.spec;
    check_rotate_at(token)?;
    check_secret(token)?;
    let verification = spec.verification.clone().unwrap_or_default();
    Ok(Desired {
        account: spec.account_ref.name.clone(),
        token_name: token_name(token),
        permissions: permissions(&spec.permissions)?,
        secret_name: spec.secret.name.clone(),
        secret_keys: secret_templates(token).into_iter().map(|(key, _)| key.to_owned()).collect(),
        verification_environment: verification.environment_id.map(EnvironmentId),
        allow_unproven: verification.allow_unproven.unwrap_or(false),
        rotation: desired_rotation::rotation(spec.rotation.as_ref())?,
        retirement: desired_retirement::retirement(spec.rotation.as_ref().and_then(|rotation| rotation.retire.as_ref()))?,
        deletion_policy: deletion_policy(token),
        suspended: spec.suspend.unwrap_or(false),
        dry_run: spec.dry_run.unwrap_or(false),
        adopt: spec.adopt.as_ref().map(read_adoption),
    })
}

/// What happens to the token when its object is deleted. Known even if the rest of the spec is refused, so that such an
/// object can be deleted.
pub fn deletion_policy(token: &ServiceToken) -> planner::DeletionPolicy {
    match token.spec.deletion_policy {
        Some(DeletionPolicy::Retain) => planner::DeletionPolicy::Retain,
        Some(DeletionPolicy::Revoke) | None => planner::DeletionPolicy::Revoke,
    }
}

/// The template of each key of the Secret, with the default filled in, in order of the keys.
pub fn secret_templates(token: &ServiceToken) -> Vec<(&str, &str)> {
    let data = token.spec.secret.template.as_ref().and_then(|template| template.data.as_ref());
    match data {
        Some(data) => data.iter().map(|(key, template)| (key.as_str(), template.as_str())).collect(),
        None => vec![(DEFAULT_SECRET_KEY, DEFAULT_SECRET_TEMPLATE)],
    }
}

/// The values in force, for the status. Fields that this version cannot serve are left out: they are not in force.
pub fn effective(token: &ServiceToken, desired: &Desired) -> TokenEffective {
    TokenEffective {
        token_name: Some(desired.token_name.clone()),
        secret_keys: secret_templates(token).into_iter().map(|(key, _)| key.to_owned()).collect(),
        deletion_policy: Some(
            match desired.deletion_policy {
                planner::DeletionPolicy::Revoke => "Revoke",
                planner::DeletionPolicy::Retain => "Retain",
            }
            .to_owned(),
        ),
        allow_unproven: Some(desired.allow_unproven),
        legacy: Some(
            match desired.rotation.legacy {
                LegacyPolicy::Report => "Report",
                LegacyPolicy::Rotate => "Rotate",
            }
            .to_owned(),
        ),
        max_age: desired.rotation.maximum_age.map(duration::format),
        ..desired_retirement::effective(&desired.retirement)
    }
}

fn check_rotate_at(token: &ServiceToken) -> Result<(), Refusal> {
    match token.annotations().get(names::ROTATE_AT) {
        Some(value) if value.len() > LONGEST_ROTATE_AT => Err(invalid(
            format!("metadata.annotations[{}]", names::ROTATE_AT),
            format!("the value is longer than {LONGEST_ROTATE_AT} bytes"),
            "write the time of asking, for example 2026-11-24T08:00:00Z",
        )),
        _ => Ok(()),
    }
}

fn check_secret(token: &ServiceToken) -> Result<(), Refusal> {
    let kind = token.spec.secret.template.as_ref().and_then(|template| template.type_.as_deref());
    if let Some(kind) = kind
        && RESERVED_SECRET_TYPES.contains(&kind)
    {
        return Err(invalid(
            "secret.template.type",
            format!("Kubernetes itself acts on Secrets of the type {kind}"),
            "leave it out, or write another type",
        ));
    }
    let mut uses_token = false;
    for (key, text) in secret_templates(token) {
        uses_token |= template::check(text)
            .map_err(|problem| invalid(format!("secret.template.data.{key}"), problem.why, problem.remedy))?;
    }
    // The rule of the schema looks for the word only, and finds it in tokenId as well.
    if uses_token {
        Ok(())
    } else {
        Err(invalid("secret.template.data", "no value uses the token", "write {{ token }} in at least one of them"))
    }
}

fn token_name(token: &ServiceToken) -> String {
    token.spec.token_name.clone().unwrap_or_else(|| format!("{}/{}", token.namespace().unwrap_or_default(), token.name_any()))
}

/// Reads a duration, or takes the default if there is none.
pub(super) fn read_duration(field: &str, text: Option<&str>, default: Duration) -> Result<Duration, Refusal> {
    text.map_or(Ok(default), |text| {
        duration::parse(text).map_err(|error| {
            invalid(
                field,
                error.to_string(),
                "write whole numbers with the units d, h, m, s in this order, for example 90d, 12h or 1h30m",
            )
        })
    })
}

fn permissions(declared: &[Permission]) -> Result<Vec<planner::Permission>, Refusal> {
    if declared.is_empty() {
        return Err(invalid("permissions", "the token could do nothing", "write at least one permission set"));
    }
    declared.iter().enumerate().map(|(place, permission)| read_permission(place, permission)).collect()
}

fn read_permission(place: usize, permission: &Permission) -> Result<planner::Permission, Refusal> {
    let field = format!("permissions[{place}]");
    let projects = match (&permission.projects, permission.all_projects.unwrap_or(false)) {
        (None, true) => Projects::All,
        (Some(projects), false) if !projects.is_empty() => Projects::Named(
            projects
                .iter()
                .map(read_project)
                .collect::<Option<_>>()
                .ok_or_else(|| invalid(&field, "a project has neither an id nor a name, or both", "write one of them"))?,
        ),
        _ => {
            return Err(invalid(
                &field,
                format!("where {} holds is not clear", permission.permission_set),
                "name its projects, or say allProjects: true (exactly one of the two)",
            ));
        }
    };
    let writable = permission.writable_environments.iter().flatten().copied().map(write_category).collect::<BTreeSet<_>>();
    Ok(planner::Permission { permission_set: PermissionSet::new(&permission.permission_set), projects, writable })
}

fn read_adoption(adoption: &Adoption) -> adoption::Adoption {
    let AdoptSecretRef { name, key } = &adoption.secret_ref;
    let key = key.clone().unwrap_or_else(|| DEFAULT_SECRET_KEY.to_owned());
    adoption::Adoption {
        source: adoption::Source { secret: name.clone(), key },
        token: adoption.token_id.map(TokenId),
        permissions: match adoption.permissions {
            Some(AdoptPermissions::Replace) => adoption::AdoptPermissions::Replace,
            Some(AdoptPermissions::Match) | None => adoption::AdoptPermissions::Match,
        },
    }
}

fn read_project(project: &ProjectRef) -> Option<ProjectReference> {
    match (project.id, &project.name) {
        (Some(id), None) => Some(ProjectReference::Id(ProjectId(id))),
        (None, Some(name)) => Some(ProjectReference::Name(name.clone())),
        _ => None,
    }
}

/// dbt's word for a kind of environments.
pub fn write_category(environment: WritableEnvironment) -> WriteCategory {
    WriteCategory::new(match environment {
        WritableEnvironment::All => "all",
        WritableEnvironment::Development => "development",
        WritableEnvironment::Staging => "staging",
        WritableEnvironment::Production => "production",
        WritableEnvironment::Other => "other",
    })
}

pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal::InvalidSpec { field: field.into(), why: why.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The smallest ServiceToken, with the given parts put over its spec and its annotations.
    fn service_token(spec: Value, annotations: Value) -> ServiceToken {
        let mut object = json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1",
            "kind": "ServiceToken",
            "metadata": {"name": "ci", "namespace": "finance"},
            "spec": {
                "accountRef": {"name": "analytics"},
                "permissions": [{"permissionSet": "job_runner", "projects": [{"id": 812}]}],
                "secret": {"name": "dbt-ci"},
            },
        });
        object["metadata"]["annotations"] = annotations;
        let Value::Object(fields) = spec else { panic!("{spec} is no object") };
        for (name, value) in fields {
            object["spec"][name] = value;
        }
        serde_json::from_value(object).expect("a ServiceToken")
    }

    fn read(spec: Value) -> Result<Desired, Refusal> {
        desired(&service_token(spec, json!({})))
    }

    #[track_caller]
    fn refuses(spec: Value, expected_field: &str, expected_why: &str) {
        match read(spec) {
            Err(Refusal::InvalidSpec { field, why, remedy }) => {
                assert_eq!(field, expected_field);
                assert!(why.contains(expected_why), "{why}");
                assert!(!remedy.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_gets_the_defaults() {
        let declared = read(json!({})).expect("valid");
        assert_eq!(declared.token_name, "finance/ci");
        assert_eq!(declared.retirement.after, Duration::from_secs(600));
        assert_eq!(declared.deletion_policy, planner::DeletionPolicy::Revoke);
        assert!(
            !declared.suspended && !declared.dry_run && !declared.allow_unproven && declared.verification_environment.is_none()
        );
        assert_eq!(
            declared.permissions,
            [planner::Permission {
                permission_set: PermissionSet::new("job_runner"),
                projects: Projects::Named(vec![ProjectReference::Id(ProjectId(812))]),
                writable: BTreeSet::new(),
            }]
        );
        assert_eq!(secret_templates(&service_token(json!({}), json!({}))), [("token", "{{ token }}")]);
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let declared = read(json!({
            "tokenName": "ci of finance",
            "permissions": [
                {"permissionSet": "developer", "projects": [{"name": "Finance"}], "writableEnvironments": ["staging", "other"]},
                {"permissionSet": "account_viewer", "allProjects": true, "writableEnvironments": []},
            ],
            "rotation": {"legacy": "Report", "retire": {"after": "1h30m", "restart": []}, "windows": []},
            "verification": {"environmentId": 218_762, "allowUnproven": true},
            "deletionPolicy": "Retain",
            "suspend": true,
            "dryRun": true,
        }))
        .expect("valid");
        assert_eq!(declared.token_name, "ci of finance");
        assert_eq!(declared.retirement.after, Duration::from_secs(5400));
        assert_eq!(declared.verification_environment, Some(EnvironmentId(218_762)));
        assert!(declared.suspended && declared.dry_run && declared.allow_unproven);
        assert_eq!(declared.deletion_policy, planner::DeletionPolicy::Retain);
        assert_eq!(declared.permissions[0].projects, Projects::Named(vec![ProjectReference::Name("Finance".into())]));
        assert_eq!(declared.permissions[0].writable, ["other", "staging"].map(WriteCategory::new).into());
        assert_eq!(declared.permissions[1].projects, Projects::All);
        assert!(declared.permissions[1].writable.is_empty());
    }

    #[test]
    fn what_is_to_be_adopted_is_read_with_its_defaults() {
        let adopt = |adoption: Value| read(json!({"adopt": adoption})).expect("valid").adopt.expect("something is adopted");
        let least = adopt(json!({"secretRef": {"name": "old"}}));
        assert_eq!((least.source.secret.as_str(), least.source.key.as_str()), ("old", "token"));
        assert_eq!((least.token, least.permissions), (None, adoption::AdoptPermissions::Match));
        let most = adopt(json!({"secretRef": {"name": "old", "key": "URI"}, "tokenId": 1017, "permissions": "Replace"}));
        assert_eq!((most.source.key.as_str(), most.token), ("URI", Some(TokenId(1017))));
        assert_eq!(most.permissions, adoption::AdoptPermissions::Replace);
        assert_eq!(read(json!({})).expect("valid").adopt, None);
    }

    #[test]
    fn a_value_that_could_never_be_said_to_be_handled_is_refused() {
        let long = service_token(json!({}), json!({names::ROTATE_AT: "x".repeat(257)}));
        assert!(matches!(desired(&long), Err(Refusal::InvalidSpec { field, .. }) if field.contains("rotate-at")));
    }

    #[test]
    fn what_a_schema_cannot_judge_is_refused_at_its_field() {
        let data = |data: Value| json!({"secret": {"name": "dbt-ci", "template": {"data": data}}});
        refuses(data(json!({"a": "{{ token }}", "b": "{{ tokn }}"})), "secret.template.data.b", "no variable tokn");
        refuses(data(json!({"a": "{{ token | b64 }}"})), "secret.template.data.a", "no filter b64");
        refuses(data(json!({"a": "{{ token"})), "secret.template.data.a", "has no }}");
        refuses(data(json!({"a": "{{ tokenId }}"})), "secret.template.data", "no value uses the token");
        let kind = "kubernetes.io/service-account-token";
        refuses(json!({"secret": {"name": "s", "template": {"type": kind}}}), "secret.template.type", kind);
    }

    #[test]
    fn an_object_stored_under_an_older_schema_is_refused_rather_than_guessed() {
        let permission = |permission: Value| json!({"permissions": [permission]});
        refuses(json!({"permissions": []}), "permissions", "nothing");
        for wrong in [
            json!({"permissionSet": "job_runner"}),
            json!({"permissionSet": "job_runner", "projects": []}),
            json!({"permissionSet": "job_runner", "projects": [{"id": 1}], "allProjects": true}),
            json!({"permissionSet": "job_runner", "allProjects": false}),
            json!({"permissionSet": "job_runner", "projects": [{}]}),
        ] {
            refuses(permission(wrong), "permissions[0]", "");
        }
        refuses(json!({"rotation": {"retire": {"after": "ten minutes"}}}), "rotation.retire.after", "is not a duration");
    }

    #[test]
    fn the_values_in_force_are_told_with_their_defaults() {
        let token = service_token(json!({"rotation": {"maxAge": "2160h", "retire": {"after": "90m"}}}), json!({}));
        let values = effective(&token, &desired(&token).expect("valid"));
        assert_eq!(values.secret_keys, ["token"]);
        assert_eq!(values.retire_after.as_deref(), Some("1h30m"));
        assert_eq!((values.deletion_policy.as_deref(), values.legacy.as_deref()), (Some("Revoke"), Some("Rotate")));
        assert_eq!((values.max_age.as_deref(), values.quiet_period.as_deref()), (Some("90d"), Some("15m")));
    }
}
