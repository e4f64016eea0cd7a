//! Finds the four programs of a control plane (and two more where pods shall run), and has them built if there are none.
//!
//! They come from the folder named by `KUBEBUILDER_ASSETS`, or from the user's cache folder, or are
//! built into that from the versions pinned in `tests/control-plane/go.mod`. Nothing is ever
//! downloaded as a binary.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::nodes;
use super::versions::Versions;
use crate::go::build::{self, Programs, Run};
use crate::go::module::{self, Module};
use crate::go::{cache, variable};
use crate::repository;

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
    #[error("the control plane cannot be kept")]
    NoCacheFolder(#[from] cache::NoCacheFolder),
    /// The pinned versions could not be read.
    #[error("cannot tell which versions are pinned")]
    Versions(#[from] module::Error),
    /// They could not be built.
    #[error("cannot build the control plane")]
    Build(#[from] build::Error),
    /// The build left one out.
    #[error("the build of the control plane made no {0}; this is a mistake in xtask")]
    NotBuilt(&'static str),
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

const RUNS: [Run; 2] = [
    Run { what: "etcd", programs: &["etcd"], packages: &["go.etcd.io/etcd/server/v3"], usually: Duration::from_secs(57) },
    Run {
        what: "kube-apiserver, kube-controller-manager and kubectl",
        programs: &["kube-apiserver", "kube-controller-manager", "kubectl"],
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        usually: Duration::from_secs(320),
    },
];

/// The programs that make pods run, as far as the API shows it; each an absolute path. Apart from [`Binaries`], since most
/// tests and the demo do without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBinaries {
    /// Gives pods their nodes.
    pub kube_scheduler: PathBuf,
    /// Stands in for kubelets.
    pub kwok: PathBuf,
}

/// The file names, in the order of the fields of [`NodeBinaries`].
const NODE_PROGRAMS: [&str; 2] = [nodes::SCHEDULER, nodes::KWOK];

const NODE_RUNS: [Run; 1] = [Run {
    what: "kube-scheduler and kwok",
    programs: &NODE_PROGRAMS,
    packages: &["k8s.io/kubernetes/cmd/kube-scheduler", "sigs.k8s.io/kwok/cmd/kwok"],
    usually: Duration::from_secs(25),
}];

impl NodeBinaries {
    /// Finds the programs, or builds them, which is quick once the control plane was built: most of their packages are the
    /// same. They are in no folder that `KUBEBUILDER_ASSETS` names, so they are always the pinned ones.
    ///
    /// # Errors
    /// If there is no cache folder or the build fails.
    pub fn find_or_build() -> Result<Self, Error> {
        let folder = build_missing(
            "the nodes of the control plane",
            "run the other tests alone",
            &NODE_RUNS,
            Versions::nodes_folder_name,
        )?;
        let [kube_scheduler, kwok] = NODE_PROGRAMS.map(|name| folder.join(name));
        Ok(Self { kube_scheduler, kwok })
    }
}

/// Builds what is missing of the pinned versions, and gives the folder.
fn build_missing(
    name: &'static str,
    instead: &'static str,
    runs: &[Run],
    folder: fn(&Versions) -> String,
) -> Result<PathBuf, Error> {
    let cache = cache::folder("control-plane")?;
    let module = Module::read(&repository().join("tests/control-plane"))?;
    let versions = Versions::pinned(&module)?;
    let programs = Programs { name, instead, module: &module, linker_flags: &versions.linker_flags(), runs };
    Ok(programs.build_missing(&cache, &folder(&versions))?)
}

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
        let instead = "set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl";
        let folder = build_missing("the control plane for the tests", instead, &RUNS, Versions::folder_name)?;
        Self::in_folder(&folder).map_err(Error::NotBuilt)
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

#[cfg(test)]
mod tests {
    use super::*;

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
