//! The versions of the control plane that `tests/control-plane/go.mod` pins.

use crate::go::module::{Error, Module};

/// What go.mod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Such as `v1.36.3`.
    kubernetes: String,
    /// Such as `v3.6.16`.
    etcd: String,
    /// Such as `v0.8.0`.
    kwok: String,
}

impl Versions {
    /// Reads them from the module.
    pub(crate) fn pinned(module: &Module) -> Result<Self, Error> {
        Ok(Self {
            kubernetes: module.version_of("k8s.io/kubernetes")?,
            etcd: module.version_of("go.etcd.io/etcd/server/v3")?,
            kwok: module.version_of("sigs.k8s.io/kwok")?,
        })
    }

    /// The folder of the cache for these versions.
    pub(crate) fn folder_name(&self) -> String {
        format!("{}-etcd-{}", self.kubernetes, self.etcd)
    }

    /// The folder of the cache for what makes pods run.
    pub(crate) fn nodes_folder_name(&self) -> String {
        format!("{}-kwok-{}", self.kubernetes, self.kwok)
    }

    /// Tells the programs their version, which a Go build from a module leaves at `v0.0.0` and which clients then refuse
    /// to compare.
    pub(crate) fn linker_flags(&self) -> String {
        let mut numbers = self.kubernetes.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let version = &self.kubernetes;
        let mut flags = String::new();
        for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
            flags.push_str(&format!(
                " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            ));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_told_their_version() {
        let versions = Versions { kubernetes: "v1.36.3".to_owned(), etcd: "v3.6.16".to_owned(), kwok: "v0.8.0".to_owned() };
        let flags = versions.linker_flags();
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.36.3 "));
        assert!(flags.ends_with(" -X k8s.io/client-go/pkg/version.gitMinor=36"));
        assert_eq!(versions.folder_name(), "v1.36.3-etcd-v3.6.16");
        assert_eq!(versions.nodes_folder_name(), "v1.36.3-kwok-v0.8.0");
    }
}
