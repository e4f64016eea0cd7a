//! A place to show and measure the operator in: a cluster, the emulator of dbt, and the operator between them, bound to
//! what the chart grants it. Everything of it ends with this process, however that ends.
//!
//! | file | its job |
//! |---|---|
//! | `kubectl` | speaks to the cluster |
//! | `install` | the objects that the operator needs in the cluster |
//! | `emulator` `operator` | the two processes |
//! | `leaks` | what was emitted, to be searched for tokens |

pub(crate) mod emulator;
pub(crate) mod install;
pub(crate) mod kubectl;
pub(crate) mod leaks;
pub(crate) mod operator;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control_plane::{
    self, Afterwards, Binaries, BinariesError, ControlPlane, FinalCommand, Options, Pods, Supervised, SupervisedError,
};
use crate::{cargo, http, wait};
use emulator::Emulator;
use kubectl::Kubectl;
use operator::Operator;

/// How long a process that starts may take; it takes less than a second.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How often a starting process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much of a log a failure repeats.
const LOG_LINES: usize = 15;

/// Why there is no such place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs of this repository.
    #[error("cannot build the operator and the emulator")]
    Cargo(#[from] cargo::Error),
    /// The control plane.
    #[error("cannot start the control plane")]
    ControlPlane(#[from] control_plane::Error),
    /// Its programs, one of which is kubectl.
    #[error("there is no kubectl, and none could be built")]
    Binaries(#[from] BinariesError),
    /// The process that holds the others.
    #[error("cannot supervise the emulator and the operator")]
    Supervisor(#[from] SupervisedError),
    /// The cluster.
    #[error("the cluster does not do what it is asked for")]
    Kubectl(#[from] kubectl::Error),
    /// The emulator or the operator.
    #[error("no answer over HTTP")]
    Http(#[from] http::Error),
    /// A process.
    #[error("{name} is not ready after {}; the end of its log:\n{log}", wait::spoken(START_LIMIT))]
    NotReady {
        /// Which one.
        name: String,
        /// Its last lines.
        log: String,
    },
    /// A file.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} is not what it should be: {message}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Something of the user's would be in the way.
    #[error("the cluster already has {0}; nothing was changed: use a cluster without them")]
    Taken(String),
    /// No port is free.
    #[error("no TCP port is free on loopback")]
    NoPort,
}

/// The cluster, and the process that ends everything else.
pub(crate) struct Site {
    pub(crate) kubectl: Kubectl,
    /// None on a cluster of the user's.
    pub(crate) plane: Option<ControlPlane>,
    pub(crate) supervised: Supervised,
}

impl Site {
    /// A control plane of our own, with one node if pods shall run.
    pub(crate) fn on_a_plane(pods: Pods) -> Result<Self, Error> {
        let supervised = Supervised::start(Afterwards::Remove)?;
        let mut plane = ControlPlane::start(&Options { pods, ..Options::default() })?;
        if pods == Pods::Run {
            plane.add_node("node")?;
        }
        let kubectl = Kubectl {
            program: plane.kubectl().to_path_buf(),
            kubeconfig: plane.kubeconfig().to_path_buf(),
            cache: supervised.directory().join("kubectl-cache"),
        };
        Ok(Self { kubectl, plane: Some(plane), supervised })
    }

    /// A cluster of the user's own, which must have none of the objects in `needed`.
    pub(crate) fn on_the_users(kubeconfig: &Path, needed: &[String]) -> Result<Self, Error> {
        let supervised = Supervised::start(Afterwards::Remove)?;
        let program = match Kubectl::in_path() {
            Some(program) => program,
            None => Binaries::find_or_build()?.kubectl,
        };
        let kubectl =
            Kubectl { program, kubeconfig: kubeconfig.to_path_buf(), cache: supervised.directory().join("kubectl-cache") };
        let mut arguments = vec!["get", "--ignore-not-found", "-o", "name"];
        arguments.extend(needed.iter().map(String::as_str));
        let taken = kubectl.run(&arguments)?;
        if !taken.trim().is_empty() {
            return Err(Error::Taken(taken.split_whitespace().collect::<Vec<_>>().join(", ")));
        }
        Ok(Self { kubectl, plane: None, supervised })
    }

    /// Has objects removed at the end, however this process ends.
    pub(crate) fn remove_at_end(&mut self, objects: &[&str], limit: Duration) -> Result<(), Error> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let mut arguments = vec!["--kubeconfig".to_owned(), self.kubectl.kubeconfig.display().to_string()];
        arguments.extend(["delete", "--ignore-not-found", "--wait", &timeout].map(str::to_owned));
        arguments.extend(objects.iter().map(|&name| name.to_owned()));
        let command = FinalCommand { program: self.kubectl.program.clone(), arguments };
        Ok(self.supervised.at_end(command, limit)?)
    }

    /// Starts the emulator.
    pub(crate) fn start_emulator(&mut self, programs: &cargo::Programs) -> Result<Emulator, Error> {
        Emulator::start(&mut self.supervised, &programs.emulator, None)
    }

    /// Starts the operator as its own service account, with further flags.
    pub(crate) fn start_operator(&mut self, programs: &cargo::Programs, flags: &[&str]) -> Result<Operator, Error> {
        let kubeconfig = install::service_account_kubeconfig(&self.kubectl, self.supervised.directory())?;
        Operator::start(&mut self.supervised, install::NAME, &programs.operator, &kubeconfig, flags)
    }

    /// Ends everything, and waits until it is gone.
    pub(crate) fn end(mut self) {
        // The operator first: it has work to do while the objects are removed.
        self.supervised.end();
        if let Some(plane) = self.plane {
            plane.stop();
        }
    }
}

/// The last lines of a log.
pub(crate) fn end_of_log(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_path_buf(), source })
}
