//! What a person reads while a task runs: what is done, what is awaited, and for how long. It keeps every word that it
//! prints, so that a task can prove that no token is among them.

use std::time::{Duration, Instant};

use crate::{consumers, site, wait};

/// How often a condition is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often a person is told that something is still awaited.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Why a task could not prove what it tells.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be started or used.
    #[error("the task cannot go on")]
    Site(#[from] site::Error),
    /// The consumers that watch a rotation.
    #[error("the consumers cannot go on")]
    Consumers(#[from] consumers::Error),
    /// Something did not happen.
    #[error("{what}: not within {}", wait::spoken(*limit))]
    TooSlow {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// Something that should be so is not.
    #[error("not true: {0}")]
    NotTrue(String),
}

impl From<site::kubectl::Error> for Error {
    fn from(error: site::kubectl::Error) -> Self {
        Self::Site(error.into())
    }
}

/// The printer.
#[derive(Debug)]
pub(crate) struct Story {
    started: Instant,
    told: String,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self { started: Instant::now(), told: String::new() }
    }

    /// Everything that was printed.
    pub(crate) fn told(&self) -> &str {
        &self.told
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins a part.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.print(&format!("\n==> {title}"));
    }

    /// Tells one thing, with the time since the beginning.
    pub(crate) fn say(&mut self, what: &str) {
        let line = format!("{:>6.1} s  {what}", self.started.elapsed().as_secs_f64());
        self.print(&line);
    }

    /// Shows what a program printed.
    pub(crate) fn show(&mut self, text: &str) {
        for line in text.trim_end().lines() {
            self.print(&format!("    {line}"));
        }
    }

    /// Waits until `condition` has something, telling every few seconds what is awaited.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let mut told = Instant::now();
        let outcome = wait::until(limit, LOOK_EVERY, || {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                self.say(&format!("waiting for {what}"));
            }
            condition(self).transpose()
        });
        outcome.unwrap_or_else(|| Err(Error::TooSlow { what: what.to_owned(), limit }))
    }

    fn print(&mut self, line: &str) {
        println!("{line}");
        self.told.push_str(line);
        self.told.push('\n');
    }
}
