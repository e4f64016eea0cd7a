//! The steps of a dry run in words: one line for what a person would call a step, none for the operator's own bookkeeping.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::desired::WorkloadKind;
use crate::effect::{Effect, LedgerEntry};
use crate::grant::{GrantRow, GrantRows, Scope};
use crate::identity::{Serial, TokenId};
use crate::ledger::Cause;
use crate::link::Inheritance;
use crate::observation::{Observation, Target};
use crate::permission::Probe;
use crate::plan::{Step, Wait};
use crate::report::words::{ledger_words, names, next_step};
use crate::retirement::listed;

/// The effect as a step of a plan: one of the actions of the API, and the step in words. `real` is what was observed, `copy`
/// what would be when its turn comes. `None` for what people need not know of.
pub(crate) fn step(real: &Observation, copy: &Observation, effect: &Effect) -> Option<(&'static str, String)> {
    Some(match effect {
        Effect::WriteLedger { entry, .. } => return ledger_step(real, copy, *entry),
        Effect::Mint { rows, .. } => ("Create", created(real, copy, rows)),
        Effect::ClaimAdoption { token, source, .. } => {
            ("Adopt", format!("take over {} from Secret {}, key {}", dated(real, *token), source.secret, source.key))
        }
        Effect::TakeOverTarget { source, .. } => ("Adopt", format!("take over Secret {}", source.secret)),
        Effect::Rename { token, .. } => {
            ("Adopt", format!("add the operator's mark to the name of {} in dbt", named(real, *token)))
        }
        Effect::Prove { serial, probes, inheritance, .. } => ("Verify", verified(real, copy, *serial, probes, inheritance)),
        Effect::Condemn { serial, why } => {
            let token = copy.slot(*serial).and_then(|slot| slot.token());
            let token = token.map_or_else(|| "the new token".into(), |token| named(real, token));
            ("Delete", format!("give up {token}: {}", why.detail))
        }
        Effect::Project { token, .. } => ("Publish", published(real, copy, *token)),
        Effect::Retire { token, .. } => ("Retire", format!("delete {}", dated(real, *token))),
        Effect::Revoke { token, .. } => ("Delete", format!("delete {}, which is not in use", dated(real, *token))),
        Effect::StripTarget | Effect::ReleaseTarget | Effect::DeleteTarget => {
            ("Delete", format!("let go of Secret {}", names(copy).0))
        }
        Effect::AddFinalizer
        | Effect::ClaimTarget
        | Effect::Reserve(_)
        | Effect::Grant { .. }
        | Effect::LabelCommitted(_)
        | Effect::InspectSource(_)
        | Effect::CondemnAdopted { .. }
        | Effect::RestartWorkloads { .. }
        | Effect::CloseSlot(_)
        | Effect::LeaveRecord { .. }
        | Effect::RemoveFinalizer(_) => return None,
    })
}

/// The restarts after a swap; `None` if none are declared.
pub(crate) fn restarts(copy: &Observation, kinds: &BTreeSet<WorkloadKind>) -> Option<String> {
    let told: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
    (!told.is_empty()).then(|| format!("restart every {} that takes Secret {} by env or subPath", listed(&told), names(copy).0))
}

/// What is waited for without anybody knowing how long, in words.
pub(crate) fn waiting(copy: &Observation, wait: &Wait) -> String {
    next_step(copy, &Step::Wait(wait.clone())).message
}

fn ledger_step(real: &Observation, copy: &Observation, entry: LedgerEntry) -> Option<(&'static str, String)> {
    match entry {
        LedgerEntry::CallCompromised => {
            let token = copy.ledger.current.map(|current| current.token)?;
            Some(("Rotate", format!("{} is called compromised: it and all before it go without an overlap", named(real, token))))
        }
        LedgerEntry::Rebuild | LedgerEntry::SetBack | LedgerEntry::SetBackConfirmed => Some(ledger_words(entry)),
        LedgerEntry::Open
        | LedgerEntry::GiveUp
        | LedgerEntry::Abandon
        | LedgerEntry::Forget(_)
        | LedgerEntry::Restarted
        | LedgerEntry::Delete
        | LedgerEntry::Clear => None,
    }
}

fn created(real: &Observation, copy: &Observation, rows: &GrantRows) -> String {
    let cause = copy.ledger.next.as_ref().map_or(Cause::First, |attempt| attempt.cause);
    let instead = copy.ledger.current.map(|current| format!(", in place of {} ({})", dated(real, current.token), cause.word()));
    format!("a token with {}{}", granted(copy, rows), instead.unwrap_or_default())
}

/// `token 17`; one that would be made only has no id yet.
pub(crate) fn named(real: &Observation, token: TokenId) -> String {
    if is_known(real, token) { format!("token {token}") } else { "the new token".into() }
}

/// Whether the token is one that there is.
pub(crate) fn is_known(real: &Observation, token: TokenId) -> bool {
    real.known_tokens().any(|known| known.id == token) || real.named_tokens().contains(&token)
}

/// `token 17 created 2022-03-04`; the date is that of UTC.
fn dated(real: &Observation, token: TokenId) -> String {
    let created_at = real.known_tokens().find(|known| known.id == token).and_then(|known| known.created_at);
    let date = |time: Timestamp| format!(" created {}", time.strftime("%Y-%m-%d"));
    named(real, token) + &created_at.map(date).unwrap_or_default()
}

/// Rows with the same set and the same write environments are told together.
fn granted(copy: &Observation, rows: &GrantRows) -> String {
    let mut groups: Vec<(&GrantRow, Vec<String>)> = Vec::new();
    for row in rows.rows() {
        let place = scope(copy, row.scope);
        match groups.iter_mut().find(|(it, _)| it.permission_set == row.permission_set && it.writable == row.writable) {
            Some((_, places)) => places.push(place),
            None => groups.push((row, vec![place])),
        }
    }
    let told = groups.into_iter().map(|(row, places)| {
        let kinds: Vec<&str> = row.writable.iter().map(crate::identity::WriteCategory::as_str).collect();
        let writing = if kinds.is_empty() { String::new() } else { format!(" (writing in {})", kinds.join(", ")) };
        format!("{} on {}{writing}", row.permission_set, listed(&places))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn scope(copy: &Observation, scope: Scope) -> String {
    let Scope::Project(id) = scope else { return "all projects".into() };
    let projects = copy.account.open().and_then(|account| account.projects.value());
    let known = projects.and_then(|projects| projects.iter().find(|project| project.id == id));
    known.map_or_else(|| format!("project {id}"), |project| format!("{} ({id})", project.name))
}

fn verified(real: &Observation, copy: &Observation, serial: Serial, probes: &[Probe], inheritance: &Inheritance) -> String {
    // One that is there already is named; what dbt will call a new one nobody knows.
    let made = real.slot(serial).and_then(|slot| slot.token());
    let with = made.map_or_else(|| "it".into(), |token| format!("token {token}"));
    let calls: Vec<String> = probes.iter().map(|probe| call(copy, *probe)).collect();
    let tried = match calls[..] {
        [] => format!("compare the permissions of {with} with the declared ones, since no call can try it"),
        _ => format!("{} with {with}", calls.join(", ")),
    };
    let from: Vec<String> = inheritance.from.iter().map(ToString::to_string).collect();
    if from.is_empty() { tried } else { format!("{tried}; link the Semantic Layer credentials of token {} to it", listed(&from)) }
}

fn call(copy: &Observation, probe: Probe) -> String {
    match probe {
        Probe::Jobs(Some(project)) => format!("list the jobs of {}", project_name(copy, Scope::Project(project))),
        Probe::Jobs(None) => "list the jobs of all projects".into(),
        Probe::Projects => "list the projects".into(),
        Probe::ServiceTokens => "list the service tokens".into(),
        Probe::Notifications => "list the notifications".into(),
        Probe::Accounts => "list the accounts".into(),
        Probe::Webhooks => "list the webhooks".into(),
        Probe::Discovery(environment) => format!("ask the Discovery API about environment {environment}"),
        Probe::SemanticLayer(environment) => format!("ask the Semantic Layer about environment {environment}"),
    }
}

/// The name of a project alone, where its id was told before.
fn project_name(copy: &Observation, scope_of_call: Scope) -> String {
    let told = scope(copy, scope_of_call);
    told.rsplit_once(" (").map_or(told.clone(), |(name, _)| name.to_owned())
}

fn published(real: &Observation, copy: &Observation, token: TokenId) -> String {
    let (secret, _) = names(copy);
    let held = match &copy.target {
        Target::Ours(state) => state.token,
        _ => None,
    };
    if real.ledger.current.is_some_and(|current| current.token == token) {
        let verb = if real.target == Target::Missing { "create" } else { "write" };
        return format!("{verb} Secret {secret} again with token {token}, as declared");
    }
    if let Target::Ours(state) = &copy.target
        && state.taken_over
        && held.is_none()
    {
        return format!("write {} of Secret {secret}; what else it holds stays", keys(copy));
    }
    match held {
        Some(before) => format!("replace {} in Secret {secret} by it", named(real, before)),
        None if matches!(real.target, Target::Ours(_)) => format!("fill Secret {secret}, with {}", keys(copy)),
        None => format!("create Secret {secret} with {}", keys(copy)),
    }
}

/// `the key token`, `the keys host and token`.
fn keys(copy: &Observation) -> String {
    let keys = copy.desired.as_ref().map_or(&[][..], |desired| desired.secret_keys.as_slice());
    let plural = if keys.len() == 1 { "the key" } else { "the keys" };
    format!("{plural} {}", listed(keys))
}
