//! `cargo xtask mutants`: proves that each level of the checks can fail. It plants bugs in a copy of the shipped source, one
//! at a time, and tells which level catches each.
//!
//! | file | its job |
//! |---|---|
//! | `plant` | the list of bugs (`xtask/mutants`, one file each), and the replacement that plants one |
//! | `scratch` | the copy in which they are planted |
//! | `level` | what each level runs, and what its end means |
//! | `table` | what a person reads at the end |
//!
//! Every level has to pass without a bug first: one that always fails catches nothing.

mod level;
mod plant;
mod scratch;
mod table;

use std::collections::BTreeSet;
use std::time::Instant;

use crate::{repository, wait};
use level::{End, LEVELS, Level, Name, Request};
use plant::Mutant;
use scratch::Scratch;
use table::{Fate, Row, Table};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// These bugs alone
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// These levels, and no bug that needs another one [default: for each bug the cheapest, up to the one that it names]
    #[arg(long, value_delimiter = ',')]
    levels: Vec<Name>,
    /// How many histories are simulated for each bug, unless it asks for more
    #[arg(long, default_value_t = 300)]
    seeds: u32,
}

/// Why it is not proven that every level can fail.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list.
    #[error("the list of bugs cannot be read")]
    List(#[from] plant::ListError),
    /// Nothing to do.
    #[error("no such bug, or none that these levels see; the list is in {}", plant::FOLDER)]
    Nothing,
    /// The copy.
    #[error("no bug can be planted")]
    Scratch(#[from] scratch::Error),
    /// A level did not run.
    #[error("a level cannot be run")]
    Level(#[from] level::Error),
    /// A level fails always.
    #[error("level `{level}` does not pass without a bug ({why}), so it catches none; its log is {log}")]
    FailsAlways {
        /// The level.
        level: String,
        /// How it ended.
        why: String,
        /// Its log.
        log: String,
    },
    /// Bugs that nobody caught, or that could not be tried.
    #[error("{0} bugs were not caught, or could not be tried; see the table, and the logs in {1}")]
    Survived(usize, String),
}

/// A bug, and the levels that it goes through.
struct Trial {
    mutant: Mutant,
    levels: Vec<&'static Level>,
}

/// Plants every bug, and prints who caught it.
///
/// # Errors
/// If a bug is not caught by the level that it names or a cheaper one, cannot be planted, or does not compile; or if a level
/// fails without a bug.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let started = Instant::now();
    let trials = trials(plant::list(repository())?, arguments);
    if trials.is_empty() {
        return Err(Error::Nothing);
    }
    let folder = repository().join("target").join("mutants");
    let scratch = Scratch::open(repository(), &folder)?;
    pass_without_a_bug(&scratch, &trials, arguments)?;
    let mut table = Table::default();
    for trial in &trials {
        let row = trial.run(&scratch, arguments)?;
        println!("{row}");
        table.add(row);
    }
    println!("\n{table}\n{:<60}{:>12}", "total", wait::spoken(started.elapsed()));
    match table.failures() {
        0 => Ok(()),
        count => Err(Error::Survived(count, folder.join("logs").display().to_string())),
    }
}

/// Each bug that is asked for, with the levels that it goes through.
fn trials(mutants: Vec<Mutant>, arguments: &Arguments) -> Vec<Trial> {
    let only = &arguments.only;
    let asked = mutants.into_iter().filter(|mutant| only.is_empty() || only.contains(&mutant.name));
    let trials = asked.map(|mutant| {
        let is_asked = |level: &&Level| match arguments.levels[..] {
            [] => level.name <= mutant.level,
            ref names => names.contains(&level.name),
        };
        let levels = LEVELS.iter().filter(is_asked).filter(|level| level.sees(&mutant)).collect();
        Trial { mutant, levels }
    });
    trials.filter(|trial| !trial.levels.is_empty()).collect()
}

/// Runs each level once on the sound source, with everything that is asked of it later.
fn pass_without_a_bug(scratch: &Scratch, trials: &[Trial], arguments: &Arguments) -> Result<(), Error> {
    for level in &LEVELS {
        let tried = trials.iter().filter(|trial| trial.levels.iter().any(|its| its.name == level.name));
        let tried: Vec<&Trial> = tried.collect();
        if tried.is_empty() {
            continue;
        }
        let searches: BTreeSet<&String> = tried.iter().flat_map(|trial| &trial.mutant.searches).collect();
        let searches: Vec<String> = searches.into_iter().cloned().collect();
        let (started, log) = (Instant::now(), scratch.log(&format!("{}-alone", level.name)));
        println!("level {} without a bug, for {} that come; its log is {}", level.name, tried.len(), log.display());
        let seeds = tried.iter().map(|trial| trial.asked(arguments).seeds).max().unwrap_or_default();
        let end = level.run(scratch, Request { searches: &searches, seeds }, &log)?;
        if end != End::Passed {
            return Err(Error::FailsAlways {
                level: level.name.to_string(),
                why: table::why(&end),
                log: log.display().to_string(),
            });
        }
        println!("level {} passes in {}", level.name, wait::spoken(started.elapsed()));
    }
    Ok(())
}

impl Trial {
    /// Goes through the levels until one catches the bug.
    fn run(&self, scratch: &Scratch, arguments: &Arguments) -> Result<Row, Error> {
        let started = Instant::now();
        let fate = match scratch.with(&self.mutant, || self.fate(scratch, arguments)) {
            Ok(fate) => fate?,
            Err(scratch::Error::NoPlace { source, .. }) => Fate::Unplanted(source.to_string()),
            Err(error) => return Err(error.into()),
        };
        let Mutant { name, promise, level, .. } = &self.mutant;
        Ok(Row { name: name.clone(), promise: *promise, named: *level, fate, took: started.elapsed() })
    }

    fn asked(&self, arguments: &Arguments) -> Request<'_> {
        Request { searches: &self.mutant.searches, seeds: arguments.seeds.max(self.mutant.seeds) }
    }

    fn fate(&self, scratch: &Scratch, arguments: &Arguments) -> Result<Fate, level::Error> {
        let asked = self.asked(arguments);
        let mut missed = Vec::new();
        for level in &self.levels {
            let log = scratch.log(&format!("{}-{}", self.mutant.name, level.name));
            match level.run(scratch, asked, &log)? {
                End::NotBuilt => return Ok(Fate::NotBuilt),
                End::Failed(findings) => match level.evidence(&findings, self.mutant.promise) {
                    Some(finding) => return Ok(Fate::Caught { by: level.name, finding: finding.clone() }),
                    None => missed.push((level.name, End::Failed(findings))),
                },
                end => missed.push((level.name, end)),
            }
        }
        Ok(Fate::Missed(missed))
    }
}

#[cfg(test)]
mod tests;
