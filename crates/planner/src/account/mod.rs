//! The same judgement for a `DbtAccount`: may its token list be believed, which alarms are on, which tokens are strays, and
//! who gets how much of the budget.
//!
//! [`plan`] is as total, deterministic and quiet as that of a ServiceToken. At rest it asks for one reading of the token
//! list per inventory interval and for nothing else. Start reading at [`mod@judge`], the chain of reasons.

pub mod belief;
pub mod budget;
pub mod census;
pub mod class;
pub mod judge;
pub mod observation;
pub mod orphan;
pub mod reason;
#[cfg(test)]
mod testing;
pub mod vanished;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::identity::{Installation, OwnerUid, Serial, TokenId};
use crate::legacy::is_legacy;
use crate::report::{Condition, Event};
use census::{Census, TokenCounts};
use class::{PlanClass, plan_class};
use judge::{DISBELIEF_RETRY, alarm, believed, in_use, info_judgement, judge, take_over_value};
use observation::{AccountInfo, AccountObservation, AccountSettings, Answer, Credential, ProjectReading, SlotName};
use orphan::{after, orphans};
use reason::{AccountReason, Judgement, Standing};
use vanished::{confirmed_serial, set_back};

/// How soon the watch's silence about a duplicate or an alarm is not relied upon any more.
const FALLBACK: Duration = Duration::from_secs(600);

/// One change that a plan asks for. Each is conditional, so that a replica which acts on an old observation does no harm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountEffect {
    /// Adds the finalizer to the object. Harmless: it can be added again.
    AddFinalizer,
    /// Lets the object go. Rests on: it is being deleted, so that no new ServiceToken can be served by it, and none names it.
    RemoveFinalizer,
    /// Writes this installation into the status, under a compare-and-swap on the object's resourceVersion. Destroys nothing;
    /// what it allows later rests on the marks of this very installation.
    BindInstallation(Installation),
    /// Revokes a token of ours that no object owns. Rests on: a uid is never used twice, so that an owner which a live read
    /// proved gone stays gone, and no ledger can name the token again.
    RevokeStray {
        /// The token.
        token: TokenId,
        /// Who owned it.
        owner: OwnerUid,
        /// Who owned it, as `namespace/name`, if its slot tells.
        owner_name: Option<String>,
        /// The filled slot that holds its string; it is closed later, once the token was observed inactive.
        slot: Option<SlotName>,
    },
    /// Deletes a slot whose owner is gone, under preconditions on its uid and resourceVersion. Rests on: the owner stays
    /// gone; and the slot is empty (a closed slot cannot be filled), or its token was observed inactive, which is final.
    CloseOrphanSlot {
        /// The slot.
        slot: SlotName,
        /// Who owned it, as `namespace/name`.
        owner_name: String,
    },
}

impl AccountEffect {
    /// The event once it was done.
    pub fn event(&self) -> Option<Event> {
        let Self::RevokeStray { token, owner, owner_name, .. } = self else { return None };
        let owner = owner_name.clone().unwrap_or_else(|| format!("of uid {owner}"));
        let message = format!("revoked token {token}: its ServiceToken {owner} is gone");
        Some(Event { warning: false, reason: "StrayRevoked".to_owned(), message })
    }
}

/// What a plan wants to be read before it decides. Reading never changes anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountNeed {
    /// What dbt says about the account.
    Info,
    /// The token list, by a request that begins at this time or later.
    Tokens(Timestamp),
    /// The account's projects.
    Projects,
    /// Whether an owner that the watch does not show is gone, by a live read.
    OwnerLife(OwnerUid),
    /// One token that the list does not show.
    Token(TokenId),
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountStep {
    /// Reads, then looks again at once.
    Read(BTreeSet<AccountNeed>),
    /// Does one thing, then looks again at once.
    Act(AccountEffect),
    /// Waits for a person, for a change or for a time.
    Wait,
    /// There is nothing to do until the next reading.
    Settled,
}

/// Whether something may be made or revoked with the account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccountState {
    /// It can be worked with.
    Ready,
    /// It cannot, for now.
    NotReady {
        /// The reason of the closed list.
        reason: AccountReason,
        /// The message of its Ready condition.
        message: String,
    },
}

/// The account's own token, for the status.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialReport {
    /// dbt's id.
    pub token: TokenId,
    /// When dbt made it.
    pub created_at: Option<Timestamp>,
    /// Made on or before 18 July 2023.
    pub legacy: bool,
}

/// Everything that the status shall say, as far as dbt decides it. `None` leaves what is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountReport {
    /// The generation that it speaks of.
    pub observed_generation: i64,
    /// Always Ready; Reconciling and Stalled only while true, never both.
    pub conditions: Vec<Condition>,
    /// Name and plan.
    pub info: Option<AccountInfo>,
    /// The own token.
    pub credential: Option<CredentialReport>,
    /// The counts, with the time at which one of them last changed.
    pub tokens: Option<(TokenCounts, Timestamp)>,
    /// Events to emit now, because something began.
    pub events: Vec<Event>,
}

/// The answer for one observation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountPlan {
    /// Whether ServiceTokens can be served.
    pub state: AccountState,
    /// Whether everything but deletion is stopped for them.
    pub suspended: bool,
    /// The next step.
    pub step: AccountStep,
    /// When to look again, later than now; `None` if only a change can bring something new.
    pub wake_at: Option<Timestamp>,
    /// What users read.
    pub report: AccountReport,
    /// The value of the annotation `confirm` that a person is asked for.
    pub confirm: Option<String>,
    /// Up to which serial a person has confirmed that unknown tokens are the cluster's own.
    pub set_back_confirmed: Option<Serial>,
}

/// Judges one observation.
pub fn plan(observation: &AccountObservation, now: Timestamp) -> AccountPlan {
    let judgement = judge(observation, now);
    let deleting = observation.deleted_at.is_some();
    let (step, step_at) = next_step(observation, &judgement, now);
    let shown = if deleting { in_use(&observation.users) } else { None }.unwrap_or_else(|| judgement.clone());
    let wake_at = [judgement.look_again_at, step_at].into_iter().flatten().filter(|time| *time > now).min();
    let suspended = deleting || observation.settings.as_ref().is_ok_and(|settings| settings.suspended);
    let confirm = confirm_value(observation, &judgement);
    AccountPlan {
        report: report(observation, &shown),
        state: match judgement.standing {
            Standing::Good => AccountState::Ready,
            _ => AccountState::NotReady { reason: judgement.reason, message: judgement.message },
        },
        suspended,
        step,
        wake_at,
        confirm,
        set_back_confirmed: confirmed_serial(observation.confirm.as_deref()),
    }
}

fn confirm_value(observation: &AccountObservation, judgement: &Judgement) -> Option<String> {
    match judgement.reason {
        AccountReason::OtherInstallation => Some(take_over_value(observation)),
        AccountReason::TokensVanished => alarm(observation).map(|found| found.confirm_value()),
        AccountReason::SetBack => set_back(observation).map(|found| found.confirm_value()),
        _ => None,
    }
}

/// The step, and when time alone brings another one.
fn next_step(observation: &AccountObservation, judgement: &Judgement, now: Timestamp) -> (AccountStep, Option<Timestamp>) {
    let act = |effect| (AccountStep::Act(effect), None);
    if observation.deleted_at.is_some() && observation.users.is_empty() {
        return if observation.finalizer { act(AccountEffect::RemoveFinalizer) } else { (AccountStep::Settled, None) };
    }
    if observation.deleted_at.is_none() && !observation.finalizer {
        return act(AccountEffect::AddFinalizer);
    }
    let Ok(settings) = &observation.settings else { return (AccountStep::Wait, None) };
    if judgement.reason == AccountReason::DuplicateAccount || judgement.reason == AccountReason::OtherInstallation {
        return (AccountStep::Wait, Some(after(now, FALLBACK)));
    }
    let taken_over = observation.record.installation.is_some() && !observation.is_bound();
    if taken_over {
        return act(AccountEffect::BindInstallation(observation.installation.clone()));
    }
    if !matches!(observation.credential, Credential::Present(_)) {
        return (AccountStep::Wait, None);
    }
    let reading = readings(observation, settings, now);
    if !reading.needs.is_empty() {
        return (AccountStep::Read(reading.needs), None);
    }
    match (believed(observation), judgement.reason) {
        (Some(_), _) if judgement.standing == Standing::Progressing && !observation.is_bound() => {
            act(AccountEffect::BindInstallation(observation.installation.clone()))
        }
        (Some((list, own, _)), reason) if judgement.standing == Standing::Good && reason != AccountReason::SetBack => {
            let found = orphans(observation, settings, list, own.id, now);
            let next_at = found.next_at.into_iter().chain(reading.next_at).min();
            match found.effect {
                Some(effect) => act(effect),
                None if found.needs.is_empty() => (AccountStep::Settled, next_at),
                None => (AccountStep::Read(found.needs), next_at),
            }
        }
        _ => (AccountStep::Wait, reading.next_at),
    }
}

/// What is due to be read, and when the next reading is due.
#[derive(Default)]
struct Readings {
    needs: BTreeSet<AccountNeed>,
    next_at: Option<Timestamp>,
}

impl Readings {
    fn due(&mut self, need: AccountNeed, at: Timestamp, now: Timestamp) {
        if at <= now {
            self.needs.insert(need);
        } else {
            self.next_at = self.next_at.into_iter().chain([at]).min();
        }
    }
}

/// One reading builds on the other: who the account is comes first, so that a broken connection costs one call a try.
fn readings(observation: &AccountObservation, settings: &AccountSettings, now: Timestamp) -> Readings {
    let mut readings = Readings::default();
    match &observation.info {
        Answer::Unread => readings.due(AccountNeed::Info, now, now),
        Answer::Failed(failure) => readings.due(AccountNeed::Info, failure.retry_at, now),
        // Name and plan hardly ever change, so they are read again only while they stand in the way.
        Answer::Known { value, taken_at } if stands_in_the_way(value, settings) => {
            readings.due(AccountNeed::Info, after(*taken_at, settings.interval), now);
        }
        Answer::Known { .. } => {}
    }
    if observation.info.value().is_none_or(|info| info_judgement(info, settings).is_some()) {
        return readings;
    }
    match &observation.tokens {
        Answer::Unread => readings.due(AccountNeed::Tokens(now), now, now),
        Answer::Failed(failure) => readings.due(AccountNeed::Tokens(now), failure.retry_at, now),
        Answer::Known { taken_at, .. } => {
            let trusted = believed(observation).is_some();
            let interval = if trusted { settings.interval } else { settings.interval.min(DISBELIEF_RETRY) };
            let stale = *taken_at < observation.fresh_after.min(now);
            readings.due(AccountNeed::Tokens(now), if stale { now } else { after(*taken_at, interval) }, now);
        }
    }
    if let ProjectReading::Wanted { taken_at, failure, .. } = &observation.projects {
        let regular = taken_at.map_or(now, |taken_at| after(taken_at, settings.interval));
        readings.due(AccountNeed::Projects, failure.as_ref().map_or(regular, |failure| failure.retry_at), now);
    }
    readings
}

fn stands_in_the_way(info: &AccountInfo, settings: &AccountSettings) -> bool {
    info_judgement(info, settings).is_some() || plan_class(&info.plan) != PlanClass::ServerDecides
}

fn report(observation: &AccountObservation, shown: &Judgement) -> AccountReport {
    let trusted = believed(observation);
    let own = trusted.map(|(_, own, _)| own);
    let credential = own.map(|own| CredentialReport {
        token: own.id,
        created_at: own.created_at,
        legacy: own.created_at.is_some_and(is_legacy),
    });
    let settings = observation.settings.as_ref().ok();
    let tokens = trusted.zip(settings).map(|((list, _, taken_at), settings)| {
        let counts = Census::new(observation).count(settings, list, taken_at);
        match observation.record.tokens {
            Some((earlier, changed_at)) if earlier == counts => (counts, changed_at),
            _ => (counts, taken_at),
        }
    });
    AccountReport {
        observed_generation: observation.generation,
        conditions: shown.conditions(),
        info: observation.info.value().cloned(),
        credential,
        tokens,
        events: shown.event(&observation.record.conditions).into_iter().collect(),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
