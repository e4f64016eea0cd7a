//! What the caches will show of a write of ours. Waiting for it means that the next look is never older than our own hand.

use dbt_token_planner::identity::{OwnerUid, Serial};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::cache::Caches;
use crate::api::v1alpha1::ServiceToken;
use crate::cluster::slot::{self, ObservedSlot};
use crate::cluster::target::TargetReference;

/// Something that is, or was, there in one version, and will not be any more.
pub enum Expect {
    /// The object itself.
    Token {
        /// Which.
        reference: ObjectRef<ServiceToken>,
        /// The version before the write.
        before: Option<String>,
    },
    /// A slot, or a record.
    Slot {
        /// Whose.
        owner: OwnerUid,
        /// Which.
        serial: Serial,
        /// Whether it is a record.
        retained: bool,
        /// The version before the write; `None` if it was not there.
        before: Option<String>,
    },
    /// A target.
    Target {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The version before the write; `None` if it was not there.
        before: Option<String>,
    },
}

impl Expect {
    /// The object in another version, or gone.
    pub fn token(token: &ServiceToken) -> Self {
        Self::Token { reference: ObjectRef::from_obj(token), before: token.resource_version() }
    }

    /// The slot in another version than before, or gone.
    pub fn slot(owner: &OwnerUid, serial: Serial, before: Option<&ObservedSlot>) -> Self {
        let before = before.map(|slot| slot.reference.resource_version.clone());
        Self::Slot { owner: owner.clone(), serial, retained: false, before }
    }

    /// The record of this serial.
    pub fn record(owner: &OwnerUid, serial: Serial) -> Self {
        Self::Slot { owner: owner.clone(), serial, retained: true, before: None }
    }

    /// The target in another version than before, or gone.
    pub fn target(namespace: &str, name: &str, before: Option<&TargetReference>) -> Self {
        let before = before.map(|target| target.resource_version.clone());
        Self::Target { namespace: namespace.to_owned(), name: name.to_owned(), before }
    }

    /// Whether the caches show it.
    pub fn holds(&self, caches: &Caches) -> bool {
        match self {
            Self::Token { reference, before } => {
                caches.tokens.get(reference).and_then(|token| token.resource_version()) != *before
            }
            Self::Slot { owner, serial, retained, before } => {
                let slots = caches.slots_of(owner.as_str());
                let slot = slots
                    .iter()
                    .filter_map(|metadata| slot::observe(metadata).ok())
                    .find(|slot| slot.slot.serial == *serial && slot.slot.retained == *retained);
                slot.map(|slot| slot.reference.resource_version) != *before
            }
            Self::Target { namespace, name, before } => {
                caches.target(namespace, name).and_then(|target| target.resource_version()) != *before
            }
        }
    }
}
