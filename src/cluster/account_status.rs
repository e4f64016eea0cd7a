//! The status of a `DbtAccount`: written only where it differs, by a compare-and-swap. What it says is decided elsewhere;
//! its conditions can be made by [`super::status::conditions`].

use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::failure::{Class, Failure};
use super::merge_patch::difference;
use super::names;
use crate::api::v1alpha1::{DbtAccount, DbtAccountStatus};

/// The status of a `DbtAccount` cannot be written. After [`Class::Unavailable`] it may have been written.
#[derive(Debug, thiserror::Error)]
#[error("status of DbtAccount {name} cannot be written")]
pub struct AccountStatusError {
    /// Name of the account.
    pub name: String,
    /// Why.
    pub source: Failure,
}

impl AccountStatusError {
    /// What it means for the caller.
    pub fn class(&self) -> Class {
        self.source.class.clone()
    }
}

/// The statuses of all `DbtAccount`s.
#[derive(Clone)]
pub struct AccountStatuses {
    api: Api<DbtAccount>,
}

impl AccountStatuses {
    /// Writes with this client.
    pub fn new(client: Client) -> Self {
        Self { api: Api::all(client) }
    }

    /// Makes the status of the version that was seen say what it shall, and returns the account as it is now; `None` if it
    /// said so already.
    ///
    /// # Errors
    /// [`AccountStatusError`]; [`Class::Conflict`] if the account has changed or is gone.
    pub async fn write(&self, seen: &DbtAccount, wanted: &DbtAccountStatus) -> Result<Option<DbtAccount>, AccountStatusError> {
        let Some(patch) = patch(&seen.metadata, seen.status.as_ref(), wanted) else { return Ok(None) };
        let name = seen.metadata.name.clone().unwrap_or_default();
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let written = self.api.patch_status(&name, &parameters, &Patch::Merge(patch)).await;
        written.map(Some).map_err(|error| AccountStatusError { name, source: error.into() })
    }
}

fn patch(metadata: &ObjectMeta, previous: Option<&DbtAccountStatus>, wanted: &DbtAccountStatus) -> Option<Value> {
    let as_value = |status: &DbtAccountStatus| serde_json::to_value(status).expect("a status holds nothing but JSON");
    let previous = previous.map_or_else(|| json!({}), as_value);
    let status = difference(&previous, &as_value(wanted))?;
    Some(json!({
        "metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version},
        "status": status,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written_to_the_version_that_was_seen() {
        let metadata =
            ObjectMeta { uid: Some("uid".to_owned()), resource_version: Some("41".to_owned()), ..ObjectMeta::default() };
        let status = |installation: Option<&str>| DbtAccountStatus {
            observed_generation: Some(3),
            installation: installation.map(str::to_owned),
            ..DbtAccountStatus::default()
        };
        let written = |status: Value| Some(json!({"metadata": {"uid": "uid", "resourceVersion": "41"}, "status": status}));
        let (named, bare) = (status(Some("prod")), status(None));
        assert_eq!(patch(&metadata, None, &bare), written(json!({"observedGeneration": 3})));
        assert_eq!(patch(&metadata, Some(&bare), &named), written(json!({"installation": "prod"})));
        assert_eq!(patch(&metadata, Some(&named), &bare), written(json!({"installation": null})));
        assert_eq!(patch(&metadata, Some(&named), &named), None);
    }
}
