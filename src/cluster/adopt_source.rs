//! The Secret that holds a token to be adopted, and taking over that very Secret. Its value is read only while an effect
//! asks for it, and is never kept. What a tenant writes here is a wish, never evidence.

use std::collections::BTreeMap;

use dbt_token_planner::adoption::Source;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::names;
use super::target::{TargetError, TargetReference, Targets};
use crate::token::TokenString;

/// What a Secret may hold of a text in which a token is looked for: far more than any connection string.
const LARGEST_TEXT: usize = 64 * 1024;

/// What was found.
pub enum SourceReading {
    /// The Secret or its key is not there.
    Missing,
    /// The Secret may not be taken over: it does not name the object.
    Unannounced,
    /// The Secret may not be taken over: something else controls it.
    Controlled {
        /// Kind and name of what controls it.
        controller: String,
    },
    /// The value is no text, or too long.
    NoText,
    /// The value. It may hold more than a token, so it is as secret as one.
    Text {
        /// It.
        text: TokenString,
        /// The version in which it was read.
        secret: TargetReference,
    },
}

/// Whether the Secret is the one that the object shall manage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It is, for the ServiceToken of this name: then its owner has to allow that.
    Same(&'a str),
    /// It is another one, which is only read.
    Other,
}

impl Targets {
    /// Reads the key of a Secret that a token is adopted from.
    ///
    /// # Errors
    /// [`TargetError::Source`].
    pub async fn read_source(&self, namespace: &str, source: &Source, place: Place<'_>) -> Result<SourceReading, TargetError> {
        let api: Api<Secret> = self.api(namespace);
        let found = api.get_opt(&source.secret).await.map_err(|error| TargetError::Source {
            namespace: namespace.to_owned(),
            name: source.secret.clone(),
            source: error.into(),
        })?;
        let Some(mut secret) = found else { return Ok(SourceReading::Missing) };
        // Every value is wiped, not only the one that is wanted.
        let data = secret.data.take().unwrap_or_default();
        let mut data: BTreeMap<String, Zeroizing<Vec<u8>>> =
            data.into_iter().map(|(key, bytes)| (key, Zeroizing::new(bytes.0))).collect();
        let Some(bytes) = data.remove(&source.key) else { return Ok(SourceReading::Missing) };
        if let Some(refusal) = refusal(&secret.metadata, place) {
            return Ok(refusal);
        }
        let Some(version) = super::target::reference_of(&secret.metadata) else { return Ok(SourceReading::Missing) };
        match std::str::from_utf8(&bytes) {
            Ok(text) if bytes.len() <= LARGEST_TEXT => {
                let text = TokenString::from_wiped(Zeroizing::new(text.to_owned()));
                Ok(SourceReading::Text { text, secret: version })
            }
            _ => Ok(SourceReading::NoText),
        }
    }

    /// Puts our label and annotations on a Secret that was there before, in the version that was seen. Its data stays.
    ///
    /// # Errors
    /// [`TargetError::TakeOver`].
    pub async fn take_over(&self, secret: &TargetReference, service_token: &str) -> Result<(), TargetError> {
        let patch = on(
            secret,
            json!({
                "labels": {names::MANAGED: names::TRUE, names::MANAGED_BY: names::OPERATOR},
                "annotations": {names::SERVICE_TOKEN: service_token, names::TAKEN_OVER: names::TRUE},
            }),
            Value::Null,
        );
        self.merge(secret, patch).await.map_err(|source| TargetError::TakeOver { target: secret.clone(), source })
    }

    /// Takes our keys, label and annotations out of a Secret that was there before, in the version that was seen. What
    /// others wrote stays.
    ///
    /// # Errors
    /// [`TargetError::Release`]; [`Class::Conflict`](super::failure::Class::Conflict) if it has changed.
    pub async fn strip(&self, target: &TargetReference) -> Result<(), TargetError> {
        let failed = |source| TargetError::Release { target: target.clone(), source };
        let found = self.api(&target.namespace).get_metadata(&target.name).await.map_err(|error| failed(error.into()))?;
        if super::target::reference_of(&found.metadata).as_ref() != Some(target) {
            return Err(failed(super::target::changed()));
        }
        let mut patch = super::target::release(target, found.metadata.labels.as_ref());
        let keys: BTreeMap<String, Value> = our_keys(&found.metadata).map(|key| (key, Value::Null)).collect();
        if !keys.is_empty() {
            patch["data"] = json!(keys);
        }
        self.merge(target, patch).await.map_err(failed)
    }

    async fn merge(&self, secret: &TargetReference, patch: Value) -> Result<(), super::failure::Failure> {
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        self.api(&secret.namespace).patch_metadata(&secret.name, &parameters, &Patch::Merge(patch)).await?;
        Ok(())
    }
}

fn on(secret: &TargetReference, mut metadata: Value, data: Value) -> Value {
    metadata["uid"] = json!(secret.uid);
    metadata["resourceVersion"] = json!(secret.resource_version);
    match data {
        Value::Null => json!({"metadata": metadata}),
        data => json!({"metadata": metadata, "data": data}),
    }
}

/// The keys that the operator wrote, as it noted them itself.
fn our_keys(metadata: &ObjectMeta) -> impl Iterator<Item = String> {
    let noted = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::DATA_KEYS)).cloned();
    let keys: Vec<String> =
        noted.iter().flat_map(|keys| keys.split(',')).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    keys.into_iter()
}

/// Why the Secret may not be taken over. Only its owner can annotate it, and a controller would write over what we write.
fn refusal(metadata: &ObjectMeta, place: Place<'_>) -> Option<SourceReading> {
    let Place::Same(service_token) = place else { return None };
    let allowed = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::ADOPT_BY));
    if allowed.map(String::as_str) != Some(service_token) {
        return Some(SourceReading::Unannounced);
    }
    let mut owners = metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true))?;
    Some(SourceReading::Controlled { controller: format!("{} {}", controller.kind, controller.name) })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn check(adopt_by: Option<&str>, controller: Option<bool>, place: Place<'_>, expected: &str) {
        let annotations = adopt_by.map(|name| BTreeMap::from([(names::ADOPT_BY.to_owned(), name.to_owned())]));
        let owner = OwnerReference { kind: "SealedSecret".into(), name: "old".into(), controller, ..OwnerReference::default() };
        let owner_references = controller.is_some().then(|| vec![owner]);
        let found = refusal(&ObjectMeta { annotations, owner_references, ..ObjectMeta::default() }, place);
        let word = match found {
            None => "allowed".to_owned(),
            Some(SourceReading::Unannounced) => "unannounced".to_owned(),
            Some(SourceReading::Controlled { controller }) => controller,
            Some(_) => "something else".to_owned(),
        };
        assert_eq!(word, expected, "{adopt_by:?} {controller:?} {place:?}");
    }

    #[test]
    fn a_secret_is_taken_over_only_if_its_owner_says_so_and_nothing_controls_it() {
        check(Some("reporting"), None, Place::Same("reporting"), "allowed");
        check(Some("reporting"), Some(false), Place::Same("reporting"), "allowed");
        check(Some("reporting"), Some(true), Place::Same("reporting"), "SealedSecret old");
        check(Some("other"), None, Place::Same("reporting"), "unannounced");
        check(None, Some(true), Place::Same("reporting"), "unannounced");
        check(None, Some(true), Place::Other, "allowed");
    }

    #[test]
    fn only_what_the_operator_wrote_is_taken_out() {
        let keys = |noted: Option<&str>| {
            let annotations = noted.map(|keys| BTreeMap::from([(names::DATA_KEYS.to_owned(), keys.to_owned())]));
            our_keys(&ObjectMeta { annotations, ..ObjectMeta::default() }).collect::<Vec<_>>()
        };
        assert_eq!(keys(Some("api-token,host")), ["api-token", "host"]);
        assert_eq!(keys(Some("")), Vec::<String>::new());
        assert_eq!(keys(None), Vec::<String>::new());
    }
}
