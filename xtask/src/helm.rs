//! Finds the Helm that the charts are tested with, or has it built from the version that `tests/helm/go.mod` pins.

use std::path::PathBuf;
use std::time::Duration;

use crate::go::build::{self, Programs, Run};
use crate::go::module::{self, Module};
use crate::go::{cache, variable};
use crate::repository;

/// Overrides which Helm is used.
const VARIABLE: &str = "DBT_TOKEN_OPERATOR_HELM";

/// The module that is Helm.
const HELM: &str = "helm.sh/helm/v4";

/// It takes 3 min 06 s of processor time; the time was measured with other builds beside it.
const RUNS: [Run; 1] =
    [Run { what: "helm", programs: &["helm"], packages: &["helm.sh/helm/v4/cmd/helm"], usually: Duration::from_secs(147) }];

/// Why there is no Helm.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that the user named is none.
    #[error("{VARIABLE} is {0}, which is no file; set it to a helm of version 4, or unset it to have one built")]
    NotThere(PathBuf),
    /// There is no folder for built programs.
    #[error("a built helm cannot be kept")]
    NoCacheFolder(#[from] cache::NoCacheFolder),
    /// The pinned version could not be read.
    #[error("cannot tell which version of helm is pinned")]
    Version(#[from] module::Error),
    /// It could not be built.
    #[error("cannot build helm")]
    Build(#[from] build::Error),
}

/// Finds `helm`, or builds it: two to three minutes on two cores, told on standard error.
///
/// # Errors
/// [`Error::NotThere`] if the user named a file that is not there; otherwise if there is no cache folder or the build
/// fails.
pub fn find_or_build() -> Result<PathBuf, Error> {
    if let Some(helm) = variable(VARIABLE) {
        return if helm.is_file() { Ok(helm) } else { Err(Error::NotThere(helm)) };
    }
    let cache = cache::folder("helm")?;
    let module = Module::read(&repository().join("tests/helm"))?;
    let version = module.version_of(HELM)?;
    let programs = Programs {
        name: "the helm for the tests of the charts",
        instead: "set DBT_TOKEN_OPERATOR_HELM to a helm of version 4",
        module: &module,
        // A build from a module is told no patch version.
        linker_flags: &format!("-X helm.sh/helm/v4/internal/version.version={version}"),
        runs: &RUNS,
    };
    Ok(programs.build_missing(&cache, &version)?.join("helm"))
}
