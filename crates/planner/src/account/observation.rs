//! Everything that a plan for one `DbtAccount` may rest on. What could not be read is a value here, not an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::census::TokenCounts;
use crate::desired::Refusal;
use crate::identity::{AccountId, Installation, OwnerUid, Serial, TokenId, TokenUid};
use crate::ledger::Ledger;
use crate::observation::{Slot, Token};
use crate::report::Condition;

/// One look at one `DbtAccount` and all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountObservation {
    /// Its name.
    pub name: String,
    /// The generation of the spec.
    pub generation: i64,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// Whether it carries the operator's finalizer.
    pub finalizer: bool,
    /// This installation of the operator.
    pub installation: Installation,
    /// The value of the annotation `confirm`.
    pub confirm: Option<String>,
    /// What is declared.
    pub settings: Result<AccountSettings, AccountRefusal>,
    /// An older `DbtAccount` for the same host and account.
    pub senior: Option<String>,
    /// The ServiceTokens that name this account, as `namespace/name`, in order.
    pub users: Vec<String>,
    /// What the status says.
    pub record: AccountRecord,
    /// The account's own credential, as far as Kubernetes knows it.
    pub credential: Credential,
    /// What dbt says about the account.
    pub info: Answer<AccountInfo>,
    /// What dbt lists.
    pub tokens: Answer<Arc<TokenList>>,
    /// Since when the lists of this process have not been believed, if the last one was not.
    pub unbelieved_since: Option<Timestamp>,
    /// The account's projects, if some grant or some ServiceToken names one.
    pub projects: ProjectReading,
    /// dbt's words when it refused to let this credential create a token, since the credential was read.
    pub create_refused: Option<String>,
    /// Readings of dbt that began before this say nothing about what this process did since.
    pub fresh_after: Timestamp,
    /// What the ServiceTokens of this account say.
    pub owners: Vec<OwnerClaim>,
    /// The uids of all ServiceTokens that the watch shows, whatever their account.
    pub living: BTreeSet<OwnerUid>,
    /// What live reads say about owners that the watch does not show. One that is missing here was not read.
    pub lives: BTreeMap<OwnerUid, OwnerLife>,
    /// The slots and records of this account and this installation.
    pub slots: Vec<AccountSlot>,
    /// The Secrets that carry our label, as `namespace/name`, by the token that their annotation names.
    pub held: BTreeMap<TokenId, String>,
    /// Single reads of tokens that the list did not show: those that dbt says are not there, with the time of the read.
    pub gone: BTreeMap<TokenId, Timestamp>,
}

/// A `DbtAccount` as declared, with the code's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountSettings {
    /// dbt's id of the account.
    pub account: AccountId,
    /// The host of the access URL, for messages.
    pub host: String,
    /// Whether everything but deletion is stopped.
    pub suspended: bool,
    /// How many tokens may be made in an hour, at least 1.
    pub mints_per_hour: u32,
    /// How many ServiceTokens may use the account; `None` is no limit.
    pub maximum_tokens: Option<u32>,
    /// How often the token list is read.
    pub interval: Duration,
    /// From which age a token counts as aged.
    pub aged_after: Duration,
    /// After which time without use a token counts as unused.
    pub unused_after: Duration,
    /// At which age a token of ours without an owner is revoked.
    pub revoke_strays_after: Duration,
}

/// Why a declaration cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccountRefusal {
    /// A value that makes no sense, or a field that this version cannot serve.
    Spec(Refusal),
    /// An http address, and the operator was not started with `--allow-insecure-endpoints`.
    InsecureEndpoint {
        /// Path of the field.
        field: String,
    },
}

/// What the status says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccountRecord {
    /// Which installation bound the account.
    pub installation: Option<Installation>,
    /// The conditions as they were written last, with their transition times.
    pub conditions: Vec<(Condition, Timestamp)>,
    /// The counts as they were written last, with the time of their last change.
    pub tokens: Option<(TokenCounts, Timestamp)>,
}

/// The account's own credential, as far as Kubernetes knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    /// Not read yet.
    Unread,
    /// The Secrets are there and the connection can be tried.
    Present(OwnCredential),
    /// The Secret, or its key, is missing.
    Missing(MissingSecret),
    /// The Secret with the private CA is missing, or holds no certificate.
    BundleInvalid(MissingSecret),
    /// The API server did not answer.
    ClusterUnavailable {
        /// Why, in words.
        detail: String,
        /// Since when.
        since: Timestamp,
        /// When the next try is due.
        retry_at: Timestamp,
    },
}

/// A Secret that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MissingSecret {
    /// Its namespace: the operator's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The key.
    pub key: String,
    /// Since when it has been missing.
    pub since: Timestamp,
}

/// How the account's own credential is found in dbt's list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnCredential {
    /// A string of today's form: the uid stands at its start.
    Uid(TokenUid),
    /// Any other form: the ids of the tokens of the list whose uid occurs in the string. Empty before there is a list, and
    /// for a personal token, which is in no list of service tokens.
    Candidates(BTreeSet<TokenId>),
}

/// Something that was asked of dbt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer<T> {
    /// Not asked yet.
    Unread,
    /// Answered; the request began at `taken_at`.
    Known {
        /// The answer.
        value: T,
        /// When the request began.
        taken_at: Timestamp,
    },
    /// The last try failed.
    Failed(Failure),
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            _ => None,
        }
    }

    /// When the request for the answer began.
    pub fn taken_at(&self) -> Option<Timestamp> {
        match self {
            Self::Known { taken_at, .. } => Some(*taken_at),
            _ => None,
        }
    }

    /// The failure of the last try.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What it means.
    pub class: FailureClass,
    /// What happened, in words, without secrets.
    pub detail: String,
    /// Since when it has been failing.
    pub since: Timestamp,
    /// When the next try is due.
    pub retry_at: Timestamp,
}

/// What a failed call means for the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// 401: the credential is wrong or revoked, or the host is not this account's.
    CredentialRefused,
    /// The account is locked or unpaid.
    AccountLocked,
    /// The address is refused.
    IpRefused,
    /// Not permitted, or not there: dbt answers both alike.
    Denied,
    /// DNS, TLS, time-out, 429, 5xx, or an answer that makes no sense: a retry mends it.
    Unavailable,
}

/// What dbt says about the account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountInfo {
    /// Its id, if dbt said one.
    pub account: Option<AccountId>,
    /// Its name.
    pub name: String,
    /// Its plan, as dbt spells it.
    pub plan: String,
    /// Why it is locked, if it is.
    pub locked: Option<String>,
}

/// The tokens that dbt lists, deleted ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenList {
    /// Them, by id.
    pub tokens: BTreeMap<TokenId, Token>,
}

/// The account's projects, as far as the plan cares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProjectReading {
    /// No name has to be looked up.
    NotWanted,
    /// Wanted.
    Wanted {
        /// By whom.
        by: ProjectsFor,
        /// When the request for the last answer began; `None` if there never was one.
        taken_at: Option<Timestamp>,
        /// The failure of the last try.
        failure: Option<Failure>,
    },
}

/// Who names projects instead of giving their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectsFor {
    /// A grant: nothing can be judged by it before the names were looked up once.
    Grants,
    /// Only ServiceTokens, which wait for it by themselves.
    ServiceTokens,
}

/// What one ServiceToken of the account says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerClaim {
    /// Its uid.
    pub uid: OwnerUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Its ledger.
    pub ledger: Ledger,
    /// When this process last changed something of it; a list that began earlier says nothing about its tokens.
    pub changed_at: Option<Timestamp>,
}

/// What a live read says about the owner of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerLife {
    /// No object has this uid, and none ever will again: uids are not used twice.
    Gone {
        /// When that was read first.
        since: Timestamp,
    },
    /// It is there, or it may be: the operator may not look everywhere.
    MayLive,
}

/// A slot, or the record that is left of one, with its owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountSlot {
    /// The uid of the owner.
    pub owner: OwnerUid,
    /// The owner as `namespace/name`, for messages.
    pub owner_name: String,
    /// The slot.
    pub slot: Slot,
}

/// A slot, or a record, named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName {
    /// The uid of its owner.
    pub owner: OwnerUid,
    /// Its serial.
    pub serial: Serial,
    /// Which of the two: a crash may leave both.
    pub kind: SlotKind,
}

/// Whether something is a slot, or the record that is left of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKind {
    /// A place for a string.
    Slot,
    /// Only the record of a token that was let go.
    Record,
}

impl AccountSlot {
    /// Its name.
    pub fn slot_name(&self) -> SlotName {
        let kind = if self.slot.retained { SlotKind::Record } else { SlotKind::Slot };
        SlotName { owner: self.owner.clone(), serial: self.slot.serial, kind }
    }
}

impl AccountObservation {
    /// Whether the account is bound to this installation.
    pub fn is_bound(&self) -> bool {
        self.record.installation.as_ref() == Some(&self.installation)
    }

    /// Whether the annotation `confirm` has exactly this value.
    pub fn confirms(&self, value: &str) -> bool {
        self.confirm.as_deref() == Some(value)
    }
}
