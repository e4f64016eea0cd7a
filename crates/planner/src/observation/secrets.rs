//! What an observation says of the Secrets: the slots in the operator's own namespace, and the target that users named.

use jiff::Timestamp;

use crate::adoption::Source;
use crate::identity::{Fingerprint, RenderRule, Serial, TokenId, TokenUid};

/// A Secret in the operator's own namespace that holds, or will hold, the string of one serial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Whose string it is for.
    pub serial: Serial,
    /// What is in it.
    pub content: SlotContent,
    /// Whether its token was once the ledger's `current`. Never taken back.
    pub committed: bool,
    /// Whether it is only the record of a token that was let go. Never taken back.
    pub retained: bool,
    /// Why its token will never be published, if so. Never taken back.
    pub condemned: Option<Condemnation>,
    /// When it was reserved.
    pub created_at: Timestamp,
    /// Where its token came from, if it was adopted. Such a slot is named after the token, and was created filled.
    pub adopted: Option<Source>,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SlotContent {
    /// Nothing yet.
    Empty,
    /// A token; written once, together with the mark that makes the Secret immutable.
    Filled {
        /// dbt's id.
        token: TokenId,
        /// dbt's short identifier.
        uid: TokenUid,
        /// What dbt said that it granted, in its answer to the create call. For people only: what counts is what dbt lists.
        granted: Fingerprint,
    },
}

impl Slot {
    /// The id of the token that it holds.
    pub fn token(&self) -> Option<TokenId> {
        match &self.content {
            SlotContent::Empty => None,
            SlotContent::Filled { token, .. } => Some(*token),
        }
    }
}

/// Why a new token will never be published. It stands on the slot, so that the reason outlives a crash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condemnation {
    /// The kind of failure.
    pub reason: CondemnedReason,
    /// What dbt answered, for the message; never a secret.
    pub detail: String,
}

/// The ways in which a new token fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CondemnedReason {
    /// dbt granted something else than what was asked for.
    GrantsDiffer,
    /// dbt refused a call with the new token.
    VerificationRefused,
    /// The attempt was given up before it was committed, for example because the declaration changed.
    Superseded,
    /// An adopted token was replaced, and nobody needs it any more.
    Replaced,
}

impl CondemnedReason {
    /// The word on the slot.
    pub fn word(self) -> &'static str {
        match self {
            Self::GrantsDiffer => "GrantsDiffer",
            Self::VerificationRefused => "VerificationRefused",
            Self::Superseded => "Superseded",
            Self::Replaced => "Replaced",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::GrantsDiffer, Self::VerificationRefused, Self::Superseded, Self::Replaced]
            .into_iter()
            .find(|reason| reason.word() == word)
    }
}

/// The Secret that users named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Nothing of that name that we know of. Only Secrets with our label are watched, so that a foreign one shows when
    /// the name is claimed.
    Missing,
    /// A Secret of that name exists and is not ours.
    Foreign {
        /// Who last wrote it, by the name of its field manager.
        manager: String,
    },
    /// Ours, for another object.
    OtherOwner {
        /// The name of that object.
        name: String,
    },
    /// Ours.
    Ours(TargetState),
}

/// What the target holds, as far as its metadata tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetState {
    /// The token that we wrote last; `None` for a Secret that is claimed and still empty.
    pub token: Option<TokenId>,
    /// The rule by which we wrote it.
    pub rule: Option<RenderRule>,
    /// Whether nobody else has written our keys since.
    pub intact: bool,
    /// Whether it was there before us, so that it is never deleted.
    pub taken_over: bool,
}
