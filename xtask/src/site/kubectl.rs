//! `kubectl` with one kubeconfig: every way by which the tasks talk to a cluster.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// How long one request may take: long enough for a machine that is busy with a build, and for `kubectl wait`.
const REQUEST_LIMIT: &str = "--request-timeout=60s";

/// Why `kubectl` did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run {program}")]
    Run {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It answered with an error.
    #[error("kubectl {arguments} failed: {message}")]
    Refused {
        /// What it was asked for.
        arguments: String,
        /// What it said.
        message: String,
    },
    /// Its answer is not JSON.
    #[error("kubectl {arguments} did not answer in JSON")]
    Malformed {
        /// What it was asked for.
        arguments: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A program and whom it speaks to.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Where it keeps what it learned about the API, so that nothing of it is shared with the user's clusters.
    pub(crate) cache: PathBuf,
}

impl Kubectl {
    /// The `kubectl` in the user's path.
    pub(crate) fn in_path() -> Option<PathBuf> {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders).map(|folder| folder.join("kubectl")).find(|path| path.is_file())
    }

    /// Gives what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, Error> {
        self.run_with(arguments, "")
    }

    /// Applies objects.
    pub(crate) fn apply(&self, manifest: &str) -> Result<String, Error> {
        self.run_with(&["apply", "--server-side", "-f", "-"], manifest)
    }

    /// Gives what it prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value, Error> {
        let text = self.run_with(&[arguments, &["-o", "json"]].concat(), "")?;
        serde_json::from_str(&text).map_err(|source| Error::Malformed { arguments: arguments.join(" "), source })
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let failure = |source| Error::Run { program: self.program.clone(), source };
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg(REQUEST_LIMIT)
            .args(arguments)
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failure)?;
        if let Some(mut pipe) = child.stdin.take() {
            // A kubectl that ended without reading says why.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failure)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Error::Refused { arguments: arguments.join(" "), message })
    }
}
