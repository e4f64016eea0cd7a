//! The table of dbt's permission sets, and which call can try a token that was granted one.
//! A set that is not in the table is allowed: dbt's list grows.

use crate::grant::{GrantRows, Scope};
use crate::identity::{EnvironmentId, PermissionSet, ProjectId};

/// A call that tries a new token, one per API family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// `GET /api/v2/accounts/{account}/jobs/?limit=1`, limited to the project if one is given.
    Jobs(Option<ProjectId>),
    /// `GET /api/v3/accounts/{account}/projects/?limit=1`.
    Projects,
    /// `GET /api/v3/accounts/{account}/service-tokens/`, first page only.
    ServiceTokens,
    /// `GET /api/v2/accounts/{account}/notifications/?limit=1`.
    Notifications,
    /// `GET /api/v2/accounts/`: authentication only.
    Accounts,
    /// `GET /api/v3/accounts/{account}/webhooks/subscriptions?limit=1`.
    Webhooks,
    /// A trivial field of one environment from the Discovery API.
    Discovery(EnvironmentId),
    /// A trivial field of one environment from the Semantic Layer.
    SemanticLayer(EnvironmentId),
}

/// The API families that a set can be tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Family {
    Jobs,
    Projects,
    ServiceTokens,
    Notifications,
    Accounts,
    Webhooks,
    Discovery,
    SemanticLayer,
}

/// One row of the table.
struct Entry {
    set: &'static str,
    family: Family,
}

const fn entry(set: &'static str, family: Family) -> Entry {
    Entry { set, family }
}

/// Every set that dbt is known to have (31 in July 2026), and the call that tries it. The calls follow the read matrix of
/// dbt's documentation on permissions; none was made against the real service, so all of them are [ASSUMED].
const TABLE: [Entry; 31] = [
    entry("account_admin", Family::Jobs),
    entry("account_viewer", Family::Jobs),
    entry("admin", Family::Jobs),
    entry("analyst", Family::Jobs),
    entry("analyst_read", Family::Projects),
    entry("billing_admin", Family::Accounts),
    entry("cost_insights_admin", Family::Jobs),
    entry("cost_insights_viewer", Family::Jobs),
    entry("cost_management_admin", Family::Accounts),
    entry("cost_management_viewer", Family::Accounts),
    entry("database_admin", Family::Jobs),
    entry("developer", Family::Jobs),
    entry("fusion_admin", Family::Accounts),
    entry("git_admin", Family::Jobs),
    entry("job_admin", Family::Jobs),
    entry("job_creator", Family::Jobs),
    entry("job_runner", Family::Jobs),
    entry("job_viewer", Family::Jobs),
    entry("manage_marketplace_apps", Family::Accounts),
    entry("member", Family::Jobs),
    entry("metadata_only", Family::Discovery),
    entry("notification_manager", Family::Notifications),
    entry("owner", Family::Jobs),
    entry("project_creator", Family::Jobs),
    entry("readonly", Family::Jobs),
    entry("scim_only", Family::Accounts),
    entry("security_admin", Family::ServiceTokens),
    entry("semantic_layer_only", Family::SemanticLayer),
    entry("stakeholder", Family::Jobs),
    entry("team_admin", Family::Jobs),
    entry("webhooks_only", Family::Webhooks),
];

/// Whether the table has the set.
pub fn is_known(set: &PermissionSet) -> bool {
    TABLE.iter().any(|entry| entry.set == set.as_str())
}

/// Whether Semantic Layer credentials can be linked to a token with this set, as far as known: dbt asks for
/// `semantic_layer_only` on tokens that query the Semantic Layer [DOC], and that no other known set will do is [ASSUMED].
/// Of one that the table does not know it cannot be ruled out.
pub fn may_be_linked(set: &PermissionSet) -> bool {
    family(set).is_none_or(|family| family == Family::SemanticLayer)
}

/// Whether trying these rows takes an environment.
pub fn needs_environment(rows: &GrantRows) -> bool {
    families(rows).iter().any(|(family, _)| matches!(family, Family::Discovery | Family::SemanticLayer))
}

/// The calls that try a token with these rows, one per API family; `environment` finds one for a project (or, for a row
/// on all projects, for any). Sets that no call can try are returned as well.
pub fn probes(
    rows: &GrantRows,
    environment: impl Fn(Option<ProjectId>) -> Option<EnvironmentId>,
) -> (Vec<Probe>, Vec<PermissionSet>) {
    let mut probes = Vec::new();
    for (family, project) in families(rows) {
        let probe = match family {
            Family::Jobs => Some(Probe::Jobs(project)),
            Family::Projects => Some(Probe::Projects),
            Family::ServiceTokens => Some(Probe::ServiceTokens),
            Family::Notifications => Some(Probe::Notifications),
            Family::Accounts => Some(Probe::Accounts),
            Family::Webhooks => Some(Probe::Webhooks),
            Family::Discovery => environment_for(rows, family, &environment).map(Probe::Discovery),
            Family::SemanticLayer => environment_for(rows, family, &environment).map(Probe::SemanticLayer),
        };
        probes.extend(probe);
    }
    (probes, untried(rows, &environment))
}

fn family(set: &PermissionSet) -> Option<Family> {
    TABLE.iter().find(|entry| entry.set == set.as_str()).map(|entry| entry.family)
}

/// One entry per family, with the project of its first row, in a fixed order. Account-level reads of the Admin API would
/// make a weaker call redundant only by assumption, so each family is tried by itself.
fn families(rows: &GrantRows) -> Vec<(Family, Option<ProjectId>)> {
    let mut found: Vec<(Family, Option<ProjectId>)> = Vec::new();
    for row in rows.rows() {
        let Some(family) = family(&row.permission_set) else { continue };
        if !found.iter().any(|(seen, _)| *seen == family) {
            found.push((family, project(row.scope)));
        }
    }
    found.sort_unstable();
    found
}

fn project(scope: Scope) -> Option<ProjectId> {
    match scope {
        Scope::All => None,
        Scope::Project(id) => Some(id),
    }
}

fn environment_for(
    rows: &GrantRows,
    wanted: Family,
    environment: &impl Fn(Option<ProjectId>) -> Option<EnvironmentId>,
) -> Option<EnvironmentId> {
    rows.rows().iter().filter(|row| family(&row.permission_set) == Some(wanted)).find_map(|row| environment(project(row.scope)))
}

fn untried(rows: &GrantRows, environment: &impl Fn(Option<ProjectId>) -> Option<EnvironmentId>) -> Vec<PermissionSet> {
    let mut sets: Vec<PermissionSet> = rows
        .rows()
        .iter()
        .filter(|row| match family(&row.permission_set) {
            None => true,
            Some(family @ (Family::Discovery | Family::SemanticLayer)) => environment_for(rows, family, environment).is_none(),
            Some(_) => false,
        })
        .map(|row| row.permission_set.clone())
        .collect();
    sets.dedup();
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::rows;

    fn check(granted: &[(&str, i64)], environments: &[(i64, i64)], expected: &[Probe], untried: &[&str]) {
        let find = |project: Option<ProjectId>| {
            let mut all = environments.iter();
            all.find(|(id, _)| project.is_none_or(|project| project.0 == *id)).map(|(_, environment)| EnvironmentId(*environment))
        };
        let (probes, sets) = probes(&rows(granted), find);
        let sets: Vec<&str> = sets.iter().map(PermissionSet::as_str).collect();
        assert_eq!((probes.as_slice(), sets.as_slice()), (expected, untried), "{granted:?}");
    }

    #[test]
    fn one_call_per_family_tries_a_token() {
        use Probe::{Accounts, Discovery, Jobs, Notifications, Projects, SemanticLayer, ServiceTokens, Webhooks};
        let (seven, environment) = (Some(ProjectId(7)), EnvironmentId(9));
        check(&[], &[], &[], &[]);
        check(&[("job_admin", 0)], &[], &[Jobs(None)], &[]);
        check(&[("job_admin", 7)], &[], &[Jobs(seven)], &[]);
        check(&[("job_admin", 7), ("job_viewer", 8)], &[], &[Jobs(seven)], &[]);
        check(&[("analyst_read", 7)], &[], &[Projects], &[]);
        check(&[("security_admin", 0)], &[], &[ServiceTokens], &[]);
        check(&[("notification_manager", 0)], &[], &[Notifications], &[]);
        check(&[("billing_admin", 0), ("scim_only", 0)], &[], &[Accounts], &[]);
        check(&[("webhooks_only", 0)], &[], &[Webhooks], &[]);
        check(&[("metadata_only", 7)], &[(7, 9)], &[Discovery(environment)], &[]);
        check(&[("metadata_only", 7), ("metadata_only", 8)], &[(8, 9)], &[Discovery(environment)], &[]);
        check(&[("metadata_only", 0)], &[(8, 9)], &[Discovery(environment)], &[]);
        check(&[("metadata_only", 7)], &[(8, 9)], &[], &["metadata_only"]);
        check(&[("semantic_layer_only", 7)], &[(7, 9)], &[SemanticLayer(environment)], &[]);
        check(&[("semantic_layer_only", 7), ("semantic_layer_only", 8)], &[], &[], &["semantic_layer_only"]);
        check(&[("brand_new", 7)], &[(7, 9)], &[], &["brand_new"]);
        check(&[("brand_new", 7), ("job_admin", 7)], &[], &[Jobs(seven)], &["brand_new"]);
        let mixed = [("webhooks_only", 0), ("metadata_only", 7), ("job_admin", 0), ("analyst_read", 7)];
        check(&mixed, &[(7, 9)], &[Jobs(None), Projects, Webhooks, Discovery(environment)], &[]);
    }

    #[test]
    fn an_environment_is_needed_for_graphql_only() {
        for (granted, expected) in
            [("job_admin", false), ("metadata_only", true), ("semantic_layer_only", true), ("brand_new", false)]
        {
            assert_eq!(needs_environment(&rows(&[(granted, 7)])), expected, "{granted}");
        }
        assert!(needs_environment(&rows(&[("job_admin", 0), ("metadata_only", 0)])));
    }

    #[test]
    fn links_are_for_the_semantic_layer_and_for_what_is_not_known() {
        for (set, expected) in
            [("semantic_layer_only", true), ("brand_new", true), ("metadata_only", false), ("account_admin", false)]
        {
            assert_eq!(may_be_linked(&PermissionSet::new(set)), expected, "{set}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_knows_each_set_once() {
        assert!(TABLE.windows(2).all(|pair| pair[0].set < pair[1].set));
        assert!(is_known(&PermissionSet::new("job_admin")));
        assert!(!is_known(&PermissionSet::new("Job Admin")));
    }
}
