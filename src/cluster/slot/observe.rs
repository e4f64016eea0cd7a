//! What the metadata of a slot says. Pure; the string is never looked at.

use std::collections::BTreeMap;

use dbt_token_planner::adoption::Source;
use dbt_token_planner::identity::{AccountId, Fingerprint, Installation, OwnerUid, Serial, TokenId, TokenUid};
use dbt_token_planner::observation::{Condemnation, CondemnedReason, Owner, Slot, SlotContent};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;

use super::adopted::adopted_slot_name;
use super::{Belonging, ObservedSlot, record_name, reference_of, slot_name};
use crate::cluster::names;

/// A Secret with the label of a slot that is none. It takes part in nothing and is never deleted; somebody must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret {name} carries the label of a slot, but {why}")]
pub struct Malformed {
    /// Name of the Secret.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads the metadata of a Secret with the label [`names::SLOT`].
///
/// # Errors
/// [`Malformed`] if a part is missing, does not make sense, or does not fit its name.
pub fn observe(secret: &PartialObjectMeta<Secret>) -> Result<ObservedSlot, Malformed> {
    read(secret).map_err(|why| Malformed { name: secret.metadata.name.clone().unwrap_or_default(), why })
}

fn read(secret: &PartialObjectMeta<Secret>) -> Result<ObservedSlot, String> {
    let metadata = &secret.metadata;
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let annotations = metadata.annotations.as_ref().unwrap_or(&none);
    let reference = reference_of(metadata).ok_or("it has no uid or version")?;
    let created_at = metadata.creation_timestamp.as_ref().ok_or("it has no creation time")?.0;
    let belonging = Belonging {
        installation: Installation::new(text(labels, names::INSTALLATION)?),
        owner: Owner {
            uid: OwnerUid::new(text(labels, names::OWNER_UID)?),
            namespace: text(annotations, names::OWNER_NAMESPACE)?.to_owned(),
            name: text(annotations, names::OWNER_NAME)?.to_owned(),
        },
        account: text(annotations, names::ACCOUNT)?.to_owned(),
        account_id: AccountId(number(annotations, names::ACCOUNT_ID)?),
    };
    let slot = Slot {
        serial: Serial(number(labels, names::SERIAL)?),
        content: content(annotations)?,
        committed: labels.contains_key(names::COMMITTED),
        retained: labels.contains_key(names::RETAINED),
        condemned: condemned(labels, annotations),
        created_at,
        adopted: adopted(labels, annotations)?,
    };
    let name = match (slot.retained, &slot.adopted, slot.token()) {
        (true, ..) => record_name(&belonging, slot.serial),
        (false, Some(_), Some(token)) => adopted_slot_name(&belonging, token),
        (false, Some(_), None) => return Err("it claims a token and holds none".to_owned()),
        (false, None, _) => slot_name(&belonging, slot.serial),
    };
    if !labels.contains_key(names::SLOT) || reference.name != name {
        return Err(format!("its labels are those of {name}"));
    }
    Ok(ObservedSlot { reference, slot, belonging })
}

/// Where the token was taken over from, if it was.
fn adopted(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Result<Option<Source>, String> {
    if !labels.contains_key(names::ADOPTED) {
        return Ok(None);
    }
    let secret = text(annotations, names::ADOPTED_FROM_SECRET)?.to_owned();
    Ok(Some(Source { secret, key: text(annotations, names::ADOPTED_FROM_KEY)?.to_owned() }))
}

/// Filled exactly if all that is written with the string is there; a part of it is nothing that was ever written.
fn content(annotations: &BTreeMap<String, String>) -> Result<SlotContent, String> {
    let parts = [names::TOKEN_ID, names::TOKEN_UID, names::GRANTED];
    if parts.iter().all(|part| !annotations.contains_key(*part)) {
        return Ok(SlotContent::Empty);
    }
    Ok(SlotContent::Filled {
        token: TokenId(number(annotations, names::TOKEN_ID)?),
        uid: TokenUid::new(present(annotations, names::TOKEN_UID)?),
        granted: Fingerprint::new(present(annotations, names::GRANTED)?),
    })
}

/// A reason that this version does not know must not make the slot usable again, nor hide it.
fn condemned(labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<Condemnation> {
    let word = labels.get(names::CONDEMNED)?;
    let detail = annotations.get(names::CONDEMNED_DETAIL).cloned().unwrap_or_default();
    Some(match CondemnedReason::from_word(word) {
        Some(reason) => Condemnation { reason, detail },
        None => Condemnation { reason: CondemnedReason::Superseded, detail: format!("{word}: {detail}") },
    })
}

fn present<'map>(map: &'map BTreeMap<String, String>, name: &str) -> Result<&'map str, String> {
    map.get(name).map(String::as_str).ok_or_else(|| format!("{name} is missing"))
}

fn text<'map>(map: &'map BTreeMap<String, String>, name: &str) -> Result<&'map str, String> {
    present(map, name).and_then(|text| if text.is_empty() { Err(format!("{name} is empty")) } else { Ok(text) })
}

/// Every number here is an id or a serial, and those begin at 1.
fn number(map: &BTreeMap<String, String>, name: &str) -> Result<i64, String> {
    let number = present(map, name)?.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name} is no number from 1 on"))
}
