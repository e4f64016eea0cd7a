//! What users read: conditions, reasons, events and the other fields of the status. Made from an observation and the
//! step that was planned; decides nothing.

mod adopting;
mod compose;
pub(crate) mod planned;
mod ready;
mod words;

pub(crate) use compose::rejected;
pub use compose::report;
pub(crate) use ready::was_in_order;
pub use words::event;

use jiff::Timestamp;

use crate::grant::GrantRows;
use crate::identity::{TokenId, TokenUid};
use crate::ledger::Cause;

/// Types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The spec is applied, and the Secret holds a token that was used live.
    Ready,
    /// The published token works, whatever happens to a new one.
    TokenUsable,
    /// A swap goes on in the background.
    Rotating,
    /// A new generation is being applied. Only while true.
    Reconciling,
    /// A person must act. Only while true.
    Stalled,
}

impl ConditionType {
    /// The word in the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::TokenUsable => "TokenUsable",
            Self::Rotating => "Rotating",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ready, Self::TokenUsable, Self::Rotating, Self::Reconciling, Self::Stalled]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known.
    Unknown,
}

impl ConditionStatus {
    /// The word in the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }

    /// Reads the word back; anything else is `Unknown`.
    pub fn from_word(word: &str) -> Self {
        match word {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

/// One condition, without its transition time: that is the shell's, since it depends on what was written before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// Its type.
    pub kind: ConditionType,
    /// Its status.
    pub status: ConditionStatus,
    /// A reason of the closed list.
    pub reason: String,
    /// What is so, for the person who reads it, with the remedy.
    pub message: String,
}

/// The published token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Published {
    /// dbt's id.
    pub token: TokenId,
    /// When the target was first seen with it.
    pub at: Timestamp,
}

/// A retiring token, as the status remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetiringRecord {
    /// dbt's id.
    pub token: TokenId,
    /// When the target was first seen without it.
    pub replaced_at: Timestamp,
}

/// A finished replacement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replacement {
    /// Why.
    pub cause: Cause,
    /// The new token.
    pub token: TokenId,
    /// The one that it replaced.
    pub previous: Option<TokenId>,
    /// When the target was first seen with the new one.
    pub published_at: Option<Timestamp>,
    /// When the old one was seen to be inactive.
    pub retired_at: Option<Timestamp>,
}

/// The published token as the status shows it. A field that is `None` could not be read: the status keeps what it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenReport {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: Option<TokenUid>,
    /// Its name in dbt.
    pub name: Option<String>,
    /// When dbt made it.
    pub created_at: Option<Timestamp>,
    /// When the target got it.
    pub published_at: Timestamp,
    /// Created on or before 18 July 2023.
    pub legacy: Option<bool>,
    /// Whether somebody else made it.
    pub adopted: bool,
    /// What dbt reports that it may do.
    pub rows: Option<GrantRows>,
}

/// A retiring token as the status shows it. A field that is `None` could not be read: the status keeps what it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetiringReport {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: Option<TokenUid>,
    /// When dbt made it.
    pub created_at: Option<Timestamp>,
    /// When the target stopped holding it.
    pub replaced_at: Option<Timestamp>,
    /// When waiting for consumers ends, if it does.
    pub deadline_at: Option<Timestamp>,
    /// The rules that do not hold yet.
    pub waiting_for: Vec<Waiting>,
    /// Whether it is kept although its deadline has passed.
    pub blocked: bool,
}

/// A rule of retirement that does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiting {
    /// `Verification`, `Secret`, `Overlap`, `Pods`, `Restart`, `AdoptSource` or `LastUsed`.
    pub rule: &'static str,
    /// What is waited for.
    pub message: String,
}

/// The next step as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextStep {
    /// One of the actions of the API.
    pub action: &'static str,
    /// Why a token is replaced, if it is.
    pub cause: Option<Cause>,
    /// Not before this time.
    pub at: Option<Timestamp>,
    /// In words.
    pub message: String,
}

/// A step of a dry run as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlannedStep {
    /// One of the actions of the API.
    pub action: &'static str,
    /// Not before this time; `None` if it comes at once, so long after the one before it, or nobody knows when.
    pub at: Option<Timestamp>,
    /// In words.
    pub message: String,
}

/// Everything that the status shall say. The shell writes it only if it differs from what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The generation that it speaks of.
    pub observed_generation: i64,
    /// Always Ready, TokenUsable and Rotating; Reconciling and Stalled only while true, never both.
    pub conditions: Vec<Condition>,
    /// The published token.
    pub token: Option<TokenReport>,
    /// The tokens that wait for their end.
    pub retiring: Vec<RetiringReport>,
    /// What comes next; `None` at rest.
    pub next_step: Option<NextStep>,
    /// Under `dryRun`, what would be done, in order; at most 20.
    pub plan: Vec<PlannedStep>,
    /// The last replacements, newest first.
    pub history: Vec<Replacement>,
    /// When the target last got another token.
    pub last_rotation: Option<Timestamp>,
    /// When the next rotation that is known today begins.
    pub next_rotation: Option<Timestamp>,
    /// Events to emit now, because something began.
    pub events: Vec<Event>,
}

/// An event: what happened, in words, with token ids and never a string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// Whether it is a warning.
    pub warning: bool,
    /// A reason of the closed list.
    pub reason: String,
    /// What happened.
    pub message: String,
}

#[cfg(test)]
mod tests;
