//! Token and template in, data of a Secret out. Pure: reads and writes nothing, and its errors never contain a value.
//!
//! What it cannot promise: the template engine keeps values and half-rendered text in buffers of its own, which are
//! freed and not wiped. What comes out of it is wiped when dropped.

use std::collections::BTreeMap;

use dbt_token_planner::identity::{AccountId, RenderRule, TokenId, TokenUid};
use minijinja::ErrorKind;
use minijinja::value::Value;
use serde::Serialize;
use zeroize::Zeroizing;

use super::digest::digits;
use crate::api::desired::secret_templates;
use crate::api::template::{self, LARGEST_VALUE_BYTES};
use crate::api::v1alpha1::ServiceToken;
use crate::token::TokenString;

/// The type of a Secret if the template names none.
pub const DEFAULT_TYPE: &str = "Opaque";

/// What all keys may hold together: the API server takes 1 MiB, and labels and annotations need room beside the data.
const LARGEST_SECRET_BYTES: usize = 900 * 1024;

/// Raised when the same template comes to be rendered otherwise, so that every target is written anew.
const RULE_VERSION: u32 = 1;

/// How many hexadecimal digits of the digest make a rule. Nobody gains by two templates of the same rule.
const RULE_DIGITS: usize = 32;

/// What a target shall look like, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Type of the Secret.
    pub kind: String,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the user.
    pub annotations: BTreeMap<String, String>,
    /// Key to template.
    pub data: BTreeMap<String, String>,
}

impl Template {
    /// The template that a `ServiceToken` declares.
    pub fn of(token: &ServiceToken) -> Self {
        let declared = token.spec.secret.template.clone().unwrap_or_default();
        let metadata = declared.metadata.unwrap_or_default();
        let data = secret_templates(token).into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
        Self {
            kind: declared.type_.unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            data,
        }
    }
}

/// What a template may use beside the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variables {
    /// dbt's id of the account.
    #[serde(serialize_with = "number")]
    pub account_id: AccountId,
    /// Scheme and host of the account.
    pub access_url: String,
    /// The Discovery API, if it is known.
    pub discovery_url: Option<String>,
    /// The Semantic Layer, if it is known.
    pub semantic_layer_url: Option<String>,
}

fn number<S: serde::Serializer>(id: &AccountId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(id.0)
}

/// A token, without its string.
#[derive(Clone, Copy, Debug)]
pub struct TokenIdentity<'token> {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: &'token TokenUid,
}

/// The data of a Secret. Deliberately without `Debug`, `Clone` and `Serialize`; wiped when dropped.
pub struct RenderedSecret(BTreeMap<String, Zeroizing<Vec<u8>>>);

impl RenderedSecret {
    /// Takes over bytes that are wiped already.
    pub(super) fn from_wiped(data: BTreeMap<String, Zeroizing<Vec<u8>>>) -> Self {
        Self(data)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Keys and bytes, for those who write them.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice()))
    }

    /// Whether the other has every key of this one with the same bytes. Further keys of the other do not matter: they
    /// are not ours.
    pub fn stands_in(&self, other: &Self) -> bool {
        self.0.iter().all(|(key, bytes)| other.0.get(key).is_some_and(|found| found == bytes))
    }
}

/// A key that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key} of the Secret cannot be rendered: {why}")]
pub struct RenderError {
    /// The key.
    pub key: String,
    /// Why, without a value.
    pub why: String,
}

/// Renders every key.
///
/// # Errors
/// If a template is not one of the API's (it may have been stored under an older schema), uses a variable that has no
/// value for this account, applies a filter to a value that it does not fit, or becomes too large.
pub fn render(
    template: &Template,
    variables: &Variables,
    token: TokenIdentity<'_>,
    string: &TokenString,
) -> Result<RenderedSecret, RenderError> {
    let environment = template::environment();
    let values = values(variables, token, string);
    let mut rendered = BTreeMap::new();
    let mut size = 0;
    for (key, text) in &template.data {
        let failed = |why: String| RenderError { key: key.clone(), why };
        template::check(text).map_err(|unusable| failed(format!("{}; {}", unusable.why, unusable.remedy)))?;
        let value = template::render(&environment, text, &values).map_err(|error| failed(explain(text, variables, &error)))?;
        size += key.len() + value.len();
        if size > LARGEST_SECRET_BYTES {
            return Err(failed(format!("with it the Secret becomes larger than {LARGEST_SECRET_BYTES} bytes")));
        }
        rendered.insert(key.clone(), value);
    }
    Ok(RenderedSecret(rendered))
}

/// What has no value is left out, so that its use is an error and not an empty text.
fn values(variables: &Variables, token: TokenIdentity<'_>, string: &TokenString) -> Value {
    let optional = [("discoveryUrl", &variables.discovery_url), ("semanticLayerUrl", &variables.semantic_layer_url)];
    let required = [
        ("token", Value::from(string.expose())),
        ("accountId", Value::from(variables.account_id.0)),
        ("accessUrl", Value::from(variables.access_url.as_str())),
        ("tokenId", Value::from(token.id.0)),
        ("tokenUid", Value::from(token.uid.as_str())),
    ];
    let known = optional.into_iter().filter_map(|(name, value)| Some((name, Value::from(value.as_deref()?))));
    Value::from(required.into_iter().chain(known).collect::<BTreeMap<&str, Value>>())
}

/// The engine does not say which variable has no value.
fn explain(text: &str, variables: &Variables, error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::WriteFailure {
        return format!("it becomes larger than {LARGEST_VALUE_BYTES} bytes");
    }
    let unknown = [("discoveryUrl", &variables.discovery_url), ("semanticLayerUrl", &variables.semantic_layer_url)];
    match unknown.iter().find(|(name, value)| value.is_none() && text.contains(name)) {
        Some((name, _)) => format!("{name} is not known for this account; set the endpoint on the DbtAccount"),
        // The detail is left out: it is the only part of an error that could ever come to contain a value.
        None => error.kind().to_string(),
    }
}

/// Everything that decides what a target looks like, apart from the token. Fields are written in this order and maps are
/// sorted, so that the same look always gives the same bytes.
#[derive(Serialize)]
struct Look<'template> {
    version: u32,
    kind: &'template str,
    labels: &'template BTreeMap<String, String>,
    annotations: &'template BTreeMap<String, String>,
    data: &'template BTreeMap<String, String>,
    variables: &'template Variables,
}

/// The digest by which a target is compared with what it shall look like, without reading it.
pub fn rule(template: &Template, variables: &Variables) -> RenderRule {
    let look = Look {
        version: RULE_VERSION,
        kind: &template.kind,
        labels: &template.labels,
        annotations: &template.annotations,
        data: &template.data,
        variables,
    };
    let bytes = serde_json::to_vec(&look).expect("texts and numbers can always be written as JSON");
    RenderRule::new(digits(&bytes, RULE_DIGITS))
}

#[cfg(test)]
mod tests;
