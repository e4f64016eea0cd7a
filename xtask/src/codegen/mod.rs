//! `cargo xtask codegen`: writes what is derived from the Rust types: the CRDs, and the reference pages derived from those.
//!
//! Tests compare each file with a fresh generation, so that none of them drifts.

mod reference;

use std::path::{Path, PathBuf};

use crate::cargo;
use crate::repository;

/// Where the CRDs are; the chart reads them from there.
const CRDS: &str = "crds";

/// Where the pages are.
const PAGES: &str = "docs/reference";

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator, which knows its own types, did not write its CRDs.
    #[error("cannot have the operator write its CRDs")]
    Crds(#[from] cargo::Error),
    /// A file or folder.
    #[error("cannot use {path}; check that this is a complete checkout that may be written to")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A CRD.
    #[error("{path} is no CRD")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_yaml::Error,
    },
}

/// Writes everything that is generated.
///
/// # Errors
/// If the operator cannot be built, or a file cannot be written.
pub fn run(_: &Arguments) -> Result<(), Error> {
    let folder = repository().join(CRDS);
    cargo::run(&["run", "--quiet", "--locked", "--bin", "dbt-token-operator", "--", "crd", "--directory"], Some(&folder))?;
    println!("written: {CRDS}/");
    for (path, text) in pages(&folder)? {
        std::fs::write(repository().join(&path), text).map_err(|source| Error::File { path: path.clone(), source })?;
        println!("written: {}", path.display());
    }
    Ok(())
}

/// Each reference page with its text.
fn pages(folder: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let failure = |path: &Path, source| Error::File { path: path.to_path_buf(), source };
    let mut crds: Vec<_> = std::fs::read_dir(folder)
        .map_err(|source| failure(folder, source))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    crds.sort();
    crds.iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).map_err(|source| failure(path, source))?;
            let crd = serde_yaml::from_str(&text).map_err(|source| Error::Malformed { path: path.clone(), source })?;
            Ok((Path::new(PAGES).join(reference::file_name(&crd)), reference::page(&crd)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pages_are_the_generated_ones() {
        let pages = pages(&repository().join(CRDS)).expect("the CRDs are committed");
        assert_eq!(pages.len(), 2);
        for (path, text) in pages {
            let committed = std::fs::read_to_string(repository().join(&path)).unwrap_or_default();
            assert!(committed == text, "{} is not what `cargo xtask codegen` writes; run it", path.display());
        }
    }
}
