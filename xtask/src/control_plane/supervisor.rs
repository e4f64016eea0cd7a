//! The supervisor: a second process of the same program that holds the servers of a control plane.
//!
//! Its one job is that nothing stays behind. A test process that is killed with SIGKILL runs no
//! destructor, so the servers cannot be its children: they are the supervisor's, and the supervisor
//! ends them when its standard input closes, which the kernel does for every dead process. It knows
//! processes and one folder, nothing of Kubernetes, and it must never outlive its input.
//!
//! It speaks one JSON line for each JSON line it is asked, so that a server can be restarted.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

/// Set for the second process, to the value that tells what shall happen to the folder at the end.
pub(crate) const VARIABLE: &str = "DBT_TOKEN_OPERATOR_PLANE_SUPERVISOR";

/// Whether this program's `main` has asked; starting a plane without it would run `main` again.
static ASKED: AtomicBool = AtomicBool::new(false);

/// What happens to the folder with logs, certificates and data once everything was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Afterwards {
    /// The folder is removed.
    #[default]
    Remove,
    /// The folder stays, to read its logs.
    Keep,
}

impl Afterwards {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Keep => "keep",
        }
    }
}

/// What the supervisor is asked for, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Start a server; the answer comes as soon as the process exists, not when it is ready.
    Start(Server),
    /// End a server and wait until it is gone. A server that is not there is no failure.
    Stop { name: String },
    /// Run a command at the very end, while the servers still run. Several run in the order of asking.
    AtEnd(Command),
    /// Tell the servers that ended by themselves.
    Status,
}

/// How to start one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Names it in later requests, and names its log file.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Variables that it gets beside those of the supervisor.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Where its output is appended.
    pub(crate) log: PathBuf,
}

/// What puts things in order outside this machine's folder. It must have a time limit of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

/// The answer to one request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The first line, unasked: the folder that this supervisor made and owns.
    Ready {
        directory: PathBuf,
    },
    Started {
        pid: u32,
    },
    Stopped,
    Noted,
    /// The names of servers that ended by themselves, each with how it ended.
    Status {
        ended: BTreeMap<String, String>,
    },
    Failed {
        message: String,
    },
}

/// Becomes the supervisor, and never returns, if this process was started as one.
///
/// Call it first thing in the `main` of every program that starts a [`super::ControlPlane`], before
/// threads, arguments or output; such a program therefore cannot use the standard test harness.
pub fn supervise_if_asked() {
    ASKED.store(true, Ordering::Relaxed);
    let Ok(afterwards) = std::env::var(VARIABLE) else {
        return;
    };
    let keep = afterwards == Afterwards::Keep.as_str();
    let outcome = supervise(keep);
    if let Err(error) = &outcome {
        eprintln!("the supervisor of the control plane failed: {error}");
    }
    process::exit(i32::from(outcome.is_err()));
}

/// Whether `main` has called [`supervise_if_asked`].
pub(crate) fn was_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

fn supervise(keep: bool) -> std::io::Result<()> {
    // Keys, tokens and logs lie there; without this, the umask would decide who may read them.
    let owner_only = Permissions::from_mode(0o700);
    let mut directory = tempfile::Builder::new().prefix("dbt-token-operator-plane-").permissions(owner_only).tempdir()?;
    directory.disable_cleanup(keep);
    // Dropped before `directory`, as variables are in reverse order: first the servers end, then
    // the folder they write to goes.
    let mut servers = Servers::default();
    answer(&Answer::Ready { directory: directory.path().to_path_buf() })?;
    for line in std::io::stdin().lock().lines() {
        let request = serde_json::from_str(&line?)?;
        if answer(&servers.handle(request)).is_err() {
            // Nobody reads the answer any more: the input is about to close, too.
            break;
        }
    }
    Ok(())
}

fn answer(answer: &Answer) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer(&mut output, answer)?;
    output.write_all(b"\n")?;
    output.flush()
}

#[derive(Default)]
struct Servers {
    running: BTreeMap<String, Child>,
    at_end: Vec<Command>,
}

impl Servers {
    fn handle(&mut self, request: Request) -> Answer {
        match request {
            Request::Start(server) => match self.start(&server) {
                Ok(pid) => Answer::Started { pid },
                Err(error) => Answer::Failed { message: format!("cannot start {}: {error}", server.program.display()) },
            },
            Request::Stop { name } => match self.stop(&name) {
                Ok(()) => Answer::Stopped,
                Err(error) => Answer::Failed { message: format!("cannot stop {name}: {error}") },
            },
            Request::AtEnd(command) => {
                self.at_end.push(command);
                Answer::Noted
            }
            Request::Status => Answer::Status { ended: self.ended() },
        }
    }

    fn start(&mut self, server: &Server) -> std::io::Result<u32> {
        let child = process::Command::new(&server.program)
            .args(&server.arguments)
            .envs(&server.environment)
            .env_remove(VARIABLE)
            .stdin(Stdio::null())
            .stdout(append(&server.log)?)
            .stderr(append(&server.log)?)
            .spawn()?;
        let pid = child.id();
        self.running.insert(server.name.clone(), child);
        Ok(pid)
    }

    fn stop(&mut self, name: &str) -> std::io::Result<()> {
        match self.running.remove(name) {
            Some(child) => end(child),
            None => Ok(()),
        }
    }

    fn ended(&mut self) -> BTreeMap<String, String> {
        let mut ended = BTreeMap::new();
        for (name, child) in &mut self.running {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    ended.insert(name.clone(), status.to_string());
                }
                Err(error) => {
                    ended.insert(name.clone(), error.to_string());
                }
            }
        }
        ended
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for command in &self.at_end {
            if let Err(error) = command.run() {
                eprintln!("cannot run {}: {error}", command.program.display());
            }
        }
        for (name, child) in std::mem::take(&mut self.running) {
            if let Err(error) = end(child) {
                eprintln!("cannot stop {name}: {error}");
            }
        }
    }
}

impl Command {
    /// Its output is for a person, and it answers for its own failures there. The supervisor's standard output is a pipe
    /// that may be gone.
    fn run(&self) -> std::io::Result<()> {
        let output = process::Command::new(&self.program)
            .args(&self.arguments)
            .env_remove(VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        // Nobody may be left to read it.
        let _ = std::io::stderr().write_all(&output.stdout);
        Ok(())
    }
}

/// Kills at once instead of asking politely: nothing that these servers hold outlives them, they
/// write their logs unbuffered, and a polite API server waits for every open watch.
fn end(mut child: Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn append(log: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(log)
}
