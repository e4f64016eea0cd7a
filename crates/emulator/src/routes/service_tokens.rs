//! `/service-tokens/`: the resource that everything here exists for.

use serde_json::{Value, json};

use super::admin::{method_not_allowed, rules, token_id};
use super::call::Call;
use super::{Caller, Context, list};
use crate::account::{Grant, TokenId};
use crate::answer::Answer;
use crate::modes::{DeletedGet, ListPaging};
use crate::permission::{Area, Scope};
use crate::secret::StringFormat;
use crate::tokens::{NewToken, TokenError};
use crate::wire;

/// The text of the second assignment, spelt as the service sends it.
const ASSIGNED: &str = "Service token permissions cannot be updated after assigment. Please create a new service token.";

/// Routes below `/service-tokens`.
pub(crate) fn answer(context: &mut Context<'_>, call: &Call, caller: &Caller, method: &str, rest: &[&str]) -> Answer {
    let area = if method == "GET" { Area::Tokens } else { Area::TokensWrite };
    // Tokens belong to the account: a grant on one project opens nothing here. `[ASSUMED]`.
    if caller.scope(area) != Scope::Everything {
        return Answer::not_found();
    }
    match (method, rest) {
        ("GET", []) => list(context, call),
        ("POST", []) => create(context, call, caller),
        ("GET", [id]) => get(context, token_id(id)),
        ("PUT", [id]) => rename(context, call, token_id(id)),
        ("DELETE", [id]) => delete(context, caller, token_id(id)),
        ("GET", [id, "permissions"]) => permissions(context, call, token_id(id)),
        ("POST", [id, "permissions"]) => assign(context, call, token_id(id)),
        (method, [] | [_] | [_, "permissions"]) => method_not_allowed(method),
        _ => Answer::not_found(),
    }
}

fn list(context: &Context<'_>, call: &Call) -> Answer {
    let modes = context.modes;
    let rules = list::Rules {
        limit_enforced: modes.limit_enforced,
        honours_limit: modes.list_paging != ListPaging::Everything,
        honours_offset: modes.list_paging == ListPaging::Honoured,
        honours_state: modes.list_honours_state,
        shows_deleted: modes.list_includes_deleted,
    };
    let account = &context.account;
    let items = account
        .tokens
        .values()
        .filter(|token| token.format != StringFormat::Personal)
        .map(|token| wire::token(account.id, token))
        .collect();
    list::answer(call, items, rules)
}

fn get(context: &Context<'_>, id: TokenId) -> Answer {
    let hides_deleted = context.modes.deleted_get == DeletedGet::NotFound;
    match context.account.tokens.get(&id) {
        Some(token) if token.format != StringFormat::Personal && (token.active || !hides_deleted) => {
            Answer::object(wire::token(context.account.id, token))
        }
        _ => Answer::not_found(),
    }
}

fn create(context: &mut Context<'_>, call: &Call, caller: &Caller) -> Answer {
    if caller.format == StringFormat::Personal {
        // Documented as a 400; `[ASSUMED]` text.
        let reason = "Service tokens cannot be created with a personal access token.";
        return Answer::refused(json!({ "reason": reason }));
    }
    let new = match parse_new(call, caller) {
        Ok(new) => new,
        Err(error) => return refusal(error),
    };
    match context.account.create_token(new, context.modes) {
        Ok((id, string)) => {
            let created = context.account.tokens.get(&id).expect("create returns the id of a stored token");
            Answer::object(wire::created_token(context.account.id, created, &string))
        }
        Err(error) => refusal(error),
    }
}

/// Reads both create forms; unknown keys, `id: null` and `uid: ""` are ignored.
fn parse_new(call: &Call, caller: &Caller) -> Result<NewToken, TokenError> {
    let body = call.json().ok_or_else(|| invalid("body", "Not valid JSON."))?;
    let name =
        body["name"].as_str().filter(|name| !name.trim().is_empty()).ok_or_else(|| invalid("name", "This field is required."))?;
    let grants = match &body["permission_grants"] {
        Value::Null => Vec::new(),
        Value::Array(rows) => rows.iter().map(parse_grant).collect::<Result<_, _>>()?,
        _ => return Err(invalid("permission_grants", "Expected a list of items.")),
    };
    Ok(NewToken {
        grants,
        metadata_only: body["metadata_only"] == json!(true),
        webhooks_only: body["webhooks_only"] == json!(true),
        created_by: Some(caller.id),
        ..NewToken::named(name)
    })
}

/// One grant of the documented form: an absent project means every project.
fn parse_grant(row: &Value) -> Result<Grant, TokenError> {
    let set = row["permission_set"].as_str().ok_or_else(|| invalid("permission_set", "This field is required."))?;
    let project_id = match &row["project_id"] {
        Value::Null => None,
        value => Some(value.as_i64().ok_or_else(|| invalid("project_id", "A valid integer is required."))?),
    };
    let categories = match &row["writable_environment_categories"] {
        Value::Null => Vec::new(),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| invalid("writable_environment_categories", "Not a valid string."))?,
        _ => {
            return Err(invalid("writable_environment_categories", "Expected a list of items."));
        }
    };
    let mut grant = Grant::new(set);
    grant.project_id = project_id;
    grant.writable_environment_categories = categories;
    Ok(grant)
}

fn rename(context: &mut Context<'_>, call: &Call, id: TokenId) -> Answer {
    let body = call.json().unwrap_or(Value::Null);
    let Some(name) = body["name"].as_str().filter(|name| !name.trim().is_empty()) else {
        return Answer::invalid("name", "This field is required.");
    };
    match context.account.rename(id, name, context.modes) {
        Ok(()) => get(context, id),
        Err(error) => refusal(error),
    }
}

fn delete(context: &mut Context<'_>, caller: &Caller, id: TokenId) -> Answer {
    match context.account.delete_token(id, Some(caller.id), context.modes) {
        Ok(()) => Answer::no_content(),
        Err(error) => refusal(error),
    }
}

fn permissions(context: &Context<'_>, call: &Call, id: TokenId) -> Answer {
    match context.account.tokens.get(&id) {
        Some(token) => {
            let rows = wire::permissions(context.account.id, token);
            list::answer(call, rows, rules(context))
        }
        None => Answer::not_found(),
    }
}

fn assign(context: &mut Context<'_>, call: &Call, id: TokenId) -> Answer {
    let account_id = context.account.id;
    let rows = match call.json() {
        Some(Value::Array(rows)) => rows,
        _ => return Answer::invalid("non_field_errors", "Expected a list of items."),
    };
    let grants = rows.iter().map(|row| parse_row(row, account_id, id)).collect::<Result<Vec<_>, _>>();
    let assigned = grants.and_then(|grants| context.account.assign(id, grants, context.modes));
    match (assigned, context.account.tokens.get(&id)) {
        (Ok(()), Some(token)) => Answer::object(Value::Array(wire::permissions(account_id, token))),
        (Err(error), _) => refusal(error),
        (Ok(()), None) => Answer::not_found(),
    }
}

/// One row of the two-step form. `[ASSUMED]`: a row must name its own account and token, and
/// either a project or all of them.
fn parse_row(row: &Value, account_id: i64, id: TokenId) -> Result<Grant, TokenError> {
    if row["account_id"].as_i64() != Some(account_id) {
        return Err(invalid("account_id", "Does not match the account."));
    }
    if row["service_token_id"].as_i64() != Some(id.0) {
        return Err(invalid("service_token_id", "Does not match the service token."));
    }
    let grant = parse_grant(row)?;
    match (row["all_projects"].as_bool(), grant.project_id) {
        (Some(true), None) | (Some(false), Some(_)) => Ok(grant),
        _ => Err(invalid("all_projects", "Either all projects or one project must be given.")),
    }
}

fn invalid(field: &'static str, reason: &str) -> TokenError {
    TokenError::Invalid { field, reason: reason.to_owned() }
}

fn refusal(error: TokenError) -> Answer {
    match error {
        TokenError::NoToken | TokenError::NoProject => Answer::not_found(),
        TokenError::Invalid { field, reason } => Answer::invalid(field, &reason),
        TokenError::AlreadyAssigned => Answer::error(400, ASSIGNED, Value::Null),
        // `[ASSUMED]`: 400 rather than 403, and the text.
        TokenError::Plan { permission_set } => {
            let reason = format!("The plan of this account does not allow \"{permission_set}\".");
            Answer::refused(json!({ "reason": reason }))
        }
    }
}
