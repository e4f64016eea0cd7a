//! The finalizer: the only thing that the operator writes to the metadata of its own kinds. It keeps an object until its
//! tokens are revoked, or were let go.

use std::fmt;

use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failure::{Class, Failure};
use super::names;

/// The finalizer of an object cannot be changed.
#[derive(Debug, thiserror::Error)]
#[error("finalizer of {name} cannot be {attempt}")]
pub struct FinalizerError {
    /// Name of the object.
    pub name: String,
    /// `added` or `removed`.
    pub attempt: &'static str,
    /// Why.
    pub source: Failure,
}

impl FinalizerError {
    /// What it means for the caller.
    pub fn class(&self) -> Class {
        self.source.class.clone()
    }
}

/// Adds the finalizer to the version of the object that was seen; nothing is written if it is there.
///
/// # Errors
/// [`FinalizerError`]; [`Class::Conflict`] if the object has changed or is gone.
pub async fn add<K>(api: &Api<K>, seen: &ObjectMeta) -> Result<(), FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
{
    let failed = |source| FinalizerError { name: seen.name.clone().unwrap_or_default(), attempt: "added", source };
    match added(seen) {
        Some(patch) => write(api, seen, patch).await.map_err(|error| failed(error.into())),
        None => Ok(()),
    }
}

/// Takes the finalizer off the version of the object that was seen; nothing is written if it is not there. That the
/// object is gone already counts as done.
///
/// # Errors
/// [`FinalizerError`]; [`Class::Conflict`] if the object has changed.
pub async fn remove<K>(api: &Api<K>, seen: &ObjectMeta) -> Result<(), FinalizerError>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
{
    let failed = |source| FinalizerError { name: seen.name.clone().unwrap_or_default(), attempt: "removed", source };
    let Some(patch) = removed(seen) else { return Ok(()) };
    match write(api, seen, patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        written => written.map_err(|error| failed(error.into())),
    }
}

/// A merge patch that replaces the whole list. Since it names the version in which the list was seen, no finalizer of
/// others can get lost; and unlike a failed test of a JSON patch (422), an old version (409) can be told from a refusal.
async fn write<K>(api: &Api<K>, seen: &ObjectMeta, patch: Value) -> Result<(), kube::Error>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
{
    let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
    api.patch_metadata(seen.name.as_deref().unwrap_or_default(), &parameters, &Patch::Merge(patch)).await?;
    Ok(())
}

fn added(seen: &ObjectMeta) -> Option<Value> {
    let mut finalizers = seen.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|finalizer| finalizer == names::FINALIZER) {
        return None;
    }
    finalizers.push(names::FINALIZER.to_owned());
    Some(patch(seen, &finalizers))
}

fn removed(seen: &ObjectMeta) -> Option<Value> {
    let mut finalizers = seen.finalizers.clone().unwrap_or_default();
    let before = finalizers.len();
    finalizers.retain(|finalizer| finalizer != names::FINALIZER);
    (finalizers.len() != before).then(|| patch(seen, &finalizers))
}

fn patch(seen: &ObjectMeta, finalizers: &[String]) -> Value {
    json!({"metadata": {"uid": seen.uid, "resourceVersion": seen.resource_version, "finalizers": finalizers}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(finalizers: &[&str]) -> ObjectMeta {
        ObjectMeta {
            uid: Some("uid".to_owned()),
            resource_version: Some("41".to_owned()),
            finalizers: Some(finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn finalizers_of_others_stay() {
        let written =
            |finalizers: &[&str]| Some(json!({"metadata": {"uid": "uid", "resourceVersion": "41", "finalizers": finalizers}}));
        assert_eq!(added(&seen(&["a/b"])), written(&["a/b", names::FINALIZER]));
        assert_eq!(added(&ObjectMeta { finalizers: None, ..seen(&[]) }), written(&[names::FINALIZER]));
        assert_eq!(added(&seen(&[names::FINALIZER])), None);
        assert_eq!(removed(&seen(&["a/b", names::FINALIZER, "c/d"])), written(&["a/b", "c/d"]));
        assert_eq!(removed(&seen(&[names::FINALIZER])), written(&[]));
        assert_eq!(removed(&seen(&["a/b"])), None);
    }
}
