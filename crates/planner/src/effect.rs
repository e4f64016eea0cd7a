//! What a plan may ask the shell to do, and what the shell may say came of it.

use jiff::Timestamp;

use crate::adoption::{Finding, Source};
use crate::grant::GrantRows;
use crate::identity::{RenderRule, Serial, TokenId};
use crate::ledger::Ledger;
use crate::link::Inheritance;
use crate::observation::{Condemnation, CondemnedReason, WorkloadReference};
use crate::permission::Probe;

/// One effect. Each is conditional, so that a replica which acts on an old observation does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Adds the finalizer to the object. Harmless: it can be added again.
    AddFinalizer,
    /// Replaces the ledger under a compare-and-swap on the object's resourceVersion, together with the report.
    WriteLedger {
        /// What the change is, for logs and for the interlock.
        entry: LedgerEntry,
        /// The ledger as it shall be.
        ledger: Box<Ledger>,
    },
    /// Creates the target, empty, with our label. Fails if anything of that name is there.
    ClaimTarget,
    /// Creates the slot of a serial, empty, in the operator's own namespace. Fails if it is there.
    Reserve(Serial),
    /// Creates a token with its grants in one call, then fills the slot under a compare-and-swap. If the process dies
    /// between the two, nobody can use the token and its mark lets it be swept.
    Mint {
        /// The slot that it fills.
        serial: Serial,
        /// The full name in dbt, mark included.
        name: String,
        /// What it grants.
        rows: GrantRows,
    },
    /// The older second call: posts the permissions of a token that dbt reports to have none. dbt refuses a second one.
    Grant {
        /// The serial of the token.
        serial: Serial,
        /// dbt's id.
        token: TokenId,
        /// What to grant.
        rows: GrantRows,
    },
    /// Calls dbt with the string in the slot, one call per API family; then links every Semantic Layer credential to the
    /// token that one of those before it is linked to, so that it is not published without them. On success the ledger
    /// commits the token, under a compare-and-swap; on refusal the slot is condemned. If a link cannot be made the token
    /// waits in its slot, and everything is tried again: what is linked already is read first. A token that is never
    /// committed is revoked, and its links open nothing from then on.
    Prove {
        /// The serial of the token.
        serial: Serial,
        /// dbt's id.
        token: TokenId,
        /// The calls to make; empty if no call can try the token and the user allowed that.
        probes: Vec<Probe>,
        /// The links that it takes over.
        inheritance: Inheritance,
        /// The ledger if all of them pass.
        committed: Box<Ledger>,
    },
    /// Marks a slot, for good, as one whose token is never published. Rests on: a condemned slot is never labelled
    /// `committed`, and only a committed one is ever projected.
    Condemn {
        /// The slot.
        serial: Serial,
        /// Why.
        why: Condemnation,
    },
    /// Marks the slot of `current` as committed, for good; refused for a condemned slot. Also that of an adopted token which
    /// was replaced before the label could be written.
    LabelCommitted(Serial),
    /// Writes the target from the slot, under a compare-and-swap on the target's uid and resourceVersion as they were
    /// observed. Two things come first. The report is written if it differs, under a compare-and-swap on the object: it
    /// tells that the target could not be read, so that the overlap begins anew, and nothing would tell so afterwards.
    /// Then a live read of the object has to find that its ledger still names this token as `current`: a replica whose
    /// cache of the object lags behind its cache of the target would write an earlier token over a later one otherwise.
    /// Rests on: after the observation of the target, a later token is published only by a write of the target.
    Project {
        /// The slot to write from.
        serial: Serial,
        /// The token in it.
        token: TokenId,
        /// The rule by which the target is rendered.
        rule: RenderRule,
    },
    /// Reads a key of a Secret of the object's namespace, finds the string of a token in it, and says which tokens of the
    /// account it fits. Changes nothing, and asks nothing of dbt.
    InspectSource(Source),
    /// Takes a token over: reads the same key again, makes sure that the string still fits this token, tries it, and
    /// creates the slot that is named after the token, in one write with the very bytes that were tried. Fails if any slot
    /// of that token is there, whoever made it. Destroys nothing; the string is tried once more from the slot afterwards.
    ClaimAdoption {
        /// The serial of the attempt, which the slot carries.
        serial: Serial,
        /// The token.
        token: TokenId,
        /// Where its string is.
        source: Source,
        /// The calls to try it with; empty if none can try it and a grant allows that.
        probes: Vec<Probe>,
    },
    /// Puts our label and annotations on the very Secret that a token was adopted from, under a compare-and-swap on its uid
    /// and version, if it says that this object may do so, nothing controls it, and it still holds the string in the slot.
    /// Its data stays as it is.
    TakeOverTarget {
        /// The slot with the string that it must hold.
        serial: Serial,
        /// Where in it.
        source: Source,
    },
    /// Gives an adopted token the name that ends in our mark. Rests on: its slot is named after it and filled, so that nobody
    /// else holds it, and the ledger has committed it.
    Rename {
        /// The serial of its slot.
        serial: Serial,
        /// The token.
        token: TokenId,
        /// The full name in dbt, mark included.
        name: String,
    },
    /// Marks the slot of an adopted token that was replaced, for good, as one whose token is never adopted again, unless the
    /// Secret that it came from still holds its string. Comes before its revocation. Rests on: a retiring token cannot
    /// become `current` again, and a marked slot stays marked.
    CondemnAdopted {
        /// The slot.
        serial: Serial,
        /// The token in it.
        token: TokenId,
        /// Where it was adopted from; `None` if it goes whoever holds it.
        unless_held_in: Option<Source>,
    },
    /// Marks the pod templates of workloads as restarted, as `kubectl rollout restart` does, each under a compare-and-swap on
    /// the version in which it was seen. Destroys nothing in dbt. Rests on: a version is never given twice, and the mark is a
    /// new one; so whoever acts on an old look, or a second time, finds another version and restarts nobody, and whoever looks
    /// again finds a mark that is later than the swap.
    RestartWorkloads {
        /// The serial of the token that they shall take.
        serial: Serial,
        /// What the mark says, in whole seconds; later than the swap.
        at: Timestamp,
        /// The workloads; never empty.
        workloads: Vec<WorkloadReference>,
    },
    /// Verifies `current` from the target's own bytes, then revokes a retiring or a stray token. Rests on: a retiring
    /// token cannot become `current` again, serials never return, and a later target is not overwritten by an earlier one;
    /// so a container that was made after the swap never comes to hold the old token, however old the look at the pods is.
    Retire {
        /// The token to revoke.
        token: TokenId,
        /// Its serial.
        serial: Serial,
        /// The published token, which must prove itself first.
        successor: Serial,
        /// The calls that prove it.
        probes: Vec<Probe>,
        /// The rule by which the target must have been rendered.
        rule: RenderRule,
    },
    /// Revokes a token of ours that nobody can use. Rests on: its serial is below the ledger's, is named by nothing and
    /// never returns; and its slot is closed, condemned, or holds another token.
    Revoke {
        /// The token.
        token: TokenId,
        /// Its serial.
        serial: Serial,
        /// Why it may go.
        because: RevokedBecause,
    },
    /// Deletes a slot under preconditions on its uid and resourceVersion. Rests on: a closed slot cannot be filled.
    CloseSlot(Serial),
    /// Leaves a record without a string of a token that stays when its object goes.
    LeaveRecord {
        /// The serial of the token.
        serial: Serial,
        /// dbt's id.
        token: TokenId,
    },
    /// Takes our label and annotations off the target and leaves its data.
    ReleaseTarget,
    /// Deletes the target under preconditions on its uid and resourceVersion.
    DeleteTarget,
    /// Takes our keys, label and annotations out of a Secret that was there before, under the same preconditions.
    StripTarget,
    /// Lets the object go.
    RemoveFinalizer(LetGo),
}

/// A change of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerEntry {
    /// An attempt begins.
    Open,
    /// An attempt failed for good, and the next one waits.
    GiveUp,
    /// The attempt is not wanted any more.
    Abandon,
    /// A ledger that was lost or set back is written again from slots and target.
    Rebuild,
    /// A retiring token is gone.
    Forget(Serial),
    /// A person called the published token compromised. Written down before anything rests on it, since the annotations may
    /// change at any time.
    CallCompromised,
    /// Nobody is owed a restart for the published token any more.
    Restarted,
    /// Tokens exist that the ledger does not know.
    SetBack,
    /// A person confirmed that they are ours.
    SetBackConfirmed,
    /// Deletion begins under a policy.
    Delete,
    /// Deletion can no longer be called off.
    Clear,
}

/// Why a token may be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevokedBecause {
    /// Its string was lost, or it was never published.
    Stray,
    /// Its object is being deleted.
    Deletion,
}

/// How an object is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LetGo {
    /// Everything was revoked and removed.
    Clean,
    /// The token and the Secret stay, as asked.
    Retained,
    /// dbt could not be reached in time: the slots stay, and the tokens are revoked when it answers again.
    LeftBehind,
}

/// What the plan wants to be read before it decides. Reading never changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The account's token list, by a request that begins at this time or later.
    Tokens(Timestamp),
    /// One token that the list does not show.
    Token(TokenId),
    /// The account's projects.
    Projects,
    /// The account's environments.
    Environments,
    /// The pods of the object's namespace that take the target, by a request that begins at this time or later.
    Consumers(Timestamp),
    /// The workloads of the declared kinds that take the target, by a request that begins at this time or later.
    Workloads(Timestamp),
}

/// What came of an effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was done.
    Done,
    /// A token was created, and its string is in the slot.
    Created(TokenId),
    /// dbt refused to create the token; nothing was made.
    Rejected {
        /// dbt's message, for the user.
        message: String,
    },
    /// A live check was refused; nothing was committed or revoked.
    Refused {
        /// Why.
        why: Condemnation,
    },
    /// Something else had changed in between; look again.
    Conflict,
    /// Nothing was done but looking into a Secret, and this was found.
    Found(Finding),
    /// The target exists already and is not ours.
    TargetForeign {
        /// Who last wrote it.
        manager: String,
    },
}

impl Condemnation {
    /// The new token was refused.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self { reason: CondemnedReason::VerificationRefused, detail: detail.into() }
    }

    /// The attempt was given up.
    pub fn superseded() -> Self {
        Self { reason: CondemnedReason::Superseded, detail: "the attempt was given up before it was committed".into() }
    }

    /// An adopted token was replaced.
    pub fn replaced() -> Self {
        Self {
            reason: CondemnedReason::Replaced,
            detail: "it was adopted and replaced; it is revoked and never adopted again".into(),
        }
    }

    /// dbt granted something else.
    pub fn grants_differ(granted: &GrantRows, wanted: &GrantRows) -> Self {
        Self { reason: CondemnedReason::GrantsDiffer, detail: format!("dbt granted {granted} instead of {wanted}") }
    }
}

impl Effect {
    /// Whether it calls dbt.
    pub fn calls_dbt(&self) -> bool {
        matches!(
            self,
            Self::Mint { .. }
                | Self::Grant { .. }
                | Self::Prove { .. }
                | Self::Retire { .. }
                | Self::Revoke { .. }
                | Self::ClaimAdoption { .. }
                | Self::Rename { .. }
        )
    }

    /// Whether it reads or writes something of the cluster.
    pub fn touches_cluster(&self) -> bool {
        !matches!(self, Self::Grant { .. } | Self::Revoke { .. } | Self::Rename { .. })
    }

    /// Whether it changes something in dbt, so that lists read before it say nothing about it.
    pub fn changes_dbt(&self) -> bool {
        matches!(self, Self::Mint { .. } | Self::Grant { .. } | Self::Retire { .. } | Self::Revoke { .. } | Self::Rename { .. })
    }

    /// Its word in logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::AddFinalizer => "add_finalizer",
            Self::WriteLedger { entry, .. } => entry.word(),
            Self::ClaimTarget => "claim_target",
            Self::Reserve(_) => "reserve",
            Self::Mint { .. } => "mint",
            Self::Grant { .. } => "grant",
            Self::Prove { .. } => "prove",
            Self::Condemn { .. } => "condemn",
            Self::LabelCommitted(_) => "label_committed",
            Self::Project { .. } => "project",
            Self::InspectSource(_) => "inspect_source",
            Self::ClaimAdoption { .. } => "claim_adoption",
            Self::TakeOverTarget { .. } => "take_over_target",
            Self::Rename { .. } => "rename",
            Self::CondemnAdopted { .. } => "condemn_adopted",
            Self::RestartWorkloads { .. } => "restart_workloads",
            Self::Retire { .. } => "retire",
            Self::Revoke { .. } => "revoke",
            Self::CloseSlot(_) => "close_slot",
            Self::LeaveRecord { .. } => "leave_record",
            Self::ReleaseTarget => "release_target",
            Self::DeleteTarget => "delete_target",
            Self::StripTarget => "strip_target",
            Self::RemoveFinalizer(_) => "remove_finalizer",
        }
    }
}

impl LedgerEntry {
    /// Its word in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::GiveUp => "give_up",
            Self::Abandon => "abandon",
            Self::Rebuild => "rebuild",
            Self::Forget(_) => "forget",
            Self::CallCompromised => "call_compromised",
            Self::Restarted => "restarted",
            Self::SetBack => "set_back",
            Self::SetBackConfirmed => "set_back_confirmed",
            Self::Delete => "delete",
            Self::Clear => "clear",
        }
    }
}
