//! The loop: observe, plan, run one step, observe again. All choices are the planner's.

use std::time::Duration;

use dbt_token_planner::account::reason::AccountReason;
use dbt_token_planner::effect::{Effect, Need, Outcome};
use dbt_token_planner::identity::OwnerUid;
use dbt_token_planner::observation::{Account, TroubleKind};
use dbt_token_planner::plan::{Plan, Step, Wait, plan};
use dbt_token_planner::{conclude, interlock};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};

use super::Context;
use super::execute::{self, Done, Reported};
use super::expect::Expect;
use super::failure;
use super::observe::{Seen, observe};
use super::queue::Look;
use super::retry::Failure;
use crate::account::Wants;
use crate::api::v1alpha1::{DbtAccount, ServiceToken};

/// Steps in one go. A whole rotation takes about twelve; what needs more comes back at once and lets others in between.
const MAXIMUM_STEPS: usize = 24;

/// What a status says when the plan asked for what the interlock refuses, which is a bug of the operator.
pub const OBJECTION: &str = "the operator's own safety check refuses a step";

/// How soon an object is looked at again if something had changed under a step, or its steps are used up.
const SOON: Duration = Duration::from_secs(1);

/// The longest time between two looks. A rotation may be years away: a timer so far ahead would have to agree with the
/// calendar over suspended machines and corrected clocks, and the work queue takes half a year at most. A look at rest reads
/// and writes nothing.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// The longest time between two looks at an object that waits for something. Whatever ends its wait wakes it; but should
/// that be lost, it must not wait for ever. Such a look costs no request either.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// How soon a look at an account is tried again after a failure of the API server or of dbt.
const ACCOUNT_RETRY: Duration = Duration::from_secs(10);

/// How soon work is tried again that was not done because the lease was not renewed in time. It may still be ours; if it is
/// not, the process ends before.
const LEASE_RETRY: Duration = Duration::from_secs(5);

/// Works on one object until there is nothing to do now, and says when to look again.
pub async fn reconcile(context: &Context, reference: &ObjectRef<ServiceToken>) -> Look {
    for _ in 0..MAXIMUM_STEPS {
        let now = context.clock.now();
        if let Some(until) = unseen_until(context, reference, now) {
            // The watch that brings it asks for the next look, and others have their turn meanwhile.
            return Look::After(delay(now, until));
        }
        let Some(seen) = observe(context, reference, now) else { return Look::OnChange };
        let plan = plan(&seen.observation, now);
        note_look(&seen, &plan);
        match &plan.step {
            Step::Act(effect) if !context.leadership.holds(context.clock.now()) => {
                tracing::info!(effect = effect.word(), "not run, since this process does not lead now");
                return Look::After(LEASE_RETRY);
            }
            Step::Act(effect) => {
                // What works on something is boxed: every look would carry the room for it along otherwise.
                if Box::pin(act(context, &seen, effect, &plan)).await == Next::Later {
                    return Look::After(SOON);
                }
            }
            Step::Read(need) => match seen.account.as_ref().and_then(|account| account.list_due(*need)) {
                // Others have their turn meanwhile.
                Some(due) => return Look::After(delay(now, due)),
                None => Box::pin(read(context, &seen, *need)).await,
            },
            Step::Wait(_) | Step::Blocked(_) | Step::Settled => return rest(context, &seen, &plan, now).await,
        }
    }
    Look::After(SOON)
}

/// What a look came to, for whoever has to find out why nothing happens.
fn note_look(seen: &Seen, plan: &Plan) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let owner = &seen.observation.owner;
    let step = match &plan.step {
        Step::Act(effect) => effect.word().to_owned(),
        step => format!("{step:?}"),
    };
    let wake_at = plan.wake_at.map(tracing::field::display);
    tracing::debug!(resource.namespace = owner.namespace, resource.name = owner.name, step, wake_at, "looked");
}

/// When to look at the object after an effect.
#[derive(PartialEq, Eq)]
enum Next {
    /// As soon as the caches show what was written.
    Now,
    /// What the effect rested on had changed: that has to come in by the watch first.
    Later,
}

/// Until when a look would be older than our own last write.
fn unseen_until(context: &Context, reference: &ObjectRef<ServiceToken>, now: Timestamp) -> Option<Timestamp> {
    let owner = OwnerUid::new(context.caches.tokens.get(reference)?.uid()?);
    context.caches.expected.open_until(&owner, &context.caches, now)
}

/// Runs one effect and what follows from its outcome at once.
async fn act(context: &Context, seen: &Seen, effect: &Effect, plan: &Plan) -> Next {
    if let Err(objection) = interlock::check(&seen.observation, effect) {
        tracing::error!(effect = effect.word(), objection, "the interlock refuses an effect; a person must look");
        context.metrics.effect(effect.word(), "interlock", Duration::ZERO);
        let message = format!("{OBJECTION}: {objection}");
        return fail(context, seen, Failure { kind: TroubleKind::Cluster, message, not_before: None, stale: false });
    }
    let outcome = match execute::execute(context, seen, effect, &plan.report).await {
        Ok(done) => finish(context, seen, effect, done),
        Err(failure) => return fail(context, seen, failure),
    };
    let now = context.clock.now();
    let Some(next) = conclude::conclude(&seen.observation, effect, &outcome, now) else { return Next::Now };
    match execute::execute(context, seen, &next.effect, &next.report).await {
        Ok(done) => drop(finish(context, seen, &next.effect, done)),
        Err(failure) => return fail(context, seen, failure),
    }
    Next::Now
}

/// After an effect: events, and what the caches will show.
fn finish(context: &Context, seen: &Seen, effect: &Effect, done: Done) -> Outcome {
    let owner = &seen.observation.owner.uid;
    context.memories.note_success(owner, effect.calls_dbt());
    if matches!(done.outcome, Outcome::Done | Outcome::Created(_)) {
        context.tell(&seen.token, done.events);
    }
    if matches!(effect, Effect::RemoveFinalizer(_)) {
        count_blocked(context, seen, false);
        context.memories.forget(owner);
    }
    if let Some(expect) = done.expect {
        context.expect(owner, expect);
    }
    done.outcome
}

async fn read(context: &Context, seen: &Seen, need: Need) {
    match need {
        Need::Consumers(_) => return look_at_pods(context, seen).await,
        Need::Workloads(_) => return look_at_workloads(context, seen).await,
        Need::Tokens(_) | Need::Token(_) | Need::Projects | Need::Environments => {}
    }
    let Some(account) = &seen.account else { return };
    if let Err(error) = account.ensure(need).await {
        fail(context, seen, failure::read_failure(&error));
    } else {
        context.memories.note_success(&seen.observation.owner.uid, true);
    }
}

/// A look that fails is remembered like any other: the plan waits for the next one, and the status says why.
async fn look_at_pods(context: &Context, seen: &Seen) {
    let begun_at = context.clock.now();
    let owner = &seen.observation.owner;
    let found = context.pods.consumers(&owner.namespace, &seen.token.spec.secret.name).await;
    context.memories.note_consumers(&owner.uid, Some((found, begun_at)));
}

/// The same for workloads of the declared kinds.
async fn look_at_workloads(context: &Context, seen: &Seen) {
    let begun_at = context.clock.now();
    let owner = &seen.observation.owner;
    let Ok(desired) = &seen.observation.desired else { return };
    let found = context.restarts.workloads(&owner.namespace, &desired.secret_name, &desired.retirement.restart).await;
    context.memories.note_workloads(&owner.uid, Some((found, begun_at)));
}

/// Remembers a failure, so that the plan can go on with it.
fn fail(context: &Context, seen: &Seen, failure: Failure) -> Next {
    let now = context.clock.now();
    let owner = &seen.observation.owner;
    if failure.stale {
        tracing::debug!(resource.namespace = owner.namespace, resource.name = owner.name, message = failure.message, "stale");
        return Next::Later;
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
    context.tell(&seen.token, event.into_iter().filter(|_| is_first).collect());
    Next::Now
}

/// Nothing to do now: the status says so, if it does not already.
async fn rest(context: &Context, seen: &Seen, plan: &Plan, now: Timestamp) -> Look {
    if let Some(account) = &seen.account {
        let waits = matches!(plan.step, Step::Wait(Wait::Budget { .. }));
        account.note_waiting(&seen.observation.owner, if waits { Wants::Token } else { Wants::Nothing });
    }
    let report = async {
        if is_premature(seen) { Ok(Reported::Before) } else { execute::write_report(context, seen, &plan.report).await }
    };
    match report.await {
        Ok(Reported::Before) => {}
        Ok(Reported::Later(due)) => return Look::After(delay(now, due)),
        Ok(Reported::Now) => {
            context.tell(&seen.token, plan.report.events.clone());
            context.expect(&seen.observation.owner.uid, Expect::token(&seen.token));
        }
        Err(failure) => {
            fail(context, seen, failure);
            return Look::After(SOON);
        }
    }
    count_blocked(context, seen, plan.report.retiring.iter().any(|token| token.blocked));
    let ledger = &seen.observation.ledger;
    // A dry run that names pods would look at them again with each status that it writes.
    if ledger.retiring.is_empty() && plan.report.plan.is_empty() {
        context.memories.note_consumers(&seen.observation.owner.uid, None);
        if !ledger.owes_restarts() {
            context.memories.note_workloads(&seen.observation.owner.uid, None);
        }
    }
    let foreign = context.memories.foreign_until(&seen.observation.owner.uid, now);
    let is_settled = plan.step == Step::Settled && ledger.retiring.is_empty();
    next_look([plan.wake_at, foreign].into_iter().flatten().min(), is_settled, now)
}

/// When to look again if nothing happens before.
fn next_look(wake_at: Option<Timestamp>, is_settled: bool, now: Timestamp) -> Look {
    let longest = if is_settled { LONGEST_REST } else { LONGEST_WAIT };
    match wake_at {
        Some(wake_at) => Look::After(delay(now, wake_at).min(longest)),
        None if is_settled => Look::OnChange,
        None => Look::After(longest),
    }
}

/// Keeps the number of objects with a token that is kept beyond its deadline.
fn count_blocked(context: &Context, seen: &Seen, is_blocked: bool) {
    let account = &seen.token.spec.account_ref.name;
    let before = context.memories.note_blocked(&seen.observation.owner.uid, is_blocked.then_some(account));
    match (before, is_blocked) {
        (None, true) => context.metrics.retirement_blocked(account),
        (Some(account), false) => context.metrics.retirement_released(&account),
        _ => {}
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

fn delay(now: Timestamp, time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(now)).unwrap_or(SOON).max(Duration::from_millis(1))
}

/// Works on one account, and says when to look again.
pub async fn reconcile_account(context: &Context, reference: &ObjectRef<DbtAccount>) -> Look {
    let Some(account) = context.caches.accounts.get(reference) else { return Look::OnChange };
    let name = account.name_any();
    if !context.leadership.holds(context.clock.now()) {
        return Look::After(LEASE_RETRY);
    }
    let now = context.clock.now();
    match Box::pin(context.accounts.reconcile(&name)).await {
        Ok(outcome) => {
            context.events.send(account.object_ref(&()), outcome.events);
            match outcome.wake_at {
                _ if outcome.acted => Look::After(SOON),
                Some(wake_at) => Look::After(delay(now, wake_at)),
                None => Look::OnChange,
            }
        }
        Err(error) if error.is_conflict() => Look::After(SOON),
        Err(error) => {
            tracing::warn!(
                resource.name = name,
                error = failure::chain(&error),
                "a look at an account failed and is tried again"
            );
            Look::After(ACCOUNT_RETRY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_is_looked_at_every_few_minutes_and_whoever_rests_is_not() {
        let now = Timestamp::from_second(1_790_000_000).expect("a time");
        let check = |seconds: Option<i64>, is_settled, expected| {
            let wake_at = seconds.map(|seconds| now + jiff::SignedDuration::from_secs(seconds));
            assert_eq!(next_look(wake_at, is_settled, now), expected, "{seconds:?} {is_settled}");
        };
        let after = |seconds| Look::After(Duration::from_secs(seconds));
        check(None, true, Look::OnChange);
        check(None, false, after(300));
        check(Some(20), true, after(20));
        check(Some(20), false, after(20));
        check(Some(1_000_000), true, after(3600));
        check(Some(1_000_000), false, after(300));
    }
}
