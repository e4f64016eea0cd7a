//! One run: the world is set up, the operator started, everything goes wrong for a while, and then it has to come to rest
//! and to stay there.

use std::time::Instant as Real;

use tokio::runtime::Builder;

use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::fault::Storm;
use crate::history::History;
use crate::judge::{Promise, Truth, Violation};
use crate::plan::Plan;
use crate::replica::Replica;
use crate::rest::unrest;
use crate::scene;
use crate::script::{self, Script};
use crate::world::World;

const HOUR: u64 = 3_600_000;

/// How long it may take after the last fault. The longest waits are the hour of the budget, once for each hour's worth of
/// tokens, and the hour after which a stray without an owner goes.
const CONVERGENCE: u64 = 4 * HOUR;

/// How long things that were told last may still be written after everything is at rest: until after the next list.
const SETTLING: u64 = 12 * 60_000;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was broken; none if every promise was kept.
    pub violation: Option<Violation>,
    /// Which faults struck where.
    pub coverage: Coverage,
    /// What happened, if it was asked for.
    pub history: Vec<String>,
    /// Tokens that the operator made.
    pub created: u64,
    /// Milliseconds from the last fault until everything was at rest.
    pub converged_after: u64,
    /// What was simulated, in milliseconds.
    pub simulated: u64,
    /// How long the run took.
    pub took: std::time::Duration,
}

/// Runs a plan, with a history or without.
///
/// # Panics
/// If the runtime cannot be started.
pub fn run(plan: &Plan, told: bool) -> Outcome {
    let started = Real::now();
    crate::span::install();
    fastrand::seed(plan.seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without I/O starts");
    let mut outcome = runtime.block_on(live(plan, told));
    outcome.took = started.elapsed();
    outcome
}

async fn live(plan: &Plan, told: bool) -> Outcome {
    let dice = Dice::new(plan.seed);
    let storm = Storm::new(dice, plan.weather.clone(), plan.storm);
    let world = World::new(dice, storm, Script::new(plan), History::new(told));
    world.with(|state| {
        state.judge.truths = plan.subjects.iter().cloned().map(Truth::new).collect();
        state.judge.budget = usize::try_from(plan.mints_per_hour).unwrap_or(usize::MAX);
        state.judge.replicas = plan.replicas;
        state.replicas = (0..plan.replicas).map(|_| Replica::default()).collect();
        scene::set_up(state, plan);
        script::begin(state, plan);
        (0..plan.replicas).for_each(|place| Replica::start(state, place));
    });
    let mut converged_after = 0;
    world.run_until(plan.storm, |_| false).await;
    if world.run_until(plan.storm + CONVERGENCE, |state| state.under_way == 0 && unrest(state).is_none()).await {
        converged_after = world.lock().now() - plan.storm;
        stay(&world, plan.rest).await;
    } else if !world.lock().judge.is_broken() {
        let why = unrest(&world.lock()).unwrap_or_default();
        world.lock().judge.broken(Promise::P7, format!("{} min after the last fault {why}", CONVERGENCE / 60_000));
    }
    let mut state = world.lock();
    let leak = state.history.lines().into_iter().find(|line| line.contains("dbtc_u"));
    if let Some(line) = leak {
        state.judge.broken(Promise::P5, format!("a token's string is logged: {line}"));
    }
    let created = state.dbt.tokens.values().filter(|it| matches!(it.maker, crate::dbt::Maker::Operator { .. })).count();
    Outcome {
        violation: state.judge.violations.first().cloned(),
        coverage: std::mem::take(&mut state.coverage),
        history: state.history.lines(),
        created: created as u64,
        converged_after,
        simulated: state.now(),
        took: std::time::Duration::ZERO,
    }
}

/// At rest everything stays as it is, and nothing is written.
async fn stay(world: &World, rest: u64) {
    let now = world.lock().now();
    world.run_until(now + SETTLING, |_| false).await;
    let settled = world.lock().judge.writes.0;
    world.run_until(now + SETTLING + rest, |_| false).await;
    let mut state = world.lock();
    if state.judge.is_broken() {
        return;
    }
    let (writes, last) = state.judge.writes.clone();
    if writes > settled {
        state.judge.broken(Promise::P8, format!("{} writes at rest, the last of them: {last}", writes - settled));
    }
    if let Some(why) = unrest(&state) {
        state.judge.broken(Promise::P7, format!("what was at rest is not any more: {why}"));
    }
}
