//! What a person reads while the demo runs: what is done, what is awaited, and for how long. It keeps every word that it
//! prints, so that the demo can prove that no token is among them.

use std::time::{Duration, Instant};

use super::Error;
use crate::wait;

/// How often a condition is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often a person is told that something is still awaited.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The printer.
#[derive(Debug)]
pub(super) struct Story {
    started: Instant,
    told: String,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { started: Instant::now(), told: String::new() }
    }

    /// Everything that was printed.
    pub(super) fn told(&self) -> &str {
        &self.told
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins a part.
    pub(super) fn chapter(&mut self, title: &str) {
        self.print(&format!("\n==> {title}"));
    }

    /// Tells one thing, with the time since the beginning.
    pub(super) fn say(&mut self, what: &str) {
        let line = format!("{:>6.1} s  {what}", self.started.elapsed().as_secs_f64());
        self.print(&line);
    }

    /// Shows what a program printed.
    pub(super) fn show(&mut self, text: &str) {
        for line in text.trim_end().lines() {
            self.print(&format!("    {line}"));
        }
    }

    /// Waits until `condition` has something, telling every few seconds what is awaited.
    pub(super) fn wait<T>(
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
