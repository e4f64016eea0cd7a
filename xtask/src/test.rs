//! `cargo xtask test`: every check, in order, the same for a person and for CI.
//!
//! It stops at the first failure and names the command to run again. It must never hide output.

use std::fmt;
use std::time::{Duration, Instant};

use crate::control_plane::{Binaries, BinariesError, NodeBinaries};
use crate::{cargo, helm, tidy, wait};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command ended with an error; what is wrong stands above, in its own words.
    #[error("step `{step}` failed after {}; to run it again: {command}", wait::spoken(*after))]
    Step {
        /// The name of the step.
        step: &'static str,
        /// The command line to run again.
        command: String,
        /// How long it took.
        after: Duration,
    },
    /// A command could not be started.
    #[error("cannot run `{command}`; check that Rust is installed with rustfmt and clippy")]
    Run {
        /// The command line.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The tidy checks found something.
    #[error("step `tidy` failed; to run it again: cargo xtask tidy")]
    Tidy(#[from] tidy::Error),
    /// The programs of the control plane are missing.
    #[error("step `control plane` failed; to run it again: cargo xtask test")]
    ControlPlane(#[from] BinariesError),
    /// Helm is missing.
    #[error("step `helm` failed; to run it again: cargo xtask test")]
    Helm(#[from] helm::Error),
}

/// One named check.
struct Step {
    name: &'static str,
    work: Work,
}

/// What a step does.
enum Work {
    Cargo(&'static [&'static str]),
    Tidy,
    /// Has the control plane built before the tests need it, where its progress can be seen.
    ControlPlane,
    /// The same for the Helm that the charts are tested with.
    Helm,
}

/// The quickest first, as far as one does not build on another.
const STEPS: [Step; 8] = [
    Step { name: "format", work: Work::Cargo(&["fmt", "--all", "--check"]) },
    Step { name: "lints", work: Work::Cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]) },
    Step { name: "tidy", work: Work::Tidy },
    Step { name: "control plane", work: Work::ControlPlane },
    Step { name: "helm", work: Work::Helm },
    Step { name: "tests", work: Work::Cargo(&["test", "--workspace", "--locked"]) },
    Step { name: "simulation", work: Work::Cargo(&SIMULATION) },
    Step { name: "chaos", work: Work::Cargo(&["xtask", "chaos", "--minutes", "1", "--objects", "20", "--seed", "7"]) },
];

/// A twentieth of what `cargo xtask simulate --seeds 20000` runs, so that all checks together stay under a quarter of an hour.
const SIMULATION: [&str; 10] =
    ["run", "--locked", "--profile", "simulation", "-p", "dbt-token-simulation", "--", "--seeds", "1000", "--partial"];

/// Runs every check and prints how long each took.
///
/// # Errors
/// The first step that failed.
pub fn run(_: &Arguments) -> Result<(), Error> {
    let mut table = Table::default();
    let outcome = STEPS.iter().try_for_each(|step| {
        println!("==> {}: {}", step.name, step.work);
        let started = Instant::now();
        let outcome = step.run();
        table.add(step.name, started.elapsed(), outcome.is_ok());
        outcome
    });
    println!("\n{table}");
    outcome
}

impl Step {
    fn run(&self) -> Result<(), Error> {
        match self.work {
            Work::Cargo(arguments) => self.cargo(arguments),
            Work::Tidy => Ok(tidy::run(&tidy::Arguments {})?),
            Work::ControlPlane => {
                Binaries::find_or_build()?;
                NodeBinaries::find_or_build()?;
                Ok(())
            }
            Work::Helm => {
                helm::find_or_build()?;
                Ok(())
            }
        }
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(), Error> {
        let command = self.work.to_string();
        let started = Instant::now();
        match cargo::command().args(arguments).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::Step { step: self.name, command, after: started.elapsed() }),
            Err(source) => Err(Error::Run { command, source }),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cargo(arguments) => write!(formatter, "cargo {}", arguments.join(" ")),
            Self::Tidy => formatter.write_str("cargo xtask tidy"),
            Self::ControlPlane => formatter.write_str("find the programs of the control plane, or build them"),
            Self::Helm => formatter.write_str("find helm, or build it"),
        }
    }
}

/// What ran, how long, and how it ended.
#[derive(Default)]
struct Table(Vec<(&'static str, Duration, bool)>);

impl Table {
    fn add(&mut self, name: &'static str, took: Duration, passed: bool) {
        self.0.push((name, took, passed));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, took, passed) in &self.0 {
            let verdict = if *passed { "passed" } else { "FAILED" };
            writeln!(formatter, "{name:<16}{verdict:<10}{}", wait::spoken(*took))?;
        }
        let total = self.0.iter().map(|(_, took, _)| *took).sum();
        write!(formatter, "{:<26}{}", "total", wait::spoken(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_with_the_way_to_run_it_again() {
        let step = Step { name: "nonsense", work: Work::Cargo(&["locate-project", "--message-format", "nonsense"]) };
        let error = step.run().expect_err("cargo refuses the format");
        let message = error.to_string();
        assert!(message.starts_with("step `nonsense` failed after "), "{message}");
        assert!(message.ends_with("to run it again: cargo locate-project --message-format nonsense"), "{message}");
    }

    #[test]
    fn the_table_names_every_step_and_the_sum() {
        let mut table = Table::default();
        table.add("format", Duration::from_millis(1500), true);
        table.add("lints", Duration::from_secs(61), false);
        assert_eq!(
            table.to_string(),
            "format          passed    1.50 s\n\
             lints           FAILED    1 min 01 s\n\
             total                     1 min 02 s"
        );
    }
}
