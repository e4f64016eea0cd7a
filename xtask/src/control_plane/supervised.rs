//! The near end of the pipe to the supervisor: starts it, asks it, and ends it by closing the pipe.
//!
//! It must never own a server process itself (see [`super::supervisor`]).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::supervisor::{self, Afterwards, Answer, Request, Server};
use crate::wait;

/// The supervisor only starts and kills processes, so it answers within milliseconds; a machine
/// that needs longer than this is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long the supervisor may take to kill three processes and to remove a folder.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Why the supervisor could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not prepared to be started a second time as a supervisor.
    #[error(
        "this program cannot supervise a control plane; call \
         `xtask::control_plane::supervise_if_asked()` first thing in its `main` (an integration \
         test needs `harness = false` for that)"
    )]
    NotPrepared,
    /// The second process could not be started.
    #[error("cannot start the supervisor; check that {program} may still be executed")]
    Start {
        /// The program that was to be started a second time.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The supervisor ended, or closed its pipe, while it was needed.
    #[error("the supervisor ended early; its own message is on standard error above")]
    Ended,
    /// No answer came in time.
    #[error("the supervisor did not answer {request} within {} s", ANSWER_LIMIT.as_secs())]
    NoAnswer {
        /// What it was asked for.
        request: String,
    },
    /// It answered that it could not.
    #[error("the supervisor could not do it: {0}")]
    Refused(String),
}

/// A running supervisor and the folder it owns; dropping it ends every server.
#[derive(Debug)]
pub(crate) struct Supervised {
    process: Child,
    /// Closing it is the order to end. `None` once closed.
    requests: Option<ChildStdin>,
    answers: Receiver<Answer>,
    directory: PathBuf,
    /// How long it may take to end.
    end_limit: Duration,
}

impl Supervised {
    /// Starts this very program once more as a supervisor.
    pub(crate) fn start(afterwards: Afterwards) -> Result<Self, Error> {
        if !supervisor::was_asked() {
            return Err(Error::NotPrepared);
        }
        let program = std::env::current_exe().unwrap_or_default();
        let mut process = Command::new(&program)
            .env(supervisor::VARIABLE, afterwards.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C in the terminal goes to the whole foreground group. The supervisor and the
            // servers must not be in it, or the supervisor dies before it has cleaned up.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Start { program, source })?;
        let requests = process.stdin.take();
        let output = process.stdout.take().expect("standard output is piped");
        let mut supervised =
            Self { process, requests, answers: read_answers(output), directory: PathBuf::new(), end_limit: END_LIMIT };
        match supervised.answer("to start")? {
            Answer::Ready { directory } => supervised.directory = directory,
            other => return Err(unexpected(&other)),
        }
        Ok(supervised)
    }

    /// The folder that is removed when the supervisor ends; only its owner may read it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a server and gives its process id.
    pub(crate) fn start_server(&mut self, server: &Server) -> Result<u32, Error> {
        match self.ask(&Request::Start(server.clone()))? {
            Answer::Started { pid } => Ok(pid),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a server and waits until it is gone.
    pub(crate) fn stop_server(&mut self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        match self.ask(&Request::Stop { name })? {
            Answer::Stopped => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a command run at the end, however this process ends, while the servers still run. It must end by itself within
    /// `limit`.
    pub(crate) fn at_end(&mut self, command: supervisor::Command, limit: Duration) -> Result<(), Error> {
        self.end_limit += limit;
        match self.ask(&Request::AtEnd(command))? {
            Answer::Noted => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The servers that ended by themselves, each with how it ended.
    pub(crate) fn ended_servers(&mut self) -> Result<BTreeMap<String, String>, Error> {
        match self.ask(&Request::Status)? {
            Answer::Status { ended } => Ok(ended),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends every server and waits for the supervisor to be gone.
    pub(crate) fn end(&mut self) {
        drop(self.requests.take());
        let gone = wait::until(self.end_limit, Duration::from_millis(5), || self.process.try_wait().transpose());
        if gone.is_none() {
            eprintln!("the supervisor of the control plane does not end; it is killed");
            // A failure means that it ended just now.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        let mut line = serde_json::to_vec(request).expect("a request is plain JSON");
        line.push(b'\n');
        let pipe = self.requests.as_mut().ok_or(Error::Ended)?;
        pipe.write_all(&line).map_err(|_| Error::Ended)?;
        pipe.flush().map_err(|_| Error::Ended)?;
        self.answer(&format!("{request:?}"))
    }

    fn answer(&self, request: &str) -> Result<Answer, Error> {
        match self.answers.recv_timeout(ANSWER_LIMIT) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Ended),
            Err(RecvTimeoutError::Timeout) => Err(Error::NoAnswer { request: request.to_owned() }),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads answers in a thread of their own, since a pipe cannot be read with a limit. The thread ends
/// with the pipe.
fn read_answers(output: ChildStdout) -> Receiver<Answer> {
    // Each request waits for its answer, so there is never more than one under way.
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Some(answer) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else {
                return;
            };
            if sender.send(answer).is_err() {
                return;
            }
        }
    });
    receiver
}

fn unexpected(answer: &Answer) -> Error {
    match answer {
        Answer::Failed { message } => Error::Refused(message.clone()),
        other => Error::Refused(format!("it answered {other:?} to something else")),
    }
}
