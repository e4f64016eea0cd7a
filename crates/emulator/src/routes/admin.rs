//! The Admin API's table of paths, and the small read-only resources. Service tokens and the
//! Semantic Layer have files of their own.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::Call;
use super::{Caller, Context, list, semantic_layer, service_tokens};
use crate::account::{Project, TokenId};
use crate::answer::Answer;
use crate::permission::Area;
use crate::wire;

/// Routes an admitted request on `/api/v2` or `/api/v3`.
pub(crate) fn answer(context: &mut Context<'_>, call: &Call, caller: &Caller) -> Answer {
    let slashed = call.path.ends_with('/');
    let segments: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    let (version, rest) = match segments.as_slice() {
        ["api", version @ ("v2" | "v3"), rest @ ..] => (*version, rest),
        _ => return Answer::not_found(),
    };
    if !slashed && !may_omit_slash(&call.method, rest) {
        return missing_slash(context, call);
    }
    match (version, rest) {
        (_, ["accounts"]) if call.method == "GET" => accounts(context, call),
        (_, ["accounts", account, rest @ ..]) => {
            // Another account's id is answered like any other missing permission.
            if account.parse() == Ok(context.account.id) {
                in_account(context, call, caller, version, rest)
            } else {
                Answer::not_found()
            }
        }
        _ => Answer::not_found(),
    }
}

/// Webhooks are documented without a final slash; dbt's provider reads single Semantic Layer
/// credentials without one.
fn may_omit_slash(method: &str, rest: &[&str]) -> bool {
    matches!(
        (method, rest),
        (_, ["accounts", _, "webhooks", "subscriptions", ..]) | ("GET", ["accounts", _, "semantic-layer-credentials", _])
    )
}

fn missing_slash(context: &Context<'_>, call: &Call) -> Answer {
    if !context.modes.redirects_missing_slash || call.method != "GET" {
        return Answer::not_found();
    }
    let mut answer = Answer::no_content();
    answer.status = 301;
    let query = if call.raw_query.is_empty() { String::new() } else { format!("?{}", call.raw_query) };
    answer.headers.push(("location", format!("{}/{query}", call.path)));
    answer
}

fn in_account(context: &mut Context<'_>, call: &Call, caller: &Caller, version: &str, rest: &[&str]) -> Answer {
    match (version, call.method.as_str(), rest) {
        ("v2", "GET", []) => account(context, caller),
        ("v2", "GET", ["jobs"]) => jobs(context, call, caller),
        ("v2", "GET", ["jobs", id]) => job(context, caller, number(id)),
        ("v2", "GET", ["notifications"]) => empty(context, call, caller.may(Area::Notifications)),
        (_, "GET", ["environments"]) => environments(context, call, caller, None),
        (_, "GET", ["environments", id]) => environment(context, caller, None, number(id)),
        ("v3", "GET", ["projects", project, "environments"]) => environments(context, call, caller, Some(number(project))),
        ("v3", "GET", ["projects", project, "environments", id]) => {
            environment(context, caller, Some(number(project)), number(id))
        }
        (_, "GET", ["projects"]) => projects(context, call, caller),
        (_, "GET", ["projects", id]) => project(context, caller, number(id)),
        ("v3", "POST", ["projects"]) => create_project(context, call, caller),
        ("v3", "POST", ["projects", id]) => update_project(context, call, caller, number(id)),
        ("v3", "DELETE", ["projects", id]) => delete_project(context, caller, number(id)),
        ("v3", "GET", ["webhooks", "subscriptions"]) => empty(context, call, caller.may(Area::Webhooks)),
        ("v3", "GET", ["audit-logs"]) => audit_logs(context, call, caller),
        ("v3", method, ["service-tokens", rest @ ..]) => service_tokens::answer(context, call, caller, method, rest),
        ("v3", method, ["semantic-layer-credentials", rest @ ..]) => {
            semantic_layer::credentials(context, call, caller, method, rest)
        }
        ("v3", method, ["semantic-layer-credential-to-service-token-mapping", rest @ ..]) => {
            semantic_layer::mappings(context, call, caller, method, rest)
        }
        _ => Answer::not_found(),
    }
}

/// A path segment as an id; anything else is an id that nothing has.
pub(crate) fn number(segment: &str) -> i64 {
    segment.parse().unwrap_or(-1)
}

/// 405 for a known path. `[ASSUMED]` wording.
pub(crate) fn method_not_allowed(method: &str) -> Answer {
    Answer::error(405, &format!("Method \"{method}\" not allowed."), Value::Null)
}

/// The documented list rules under the present modes.
pub(crate) fn rules(context: &Context<'_>) -> list::Rules {
    list::Rules::documented(context.modes.limit_enforced)
}

/// `[ASSUMED]`: any authenticated token sees its account in the list, whatever its permissions.
fn accounts(context: &Context<'_>, call: &Call) -> Answer {
    let item = wire::account(context.account, context.modes.account_locked);
    list::answer(call, vec![item], rules(context))
}

fn account(context: &Context<'_>, caller: &Caller) -> Answer {
    if caller.may(Area::Account) {
        Answer::object(wire::account(context.account, context.modes.account_locked))
    } else {
        Answer::not_found()
    }
}

fn jobs(context: &Context<'_>, call: &Call, caller: &Caller) -> Answer {
    let scope = caller.scope(Area::Jobs);
    let asked = call.number("project_id").ok().flatten();
    if !caller.may(Area::Jobs) || asked.is_some_and(|project_id| !scope.admits(project_id)) {
        return Answer::not_found();
    }
    let account = &context.account;
    let seen = account.jobs.values().filter(|job| scope.admits(job.project_id));
    list::answer(call, seen.map(|job| wire::job(account, job)).collect(), rules(context))
}

fn job(context: &Context<'_>, caller: &Caller, id: i64) -> Answer {
    let scope = caller.scope(Area::Jobs);
    match context.account.jobs.get(&id) {
        Some(job) if scope.admits(job.project_id) => Answer::object(wire::job(context.account, job)),
        _ => Answer::not_found(),
    }
}

fn empty(context: &Context<'_>, call: &Call, permitted: bool) -> Answer {
    if permitted { list::answer(call, Vec::new(), rules(context)) } else { Answer::not_found() }
}

fn environments(context: &Context<'_>, call: &Call, caller: &Caller, project: Option<i64>) -> Answer {
    let scope = caller.scope(Area::Environments);
    let hidden = project.is_some_and(|id| !scope.admits(id) || !context.account.has_project(id));
    if !caller.may(Area::Environments) || hidden {
        return Answer::not_found();
    }
    let account = &context.account;
    let seen = account
        .environments
        .values()
        .filter(|one| scope.admits(one.project_id) && account.has_project(one.project_id))
        .filter(|one| project.is_none_or(|id| one.project_id == id));
    list::answer(call, seen.map(|one| wire::environment(account, one)).collect(), rules(context))
}

fn environment(context: &Context<'_>, caller: &Caller, project: Option<i64>, id: i64) -> Answer {
    let scope = caller.scope(Area::Environments);
    let found = context
        .account
        .environments
        .get(&id)
        .filter(|one| scope.admits(one.project_id))
        .filter(|one| project.is_none_or(|project_id| one.project_id == project_id));
    found.map_or_else(Answer::not_found, |one| Answer::object(wire::environment(context.account, one)))
}

fn projects(context: &Context<'_>, call: &Call, caller: &Caller) -> Answer {
    let scope = caller.scope(Area::Projects);
    if !caller.may(Area::Projects) {
        return Answer::not_found();
    }
    let account = &context.account;
    let seen = account.projects.values().filter(|project| scope.admits(project.id));
    list::answer(call, seen.map(|one| wire::project(account.id, one)).collect(), rules(context))
}

fn project(context: &Context<'_>, caller: &Caller, id: i64) -> Answer {
    // `[ASSUMED]`: a deleted project is not found.
    match context.account.projects.get(&id).filter(|project| project.active) {
        Some(project) if caller.scope(Area::Projects).admits(id) => Answer::object(wire::project(context.account.id, project)),
        _ => Answer::not_found(),
    }
}

fn create_project(context: &mut Context<'_>, call: &Call, caller: &Caller) -> Answer {
    if !caller.may(Area::ProjectsWrite) {
        return Answer::not_found();
    }
    let body = call.json().unwrap_or(Value::Null);
    let Some(name) = body["name"].as_str().filter(|name| !name.is_empty()) else {
        return Answer::invalid("name", "This field is required.");
    };
    let now = Timestamp::now();
    let project = Project {
        id: context.account.take_id(),
        name: name.to_owned(),
        description: body["description"].as_str().unwrap_or_default().to_owned(),
        kind: body["type"].as_i64().unwrap_or(0),
        active: true,
        created_at: now,
        updated_at: now,
    };
    let shown = wire::project(context.account.id, &project);
    context.account.projects.insert(project.id, project);
    // `[ASSUMED]` 201: dbt's provider takes any 2xx here.
    let mut answer = Answer::object(shown);
    answer.status = 201;
    answer
}

/// Changes the fields that are given; `state` 2 deletes, which is what dbt's provider sends.
fn update_project(context: &mut Context<'_>, call: &Call, caller: &Caller, id: i64) -> Answer {
    if !caller.scope(Area::ProjectsWrite).admits(id) {
        return Answer::not_found();
    }
    let body = call.json().unwrap_or(Value::Null);
    let account_id = context.account.id;
    let Some(project) = context.account.projects.get_mut(&id).filter(|project| project.active) else {
        return Answer::not_found();
    };
    if let Some(name) = body["name"].as_str() {
        name.clone_into(&mut project.name);
    }
    if let Some(description) = body["description"].as_str() {
        description.clone_into(&mut project.description);
    }
    project.active = body["state"] != json!(2);
    project.updated_at = Timestamp::now();
    Answer::object(wire::project(account_id, project))
}

fn delete_project(context: &mut Context<'_>, caller: &Caller, id: i64) -> Answer {
    let permitted = caller.scope(Area::ProjectsWrite).admits(id);
    match context.account.projects.get_mut(&id).filter(|project| project.active && permitted) {
        Some(project) => {
            project.active = false;
            project.updated_at = Timestamp::now();
            Answer::no_content()
        }
        None => Answer::not_found(),
    }
}

/// Enterprise only; on other plans 404. `[ASSUMED]` status for other plans.
fn audit_logs(context: &Context<'_>, call: &Call, caller: &Caller) -> Answer {
    if !caller.may(Area::AuditLogs) || !context.account.plan.starts_with("enterprise") {
        return Answer::not_found();
    }
    let account = &context.account;
    let mut rules = rules(context);
    rules.shows_deleted = true;
    let lines = account.events.iter().map(|event| wire::audit_event(account.id, event)).collect();
    list::answer(call, lines, rules)
}

/// A path segment as a token id.
pub(crate) fn token_id(segment: &str) -> TokenId {
    TokenId(number(segment))
}
