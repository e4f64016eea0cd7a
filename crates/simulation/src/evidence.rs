//! What Secrets say, and what is true of the tokens that they name: what a judgement rests on.

use dbt_token_operator::controller::OBJECTION;
use dbt_token_planner::identity::TokenId;
use dbt_token_planner::mark::Mark;
use serde_json::{Value, json};

use crate::cluster::{Key, Kind, Store};
use crate::dbt::{Dbt, Maker};
use crate::replica::{INSTALLATION, NAMESPACE};
use crate::scene::PREFIX;
use crate::world::State;

/// Whether an object adopted a token with proof.
pub fn is_held_by_an_adopted_slot(state: &State, id: TokenId) -> bool {
    let mut slots = state.store.of_kind(Kind::Secret).filter(|(key, _)| key.namespace == NAMESPACE);
    slots.any(|(_, slot)| {
        slot["metadata"]["labels"][format!("{PREFIX}/adopted")].is_string()
            && slot["metadata"]["annotations"][format!("{PREFIX}/token-id")] == json!(id.to_string())
    })
}

/// Whether a slot is the last thing that tells of a living token which the operator made.
pub fn loses_a_token(store: &Store, dbt: &Dbt, slot: &Key) -> bool {
    let held = |secret: &Value| {
        let id = secret["metadata"]["annotations"][format!("{PREFIX}/token-id")].as_str()?;
        id.parse().ok().map(TokenId)
    };
    let Some(id) = store.get(slot).and_then(|slot| held(slot)) else { return false };
    let lives = dbt.tokens.get(&id).is_some_and(|it| it.token.active && matches!(it.maker, Maker::Operator { .. }));
    let mut others = store.of_kind(Kind::Secret).filter(|(key, _)| key.namespace == NAMESPACE && *key != slot);
    lives && !others.any(|(_, other)| held(other) == Some(id))
}

/// How many living tokens of an owner have their string in a slot, but for the slot of this serial: two processes that
/// both lead may each make a token of one serial, of which the slot takes one, and that is judged by its name.
pub fn stored_strings_beside(state: &State, mark: &Mark) -> usize {
    let slots = state.store.of_kind(Kind::Secret).filter(|(key, _)| key.namespace == NAMESPACE);
    let owner = json!(mark.owner.to_string());
    let ids = slots.filter(|(_, slot)| slot["metadata"]["labels"][format!("{PREFIX}/owner-uid")] == owner);
    let other = |key: &Key| !key.name.contains(&format!("-{}-", mark.serial));
    let ids = ids.filter(|(key, slot)| other(key) && is_of_this_installation(slot) && slot["data"]["token"].is_string());
    let ids = ids.filter_map(|(_, slot)| slot["metadata"]["annotations"][format!("{PREFIX}/token-id")].as_str()?.parse().ok());
    ids.filter(|id| state.dbt.is_active(TokenId(*id))).count()
}

/// Whether a Secret says that it belongs to this installation.
pub fn is_of_this_installation(slot: &Value) -> bool {
    slot["metadata"]["labels"][format!("{PREFIX}/installation")] == json!(INSTALLATION)
}

/// Whether a Secret says that the operator may write it.
pub fn is_managed(secret: &Value) -> bool {
    secret["metadata"]["labels"][format!("{PREFIX}/managed")] == json!("true")
}

/// Whether something that is written holds the string of a token.
pub fn holds_a_string(value: &Value) -> bool {
    says(value, "dbtc_u")
}

/// Whether something that is written tells that the planner asked for what its own safety check refuses.
pub fn tells_of_an_objection(value: &Value) -> bool {
    says(value, OBJECTION)
}

fn says(value: &Value, part: &str) -> bool {
    match value {
        Value::String(text) => text.contains(part),
        Value::Array(items) => items.iter().any(|item| says(item, part)),
        Value::Object(fields) => fields.values().any(|field| says(field, part)),
        _ => false,
    }
}
