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

use super::classify::{is_odd, plain, withheld};
use super::credential::{PREFIX, credential_uid, is_sendable};
use super::wire::{
    self, OlderPermission, RequestedGrant, WireAccount, WireCreated, WireCredential, WireEnvironment, WireGrant, WireGrants,
    WireMapping, WireProject, WireToken,
};
use crate::backend::{AccountInfo, Created};
use crate::token::TokenString;

/// dbt's number for what is active; 2 is deleted `[DOC]`.
const ACTIVE: i64 = 1;
/// What stands for a lock without a reason.
const UNNAMED_LOCK: &str = "dbt gives no reason";
/// Bytes of an identifier of dbt's: a permission set, a kind of environments, a uid. Those that were seen have 27 at most.
const LONGEST_IDENTIFIER: usize = 64;
/// Bytes of a uid, with a few to spare: only by chance one begins like the string of a token.
const LONGEST_UID: usize = 12;
/// Bytes of a project's name that anybody could write into a spec, with much to spare.
const LONGEST_PROJECT_NAME: usize = 1024;

/// Why an answer is not believed, in words.
type Disbelief = String;

/// A token as the planner knows it. Refused: another account's, an id below 1, no state, an active token without its
/// grants, an identifier that is none, or a time that cannot be read. Each of these, read leniently, would look like a token that was revoked, that
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
        Some(grants) => rows(grants).ok_or_else(|| format!("token {id} has a grant whose permission set is none"))?,
        None if active => return Err(format!("token {id} comes without its grants")),
        None => GrantRows::default(),
    };
    let uid = wire.uid.unwrap_or_default();
    if !uid.is_empty() && !is_identifier(&uid) {
        return Err(format!("token {id} has a uid that is none"));
    }
    let name = wire.name.unwrap_or_default();
    Ok(Token {
        id: TokenId(id),
        uid: TokenUid::new(uid),
        mark: Mark::parse(&name),
        name: plain(&name),
        active,
        rows,
        created_at: time(wire.created_at, id, "created_at")?,
        last_used: time(wire.last_used, id, "last_used")?,
        shows_links: wire.semantic_layer_credentials.0,
    })
}

/// Whether a text can be one of dbt's identifiers, which end up in conditions and are compared with what users write. Not
/// cleaned instead: cleaned, it might be taken for another one.
fn is_identifier(text: &str) -> bool {
    let may_be_a_string = text.len() > LONGEST_UID && text.contains(PREFIX);
    (1..=LONGEST_IDENTIFIER).contains(&text.len()) && !text.contains(is_odd) && !may_be_a_string
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

/// `None` if a row names a set, or a kind of environments, that can be none.
fn rows(grants: WireGrants) -> Option<GrantRows> {
    let row = |grant: WireGrant| {
        let categories = grant.writable_environment_categories.map_or_else(Vec::new, |categories| categories.0);
        let is_believed = is_identifier(&grant.permission_set) && categories.iter().all(|category| is_identifier(category));
        is_believed.then(|| GrantRow {
            permission_set: PermissionSet::new(grant.permission_set),
            scope: grant.project_id.map_or(Scope::All, |id| Scope::Project(ProjectId(id))),
            writable: categories.into_iter().map(WriteCategory::new).collect(),
        })
    };
    grants.0.into_iter().map(row).collect::<Option<Vec<_>>>().map(GrantRows::new)
}

/// The answer to a create call. Refused: no id or one below 1, no uid, another account's, or a string that is empty, cannot
/// be sent, or has the uid of another token in it. Missing grants count as none: what dbt granted is read back before the token is used.
pub(super) fn created(wire: WireCreated, account: AccountId) -> Result<Created, Disbelief> {
    same_account(wire.account_id, account)?;
    let id = wire.id.filter(|id| *id > 0).ok_or("the answer has no usable id")?;
    let uid = TokenUid::new(wire.uid.filter(|uid| is_identifier(uid)).ok_or("the answer has no usable uid")?);
    let rows = wire.permission_grants.map_or(Some(GrantRows::default()), rows);
    let rows = rows.ok_or("the answer has a grant whose permission set is none")?;
    let string = wire.token_string.filter(|string| is_sendable(&string.0)).ok_or("the answer has no usable token string")?;
    let string = TokenString::from_wiped(string.0);
    if credential_uid(&string).is_some_and(|found| found != uid) {
        return Err("the token string in the answer is that of another token".to_owned());
    }
    Ok(Created { id: TokenId(id), uid, rows, string })
}

/// The active projects, names exactly as dbt has them. One whose name no message can show has none, and can be given by its
/// id alone.
pub(super) fn projects(wire: Vec<WireProject>, account: AccountId) -> Result<Vec<Project>, Disbelief> {
    let mut projects = Vec::new();
    for project in wire {
        same_account(project.account_id, account)?;
        // The list holds active ones alone unless asked otherwise [DOC], so a missing state is no sign of deletion.
        if project.state.is_none_or(|state| state == ACTIVE) {
            let is_clean = |name: &str| !name.contains(char::is_control) && withheld(name) == name;
            let is_shown = |name: &String| name.len() <= LONGEST_PROJECT_NAME && is_clean(name);
            projects.push(Project { id: ProjectId(project.id), name: project.name.filter(is_shown).unwrap_or_default() });
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
        name: plain(&wire.name.unwrap_or_default()),
        plan: plain(&wire.plan.unwrap_or_default()),
        locked: locked.then(|| reason.map_or_else(|| UNNAMED_LOCK.to_owned(), |reason| plain(&reason))),
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
