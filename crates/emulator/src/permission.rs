//! Who may read or change what: the permission sets and the read matrix of the fact sheet.
//! Pure functions over grants; nothing here knows HTTP.

use std::collections::BTreeSet;

use crate::account::Grant;

/// Every permission set the service knows, as of July 2026 (the OpenAPI enumeration).
pub(crate) const PERMISSION_SETS: [&str; 31] = [
    "account_admin",
    "account_viewer",
    "admin",
    "analyst",
    "analyst_read",
    "billing_admin",
    "cost_insights_admin",
    "cost_insights_viewer",
    "cost_management_admin",
    "cost_management_viewer",
    "database_admin",
    "developer",
    "fusion_admin",
    "git_admin",
    "job_admin",
    "job_creator",
    "job_runner",
    "job_viewer",
    "manage_marketplace_apps",
    "member",
    "metadata_only",
    "notification_manager",
    "owner",
    "project_creator",
    "readonly",
    "scim_only",
    "security_admin",
    "semantic_layer_only",
    "stakeholder",
    "team_admin",
    "webhooks_only",
];

/// Environment categories that a grant may name.
pub(crate) const WRITE_CATEGORIES: [&str; 5] = ["all", "development", "staging", "production", "other"];

/// A part of the service that permissions open or close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Account,
    Projects,
    ProjectsWrite,
    Environments,
    Jobs,
    Notifications,
    Webhooks,
    AuditLogs,
    Tokens,
    TokensWrite,
    SemanticLayerCredentials,
    SemanticLayerCredentialsWrite,
    Discovery,
    SemanticLayer,
}

/// The projects in which an area is open to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Nothing,
    Projects(BTreeSet<i64>),
    Everything,
}

impl Scope {
    /// Whether the area is open for `project_id`.
    pub(crate) fn admits(&self, project_id: i64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Projects(projects) => projects.contains(&project_id),
            Self::Everything => true,
        }
    }
}

/// Where `grants` open `area`.
pub(crate) fn scope(grants: &[Grant], area: Area) -> Scope {
    let mut projects = BTreeSet::new();
    for grant in grants.iter().filter(|grant| opens(&grant.permission_set, area)) {
        match grant.project_id {
            None => return Scope::Everything,
            Some(project_id) => projects.insert(project_id),
        };
    }
    if projects.is_empty() { Scope::Nothing } else { Scope::Projects(projects) }
}

/// Whether a token with `grants` belongs on the GraphQL hosts alone.
pub(crate) fn is_graphql_only(grants: &[Grant]) -> bool {
    !grants.is_empty()
        && grants.iter().all(|grant| matches!(grant.permission_set.as_str(), "metadata_only" | "semantic_layer_only"))
}

/// The read matrix (fact sheet, section 5). Rows that the sheet leaves open are `[ASSUMED]`.
fn opens(set: &str, area: Area) -> bool {
    match area {
        Area::Account => {
            // `[ASSUMED]` for `owner` and `member`; `[SEED]` for the read-only pair.
            reads_whole_account(set) || matches!(set, "admin" | "stakeholder" | "readonly")
        }
        Area::Jobs => reads_whole_account(set) || reads_jobs_of_a_project(set),
        Area::Projects => reads_projects(set),
        // `[ASSUMED]`: environments are read by whoever reads projects.
        Area::Environments => reads_projects(set),
        // `[ASSUMED]` beyond `account_admin`.
        Area::ProjectsWrite => matches!(set, "account_admin" | "owner" | "project_creator"),
        Area::Notifications => {
            matches!(set, "account_admin" | "owner" | "account_viewer" | "notification_manager")
        }
        Area::Webhooks => matches!(set, "account_admin" | "owner" | "account_viewer" | "webhooks_only"),
        Area::AuditLogs => matches!(set, "account_admin" | "account_viewer" | "security_admin"),
        Area::Tokens => {
            matches!(set, "account_admin" | "owner" | "account_viewer" | "security_admin")
        }
        Area::TokensWrite => matches!(set, "account_admin" | "owner"),
        // `[ASSUMED]` beyond `account_admin`.
        Area::SemanticLayerCredentials => {
            matches!(set, "account_admin" | "owner" | "account_viewer" | "admin")
        }
        Area::SemanticLayerCredentialsWrite => matches!(set, "account_admin" | "owner" | "admin"),
        // `[ASSUMED]` for `owner` and `member`, which the documented list of Discovery omits.
        Area::Discovery => {
            reads_whole_account(set)
                || matches!(set, "metadata_only" | "analyst_read")
                || (reads_jobs_of_a_project(set) && set != "job_runner")
        }
        // `[ASSUMED]`: no other set opens the Semantic Layer to a service token.
        Area::SemanticLayer => set == "semantic_layer_only",
    }
}

fn reads_whole_account(set: &str) -> bool {
    matches!(
        set,
        "account_admin"
            | "account_viewer"
            | "project_creator"
            | "cost_insights_admin"
            | "cost_insights_viewer"
            | "owner"
            | "member"
    )
}

fn reads_jobs_of_a_project(set: &str) -> bool {
    matches!(
        set,
        "admin"
            | "analyst"
            | "database_admin"
            | "developer"
            | "git_admin"
            | "job_admin"
            | "job_creator"
            | "job_runner"
            | "job_viewer"
            | "stakeholder"
            | "readonly"
            | "team_admin"
    )
}

/// Everything but what the sheet excludes; the sets that have no probe but the authentication
/// check (marketplace, fusion, cost management, SCIM, webhooks) are `[ASSUMED]` closed.
fn reads_projects(set: &str) -> bool {
    reads_whole_account(set)
        || matches!(set, "analyst_read" | "security_admin")
        || (reads_jobs_of_a_project(set) && set != "job_runner")
}

/// Whether an account on `plan` may create tokens with `set`.
///
/// `[ASSUMED]`: the mapping of plan names to rules, and that trial and usage plans allow any set.
pub(crate) fn plan_allows(plan: &str, set: &str) -> bool {
    if plan.starts_with("starter") || plan.starts_with("developer") || plan == "free" {
        set == "semantic_layer_only"
    } else if plan.starts_with("team") {
        matches!(
            set,
            "account_admin"
                | "billing_admin"
                | "job_admin"
                | "metadata_only"
                | "member"
                | "owner"
                | "readonly"
                | "semantic_layer_only"
        )
    } else {
        !plan.starts_with("cancelled")
    }
}

#[cfg(test)]
mod tests {
    use super::{Area, Scope, is_graphql_only, plan_allows, scope};
    use crate::account::Grant;

    #[test]
    fn the_matrix_decides_by_set_and_project() {
        let check = |set: &str, area, expected: bool| {
            let open = scope(&[Grant::new(set)], area) == Scope::Everything;
            assert_eq!(open, expected, "{set} {area:?}");
        };
        check("job_runner", Area::Jobs, true);
        check("job_runner", Area::Projects, false);
        check("job_runner", Area::Discovery, false);
        check("metadata_only", Area::Discovery, true);
        check("metadata_only", Area::Projects, false);
        check("semantic_layer_only", Area::Discovery, false);
        check("semantic_layer_only", Area::SemanticLayer, true);
        check("security_admin", Area::Tokens, true);
        check("security_admin", Area::TokensWrite, false);
        check("security_admin", Area::Jobs, false);
        check("analyst_read", Area::Projects, true);
        check("analyst_read", Area::Jobs, false);
        check("billing_admin", Area::Account, false);
        check("notification_manager", Area::Notifications, true);
    }

    #[test]
    fn a_project_grant_opens_its_project_alone() {
        let grants = [Grant::new("job_admin").in_project(7), Grant::new("job_viewer").in_project(8)];
        let open = scope(&grants, Area::Jobs);
        assert!(open.admits(7) && open.admits(8) && !open.admits(9));
    }

    #[test]
    fn graphql_only_means_no_other_set() {
        assert!(is_graphql_only(&[Grant::new("metadata_only"), Grant::new("semantic_layer_only")]));
        assert!(!is_graphql_only(&[Grant::new("metadata_only"), Grant::new("job_admin")]));
        assert!(!is_graphql_only(&[]));
    }

    #[test]
    fn plans_limit_sets() {
        for (plan, set, allowed) in [
            ("starter_2025", "account_admin", false),
            ("starter_2025", "semantic_layer_only", true),
            ("free", "metadata_only", false),
            ("team_2022", "job_admin", true),
            ("team_2022", "developer", false),
            ("enterprise_plus_2025", "developer", true),
            ("usage_2026", "developer", true),
            ("cancelled_2025", "semantic_layer_only", false),
        ] {
            assert_eq!(plan_allows(plan, set), allowed, "{plan} {set}");
        }
    }
}
