//! Slots: Secrets in the operator's own namespace, one a serial, each the intent to make a token and then the only place
//! where its string is kept. Where no tenant can write, so that nobody can forge one and have somebody else's token
//! revoked. A slot is filled once and never emptied; deleting it closes its serial for good.

mod adopted;
mod error;
mod observe;

use std::collections::BTreeMap;
use std::fmt;

use dbt_token_planner::adoption::Source;
use dbt_token_planner::identity::{AccountId, Fingerprint, Installation, OwnerUid, Serial, TokenId, TokenUid};
use dbt_token_planner::observation::{Condemnation, Owner, Slot, SlotContent};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub use self::adopted::{Claim, Claiming};
pub use self::error::SlotError;
pub use self::observe::{Malformed, observe};
use super::digest::digits;
use super::failure::{Class, Failure};
use super::names;
use super::text::cut_to_characters;
use crate::token::TokenString;

/// The key under which the string stands.
const DATA_KEY: &str = "token";

/// Digits of an installation's digest in the names of its slots.
const DIGEST_DIGITS: usize = 8;

/// How much of dbt's answer a condemned slot remembers: what fits a condition's message with the rest of it.
const LONGEST_DETAIL: usize = 2048;

/// One version of one slot. A write that names it fails if the slot has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotReference {
    /// Name of the Secret.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: String,
}

/// Whom a slot belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belonging {
    /// Which installation of the operator made it.
    pub installation: Installation,
    /// The `ServiceToken`. Only its uid counts; namespace and name are for people.
    pub owner: Owner,
    /// Name of the `DbtAccount`.
    pub account: String,
    /// dbt's id of the account.
    pub account_id: AccountId,
}

/// A slot as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSlot {
    /// For writes.
    pub reference: SlotReference,
    /// For the planner.
    pub slot: Slot,
    /// Whose it is.
    pub belonging: Belonging,
}

/// A token that was just made, without its string.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'token> {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: &'token TokenUid,
    /// What dbt said that it granted.
    pub granted: &'token Fingerprint,
}

/// The slots in the operator's own namespace.
#[derive(Clone)]
pub struct Slots {
    api: Api<Secret>,
}

impl Slots {
    /// The slots in `namespace`, the operator's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }

    /// All slots and records of an owner that make sense, by a live read of their metadata.
    ///
    /// # Errors
    /// [`SlotError::List`].
    pub async fn list(&self, owner: &OwnerUid) -> Result<Vec<ObservedSlot>, SlotError> {
        let selector = format!("{}={},{}={owner}", names::SLOT, names::TRUE, names::OWNER_UID);
        let found = self.api.list_metadata(&ListParams::default().labels(&selector)).await;
        let found = found.map_err(|error| SlotError::List { owner: owner.to_string(), source: error.into() })?;
        Ok(found.items.iter().filter_map(|metadata| observe(metadata).ok()).collect())
    }

    /// Creates the slot of a serial, empty.
    ///
    /// # Errors
    /// [`SlotError::Reserve`].
    pub async fn reserve(&self, belonging: &Belonging, serial: Serial) -> Result<SlotReference, SlotError> {
        let name = slot_name(belonging, serial);
        let failed = |source| SlotError::Reserve { name: name.clone(), source };
        let made =
            self.api.create(&creation(), &empty_slot(&name, belonging, serial)).await.map_err(|error| failed(error.into()))?;
        reference_of(&made.metadata).ok_or_else(|| failed(Failure::nameless()))
    }

    /// Puts the string of a new token into an empty slot, in one write with everything that is known of the token and
    /// with the mark that makes the Secret immutable.
    ///
    /// # Errors
    /// [`SlotError::Unfit`] if the slot is not empty, [`SlotError::Fill`].
    pub async fn fill(&self, slot: &ObservedSlot, token: NewToken<'_>, string: &TokenString) -> Result<(), SlotError> {
        let name = &slot.reference.name;
        check(slot, slot.slot.content == SlotContent::Empty && is_unmarked(&slot.slot), "is not empty and unmarked")?;
        let annotations = json!({
            names::TOKEN_ID: token.id.to_string(),
            names::TOKEN_UID: token.uid.as_str(),
            names::GRANTED: token.granted.as_str(),
        });
        let metadata = on(&slot.reference, json!({"annotations": annotations}));
        let filling = Filling { metadata, string_data: Data { token: string.expose() }, immutable: true };
        self.patch(name, filling)
            .await
            .map_err(|source| SlotError::Fill { name: name.clone(), source: source.without([string.expose().as_bytes()]) })
    }

    /// Labels the slot of `current` as committed, for good. Nothing is written if it is labelled already.
    ///
    /// # Errors
    /// [`SlotError::Unfit`] if the slot is empty or condemned, [`SlotError::Mark`].
    pub async fn label_committed(&self, slot: &ObservedSlot) -> Result<(), SlotError> {
        check(slot, slot.slot.token().is_some() && !slot.slot.retained, "holds no token")?;
        check(slot, slot.slot.condemned.is_none(), "is condemned and can never be committed")?;
        if slot.slot.committed {
            return Ok(());
        }
        self.mark(slot, json!({"labels": {names::COMMITTED: names::TRUE}})).await
    }

    /// Marks the slot, for good, as one whose token is never published. Nothing is written if it is marked already.
    ///
    /// # Errors
    /// [`SlotError::Unfit`] if the slot is committed, [`SlotError::Mark`].
    pub async fn condemn(&self, slot: &ObservedSlot, why: &Condemnation) -> Result<(), SlotError> {
        check(slot, !slot.slot.committed && !slot.slot.retained, "is committed and can never be condemned")?;
        if slot.slot.condemned.is_some() {
            return Ok(());
        }
        let detail = cut_to_characters(&why.detail, LONGEST_DETAIL);
        self.mark(
            slot,
            json!({"labels": {names::CONDEMNED: why.reason.word()}, "annotations": {names::CONDEMNED_DETAIL: detail}}),
        )
        .await
    }

    /// Deletes the slot, if it is still what was seen; that it is gone already counts as done, since a uid never returns.
    ///
    /// # Errors
    /// [`SlotError::Close`].
    pub async fn close(&self, reference: &SlotReference) -> Result<(), SlotError> {
        let preconditions =
            Preconditions { uid: Some(reference.uid.clone()), resource_version: Some(reference.resource_version.clone()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api.delete(&reference.name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(SlotError::Close { name: reference.name.clone(), source: error.into() }),
        }
    }

    /// Reads the string of the token that the slot was seen to hold.
    ///
    /// # Errors
    /// [`SlotError::Unfit`] if the slot was seen empty, or now holds something else; [`SlotError::Read`].
    pub async fn read(&self, slot: &ObservedSlot) -> Result<TokenString, SlotError> {
        let name = &slot.reference.name;
        let token = slot.slot.token().filter(|_| !slot.slot.retained);
        let Some(token) = token else { return Err(unfit(slot, "holds no token")) };
        let failed = |source: Failure| SlotError::Read { name: name.clone(), source };
        let mut secret = self.api.get(name).await.map_err(|error| failed(error.into()))?;
        let data = secret.data.take().unwrap_or_default();
        let mut data: BTreeMap<String, Zeroizing<Vec<u8>>> =
            data.into_iter().map(|(key, bytes)| (key, Zeroizing::new(bytes.0))).collect();
        let annotations = secret.metadata.annotations.unwrap_or_default();
        check(slot, secret.metadata.uid.as_deref() == Some(&slot.reference.uid), "was replaced by another one")?;
        check(slot, annotations.get(names::TOKEN_ID) == Some(&token.to_string()), "holds another token now")?;
        let bytes = data.remove(DATA_KEY).ok_or_else(|| unfit(slot, "has lost its string"))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unfit(slot, "holds something that is no text"))?;
        Ok(TokenString::from_wiped(Zeroizing::new(text.to_owned())))
    }

    /// Leaves a record, without a string, of a token that stays when its object goes, so that the inventory does not take
    /// it for a stray. That it is there already counts as done.
    ///
    /// # Errors
    /// [`SlotError::Record`]; its class is [`Class::Conflict`] if the record speaks of another token.
    pub async fn leave_record(
        &self,
        belonging: &Belonging,
        serial: Serial,
        token: TokenId,
        uid: Option<&TokenUid>,
        adopted: Option<&Source>,
    ) -> Result<(), SlotError> {
        let name = record_name(belonging, serial);
        let failed = |source| SlotError::Record { name: name.clone(), source };
        let mut record = record(&name, belonging, serial, token, uid);
        if let Some(source) = adopted {
            adopted::mark(&mut record, source);
        }
        match self.api.create(&creation(), &record).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = self.api.get_metadata(&name).await.map_err(|error| failed(error.into()))?;
                let held = found.metadata.annotations.unwrap_or_default().remove(names::TOKEN_ID);
                if held == Some(token.to_string()) {
                    return Ok(());
                }
                Err(failed(Failure { class: Class::Conflict, detail: "it speaks of another token".to_owned() }))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    async fn mark(&self, slot: &ObservedSlot, metadata: Value) -> Result<(), SlotError> {
        let name = &slot.reference.name;
        let body = json!({"metadata": on(&slot.reference, metadata)});
        self.patch(name, body).await.map_err(|source| SlotError::Mark { name: name.clone(), source })
    }

    /// A merge patch: unlike a test of a JSON patch, a version that does not fit is answered by 409, which can be told
    /// from a refusal. Only metadata is asked for in return, so that no string travels back.
    async fn patch<P: Serialize + fmt::Debug>(&self, name: &str, body: P) -> Result<(), Failure> {
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        self.api.patch_metadata(name, &parameters, &Patch::Merge(body)).await?;
        Ok(())
    }
}

/// The body that fills a slot. It borrows the string, so that no further copy of it is made here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filling<'string> {
    metadata: Value,
    string_data: Data<'string>,
    immutable: bool,
}

#[derive(Serialize)]
struct Data<'string> {
    token: &'string str,
}

/// The client asks for it; the string is not shown.
impl fmt::Debug for Filling<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Filling").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

fn creation() -> PostParams {
    PostParams { field_manager: Some(names::OPERATOR.to_owned()), ..PostParams::default() }
}

/// The metadata of a patch that counts only for the version that was seen.
fn on(reference: &SlotReference, mut metadata: Value) -> Value {
    metadata["uid"] = json!(reference.uid);
    metadata["resourceVersion"] = json!(reference.resource_version);
    metadata
}

fn check(slot: &ObservedSlot, fits: bool, why: &'static str) -> Result<(), SlotError> {
    if fits { Ok(()) } else { Err(unfit(slot, why)) }
}

fn unfit(slot: &ObservedSlot, why: &'static str) -> SlotError {
    SlotError::Unfit { name: slot.reference.name.clone(), why }
}

fn is_unmarked(slot: &Slot) -> bool {
    !slot.committed && !slot.retained && slot.condemned.is_none()
}

fn reference_of(metadata: &ObjectMeta) -> Option<SlotReference> {
    Some(SlotReference {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        resource_version: metadata.resource_version.clone()?,
    })
}

/// One name a serial, so that creating it is what reserves it.
pub(super) fn slot_name(belonging: &Belonging, serial: Serial) -> String {
    format!("slot-{}-{serial}-{}", belonging.owner.uid, digest(&belonging.installation))
}

fn record_name(belonging: &Belonging, serial: Serial) -> String {
    format!("record-{}-{serial}-{}", belonging.owner.uid, digest(&belonging.installation))
}

/// Two installations may open the same serial of the same object, in a cluster and its copy. The label says which one it
/// is; in the name a few digits keep them apart, since an installation need not be a DNS name.
fn digest(installation: &Installation) -> String {
    digits(installation.as_str().as_bytes(), DIGEST_DIGITS)
}

fn empty_slot(name: &str, belonging: &Belonging, serial: Serial) -> Secret {
    let labels = [
        (names::MANAGED_BY, names::OPERATOR.to_owned()),
        (names::SLOT, names::TRUE.to_owned()),
        (names::OWNER_UID, belonging.owner.uid.to_string()),
        (names::SERIAL, serial.to_string()),
        (names::INSTALLATION, belonging.installation.to_string()),
    ];
    let annotations = [
        (names::OWNER_NAMESPACE, belonging.owner.namespace.clone()),
        (names::OWNER_NAME, belonging.owner.name.clone()),
        (names::ACCOUNT, belonging.account.clone()),
        (names::ACCOUNT_ID, belonging.account_id.to_string()),
    ];
    let map = |pairs: &[(&str, String)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(map(&labels)),
            annotations: Some(map(&annotations)),
            ..ObjectMeta::default()
        },
        type_: Some(names::SLOT_TYPE.to_owned()),
        ..Secret::default()
    }
}

fn record(name: &str, belonging: &Belonging, serial: Serial, token: TokenId, uid: Option<&TokenUid>) -> Secret {
    let mut record = empty_slot(name, belonging, serial);
    record.immutable = Some(true);
    record.metadata.labels.get_or_insert_default().insert(names::RETAINED.to_owned(), names::TRUE.to_owned());
    let annotations = record.metadata.annotations.get_or_insert_default();
    annotations.insert(names::TOKEN_ID.to_owned(), token.to_string());
    annotations.insert(names::TOKEN_UID.to_owned(), uid.map(ToString::to_string).unwrap_or_default());
    annotations.insert(names::GRANTED.to_owned(), String::new());
    record
}

#[cfg(test)]
mod tests;
