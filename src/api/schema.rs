//! The vocabulary in which the types of an API version say what their schema must hold beyond what a Rust type tells:
//! list types, bounds, CEL rules, durations.
//!
//! Everything here only writes schemas; nothing here reads an object. Each function gives a transform for
//! `#[schemars(transform = ...)]`. Words of the API (names of permission sets, messages) live beside the types, not here.

use schemars::transform::Transform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The grammar of durations as a regular expression.
///
/// A length of at least two characters is asked for beside it, since the expression alone accepts the empty string.
/// [`crate::api::duration::parse`] accepts the same strings.
pub(crate) const DURATION_PATTERN: &str = "^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$";

/// The form of a time zone's name. Whether there is one of that name is judged by [`crate::api::desired`].
pub(crate) const TIME_ZONE_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$";

const DURATION_MESSAGE: &str = "write whole numbers with the units d, h, m, s in this order, for example 90d, 12h or 1h30m";

/// Seconds of an hour and of a day, for the bounds of durations.
pub(crate) const HOUR: i64 = 3600;
/// See [`HOUR`].
pub(crate) const DAY: i64 = 24 * HOUR;

/// A CEL expression that is true if the string in `variable` is a duration.
pub(crate) fn is_duration(variable: &str) -> String {
    format!("{variable}.matches('{DURATION_PATTERN}')")
}

/// A CEL expression for the seconds of the duration in `variable`, valid only where [`is_duration`] holds.
///
/// CEL's own `duration` knows no days, so they are cut off and multiplied. Building another string for it instead
/// (`split`, `+`) goes over the API server's cost budget by more than a hundred times.
pub(crate) fn seconds(variable: &str) -> String {
    format!(
        "({variable}.contains('d') ? int({variable}.substring(0, {variable}.indexOf('d'))) * 86400 : 0) + \
         ({variable}.endsWith('d') ? 0 : duration({variable}.substring({variable}.indexOf('d') + 1)).getSeconds())"
    )
}

/// One CEL rule; as a transform it is added behind those that the schema has already.
#[derive(Clone)]
pub(crate) struct Rule(Map<String, Value>);

/// A rule with the message that is shown when it is broken.
pub(crate) fn rule(expression: impl Into<String>, message: impl Into<String>) -> Rule {
    let mut rule = Map::new();
    rule.insert("rule".into(), Value::String(expression.into()));
    rule.insert("message".into(), Value::String(message.into()));
    Rule(rule)
}

impl Rule {
    /// A CEL expression that gives the message; the plain message is what remains if it cannot be computed.
    pub(crate) fn message_expression(self, expression: impl Into<String>) -> Self {
        self.with("messageExpression", expression.into())
    }

    /// The field, relative to the schema of the rule, at which the refusal is shown.
    pub(crate) fn field_path(self, path: &str) -> Self {
        self.with("fieldPath", path.to_owned())
    }

    /// Refuses as "forbidden" instead of as "invalid": the value is well-formed, but not now.
    pub(crate) fn forbidden(self) -> Self {
        self.with("reason", "FieldValueForbidden".to_owned())
    }

    fn with(mut self, keyword: &str, value: String) -> Self {
        self.0.insert(keyword.to_owned(), Value::String(value));
        self
    }
}

impl Transform for Rule {
    fn transform(&mut self, schema: &mut Schema) {
        let rules = schema.ensure_object().entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(Value::Object(self.0.clone()));
        }
    }
}

/// Sets one keyword.
pub(crate) fn keyword(name: &'static str, value: impl Into<Value>) -> impl Transform {
    let value = value.into();
    move |schema: &mut Schema| {
        schema.insert(name.to_owned(), value.clone());
    }
}

/// A list that is always written as a whole.
pub(crate) fn atomic_list() -> impl Transform {
    keyword("x-kubernetes-list-type", "atomic")
}

/// A list without repetitions, of which every writer may own some items.
pub(crate) fn set() -> impl Transform {
    keyword("x-kubernetes-list-type", "set")
}

/// A list whose items are told apart by the field `key`.
pub(crate) fn list_by(key: &'static str) -> impl Transform {
    move |schema: &mut Schema| {
        schema.insert("x-kubernetes-list-type".into(), json!("map"));
        schema.insert("x-kubernetes-list-map-keys".into(), json!([key]));
    }
}

/// Applies a transform to the items of a list.
pub(crate) fn items(transform: impl Transform) -> impl Transform {
    below("items", transform)
}

/// Applies a transform to the values of a map.
pub(crate) fn values(transform: impl Transform) -> impl Transform {
    below("additionalProperties", transform)
}

fn below(keyword: &'static str, mut transform: impl Transform) -> impl Transform {
    move |schema: &mut Schema| {
        if let Some(value) = schema.get_mut(keyword)
            && let Ok(inner) = <&mut Schema>::try_from(value)
        {
            transform.transform(inner);
        }
    }
}

/// A duration between two bounds in seconds, of which the lower one may be zero.
///
/// # Arguments
/// `message` says the bounds in words; the generated CRD is the only place where it is read.
pub(crate) fn duration(minimum: i64, maximum: i64, message: &'static str) -> impl Transform {
    let lower = if minimum > 0 { format!("v >= {minimum} && ") } else { String::new() };
    let bounds = format!("{} ? [{}].all(v, {lower}v <= {maximum}) : true", is_duration("self"), seconds("self"));
    move |schema: &mut Schema| {
        schema.insert("minLength".into(), json!(2));
        schema.insert("maxLength".into(), json!(24));
        rule(is_duration("self"), DURATION_MESSAGE).transform(schema);
        rule(bounds.clone(), message).transform(schema);
    }
}

/// The conditions of a status: the standard type, with bounds that the standard type does not have.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "description": "One aspect of the object's state.",
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"description": "The aspect.", "type": "string", "maxLength": 64},
                "status": {
                    "description": "True, False, or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "The generation of the spec that this condition speaks of.",
                    "type": "integer",
                    "format": "int64",
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "Why, in one word of the reference page on conditions.",
                    "type": "string",
                    "maxLength": 64,
                },
                "message": {"description": "Why, in words, and what to do.", "type": "string", "maxLength": 4096},
            },
        },
    })
}

/// The schema of a whole object: its description, the rules that look at the whole, spec and status.
pub(crate) fn object<Spec: JsonSchema, Status: JsonSchema>(
    generator: &mut SchemaGenerator,
    description: &str,
    rules: &[Rule],
) -> Schema {
    let mut spec = generator.subschema_for::<Spec>();
    let mut status = generator.subschema_for::<Status>();
    spec.insert(
        "description".into(),
        json!("What is wanted. The operator never writes here; values that it chose by itself are in status.effective."),
    );
    // kstatus reads a generation that differs from the observed one as "in progress"; without this default an object
    // that the operator has not seen yet would count as done.
    status.insert("default".into(), json!({"observedGeneration": -1}));
    let mut schema = schemars::json_schema!({
        "description": description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    });
    for rule in rules {
        rule.clone().transform(&mut schema);
    }
    tidy(&mut schema);
    schema
}

/// Brings what schemars writes into the form that the API server takes, without making anything nullable.
///
/// kube's own transforms would turn every `Option` into `nullable: true`, and then a manifest with `adopt: null` would
/// be stored as such; without it the API server drops the null. They run after this one and find nothing left to do.
fn tidy(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut tidy, schema);
    let object = schema.ensure_object();
    unwrap_option(object);
    plain_enum(object);
    if let Some(Value::String(description)) = object.get_mut("description") {
        // Doc comments are wrapped where the source is wide enough; only an empty line is meant to be seen.
        *description = description
            .split("\n\n")
            .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
}

/// `T or null` becomes `T`; being optional is said by not being required.
fn unwrap_option(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = object.get("anyOf")
        && let [Value::Object(inner), Value::Object(null)] = choices.as_slice()
        && null.get("type").is_some_and(|name| name == "null")
    {
        let inner = inner.clone();
        object.remove("anyOf");
        for (name, value) in inner {
            // What is said at the field wins over what its type says of itself.
            object.entry(name).or_insert(value);
        }
    }
}

/// An enum whose variants carry doc comments is written by schemars as alternatives; the API server wants one list.
fn plain_enum(object: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = object.get("oneOf") else { return };
    let names: Option<Vec<Value>> = variants.iter().map(|variant| variant.get("const").cloned()).collect();
    if let Some(names) = names {
        object.remove("oneOf");
        object.insert("type".into(), json!("string"));
        object.insert("enum".into(), Value::Array(names));
    }
}
