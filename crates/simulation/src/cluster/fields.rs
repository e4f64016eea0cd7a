//! Who owns which field of a Secret: server-side apply, as far as data, labels and annotations go.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::store::seconds;

/// The maps of a Secret whose entries have owners, each with its path.
const MAPS: [&[&str]; 3] = [&["data"], &["metadata", "labels"], &["metadata", "annotations"]];

/// Applies what a manager wants: its fields are written, and those that it had before and does not want any more are taken
/// out.
pub fn apply(object: &mut Value, wanted: &Value, manager: &str, now: jiff::Timestamp) {
    let had = owned(object, manager);
    for path in MAPS {
        let wanted = at(wanted, path).and_then(Value::as_object).cloned().unwrap_or_default();
        let gone = had.iter().filter(|(place, name)| *place == path && !wanted.contains_key(name));
        let fields = map_at(object, path);
        gone.for_each(|(_, name)| drop(fields.remove(name)));
        fields.extend(wanted.clone());
    }
    let mut owned = json!({});
    for path in MAPS {
        for name in at(wanted, path).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            let place = path.iter().fold(&mut owned, |place, step| &mut place[format!("f:{step}")]);
            place[format!("f:{name}")] = json!({});
        }
    }
    put_entry(object, manager, "Apply", &owned, now);
}

/// Somebody updated the object.
pub fn note_update(object: &mut Value, manager: &str, now: jiff::Timestamp) {
    if object["kind"] == json!("Secret") || object["type"].is_string() {
        put_entry(object, if manager.is_empty() { "somebody" } else { manager }, "Update", &json!({}), now);
    }
}

/// A field whose value somebody else changed belongs no more to those who applied it.
pub fn take_away_what_changed(object: &mut Value, before: &Value) {
    if !object["metadata"]["managedFields"].is_array() {
        return;
    }
    let changed: Vec<(&[&str], String)> = MAPS
        .into_iter()
        .flat_map(|path| {
            let names: BTreeSet<String> =
                [&*object, before].into_iter().filter_map(|it| at(it, path)?.as_object()).flat_map(Map::keys).cloned().collect();
            let value = |it: &Value, name: &str| at(it, path).map(|map| map[name].clone()).unwrap_or_default();
            let differs = |name: &String| value(object, name) != value(before, name);
            names.into_iter().filter(differs).map(move |name| (path, name)).collect::<Vec<_>>()
        })
        .collect();
    for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
        for (path, name) in &changed {
            let mut place = Some(&mut entry["fieldsV1"]);
            for step in *path {
                place = place.and_then(|place| place.get_mut(format!("f:{step}")));
            }
            place.and_then(Value::as_object_mut).map(|fields| fields.remove(&format!("f:{name}")));
        }
    }
}

fn owned(object: &Value, manager: &str) -> Vec<(&'static [&'static str], String)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let entry = entries.into_iter().find(|entry| entry["manager"] == json!(manager) && entry["operation"] == json!("Apply"));
    let Some(entry) = entry else { return Vec::new() };
    let in_map = |path: &'static [&'static str]| {
        let mut steps = path.iter().map(|step| format!("f:{step}"));
        let fields = steps.try_fold(&entry["fieldsV1"], |place, step| place.get(step));
        let names = fields.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        names.filter_map(|name| name.strip_prefix("f:")).map(move |name| (path, name.to_owned())).collect::<Vec<_>>()
    };
    MAPS.into_iter().flat_map(in_map).collect()
}

fn put_entry(object: &mut Value, manager: &str, operation: &str, fields: &Value, now: jiff::Timestamp) {
    let entry = json!({
        "manager": manager, "operation": operation, "apiVersion": "v1",
        "time": seconds(now), "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    let entries = object["metadata"]["managedFields"].as_array_mut();
    let Some(entries) = entries else {
        object["metadata"]["managedFields"] = json!([entry]);
        return;
    };
    entries.retain(|other| other["manager"] != entry["manager"] || other["operation"] != entry["operation"]);
    entries.push(entry);
}

fn at<'object>(object: &'object Value, path: &[&str]) -> Option<&'object Value> {
    path.iter().try_fold(object, |place, step| place.get(step))
}

fn map_at<'object>(object: &'object mut Value, path: &[&str]) -> &'object mut Map<String, Value> {
    let place = path.iter().fold(object, |place, step| &mut place[*step]);
    if !place.is_object() {
        *place = json!({});
    }
    place.as_object_mut().expect("it was made one")
}
