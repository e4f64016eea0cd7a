//! `cargo xtask tidy`: the rules of the architecture that no compiler checks.
//!
//! It reads the repository's Rust sources as text. It must stay quick (well under a second) and
//! must never change a file. Each rule is a pure function from a file to what is wrong in it.

mod dependencies;
mod imports;
mod manifest;
mod rules;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::repository;
use source::Source;

/// The planner's manifest, seen from the repository's root.
const PLANNER_MANIFEST: &str = "crates/planner/Cargo.toml";

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why the check did not pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Rules are broken; each place was printed.
    #[error("{0} places break a rule; each is named above with its remedy")]
    Broken(usize),
    /// A file could not be read.
    #[error("cannot read {path}; check that it is a readable UTF-8 file")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There was nothing to check, which can only be a mistake.
    #[error("found no Rust file under {0}; run this from a complete checkout of the repository")]
    Nothing(PathBuf),
}

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Seen from the repository's root, with `/` between its parts.
    path: String,
    /// Counted from 1.
    line: usize,
    rule: &'static str,
    /// What is wrong, and the remedy.
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        write!(formatter, "{path}:{line}: {rule}: {message}")
    }
}

/// A rule over one Rust file.
type Rule = fn(&Source) -> Vec<Violation>;

const RULES: [Rule; 7] =
    [rules::header, rules::size, rules::unfinished, rules::ignored, rules::sleep, rules::exposure, imports::check];

/// Checks every Rust file and the planner's manifest, and prints what breaks a rule.
///
/// # Errors
/// If a rule is broken, or a file cannot be read.
pub fn run(_: &Arguments) -> Result<(), Error> {
    let root = repository();
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    if paths.is_empty() {
        return Err(Error::Nothing(root.to_path_buf()));
    }
    let mut violations = Vec::new();
    for path in &paths {
        let source = Source::new(&relative(root, path), &read(path)?);
        violations.extend(RULES.iter().flat_map(|rule| rule(&source)));
    }
    let manifest = read(&root.join(PLANNER_MANIFEST))?;
    violations.extend(manifest::check(PLANNER_MANIFEST, &manifest));
    violations.extend(check_dependencies(root)?);
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("tidy: {} files keep every rule", paths.len() + 1);
            Ok(())
        }
        count => Err(Error::Broken(count)),
    }
}

fn check_dependencies(root: &Path) -> Result<Vec<Violation>, Error> {
    let read_all = |paths: &[&str]| {
        // A module may come with a later change; a row without one is found all the same.
        let found = paths.iter().map(|path| root.join(path)).filter(|path| path.exists());
        found.map(|path| read(&path)).collect::<Result<Vec<_>, _>>()
    };
    let reasons = read(&root.join(dependencies::REASONS))?;
    Ok(dependencies::check(&reasons, &read_all(&dependencies::MANIFESTS)?, &read_all(&dependencies::GO_MODULES)?))
}

/// Every Rust file below `folder`, but for build output and hidden folders.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failure = |source| Error::Read { path: folder.to_path_buf(), source };
    for entry in std::fs::read_dir(folder).map_err(failure)? {
        let entry = entry.map_err(failure)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(failure)?;
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, found)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })
}

fn relative(root: &Path, path: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    let parts: Vec<_> = parts.map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_names_its_place_its_rule_and_the_remedy() {
        let violation =
            Violation { path: "src/a.rs".to_owned(), line: 3, rule: "size", message: "too long; split it".to_owned() };
        assert_eq!(violation.to_string(), "src/a.rs:3: size: too long; split it");
    }

    #[test]
    fn build_output_and_hidden_folders_are_left_out() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for path in ["src/a.rs", "target/b.rs", ".git/c.rs", "src/d.txt"] {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        let mut found = Vec::new();
        collect(root.path(), &mut found).expect("readable");
        let found: Vec<_> = found.iter().map(|path| relative(root.path(), path)).collect();
        assert_eq!(found, ["src/a.rs"]);
    }
}
