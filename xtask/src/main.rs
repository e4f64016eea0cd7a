//! `cargo xtask <task>`: parses arguments, runs one task, prints its error; nothing else.

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{bench, chaos, codegen, control_plane, demo, model, mutants, plane, simulate, test, tidy};

/// Project tasks of dbt-token-operator.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the main job from end to end on a real control plane, and prove it
    Demo(demo::Arguments),
    /// Run every check, as CI does
    Test(test::Arguments),
    /// Check the rules that no compiler checks: who imports whom, sizes, secrets
    Tidy(tidy::Arguments),
    /// Write what is derived from the Rust types: CRDs and reference pages
    Codegen(codegen::Arguments),
    /// Search the model of the planner for a broken promise
    Model(model::Arguments),
    /// Run the shipped operator in a world in memory, one run a seed, and judge what it promises
    Simulate(simulate::Arguments),
    /// Plant bugs in a copy of the shipped source, one at a time, and tell which level of the checks catches each
    Mutants(mutants::Arguments),
    /// Let everything go wrong that can, on a real control plane, and judge what the operator promises
    Chaos(chaos::Arguments),
    /// Measure what the operator costs, on a real control plane
    Bench(bench::Arguments),
    #[command(hide = true)]
    BenchClient(bench::client::Arguments),
    /// Run a control plane (etcd, API server, controller manager) until Ctrl-C
    Plane(plane::Arguments),
}

fn main() -> ExitCode {
    control_plane::supervise_if_asked();
    let outcome: Result<(), Box<dyn Error>> = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments).map_err(Into::into),
        Task::Test(arguments) => test::run(&arguments).map_err(Into::into),
        Task::Tidy(arguments) => tidy::run(&arguments).map_err(Into::into),
        Task::Codegen(arguments) => codegen::run(&arguments).map_err(Into::into),
        Task::Model(arguments) => model::run(&arguments).map_err(Into::into),
        Task::Simulate(arguments) => simulate::run(&arguments).map_err(Into::into),
        Task::Mutants(arguments) => mutants::run(&arguments).map_err(Into::into),
        Task::Chaos(arguments) => chaos::run(&arguments).map_err(Into::into),
        Task::Bench(arguments) => bench::run(&arguments).map_err(Into::into),
        Task::BenchClient(arguments) => bench::client::run(&arguments).map_err(Into::into),
        Task::Plane(arguments) => plane::run(&arguments).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
