//! One pass of the shell as far as it makes no change: look, plan, ask the interlock, and keep the step in hand.

use std::sync::Arc;

use dbt_token_planner::conclude::conclude;
use dbt_token_planner::effect::{Effect, LedgerEntry, Need, Outcome};
use dbt_token_planner::identity::Serial;
use dbt_token_planner::interlock;
use dbt_token_planner::observation::{Condemnation, Observation};
use dbt_token_planner::plan::{Plan, Step, plan};
use dbt_token_planner::report::Report;

use super::mutation::{self, Mutation};
use super::observe::{View, observation, ser, tick_of, time, tok};
use super::shared::Shared;
use super::{Hand, Phase, Record, Slot, Tok, World, bit};

/// A step that a replica holds in hand, with what it saw when it planned it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    /// `None` writes the report alone.
    pub effect: Option<Effect>,
    /// The report, where it is written with the effect or before it.
    pub record: Option<Record>,
    /// The slot that the effect is about, as it was seen.
    pub slot: Option<Slot>,
    /// The published token, as the ledger named it.
    pub current: Option<Tok>,
    /// What follows if dbt refuses, or in any case where that is the same.
    pub refusal: Option<u32>,
}

/// What came of one look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    pub next: Next,
    /// The interlock refuses the effect, or what follows from its refusal.
    pub objection: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    Job(u32),
    ReadTokens,
    ReadToken(Tok),
    ReadConsumers,
    /// Nothing to do; whether time alone will change that.
    Rest {
        wakes: bool,
        settled: bool,
    },
}

/// The answer of the planner to this view, worked out once.
pub fn planned(view: View, shared: &Shared) -> Arc<Planned> {
    if let Some(planned) = shared.plans.get(&view) {
        return planned;
    }
    let planned = Arc::new(work_out(&view, shared));
    shared.plans.put(view, Arc::clone(&planned));
    planned
}

fn work_out(view: &View, shared: &Shared) -> Planned {
    let truth = observation(view, shared);
    let now = time(view.tick);
    let Plan { step, wake_at, report } = match shared.mutation {
        None => plan(&truth, now),
        Some(mutation) => mutation::plan(mutation, &truth, now),
    };
    assert!(wake_at.is_none_or(|wake_at| wake_at > now), "a plan wakes at once: {step:?}");
    let after = record(&report);
    let rest = |settled| Next::Rest { wakes: wake_at.is_some(), settled };
    let (next, objection) = match step {
        Step::Act(effect) => {
            let refusal = refusal(&truth, &effect, view);
            let effects = [Some(&effect), refusal.as_ref().map(|(effect, _)| effect)];
            let objection = effects.into_iter().flatten().find_map(|effect| interlock::check(&truth, effect).err());
            let refusal = refusal.map(|(effect, after)| number(effect, after, None, view, shared));
            (Next::Job(number(effect, after, refusal, view, shared)), objection)
        }
        Step::Read(Need::Token(token)) => (Next::ReadToken(tok(token)), None),
        Step::Read(Need::Consumers(_)) => (Next::ReadConsumers, None),
        Step::Read(_) => (Next::ReadTokens, None),
        // At rest, and only then, the report is written by itself.
        _ if after != view.object.record => (Next::Job(report_alone(after, shared)), None),
        Step::Settled => (rest(true), None),
        Step::Wait(_) | Step::Blocked(_) => (rest(false), None),
    };
    Planned { next, objection }
}

/// Ledger and report are one write of the status.
fn carries_report(effect: &Effect) -> bool {
    matches!(effect, Effect::WriteLedger { .. } | Effect::Prove { .. })
}

/// The report is written before the effect, if it differs.
fn reports_first(effect: &Effect) -> bool {
    matches!(effect, Effect::Project { .. })
}

/// The parts of the report on which later decisions rest.
fn record(report: &Report) -> Record {
    Record {
        published: report.token.as_ref().map(|token| (tok(token.id), tick_of(token.published_at))),
        retiring: report
            .retiring
            .iter()
            .filter_map(|token| token.replaced_at.map(|replaced_at| (tok(token.id), tick_of(replaced_at))))
            .collect(),
    }
}

fn refusal(truth: &Observation, effect: &Effect, view: &View) -> Option<(Effect, Record)> {
    let outcome = match effect {
        Effect::Mint { .. } => Outcome::Rejected { message: "not on this plan".into() },
        Effect::Rename { .. } => Outcome::Done,
        Effect::Prove { .. } | Effect::Retire { .. } => Outcome::Refused { why: Condemnation::refused("401") },
        _ => return None,
    };
    conclude(truth, effect, &outcome, time(view.tick)).map(|conclusion| (conclusion.effect, record(&conclusion.report)))
}

fn number(effect: Effect, after: Record, refusal: Option<u32>, view: &View, shared: &Shared) -> u32 {
    let about = subject(&effect).and_then(|serial| view.slots.iter().find(|slot| slot.serial == ser(serial) && !slot.retained));
    let current = shared.ledger(view.object.ledger).current.map(|entry| tok(entry.token));
    let record = (carries_report(&effect) || reports_first(&effect) && after != view.object.record).then_some(after);
    let current = current.filter(|_| matches!(effect, Effect::Retire { .. }));
    shared.jobs.number(Job { effect: Some(effect), record, slot: about.copied(), current, refusal })
}

fn report_alone(record: Record, shared: &Shared) -> u32 {
    shared.jobs.number(Job { effect: None, record: Some(record), slot: None, current: None, refusal: None })
}

/// The slot that the effect reads or writes.
pub fn subject(effect: &Effect) -> Option<Serial> {
    match effect {
        Effect::Mint { serial, .. }
        | Effect::Prove { serial, .. }
        | Effect::Condemn { serial, .. }
        | Effect::LabelCommitted(serial)
        | Effect::Project { serial, .. }
        | Effect::ClaimAdoption { serial, .. }
        | Effect::Rename { serial, .. }
        | Effect::CondemnAdopted { serial, .. }
        | Effect::CloseSlot(serial) => Some(*serial),
        _ => None,
    }
}

/// The replica looks and plans. A read happens at once. `None` if nothing comes of it.
pub fn look(world: &World, replica: usize, shared: &Shared) -> Option<World> {
    if world.object.gone.is_some() {
        return None;
    }
    let view = View::of(world, replica, shared);
    let object_current = world.replicas[replica].object.as_ref().is_none_or(|cached| cached.current);
    let target_current = world.replicas[replica].target.as_ref().is_none_or(|cached| cached.current);
    let slots_current = view.slots == world.slots;
    let planned = planned(view, shared);
    let mut world = world.clone();
    if planned.objection.is_some() {
        world.ghosts.broken |= super::census::OBJECTION;
    }
    match planned.next {
        Next::Rest { .. } => return None,
        Next::ReadTokens => read_list(&mut world, replica, shared, 0),
        Next::ReadConsumers => world.replicas[replica].consumers = Some((world.pod, world.tick)),
        Next::ReadToken(token) => read_token(&mut world, replica, token),
        // A ledger is rebuilt only if the slots, read live, are those that were seen.
        Next::Job(job) if !slots_current && is_rebuild(job, shared) => return None,
        Next::Job(job) => world.replicas[replica].phase = Phase::Pending(Hand { job, object_current, target_current }),
    }
    Some(world)
}

fn is_rebuild(job: u32, shared: &Shared) -> bool {
    let rebuild = matches!(shared.jobs.value(job).effect, Some(Effect::WriteLedger { entry: LedgerEntry::Rebuild, .. }));
    rebuild && !shared.is(Mutation::RebuildFromCache)
}

/// A new list, of which a lagging server of dbt's may leave out some tokens.
pub fn read_list(world: &mut World, replica: usize, shared: &Shared, left_out: u16) {
    let mut list = world.list(shared.hides);
    list.retain(|(token, _)| left_out & bit(*token) == 0);
    let tick = world.tick;
    let replica = &mut world.replicas[replica];
    replica.list = Some(list);
    // Where last uses do not count, the age of a list counts only against the last change.
    replica.listed_at = if shared.last_uses_count() { tick } else { 0 };
    replica.fresh = true;
}

fn read_token(world: &mut World, replica: usize, token: Tok) {
    let known = world.tokens.get(usize::from(token)).copied();
    let replica = &mut world.replicas[replica];
    match (known.filter(|known| known.active), &mut replica.list) {
        (Some(known), Some(list)) => {
            list.push((token, known));
            list.sort_unstable();
            list.dedup_by_key(|(token, _)| *token);
        }
        _ => replica.absent |= bit(token),
    }
}
