//! The levels that have to catch planted bugs, from cheap to dear: what each runs, how it is built, and what its end means.
//! Knows no bug.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::plant::{ALL_PROMISES, Mutant, Promise};
use super::scratch::Scratch;
use crate::{cargo, wait};

/// How often a running level is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a level calls a promise that is broken, as a part of a line.
const BROKEN: &str = "BROKEN";

/// Characters of a finding that the table shows.
const LONGEST_FINDING: usize = 90;

/// What a level is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Name {
    Model,
    Simulate,
    Chaos,
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Model => "model",
            Self::Simulate => "simulate",
            Self::Chaos => "chaos",
        })
    }
}

/// What is asked of a level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// The configurations of the model.
    pub(super) searches: &'a [String],
    /// How many histories are simulated.
    pub(super) seeds: u32,
}

/// A level: a program of this repository, built in the scratch copy. It ends with success if and only if it found nothing.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) name: Name,
    /// The part of the shipped source that it runs.
    runs: &'static [&'static str],
    /// The cargo command that builds it.
    build: &'static [&'static str],
    /// The program among what that builds.
    program: &'static str,
    arguments: fn(Request<'_>) -> Vec<String>,
    /// Whether two runs on one source come to the same. If not, one that fails may do so for a reason of its own.
    repeats_itself: bool,
    /// It hangs if it takes longer.
    limit: Duration,
}

/// From cheap to dear.
pub(super) const LEVELS: [Level; 3] = [
    Level {
        name: Name::Model,
        runs: &["crates/planner/src/"],
        build: &["test", "--no-run", "-p", "dbt-token-planner", "--test", "model"],
        program: "model",
        arguments: |asked| [vec!["--exact".to_owned(), "--nocapture".to_owned()], asked.searches.to_vec()].concat(),
        repeats_itself: true,
        limit: Duration::from_secs(15 * 60),
    },
    Level {
        name: Name::Simulate,
        runs: &["crates/planner/src/", "src/"],
        build: &["build", "--profile", "simulation", "-p", "dbt-token-simulation"],
        program: "dbt-token-simulation",
        arguments: |asked| {
            let flags = ["--partial", "--brief", "--seeds"].map(str::to_owned);
            flags.into_iter().chain([asked.seeds.to_string()]).collect()
        },
        repeats_itself: true,
        limit: Duration::from_secs(15 * 60),
    },
    Level {
        name: Name::Chaos,
        runs: &["crates/planner/src/", "src/"],
        build: &["build", "--bins", "-p", "xtask", "-p", "dbt-token-operator", "-p", "dbt-cloud-emulator"],
        program: "xtask",
        arguments: |_| ["chaos", "--minutes", "2", "--objects", "60", "--seed", "7"].map(str::to_owned).into(),
        repeats_itself: false,
        // Minutes of faults, and a quarter of an hour to come to rest.
        limit: Duration::from_secs(25 * 60),
    },
];

/// How a level ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It found nothing.
    Passed,
    /// It failed, with these findings: one at least.
    Failed(Vec<String>),
    /// It did not end in time, which proves nothing.
    Hung(Duration),
    /// There is no program: the compiler refused the source.
    NotBuilt,
}

/// Why a level did not run at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program or its log.
    #[error("cannot run level `{level}`, with its log at {log}")]
    Run {
        /// The level.
        level: String,
        /// The log.
        log: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Level {
    /// Whether it runs the file that the bug is planted in.
    pub(super) fn sees(&self, mutant: &Mutant) -> bool {
        self.runs.iter().any(|folder| mutant.file.starts_with(folder))
    }

    /// The finding that shows that this level caught a bug which breaks the promise. What always comes to the same, and passes
    /// without the bug, needs not call it by its name; anything else has to, if it came so far as to judge promises.
    pub(super) fn evidence<'a>(&self, findings: &'a [String], promise: Promise) -> Option<&'a String> {
        let own = promise.to_string();
        let names_others = || findings.iter().any(|finding| ALL_PROMISES.iter().any(|it| finding.starts_with(&it.to_string())));
        let any = || findings.first().filter(|_| self.repeats_itself || !names_others());
        findings.iter().find(|finding| finding.starts_with(&own)).or_else(any)
    }

    /// Builds it from the scratch copy and runs it; everything that it says goes to the log.
    pub(super) fn run(&self, scratch: &Scratch, asked: Request<'_>, log: &Path) -> Result<End, Error> {
        let outcome = self.build_and_run(scratch, asked, log);
        outcome.map_err(|source| Error::Run { level: self.name.to_string(), log: log.display().to_string(), source })
    }

    fn build_and_run(&self, scratch: &Scratch, asked: Request<'_>, log: &Path) -> std::io::Result<End> {
        let words = File::create(log)?;
        let mut build = cargo::command();
        build.args(self.build).args(["--locked", "--message-format=json-render-diagnostics"]);
        let built = scratch.at_home(&mut build).stderr(words.try_clone()?).output()?;
        let text = String::from_utf8_lossy(&built.stdout);
        let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let Some(program) = cargo::executable(&messages, self.program).filter(|_| built.status.success()) else {
            return Ok(End::NotBuilt);
        };
        let mut run = Command::new(program);
        run.args((self.arguments)(asked)).stdin(Stdio::null()).stdout(words.try_clone()?).stderr(words);
        let mut child = scratch.at_home(&mut run).spawn()?;
        let ended = wait::until(self.limit, LOOK_EVERY, || child.try_wait().transpose()).transpose()?;
        Ok(match ended {
            Some(status) if status.success() => End::Passed,
            Some(_) => End::Failed(findings(&String::from_utf8_lossy(&std::fs::read(log)?))),
            None => {
                child.kill()?;
                child.wait()?;
                End::Hung(self.limit)
            }
        })
    }
}

/// The broken promises that a level names; if it names none, the last thing that it says.
fn findings(log: &str) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    for finding in log.lines().filter_map(|line| Some(cut(line.split_once(BROKEN)?.1.trim()))) {
        if !broken.contains(&finding) {
            broken.push(finding);
        }
    }
    if broken.is_empty() {
        let last = log.lines().map(str::trim).rfind(|line| !line.is_empty());
        broken.push(cut(last.unwrap_or("it said nothing")));
    }
    broken
}

fn cut(words: &str) -> String {
    match words.char_indices().nth(LONGEST_FINDING) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_believed_by_what_it_names() {
        let check = |level: usize, log: &str, expected: Option<&str>| {
            let findings = findings(log);
            assert_eq!(LEVELS[level].evidence(&findings, Promise::P5).map(String::as_str), expected, "{log}");
        };
        let both = "  BROKEN P3: a token lives\n 7.1 s  BROKEN P5: a leak\nerror: not true\n\n";
        check(1, both, Some("P5: a leak"));
        check(2, both, Some("P5: a leak"));
        let another = "BROKEN P3: a token lives\nBROKEN P3: a token lives\n";
        check(1, another, Some("P3: a token lives"));
        check(2, another, None);
        check(0, "BROKEN one replica alone settles\n", Some("one replica alone settles"));
        check(2, "starts\nerror: not within 3 min\n\n", Some("error: not within 3 min"));
        check(2, "", Some("it said nothing"));
        assert_eq!(findings(another).len(), 1);
        assert_eq!(findings(&format!("BROKEN {}", "ä".repeat(200)))[0].chars().count(), LONGEST_FINDING + 1);
    }
}
