//! Everything that a plan may rest on. What could not be read is a value here, not an error.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::desired::{DeletionPolicy, Desired, Refusal};
use crate::grant::{AccountGrant, GrantRows};
use crate::identity::{
    AccountId, EnvironmentId, Fingerprint, Installation, OwnerUid, ProjectId, RenderRule, Serial, TokenId, TokenUid,
};
use crate::ledger::{Cause, Ledger};
use crate::mark::Mark;
use crate::report::{Condition, Published, Replacement, RetiringRecord};

/// One look at one `ServiceToken` and all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Which object.
    pub owner: Owner,
    /// This installation of the operator.
    pub installation: Installation,
    /// The generation of the spec.
    pub generation: i64,
    /// When the object was created.
    pub created_at: Timestamp,
    /// When its deletion was asked for.
    pub deleted_at: Option<Timestamp>,
    /// Whether it carries the operator's finalizer.
    pub finalizer: bool,
    /// The value of the annotation `rotate-at`.
    pub rotate_at: Option<String>,
    /// What is declared.
    pub desired: Result<Desired, Refusal>,
    /// What the declaration says about deletion; readable even where the rest is refused.
    pub deletion_policy: DeletionPolicy,
    /// The commit record.
    pub ledger: Ledger,
    /// What the status says beside the ledger: times and earlier conditions.
    pub record: Record,
    /// The account, as far as it can be worked with.
    pub account: Account,
    /// The slots of this owner and this installation, in order of their serials.
    pub slots: Vec<Slot>,
    /// The Secret that users named.
    pub target: Target,
    /// What the target has to look like: changes with the template and with the account's addresses. `None` while the
    /// account is missing.
    pub rule: Option<RenderRule>,
    /// An older `ServiceToken` of the namespace that writes the same Secret.
    pub senior: Option<String>,
    /// Readings of dbt that are older than this say nothing about what this process did since.
    pub fresh_after: Timestamp,
    /// What went wrong the last time, if it did; kept in memory only, for reports and delays, never for a decision to
    /// make or destroy something.
    pub trouble: Option<Trouble>,
}

/// The object that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its uid: the only part that marks and slots rest on.
    pub uid: OwnerUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the status holds beside the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// The generation that the status speaks of.
    pub observed_generation: i64,
    /// The token that was last seen in the target.
    pub published: Option<Published>,
    /// Since when each retiring token is no longer in the target.
    pub retiring: Vec<RetiringRecord>,
    /// The last replacements, newest first.
    pub history: Vec<Replacement>,
    /// When the target last got another token.
    pub last_rotation: Option<Timestamp>,
    /// The conditions as they were written last, without their transition times.
    pub conditions: Vec<Condition>,
}

/// Something that was read from dbt, or was not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reading<T> {
    /// Read, by a request that began at `taken_at`.
    Known {
        /// What was read.
        value: T,
        /// When the request began.
        taken_at: Timestamp,
    },
    /// Not read yet, or the last try failed.
    Unknown,
}

impl<T> Reading<T> {
    /// The value, however old it is.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown => None,
        }
    }

    /// The value, if the request for it began at this time or later.
    pub fn since(&self, time: Timestamp) -> Option<&T> {
        match self {
            Self::Known { value, taken_at } if *taken_at >= time => Some(value),
            _ => None,
        }
    }
}

/// The account of an object, as far as it can be worked with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// There is no `DbtAccount` of that name.
    Missing,
    /// It is there, and nothing may be made or revoked with it now. Readings may be there all the same.
    NotReady {
        /// The reason of its Ready condition.
        reason: String,
        /// The message of that condition.
        message: String,
    },
    /// It can be worked with.
    Ready(Box<OpenAccount>),
}

impl Account {
    /// The account, if it can be worked with.
    pub fn open(&self) -> Option<&OpenAccount> {
        match self {
            Self::Ready(account) => Some(account),
            _ => None,
        }
    }
}

/// What an account that can be worked with says about one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpenAccount {
    /// dbt's id of it.
    pub id: AccountId,
    /// dbt's name of its plan, for messages.
    pub plan: String,
    /// Whether everything but deletion is stopped for the whole account.
    pub suspended: bool,
    /// The tokens of the account that concern this object: those with its mark, and those that its ledger or its slots
    /// name. The list was believed (the account's own credential was in it).
    pub tokens: Reading<BTreeMap<TokenId, Token>>,
    /// Single reads of tokens that the list did not show: those that dbt says are not there, with the time of the read.
    pub gone: BTreeMap<TokenId, Timestamp>,
    /// The active projects.
    pub projects: Reading<Vec<Project>>,
    /// For each project, a deployment environment on which GraphQL probes can be made; read only when a probe needs one.
    pub environments: Reading<BTreeMap<ProjectId, EnvironmentId>>,
    /// The grants that match the object's namespace.
    pub grants: Vec<AccountGrant>,
    /// Whether a token may be made now.
    pub budget: Budget,
    /// The limit that leaves no place for this object, if there is one; the oldest objects keep their place.
    pub crowded_out: Option<TokenLimit>,
    /// Up to which serial a person has confirmed that unknown tokens are the cluster's own.
    pub set_back_confirmed: Option<Serial>,
}

/// A token as dbt lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: TokenUid,
    /// Its name in dbt.
    pub name: String,
    /// Its mark, if it has one.
    pub mark: Option<Mark>,
    /// Whether dbt accepts it. Deletion is final, so an inactive token stays inactive.
    pub active: bool,
    /// What it may do, as dbt reports it.
    pub rows: GrantRows,
    /// When dbt made it.
    pub created_at: Option<Timestamp>,
    /// When dbt last saw it used.
    pub last_used: Option<Timestamp>,
}

/// An active project of the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Project {
    /// dbt's id.
    pub id: ProjectId,
    /// Its name, not always unique.
    pub name: String,
}

/// Whether a token may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// For anything that is wanted.
    pub ordinary: Allowance,
    /// For repairs, which have a reserve.
    pub repair: Allowance,
}

/// One answer of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// A token may be made.
    Free,
    /// The budget is used up.
    UsedUp {
        /// Tokens an hour.
        limit: u32,
        /// When there is room again.
        free_at: Timestamp,
    },
}

/// A limit on the number of ServiceTokens that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenLimit {
    /// What it limits: `namespace finance` or `the account`.
    pub scope: String,
    /// How many there are.
    pub count: u32,
    /// How many there may be.
    pub limit: u32,
}

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
        /// What dbt said that it granted, in its answer to the create call.
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
}

impl CondemnedReason {
    /// The word on the slot.
    pub fn word(self) -> &'static str {
        match self {
            Self::GrantsDiffer => "GrantsDiffer",
            Self::VerificationRefused => "VerificationRefused",
            Self::Superseded => "Superseded",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::GrantsDiffer, Self::VerificationRefused, Self::Superseded].into_iter().find(|reason| reason.word() == word)
    }
}

/// What is known of a token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// dbt lists it as active.
    Active,
    /// dbt lists it as deleted, or a read of this very token answered that it is not there. Final.
    Inactive,
    /// A new list does not show it, and it was not read by itself yet.
    Unlisted,
    /// There is no list that is new enough to tell.
    Unknown,
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
}

/// What went wrong the last time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// What kind of failure.
    pub kind: TroubleKind,
    /// What failed, in words, without secrets.
    pub message: String,
    /// Since when it has been failing.
    pub since: Timestamp,
    /// When the next try is due.
    pub retry_at: Timestamp,
}

/// Kinds of failures that a report tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// dbt did not answer, or answered 429 or 5xx.
    DbtUnavailable,
    /// A live check could not be made.
    VerificationInconclusive,
    /// The API server refused a write of the target.
    SecretRefused,
    /// Anything else of Kubernetes; a retry mends it.
    Cluster,
}

impl Observation {
    /// The open account's tokens, if the list is newer than what this process did last.
    pub fn fresh_tokens(&self) -> Option<&BTreeMap<TokenId, Token>> {
        self.account.open()?.tokens.since(self.fresh_after)
    }

    /// The slot of a serial; a mere record of a token that was let go is none.
    pub fn slot(&self, serial: Serial) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.serial == serial && !slot.retained)
    }

    /// Whether a record without a string says that the token of this serial stays for good.
    pub fn is_retained(&self, serial: Serial) -> bool {
        self.slots.iter().any(|slot| slot.serial == serial && slot.retained)
    }

    /// What is known of a token's life.
    pub fn life(&self, token: TokenId) -> Life {
        let Some(account) = self.account.open() else { return Life::Unknown };
        let Reading::Known { value: tokens, taken_at } = &account.tokens else { return Life::Unknown };
        match tokens.get(&token) {
            Some(token) if token.active => Life::Active,
            Some(_) => Life::Inactive,
            None if *taken_at < self.fresh_after => Life::Unknown,
            None if account.gone.get(&token).is_some_and(|read_at| *read_at >= self.fresh_after) => Life::Inactive,
            None => Life::Unlisted,
        }
    }

    /// Whether the target is ours, untouched, and holds this token.
    pub fn target_holds(&self, token: TokenId) -> bool {
        matches!(&self.target, Target::Ours(state) if state.token == Some(token))
    }

    /// Whether the target holds this token exactly as it shall look now.
    pub fn target_shows(&self, token: TokenId) -> bool {
        matches!(&self.target, Target::Ours(state) if state.token == Some(token) && state.intact && state.rule == self.rule)
    }

    /// Whether `current` can serve consumers: not seen inactive, not refused when it was last tried, and its string still
    /// stored or at least in the target.
    pub fn current_is_usable(&self) -> bool {
        self.ledger.current.is_some_and(|current| {
            let stored = self.slot(current.serial).is_some_and(|slot| slot.token() == Some(current.token));
            let lives = self.life(current.token) != Life::Inactive && !self.current_was_refused();
            lives && (stored || self.target_holds(current.token))
        })
    }

    /// Whether dbt refused `current` when it was last tried: an attempt to replace it is under way for that reason.
    pub fn current_was_refused(&self) -> bool {
        self.ledger.next.as_ref().is_some_and(|attempt| attempt.cause == Cause::TokenUnusable)
    }

    /// The serials of this owner that were ever seen, in ledger, slots and marks.
    pub fn highest_serial(&self) -> Serial {
        let slots = self.slots.iter().map(|slot| slot.serial.0);
        let marks = self.known_tokens().filter_map(|token| self.own_mark(token)).map(|mark| mark.serial.0);
        Serial(slots.chain(marks).fold(self.ledger.serial, i64::max))
    }

    /// The tokens of the last list, however old.
    pub fn known_tokens(&self) -> impl Iterator<Item = &Token> {
        self.account.open().and_then(|account| account.tokens.value()).into_iter().flat_map(BTreeMap::values)
    }

    /// The token's mark, if it is of this installation and this owner.
    pub fn own_mark<'token>(&self, token: &'token Token) -> Option<&'token Mark> {
        token.mark.as_ref().filter(|mark| mark.installation == self.installation && mark.owner == self.owner.uid)
    }

    /// Whether a token may be changed or revoked at all: it carries this object's mark, or it carries none and a slot holds
    /// it. A mark of somebody else weighs more than a slot, which may have come here with a copy of the cluster.
    pub fn is_ours(&self, token: TokenId) -> bool {
        match self.known_tokens().find(|known| known.id == token) {
            Some(known) if known.mark.is_some() => self.own_mark(known).is_some(),
            _ => self.slots.iter().any(|slot| slot.token() == Some(token) && !slot.retained),
        }
    }

    /// Tokens that a ledger or a slot of this object names.
    pub fn named_tokens(&self) -> BTreeSet<TokenId> {
        let ledger = self.ledger.current.iter().chain(&self.ledger.retiring).map(|entry| entry.token);
        ledger.chain(self.slots.iter().filter_map(Slot::token)).collect()
    }
}
