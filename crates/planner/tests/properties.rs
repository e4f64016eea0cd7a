//! What holds for any observation at all, however little sense its parts make together.

#![allow(clippy::expect_used, reason = "a property that cannot be set up has failed")]

mod observations;

use std::time::Duration;

use dbt_token_planner::adoption::{self, AdoptPolicy, Finding, Holder, Look};
use dbt_token_planner::desired::{DeletionPolicy, Desired};
use dbt_token_planner::effect::{Effect, LedgerEntry};
use dbt_token_planner::identity::{RenderRule, TokenId};
use dbt_token_planner::ledger::{Cause, MAXIMUM_RETIRING};
use dbt_token_planner::observation::{Account, Observation, Reading, Slot, Target};
use dbt_token_planner::plan::{Block, Plan, Step, Wait, plan};
use dbt_token_planner::report::{Condition, ConditionStatus, ConditionType, Published, Report, RetiringRecord};
use dbt_token_planner::rotation::LegacyPolicy;
use dbt_token_planner::{gate, interlock};
use dbt_token_planner::{trigger, window};
use jiff::{SignedDuration, Timestamp};
use observations::{at_rest, desired, living, now, observation, published, time};
use proptest::prelude::{ProptestConfig, TestCaseError, prop_assert, prop_assert_eq, prop_assume, proptest};
use proptest::test_runner::RngSeed;

/// Enough that each stage is met some hundred times, and few enough that nobody waits. The seed is fixed, so that a red run
/// can be repeated.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 400,
        max_global_rejects: 20_000,
        rng_seed: RngSeed::Fixed(20_261_124),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Whether nothing is done until time or somebody else changes something.
fn is_quiet(step: &Step) -> bool {
    matches!(step, Step::Settled | Step::Wait(_) | Step::Blocked(_))
}

/// The observation after the shell wrote this report.
fn written(observation: &Observation, report: &Report) -> Observation {
    let mut after = observation.clone();
    let record = &mut after.record;
    record.observed_generation = report.observed_generation;
    record.published = report.token.as_ref().map(|token| Published { token: token.id, at: token.published_at });
    record.retiring = report
        .retiring
        .iter()
        .filter_map(|token| token.replaced_at.map(|replaced_at| RetiringRecord { token: token.id, replaced_at }))
        .collect();
    record.history.clone_from(&report.history);
    record.last_rotation = report.last_rotation;
    record.next_rotation = report.next_rotation;
    record.conditions.clone_from(&report.conditions);
    after
}

/// The last moment before the plan is asked again, if nothing else happens.
fn end_of(plan: &Plan) -> Timestamp {
    plan.wake_at.map_or(Timestamp::MAX, |time| time.checked_sub(SignedDuration::from_nanos(1)).expect("a time after now"))
}

fn a_minute_after(time: Timestamp) -> Timestamp {
    time.checked_add(SignedDuration::from_mins(1)).unwrap_or(time)
}

fn makes_a_token(step: &Step) -> bool {
    match step {
        Step::Act(Effect::WriteLedger { entry, .. }) => matches!(entry, LedgerEntry::Open | LedgerEntry::GiveUp),
        Step::Act(effect) => {
            matches!(
                effect,
                Effect::ClaimAdoption { .. }
                    | Effect::Reserve(_)
                    | Effect::Mint { .. }
                    | Effect::Grant { .. }
                    | Effect::Prove { .. }
            )
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_observation_gives_the_same_plan_twice(observation in observation(), now in time()) {
        let first = plan(&observation, now);
        prop_assert_eq!(&plan(&observation, now), &first);
        if let Some(wake_at) = first.wake_at {
            prop_assert!(wake_at > now);
        }
    }

    #[test]
    fn the_interlock_accepts_what_is_planned(observation in observation(), now in time()) {
        let exhausted = observation.highest_serial().0 == i64::MAX;
        prop_assume!(!exhausted);
        if let Step::Act(effect) = plan(&observation, now).step {
            let mut observation = observation;
            if observation.ledger.installation.as_ref() != Some(&observation.installation) {
                observation.ledger = dbt_token_planner::ledger::Ledger::default();
            }
            prop_assert_eq!(interlock::check(&observation, &effect), Ok(()), "{:?}", effect);
        }
    }

    #[test]
    fn conditions_are_complete_and_agree(observation in observation(), now in time()) {
        check_conditions(&plan(&observation, now).report)?;
    }

    #[test]
    fn a_published_and_working_token_is_left_alone(observation in published(), now in time()) {
        let current = observation.ledger.current.expect("it is published");
        let Step::Act(effect) = plan(&observation, now).step else { return Ok(()) };
        let harmed = match &effect {
            Effect::Retire { token, .. } | Effect::Revoke { token, .. } | Effect::Grant { token, .. } => *token == current.token,
            Effect::Project { token, .. } => *token != current.token,
            Effect::CloseSlot(serial) | Effect::Condemn { serial, .. } => *serial == current.serial,
            Effect::WriteLedger { ledger, .. } => ledger.current != Some(current),
            Effect::Prove { committed, .. } => {
                let has_a_place = observation.ledger.retiring.len() < MAXIMUM_RETIRING;
                observation.current_is_usable() && has_a_place && !committed.retiring.contains(&current)
            }
            Effect::CondemnAdopted { token, .. } | Effect::Rename { token, .. } => *token == current.token,
            Effect::InspectSource(_) | Effect::ClaimAdoption { .. } | Effect::TakeOverTarget { .. } | Effect::StripTarget => true,
            Effect::DeleteTarget | Effect::ReleaseTarget | Effect::RemoveFinalizer(_) | Effect::ClaimTarget => true,
            Effect::AddFinalizer
            | Effect::Reserve(_)
            | Effect::Mint { .. }
            | Effect::LabelCommitted(_)
            | Effect::RestartWorkloads { .. }
            | Effect::LeaveRecord { .. } => false,
        };
        prop_assert!(!harmed, "{:?}", effect);
    }

    #[test]
    fn at_rest_nothing_changes_until_it_wakes(observation in observation(), now in time()) {
        // A failure is told of by its own clock.
        let observation = Observation { trouble: None, ..observation };
        // A serial that was never opened cannot be called compromised: tokens would be made and called so until it is passed.
        prop_assume!(observation.ledger.compromised.is_none_or(|highest| highest.0 <= observation.ledger.serial));
        let first = plan(&observation, now);
        prop_assume!(is_quiet(&first.step));
        let observation = written(&observation, &first.report);
        let second = plan(&observation, now);
        prop_assume!(second.step == first.step);
        // Once what was seen is written down, and the events are out, nothing is left to write.
        let observation = written(&observation, &second.report);
        let third = plan(&observation, now);
        // What a dry run foresees may come in another order when a fixed time is nearer than a length that is counted from now.
        let last = if observation.is_dry_run() { end_of(&third).min(a_minute_after(now)) } else { end_of(&third) };
        for later in [now, last] {
            prop_assert_eq!(&plan(&observation, later), &third);
        }
        prop_assert_eq!(&written(&observation, &third.report).record, &observation.record);
        prop_assert_eq!(&third.report.events, &Vec::new());
    }

    #[test]
    fn a_harmless_change_makes_no_token(observation in at_rest(), now in time(), seconds in 0_u64..8_000_000) {
        prop_assume!(!makes_a_token(&plan(&observation, now).step));
        let mut changed = observation;
        changed.generation += 1;
        changed.rule = Some(RenderRule::new("rule-3"));
        changed.deletion_policy = DeletionPolicy::Retain;
        let desired = changed.desired.as_mut().expect("an object at rest");
        desired.retirement.after = Duration::from_secs(seconds);
        desired.retirement.quiet_period = Duration::from_secs(seconds / 2);
        desired.rotation.legacy = LegacyPolicy::Report;
        // Windows say when a token is replaced for its age, so that they are harmless only where none is.
        if desired.rotation.maximum_age.is_none() {
            desired.rotation.windows.clear();
        }
        desired.token_name = "finance/other".into();
        desired.deletion_policy = DeletionPolicy::Retain;
        let step = plan(&changed, now).step;
        prop_assert!(!makes_a_token(&step), "{:?}", step);
    }

    /// Whatever is planned: no token is made for its age alone while all windows are closed, and nothing else waits for one.
    #[test]
    fn only_age_waits_for_a_window(observation in published(), desired in desired(), now in time()) {
        let closed = window::open_until(&desired.rotation.windows, now).is_none() && !desired.rotation.windows.is_empty();
        let observation = Observation { desired: Ok(desired), ..observation };
        let wanted = observation.account.open().and_then(|account| gate::wanted(account, observation.desired.as_ref().ok()?).ok());
        let Some(wanted) = wanted else { return Ok(()) };
        let cause = trigger::cause(&observation, &wanted, now);
        let waits = cause.is_some_and(Cause::waits_for_a_window);
        match plan(&observation, now).step {
            Step::Act(Effect::Reserve(_) | Effect::Mint { .. }) => {
                let attempt = observation.ledger.next.as_ref().expect("an attempt is under way");
                prop_assert!(!closed || !attempt.cause.waits_for_a_window(), "{:?}", attempt);
            }
            Step::Act(Effect::WriteLedger { entry: LedgerEntry::Open, ledger }) => {
                let opened = ledger.next.expect("an attempt is opened").cause;
                prop_assert!(!(closed && opened.waits_for_a_window()) || observation.ledger.next.is_some(), "{:?}", opened);
            }
            Step::Wait(Wait::Window { opens_at, .. }) => {
                prop_assert!(closed && waits, "{:?}", cause);
                prop_assert!(opens_at > now || opens_at == Timestamp::MAX);
            }
            _ => {}
        }
    }

    /// However the annotations change: what was called compromised stays so, until the status is lost.
    #[test]
    fn a_compromised_token_stays_one(observation in observation(), now in time()) {
        let before = observation.of_this_installation().ledger.compromised;
        let after = match plan(&observation, now).step {
            Step::Act(Effect::WriteLedger { entry, ledger }) if entry != LedgerEntry::Rebuild => ledger.compromised,
            Step::Act(Effect::Prove { committed, .. }) => committed.compromised,
            _ => return Ok(()),
        };
        prop_assert!(after >= before, "{:?} {:?}", before, after);
        let called = observation.compromised.is_some() && observation.compromised == observation.rotate_at;
        prop_assert!(called || after == before, "nobody called it so");
    }

    /// Whatever would be done: a dry run looks, tells and waits.
    #[test]
    fn a_dry_run_does_nothing(observation in observation(), now in time()) {
        let Ok(desired) = &observation.desired else { return Ok(()) };
        let desired = Ok(Desired { dry_run: true, ..desired.clone() });
        let observation = Observation { desired, deleted_at: None, ..observation };
        let plan = plan(&observation, now);
        if let Step::Act(effect) = &plan.step {
            prop_assert!(matches!(effect, Effect::InspectSource(_)), "{:?}", effect);
        }
        prop_assert!(plan.report.plan.len() <= 20);
        prop_assert!(plan.report.plan.iter().all(|entry| !entry.message.is_empty() && entry.at.is_none_or(|at| at > now)));
        let told = plan.report.conditions.iter().any(|it| it.kind == ConditionType::Stalled && it.reason == "DryRun");
        prop_assert_eq!(told, plan.step == Step::Blocked(Block::DryRun));
        prop_assert!(plan.report.plan.is_empty() || matches!(plan.step, Step::Blocked(_) | Step::Read(_) | Step::Act(_)));
    }

    /// The second opinion: what would be done in earnest is refused for a dry run.
    #[test]
    fn the_interlock_lets_a_dry_run_do_nothing(observation in observation(), now in time()) {
        let Ok(desired) = &observation.desired else { return Ok(()) };
        let with = |dry_run| {
            Observation { desired: Ok(Desired { dry_run, ..desired.clone() }), deleted_at: None, ..observation.clone() }
        };
        if let Step::Act(effect) = plan(&with(false), now).step {
            let refused = interlock::check(&with(true), &effect).is_err();
            prop_assert!(refused || matches!(effect, Effect::InspectSource(_)), "{:?}", effect);
        }
    }

    /// With nothing to do, the object is judged as if only doing was asked.
    #[test]
    fn a_dry_run_of_nothing_is_none(observation in at_rest(), now in time()) {
        let with = |dry_run| {
            let desired = observation.desired.clone().map(|desired| Desired { dry_run, ..desired });
            Observation { desired, trouble: None, ..observation.clone() }
        };
        let (earnest, dry) = (plan(&with(false), now), plan(&with(true), now));
        let rests = earnest.step == Step::Settled && observation.ledger.retiring.is_empty();
        prop_assume!(rests && dry.report.plan.is_empty() && !matches!(dry.step, Step::Read(_)));
        prop_assert_eq!(&dry, &earnest);
    }

    #[test]
    fn what_is_not_ours_is_never_touched(observation in observation(), now in time()) {
        let Step::Act(Effect::Retire { token, .. } | Effect::Revoke { token, .. } | Effect::Grant { token, .. }) =
            plan(&observation, now).step
        else {
            return Ok(());
        };
        prop_assert!(!is_foreign(&observation, token), "{}", token);
    }

    #[test]
    fn an_adopted_token_is_never_revoked_before_it_is_condemned(observation in observation(), now in time()) {
        let Step::Act(Effect::Retire { token, .. } | Effect::Revoke { token, .. }) = plan(&observation, now).step else {
            return Ok(());
        };
        let condemned = observation.slots.iter().any(|slot| slot.token() == Some(token) && slot.condemned.is_some());
        prop_assert!(!observation.is_adopted(token) || condemned, "{}", token);
    }

    #[test]
    fn a_token_that_somebody_holds_is_never_claimed(observation in living(), now in time()) {
        let Step::Act(Effect::ClaimAdoption { token, probes, .. }) = plan(&observation, now).step else { return Ok(()) };
        let mark = observation.known_tokens().find(|known| known.id == token).and_then(|known| known.mark.as_ref());
        prop_assert!(mark.is_none_or(|mark| mark.installation == observation.installation));
        let Some(Look { finding: Finding::Fits(fits), .. }) = &observation.look else {
            return Err(TestCaseError::fail("nothing was found"));
        };
        prop_assert!(fits.iter().any(|fit| fit.token == token && fit.holder == Holder::Nobody));
        let account = observation.account.open().expect("an account");
        let policy = adoption::policy(&account.grants);
        prop_assert!(policy == AdoptPolicy::Unproven || policy == AdoptPolicy::Proven && !probes.is_empty());
    }

    #[test]
    fn nothing_is_made_or_destroyed_without_a_list(observation in observation(), now in time()) {
        let mut observation = observation;
        if let Account::Ready(account) = &mut observation.account {
            account.tokens = Reading::Unknown;
        }
        let retained = observation.deleted_at.is_some() && observation.deletion_policy == DeletionPolicy::Retain;
        let Step::Act(effect) = plan(&observation, now).step else { return Ok(()) };
        let rash = match &effect {
            Effect::ClaimAdoption { .. } | Effect::Rename { .. } | Effect::CondemnAdopted { .. } => true,
            Effect::Mint { .. } | Effect::Grant { .. } | Effect::Revoke { .. } | Effect::Retire { .. } => true,
            // A claim that was never committed is given back whatever dbt says.
            Effect::CloseSlot(serial) if observation.slot(*serial).is_some_and(|it| it.adopted.is_some() && !it.committed) => false,
            Effect::CloseSlot(serial) => !retained && observation.slot(*serial).is_some_and(|slot| slot.token().is_some()),
            Effect::WriteLedger { entry, .. } => matches!(entry, LedgerEntry::Forget(_) | LedgerEntry::Rebuild),
            _ => false,
        };
        prop_assert!(!rash, "{:?}", effect);
    }

    #[test]
    fn nothing_is_made_or_destroyed_on_an_old_list(observation in observation(), now in time()) {
        let mut observation = observation;
        observation.fresh_after = Timestamp::MAX;
        prop_assume!(observation.fresh_tokens().is_none());
        let Step::Act(effect) = plan(&observation, now).step else { return Ok(()) };
        let rash = matches!(effect, Effect::Mint { .. } | Effect::Grant { .. } | Effect::Revoke { .. } | Effect::Retire { .. });
        prop_assert!(!rash, "{:?}", effect);
    }

    #[test]
    fn nothing_is_made_under_deletion(observation in living(), deleted_at in time(), now in time()) {
        let observation = Observation { deleted_at: Some(deleted_at), ..observation };
        let step = plan(&observation, now).step;
        prop_assert!(!makes_a_token(&step) && !matches!(step, Step::Act(Effect::ClaimTarget | Effect::Project { .. })), "{:?}", step);
    }

    #[test]
    fn a_secret_of_somebody_else_is_never_written(observation in observation(), now in time(), place in 0_usize..2) {
        let theirs = [Target::Foreign { manager: "helm".into() }, Target::OtherOwner { name: "ci".into() }];
        let observation = Observation { target: theirs[place].clone(), ..observation };
        let step = plan(&observation, now).step;
        let written = matches!(step, Step::Act(Effect::Project { .. } | Effect::DeleteTarget | Effect::ReleaseTarget));
        prop_assert!(!written, "{:?}", step);
    }
}

/// Whether a token is somebody else's: by its mark, or since neither a mark nor a slot says that it is ours.
fn is_foreign(observation: &Observation, token: TokenId) -> bool {
    let listed = observation.known_tokens().find(|known| known.id == token);
    let mark = listed.and_then(|known| known.mark.as_ref());
    let bound = observation.slots.iter().filter(|slot| !slot.retained).filter_map(Slot::token).any(|held| held == token);
    // The one slot of an adopted token weighs more than what another object of this installation left behind.
    let mut slots = observation.slots.iter().filter(|slot| !slot.retained && slot.token() == Some(token));
    let adopted = slots.any(|slot| slot.adopted.is_some());
    match mark {
        Some(mark) => mark.installation != observation.installation || mark.owner != observation.owner.uid && !adopted,
        None => !bound,
    }
}

/// Reasons of the closed list, by the condition that carries them.
fn reasons(kind: ConditionType, status: ConditionStatus) -> &'static [&'static str] {
    match (kind, status) {
        (ConditionType::Ready, ConditionStatus::True) => &["Published", "PublishedUnproven", "PolicyViolation", "Suspended"],
        (ConditionType::Ready, ConditionStatus::Unknown) => &["Progressing"],
        (ConditionType::TokenUsable, ConditionStatus::True) => &["VerificationPassed"],
        (ConditionType::TokenUsable, ConditionStatus::False) => &["VerificationRefused", "TokenLost"],
        (ConditionType::TokenUsable, ConditionStatus::Unknown) => &["VerificationInconclusive", "Unprobeable", "NoToken"],
        (ConditionType::Rotating, ConditionStatus::False) => {
            &["UpToDate", "WaitingForWindow", "WaitingForBudget", "LegacyReported"]
        }
        (ConditionType::Rotating, ConditionStatus::True) => &["Replacing", "AwaitingConsumers", "RetirementBlocked", "Retiring"],
        (ConditionType::Reconciling, ConditionStatus::True) => &["Progressing", "ProgressingWithRetry"],
        (ConditionType::Stalled, ConditionStatus::True) => STALLED,
        (ConditionType::Ready, ConditionStatus::False) => READY_FALSE,
        _ => &[],
    }
}

const STALLED: &[&str] = &[
    "NotImplemented",
    "InvalidSpec",
    "AccountNotFound",
    "PolicyRefused",
    "TokenLimitReached",
    "ProjectNotFound",
    "ProjectAmbiguous",
    "SecretNotOwned",
    "SecretConflict",
    "SecretRefused",
    "DbtRejected",
    "GrantsDiffer",
    "VerificationRefused",
    "Unprobeable",
    "DeletionBlocked",
    "DryRun",
    "AdoptSourceNotFound",
    "AdoptRefused",
    "AdoptAmbiguous",
    "AdoptPermissionsDiffer",
    "TokenConflict",
    "RestartNotPermitted",
];

const READY_FALSE: &[&str] =
    &["Suspended", "AccountNotReady", "DbtUnavailable", "VerificationInconclusive", "MintBudgetExhausted", "Deleting"];

fn check_conditions(report: &Report) -> Result<(), TestCaseError> {
    let all = |kind| report.conditions.iter().filter(|condition| condition.kind == kind).collect::<Vec<&Condition>>();
    let [ready] = all(ConditionType::Ready)[..] else { return Err(TestCaseError::fail("Ready is not there once")) };
    prop_assert_eq!(all(ConditionType::TokenUsable).len(), 1);
    prop_assert_eq!(all(ConditionType::Rotating).len(), 1);
    let (reconciling, stalled) = (all(ConditionType::Reconciling), all(ConditionType::Stalled));
    prop_assert!(reconciling.len() + stalled.len() <= 1, "{:?}", report.conditions);
    if let [stalled] = stalled[..] {
        prop_assert_eq!(
            (ready.status, &ready.reason, &ready.message),
            (ConditionStatus::False, &stalled.reason, &stalled.message)
        );
    }
    for condition in &report.conditions {
        let closed = reasons(condition.kind, condition.status);
        let stalls = condition.kind == ConditionType::Ready && stalled.len() == 1 && STALLED.contains(&condition.reason.as_str());
        prop_assert!(stalls || closed.contains(&condition.reason.as_str()), "{:?}", condition);
        prop_assert!(!condition.message.is_empty(), "{:?}", condition);
    }
    Ok(())
}

/// The properties above say nothing if the observations never reach what they speak of.
#[test]
fn the_observations_reach_what_the_properties_speak_of() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    let kinds = [observation().boxed(), living().boxed()];
    for place in 0..8_000 {
        let observation = kinds[place % 2].new_tree(&mut runner).expect("an observation").current();
        let word = match plan(&observation, now()).step {
            Step::Act(effect) => effect.word(),
            Step::Read(_) => "read",
            Step::Wait(_) => "wait",
            Step::Blocked(_) => "blocked",
            Step::Settled => "settled",
        };
        *seen.entry(word).or_insert(0) += 1;
    }
    let effects = [
        "abandon",
        "blocked",
        "call_compromised",
        "claim_adoption",
        "clear",
        "close_slot",
        "condemn",
        "condemn_adopted",
        "forget",
        "give_up",
        "grant",
        "inspect_source",
        "mint",
        "open",
        "project",
        "prove",
        "read",
        "rebuild",
        "rename",
        "reserve",
        "restart_workloads",
        "restarted",
        "retire",
        "revoke",
        "set_back",
        "settled",
        "take_over_target",
        "wait",
    ];
    for word in effects {
        assert!(seen.contains_key(word), "{word} is never reached: {seen:?}");
    }
}
