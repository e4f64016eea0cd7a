//! Slots of adopted tokens. Named after the token and not after a serial, so that creating one is the claim on the token:
//! of several objects that hold the same string only one gets it. Never reserved empty: an empty claim is evidence of
//! nothing.

use std::collections::BTreeMap;

use dbt_token_planner::adoption::Source;
use dbt_token_planner::identity::{Fingerprint, Serial, TokenId, TokenUid};
use dbt_token_planner::observation::{Condemnation, Owner};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use zeroize::Zeroize;

use super::{Belonging, DATA_KEY, ObservedSlot, SlotError, Slots, check, creation, digest, empty_slot, observe};
use crate::cluster::failure::Failure;
use crate::cluster::names;
use crate::token::TokenString;

/// What is claimed.
#[derive(Clone, Copy)]
pub struct Claiming<'a> {
    /// For whom.
    pub belonging: &'a Belonging,
    /// The attempt.
    pub serial: Serial,
    /// The token.
    pub token: TokenId,
    /// dbt's short identifier of it.
    pub uid: &'a TokenUid,
    /// What dbt lists that it may do.
    pub granted: &'a Fingerprint,
    /// Where its string came from.
    pub source: &'a Source,
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The slot was created with the string in it.
    Made,
    /// It is there already, made for this object or for another one.
    Held(Owner),
}

impl Slots {
    /// Creates the slot of a token, in one write with its string and with the mark that makes the Secret immutable.
    ///
    /// # Errors
    /// [`SlotError::Reserve`]. After [`Class::Unavailable`](crate::cluster::failure::Class::Unavailable) it may be there.
    pub async fn claim(&self, claiming: Claiming<'_>, string: &TokenString) -> Result<Claim, SlotError> {
        let name = adopted_slot_name(claiming.belonging, claiming.token);
        let failed =
            |source: Failure| SlotError::Reserve { name: name.clone(), source: source.without([string.expose().as_bytes()]) };
        let mut slot = filled_slot(&name, claiming, string);
        let made = self.api.create(&creation(), &slot).await;
        wipe(&mut slot);
        match made {
            // The answer repeats the string.
            Ok(mut made) => {
                wipe(&mut made);
                Ok(Claim::Made)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = self.api.get_metadata(&name).await.map_err(|error| failed(error.into()))?;
                let found = observe(&found).map_err(|_| failed(Failure::nameless()))?;
                Ok(Claim::Held(found.belonging.owner))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Marks the slot of an adopted token that was replaced, for good: it is never adopted again. Nothing is written if it
    /// is marked already.
    ///
    /// # Errors
    /// [`SlotError::Unfit`] if it is no such slot, [`SlotError::Mark`].
    pub async fn condemn_adopted(&self, slot: &ObservedSlot) -> Result<(), SlotError> {
        let fits = slot.slot.adopted.is_some() && slot.slot.committed && !slot.slot.retained;
        check(slot, fits, "is not that of an adopted token")?;
        if slot.slot.condemned.is_some() {
            return Ok(());
        }
        let Condemnation { reason, detail } = Condemnation::replaced();
        let labels = json!({names::CONDEMNED: reason.word()});
        self.mark(slot, json!({"labels": labels, "annotations": {names::CONDEMNED_DETAIL: detail}})).await
    }
}

pub(super) fn filled_slot(name: &str, claiming: Claiming<'_>, string: &TokenString) -> Secret {
    let mut slot = empty_slot(name, claiming.belonging, claiming.serial);
    mark(&mut slot, claiming.source);
    let annotations = slot.metadata.annotations.get_or_insert_default();
    annotations.insert(names::TOKEN_ID.to_owned(), claiming.token.to_string());
    annotations.insert(names::TOKEN_UID.to_owned(), claiming.uid.to_string());
    annotations.insert(names::GRANTED.to_owned(), claiming.granted.to_string());
    slot.data = Some(BTreeMap::from([(DATA_KEY.to_owned(), ByteString(string.expose().as_bytes().to_vec()))]));
    slot.immutable = Some(true);
    slot
}

fn wipe(secret: &mut Secret) {
    secret.data.iter_mut().flat_map(BTreeMap::values_mut).for_each(|bytes| bytes.0.zeroize());
}

/// Says of a slot, or of the record of one, that its token was adopted, and from where.
pub(super) fn mark(secret: &mut Secret, source: &Source) {
    secret.metadata.labels.get_or_insert_default().insert(names::ADOPTED.to_owned(), names::TRUE.to_owned());
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(names::ADOPTED_FROM_SECRET.to_owned(), source.secret.clone());
    annotations.insert(names::ADOPTED_FROM_KEY.to_owned(), source.key.clone());
}

/// One name a token, whoever wants it.
pub(super) fn adopted_slot_name(belonging: &Belonging, token: TokenId) -> String {
    format!("adopted-{}-{token}-{}", belonging.account_id, digest(&belonging.installation))
}
