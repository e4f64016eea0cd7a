//! Wrong planners: the shipped one with its eyes or hands altered, one for each rule of section 4 of the architecture.
//! Those named `...Without...` are wrong hands and are read by `execute`; the others are wrong eyes or wrong answers.

use std::time::Duration;

use dbt_token_planner::desired::{Deadline, OnDeadline, Retirement};
use dbt_token_planner::effect::{Effect, LedgerEntry, LetGo, RevokedBecause};
use dbt_token_planner::ledger::{Entry, Ledger};
use dbt_token_planner::observation::{
    Account, Condemnation, Consumers, Life, Observation, OpenAccount, Reading, SlotContent, Target, TargetState,
};
use dbt_token_planner::plan::{Plan, Step, Wait, plan as shipped};
use dbt_token_planner::report::Published;
use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Sweeps serials above the ledger's.
    SweepAboveSerial,
    /// Closes a filled slot before its token is revoked.
    CloseFilledFirst,
    /// Does not see that a token carries the serial of a slot that holds another one.
    NoBindingCheck,
    LedgerWithoutCompare,
    ProjectWithoutCompare,
    /// Does not read the ledger again before the target is written.
    ProjectWithoutLedger,
    /// Does not write down that the target could not be read before it mends it.
    ProjectWithoutReport,
    FillWithoutCompare,
    CloseWithoutPrecondition,
    LabelWithoutPrecondition,
    /// A lost ledger is written anew with nothing in it.
    NoRebuild,
    RebuildByTarget,
    RebuildWithoutLabel,
    RebuildByList,
    /// Rebuilds from slots of an old cache.
    RebuildFromCache,
    /// Takes a token for dead because a list does not show it.
    TrustAbsence,
    /// Revokes strays at once, whether or not dbt saw them used.
    SweepUsed,
    /// Waits for retirements although `current` is dead.
    NoWayOut,
    CreateTargetWithContent,
    RetireBeforePublish,
    NoOverlap,
    /// Revokes what was given up without marking its slot first.
    SkipCondemnation,
    /// Publishes before the slot is labelled.
    ProjectUnlabelled,
    /// Mints without looking whether the serial was used.
    MintBlind,
    /// Takes any old list for a new one.
    OldListsCount,
    IgnoreSetBack,
    ActOnOtherInstallation,
    /// Publishes a token that was seen inactive.
    PublishDead,
    /// Puts what an old ledger names in the place of what was committed after it.
    BringBack,
    LetGoFirst,
    /// Commits a new token without the links of the old one.
    ProveWithoutLinks,
    /// Sees no pods.
    IgnorePods,
    /// Takes a look at the pods within the second of the swap for one that came after it.
    EarlyLooksCount,
    /// Does not look at last uses.
    NoQuietPeriod,
    /// Takes any list for one that tells of all uses.
    OldUsesCount,
    /// Takes every deadline for one that has passed.
    DeadlineAtOnce,
    /// Lets go at a deadline that holds.
    HoldDeletes,
    /// Revokes what a person called compromised before its successor is published.
    CompromisedBeforePublish,
    /// Forgets that a retiring token is compromised, so that it has an overlap.
    ForgetCompromised,
    /// Takes a token over because its uid stands in the string, and tries the string with no call.
    AdoptByUid,
    /// Does not try the string again after the claim.
    NoSecondTry,
    /// Revokes an adopted token without marking its slot first.
    NoCondemnation,
    /// Revokes an adopted token although dbt saw it used.
    IgnoreUse,
    /// Revokes, as a stray, an adopted token whose slot is lost.
    SweepAdopted,
    /// Revokes the token of a claim that was never committed.
    RevokeClaimed,
}

/// What a wrong planner answers.
pub fn plan(mutation: Mutation, truth: &Observation, now: Timestamp) -> Plan {
    let mut seen = truth.clone();
    alter(mutation, &mut seen);
    let mut plan = shipped(&seen, now);
    answer(mutation, &seen, &mut plan, now);
    plan
}

fn open(seen: &mut Observation) -> Option<&mut OpenAccount> {
    match &mut seen.account {
        Account::Ready(account) => Some(account),
        _ => None,
    }
}

fn tokens(seen: &mut Observation, keep: impl Fn(&mut dbt_token_planner::observation::Token) -> bool) {
    if let Some(Reading::Known { value, .. }) = open(seen).map(|account| &mut account.tokens) {
        value.retain(|_, token| keep(token));
    }
}

fn alter(mutation: Mutation, seen: &mut Observation) {
    let before = seen.clone();
    match mutation {
        Mutation::SweepAboveSerial if !seen.ledger.is_blank() => seen.ledger.serial = before.highest_serial().0,
        Mutation::NoBindingCheck => tokens(seen, |token| {
            before
                .own_mark(token)
                .is_none_or(|mark| before.slot(mark.serial).and_then(|slot| slot.token()).is_none_or(|held| held == token.id))
        }),
        Mutation::RebuildWithoutLabel if seen.ledger.is_blank() => {
            seen.slots.iter_mut().filter(|slot| slot.token().is_some()).for_each(|slot| slot.committed = true);
        }
        Mutation::RebuildByList if seen.ledger.is_blank() => trust_absence(seen),
        Mutation::TrustAbsence => trust_absence(seen),
        Mutation::SweepUsed => tokens(seen, |token| {
            token.last_used = None;
            true
        }),
        Mutation::CreateTargetWithContent if seen.target == Target::Missing => {
            seen.target = Target::Ours(TargetState { token: None, rule: None, intact: true, taken_over: false });
        }
        Mutation::NoOverlap => forget_times(seen),
        Mutation::SkipCondemnation => {
            for slot in &mut seen.slots {
                if !slot.committed && slot.content != SlotContent::Empty && !before.ledger.names(slot.serial) {
                    slot.condemned = Some(Condemnation::superseded());
                }
            }
        }
        Mutation::ProjectUnlabelled => {
            let current = before.ledger.current.map(|entry| entry.serial);
            for slot in seen.slots.iter_mut().filter(|slot| Some(slot.serial) == current) {
                slot.committed = true;
            }
        }
        Mutation::MintBlind => {
            let next = before.ledger.next.as_ref().map(|attempt| attempt.serial);
            tokens(seen, |token| before.own_mark(token).is_none_or(|mark| Some(mark.serial) != next));
        }
        Mutation::OldListsCount => seen.fresh_after = Timestamp::UNIX_EPOCH,
        Mutation::IgnoreSetBack => {
            if let Some(account) = open(seen) {
                account.set_back_confirmed = Some(dbt_token_planner::identity::Serial(i64::MAX));
            }
        }
        Mutation::ActOnOtherInstallation => {
            let here = before.installation.clone();
            if seen.ledger.installation.is_some() {
                seen.ledger.installation = Some(here.clone());
            }
            tokens(seen, |token| {
                if let Some(mark) = &mut token.mark {
                    mark.installation = here.clone();
                }
                true
            });
        }
        Mutation::ForgetCompromised => forget_compromised(seen),
        Mutation::PublishDead => {
            let current = before.ledger.current.map(|entry| entry.token);
            tokens(seen, |token| {
                token.active |= Some(token.id) == current;
                true
            });
        }
        _ => {
            alter_consumers(mutation, seen);
            alter_adoption(mutation, seen, &before);
        }
    }
}

/// What concerns the rules of retirement.
fn alter_consumers(mutation: Mutation, seen: &mut Observation) {
    match mutation {
        Mutation::IgnorePods => {
            seen.consumers = Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: Timestamp::MAX };
        }
        Mutation::EarlyLooksCount => {
            if let Reading::Known { taken_at, .. } = &mut seen.consumers {
                *taken_at += Duration::from_secs(1);
            }
        }
        Mutation::OldUsesCount => {
            if let Some(Reading::Known { taken_at, .. }) = open(seen).map(|account| &mut account.tokens) {
                *taken_at = Timestamp::MAX;
            }
        }
        Mutation::NoQuietPeriod => declared(seen, |it| it.quiet_period = Duration::ZERO),
        Mutation::DeadlineAtOnce => declared(seen, |it| {
            it.deadline = it.deadline.map(|deadline| Deadline { after: Duration::ZERO, ..deadline });
        }),
        Mutation::HoldDeletes => declared(seen, |it| {
            it.deadline = it.deadline.map(|deadline| Deadline { then: OnDeadline::Delete, ..deadline });
        }),
        _ => {}
    }
}

fn alter_adoption(mutation: Mutation, seen: &mut Observation, before: &Observation) {
    match mutation {
        Mutation::IgnoreUse => tokens(seen, |token| {
            token.last_used = None;
            true
        }),
        Mutation::SweepAdopted => {
            let current = before.ledger.current.map(|entry| entry.token);
            let held: Vec<_> = before.slots.iter().filter_map(|slot| slot.token()).chain(current).collect();
            tokens(seen, |token| {
                if let Some(mark) = token.mark.as_mut().filter(|_| !held.contains(&token.id)) {
                    mark.origin = dbt_token_planner::mark::Origin::Made;
                    token.last_used = None;
                }
                true
            });
        }
        Mutation::RevokeClaimed => {
            let mut claimed = Vec::new();
            for slot in seen.slots.iter_mut().filter(|slot| !slot.committed && !before.ledger.names(slot.serial)) {
                slot.adopted = None;
                claimed.extend(slot.token());
            }
            tokens(seen, |token| {
                if let Some(mark) = token.mark.as_mut().filter(|_| claimed.contains(&token.id)) {
                    mark.origin = dbt_token_planner::mark::Origin::Made;
                }
                true
            });
        }
        _ => {}
    }
}

fn declared(seen: &mut Observation, change: impl FnOnce(&mut Retirement)) {
    change(&mut seen.desired.as_mut().expect("a declaration that makes sense").retirement);
}

fn trust_absence(seen: &mut Observation) {
    let (named, read_at) = (seen.named_tokens(), seen.fresh_after);
    let absent: Vec<_> = named.into_iter().filter(|token| seen.life(*token) == Life::Unlisted).collect();
    if let Some(account) = open(seen) {
        account.gone.extend(absent.into_iter().map(|token| (token, read_at)));
    }
}

/// Once another token is published, so that it is not called compromised again and again.
fn forget_compromised(seen: &mut Observation) {
    if seen.ledger.current.is_some_and(|current| !seen.ledger.is_compromised(current.serial)) {
        seen.ledger.compromised = None;
    }
}

fn forget_times(seen: &mut Observation) {
    if let Some(published) = &mut seen.record.published {
        published.at = seen.created_at;
    }
    for record in &mut seen.record.retiring {
        record.replaced_at = seen.created_at;
    }
}

fn answer(mutation: Mutation, seen: &Observation, plan: &mut Plan, now: Timestamp) {
    match (mutation, &mut plan.step) {
        (
            Mutation::CloseFilledFirst,
            Step::Act(Effect::Revoke { token, serial, because: RevokedBecause::Stray } | Effect::Retire { token, serial, .. }),
        ) if seen.slot(*serial).and_then(|slot| slot.token()) == Some(*token) => {
            plan.step = Step::Act(Effect::CloseSlot(*serial));
        }
        (Mutation::NoRebuild, Step::Act(Effect::WriteLedger { entry: LedgerEntry::Rebuild, ledger })) => {
            ledger.current = None;
            ledger.retiring.clear();
        }
        (Mutation::RebuildByTarget, Step::Act(Effect::WriteLedger { entry: LedgerEntry::Rebuild, ledger })) => {
            if let Target::Ours(TargetState { token: Some(token), .. }) = &seen.target {
                prefer(ledger, *token);
            }
        }
        (Mutation::NoWayOut, Step::Act(Effect::WriteLedger { entry: LedgerEntry::Open, .. }))
            if !seen.ledger.retiring.is_empty() && !seen.current_is_usable() =>
        {
            plan.step = Step::Wait(Wait::RetiringFull);
        }
        (Mutation::RetireBeforePublish, Step::Act(Effect::Project { .. } | Effect::LabelCommitted(_))) => {
            plan.step = retire_at_once(seen, now).unwrap_or_else(|| plan.step.clone());
        }
        (Mutation::CompromisedBeforePublish, Step::Act(Effect::Project { .. } | Effect::LabelCommitted(_)))
            if seen.ledger.retiring.iter().any(|entry| seen.ledger.is_compromised(entry.serial)) =>
        {
            plan.step = retire_at_once(seen, now).unwrap_or_else(|| plan.step.clone());
        }
        (Mutation::AdoptByUid, Step::Act(Effect::ClaimAdoption { probes, .. } | Effect::Prove { probes, .. }))
        | (Mutation::NoSecondTry, Step::Act(Effect::Prove { probes, .. })) => probes.clear(),
        (Mutation::NoCondemnation, Step::Act(Effect::CondemnAdopted { serial, token, .. })) => {
            if let Some(current) = seen.ledger.current {
                let rule = seen.rule.clone().expect("the rule is known");
                let (token, serial, successor) = (*token, *serial, current.serial);
                plan.step = Step::Act(Effect::Retire { token, serial, successor, probes: Vec::new(), rule });
            }
        }
        (Mutation::BringBack, Step::Act(Effect::Prove { .. }) | Step::Read(_) | Step::Wait(_)) => {
            plan.step = bring_back(seen).unwrap_or_else(|| plan.step.clone());
        }
        (Mutation::LetGoFirst, Step::Act(Effect::Revoke { because: RevokedBecause::Deletion, .. })) => {
            plan.step = Step::Act(Effect::RemoveFinalizer(LetGo::Clean));
        }
        _ => {}
    }
}

/// What the ledger calls current is written into the target, if its string is there and no list shows that it is gone.
fn bring_back(seen: &Observation) -> Option<Step> {
    let current = seen.ledger.current.filter(|current| seen.slot(current.serial).is_some_and(|slot| slot.committed))?;
    let is_needed = seen.target_is_readable() && !seen.target_holds(current.token);
    let rule = seen.rule.clone().filter(|_| is_needed && seen.life(current.token) != Life::Inactive)?;
    Some(Step::Act(Effect::Project { serial: current.serial, token: current.token, rule }))
}

/// The token in the target becomes the published one, whatever was committed later.
fn prefer(ledger: &mut Ledger, token: dbt_token_planner::identity::TokenId) {
    let mut entries: Vec<Entry> = ledger.current.into_iter().chain(ledger.retiring.iter().copied()).collect();
    if let Some(place) = entries.iter().position(|entry| entry.token == token) {
        ledger.current = Some(entries.remove(place));
        entries.sort_unstable();
        ledger.retiring = entries;
    }
}

fn retire_at_once(seen: &Observation, now: Timestamp) -> Option<Step> {
    let current = seen.ledger.current?;
    let mut seen = seen.clone();
    seen.target =
        Target::Ours(TargetState { token: Some(current.token), rule: seen.rule.clone(), intact: true, taken_over: false });
    for slot in seen.slots.iter_mut().filter(|slot| slot.serial == current.serial) {
        slot.committed = true;
    }
    seen.record.published = Some(Published { token: current.token, at: seen.created_at });
    forget_times(&mut seen);
    let step = shipped(&seen, now).step;
    matches!(step, Step::Act(Effect::Retire { .. })).then_some(step)
}
