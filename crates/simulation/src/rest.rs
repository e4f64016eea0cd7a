//! Whether everything has come to rest, and the way it should have: what P3 says of the end of a run, and P7.

use dbt_token_planner::mark::Origin;
use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::dbt::Stored;
use crate::judge::{Truth, uid_of};
use crate::plan::Role;
use crate::replica::{INSTALLATION, NAMESPACE};
use crate::scene::{self, PREFIX};
use crate::world::State;

/// What is not at rest yet, or is not as it should be at rest; none if all is well.
pub fn unrest(state: &State) -> Option<String> {
    let objects = state.judge.truths.iter().filter(|truth| truth.subject.applied_at < state.now());
    objects.map(|truth| of_object(state, truth)).find_map(|unrest| unrest).or_else(|| strays(state))
}

fn of_object(state: &State, truth: &Truth) -> Option<String> {
    let name = &truth.subject.name;
    let Some(object) = state.store.get(&truth.key) else {
        return (!truth.deleting).then(|| format!("{name} is gone"));
    };
    if truth.deleting {
        return Some(format!("{name} is not gone yet: {}", told(object)));
    }
    if truth.subject.role == Role::Foreign {
        return (condition(object, "Stalled") != "True").then(|| format!("{name} is not Stalled: {}", told(object)));
    }
    let status = &object["status"];
    let is_seen = status["observedGeneration"] == object["metadata"]["generation"];
    if condition(object, "Ready") != "True" || !is_seen {
        return Some(format!("{name} is not Ready: {}", told(object)));
    }
    if condition(object, "Rotating") != "False" {
        return Some(format!("{name} is being rotated, or will be: {}", told(object)));
    }
    let asked = &object["metadata"]["annotations"][format!("{PREFIX}/rotate-at")];
    if asked.is_string() && *asked != status["lastHandledRotateAt"] {
        return Some(format!("{name} waits for a rotation that was asked for: {}", told(object)));
    }
    let ledger = &status["ledger"];
    if ledger["next"].is_object() || ledger["retiring"].as_array().is_some_and(|retiring| !retiring.is_empty()) {
        return Some(format!("{name} has something under way: {ledger} {}", status["retiringTokens"]));
    }
    let found = scene::token_in(state, &truth.secret);
    let granted = found.and_then(|id| state.dbt.tokens.get(&id)).map(|stored| &stored.token.rows);
    if granted != truth.rows.last() {
        return Some(format!("{name} is Ready, and its Secret holds {found:?}, which may do {granted:?}"));
    }
    let uid = uid_of(state, truth);
    let ours = |stored: &&Stored| {
        let mark = stored.token.mark.as_ref().filter(|mark| mark.installation.as_str() == INSTALLATION);
        stored.token.active && mark.map(|mark| mark.owner.to_string()) == uid
    };
    let serial = |stored: &Stored| stored.token.mark.as_ref().map(|mark| mark.serial);
    let published = found.and_then(|id| state.dbt.tokens.get(&id)).and_then(serial);
    // After somebody set the status back, one that is newer than the published one waits for the next rotation.
    let waits = |stored: &Stored| truth.tampered && serial(stored) > published;
    let others = state.dbt.tokens.values().filter(ours).filter(|it| Some(it.token.id) != found && !waits(it));
    let others: Vec<String> = others.map(|it| it.token.id.to_string()).collect();
    (!others.is_empty()).then(|| format!("{name} has living tokens beside the published one: {}", others.join(", ")))
}

/// Living tokens of ours whose owner is gone, and that nobody let go.
fn strays(state: &State) -> Option<String> {
    let owners: Vec<String> = state.judge.truths.iter().filter_map(|truth| uid_of(state, truth)).collect();
    let marked = state.dbt.tokens.values().filter(|stored| stored.token.active).filter_map(|stored| {
        let mark = stored.token.mark.as_ref().filter(|mark| mark.installation.as_str() == INSTALLATION)?;
        Some((stored.token.id, mark))
    });
    let mut strays = marked.filter(|(id, mark)| {
        let is_released = mark.origin == Origin::Adopted || has_record(state, &id.to_string());
        !owners.contains(&mark.owner.to_string()) && !is_released
    });
    strays.next().map(|(id, mark)| format!("token {id} lives, and its owner {} is gone", mark.owner))
}

fn has_record(state: &State, id: &str) -> bool {
    let mut kept = state.store.of_kind(Kind::Secret).filter(|(key, _)| key.namespace == NAMESPACE);
    kept.any(|(_, secret)| {
        let metadata = &secret["metadata"];
        metadata["labels"][format!("{PREFIX}/retained")].is_string()
            && metadata["annotations"][format!("{PREFIX}/token-id")] == json!(id)
    })
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["conditions"].as_array().into_iter().flatten()
}

fn condition<'object>(object: &'object Value, kind: &str) -> &'object str {
    conditions(object).find(|it| it["type"] == json!(kind)).and_then(|it| it["status"].as_str()).unwrap_or_default()
}

/// The conditions of an object, for people.
pub fn told(object: &Value) -> String {
    let words = |it: &Value| {
        let text = |name: &str| it[name].as_str().unwrap_or_default().to_owned();
        format!("{}={} {}: {}", text("type"), text("status"), text("reason"), text("message"))
    };
    conditions(object).map(words).collect::<Vec<_>>().join(" | ")
}
