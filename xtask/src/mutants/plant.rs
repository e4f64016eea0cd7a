//! A planted bug as data: what it is, which promise it breaks, who has to catch it, and the one replacement that plants it.
//! Reads the list and works out what a planted file says; never writes one.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::level::Name;

/// Where the list is, one file a bug, seen from the repository's root.
pub(super) const FOLDER: &str = "xtask/mutants";

/// What is shipped, and so worth a bug.
const SHIPPED: [&str; 2] = ["src/", "crates/planner/src/"];

/// A promise of docs/reliability.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Promise {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
}

/// All of them.
pub(super) const ALL_PROMISES: [Promise; 8] =
    [Promise::P1, Promise::P2, Promise::P3, Promise::P4, Promise::P5, Promise::P6, Promise::P7, Promise::P8];

impl fmt::Display for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{self:?}"))
    }
}

/// A bug that is planted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mutant {
    /// The name of its file.
    #[serde(skip)]
    pub(super) name: String,
    /// The promise that it breaks.
    pub(super) promise: Promise,
    /// What it is, in one sentence.
    pub(super) bug: String,
    /// The cheapest level that has to catch it.
    pub(super) level: Name,
    /// The configurations of the model that are searched for it.
    #[serde(default)]
    pub(super) searches: Vec<String>,
    /// How many histories are simulated for it at least, if it takes more than others.
    #[serde(default)]
    pub(super) seeds: u32,
    /// Where it is planted, seen from the repository's root.
    pub(super) file: String,
    /// The replacement.
    pub(super) change: Change,
}

/// Whole lines that are replaced, written as in a diff: those that stay begin with a space, those that go with `-`, those
/// that come with `+`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Change {
    old: Vec<String>,
    new: Vec<String>,
}

/// Text that is no change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("`{0}` begins with neither a space, `-` nor `+`")]
    Sign(String),
    #[error("a change takes lines away and puts others there, or stands beside lines that stay")]
    Nothing,
}

impl TryFrom<String> for Change {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match (line.chars().next(), line.get(1..).unwrap_or_default().to_owned()) {
                (Some('-'), rest) => old.push(rest),
                (Some('+'), rest) => new.push(rest),
                // An empty line that stays may lack its sign.
                (Some(' ') | None, rest) => [&mut old, &mut new].into_iter().for_each(|lines| lines.push(rest.clone())),
                _ => return Err(Malformed::Sign(line.to_owned())),
            }
        }
        if old.is_empty() || old == new { Err(Malformed::Nothing) } else { Ok(Self { old, new }) }
    }
}

/// Why a bug cannot be planted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// The source has changed since the bug was thought of.
    #[error("its lines are not in {0} any more; write it anew, or take it away if the source cannot have it now")]
    Gone(String),
    /// It does not say which place is meant.
    #[error("its lines are in {file} {times} times; add lines that stay, until they are there once")]
    Ambiguous {
        /// The file.
        file: String,
        /// How often.
        times: usize,
    },
    /// Tests, tasks and documents are not what is checked.
    #[error("{0} is not shipped")]
    NotShipped(String),
}

impl Mutant {
    /// What the file says with the bug in it.
    pub(super) fn plant(&self, source: &str) -> Result<String, NoPlace> {
        if !SHIPPED.iter().any(|folder| self.file.starts_with(folder)) {
            return Err(NoPlace::NotShipped(self.file.clone()));
        }
        let Change { old, new } = &self.change;
        let lines: Vec<&str> = source.lines().collect();
        let is_there = |found: &[&str]| found.iter().zip(old).all(|(found, old)| found == old);
        let places = lines.windows(old.len()).enumerate().filter(|(_, found)| is_there(found));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let [place] = places[..] else {
            return Err(match places.len() {
                0 => NoPlace::Gone(self.file.clone()),
                times => NoPlace::Ambiguous { file: self.file.clone(), times },
            });
        };
        let (before, after) = (&lines[..place], &lines[place + old.len()..]);
        let planted = before.iter().copied().chain(new.iter().map(String::as_str)).chain(after.iter().copied());
        Ok(planted.flat_map(|line| [line, "\n"]).collect())
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file or the folder.
    #[error("cannot read {path}; check that this is a complete checkout")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file.
    #[error("{path} is no planted bug")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_yaml::Error,
    },
}

/// All planted bugs, the ones of the cheaper levels first.
pub(super) fn list(root: &Path) -> Result<Vec<Mutant>, ListError> {
    let folder = root.join(FOLDER);
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ListError::Read { path, source }
    };
    let mut mutants = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable(&folder))? {
        let path = entry.map_err(unreadable(&folder))?.path();
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let mutant = serde_yaml::from_str(&text).map_err(|source| ListError::Malformed { path: path.clone(), source })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        mutants.push(Mutant { name, ..mutant });
    }
    mutants.sort_by(|one, other| (one.level, &one.name).cmp(&(other.level, &other.name)));
    Ok(mutants)
}
