//! Everything that a plan may rest on. What could not be read is a value here, not an error.

mod account;
mod consumers;
mod secrets;
mod workloads;

pub use self::account::{Account, Allowance, Budget, OpenAccount, Project, Token, TokenLimit};
pub use self::consumers::{Consumer, Consumers, Unreadable, Way};
pub use self::secrets::{Condemnation, CondemnedReason, Slot, SlotContent, Target, TargetState};
pub use self::workloads::{Pace, Progress, Workload, WorkloadReference, Workloads};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::adoption::Look;
use crate::desired::{DeletionPolicy, Desired, Refusal};
use crate::identity::{Installation, OwnerUid, RenderRule, Serial, TokenId};
use crate::ledger::{Cause, Entry, Ledger};
use crate::mark::{Mark, Origin};
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
    /// The value of the annotation `compromised`.
    pub compromised: Option<String>,
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
    /// The slots of this owner and this installation, in order of their serials. Read live, not from a cache, while the
    /// ledger is blank: a rebuild that misses the label `committed` would leave the published token out.
    pub slots: Vec<Slot>,
    /// The Secret that users named.
    pub target: Target,
    /// What the target has to look like: changes with the template and with the account's addresses. `None` while the
    /// account is missing.
    pub rule: Option<RenderRule>,
    /// The pods that take the target. Read only while a replaced token waits for nothing cheaper, and then remembered for
    /// as long as it waits.
    pub consumers: Reading<Consumers>,
    /// The workloads of the declared kinds that take the target and have to be restarted to see a new token. Read only while
    /// a restart is owed, or a replaced token waits for nothing cheaper, and then remembered as long as that is so.
    pub workloads: Reading<Workloads>,
    /// An older `ServiceToken` of the namespace that writes the same Secret.
    pub senior: Option<String>,
    /// What was found when the Secret of an adoption was last looked into; kept in memory only.
    pub look: Option<Look>,
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
    /// The time of the next rotation as it was told last.
    pub next_rotation: Option<Timestamp>,
    /// The conditions as they were written last, without their transition times.
    pub conditions: Vec<Condition>,
}

/// Something that was read from dbt or the cluster, or was not.
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
    /// dbt refused to link a Semantic Layer credential to the new token.
    LinkRefused,
    /// The Semantic Layer credentials of a token that may have some could not be read.
    LinksUnreadable,
    /// The API server refused a write of the target.
    SecretRefused,
    /// Anything else of Kubernetes; a retry mends it.
    Cluster,
}

impl TroubleKind {
    /// Whether the links of the token that is replaced could not be carried over. A person must act.
    pub fn is_about_links(self) -> bool {
        matches!(self, Self::LinkRefused | Self::LinksUnreadable)
    }
}

impl Observation {
    /// The observation as it counts: a ledger of another installation counts for nothing, since this cluster may be a copy
    /// of that one. Nor does one that names none, since every entry was written with it. Plan, interlock and conclusion all
    /// look at it this way.
    pub fn of_this_installation(&self) -> Cow<'_, Self> {
        if self.ledger.installation.as_ref() == Some(&self.installation) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self { ledger: Ledger::default(), ..self.clone() })
    }

    /// Whether only a plan is made and nothing is carried out. Deletion is a person's own act, and goes on as under `suspend`.
    pub fn is_dry_run(&self) -> bool {
        self.deleted_at.is_none() && self.desired.as_ref().is_ok_and(|desired| desired.dry_run)
    }

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

    /// Whether a record says so of this very token. Of two processes that both lead, one may make another token of a serial
    /// whose token was let go, and that one is nobody's.
    pub fn is_let_go(&self, token: TokenId, serial: Serial) -> bool {
        let mut records = self.slots.iter().filter(|slot| slot.serial == serial && slot.retained);
        records.any(|record| record.token().is_none_or(|recorded| recorded == token))
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

    /// Whether consumers find a token of ours in the target.
    pub fn target_is_readable(&self) -> bool {
        matches!(&self.target, Target::Ours(state) if state.token.is_some() && state.intact)
    }

    /// Whether the target holds this token exactly as it shall look now.
    pub fn target_shows(&self, token: TokenId) -> bool {
        matches!(&self.target, Target::Ours(state) if state.token == Some(token) && state.intact && state.rule == self.rule)
    }

    /// Whether `current` can serve consumers: not seen inactive, not refused when it was last tried, and its string still
    /// stored or at least in the target.
    pub fn current_is_usable(&self) -> bool {
        self.ledger.current.is_some_and(|current| {
            let lives = self.life(current.token) != Life::Inactive && !self.current_was_refused();
            lives && (self.current_is_stored() || self.target_holds(current.token))
        })
    }

    /// Whether the string of `current` is still in its slot. One that is in the target alone serves consumers, and can neither
    /// be written nor tried again.
    pub fn current_is_stored(&self) -> bool {
        let stored = |current: Entry| self.slot(current.serial).is_some_and(|slot| slot.token() == Some(current.token));
        self.ledger.current.is_some_and(stored)
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
    /// it. A mark of somebody else weighs more than a slot, which may have come here with a copy of the cluster. Only the slot
    /// of an adopted token, of which there is one for all objects, weighs more than the mark of another object of this
    /// installation, which that one left behind.
    pub fn is_ours(&self, token: TokenId) -> bool {
        let mut slots = self.slots.iter().filter(|slot| slot.token() == Some(token) && !slot.retained);
        match self.known_tokens().find(|known| known.id == token).and_then(|known| known.mark.as_ref()) {
            Some(mark) if mark.installation != self.installation => false,
            Some(mark) => mark.owner == self.owner.uid || slots.any(|slot| slot.adopted.is_some()),
            None => slots.next().is_some(),
        }
    }

    /// Whether the token was made by somebody else and taken over, as a slot, the record of one, or its mark says.
    pub fn is_adopted(&self, token: TokenId) -> bool {
        let stored = self.slots.iter().any(|slot| slot.token() == Some(token) && slot.adopted.is_some());
        let known = self.known_tokens().find(|known| known.id == token);
        stored || known.and_then(|known| self.own_mark(known)).is_some_and(|mark| mark.origin == Origin::Adopted)
    }

    /// Tokens that a ledger or a slot of this object names.
    pub fn named_tokens(&self) -> BTreeSet<TokenId> {
        let ledger = self.ledger.current.iter().chain(&self.ledger.retiring).map(|entry| entry.token);
        ledger.chain(self.slots.iter().filter_map(Slot::token)).collect()
    }
}
