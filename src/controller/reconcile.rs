//! The loop: observe, plan, run one step, observe again. All choices are the planner's.

use std::time::Duration;

use dbt_token_planner::account::reason::AccountReason;
use dbt_token_planner::effect::{Effect, Need, Outcome};
use dbt_token_planner::observation::{Account, TroubleKind};
use dbt_token_planner::plan::{Plan, Step, Wait, plan};
use dbt_token_planner::{conclude, interlock};
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::Context;
use super::execute::{self, Done};
use super::expect::Expect;
use super::failure;
use super::observe::{Seen, observe};
use super::retry::Failure;
use crate::account::Wants;
use crate::api::v1alpha1::{DbtAccount, ServiceToken};

/// Steps in one go. A whole rotation takes about twelve; what needs more comes back at once and lets others in between.
const MAXIMUM_STEPS: usize = 24;

/// How soon an object is looked at again if its cache did not catch up, or its steps are used up.
const SOON: Duration = Duration::from_secs(1);

/// How soon a look at an account is tried again after a failure of the API server or of dbt.
const ACCOUNT_RETRY: Duration = Duration::from_secs(10);

/// Works on one object until there is nothing to do now, and says when to look again.
pub async fn reconcile(context: &Context, reference: &ObjectRef<ServiceToken>) -> Action {
    for _ in 0..MAXIMUM_STEPS {
        let now = context.clock.now();
        let Some(seen) = observe(context, reference, now) else { return Action::await_change() };
        let plan = plan(&seen.observation, now);
        match &plan.step {
            Step::Act(effect) if !context.leadership.holds() => {
                tracing::info!(effect = effect.word(), "not run, since this process no longer leads");
                return Action::await_change();
            }
            Step::Act(effect) => {
                if !act(context, &seen, effect, &plan).await {
                    return Action::requeue(SOON);
                }
            }
            Step::Read(need) => match seen.account.as_ref().and_then(|account| account.list_due(*need)) {
                // Others have their turn meanwhile.
                Some(due) => return Action::requeue(until(now, due)),
                None => read(context, &seen, *need).await,
            },
            Step::Wait(_) | Step::Blocked(_) | Step::Settled => return rest(context, &seen, &plan, now).await,
        }
    }
    Action::requeue(SOON)
}

/// Runs one effect and what follows from its outcome at once. Whether the caches show it.
async fn act(context: &Context, seen: &Seen, effect: &Effect, plan: &Plan) -> bool {
    if let Err(objection) = interlock::check(&seen.observation, effect) {
        tracing::error!(effect = effect.word(), objection, "the interlock refuses an effect; a person must look");
        context.metrics.effect(effect.word(), "interlock", Duration::ZERO);
        let message = format!("the operator's own safety check refuses a step: {objection}");
        fail(context, seen, Failure { kind: TroubleKind::Cluster, message, not_before: None, stale: false }).await;
        return true;
    }
    let outcome = match execute::execute(context, seen, effect, &plan.report).await {
        Ok(done) => finish(context, seen, effect, done).await,
        Err(failure) => return fail(context, seen, failure).await,
    };
    let Some(outcome) = outcome else { return false };
    let now = context.clock.now();
    let Some(next) = conclude::conclude(&seen.observation, effect, &outcome, now) else { return true };
    match execute::execute(context, seen, &next.effect, &next.report).await {
        Ok(done) => finish(context, seen, &next.effect, done).await.is_some(),
        Err(failure) => fail(context, seen, failure).await,
    }
}

/// After an effect: events, and the caches. `None` if they did not catch up in time.
async fn finish(context: &Context, seen: &Seen, effect: &Effect, done: Done) -> Option<Outcome> {
    let owner = &seen.observation.owner.uid;
    context.memories.note_success(owner, effect.calls_dbt());
    if matches!(done.outcome, Outcome::Done | Outcome::Created(_)) {
        context.publish_events(&seen.token, done.events).await;
    }
    if matches!(effect, Effect::RemoveFinalizer(_)) {
        context.memories.forget(owner);
    }
    let caught_up = match done.expect {
        Some(expect) => context.caches.catch_up(|caches| expect.holds(caches)).await,
        None => true,
    };
    caught_up.then_some(done.outcome)
}

async fn read(context: &Context, seen: &Seen, need: Need) {
    let Some(account) = &seen.account else { return };
    if let Err(error) = account.ensure(need).await {
        fail(context, seen, failure::read_failure(&error)).await;
    } else {
        context.memories.note_success(&seen.observation.owner.uid, true);
    }
}

/// Remembers a failure. Whether the plan can go on with it at once; what was stale has to come in by the watch first.
async fn fail(context: &Context, seen: &Seen, failure: Failure) -> bool {
    let now = context.clock.now();
    let owner = &seen.observation.owner;
    if failure.stale {
        tracing::debug!(resource.namespace = owner.namespace, resource.name = owner.name, message = failure.message, "stale");
        return false;
    }
    tracing::warn!(
        resource.namespace = owner.namespace,
        resource.name = owner.name,
        kind = ?failure.kind,
        message = failure.message,
        "a step failed and is tried again"
    );
    let event = (failure.kind == TroubleKind::DbtUnavailable).then(|| failure::unavailable_event(&failure));
    let is_first = context.memories.note_failure(&owner.uid, failure, now);
    context.publish_events(&seen.token, event.into_iter().filter(|_| is_first).collect()).await;
    true
}

/// Nothing to do now: the status says so, if it does not already.
async fn rest(context: &Context, seen: &Seen, plan: &Plan, now: Timestamp) -> Action {
    if let Some(account) = &seen.account {
        let waits = matches!(plan.step, Step::Wait(Wait::Budget { .. }));
        account.note_waiting(&seen.observation.owner, if waits { Wants::Token } else { Wants::Nothing });
    }
    let report = async { if is_premature(seen) { Ok(false) } else { execute::write_report(context, seen, &plan.report).await } };
    match report.await {
        Ok(false) => {}
        Ok(true) => {
            context.publish_events(&seen.token, plan.report.events.clone()).await;
            // The next look must not be older than this write.
            context.caches.catch_up(|caches| Expect::token(&seen.token).holds(caches)).await;
        }
        Err(failure) => {
            fail(context, seen, failure).await;
            return Action::requeue(SOON);
        }
    }
    let foreign = context.memories.foreign_until(&seen.observation.owner.uid, now);
    match [plan.wake_at, foreign].into_iter().flatten().min() {
        Some(wake_at) => Action::requeue(until(now, wake_at)),
        None => Action::await_change(),
    }
}

/// Whether the account is only just being read, as at every start of the process. Then what was said of this generation
/// stands until more is known: otherwise each restart would write twice to every object.
fn is_premature(seen: &Seen) -> bool {
    let observed = seen.token.status.as_ref().and_then(|status| status.observed_generation);
    let is_being_read = |reason: &str| reason == AccountReason::Progressing.word();
    observed == seen.token.metadata.generation
        && matches!(&seen.observation.account, Account::NotReady { reason, .. } if is_being_read(reason))
}

fn until(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or(SOON).max(Duration::from_millis(1))
}

/// Works on one account, and says when to look again.
pub async fn reconcile_account(context: &Context, account: &DbtAccount) -> Action {
    let name = account.name_any();
    if !context.leadership.holds() {
        return Action::await_change();
    }
    let now = context.clock.now();
    match context.accounts.reconcile(&name).await {
        Ok(outcome) => {
            let lost = context.events.emit(&account.object_ref(&()), &outcome.events).await;
            context.metrics.event_lost(lost);
            match outcome.wake_at {
                _ if outcome.acted => Action::requeue(SOON),
                Some(wake_at) => Action::requeue(until(now, wake_at)),
                None => Action::await_change(),
            }
        }
        Err(error) if error.is_conflict() => Action::requeue(SOON),
        Err(error) => {
            tracing::warn!(
                resource.name = name,
                error = failure::chain(&error),
                "a look at an account failed and is tried again"
            );
            Action::requeue(ACCOUNT_RETRY)
        }
    }
}
