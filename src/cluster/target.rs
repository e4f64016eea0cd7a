//! The target: the Secret that users named, a projection of the slot of `current`. Never created with content and never
//! overwritten unseen: it is claimed empty, and every later write names the uid and the version of what was seen.
//!
//! It has no owner reference: foreground deletion of the `ServiceToken` would remove it before the finalizer runs.
//! Writing is a server-side apply, so that other people's keys, labels and annotations stay, and so that the API server
//! itself keeps account of which of ours somebody else has changed. The body names uid *and* resourceVersion, and both are
//! needed. Seen on API server 1.36.3: with a uid, an apply to a name without an object is answered by 409 (`uid mismatch
//! ... no existing object was found`), while with a resourceVersion alone it **creates** the Secret; with an old
//! resourceVersion, an apply to an object is answered by 409, forced or not.

mod error;
mod observe;

use std::collections::BTreeMap;
use std::fmt;

use dbt_token_planner::identity::RenderRule;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

pub use self::error::TargetError;
pub use self::observe::{ObservedTarget, observe};
use super::failure::{Class, Failure};
use super::managed_fields::last_writer;
use super::names;
use super::render::{RenderedSecret, Template, TokenIdentity};

/// The annotations that the operator writes on a target.
const ANNOTATIONS: [&str; 6] =
    [names::SERVICE_TOKEN, names::TOKEN_ID, names::TOKEN_UID, names::PUBLISHED_AT, names::RULE, names::DATA_KEYS];

/// The labels that the operator writes on a target.
const LABELS: [(&str, &str); 2] = [(names::MANAGED, names::TRUE), (names::MANAGED_BY, names::OPERATOR)];

/// One version of one target. A write that names it fails if the target has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: String,
}

impl fmt::Display for TargetReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The target was created, empty.
    Created(TargetReference),
    /// It is there and carries our label and the name of this object: seen too late, or made by a lost answer.
    Ours(TargetReference),
    /// It is there and belongs to another `ServiceToken`.
    OtherOwner {
        /// The name of that one.
        name: String,
    },
    /// It is there and not ours.
    Foreign {
        /// The field manager that wrote it last.
        manager: String,
    },
}

/// What is written to a target.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    /// Name of the `ServiceToken`.
    pub service_token: &'a str,
    /// The token.
    pub token: TokenIdentity<'a>,
    /// Since when the target holds this token.
    pub published_at: Timestamp,
    /// The rule by which it was rendered.
    pub rule: &'a RenderRule,
    /// Labels and annotations of the user.
    pub template: &'a Template,
    /// The data.
    pub data: &'a RenderedSecret,
}

/// The targets in all namespaces.
#[derive(Clone)]
pub struct Targets {
    client: Client,
}

impl Targets {
    /// Writes with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn api(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Creates the target, without a token. It takes the name, and proves quota, admission and rights, before a token
    /// exists.
    ///
    /// # Errors
    /// [`TargetError::Claim`].
    pub async fn claim(
        &self,
        namespace: &str,
        name: &str,
        service_token: &str,
        template: &Template,
    ) -> Result<Claim, TargetError> {
        let failed = |source| TargetError::Claim { namespace: namespace.to_owned(), name: name.to_owned(), source };
        let api = self.api(namespace);
        let parameters = PostParams { field_manager: Some(names::OPERATOR.to_owned()), ..PostParams::default() };
        let claim = claimed(name, service_token, template);
        self.rehearse(&api, &parameters, &claim, template).await.map_err(|error| failed(error.into()))?;
        match api.create(&parameters, &claim).await {
            Ok(made) => reference_of(&made.metadata).map(Claim::Created).ok_or_else(|| failed(Failure::nameless())),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = api.get_metadata(name).await.map_err(|error| failed(error.into()))?;
                whose(&found.metadata, service_token).ok_or_else(|| failed(Failure::nameless()))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Lets the API server judge the user's labels and annotations before a token exists. They are not part of the claim
    /// itself: what a create writes it owns beside the applied template, so that taking a label off that would not take it
    /// off the Secret. A name that is taken says nothing here.
    async fn rehearse(
        &self,
        api: &Api<Secret>,
        parameters: &PostParams,
        claim: &Secret,
        template: &Template,
    ) -> Result<(), kube::Error> {
        if template.labels.is_empty() && template.annotations.is_empty() {
            return Ok(());
        }
        let mut whole = claim.clone();
        whole.metadata.labels.get_or_insert_default().extend(template.labels.clone());
        whole.metadata.annotations.get_or_insert_default().extend(template.annotations.clone());
        match api.create(&PostParams { dry_run: true, ..parameters.clone() }, &whole).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Writes the token to the target that was seen, with our keys, labels and annotations; keys that we wrote before and
    /// that the template has no more are removed. Nothing changes if the target is like that already.
    ///
    /// # Errors
    /// [`TargetError::Project`].
    pub async fn project(&self, target: &TargetReference, projection: Projection<'_>) -> Result<TargetReference, TargetError> {
        let failed = |source| TargetError::Project { target: target.clone(), source };
        let parameters = PatchParams::apply(names::OPERATOR).force();
        let body = Application::new(target, projection);
        // Only metadata is asked for in return, so that no string travels back.
        let written = self.api(&target.namespace).patch_metadata(&target.name, &parameters, &Patch::Apply(body)).await;
        let written =
            written.map_err(|error| failed(Failure::from(error).without(projection.data.entries().map(|(_, bytes)| bytes))))?;
        reference_of(&written.metadata).ok_or_else(|| failed(Failure::nameless()))
    }

    /// Reads the data of the target, if it is still what was seen.
    ///
    /// # Errors
    /// [`TargetError::Read`]; [`Class::Conflict`] if it has changed.
    pub async fn read(&self, target: &TargetReference) -> Result<RenderedSecret, TargetError> {
        let failed = |source| TargetError::Read { target: target.clone(), source };
        let mut secret = self.api(&target.namespace).get(&target.name).await.map_err(|error| failed(error.into()))?;
        let data = secret.data.take().unwrap_or_default();
        let data = RenderedSecret::from_wiped(data.into_iter().map(|(key, bytes)| (key, Zeroizing::new(bytes.0))).collect());
        if reference_of(&secret.metadata).as_ref() != Some(target) {
            return Err(failed(changed()));
        }
        Ok(data)
    }

    /// Takes our labels and annotations off the target that was seen, and leaves everything else.
    ///
    /// # Errors
    /// [`TargetError::Release`]; [`Class::Conflict`] if it has changed.
    pub async fn release(&self, target: &TargetReference) -> Result<(), TargetError> {
        let failed = |source| TargetError::Release { target: target.clone(), source };
        let api = self.api(&target.namespace);
        let found = api.get_metadata(&target.name).await.map_err(|error| failed(error.into()))?;
        if reference_of(&found.metadata).as_ref() != Some(target) {
            return Err(failed(changed()));
        }
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(release(target, found.metadata.labels.as_ref()));
        api.patch_metadata(&target.name, &parameters, &patch).await.map_err(|error| failed(error.into()))?;
        Ok(())
    }

    /// Deletes the target, if it is still what was seen; that it is gone already counts as done.
    ///
    /// # Errors
    /// [`TargetError::Delete`].
    pub async fn delete(&self, target: &TargetReference) -> Result<(), TargetError> {
        let preconditions =
            Preconditions { uid: Some(target.uid.clone()), resource_version: Some(target.resource_version.clone()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api(&target.namespace).delete(&target.name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(TargetError::Delete { target: target.clone(), source: error.into() }),
        }
    }
}

/// What is applied. The data is borrowed, and encoded only while it is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Application<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    data: BTreeMap<&'a str, Base64<'a>>,
}

impl<'a> Application<'a> {
    fn new(target: &TargetReference, projection: Projection<'a>) -> Self {
        let Projection { service_token, token, published_at, rule, template, data } = projection;
        let ours = [
            (names::SERVICE_TOKEN, service_token.to_owned()),
            (names::TOKEN_ID, token.id.to_string()),
            (names::TOKEN_UID, token.uid.to_string()),
            (names::PUBLISHED_AT, published_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            (names::RULE, rule.to_string()),
            (names::DATA_KEYS, data.keys().collect::<Vec<_>>().join(",")),
        ];
        let metadata = json!({
            "namespace": target.namespace,
            "name": target.name,
            "uid": target.uid,
            "resourceVersion": target.resource_version,
            "labels": with(&template.labels, LABELS.map(|(key, value)| (key, value.to_owned()))),
            "annotations": with(&template.annotations, ours),
        });
        Self {
            api_version: "v1",
            kind: "Secret",
            metadata,
            data: data.entries().map(|(key, bytes)| (key, Base64(bytes))).collect(),
        }
    }
}

/// The client asks for it; the data is not shown.
impl fmt::Debug for Application<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Application").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// Bytes as a Secret holds them. The encoded text is freed and not wiped, like the buffers of the client after it.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = ByteString(self.0.to_vec());
        let result = bytes.serialize(serializer);
        bytes.0.zeroize();
        result
    }
}

/// The user's entries with ours over them. The schema refuses those that would meet.
fn with<const COUNT: usize>(users: &BTreeMap<String, String>, ours: [(&str, String); COUNT]) -> BTreeMap<String, String> {
    let mut all = users.clone();
    all.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    all
}

/// A target without a token.
fn claimed(name: &str, service_token: &str, template: &Template) -> Secret {
    let data = placeholders(template);
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(with(&BTreeMap::new(), LABELS.map(|(key, value)| (key, value.to_owned())))),
            annotations: Some(with(&BTreeMap::new(), [(names::SERVICE_TOKEN, service_token.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some(template.kind.clone()),
        data: (!data.is_empty()).then_some(data),
        ..Secret::default()
    }
}

/// The API server takes Secrets of some types only with certain keys in them. Those of them that the template will write
/// are created with the least that it takes; the others are left for it to refuse.
fn placeholders(template: &Template) -> BTreeMap<String, ByteString> {
    let wanted: &[(&str, &str)] = match template.kind.as_str() {
        "kubernetes.io/basic-auth" => &[("username", ""), ("password", "")],
        "kubernetes.io/tls" => &[("tls.crt", ""), ("tls.key", "")],
        "kubernetes.io/ssh-auth" => &[("ssh-privatekey", "-")],
        "kubernetes.io/dockercfg" => &[(".dockercfg", "{}")],
        "kubernetes.io/dockerconfigjson" => &[(".dockerconfigjson", "{}")],
        _ => &[],
    };
    let written = wanted.iter().filter(|(key, _)| template.data.contains_key(*key));
    written.map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

/// Whose a Secret is that took the name before us.
fn whose(metadata: &ObjectMeta, service_token: &str) -> Option<Claim> {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(names::MANAGED));
    let owner = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::SERVICE_TOKEN));
    match owner.filter(|_| label.is_some_and(|value| value == names::TRUE)) {
        Some(owner) if owner == service_token => reference_of(metadata).map(Claim::Ours),
        Some(owner) => Some(Claim::OtherOwner { name: owner.clone() }),
        None => Some(Claim::Foreign { manager: manager(metadata) }),
    }
}

fn manager(metadata: &ObjectMeta) -> String {
    last_writer(metadata.managed_fields.as_deref().unwrap_or_default()).unwrap_or_else(|| "somebody unknown".to_owned())
}

/// Takes away what is ours. The standard label may say another tool by now, and then it is not ours any more.
pub(super) fn release(target: &TargetReference, labels: Option<&BTreeMap<String, String>>) -> Value {
    let mut gone = BTreeMap::from([(names::MANAGED, Value::Null)]);
    if labels.and_then(|labels| labels.get(names::MANAGED_BY)).is_some_and(|value| value == names::OPERATOR) {
        gone.insert(names::MANAGED_BY, Value::Null);
    }
    let ours = ANNOTATIONS.iter().chain(&[names::TAKEN_OVER]);
    let annotations: BTreeMap<&str, Value> = ours.map(|name| (*name, Value::Null)).collect();
    json!({"metadata": {
        "uid": target.uid,
        "resourceVersion": target.resource_version,
        "labels": gone,
        "annotations": annotations,
    }})
}

pub(super) fn reference_of(metadata: &ObjectMeta) -> Option<TargetReference> {
    Some(TargetReference {
        namespace: metadata.namespace.clone()?,
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        resource_version: metadata.resource_version.clone()?,
    })
}

pub(super) fn changed() -> Failure {
    Failure { class: Class::Conflict, detail: "it has changed since it was seen".to_owned() }
}

#[cfg(test)]
mod tests;
