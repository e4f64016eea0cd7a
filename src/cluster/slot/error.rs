//! What can fail about a slot.

use crate::cluster::failure::{Class, Failure};

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Listing the slots of an owner.
    #[error("the slots of owner {owner} cannot be listed")]
    List {
        /// The uid of the owner.
        owner: String,
        /// Why.
        source: Failure,
    },
    /// Creating an empty slot. [`Class::Conflict`] if it is there already.
    #[error("slot {name} cannot be reserved")]
    Reserve {
        /// The slot.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Writing the string into it. After [`Class::Unavailable`] it may have been written; the same call can be repeated,
    /// since it writes over nothing: [`Class::Conflict`] then means that the slot has to be looked at again.
    #[error("slot {name} cannot be filled")]
    Fill {
        /// The slot.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Marking it for good, as committed or as condemned.
    #[error("slot {name} cannot be marked")]
    Mark {
        /// The slot.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Deleting it.
    #[error("slot {name} cannot be closed")]
    Close {
        /// The slot.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Reading the string.
    #[error("slot {name} cannot be read")]
    Read {
        /// The slot.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Leaving a record of a token that stays.
    #[error("record {name} cannot be left")]
    Record {
        /// The record.
        name: String,
        /// Why.
        source: Failure,
    },
    /// What was seen of the slot forbids the change, whatever the API server would say.
    #[error("slot {name} {why}")]
    Unfit {
        /// The slot.
        name: String,
        /// What is in the way.
        why: &'static str,
    },
}

impl SlotError {
    /// What it means for the caller.
    pub fn class(&self) -> Class {
        match self {
            Self::List { source, .. }
            | Self::Reserve { source, .. }
            | Self::Fill { source, .. }
            | Self::Mark { source, .. }
            | Self::Close { source, .. }
            | Self::Read { source, .. }
            | Self::Record { source, .. } => source.class.clone(),
            Self::Unfit { .. } => Class::Conflict,
        }
    }
}
