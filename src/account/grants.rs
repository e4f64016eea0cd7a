//! Which grants of an account match a namespace, and what the names of projects in them mean. Pure.

use std::collections::{BTreeMap, BTreeSet};

use dbt_token_planner::adoption::AdoptPolicy;
use dbt_token_planner::grant::{AccountGrant, AllowedProjects, AllowedSets};
use dbt_token_planner::identity::{PermissionSet, ProjectId};
use dbt_token_planner::observation::Project;

use crate::api::desired::write_category;
use crate::api::v1alpha1::{AdoptionPolicy, Grant, NamespaceSelector, ProjectRef, SelectorOperator, SelectorRequirement};

/// The labels of a namespace.
pub type Labels = BTreeMap<String, String>;

/// The grants that match a namespace, with names of projects looked up. A name that is not that of exactly one active
/// project covers nothing.
pub fn matching(grants: &[Grant], namespace: &str, labels: &Labels, projects: &[Project]) -> Vec<AccountGrant> {
    let matching = grants.iter().filter(|grant| matches_namespace(grant, namespace, labels));
    matching.map(|grant| account_grant(grant, projects)).collect()
}

/// Whether some grant names a project instead of giving its id.
pub fn name_projects(grants: &[Grant]) -> bool {
    references(grants).any(|project| project.name.is_some())
}

/// The names in grants that are not those of exactly one active project, in order and once each.
pub fn unresolved(grants: &[Grant], projects: &[Project]) -> Vec<String> {
    let names: BTreeSet<&String> = references(grants).filter_map(|project| project.name.as_ref()).collect();
    names.into_iter().filter(|name| resolve(name, projects).is_none()).cloned().collect()
}

fn references(grants: &[Grant]) -> impl Iterator<Item = &ProjectRef> {
    grants.iter().flat_map(|grant| grant.projects.as_deref().unwrap_or_default())
}

fn account_grant(grant: &Grant, projects: &[Project]) -> AccountGrant {
    let sets = if grant.permission_sets.iter().any(|set| set == "*") {
        AllowedSets::Any
    } else {
        AllowedSets::Named(grant.permission_sets.iter().map(PermissionSet::new).collect())
    };
    let covered = if grant.all_projects == Some(true) {
        AllowedProjects::All
    } else {
        let named = grant.projects.as_deref().unwrap_or_default();
        AllowedProjects::Named(named.iter().filter_map(|project| project_id(project, projects)).collect())
    };
    AccountGrant {
        sets,
        projects: covered,
        writable: grant.writable_environments.iter().flatten().copied().map(write_category).collect(),
        adopt: match grant.adopt {
            Some(AdoptionPolicy::Never) => AdoptPolicy::Never,
            Some(AdoptionPolicy::Unproven) => AdoptPolicy::Unproven,
            Some(AdoptionPolicy::Proven) | None => AdoptPolicy::Proven,
        },
        maximum_tokens: grant.max_tokens.map(|limit| u32::try_from(limit).unwrap_or(0)),
    }
}

fn project_id(project: &ProjectRef, projects: &[Project]) -> Option<ProjectId> {
    match (project.id, &project.name) {
        (Some(id), _) => Some(ProjectId(id)),
        (None, Some(name)) => resolve(name, projects),
        (None, None) => None,
    }
}

fn resolve(name: &str, projects: &[Project]) -> Option<ProjectId> {
    let mut found = projects.iter().filter(|project| project.name == name);
    match (found.next(), found.next()) {
        (Some(project), None) => Some(project.id),
        _ => None,
    }
}

/// The schema asks for exactly one of the two; a grant with neither matches nothing.
fn matches_namespace(grant: &Grant, namespace: &str, labels: &Labels) -> bool {
    let named = grant.namespaces.iter().flatten().any(|name| name == namespace);
    named || grant.namespace_selector.as_ref().is_some_and(|selector| selects(selector, labels))
}

fn selects(selector: &NamespaceSelector, labels: &Labels) -> bool {
    let wanted = selector.match_labels.iter().flatten();
    let mut requirements = selector.match_expressions.iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && requirements.all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &SelectorRequirement, labels: &Labels) -> bool {
    let label = labels.get(&requirement.key);
    let listed = label.is_some_and(|label| requirement.values.iter().flatten().any(|value| value == label));
    match requirement.operator {
        SelectorOperator::In => listed,
        SelectorOperator::NotIn => !listed,
        SelectorOperator::Exists => label.is_some(),
        SelectorOperator::DoesNotExist => label.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn grant(fields: Value) -> Grant {
        let mut grant = json!({"permissionSets": ["job_admin"], "allProjects": true});
        let Value::Object(fields) = fields else { panic!("{fields} is no object") };
        for (name, value) in fields {
            grant[name] = value;
        }
        serde_json::from_value(grant).expect("a grant")
    }

    fn projects() -> Vec<Project> {
        [(812, "Finance"), (813, "Shop"), (814, "Shop")]
            .map(|(id, name)| Project { id: ProjectId(id), name: name.to_owned() })
            .into()
    }

    fn check(fields: &Value, expected: bool) {
        let labels = Labels::from([("team".to_owned(), "data".to_owned()), ("empty".to_owned(), String::new())]);
        let found = matching(&[grant(fields.clone())], "finance", &labels, &[]);
        assert_eq!(!found.is_empty(), expected, "{fields}");
    }

    #[test]
    fn a_grant_matches_namespaces_by_name_or_by_label() {
        check(&json!({"namespaces": ["airflow", "finance"]}), true);
        check(&json!({"namespaces": ["finance-dev"]}), false);
        check(&json!({}), false);
        check(&json!({"namespaceSelector": {}}), true);
        check(&json!({"namespaceSelector": {"matchLabels": {"team": "data"}}}), true);
        check(&json!({"namespaceSelector": {"matchLabels": {"team": "data", "tier": "gold"}}}), false);
        for (operator, key, values, expected) in [
            ("In", "team", json!(["web", "data"]), true),
            ("In", "team", json!(["web"]), false),
            ("In", "tier", json!(["gold"]), false),
            ("NotIn", "team", json!(["web"]), true),
            ("NotIn", "team", json!(["data"]), false),
            ("NotIn", "tier", json!(["gold"]), true),
            ("Exists", "empty", Value::Null, true),
            ("Exists", "tier", Value::Null, false),
            ("DoesNotExist", "tier", Value::Null, true),
            ("DoesNotExist", "team", Value::Null, false),
        ] {
            let requirement = json!({"key": key, "operator": operator, "values": values});
            check(&json!({"namespaceSelector": {"matchExpressions": [requirement]}}), expected);
        }
        let both = json!({"matchLabels": {"team": "data"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
        check(&json!({"namespaceSelector": both}), false);
    }

    #[test]
    fn what_a_grant_allows_is_read_as_it_is_written() {
        let all = json!({"namespaceSelector": {}, "permissionSets": ["*"], "writableEnvironments": ["all"], "maxTokens": 20});
        let some = json!({
            "namespaces": ["finance"],
            "allProjects": null,
            "projects": [{"id": 7}, {"name": "Finance"}, {"name": "Shop"}, {"name": "Gone"}],
        });
        let found = matching(&[grant(all), grant(some)], "finance", &Labels::new(), &projects());
        assert_eq!(found[0].sets, AllowedSets::Any);
        assert_eq!((&found[0].projects, found[0].maximum_tokens), (&AllowedProjects::All, Some(20)));
        assert_eq!(found[0].writable.iter().map(ToString::to_string).collect::<Vec<_>>(), ["all"]);
        assert_eq!(found[1].sets, AllowedSets::Named([PermissionSet::new("job_admin")].into()));
        assert_eq!(found[1].projects, AllowedProjects::Named([ProjectId(7), ProjectId(812)].into()));
        assert_eq!((found[1].maximum_tokens, found[1].writable.len()), (None, 0));
        assert_eq!(found[0].adopt, AdoptPolicy::Proven);
        for (word, expected) in
            [("Never", AdoptPolicy::Never), ("Unproven", AdoptPolicy::Unproven), ("Proven", AdoptPolicy::Proven)]
        {
            let grant = grant(json!({"namespaceSelector": {}, "adopt": word}));
            assert_eq!(matching(&[grant], "finance", &Labels::new(), &projects())[0].adopt, expected);
        }
    }

    #[test]
    fn names_that_are_not_exactly_one_project_are_reported() {
        let named = |names: &[&str]| {
            let projects: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            grant(json!({"allProjects": null, "projects": projects}))
        };
        let grants = [named(&["Shop", "Finance"]), named(&["finance", "Shop"])];
        assert_eq!(unresolved(&grants, &projects()), ["Shop", "finance"]);
        assert!(name_projects(&grants));
        assert!(!name_projects(&[grant(json!({"projects": [{"id": 7}]}))]));
    }
}
