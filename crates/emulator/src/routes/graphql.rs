//! The two GraphQL hosts, as far as the probes and the published clients need them. The bodies of
//! errors are `[ASSUMED]` unless a comment says otherwise.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::graphql_query::{self, Field};
use super::{Caller, Context};
use crate::account::Environment;
use crate::answer::Answer;
use crate::modes::DiscoveryRefusal;
use crate::permission::Area;

/// The message of the Semantic Layer for bad and for insufficient credentials alike `[OBS]`.
const NOT_AUTHORIZED: &str = "User is not authorized";
/// Marks an object whose unknown fields are null instead of an error.
const OPEN: &str = "\u{0}open";

/// 401 on Discovery.
pub(crate) fn discovery_unauthenticated() -> Answer {
    let mut answer = errors("Unauthenticated", None);
    answer.status = 401;
    answer
}

/// The Semantic Layer's refusal: 200 with `errors`.
pub(crate) fn semantic_layer_unauthorized() -> Answer {
    errors(NOT_AUTHORIZED, Some(Value::Null))
}

/// Answers a query to Discovery.
pub(crate) fn discovery(context: &Context<'_>, call: &Call, caller: &Caller) -> Answer {
    let fields = match read(call) {
        Ok(fields) => fields,
        Err(answer) => return answer,
    };
    let mut data = Map::new();
    for field in &fields {
        let value = match field.name.as_str() {
            "__typename" => json!("Query"),
            "environment" => {
                let found = number(&field.arguments, "id").and_then(|id| context.account.environments.get(&id));
                let scope = caller.scope(Area::Discovery);
                let Some(environment) = found.filter(|one| scope.admits(one.project_id)) else {
                    return discovery_refused(context);
                };
                discovery_environment(context, environment)
            }
            other => return unknown_field(other, "Query"),
        };
        match project(&value, field) {
            Ok(shown) => data.insert(field.alias.clone(), shown),
            Err(answer) => return answer,
        };
    }
    Answer::json(200, json!({ "data": data }))
}

fn discovery_refused(context: &Context<'_>) -> Answer {
    let mut answer = errors("Forbidden", Some(json!({ "environment": null })));
    if context.modes.discovery_refusal == DiscoveryRefusal::Forbidden {
        answer.status = 403;
    }
    answer
}

fn discovery_environment(context: &Context<'_>, environment: &Environment) -> Value {
    let project = context.account.projects.get(&environment.project_id);
    let connection = json!({ "edges": [], "totalCount": 0, OPEN: true });
    json!({
        "__typename": "Environment",
        "adapterType": environment.adapter_type,
        "dbtProjectName": project.map(|project| project.name.to_lowercase().replace(' ', "_")),
        "applied": { "models": connection, "sources": connection, "tests": connection, OPEN: true },
        "definition": { "models": connection, "sources": connection, "metrics": connection, OPEN: true },
    })
}

/// Answers a query to the Semantic Layer.
pub(crate) fn semantic_layer(context: &Context<'_>, call: &Call, caller: &Caller) -> Answer {
    let fields = match read(call) {
        Ok(fields) => fields,
        Err(answer) => return answer,
    };
    let mut data = Map::new();
    for field in &fields {
        let found = number(&field.arguments, "environmentId");
        let found = found.and_then(|id| context.account.environments.get(&id));
        let scope = caller.scope(Area::SemanticLayer);
        let value = match (field.name.as_str(), found) {
            ("__typename", _) => json!("Query"),
            // The same refusal for no permission, no environment and nothing deployed `[OBS]`.
            (_, Some(environment)) if scope.admits(environment.project_id) && !environment.metrics.is_empty() => {
                match semantic_layer_field(context, caller, field, environment) {
                    Ok(value) => value,
                    Err(answer) => return answer,
                }
            }
            _ => return semantic_layer_unauthorized(),
        };
        match project(&value, field) {
            Ok(shown) => data.insert(field.alias.clone(), shown),
            Err(answer) => return answer,
        };
    }
    Answer::json(200, json!({ "data": data }))
}

fn semantic_layer_field(
    context: &Context<'_>,
    caller: &Caller,
    field: &Field,
    environment: &Environment,
) -> Result<Value, Answer> {
    let metrics: Vec<Value> = environment.metrics.iter().map(|name| metric(name)).collect();
    Ok(match field.name.as_str() {
        "environmentInfo" => json!({
            "__typename": "EnvironmentInfo",
            "dialect": environment.adapter_type.to_uppercase(),
            OPEN: true,
        }),
        "metrics" => Value::Array(metrics),
        "metricsPaginated" => {
            let size = number(&field.arguments, "pageSize").unwrap_or(100).max(1);
            let page = number(&field.arguments, "pageNum").unwrap_or(1).max(1);
            paginated(metrics, page.unsigned_abs(), size.unsigned_abs())
        }
        "dimensions" | "measures" | "entities" | "savedQueries" => json!([]),
        "createQuery" | "query" if !is_mapped(context, caller, environment) => {
            return Err(errors("No warehouse credentials are configured for this service token", Some(Value::Null)));
        }
        "createQuery" => {
            json!({ "__typename": "CreateQueryResult", "queryId": "emulated-query", OPEN: true })
        }
        "query" => {
            json!({ "__typename": "Query", "status": "SUCCESSFUL", "queryId": "emulated-query", OPEN: true })
        }
        other => return Err(unknown_field(other, "Query")),
    })
}

/// Real queries need a credential linked to the token in the environment's project `[OBS]`; metadata such as the list of
/// metrics does not.
fn is_mapped(context: &Context<'_>, caller: &Caller, environment: &Environment) -> bool {
    context.account.mappings.values().any(|one| one.service_token_id == caller.id && one.project_id == environment.project_id)
}

fn metric(name: &str) -> Value {
    json!({
        "__typename": "Metric",
        "name": name,
        "label": name,
        "description": null,
        "type": "SIMPLE",
        "dimensions": [],
        "measures": [],
        "entities": [],
        "queryableGranularities": ["DAY"],
        "queryableTimeGranularities": ["DAY"],
        "requiresMetricTime": false,
        OPEN: true,
    })
}

fn paginated(items: Vec<Value>, page: u64, size: u64) -> Value {
    let total = items.len() as u64;
    let skipped = usize::try_from((page - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let taken = usize::try_from(size).unwrap_or(usize::MAX);
    let shown: Vec<Value> = items.into_iter().skip(skipped).take(taken).collect();
    json!({
        "items": shown,
        "pageNum": page,
        "pageSize": size,
        "totalItems": total,
        "totalPages": total.div_ceil(size),
    })
}

/// Reads the query out of the request.
fn read(call: &Call) -> Result<Vec<Field>, Answer> {
    let refused = |message: &str| {
        let mut answer = errors(message, None);
        answer.status = 400;
        answer
    };
    if call.method != "POST" {
        let mut answer = errors("Method not allowed", None);
        answer.status = 405;
        return Err(answer);
    }
    let body = call.json().ok_or_else(|| refused("POST body missing or invalid."))?;
    let text = body["query"].as_str().ok_or_else(|| refused("Must provide a query string."))?;
    graphql_query::parse(text, &body["variables"]).map_err(|message| refused(&message))
}

/// An id argument, which clients send as a number or as a string.
fn number(arguments: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = arguments.get(name)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Cuts `value` down to what `field` selects.
fn project(value: &Value, field: &Field) -> Result<Value, Answer> {
    match value {
        Value::Array(items) => items.iter().map(|item| project(item, field)).collect::<Result<Vec<_>, _>>().map(Value::Array),
        Value::Object(known) => {
            let mut shown = Map::new();
            for selected in &field.selections {
                let inner = match known.get(&selected.name) {
                    Some(inner) => project(inner, selected)?,
                    None if known.contains_key(OPEN) => Value::Null,
                    None => return Err(unknown_field(&selected.name, &field.name)),
                };
                shown.insert(selected.alias.clone(), inner);
            }
            Ok(Value::Object(shown))
        }
        leaf => Ok(leaf.clone()),
    }
}

fn unknown_field(name: &str, on: &str) -> Answer {
    let mut answer = errors(&format!("Cannot query field \"{name}\" on type \"{on}\"."), None);
    answer.status = 400;
    answer
}

fn errors(message: &str, data: Option<Value>) -> Answer {
    let mut body = json!({ "errors": [{ "message": message }] });
    if let Some(data) = data {
        body["data"] = data;
    }
    Answer::json(200, body)
}
