//! From dbt's JSON to the planner's words and back. Here an answer that has the right shape is still distrusted: what is
//! missing is never taken for what would be harmful if it were wrong.

use std::collections::{BTreeMap, BTreeSet};

use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{
    AccountId, CredentialId, EnvironmentId, PermissionSet, ProjectId, TokenId, TokenUid, WriteCategory,
};
use dbt_token_planner::link::Link;
use dbt_token_planner::mark::Mark;
use dbt_token_planner::observation::{Project, Token};
use jiff::Timestamp;
use serde_json::Value;

use super::credential::is_sendable;
use super::wire::{
    self, OlderPermission, RequestedGrant, WireAccount, WireCreated, WireCredential, WireEnvironment, WireGrant, WireMapping,
    WireProject, WireToken,
};
use crate::backend::{AccountInfo, Created};
use crate::token::TokenString;

/// dbt's number for what is active; 2 is deleted `[DOC]`.
const ACTIVE: i64 = 1;
/// Characters of a lock's reason that are passed on.
const UNNAMED_LOCK: &str = "dbt gives no reason";

/// Why an answer is not believed, in words.
type Disbelief = String;

/// A token as the planner knows it. Refused: another account's, an id below 1, no state, an active token without its
/// grants, or a time that cannot be read. Each of these, read leniently, would look like a token that was revoked, that
/// drifted, or that nobody uses, and the planner acts on those.
pub(super) fn token(wire: WireToken, account: AccountId) -> Result<Token, Disbelief> {
    let id = wire.id;
    same_account(wire.account_id, account)?;
    if id < 1 {
        return Err(format!("{id} cannot be the id of a token"));
    }
    let state = wire.state.ok_or_else(|| format!("token {id} comes without its state"))?;
    let active = state == ACTIVE;
    let rows = match wire.permission_grants {
        Some(grants) => rows(grants).ok_or_else(|| format!("token {id} has a grant without a permission set"))?,
        None if active => return Err(format!("token {id} comes without its grants")),
        None => GrantRows::default(),
    };
    let name = wire.name.unwrap_or_default();
    Ok(Token {
        id: TokenId(id),
        uid: TokenUid::new(wire.uid.unwrap_or_default()),
        mark: Mark::parse(&name),
        name,
        active,
        rows,
        created_at: time(wire.created_at, id, "created_at")?,
        last_used: time(wire.last_used, id, "last_used")?,
        shows_links: !is_nothing(&wire.semantic_layer_credentials),
    })
}

/// Null or an empty list; anything else says that there is something, in whatever form.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn time(text: Option<String>, id: i64, field: &str) -> Result<Option<Timestamp>, Disbelief> {
    let read = |text: String| wire::read_time(&text).ok_or_else(|| format!("{field} of token {id} is not a time"));
    text.map(read).transpose()
}

/// Refuses what is about another account.
pub(super) fn same_account(found: Option<i64>, account: AccountId) -> Result<(), Disbelief> {
    match found {
        Some(found) if found != account.0 => Err(format!("the answer is about account {found}, not {account}")),
        _ => Ok(()),
    }
}

/// `None` if a row names no set.
fn rows(grants: Vec<WireGrant>) -> Option<GrantRows> {
    let row = |grant: WireGrant| {
        Some(GrantRow {
            permission_set: PermissionSet::new(grant.permission_set.filter(|set| !set.is_empty())?),
            scope: grant.project_id.map_or(Scope::All, |id| Scope::Project(ProjectId(id))),
            writable: grant.writable_environment_categories.unwrap_or_default().into_iter().map(WriteCategory::new).collect(),
        })
    };
    grants.into_iter().map(row).collect::<Option<Vec<_>>>().map(GrantRows::new)
}

/// The answer to a create call. Refused: no id or one below 1, no uid, another account's, or a string that is empty or
/// cannot be sent. Missing grants count as none: what dbt granted is read back before the token is used.
pub(super) fn created(wire: WireCreated, account: AccountId) -> Result<Created, Disbelief> {
    same_account(wire.account_id, account)?;
    let id = wire.id.filter(|id| *id > 0).ok_or("the answer has no usable id")?;
    let uid = wire.uid.filter(|uid| !uid.is_empty()).ok_or("the answer has no uid")?;
    let rows = rows(wire.permission_grants.unwrap_or_default()).ok_or("the answer has a grant without a permission set")?;
    let string = wire.token_string.filter(|string| is_sendable(&string.0)).ok_or("the answer has no usable token string")?;
    Ok(Created { id: TokenId(id), uid: TokenUid::new(uid), rows, string: TokenString::from_wiped(string.0) })
}

/// The active projects, names exactly as dbt has them.
pub(super) fn projects(wire: Vec<WireProject>, account: AccountId) -> Result<Vec<Project>, Disbelief> {
    let mut projects = Vec::new();
    for project in wire {
        same_account(project.account_id, account)?;
        // The list holds active ones alone unless asked otherwise [DOC], so a missing state is no sign of deletion.
        if project.state.is_none_or(|state| state == ACTIVE) {
            projects.push(Project { id: ProjectId(project.id), name: project.name.unwrap_or_default() });
        }
    }
    Ok(projects)
}

/// For each project the environment on which a GraphQL probe can be made: a production one before others, then the lowest
/// id; never a development environment, which has nothing deployed.
pub(super) fn environments(
    wire: Vec<WireEnvironment>,
    account: AccountId,
) -> Result<BTreeMap<ProjectId, EnvironmentId>, Disbelief> {
    let mut best: BTreeMap<ProjectId, (bool, i64)> = BTreeMap::new();
    for environment in wire {
        same_account(environment.account_id, account)?;
        let Some(project) = environment.project_id.map(ProjectId) else { continue };
        let is_deployment =
            environment.kind.as_deref().map_or(environment.deployment_type.is_some(), |kind| kind == "deployment");
        let is_active = environment.state.is_none_or(|state| state == ACTIVE);
        if !is_deployment || !is_active {
            continue;
        }
        let rank = (environment.deployment_type.as_deref() != Some("production"), environment.id);
        let known = best.entry(project).or_insert(rank);
        *known = rank.min(*known);
    }
    Ok(best.into_iter().map(|(project, (_, id))| (project, EnvironmentId(id))).collect())
}

/// What active Semantic Layer credentials are linked to. One whose tokens or whose project are missing is not believed: read
/// leniently it would look like one that is linked to nothing, and a rotation would lose its links.
pub(super) fn links(wire: Vec<WireCredential>, account: AccountId) -> Result<Vec<Link>, Disbelief> {
    let mut links = Vec::new();
    for credential in wire {
        let id = credential.id;
        same_account(credential.account_id, account)?;
        if credential.state.is_some_and(|state| state != ACTIVE) {
            continue;
        }
        let project = credential.project_id.ok_or_else(|| format!("Semantic Layer credential {id} comes without its project"))?;
        let tokens =
            credential.service_tokens.ok_or_else(|| format!("Semantic Layer credential {id} comes without its tokens"))?;
        let link = |token: i64| Link { project: ProjectId(project), credential: CredentialId(id), token: TokenId(token) };
        links.extend(tokens.iter().map(|token| link(token.id)));
    }
    Ok(links)
}

/// A link in the form in which it is made.
pub(super) fn mapping(link: Link, account: AccountId) -> WireMapping {
    WireMapping {
        id: None,
        account_id: account.0,
        project_id: link.project.0,
        semantic_layer_credentials_id: link.credential.0,
        service_token_id: link.token.0,
        state: ACTIVE,
    }
}

/// The account that answered.
pub(super) fn account(wire: WireAccount) -> AccountInfo {
    let reason = wire.lock_reason.or(wire.lock_cause).filter(|reason| !reason.is_empty());
    let locked = wire.locked == Some(true);
    AccountInfo {
        id: AccountId(wire.id),
        name: wire.name.unwrap_or_default(),
        plan: wire.plan.unwrap_or_default(),
        locked: locked.then(|| reason.unwrap_or_else(|| UNNAMED_LOCK.to_owned())),
    }
}

/// The rows in the form in which a create call takes them. `Err` with words for the user if a row cannot be said: a
/// project id that is none must not come near a field whose absence means every project.
pub(super) fn requested(rows: &GrantRows) -> Result<Vec<RequestedGrant<'_>>, String> {
    if rows.is_empty() {
        return Err("there is no permission to grant".to_owned());
    }
    rows.rows().iter().map(requested_row).collect()
}

fn requested_row(row: &GrantRow) -> Result<RequestedGrant<'_>, String> {
    let permission_set = row.permission_set.as_str();
    let writable_environment_categories = categories(&row.writable);
    match row.scope {
        Scope::All => Ok(RequestedGrant::Everywhere { permission_set, writable_environment_categories }),
        Scope::Project(ProjectId(project_id)) if project_id > 0 => {
            Ok(RequestedGrant::OnProject { permission_set, project_id, writable_environment_categories })
        }
        Scope::Project(id) => Err(format!("{id} cannot be the id of a project")),
    }
}

fn categories(writable: &BTreeSet<WriteCategory>) -> Vec<&str> {
    writable.iter().map(WriteCategory::as_str).collect()
}

/// The rows in the form of the older second call.
pub(super) fn older<'a>(rows: &'a GrantRows, token: TokenId, account: AccountId) -> Result<Vec<OlderPermission<'a>>, String> {
    let permission = |grant: RequestedGrant<'a>| OlderPermission {
        account_id: account.0,
        service_token_id: token.0,
        all_projects: matches!(grant, RequestedGrant::Everywhere { .. }),
        grant,
    };
    Ok(requested(rows)?.into_iter().map(permission).collect())
}

#[cfg(test)]
#[path = "tests/convert.rs"]
mod tests;
