//! The control API: the library's switches over HTTP, for another process such as a demonstration or
//! a chaos run. It listens on a loopback port of its own and never shows a token string but once, in
//! the answer to the creation of a fixture.

use serde::Serialize;
use serde_json::{Value, json};

use crate::account::TokenId;
use crate::answer::{Answer, Content};
use crate::core::Shared;
use crate::fault::Rule;
use crate::fault_plan::FaultHandle;
use crate::routes::call::Call;
use crate::seed::{SeedToken, add_seed_token};
use crate::view;

/// Answers a call to the control API.
pub(crate) fn answer(shared: &Shared, call: &Call) -> Answer {
    let segments: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    let result = match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["control", "health"]) => Ok(json!({ "ok": true })),
        ("GET", ["control", "ca.pem"]) => return pem(shared),
        ("GET", ["control", "log"]) => log(shared, call),
        ("GET", ["control", "counters"]) => Ok(as_json(&shared.lock().log.counters())),
        ("GET", ["control", "tokens"]) => Ok(as_json(&view::tokens(&shared.lock()))),
        ("POST", ["control", "tokens"]) => add_token(shared, call),
        ("DELETE", ["control", "tokens", id]) => number(id).and_then(|id| delete_token(shared, TokenId(id))),
        ("GET", ["control", "modes"]) => Ok(as_json(&shared.lock().modes)),
        ("PATCH", ["control", "modes"]) => patch_modes(shared, call),
        ("PATCH", ["control", "account"]) => patch_account(shared, call),
        ("GET", ["control", "faults"]) => Ok(as_json(&shared.lock().faults.states())),
        ("POST", ["control", "faults"]) => add_faults(shared, call),
        ("DELETE", ["control", "faults"]) => {
            shared.lock().faults.clear();
            Ok(json!({ "cleared": true }))
        }
        ("DELETE", ["control", "faults", id]) => handle(id).and_then(|handle| known(shared.lock().faults.remove(handle))),
        ("POST", ["control", "faults", id, "release"]) => {
            handle(id).and_then(|handle| known(shared.lock().faults.release(handle)))
        }
        _ => Err((404, "no such control path".to_owned())),
    };
    shared.notify();
    match result {
        Ok(value) => Answer::json(200, value),
        Err((status, message)) => Answer::json(status, json!({ "error": message })),
    }
}

type Outcome = Result<Value, (u16, String)>;

fn as_json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn pem(shared: &Shared) -> Answer {
    let mut answer = Answer::json(200, Value::Null);
    answer.content = Content::Html(shared.ca_pem.clone());
    answer
}

fn number(text: &str) -> Result<i64, (u16, String)> {
    text.parse().map_err(|_| (400, format!("\"{text}\" is not an id")))
}

fn handle(text: &str) -> Result<FaultHandle, (u16, String)> {
    text.parse().map(FaultHandle).map_err(|_| (400, format!("\"{text}\" is not a fault")))
}

fn known(found: bool) -> Outcome {
    if found { Ok(json!({ "done": true })) } else { Err((404, "no such thing".to_owned())) }
}

fn log(shared: &Shared, call: &Call) -> Outcome {
    let since = call.number("since").map_err(|message| (400, message))?.unwrap_or(0);
    let without = call.parameter("without_method");
    let core = shared.lock();
    let entries = core.log.since(u64::try_from(since).unwrap_or(0)).iter();
    Ok(as_json(&entries.filter(|entry| Some(entry.method.as_str()) != without).collect::<Vec<_>>()))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, (u16, String)> {
    serde_json::from_value(value).map_err(|error| (400, error.to_string()))
}

fn body(call: &Call) -> Result<Value, (u16, String)> {
    call.json().ok_or((400, "the body is not JSON".to_owned()))
}

fn add_token(shared: &Shared, call: &Call) -> Outcome {
    let seed: SeedToken = read(body(call)?)?;
    let mut core = shared.lock();
    let string = add_seed_token(&mut core.account, seed);
    core.write_issued();
    let id = core.account.strings.get(&string).copied();
    Ok(json!({ "id": id, "token_string": string }))
}

fn delete_token(shared: &Shared, id: TokenId) -> Outcome {
    let mut core = shared.lock();
    let modes = core.modes.clone();
    known(core.account.delete_token(id, None, &modes).is_ok())
}

/// Changes the given modes and leaves the others.
fn patch_modes(shared: &Shared, call: &Call) -> Outcome {
    let changes = body(call)?;
    let mut core = shared.lock();
    let mut merged = as_json(&core.modes);
    let fields = changes.as_object().ok_or((400, "expected an object".to_owned()))?;
    for (name, value) in fields {
        merged[name] = value.clone();
    }
    core.modes = read(merged)?;
    Ok(as_json(&core.modes))
}

/// Changes the plan or the name of the account.
fn patch_account(shared: &Shared, call: &Call) -> Outcome {
    let changes = body(call)?;
    let mut core = shared.lock();
    if let Some(plan) = changes["plan"].as_str() {
        plan.clone_into(&mut core.account.plan);
    }
    if let Some(name) = changes["name"].as_str() {
        name.clone_into(&mut core.account.name);
    }
    Ok(json!({ "id": core.account.id, "name": core.account.name, "plan": core.account.plan }))
}

/// Adds one rule or an array of them; nothing is added if one of them is wrong.
fn add_faults(shared: &Shared, call: &Call) -> Outcome {
    let rules: Vec<Rule> = match body(call)? {
        Value::Array(rules) => rules.into_iter().map(read).collect::<Result<_, _>>()?,
        rule => vec![read(rule)?],
    };
    let mut core = shared.lock();
    let core = &mut *core;
    let handles: Vec<FaultHandle> = rules.into_iter().map(|rule| core.faults.add(rule, &core.account)).collect();
    Ok(json!({ "handles": handles }))
}
