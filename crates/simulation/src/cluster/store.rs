//! The objects, their versions, and what may be done to them: the rules of the API server as far as the operator rests on
//! them. Knows nothing of time-outs, faults or watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::fields;
use super::kind::{Key, Kind};
use super::operation::{Operation, Selector, Verb};

/// A change of one object: what it was, and what it is.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that the change made.
    pub version: u64,
    /// Which object.
    pub key: Key,
    /// Before; none if it is new.
    pub before: Option<Arc<Value>>,
    /// After; none if it is gone.
    pub after: Option<Arc<Value>>,
}

/// An answer: a status and a body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    body: Body,
}

/// What is sent back. Objects are not copied for it: they are written out where the answer is sent.
#[derive(Clone, Debug)]
enum Body {
    Words(Value),
    Object(Shown),
    List { kind: Kind, version: u64, items: Vec<Shown> },
}

/// An object as it is sent, whole or only its metadata.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The object.
    pub object: Arc<Value>,
    /// Whether only metadata is wanted.
    pub metadata_only: bool,
}

impl Shown {
    /// As JSON.
    pub fn write(&self, text: &mut Vec<u8>) {
        if self.metadata_only {
            text.extend_from_slice(br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":"#);
            write(text, &self.object["metadata"]);
            text.push(b'}');
        } else {
            write(text, &self.object);
        }
    }
}

fn write(text: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(text, value).expect("it is JSON, and memory takes everything");
}

impl Answer {
    /// A refusal in the API server's words.
    pub fn refusal(code: u16, reason: &str, message: &str) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": message, "reason": reason, "code": code,
        });
        Self { code, body: Body::Words(body) }
    }

    fn of(object: Arc<Value>, operation: &Operation) -> Self {
        Self { code: 200, body: Body::Object(Shown { object, metadata_only: operation.metadata_only }) }
    }

    /// The body, as JSON.
    pub fn write(&self, text: &mut Vec<u8>) {
        match &self.body {
            Body::Words(body) => write(text, body),
            Body::Object(shown) => shown.write(text),
            Body::List { kind, version, items } => {
                let (api, kind) = kind.names();
                let head = format!(
                    r#"{{"apiVersion":"{api}","kind":"{kind}List","metadata":{{"resourceVersion":"{version}"}},"items":["#
                );
                text.extend_from_slice(head.as_bytes());
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        text.push(b',');
                    }
                    item.write(text);
                }
                text.extend_from_slice(b"]}");
            }
        }
    }
}

/// All objects.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    version: u64,
    made: u64,
    log: Vec<Change>,
    /// Changes up to this version are forgotten.
    pub compacted: u64,
}

impl Store {
    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// An object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// All objects of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.range(Key::new(kind, "", "")..).take_while(move |(key, _)| key.kind == kind)
    }

    /// The changes after a version; none if some of them are forgotten.
    pub fn since(&self, version: u64) -> Option<&[Change]> {
        if version < self.compacted {
            return None;
        }
        let first = self.log.partition_point(|change| change.version <= version);
        Some(&self.log[first..])
    }

    /// Does what a request wants.
    pub fn handle(&mut self, operation: &Operation, now: jiff::Timestamp) -> Answer {
        let key = &operation.key;
        match operation.verb {
            Verb::Get => self.objects.get(key).map_or_else(|| not_found(key), |found| Answer::of(found.clone(), operation)),
            Verb::List | Verb::Watch => self.list(operation),
            Verb::Create => self.create(operation, now),
            Verb::Merge | Verb::Apply => self.patch(operation, now),
            Verb::Delete => self.delete(operation, now),
        }
    }

    fn list(&self, operation: &Operation) -> Answer {
        let Operation { key, selector, metadata_only, .. } = operation;
        let shown = |object: &Arc<Value>| Shown { object: object.clone(), metadata_only: *metadata_only };
        let items = self.selected(key, selector).map(shown).collect();
        Answer { code: 200, body: Body::List { kind: key.kind, version: self.version, items } }
    }

    fn selected<'store>(&'store self, key: &'store Key, selector: &'store Selector) -> impl Iterator<Item = &'store Arc<Value>> {
        let in_place = move |found: &Key| key.namespace.is_empty() || found.namespace == key.namespace;
        let of_kind = self.of_kind(key.kind).filter(move |(found, _)| in_place(found));
        of_kind.map(|(_, object)| object).filter(|object| selector.fits(object))
    }

    fn create(&mut self, operation: &Operation, now: jiff::Timestamp) -> Answer {
        let mut object = operation.body.clone();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = Key { name, ..operation.key.clone() };
        if self.objects.contains_key(&key) {
            return Answer::refusal(409, "AlreadyExists", &format!("{key} already exists"));
        }
        self.made += 1;
        let metadata = &mut object["metadata"];
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.made));
        metadata["creationTimestamp"] = json!(seconds(now));
        if key.kind.has_status() || key.kind == Kind::Deployment {
            metadata["generation"] = json!(1);
        }
        decode_strings(&mut object);
        fields::note_update(&mut object, &operation.manager, now);
        let (version, kind) = key.kind.names();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        if operation.dry_run {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            return Answer::of(Arc::new(object), operation);
        }
        Answer { code: 201, ..Answer::of(self.put(key, object), operation) }
    }

    fn patch(&mut self, operation: &Operation, now: jiff::Timestamp) -> Answer {
        let Operation { key, body, .. } = operation;
        let Some(before) = self.objects.get(key).cloned() else {
            // With a uid in it an apply to a name without an object is a conflict, as was seen on a real server.
            return if operation.verb == Verb::Apply { conflict(key) } else { not_found(key) };
        };
        if !precondition_holds(&body["metadata"], &before) {
            return conflict(key);
        }
        let mut object = (*before).clone();
        if operation.verb == Verb::Apply {
            fields::apply(&mut object, body, &operation.manager, now);
        } else {
            merge_half(&mut object, operation);
            decode_strings(&mut object);
            keep_what_cannot_change(&mut object, &before);
            if object["metadata"]["finalizers"] == json!([]) {
                object["metadata"].as_object_mut().map(|metadata| metadata.remove("finalizers"));
            }
        }
        if before["immutable"] == json!(true) && (object["data"] != before["data"] || object["immutable"] != json!(true)) {
            return Answer::refusal(422, "Invalid", &format!("{key} is immutable"));
        }
        if object == *before {
            return Answer::of(before, operation);
        }
        if operation.verb == Verb::Merge {
            fields::take_away_what_changed(&mut object, &before);
            fields::note_update(&mut object, &operation.manager, now);
        }
        if object["spec"] != before["spec"] {
            object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        let is_released = object["metadata"]["deletionTimestamp"].is_string() && object["metadata"]["finalizers"].is_null();
        if is_released {
            self.remove(key);
            return Answer::of(Arc::new(object), operation);
        }
        Answer::of(self.put(key.clone(), object), operation)
    }

    fn delete(&mut self, operation: &Operation, now: jiff::Timestamp) -> Answer {
        let key = &operation.key;
        let Some(before) = self.objects.get(key).cloned() else { return not_found(key) };
        if !precondition_holds(&operation.body["preconditions"], &before) {
            return conflict(key);
        }
        if before["metadata"]["finalizers"].is_array() {
            if before["metadata"]["deletionTimestamp"].is_null() {
                let mut object = (*before).clone();
                object["metadata"]["deletionTimestamp"] = json!(seconds(now));
                object["metadata"]["generation"] = json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
                self.put(key.clone(), object);
            }
        } else {
            self.remove(key);
        }
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 200});
        Answer { code: 200, body: Body::Words(done) }
    }

    fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        self.log.push(Change { version: self.version, key, before, after: Some(object.clone()) });
        object
    }

    fn remove(&mut self, key: &Key) {
        self.version += 1;
        let before = self.objects.remove(key);
        self.log.push(Change { version: self.version, key: key.clone(), before, after: None });
    }
}

/// A time as the API server writes it.
pub fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn not_found(key: &Key) -> Answer {
    Answer::refusal(404, "NotFound", &format!("{key} not found"))
}

fn conflict(key: &Key) -> Answer {
    Answer::refusal(409, "Conflict", &format!("{key} has been modified"))
}

fn precondition_holds(wanted: &Value, object: &Value) -> bool {
    ["uid", "resourceVersion"].iter().all(|name| wanted[name].is_null() || wanted[name] == object["metadata"][name])
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn keep_what_cannot_change(object: &mut Value, before: &Value) {
    for name in ["uid", "name", "namespace", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp"] {
        match &before["metadata"][name] {
            Value::Null => drop(object["metadata"].as_object_mut().map(|metadata| metadata.remove(name))),
            value => object["metadata"][name] = value.clone(),
        }
    }
}

/// A patch of the status changes nothing else, and any other patch leaves the status alone.
fn merge_half(object: &mut Value, operation: &Operation) {
    let Operation { key, body, status, .. } = operation;
    if !key.kind.has_status() {
        return merge(object, body);
    }
    let Value::Object(fields) = body else { return };
    for (name, value) in fields.iter().filter(|(name, _)| (*name == "status") == *status) {
        merge(&mut object[name], value);
    }
}

/// What is written as text is kept as bytes.
fn decode_strings(object: &mut Value) {
    let Some(Value::Object(strings)) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) else { return };
    for (name, value) in strings {
        object["data"][name] = json!(STANDARD.encode(value.as_str().unwrap_or_default()));
    }
}
