//! Runs one effect: one arm, one call each. Decides nothing; every failure is told with its class.

mod adopt;
mod kubernetes;
mod restart;
mod revoke;

use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::effect::{Effect, Outcome};
use dbt_token_planner::grant::{GrantRows, Scope};
use dbt_token_planner::identity::{AccountId, Serial, TokenId, TokenUid};
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::link::Inheritance;
use dbt_token_planner::observation::{Condemnation, Observation, SlotContent, TroubleKind};
use dbt_token_planner::permission::Probe;
use dbt_token_planner::report::{self, Event, Report};
use jiff::Timestamp;
use tracing::Instrument;

use super::Context;
use super::expect::Expect;
use super::failure::{self, dbt_failure};
use super::observe::Seen;
use super::retry::Failure;
use crate::account::AccountHandle;
use crate::backend::{Backend, BackendError, Created, ErrorClass, Verdict};
use crate::cluster::failure::Class;
use crate::cluster::slot::{NewToken, ObservedSlot};
use crate::cluster::target::TargetReference;
use crate::token::TokenString;

/// How long to wait before the string of a new token is written again, should the API server not answer.
const FILL_PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5)];

/// The span in which an effect runs: its field `word` says which one.
const EFFECT_SPAN: &str = "effect";

/// What an effect came to.
pub struct Done {
    /// For the planner.
    pub outcome: Outcome,
    /// What happened, for people.
    pub events: Vec<Event>,
    /// What the caches will show.
    pub expect: Option<Expect>,
}

impl Done {
    fn new(outcome: Outcome, expect: Option<Expect>) -> Self {
        Self { outcome, events: Vec::new(), expect }
    }
}

/// Runs the effect, and logs one line.
///
/// # Errors
/// What failed, and when it makes sense to try again.
pub async fn execute(context: &Context, seen: &Seen, effect: &Effect, report: &Report) -> Result<Done, Failure> {
    let owner = &seen.observation.owner;
    let started = context.clock.now();
    let span = tracing::trace_span!(EFFECT_SPAN, word = effect.word());
    let result = Executor { context, seen, report }.run(effect).instrument(span).await;
    let ended = context.clock.now();
    if effect.changes_dbt() {
        context.memories.note_changed(&owner.uid, ended);
        seen.account.iter().for_each(|account| account.note_changed(&owner.uid, ended));
    }
    let took = Duration::try_from(ended.duration_since(started)).unwrap_or_default();
    context.metrics.effect(effect.word(), if result.is_ok() { "ok" } else { "failed" }, took);
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match &result {
        Ok(_) => tracing::info!(
            resource.namespace = owner.namespace,
            resource.name = owner.name,
            effect = effect.word(),
            serial = serial_of(effect).map(|serial| serial.0),
            token.id = token_of(effect).map(|token| token.0),
            duration_ms = milliseconds,
            "effect done"
        ),
        Err(failure) if failure.stale => {}
        Err(failure) => tracing::warn!(
            resource.namespace = owner.namespace,
            resource.name = owner.name,
            effect = effect.word(),
            error = failure.message,
            duration_ms = milliseconds,
            "effect failed"
        ),
    }
    result.map(|mut done| {
        // That of letting go was sent before, while there was an object to attach it to.
        let event = report::event(&seen.observation, effect).filter(|_| !matches!(effect, Effect::RemoveFinalizer(_)));
        done.events.extend(event);
        done
    })
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The status says it already.
    Before,
    /// It was written.
    Now,
    /// It differs, and so many were written lately that it has to wait.
    Later(Timestamp),
}

/// Writes the report if it differs from what the status says.
///
/// # Errors
/// If the status cannot be written.
pub async fn write_report(context: &Context, seen: &Seen, report: &Report) -> Result<Reported, Failure> {
    let Observation { owner, ledger, .. } = &seen.observation;
    let executor = Executor { context, seen, report };
    if !executor.status_differs(ledger) {
        return Ok(Reported::Before);
    }
    let now = context.clock.now();
    if let Some(due) = context.memories.report_due(&owner.uid, now) {
        return Ok(Reported::Later(due));
    }
    // Boxed, since most looks come to nothing, and would carry the room for it along.
    if Box::pin(executor.write_status(ledger)).await?.is_none() {
        return Ok(Reported::Before);
    }
    context.memories.note_report(&owner.uid, now);
    Ok(Reported::Now)
}

fn serial_of(effect: &Effect) -> Option<Serial> {
    match effect {
        Effect::Reserve(serial) | Effect::LabelCommitted(serial) | Effect::CloseSlot(serial) => Some(*serial),
        Effect::Mint { serial, .. }
        | Effect::RestartWorkloads { serial, .. }
        | Effect::Grant { serial, .. }
        | Effect::Prove { serial, .. }
        | Effect::Condemn { serial, .. }
        | Effect::Project { serial, .. }
        | Effect::Retire { serial, .. }
        | Effect::Revoke { serial, .. }
        | Effect::ClaimAdoption { serial, .. }
        | Effect::TakeOverTarget { serial, .. }
        | Effect::Rename { serial, .. }
        | Effect::CondemnAdopted { serial, .. }
        | Effect::LeaveRecord { serial, .. } => Some(*serial),
        _ => None,
    }
}

fn token_of(effect: &Effect) -> Option<TokenId> {
    match effect {
        Effect::Grant { token, .. }
        | Effect::Prove { token, .. }
        | Effect::Project { token, .. }
        | Effect::Retire { token, .. }
        | Effect::Revoke { token, .. }
        | Effect::ClaimAdoption { token, .. }
        | Effect::Rename { token, .. }
        | Effect::CondemnAdopted { token, .. }
        | Effect::LeaveRecord { token, .. } => Some(*token),
        _ => None,
    }
}

struct Executor<'a> {
    context: &'a Context,
    seen: &'a Seen,
    report: &'a Report,
}

impl Executor<'_> {
    async fn run(&self, effect: &Effect) -> Result<Done, Failure> {
        match effect {
            Effect::AddFinalizer => self.finalizer(true).await,
            Effect::RemoveFinalizer(how) => self.let_go(*how).await,
            Effect::WriteLedger { entry, ledger } => self.write_entry(*entry, ledger).await,
            Effect::ClaimTarget => self.claim().await,
            Effect::Reserve(serial) => self.reserve(*serial).await,
            Effect::Mint { serial, name, rows } => self.mint(*serial, name, rows).await,
            Effect::Grant { token, rows, .. } => self.grant(*token, rows).await,
            Effect::Prove { serial, token, probes, inheritance, committed } => {
                self.prove(*serial, *token, probes, inheritance, committed).await
            }
            Effect::Condemn { serial, why } => self.condemn(*serial, why).await,
            Effect::LabelCommitted(serial) => self.label(*serial).await,
            Effect::Project { serial, token, rule } => self.project(*serial, *token, rule).await,
            Effect::Retire { token, successor, probes, .. } => self.retire(*token, *successor, probes).await,
            Effect::RestartWorkloads { serial, at, workloads } => self.restart(*serial, *at, workloads).await,
            Effect::Revoke { token, serial, because } => self.sweep(*token, *serial, *because).await,
            Effect::CloseSlot(serial) => self.close(*serial).await,
            Effect::LeaveRecord { serial, token } => self.leave_record(*serial, *token).await,
            Effect::ReleaseTarget => self.release().await,
            Effect::DeleteTarget => self.delete_target().await,
            Effect::StripTarget => self.strip_target().await,
            Effect::InspectSource(source) => self.inspect_source(source).await,
            Effect::ClaimAdoption { serial, token, source, probes } => self.claim_adoption(*serial, *token, source, probes).await,
            Effect::TakeOverTarget { serial, source } => self.take_over_target(*serial, source).await,
            Effect::Rename { token, name, .. } => self.rename(*token, name).await,
            Effect::CondemnAdopted { serial, token, unless_held_in } => {
                self.condemn_adopted(*serial, *token, unless_held_in.as_ref()).await
            }
        }
    }

    async fn mint(&self, serial: Serial, name: &str, rows: &GrantRows) -> Result<Done, Failure> {
        let slot = self.slot(serial)?;
        let account = self.account()?;
        let backend = self.backend()?;
        let before = account.listed();
        let created = backend.create(name, rows).await;
        account.note_created(&self.seen.observation.owner, self.context.clock.now());
        let created = match created {
            Ok(created) => created,
            Err(error) => return self.not_created(account, &error, rows),
        };
        // What is in the slot is taken for ours, and is revoked as such. The token that was made is found by its mark.
        if before.is_some_and(|list| list.tokens.contains_key(&created.id)) {
            return Err(failure::not_new(created.id));
        }
        self.fill(slot, &created).await?;
        let mut done = Done::new(Outcome::Created(created.id), Some(self.expect_slot(serial, Some(slot))));
        let message = format!("token {} was created in dbt", created.id);
        done.events.push(Event { warning: false, reason: "TokenCreated".into(), message });
        Ok(done)
    }

    /// While the string is at hand, a short failure of the API server shall not lose it. The same write can be repeated,
    /// since it writes over nothing.
    async fn fill(&self, slot: &ObservedSlot, created: &Created) -> Result<(), Failure> {
        let granted = created.rows.fingerprint();
        let token = NewToken { id: created.id, uid: &created.uid, granted: &granted };
        let mut pauses = FILL_PAUSES.into_iter();
        loop {
            let Err(error) = self.context.slots.fill(slot, token, &created.string).await else { return Ok(()) };
            match pauses.next().filter(|_| error.class() == Class::Unavailable) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failure::cluster(&error, error.class())),
            }
        }
    }

    /// dbt answers 404 for a project that is not there and for a missing right alike. With rows on all projects only the
    /// right can be missing.
    fn not_created(&self, account: &AccountHandle, error: &BackendError, rows: &GrantRows) -> Result<Done, Failure> {
        match &error.class {
            ErrorClass::Rejected { message } => Ok(Done::new(Outcome::Rejected { message: message.clone() }, None)),
            ErrorClass::Denied if rows.rows().iter().any(|row| row.scope != Scope::All) => {
                let message = format!("{} (a project that does not exist, or a right that the credential lacks)", error.detail);
                Ok(Done::new(Outcome::Rejected { message }, None))
            }
            ErrorClass::Denied => {
                account.note_create_refused(&error.detail, self.context.clock.now());
                Err(dbt_failure(error))
            }
            _ => Err(dbt_failure(error)),
        }
    }

    async fn grant(&self, token: TokenId, rows: &GrantRows) -> Result<Done, Failure> {
        match self.backend()?.grant(token, rows).await {
            Ok(()) => Ok(Done::new(Outcome::Done, None)),
            // dbt takes permissions once. If they are there, a list that lags behind will show them soon.
            Err(error) if is_assigned_already(&error) => Err(dbt_failure(&error)),
            Err(BackendError { class: ErrorClass::Rejected { message }, .. }) => {
                Ok(Done::new(Outcome::Rejected { message }, None))
            }
            Err(error) => Err(dbt_failure(&error)),
        }
    }

    async fn prove(
        &self,
        serial: Serial,
        token: TokenId,
        probes: &[Probe],
        inheritance: &Inheritance,
        committed: &Ledger,
    ) -> Result<Done, Failure> {
        let string = self.read_slot(serial).await?;
        if let Some(why) = self.verify(probes, &string).await? {
            self.note_refused(serial, &why);
            return Ok(Done::new(Outcome::Refused { why }, None));
        }
        drop(string);
        if !inheritance.is_empty() {
            self.carry_links_over(inheritance, token).await?;
        }
        self.commit(committed).await
    }

    /// What is linked already, by an earlier try or by a person, is read first, since dbt takes a link once.
    async fn carry_links_over(&self, inheritance: &Inheritance, token: TokenId) -> Result<(), Failure> {
        let backend = self.backend()?;
        let links = backend.links().await.map_err(|error| failure::links_unreadable(&error, inheritance))?;
        for link in inheritance.missing(&links, token) {
            backend.link(link).await.map_err(|error| failure::link_refused(&error, link))?;
        }
        Ok(())
    }

    /// The reason of a refusal, if there is one.
    async fn verify(&self, probes: &[Probe], string: &TokenString) -> Result<Option<Condemnation>, Failure> {
        let backend = self.backend()?;
        for probe in probes {
            match backend.verify(*probe, string).await {
                Verdict::Passed => {}
                Verdict::Refused { detail } => return Ok(Some(Condemnation::refused(detail))),
                Verdict::Inconclusive { detail } => {
                    return Err(Failure {
                        kind: TroubleKind::VerificationInconclusive,
                        message: detail,
                        not_before: None,
                        stale: false,
                    });
                }
            }
        }
        Ok(None)
    }

    async fn read_slot(&self, serial: Serial) -> Result<TokenString, Failure> {
        self.context.slots.read(self.slot(serial)?).await.map_err(|error| failure::cluster(&error, error.class()))
    }

    fn expect_slot(&self, serial: Serial, before: Option<&ObservedSlot>) -> Expect {
        Expect::slot(&self.seen.observation.owner.uid, serial, before)
    }

    fn slot(&self, serial: Serial) -> Result<&ObservedSlot, Failure> {
        let slot = self.seen.slots.iter().find(|slot| slot.slot.serial == serial && !slot.slot.retained);
        slot.map(Arc::as_ref).ok_or_else(|| failure::stale("the slot is gone"))
    }

    fn target(&self) -> Result<&TargetReference, Failure> {
        self.seen.target.as_ref().ok_or_else(|| failure::stale("the Secret is gone"))
    }

    fn account(&self) -> Result<&AccountHandle, Failure> {
        self.seen.account.as_deref().ok_or_else(|| failure::stale("the account is gone"))
    }

    fn account_id(&self) -> Result<AccountId, Failure> {
        let account = self.seen.observation.account.open();
        account.map(|account| account.id).ok_or_else(|| failure::stale("the account is not ready"))
    }

    fn backend(&self) -> Result<Arc<dyn Backend>, Failure> {
        self.account()?.backend().ok_or_else(|| failure::stale("the account is not connected"))
    }
}

fn token_uid(slot: &ObservedSlot) -> Option<&TokenUid> {
    match &slot.slot.content {
        SlotContent::Filled { uid, .. } => Some(uid),
        SlotContent::Empty => None,
    }
}

/// dbt's words when the permissions of a token are posted a second time (seen in the wild, spelled as sent).
fn is_assigned_already(error: &BackendError) -> bool {
    matches!(&error.class, ErrorClass::Rejected { message } if message.contains("cannot be updated after assig"))
}
