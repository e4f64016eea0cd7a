//! What became of each bug, as a table for people.

use std::fmt;
use std::time::Duration;

use super::level::{End, Name};
use super::plant::Promise;
use crate::wait;

/// What became of a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// A level failed.
    Caught { by: Name, finding: String },
    /// No level failed; how each ended.
    Missed(Vec<(Name, End)>),
    /// The source has no place for it.
    Unplanted(String),
    /// The compiler refused it.
    NotBuilt,
}

/// One bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) promise: Promise,
    /// The level that has to catch it.
    pub(super) named: Name,
    pub(super) fate: Fate,
    pub(super) took: Duration,
}

impl Row {
    /// Whether the list, or the level that the bug names, has to be mended. A bug that went only through others is no
    /// failure of theirs.
    fn has_failed(&self) -> bool {
        match &self.fate {
            Fate::Caught { .. } => false,
            Fate::Missed(levels) => levels.iter().any(|(level, _)| *level == self.named),
            Fate::Unplanted(_) | Fate::NotBuilt => true,
        }
    }
}

/// How a level ended that should have found something, or should not have.
pub(super) fn why(end: &End) -> String {
    match end {
        End::Passed => "found nothing".to_owned(),
        End::Failed(findings) => format!("found only {}", findings.join("; ")),
        End::Hung(limit) => format!("did not end within {}", wait::spoken(*limit)),
        End::NotBuilt => "it does not compile".to_owned(),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, finding) = match &self.fate {
            Fate::Caught { by, finding } if *by < self.named => (by.to_string(), format!("(before {}) {finding}", self.named)),
            Fate::Caught { by, finding } => (by.to_string(), finding.clone()),
            Fate::Missed(levels) => {
                let told: Vec<_> = levels.iter().map(|(level, end)| format!("{level} {}", why(end))).collect();
                let told = told.join(", ");
                match self.has_failed() {
                    true => ("SURVIVED".to_owned(), told),
                    false => ("-".to_owned(), format!("{told}; it is for {}", self.named)),
                }
            }
            Fate::Unplanted(why) => ("NOT PLANTED".to_owned(), why.clone()),
            Fate::NotBuilt => ("NOT BUILT".to_owned(), "it does not compile".to_owned()),
        };
        let Self { name, promise, took, .. } = self;
        write!(formatter, "{name:<42}{promise:<8}{by:<12}{:>8.1} s  {finding}", took.as_secs_f64())
    }
}

/// All bugs.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<Row>);

impl Table {
    pub(super) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    /// How many have failed.
    pub(super) fn failures(&self) -> usize {
        self.0.iter().filter(|row| row.has_failed()).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<42}{:<8}{:<12}{:>10}  finding", "bug", "breaks", "caught by", "took")?;
        self.0.iter().try_for_each(|row| write!(formatter, "\n{row}"))
    }
}
