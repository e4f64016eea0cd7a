//! How an account stands, and why: a chain of questions, of which the first that has an answer decides. Its order is part
//! of the behaviour: what a person must mend first is said first, and nothing is asked of dbt before it may be.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::belief::{Disbelief, own_token};
use super::class::{PlanClass, plan_class};
use super::observation::{
    AccountInfo, AccountObservation, AccountRefusal, AccountSettings, Credential, Failure, FailureClass, MissingSecret,
    ProjectReading, ProjectsFor, TokenList,
};
use super::orphan::after;
use super::reason::{AccountReason, Judgement, Standing, minute};
use super::vanished::{Vanished, set_back, vanished};
use crate::desired::Refusal;
use crate::observation::Token;
use crate::permission::is_known;
use crate::report::ConditionType;

/// How long a missing Secret is waited for, so that one sync may bring everything in any order.
pub const MISSING_GRACE: Duration = Duration::from_secs(120);

/// How soon a list that is not believed is read again: a replica of dbt that lags catches up in less.
pub const DISBELIEF_RETRY: Duration = Duration::from_secs(60);

/// How many ServiceTokens a message names.
const NAMED_USERS: usize = 5;

const CONFIRM: &str = "tokens.dbt-operator.dev/confirm";

/// What it is asked once the declaration makes sense.
type Question = fn(&AccountObservation, &AccountSettings, Timestamp) -> Option<Judgement>;

/// The chain. `connected` closes it.
const QUESTIONS: [(&str, Question); 11] = [
    ("senior", senior),
    ("installation", installation),
    ("credential", credential),
    ("info", info),
    ("list", list),
    ("rights", rights),
    ("vanished", tokens_vanished),
    ("projects", projects),
    ("bound", bound),
    ("set back", serials_set_back),
    ("limits", limited),
];

/// How the account stands, whether or not it is being deleted.
pub fn judge(observation: &AccountObservation, now: Timestamp) -> Judgement {
    let settings = match &observation.settings {
        Ok(settings) => settings,
        Err(refusal) => return refused(refusal),
    };
    let answer = QUESTIONS.iter().find_map(|(_, question)| question(observation, settings, now));
    answer.unwrap_or_else(|| connected(observation))
}

/// What is said while the deletion waits for ServiceTokens.
pub fn in_use(users: &[String]) -> Option<Judgement> {
    let first: Vec<&str> = users.iter().take(NAMED_USERS).map(String::as_str).collect();
    let message = format!("{} ServiceTokens still name it: {}; delete them first", users.len(), first.join(", "));
    (!users.is_empty()).then(|| Judgement::new(Standing::Waiting, AccountReason::InUse, message))
}

/// The believed list, the account's own token in it, and when it was asked for.
pub fn believed(observation: &AccountObservation) -> Option<(&TokenList, &Token, Timestamp)> {
    let Credential::Present(own) = &observation.credential else { return None };
    let (list, taken_at) = (observation.tokens.value()?, observation.tokens.taken_at()?);
    Some((list, own_token(list, own).ok()?, taken_at))
}

/// What vanished from the believed list and raises an alarm that no person has confirmed.
pub fn alarm(observation: &AccountObservation) -> Option<Vanished> {
    let (list, _, taken_at) = believed(observation)?;
    let found = vanished(observation, list, taken_at);
    (found.is_alarming() && !found.is_confirmed(observation.confirm.as_deref())).then_some(found)
}

/// The value of the annotation `confirm` by which this installation takes the account over.
pub fn take_over_value(observation: &AccountObservation) -> String {
    format!("take-over-{}", observation.installation)
}

fn refused(refusal: &AccountRefusal) -> Judgement {
    let (reason, message) = match refusal {
        AccountRefusal::Spec(Refusal::InvalidSpec { field, why, remedy }) => {
            (AccountReason::InvalidSpec, format!("{field}: {why}; {remedy}"))
        }
        AccountRefusal::Spec(Refusal::NotImplemented { field }) => {
            (AccountReason::NotImplemented, format!("{field} is not available in this version; remove it, or upgrade"))
        }
        AccountRefusal::InsecureEndpoint { field } => {
            (AccountReason::InsecureEndpoint, format!("{field}: http needs --allow-insecure-endpoints"))
        }
    };
    Judgement::stalled(reason, message)
}

fn senior(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    let name = observation.senior.as_ref()?;
    Some(Judgement::stalled(AccountReason::DuplicateAccount, format!("DbtAccount {name} (older) names this account")))
}

fn installation(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    let other = observation.record.installation.as_ref().filter(|_| !observation.is_bound())?;
    let value = take_over_value(observation);
    if observation.confirms(&value) {
        return Some(Judgement::new(Standing::Progressing, AccountReason::Progressing, "the account is being taken over"));
    }
    Some(Judgement::stalled(
        AccountReason::OtherInstallation,
        format!(
            "operator {other} bound this account first: this cluster may be a copy; nothing is created or revoked; \
             if this cluster shall take over, annotate {CONFIRM}={value}"
        ),
    ))
}

fn credential(observation: &AccountObservation, _: &AccountSettings, now: Timestamp) -> Option<Judgement> {
    let (reason, missing, what) = match &observation.credential {
        Credential::Present(_) => return None,
        Credential::Unread => return Some(progressing("the Secret with the credential is being read")),
        Credential::ClusterUnavailable { detail, since, retry_at } => {
            let message = format!(
                "the Secret with the credential cannot be read: {detail} since {}; next try {}",
                minute(*since),
                minute(*retry_at)
            );
            return Some(Judgement::new(Standing::Waiting, AccountReason::Unreachable, message).until(*retry_at));
        }
        Credential::Missing(missing) => (AccountReason::CredentialNotFound, missing, "has no key"),
        Credential::BundleInvalid(missing) => (AccountReason::CaBundleInvalid, missing, "has no PEM certificate under the key"),
    };
    let MissingSecret { namespace, name, key, since } = missing;
    let message = format!("Secret {namespace}/{name} {what} {key}; create it");
    Some(patient(observation, reason, message, *since, now))
}

/// Waits a little before a person is called, unless one was called for the same reason already (a restart of the operator
/// must not make it wait anew).
fn patient(
    observation: &AccountObservation,
    reason: AccountReason,
    message: String,
    since: Timestamp,
    now: Timestamp,
) -> Judgement {
    let conditions = &observation.record.conditions;
    let was_stalled =
        conditions.iter().any(|(condition, _)| condition.kind == ConditionType::Stalled && condition.reason == reason.word());
    let stalls_at = after(since, MISSING_GRACE);
    if was_stalled || stalls_at <= now {
        Judgement::stalled(reason, message)
    } else {
        Judgement::new(Standing::Expecting, reason, message).until(stalls_at)
    }
}

fn progressing(message: &str) -> Judgement {
    Judgement::new(Standing::Progressing, AccountReason::Progressing, message)
}

fn info(observation: &AccountObservation, settings: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    if let Some(failure) = observation.info.failure() {
        return Some(failed(settings, failure, "read the account"));
    }
    let Some(info) = observation.info.value() else {
        return Some(progressing("the account is being asked who it is"));
    };
    info_judgement(info, settings)
}

/// What the account's own words say against working with it.
pub(super) fn info_judgement(info: &AccountInfo, settings: &AccountSettings) -> Option<Judgement> {
    if let Some(other) = info.account.filter(|account| *account != settings.account) {
        let message = format!("the credential belongs to account {other}; compare accountId with it");
        return Some(Judgement::stalled(AccountReason::AccountMismatch, message));
    }
    let why = match (&info.locked, plan_class(&info.plan)) {
        (Some(why), _) => why.clone(),
        (None, PlanClass::Cancelled) => format!("plan {}", info.plan),
        (None, _) => return None,
    };
    Some(Judgement::stalled(AccountReason::AccountLocked, locked(&why)))
}

fn locked(why: &str) -> String {
    format!("the account is locked or unpaid ({why}); settle it in dbt")
}

fn failed(settings: &AccountSettings, failure: &Failure, attempt: &str) -> Judgement {
    let host = &settings.host;
    let judgement = match failure.class {
        FailureClass::CredentialRefused => Judgement::stalled(
            AccountReason::CredentialRefused,
            format!(
                "{host} answers 401: the token is wrong or revoked, or the host is not this account's any more (dbt answers \
                 both alike); compare accessUrl with dbt's account settings, then the token"
            ),
        ),
        FailureClass::AccountLocked => Judgement::stalled(AccountReason::AccountLocked, locked(&failure.detail)),
        FailureClass::IpRefused => Judgement::stalled(
            AccountReason::IpRefused,
            format!("dbt refuses this address ({}); allow the cluster's egress", failure.detail),
        ),
        FailureClass::Denied => insufficient(attempt),
        FailureClass::Unavailable => Judgement::new(
            Standing::Waiting,
            AccountReason::Unreachable,
            format!(
                "{host}: {} since {}; next try {}; see network policy, proxy and caBundleSecretRef",
                failure.detail,
                minute(failure.since),
                minute(failure.retry_at)
            ),
        ),
    };
    judgement.until(failure.retry_at)
}

fn insufficient(attempt: &str) -> Judgement {
    let message = format!("the credential may not {attempt}; give it a service token with account_admin; personal tokens cannot");
    Judgement::stalled(AccountReason::CredentialInsufficient, message)
}

fn list(observation: &AccountObservation, settings: &AccountSettings, now: Timestamp) -> Option<Judgement> {
    if let Some(failure) = observation.tokens.failure() {
        return Some(failed(settings, failure, "list tokens"));
    }
    let Credential::Present(own) = &observation.credential else { return None };
    let (Some(list), Some(taken_at)) = (observation.tokens.value(), observation.tokens.taken_at()) else {
        return Some(progressing("the account's tokens are being listed"));
    };
    let disbelief = own_token(list, own).err()?;
    let judgement = disbelieved(observation, settings, &disbelief, taken_at, now);
    let retry_at = after(taken_at, DISBELIEF_RETRY);
    let look_again_at = judgement.look_again_at.map_or(retry_at, |earlier| earlier.min(retry_at));
    Some(judgement.until(look_again_at))
}

/// A list that cannot be believed. At first it may only lag, so a person is not called at once.
fn disbelieved(
    observation: &AccountObservation,
    settings: &AccountSettings,
    disbelief: &Disbelief,
    taken_at: Timestamp,
    now: Timestamp,
) -> Judgement {
    let (host, account) = (&settings.host, settings.account);
    let what = match disbelief {
        Disbelief::Unclear(count) => {
            let message = format!(
                "the credential is of an old form and fits {count} tokens of account {account} instead of one, so the list \
                 cannot be trusted; give it a service token made today, with account_admin; personal tokens cannot"
            );
            return Judgement::stalled(AccountReason::CredentialInsufficient, message);
        }
        Disbelief::NotListed(uid) => format!("does not list the credential's own token {uid}"),
        Disbelief::Inactive(id) => format!("lists the credential's own token {id} as deleted"),
        Disbelief::ListedTwice(uid) => format!("lists two tokens with the uid {uid} of the credential"),
    };
    let message = format!(
        "the credential works, but {host} {what} for account {account}, so the list is not believed; compare accessUrl and \
         accountId with dbt's account settings"
    );
    let since = observation.unbelieved_since.map_or(taken_at, |since| since.min(taken_at));
    patient(observation, AccountReason::AccountMismatch, message, since, now)
}

/// The sets that may create tokens: `account_admin`, and `owner` on self-service plans. [ASSUMED] from dbt's documentation.
const CREATING_SETS: [&str; 2] = ["account_admin", "owner"];

fn rights(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    if let Some(detail) = &observation.create_refused {
        return Some(insufficient(&format!("create tokens ({detail})")));
    }
    let (_, own, _) = believed(observation)?;
    let sets: BTreeSet<_> = own.rows.rows().iter().map(|row| &row.permission_set).collect();
    // No rows, or a set that we do not know, says nothing: dbt's list of sets grows.
    let insufficient_sets = !sets.is_empty() && sets.iter().all(|set| is_known(set) && !CREATING_SETS.contains(&set.as_str()));
    insufficient_sets.then(|| insufficient("create tokens"))
}

fn tokens_vanished(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    let found = alarm(observation)?;
    let (_, _, taken_at) = believed(observation)?;
    let earlier = observation.record.conditions.iter().find(|(condition, _)| {
        condition.kind == ConditionType::Stalled && condition.reason == AccountReason::TokensVanished.word()
    });
    let since = earlier.map_or(taken_at, |(_, since)| *since);
    Some(Judgement::stalled(
        AccountReason::TokensVanished,
        format!(
            "{} of {} managed tokens are gone from dbt's list since {}; nothing is minted; compare accessUrl; if they are \
             gone, annotate {CONFIRM}={}",
            found.tokens.len(),
            found.managed,
            minute(since),
            found.confirm_value()
        ),
    ))
}

fn projects(observation: &AccountObservation, settings: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    match &observation.projects {
        ProjectReading::NotWanted
        | ProjectReading::Wanted { taken_at: Some(_), .. }
        | ProjectReading::Wanted { by: ProjectsFor::ServiceTokens, .. } => None,
        ProjectReading::Wanted { failure: Some(failure), .. } => Some(failed(settings, failure, "list projects")),
        ProjectReading::Wanted { .. } => Some(progressing("the account's projects are being listed")),
    }
}

fn bound(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    (!observation.is_bound()).then(|| progressing("the account is being bound to this installation"))
}

fn serials_set_back(observation: &AccountObservation, _: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    let found = set_back(observation)?;
    Some(Judgement::new(
        Standing::Good,
        AccountReason::SetBack,
        format!(
            "{} tokens carry serials that this cluster does not know: it was set back in time, or cloned; tokens are created, \
             none is revoked; if no other cluster uses them, annotate {CONFIRM}={}",
            found.tokens,
            found.confirm_value()
        ),
    ))
}

fn limited(observation: &AccountObservation, settings: &AccountSettings, _: Timestamp) -> Option<Judgement> {
    if settings.suspended {
        return Some(Judgement::new(Standing::Good, AccountReason::Suspended, "suspended"));
    }
    let plan = observation.info.value().map(|info| info.plan.as_str())?;
    (plan_class(plan) == PlanClass::SemanticLayerOnly).then(|| {
        let message = format!("plan {plan} allows only semantic_layer_only");
        Judgement::new(Standing::Good, AccountReason::PlanLimited, message)
    })
}

fn connected(observation: &AccountObservation) -> Judgement {
    let name = observation.info.value().map_or(observation.name.as_str(), |info| info.name.as_str());
    let message = format!("account {name} answers; the credential may create tokens");
    Judgement::new(Standing::Good, AccountReason::Connected, message)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
