//! The integration tests: the real operator process against a real API server and an emulated dbt, in one program.
//!
//! Tests wait for conditions and never for time to pass. Ordinary tests share one control plane and one operator, each with
//! its own account, emulator and namespace. Tests that kill, restart or count an operator have a control plane to themselves
//! for as long as they run.
#![allow(clippy::print_stderr, reason = "this program is its own harness: what it prints is its outcome")]

mod adoption;
mod chart;
mod counts;
mod deletion;
mod dry_run;
mod faults;
mod fleet;
mod handover;
mod hostile;
mod leadership;
mod lifecycle;
mod manifests;
mod policy;
mod restart;
mod retirement;
mod rotation;
mod secrecy;
mod semantic_layer;
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use support::case::{Case, Place, run};
use support::world::World;

/// More than there are tests that wait for a plane of their own and tests on the shared one that have their turn: the world
/// gives both out in the order in which the tests are listed.
const AT_ONCE: usize = 48;

fn main() -> ExitCode {
    xtask::control_plane::supervise_if_asked();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let world = Arc::new(World::new());
    let trials = cases().into_iter().map(|case| {
        let (handle, world) = (runtime.handle().clone(), Arc::clone(&world));
        Trial::test(case.name.trim_start_matches("it::"), move || handle.block_on(run(&world, case)).map_err(Failed::from))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let leaks = runtime.block_on(world.end());
    if let Err(leaks) = &leaks {
        eprintln!("\nthe scan of everything that the processes emitted failed:\n{leaks}");
    }
    if conclusion.has_failed() || leaks.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The longest first, and before all others those that wait for a plane of their own: there are few of these.
fn cases() -> Vec<Case> {
    let modules = [
        fleet::cases(),
        manifests::cases(),
        hostile::cases(),
        handover::cases(),
        restart::cases(),
        counts::cases(),
        adoption::cases(),
        rotation::cases(),
        faults::cases(),
        dry_run::cases(),
        secrecy::cases(),
        leadership::cases(),
        retirement::cases(),
        policy::cases(),
        chart::cases(),
        deletion::cases(),
        semantic_layer::cases(),
        lifecycle::cases(),
    ];
    let (shared, alone): (Vec<_>, Vec<_>) = modules.into_iter().flatten().partition(|case| case.place == Place::Shared);
    alone.into_iter().chain(shared).collect()
}
