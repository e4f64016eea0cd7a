//! The condition Ready, and with it Stalled and Reconciling: what a person or a deployment tool reads first.

use crate::desired::DeletionPolicy;
use crate::effect::{Effect, LedgerEntry};
use crate::gate;
use crate::grant;
use crate::ledger::Cause;
use crate::observation::{Account, CondemnedReason, Life, Observation, Trouble, TroubleKind};
use crate::permission;
use crate::plan::{self, Step, Wait};
use crate::report::words;
use crate::report::{Condition, ConditionStatus, ConditionType, Published};
use crate::restart::Restart;
use crate::retirement;

/// The reasons with which an object counts as published and in order.
const IN_ORDER: [&str; 3] = ["Published", "PublishedUnproven", "PolicyViolation"];

/// The reason for a person to act although what is declared is published.
const RESTART_NOT_PERMITTED: &str = "RestartNotPermitted";

/// The reasons that stay while the next attempt waits for its turn.
const LASTING: [&str; 3] = ["DbtRejected", "GrantsDiffer", "VerificationRefused"];

/// What the three conditions say together.
pub(super) struct Verdict {
    status: ConditionStatus,
    reason: String,
    message: String,
    stalled: bool,
    reconciling: Option<&'static str>,
}

impl Verdict {
    fn new(status: ConditionStatus, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), message: message.into(), stalled: false, reconciling: None }
    }

    fn stall(reason: &str, message: impl Into<String>) -> Self {
        Self { stalled: true, ..Self::new(ConditionStatus::False, reason, message) }
    }

    fn progressing(message: impl Into<String>) -> Self {
        Self { reconciling: Some("Progressing"), ..Self::new(ConditionStatus::Unknown, "Progressing", message) }
    }

    fn retried(self) -> Self {
        Self { reconciling: Some("ProgressingWithRetry"), ..self }
    }

    pub(super) fn ready(&self) -> Condition {
        Condition { kind: ConditionType::Ready, status: self.status, reason: self.reason.clone(), message: self.message.clone() }
    }

    pub(super) fn stalled(&self) -> Option<Condition> {
        let condition = Condition { kind: ConditionType::Stalled, status: ConditionStatus::True, ..self.ready() };
        self.stalled.then_some(condition)
    }

    pub(super) fn reconciling(&self) -> Option<Condition> {
        let reason = self.reconciling?.to_owned();
        let message = self.message.clone();
        Some(Condition { kind: ConditionType::Reconciling, status: ConditionStatus::True, reason, message })
    }
}

pub(super) fn ready(observation: &Observation, step: &Step, published: Option<&Published>) -> Verdict {
    if observation.deleted_at.is_some() {
        return deleting(observation, step);
    }
    if let Some(lasting) = lasting(observation, step) {
        return lasting;
    }
    // A retry that is due has not succeeded yet: what failed is told until then, so that the status does not flap.
    let retried = observation.trouble.as_ref().is_some_and(|trouble| plan::concerns(trouble, step));
    let step = if retried { &Step::Wait(Wait::Trouble) } else { step };
    match step {
        Step::Blocked(block) => {
            let (reason, message) = words::block(observation, block);
            Verdict::stall(reason, message)
        }
        Step::Wait(Wait::Suspended) => suspended(observation, published),
        // What waits for a window is what is declared until then.
        Step::Settled | Step::Wait(Wait::Window { .. }) => {
            published.map_or_else(|| Verdict::progressing("nothing to do yet"), |it| at_rest(observation, it))
        }
        _ if is_steady(observation, step, published) => {
            published.map_or_else(|| waiting(observation, step), |it| at_rest(observation, it))
        }
        _ => waiting(observation, step),
    }
}

pub(super) fn dbt_rejected(observation: &Observation, message: &str) -> Verdict {
    let plan = observation.account.open().map_or("unknown", |account| account.plan.as_str());
    Verdict::stall(
        "DbtRejected",
        format!("dbt refuses the request: {message}; check the permission sets against the account's plan ({plan})"),
    )
}

fn deleting(observation: &Observation, step: &Step) -> Verdict {
    if let Step::Blocked(block) = step {
        let (reason, message) = words::block(observation, block);
        return Verdict::stall(reason, message);
    }
    let message = match observation.ledger.current.or(observation.ledger.retiring.first().copied()) {
        Some(entry) if observation.ledger.deletion.unwrap_or(observation.deletion_policy) == DeletionPolicy::Retain => {
            format!("token {} and Secret {} are left in place", entry.token, words::names(observation).0)
        }
        Some(entry) => format!("token {} is being revoked", entry.token),
        None => "the object is being deleted".into(),
    };
    let verdict = Verdict::new(ConditionStatus::False, "Deleting", message);
    Verdict { reconciling: Some("Progressing"), ..verdict }
}

/// A failure for good is said when the attempt is given up, and stays until the next attempt has an end of its own.
fn lasting(observation: &Observation, step: &Step) -> Option<Verdict> {
    let attempt = observation.ledger.next.as_ref()?;
    // A later attempt that waits for its links has come further than the one that failed before it.
    if *step == Step::Wait(Wait::Trouble) && observation.trouble.as_ref().is_some_and(|it| it.kind.is_about_links()) {
        return None;
    }
    if let Step::Act(Effect::WriteLedger { entry: LedgerEntry::GiveUp, .. }) = step {
        return condemned(observation);
    }
    let under_way = matches!(
        step,
        Step::Act(_)
            | Step::Read(_)
            | Step::Wait(Wait::Backoff { .. } | Wait::Trouble | Wait::Budget { .. } | Wait::Window { .. })
    );
    let commits = matches!(step, Step::Act(Effect::Prove { .. } | Effect::WriteLedger { .. }));
    let same_generation = observation.record.observed_generation == observation.generation;
    if attempt.failures == 0 || !under_way || commits || !same_generation {
        return None;
    }
    let before = observation.record.conditions.iter().find(|condition| condition.kind == ConditionType::Stalled)?;
    LASTING.contains(&before.reason.as_str()).then(|| Verdict::stall(&before.reason, before.message.clone()))
}

fn condemned(observation: &Observation) -> Option<Verdict> {
    let slot = observation.slot(observation.ledger.next.as_ref()?.serial)?;
    let (why, token) = (slot.condemned.as_ref()?, slot.token()?);
    match why.reason {
        CondemnedReason::Superseded | CondemnedReason::Replaced => None,
        CondemnedReason::GrantsDiffer => {
            Some(Verdict::stall("GrantsDiffer", format!("{}; token {token} is revoked", why.detail)))
        }
        CondemnedReason::VerificationRefused => {
            let stays = what_stays(observation);
            let message = format!(
                "new token {token} was refused ({}) and is revoked; {stays}; check IP restrictions and endpoints",
                why.detail
            );
            Some(Verdict::stall("VerificationRefused", message))
        }
    }
}

fn what_stays(observation: &Observation) -> String {
    let current = observation.ledger.current;
    current.map_or_else(|| "nothing is published".into(), |current| format!("token {} stays published", current.token))
}

fn suspended(observation: &Observation, published: Option<&Published>) -> Verdict {
    let usable = published.is_some_and(|published| observation.life(published.token) != Life::Inactive);
    let status = if usable { ConditionStatus::True } else { ConditionStatus::False };
    let message = format!("suspended; generation {} is not applied; unset suspend to go on", observation.generation);
    Verdict::new(status, "Suspended", message)
}

/// The declaration is applied; a person may have to act all the same, for whoever takes the Secret to see the new token.
fn at_rest(observation: &Observation, published: &Published) -> Verdict {
    match Restart::of(observation).and_then(|restart| restart.refused()) {
        Some(kind) => Verdict::stall(RESTART_NOT_PERMITTED, retirement::refused(kind, &observation.owner.namespace)),
        None => in_order(observation, published),
    }
}

fn in_order(observation: &Observation, published: &Published) -> Verdict {
    let (secret, account) = words::names(observation);
    let token = published.token;
    let before = before(observation, published, ConditionType::Ready).filter(|it| IN_ORDER.contains(&it.reason.as_str()));
    if let Some(before) = before.filter(|_| !can_be_judged(observation, published)) {
        return Verdict::new(before.status, &before.reason, before.message.clone());
    }
    if let Some(row) = withdrawn(observation) {
        let message = format!(
            "token {token} still works, but no grant of DbtAccount {account} covers {row} any more; add the grant, or remove the permission"
        );
        return Verdict::new(ConditionStatus::True, "PolicyViolation", message);
    }
    let untried = untried(observation, published);
    if !untried.is_empty() {
        let sets = untried.join(", ");
        let message = format!("Secret {secret} holds token {token}; no call can try {sets}; set verification.environmentId");
        return Verdict::new(ConditionStatus::True, "PublishedUnproven", message);
    }
    let message = format!("Secret {secret} holds token {token}, which dbt accepted with the declared permissions");
    Verdict::new(ConditionStatus::True, "Published", message)
}

/// Whether this observation tells what can be tried of the published token. Without the account, or after a restart, it
/// does not, and what was told before still stands.
fn can_be_judged(observation: &Observation, published: &Published) -> bool {
    let listed = observation.known_tokens().find(|token| token.id == published.token);
    listed.is_some_and(|token| gate::probes(observation, &token.rows).is_ok())
}

/// What a condition said of this very token.
pub(super) fn before<'a>(observation: &'a Observation, published: &Published, kind: ConditionType) -> Option<&'a Condition> {
    let same = observation.record.published.as_ref().is_some_and(|before| before.token == published.token);
    observation.record.conditions.iter().find(|condition| same && condition.kind == kind)
}

/// The row of the declared permissions that no grant covers any more.
fn withdrawn(observation: &Observation) -> Option<String> {
    let (account, desired) = (observation.account.open()?, observation.desired.as_ref().ok()?);
    let rows = gate::wanted(account, desired).ok()?;
    grant::uncovered(&rows, &account.grants).map(ToString::to_string)
}

fn untried(observation: &Observation, published: &Published) -> Vec<String> {
    let Some(token) = observation.known_tokens().find(|token| token.id == published.token) else { return Vec::new() };
    let untried = gate::probes(observation, &token.rows).map(|(_, untried)| untried).unwrap_or_default();
    untried.iter().map(ToString::to_string).collect()
}

/// Whether the spec is applied and only the background is busy: the published token works and is in its Secret, and this
/// generation was in order before.
fn is_steady(observation: &Observation, step: &Step, published: Option<&Published>) -> bool {
    let in_place = published.is_some_and(|published| observation.target_holds(published.token));
    let stalls = |trouble: &Trouble| trouble.kind == TroubleKind::SecretRefused || trouble.kind.is_about_links();
    let refused = observation.trouble.as_ref().is_some_and(stalls);
    if !in_place || refused && *step == Step::Wait(Wait::Trouble) {
        return false;
    }
    let lost = observation.ledger.current.is_none_or(|current| observation.life(current.token) == Life::Inactive);
    let works = !lost && !observation.current_was_refused();
    was_in_order(observation) && works && !applies_an_edit(observation, step)
}

/// Whether this generation was told to be published and in order, whether or not its readers could be restarted.
pub(crate) fn was_in_order(observation: &Observation) -> bool {
    let ready = observation.record.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
    let in_order = ready.is_some_and(|ready| {
        let reason = ready.reason.as_str();
        ready.status == ConditionStatus::True && IN_ORDER.contains(&reason) || reason == RESTART_NOT_PERMITTED
    });
    in_order && observation.record.observed_generation == observation.generation
}

fn applies_an_edit(observation: &Observation, step: &Step) -> bool {
    let opened = match step {
        Step::Act(Effect::WriteLedger { ledger, .. }) => ledger.next.as_ref(),
        _ => observation.ledger.next.as_ref(),
    };
    opened.is_some_and(|attempt| matches!(attempt.cause, Cause::First | Cause::PermissionsChanged))
}

/// Nothing is in order yet, and nobody has to act.
fn waiting(observation: &Observation, step: &Step) -> Verdict {
    let (_, account) = words::names(observation);
    match step {
        Step::Wait(Wait::AccountNotReady) => {
            let message = match &observation.account {
                // The account's own message may name the time of the next try, and would be written anew with each.
                Account::NotReady { reason, .. } => format!("DbtAccount {account}: {reason}; see the DbtAccount"),
                _ => format!("DbtAccount {account} is not ready; see the DbtAccount"),
            };
            Verdict::new(ConditionStatus::False, "AccountNotReady", message).retried()
        }
        Step::Wait(Wait::AccountMissing) => {
            Verdict::progressing(format!("waiting for DbtAccount {account}, which does not exist yet"))
        }
        Step::Wait(Wait::Trouble) => troubled(observation),
        Step::Wait(Wait::Budget { limit, free_at }) => {
            let message = format!(
                "limits.mintsPerHour ({limit}) of DbtAccount {account} is used up; free at {}; wait, or raise it",
                crate::stage::retire::minute(*free_at)
            );
            Verdict::new(ConditionStatus::False, "MintBudgetExhausted", message).retried()
        }
        Step::Wait(Wait::Backoff { until }) => {
            let message =
                format!("the last attempt was given up; the next one starts at {}", crate::stage::retire::minute(*until));
            Verdict::progressing(message).retried()
        }
        _ => Verdict::progressing(words::next_step(observation, step).message),
    }
}

fn troubled(observation: &Observation) -> Verdict {
    let Some(trouble) = &observation.trouble else { return Verdict::progressing("trying again") };
    let since = crate::stage::retire::minute(trouble.since);
    match trouble.kind {
        TroubleKind::DbtUnavailable => {
            let message = format!("{} since {since}; it is tried again by itself", trouble.message);
            Verdict::new(ConditionStatus::False, "DbtUnavailable", message).retried()
        }
        TroubleKind::VerificationInconclusive => {
            let message = format!("the new token could not be tried ({}) since {since}; nothing is published", trouble.message);
            Verdict::new(ConditionStatus::False, "VerificationInconclusive", message).retried()
        }
        TroubleKind::SecretRefused => Verdict::stall(
            "SecretRefused",
            format!("{}; check quota, admission policy and RBAC of the namespace", trouble.message),
        ),
        TroubleKind::LinkRefused => link_failed(observation, trouble, "link it in dbt, or mend the credential's rights"),
        TroubleKind::LinksUnreadable => link_failed(observation, trouble, "mend the credential's rights"),
        TroubleKind::Cluster => Verdict::progressing(format!("{} since {since}", trouble.message)).retried(),
    }
}

fn link_failed(observation: &Observation, trouble: &Trouble, remedy: &str) -> Verdict {
    let message = format!("{}; {}; {remedy}", trouble.message, what_stays(observation));
    Verdict::stall("SemanticLayerLinkFailed", message)
}

pub(super) fn token_usable(observation: &Observation, published: Option<&Published>) -> Condition {
    if let Some(before) = published.and_then(|published| usable_before(observation, published)) {
        return before;
    }
    let (status, reason, message) = match published {
        None => (ConditionStatus::Unknown, "NoToken", "no token is published".to_owned()),
        Some(published) => usable_words(observation, published),
    };
    Condition { kind: ConditionType::TokenUsable, status, reason: reason.into(), message }
}

/// What was said of the token, where nothing new is known of it.
fn usable_before(observation: &Observation, published: &Published) -> Option<Condition> {
    let known = observation.life(published.token) == Life::Inactive
        || observation.current_was_refused()
        || can_be_judged(observation, published);
    before(observation, published, ConditionType::TokenUsable).filter(|before| !known && before.reason != "NoToken").cloned()
}

fn usable_words(observation: &Observation, published: &Published) -> (ConditionStatus, &'static str, String) {
    let token = published.token;
    if observation.life(token) == Life::Inactive {
        return (ConditionStatus::False, "TokenLost", format!("dbt no longer has token {token}"));
    }
    if observation.current_was_refused() && observation.ledger.current.is_some_and(|current| current.token == token) {
        return (ConditionStatus::False, "VerificationRefused", format!("dbt refused token {token} when it was last tried"));
    }
    let untried = untried(observation, published);
    if !untried.is_empty() {
        return (ConditionStatus::Unknown, "Unprobeable", format!("no call can try {} of token {token}", untried.join(", ")));
    }
    (ConditionStatus::True, "VerificationPassed", format!("dbt accepted token {token} when it was last tried"))
}

/// Sets that the table does not know; they are sent all the same.
pub(super) fn unknown_sets(rows: &grant::GrantRows) -> Vec<String> {
    let mut sets: Vec<String> = rows
        .rows()
        .iter()
        .map(|row| &row.permission_set)
        .filter(|set| !permission::is_known(set))
        .map(ToString::to_string)
        .collect();
    sets.dedup();
    sets
}
