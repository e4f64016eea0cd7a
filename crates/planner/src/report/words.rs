//! Steps, blocks and events in words. Messages say what is so, for which object, and what to do.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::desired::Refusal;
use crate::effect::{Effect, LedgerEntry, LetGo, Need, RevokedBecause};
use crate::gate;
use crate::grant::{GrantRow, Scope, Unresolved};
use crate::identity::WriteCategory;
use crate::ledger::Cause;
use crate::observation::{Observation, WorkloadReference};
use crate::plan::{Block, Step, Wait};
use crate::report::adopting;
use crate::report::ready::unknown_sets;
use crate::report::{Event, NextStep};
use crate::restart::Restart;
use crate::retirement;
use crate::stage::retire::minute;
use crate::trigger;

/// The names of the Secret and of the account, for messages.
pub(super) fn names(observation: &Observation) -> (&str, &str) {
    observation.desired.as_ref().map_or(("", ""), |desired| (desired.secret_name.as_str(), desired.account.as_str()))
}

/// Reason and message of something that a person must mend.
pub(super) fn block(observation: &Observation, block: &Block) -> (&'static str, String) {
    let (secret, account) = names(observation);
    match block {
        Block::Refused => refusal(observation),
        Block::AccountNotFound => {
            ("AccountNotFound", format!("DbtAccount {account} does not exist; create it (accountRef cannot be changed)"))
        }
        Block::PolicyRefused(row) => ("PolicyRefused", policy_refused(observation, account, row)),
        Block::TokenLimit(limit) => (
            "TokenLimitReached",
            format!("{} has {} of {} tokens; raise maxTokens, or delete one", limit.scope, limit.count, limit.limit),
        ),
        Block::Project(unresolved) => project(observation, unresolved),
        Block::SecretConflict { senior } => (
            "SecretConflict",
            format!("the older ServiceToken {senior} already writes Secret {secret}; choose another secret.name"),
        ),
        Block::SecretNotOwned { manager } => (
            "SecretNotOwned",
            format!(
                "Secret {secret} exists and is not the operator's (last written by {manager}); choose another secret.name, or adopt it"
            ),
        ),
        Block::Unprobeable(sets) => {
            let sets: Vec<&str> = sets.iter().map(crate::identity::PermissionSet::as_str).collect();
            let sets = sets.join(", ");
            (
                "Unprobeable",
                format!("no call can try {sets}; set verification.environmentId, or verification.allowUnproven: true"),
            )
        }
        Block::Adopt(refusal) => adopting::refusal(observation, refusal),
        Block::DryRun => ("DryRun", "dryRun is set: status.plan lists what would be done; unset dryRun".into()),
        Block::Deletion { why, let_go_at } => {
            ("DeletionBlocked", deletion_blocked(observation, account, why, &minute(*let_go_at)))
        }
    }
}

fn refusal(observation: &Observation) -> (&'static str, String) {
    match &observation.desired {
        Err(Refusal::InvalidSpec { field, why, remedy }) => ("InvalidSpec", format!("{field}: {why}; {remedy}")),
        Err(Refusal::NotImplemented { field }) => {
            ("NotImplemented", format!("{field} is not available in this version; remove it, or upgrade"))
        }
        Ok(_) => ("InvalidSpec", "the spec cannot be read".into()),
    }
}

fn policy_refused(observation: &Observation, account: &str, row: &GrantRow) -> String {
    let set = &row.permission_set;
    let scope = match row.scope {
        Scope::All => "allProjects: true".to_owned(),
        Scope::Project(id) => format!("projects: [{{id: {id}}}] (or allProjects: true)"),
    };
    let kinds: Vec<&str> = row.writable.iter().map(WriteCategory::as_str).collect();
    let writing = if kinds.is_empty() { String::new() } else { format!(" and writableEnvironments: [{}]", kinds.join(", ")) };
    format!(
        "no grant of DbtAccount {account} allows {row} for namespace {}; it needs a grant with permissionSets: [{set}] and {scope}{writing}",
        observation.owner.namespace
    )
}

fn project(observation: &Observation, unresolved: &Unresolved) -> (&'static str, String) {
    let account = observation.account.open().map_or_else(String::new, |account| account.id.to_string());
    match unresolved {
        Unresolved::NotFound { wanted, near } if near.is_empty() => {
            let none = "it has none at all that the credential can see";
            ("ProjectNotFound", format!("account {account} has no active project {wanted}; {none}"))
        }
        Unresolved::NotFound { wanted, near } => {
            let near: Vec<String> = near.iter().map(|project| format!("{} ({})", project.name, project.id)).collect();
            ("ProjectNotFound", format!("account {account} has no active project {wanted}; one of: {}", near.join(", ")))
        }
        Unresolved::Ambiguous { name, ids } => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            ("ProjectAmbiguous", format!("{name} is the name of projects {}; give the id", ids.join(", ")))
        }
    }
}

/// Once the ledger names nothing any more the deletion cannot be called off, so nobody is told to try.
fn deletion_blocked(observation: &Observation, account: &str, why: &str, let_go_at: &str) -> String {
    let ledger = &observation.ledger;
    let token = ledger.current.map_or_else(|| "its tokens".into(), |current| format!("token {}", current.token));
    let is_cleared = ledger.next.is_none() && ledger.current.is_none() && ledger.retiring.is_empty();
    let or_retain = if is_cleared { "" } else { ", or set deletionPolicy: Retain" };
    format!("{token} cannot be revoked: {why}; let go at {let_go_at}; mend DbtAccount {account}{or_retain}")
}

/// The step as `status.nextStep` shows it.
pub(super) fn next_step(observation: &Observation, step: &Step) -> NextStep {
    let cause = observation.ledger.next.as_ref().map(|attempt| attempt.cause);
    let next = |action, message: String| NextStep { action, cause, at: None, message };
    match step {
        Step::Act(effect) => effect_words(observation, effect),
        Step::Read(need) => next("Wait", read_words(*need)),
        Step::Wait(wait) => wait_words(observation, wait),
        Step::Blocked(reason) => next("Wait", block(observation, reason).1),
        Step::Settled => next("Wait", "nothing to do".into()),
    }
}

fn read_words(need: Need) -> String {
    match need {
        Need::Tokens(_) => "reading the account's token list".into(),
        Need::Token(token) => format!("reading token {token}"),
        Need::Projects => "reading the account's projects".into(),
        Need::Environments => "reading the account's environments".into(),
        Need::Consumers(_) => "looking at the pods that take the Secret".into(),
        Need::Workloads(_) => "looking at the workloads that take the Secret".into(),
    }
}

/// The next rotation for its age as `status.nextStep` shows it at rest.
pub(super) fn next_rotation(observation: &Observation) -> Option<NextStep> {
    let at = trigger::next_rotation(observation)?;
    Some(rotation(observation, Cause::MaxAge, at, "for its age"))
}

fn rotation(observation: &Observation, cause: Cause, at: Timestamp, why: &str) -> NextStep {
    let token = observation.ledger.current.map_or_else(|| "the token".into(), |current| format!("token {}", current.token));
    NextStep { action: "Rotate", cause: Some(cause), at: Some(at), message: format!("replace {token} {why}") }
}

fn wait_words(observation: &Observation, wait: &Wait) -> NextStep {
    let (_, account) = names(observation);
    let (message, at) = match wait {
        Wait::Suspended => ("suspended".into(), None),
        Wait::AccountMissing => (format!("waiting for DbtAccount {account}"), None),
        Wait::AccountNotReady => (format!("waiting for DbtAccount {account} to be ready"), None),
        Wait::AdoptSource => (adopting::awaited(observation), None),
        Wait::Trouble => ("trying again after a failure".into(), None),
        Wait::Budget { free_at, .. } => ("waiting for the account's mint budget".into(), Some(*free_at)),
        Wait::Backoff { until } => ("waiting before the next attempt".into(), Some(*until)),
        Wait::Window { cause, opens_at } => return rotation(observation, *cause, *opens_at, "in the next window"),
        Wait::RetiringFull => {
            ("three replaced tokens wait for their end; the next rotation follows the first of them".into(), None)
        }
    };
    NextStep { action: "Wait", cause: observation.ledger.next.as_ref().map(|attempt| attempt.cause), at, message }
}

fn effect_words(observation: &Observation, effect: &Effect) -> NextStep {
    let (secret, _) = names(observation);
    let opened = match effect {
        Effect::WriteLedger { ledger, .. } => ledger.next.as_ref(),
        _ => observation.ledger.next.as_ref(),
    };
    let (action, message) = match effect {
        Effect::AddFinalizer | Effect::Reserve(_) | Effect::Mint { .. } | Effect::Grant { .. } => {
            ("Create", "creating a token".to_owned())
        }
        Effect::ClaimTarget => ("Create", format!("claiming Secret {secret}")),
        Effect::WriteLedger { entry, .. } => ledger_words(*entry),
        Effect::InspectSource(_)
        | Effect::ClaimAdoption { .. }
        | Effect::TakeOverTarget { .. }
        | Effect::Rename { .. }
        | Effect::CondemnAdopted { .. } => adopting::next_step(effect),
        Effect::Prove { token, serial, .. } if adopting::is_adoption(observation, *serial) => {
            ("Adopt", format!("publishing token {token}, which was adopted"))
        }
        Effect::Prove { token, .. } => ("Verify", format!("publishing token {token}, which dbt accepted")),
        Effect::Condemn { .. } => ("Delete", "giving up the new token".into()),
        Effect::LabelCommitted(_) | Effect::Project { .. } => ("Publish", format!("writing Secret {secret}")),
        Effect::RestartWorkloads { workloads, .. } => ("Restart", format!("restarting {}", workload_names(workloads))),
        Effect::Retire { token, .. } => ("Retire", format!("revoking token {token}")),
        Effect::Revoke { token, .. } => ("Delete", format!("revoking token {token}")),
        Effect::CloseSlot(_) => ("Delete", "removing the operator's copy of a token".into()),
        Effect::LeaveRecord { token, .. } => ("Delete", format!("leaving token {token} in place")),
        Effect::StripTarget => ("Delete", format!("taking the operator's keys out of Secret {secret}")),
        Effect::ReleaseTarget => ("Delete", format!("letting go of Secret {secret}")),
        Effect::DeleteTarget => ("Delete", format!("deleting Secret {secret}")),
        Effect::RemoveFinalizer(_) => ("Delete", "letting the object go".into()),
    };
    NextStep { action, cause: opened.map(|attempt| attempt.cause), at: None, message }
}

/// A change of the ledger as `status.nextStep` shows it.
pub(super) fn ledger_words(entry: LedgerEntry) -> (&'static str, String) {
    match entry {
        LedgerEntry::Open => ("Create", "creating a token".into()),
        LedgerEntry::GiveUp => ("Create", "giving up an attempt; the next one follows".into()),
        LedgerEntry::Abandon => ("Wait", "the published token is what is declared".into()),
        LedgerEntry::Rebuild => ("Wait", "the status was lost, or set back, and is written again".into()),
        LedgerEntry::Forget(_) => ("Retire", "a replaced token is gone".into()),
        LedgerEntry::CallCompromised => ("Rotate", "a person called the published token compromised".into()),
        LedgerEntry::Restarted => ("Restart", "whoever takes the Secret has been restarted".into()),
        LedgerEntry::SetBack => ("Wait", "tokens exist that this cluster does not know".into()),
        LedgerEntry::SetBackConfirmed => ("Wait", "a person confirmed the unknown tokens".into()),
        LedgerEntry::Delete | LedgerEntry::Clear => ("Delete", "the object is being deleted".into()),
    }
}

/// The event to emit when an effect has been done.
pub fn event(observation: &Observation, effect: &Effect) -> Option<Event> {
    let (secret, _) = names(observation);
    let normal = |reason: &str, message: String| Some(Event { warning: false, reason: reason.into(), message });
    match effect {
        Effect::Project { token, .. } => {
            let again = observation.record.published.as_ref().is_some_and(|published| published.token == *token);
            if again {
                return normal("SecretRebuilt", format!("Secret {secret} was written again with token {token}"));
            }
            normal("TokenPublished", format!("Secret {secret} holds token {token}"))
        }
        Effect::LabelCommitted(serial) => adopting::event(observation, *serial),
        Effect::RestartWorkloads { workloads, .. } => workloads_restarted(observation, workloads),
        Effect::Retire { token, .. } => normal("TokenRetired", format!("token {token} was revoked; its successor is in use")),
        Effect::Revoke { token, because: RevokedBecause::Stray, .. } => {
            normal("StrayRevoked", format!("token {token} was revoked; it was never published"))
        }
        Effect::Revoke { token, because: RevokedBecause::Deletion, .. } => {
            normal("TokenRetired", format!("token {token} was revoked, since the object is being deleted"))
        }
        Effect::RemoveFinalizer(LetGo::Retained) => normal("Released", released(observation, secret)),
        Effect::RemoveFinalizer(LetGo::LeftBehind) => Some(Event {
            warning: true,
            reason: "LeftBehind".into(),
            message: format!(
                "dbt could not be reached in time; {} will be revoked when it answers again",
                tokens_left(observation)
            ),
        }),
        _ => None,
    }
}

fn workloads_restarted(observation: &Observation, workloads: &[WorkloadReference]) -> Option<Event> {
    let (token, names) = (observation.ledger.current?.token, workload_names(workloads));
    let verb = if workloads.len() == 1 { "was" } else { "were" };
    let message = format!("{names} {verb} restarted to take token {token}");
    Some(Event { warning: false, reason: "WorkloadsRestarted".into(), message })
}

fn workload_names(workloads: &[WorkloadReference]) -> String {
    let names: BTreeSet<String> = workloads.iter().map(retirement::words::workload).collect();
    retirement::words::list(&names)
}

/// The restart that is owed, as `status.nextStep` shows it while it waits.
pub(super) fn next_restart(observation: &Observation) -> Option<NextStep> {
    let restart = Restart::of(observation).filter(Restart::is_owed)?;
    let message = format!("restart the workloads that take Secret {}", names(observation).0);
    Some(NextStep { action: "Restart", cause: None, at: Some(restart.due_at()), message })
}

fn released(observation: &Observation, secret: &str) -> String {
    match observation.ledger.current {
        Some(current) => format!("token {} and Secret {secret} were left in place", current.token),
        None => format!("Secret {secret} was left in place"),
    }
}

fn tokens_left(observation: &Observation) -> String {
    let tokens: Vec<String> = observation
        .slots
        .iter()
        .filter(|slot| !slot.retained)
        .filter_map(|slot| slot.token())
        .map(|token| token.to_string())
        .collect();
    if tokens.is_empty() { "its token".into() } else { format!("token {}", tokens.join(", ")) }
}

/// Warnings that go with opening an attempt: sets that this version does not know, a token that vanished.
pub(super) fn opening_events(observation: &Observation, step: &Step) -> Vec<Event> {
    let Step::Act(Effect::WriteLedger { entry: LedgerEntry::Open, ledger }) = step else { return Vec::new() };
    let mut events = Vec::new();
    let wanted = observation.account.open().zip(observation.desired.as_ref().ok()).and_then(|(a, d)| gate::wanted(a, d).ok());
    let unknown = wanted.map(|rows| unknown_sets(&rows)).unwrap_or_default();
    if !unknown.is_empty() {
        let message = format!("this version does not know {}; sent to dbt as written", unknown.join(", "));
        events.push(Event { warning: true, reason: "UnknownPermissionSet".into(), message });
    }
    let cause = ledger.next.as_ref().map(|attempt| attempt.cause);
    let told = match cause {
        Some(Cause::TokenLost) => Some(("TokenLost", "is gone in dbt; it is replaced")),
        Some(Cause::Legacy) => Some(("LegacyToken", "was created on or before 18 July 2023; it is replaced")),
        _ => None,
    };
    if let Some((current, (reason, what))) = observation.ledger.current.zip(told) {
        let message = format!("token {} {what}", current.token);
        events.push(Event { warning: true, reason: reason.into(), message });
    }
    events
}
