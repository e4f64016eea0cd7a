//! Finds the four programs of a control plane, and has them built if there are none.
//!
//! They come from the folder named by `KUBEBUILDER_ASSETS`, or from the user's cache folder, or are
//! built into that from the versions pinned in `tests/control-plane/go.mod`. Nothing is ever
//! downloaded as a binary.

use std::path::{Path, PathBuf};

use super::build;

/// Overrides where the programs are, as the Kubernetes test tools do it.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder that the user named lacks one.
    #[error(
        "{ASSETS_VARIABLE} is {directory}, which has no {program}; put it there, or unset the \
         variable to have it built"
    )]
    NotInAssets {
        /// What the variable says.
        directory: PathBuf,
        /// The program that is missing.
        program: &'static str,
    },
    /// There is no folder for built programs.
    #[error("neither XDG_CACHE_HOME nor HOME is set; set one, so that built programs can be kept")]
    NoCacheFolder,
    /// They could not be built.
    #[error("cannot build the control plane")]
    Build(#[source] build::Error),
}

/// The programs, each an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The database.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// The controllers that come with Kubernetes.
    pub kube_controller_manager: PathBuf,
    /// The command-line client.
    pub kubectl: PathBuf,
}

/// The file names, in the order of the fields of [`Binaries`].
pub(crate) const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];

impl Binaries {
    /// Finds the programs, or builds them: about six minutes on two cores, told on standard error.
    ///
    /// # Errors
    /// [`Error::NotInAssets`] if the user named a folder that lacks one; otherwise if there is no
    /// cache folder or the build fails.
    pub fn find_or_build() -> Result<Self, Error> {
        if let Some(directory) = variable(ASSETS_VARIABLE) {
            return Self::in_folder(&directory).map_err(|program| Error::NotInAssets { directory, program });
        }
        let cache = cache_folder(variable("XDG_CACHE_HOME"), variable("HOME"))?;
        build::build_missing(&cache).map_err(Error::Build)
    }

    /// The programs of a folder, or the first one that is missing.
    pub(crate) fn in_folder(directory: &Path) -> Result<Self, &'static str> {
        if let Some(missing) = PROGRAMS.into_iter().find(|name| !directory.join(name).is_file()) {
            return Err(missing);
        }
        let [etcd, kube_apiserver, kube_controller_manager, kubectl] = PROGRAMS.map(|name| directory.join(name));
        Ok(Self { etcd, kube_apiserver, kube_controller_manager, kubectl })
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn cache_folder(cache_home: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf, Error> {
    let root = cache_home.or_else(|| home.map(|home| home.join(".cache"))).ok_or(Error::NoCacheFolder)?;
    Ok(root.join("dbt-token-operator").join("control-plane"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_users_wish() {
        let check = |cache_home: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = cache_folder(cache_home.map(PathBuf::from), home.map(PathBuf::from)).ok();
            assert_eq!(found, expected.map(PathBuf::from));
        };
        check(Some("/c"), Some("/h"), Some("/c/dbt-token-operator/control-plane"));
        check(None, Some("/h"), Some("/h/.cache/dbt-token-operator/control-plane"));
        check(None, None, None);
    }

    #[test]
    fn a_folder_that_lacks_a_program_says_which() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (index, name) in PROGRAMS.into_iter().enumerate() {
            assert_eq!(Binaries::in_folder(folder.path()), Err(PROGRAMS[index]));
            std::fs::write(folder.path().join(name), "").expect("a file");
        }
        let found = Binaries::in_folder(folder.path()).expect("all four are there");
        assert_eq!(found.kubectl, folder.path().join("kubectl"));
    }
}
