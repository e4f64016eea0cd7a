//! `cargo xtask simulate`: runs the shipped operator in a world in memory, one run a seed, and judges what it promises.

use crate::cargo;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// ServiceTokens in each run
    #[arg(long, default_value_t = 10)]
    objects: u64,
    /// Do not fail if a pair of effect and fault was not seen: for few seeds
    #[arg(long)]
    partial: bool,
    /// Print what happened in the first seed, whatever it came to
    #[arg(long)]
    history: bool,
    /// Print the table of effects and faults even if every pair was seen
    #[arg(long)]
    table: bool,
}

/// Runs the seeds.
///
/// # Errors
/// If cargo cannot be run, a promise is broken (the smallest history that still breaks it stands above), a seed comes to
/// something else when it is run again, or not every fault struck in every effect.
pub fn run(arguments: &Arguments) -> Result<(), cargo::Error> {
    let words = words(arguments);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    cargo::run(&words, None)
}

fn words(arguments: &Arguments) -> Vec<String> {
    let fixed = ["run", "--locked", "--profile", "simulation", "-p", "dbt-token-simulation", "--"];
    let mut words: Vec<String> = fixed.map(str::to_owned).to_vec();
    for (name, value) in [("--seeds", arguments.seeds), ("--from", arguments.from), ("--objects", arguments.objects)] {
        words.extend([name.to_owned(), value.to_string()]);
    }
    let flags = [("--partial", arguments.partial), ("--history", arguments.history), ("--table", arguments.table)];
    words.extend(flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name.to_owned()));
    words
}
