//! What can fail about a target.

use super::TargetReference;
use crate::cluster::failure::{Class, Failure};

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Creating it empty.
    #[error("secret {namespace}/{name} cannot be claimed")]
    Claim {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Writing the token to it. After [`Class::Unavailable`] it may have been written.
    #[error("secret {target} cannot be written")]
    Project {
        /// The target.
        target: TargetReference,
        /// Why.
        source: Failure,
    },
    /// Reading its data.
    #[error("secret {target} cannot be read")]
    Read {
        /// The target.
        target: TargetReference,
        /// Why.
        source: Failure,
    },
    /// Taking our label and annotations off.
    #[error("secret {target} cannot be released")]
    Release {
        /// The target.
        target: TargetReference,
        /// Why.
        source: Failure,
    },
    /// Reading the Secret that a token is adopted from.
    #[error("secret {namespace}/{name} cannot be looked into")]
    Source {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        source: Failure,
    },
    /// Taking over a Secret that was there before.
    #[error("secret {target} cannot be taken over")]
    TakeOver {
        /// The Secret.
        target: TargetReference,
        /// Why.
        source: Failure,
    },
    /// Deleting it.
    #[error("secret {target} cannot be deleted")]
    Delete {
        /// The target.
        target: TargetReference,
        /// Why.
        source: Failure,
    },
}

impl TargetError {
    /// What it means for the caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Claim { source, .. }
            | Self::Project { source, .. }
            | Self::Read { source, .. }
            | Self::Release { source, .. }
            | Self::Source { source, .. }
            | Self::TakeOver { source, .. }
            | Self::Delete { source, .. } => source.class.clone(),
        }
    }
}
