//! Why a control plane could not be started or used.

use std::path::PathBuf;

use super::{START_LIMIT, binaries, certificates, files, supervised};
use crate::wait;

/// Why a control plane could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs are missing and could not be built.
    #[error("cannot get the programs of the control plane")]
    Binaries(#[from] binaries::Error),
    /// The second process that holds the servers.
    #[error("cannot supervise the control plane")]
    Supervisor(#[from] supervised::Error),
    /// The certificates could not be made.
    #[error("cannot make the certificates of the control plane")]
    Certificates(#[from] certificates::Error),
    /// A file of the plane could not be written.
    #[error("cannot write the files of the control plane")]
    Files(#[from] files::Error),
    /// No port is free.
    #[error("no TCP port is free on loopback; end some of the servers on this machine")]
    NoPort,
    /// A server ended by itself.
    #[error("{server} ended by itself ({status}); the end of its log:\n{log}")]
    ServerEnded {
        /// Which one.
        server: String,
        /// How it ended.
        status: String,
        /// Its last lines.
        log: String,
    },
    /// The plane did not become ready.
    #[error(
        "the control plane is not ready after {} ({missing}); the end of the log of {server}:\n{log}",
        wait::spoken(START_LIMIT)
    )]
    NotReady {
        /// What was waited for.
        missing: &'static str,
        /// The server that should have provided it.
        server: &'static str,
        /// Its last lines.
        log: String,
    },
    /// `kubectl` could not be started.
    #[error("cannot run {program}; delete its folder to have it built again")]
    RunKubectl {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `kubectl` answered with an error.
    #[error("kubectl {arguments} failed: {message}")]
    Kubectl {
        /// What it was asked for.
        arguments: String,
        /// What it said.
        message: String,
    },
}
