//! Lists: filters, order and pages, the same for every kind of object.

use serde_json::{Map, Value, json};

use super::call::Call;
use crate::answer::{Answer, status_block};

/// The documented page size and its ceiling on multi-tenant.
const PAGE: i64 = 100;

/// How one list differs from the documented rules.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// More than 100 per page is an error.
    pub(crate) limit_enforced: bool,
    /// `limit` counts.
    pub(crate) honours_limit: bool,
    /// `offset` counts.
    pub(crate) honours_offset: bool,
    /// `state` counts.
    pub(crate) honours_state: bool,
    /// What is shown when no `state` narrows the list.
    pub(crate) shows_deleted: bool,
}

impl Rules {
    /// The documented rules: everything counts, active objects only.
    pub(crate) fn documented(limit_enforced: bool) -> Self {
        Self { limit_enforced, honours_limit: true, honours_offset: true, honours_state: true, shows_deleted: false }
    }
}

/// Answers a list of `items` as the query asks.
pub(crate) fn answer(call: &Call, items: Vec<Value>, rules: Rules) -> Answer {
    match page(call, items, rules) {
        Ok(value) => Answer::json(200, value),
        Err((field, reason)) => Answer::invalid(field, &reason),
    }
}

fn page(call: &Call, mut items: Vec<Value>, rules: Rules) -> Result<Value, (&'static str, String)> {
    let limit = count(call, "limit")?.unwrap_or(PAGE);
    let offset = count(call, "offset")?.unwrap_or(0);
    if rules.limit_enforced && limit > PAGE {
        // `[ASSUMED]` wording; that it is an error is documented.
        return Err(("limit", format!("The limit must not be greater than {PAGE}.")));
    }
    let wanted_state = wanted_state(call, rules)?;
    items.retain(|item| wanted_state.is_none_or(|state| item["state"] == json!(state)));
    retain_matching(call, &mut items);
    let order_by = call.parameter("order_by").unwrap_or("id").to_owned();
    sort(&mut items, &order_by);
    let total_count = items.len();
    let skip = if rules.honours_offset { usize::try_from(offset).unwrap_or(0) } else { 0 };
    let take = if rules.honours_limit { usize::try_from(limit).unwrap_or(0) } else { usize::MAX };
    let data: Vec<Value> = items.into_iter().skip(skip).take(take).collect();
    Ok(json!({
        "status": status_block(200, "Success!"),
        "extra": {
            "filters": filters(call, limit, offset),
            "order_by": order_by,
            "pagination": { "count": data.len(), "total_count": total_count },
        },
        "data": data,
    }))
}

fn count(call: &Call, name: &'static str) -> Result<Option<i64>, (&'static str, String)> {
    let value = call.number(name).map_err(|reason| (name, reason))?;
    match value {
        Some(number) if number < 0 => Err((name, "Must not be negative.".to_owned())),
        other => Ok(other),
    }
}

/// The state to keep, or none to keep all.
fn wanted_state(call: &Call, rules: Rules) -> Result<Option<u8>, (&'static str, String)> {
    let unasked = if rules.shows_deleted { None } else { Some(1) };
    if !rules.honours_state {
        return Ok(unasked);
    }
    match call.parameter("state") {
        None => Ok(unasked),
        Some("1" | "active") => Ok(Some(1)),
        Some("2" | "deleted") => Ok(Some(2)),
        Some("all") => Ok(None),
        Some(other) => Err(("state", format!("\"{other}\" is not a state."))),
    }
}

/// Applies the documented field filters. A filter that an object has no field for removes nothing.
fn retain_matching(call: &Call, items: &mut Vec<Value>) {
    for (name, value) in &call.query {
        let (field, test): (&str, fn(&Value, &str) -> bool) = match name.as_str() {
            "pk" => ("id", is_one_of),
            "pk__in" => ("id", is_one_of),
            "pk__gt" => ("id", is_above),
            "project_id" | "project_id__in" => ("project_id", is_one_of),
            "environment_id" => ("environment_id", is_one_of),
            "type" => ("type", is_one_of),
            "deployment_type" => ("deployment_type", is_one_of),
            "name__icontains" => ("name", contains),
            _ => continue,
        };
        items.retain(|item| item.get(field).is_none_or(|found| test(found, value)));
    }
}

/// One value or a list of them, with or without brackets.
fn is_one_of(found: &Value, wanted: &str) -> bool {
    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    wanted.trim_matches(['[', ']']).split(',').any(|one| one.trim().trim_matches('"') == text)
}

fn is_above(found: &Value, wanted: &str) -> bool {
    wanted.parse::<i64>().is_ok_and(|limit| found.as_i64().is_some_and(|number| number > limit))
}

fn contains(found: &Value, wanted: &str) -> bool {
    found.as_str().is_some_and(|text| text.to_lowercase().contains(&wanted.to_lowercase()))
}

fn sort(items: &mut [Value], order_by: &str) {
    let (field, descending) = order_by.strip_prefix('-').map_or((order_by, false), |field| (field, true));
    items.sort_by(|left, right| {
        let order = match (&left[field], &right[field]) {
            (Value::Number(one), Value::Number(other)) => one.as_i64().cmp(&other.as_i64()),
            (one, other) => one.as_str().cmp(&other.as_str()),
        };
        if descending { order.reverse() } else { order }
    });
}

/// `extra.filters`: what clients page by, and an echo of the rest of the query.
fn filters(call: &Call, limit: i64, offset: i64) -> Value {
    let mut filters = Map::new();
    for (name, value) in &call.query {
        let echoed = value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number));
        filters.insert(name.clone(), echoed);
    }
    filters.insert("limit".to_owned(), json!(limit));
    filters.insert("offset".to_owned(), json!(offset));
    filters.remove("order_by");
    Value::Object(filters)
}
