//! `dbt-token-simulation`: runs seeds, and prints what was broken and what was covered.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use dbt_token_simulation::coverage::Coverage;
use dbt_token_simulation::judge::Violation;
use dbt_token_simulation::plan::Plan;
use dbt_token_simulation::run::{Outcome, run};
use dbt_token_simulation::shrink;
use mimalloc::MiMalloc;

/// The operator is all small objects: with the system's allocator a run takes a fifth longer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Of so many seeds one is run with all log lines kept, and searched for token strings.
const LISTENED: u64 = 20;

/// Lines of a history that are printed.
const MOST_LINES: usize = 400;

/// Simulates the operator, and judges what it promises.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// ServiceTokens in each run
    #[arg(long, default_value_t = 10)]
    objects: usize,
    /// Run every seed twice, and say how many came to something else
    #[arg(long)]
    twice: bool,
    /// Do not look for the smallest plan that still breaks what a seed broke
    #[arg(long)]
    brief: bool,
    /// Print the history of the first seed, whatever it comes to
    #[arg(long)]
    history: bool,
    /// Print the table of effects and faults even if every pair was seen
    #[arg(long)]
    table: bool,
    /// Do not fail if a pair of effect and fault was not seen: for few seeds
    #[arg(long)]
    partial: bool,
}

#[derive(Default)]
struct Sum {
    coverage: Coverage,
    runs: u64,
    created: u64,
    simulated: Duration,
    slowest: Duration,
    converged: Vec<u64>,
    failed: Vec<(u64, Violation)>,
    unlike: u64,
}

#[expect(clippy::print_stdout, reason = "it is a program for people")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.history {
        run(&Plan::of(arguments.from, arguments.objects), true).history.iter().for_each(|line| println!("{line}"));
    }
    let started = Instant::now();
    let sum = run_all(&arguments);
    if let Some((seed, violation)) = sum.failed.first().filter(|_| !arguments.brief) {
        explain(&Plan::of(*seed, arguments.objects), violation);
    }
    for (seed, violation) in &sum.failed {
        println!("seed {seed}: BROKEN {violation}");
    }
    let missing = sum.coverage.missing();
    if arguments.table || (!missing.is_empty() && !arguments.partial) {
        println!("{}\n", sum.coverage);
    }
    let kinds: Vec<String> = sum.coverage.by_kind().iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("faults:      {}", kinds.join(", "));
    println!(
        "pairs:       {} of {} pairs of effect and fault were seen",
        Coverage::possible() - missing.len(),
        Coverage::possible()
    );
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "runs:        {} seeds of {} objects in {seconds:.1} s; {:.0} h simulated; {} tokens made; the slowest run took {:.2} s",
        sum.runs,
        arguments.objects,
        sum.simulated.as_secs_f64() / 3600.0,
        sum.created,
        sum.slowest.as_secs_f64(),
    );
    let mut converged = sum.converged;
    converged.sort_unstable();
    let share = |part: usize| converged.get(converged.len() * part / 100).copied().unwrap_or(0) / 1000;
    let longest = converged.last().copied().unwrap_or(0) / 1000;
    println!("rest:        after {} s in half of the runs, {} s in 99 of 100, {longest} s in all", share(50), share(99));
    println!("violations:  {}", sum.failed.len());
    if arguments.twice {
        println!("again:       {} seeds came to something else when they were run again", sum.unlike);
    }
    let covered = missing.is_empty() || arguments.partial;
    if !covered {
        println!(
            "not seen:    {}",
            missing.iter().map(|(effect, fault)| format!("{effect} {fault}")).collect::<Vec<_>>().join(", ")
        );
    }
    let unlisted = sum.coverage.unlisted();
    for (effect, way) in &unlisted {
        println!("not listed:  {effect} makes a call that src/coverage.rs does not list: {way:?}");
    }
    if sum.failed.is_empty() && covered && unlisted.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(arguments: &Arguments) -> Sum {
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let plan = Plan::of(seed, arguments.objects);
                    let outcome = run(&plan, seed.is_multiple_of(LISTENED));
                    let unlike = arguments.twice && !alike(&outcome, &run(&plan, seed.is_multiple_of(LISTENED)));
                    let mut sum = sum.lock().expect("no thread panics while it counts");
                    add(&mut sum, seed, outcome, unlike);
                    // A handful tells as much as a thousand.
                    if sum.failed.len() >= 20 {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sum.into_inner().expect("no thread panics while it counts")
}

fn alike(first: &Outcome, second: &Outcome) -> bool {
    let told = |outcome: &Outcome| (outcome.created, outcome.converged_after, outcome.violation.clone());
    told(first) == told(second)
}

fn add(sum: &mut Sum, seed: u64, outcome: Outcome, unlike: bool) {
    sum.coverage.add(outcome.coverage);
    sum.runs += 1;
    sum.created += outcome.created;
    sum.simulated += Duration::from_millis(outcome.simulated);
    sum.slowest = sum.slowest.max(outcome.took);
    sum.unlike += u64::from(unlike);
    match outcome.violation {
        Some(violation) => sum.failed.push((seed, violation)),
        None => sum.converged.push(outcome.converged_after),
    }
}

#[expect(clippy::print_stdout, reason = "it is a program for people")]
fn explain(plan: &Plan, violation: &Violation) {
    println!("\nseed {} with as little as was found to break the promise:", plan.seed);
    let smallest = shrink::smallest(plan, violation.promise);
    println!("{smallest:#?}");
    let outcome = run(&smallest, true);
    let skipped = outcome.history.len().saturating_sub(MOST_LINES);
    if skipped > 0 {
        println!("({skipped} earlier lines are left out)");
    }
    outcome.history.iter().skip(skipped).for_each(|line| println!("{line}"));
    println!();
}
