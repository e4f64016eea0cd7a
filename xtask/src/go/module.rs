//! What a `go.mod` pins: read from there, so that versions are written down once.

use std::path::{Path, PathBuf};

/// Why the versions are unknown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("cannot read {path}; run this from a complete checkout of the repository")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file lacks something.
    #[error("{path} has no line for {what}; restore it from version control")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The module, or `go`.
        what: &'static str,
    },
}

/// A folder with a `go.mod`.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The least Go, such as `1.26.0`.
    pub(crate) go: String,
    text: String,
}

impl Module {
    /// Reads the `go.mod` of a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("go.mod");
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let module = Self { folder: folder.to_path_buf(), go: String::new(), text };
        Ok(Self { go: module.version_of("go")?, ..module })
    }

    /// The version of a module that it requires, such as `v1.36.3`.
    pub(crate) fn version_of(&self, what: &'static str) -> Result<String, Error> {
        version_of(&self.text, what).ok_or_else(|| Error::Missing { path: self.folder.join("go.mod"), what })
    }
}

/// The version in a line `NAME VERSION`, with or without `require` before it and a comment behind:
/// what only a `tool` line needs, Go itself marks as indirect.
fn version_of(go_mod: &str, name: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let line = line.split("//").next()?.trim();
        let line = line.strip_prefix("require ").unwrap_or(line);
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [found, version] if found == name => Some(version.to_owned()),
            _ => None,
        }
    })
}

/// Whether a Go version such as `go1.26.8` or `go1.27rc1 X:exp` is at least `needed`, such as
/// `1.26.0`.
pub(crate) fn is_at_least(found: &str, needed: &str) -> bool {
    numbers(found) >= numbers(needed)
}

/// The leading numbers; a release candidate counts as its release.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    let version = version.trim_start_matches("go");
    for (number, part) in numbers.iter_mut().zip(version.split('.')) {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        *number = part[..digits].parse().unwrap_or_default();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_every_form_of_a_requirement() {
        let text = "go 1.26.0\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.6.16\n\tk8s.io/api v1 // indirect\n)\n\nrequire k8s.io/kubernetes v1.36.3 // indirect\n";
        let check = |name, expected| assert_eq!(version_of(text, name).as_deref(), expected);
        check("go", Some("1.26.0"));
        check("go.etcd.io/etcd/server/v3", Some("v3.6.16"));
        check("k8s.io/kubernetes", Some("v1.36.3"));
        check("k8s.io/client-go", None);
    }

    #[test]
    fn go_versions_are_compared_by_number() {
        let check = |found, expected| assert_eq!(is_at_least(found, "1.26.0"), expected, "{found}");
        check("go1.26.0", true);
        check("go1.26.8", true);
        check("go1.27rc1", true);
        check("go1.100", true);
        check("go1.9.7", false);
        check("go1.25.11", false);
        check("", false);
    }
}
