//! Consumers of Secrets, as demanding as they can be: whatever anybody may hold at a moment is used for a call to dbt, five
//! times a second, and every call that dbt does not accept is kept. It looks at the cluster from outside, through watches
//! of its own, and shares no code with the operator.
//!
//! | file | its job |
//! |---|---|
//! | `watch` | what happens in the cluster, from `kubectl` |
//! | `pod` | which Secrets a container takes, and how |
//! | `views` | who holds which string at a moment |
//! | `caller` | the calls to dbt |
//!
//! It must never print or keep a string of a token anywhere but in memory.

mod caller;
mod pod;
mod views;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http::{self, Client};
use caller::Caller;
use views::Known;
use watch::{Kind, Watch};

/// How often every string is used.
pub const EVERY: Duration = Duration::from_millis(200);

/// A caller makes its calls one after the other; so many of them take turns that a round of a hundred fits into [`EVERY`].
const CALLERS: usize = 4;

/// Why there are no consumers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `kubectl` could not be started.
    #[error("cannot run {program}")]
    Kubectl {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificates of dbt's authority are none.
    #[error("consumers cannot trust dbt")]
    Trust(#[from] http::Error),
}

/// Whose Secrets are read, and who is called.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path of `kubectl`.
    pub kubectl: PathBuf,
    /// Of somebody who may watch pods and Secrets there.
    pub kubeconfig: PathBuf,
    /// Where `kubectl` may keep what it learns.
    pub cache: PathBuf,
    /// The namespace.
    pub namespace: String,
    /// The key under which each Secret holds a token.
    pub key: &'static str,
    /// How long a volume goes on showing what its Secret held before.
    pub volume_lag: Duration,
    /// The address of dbt, and the authority to trust if it speaks TLS.
    pub dbt: String,
    /// Its certificates as PEM; empty if dbt does not speak TLS.
    pub dbt_authority: String,
    /// What is asked of it: something that every token may do.
    pub path: String,
}

/// A call that dbt did not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who called.
    pub holder: String,
    /// The Secret that the string came from.
    pub secret: String,
    /// The uid in the string, if it is one of today's form.
    pub uid: Option<String>,
    /// Whether the Secret still held it.
    pub is_current: bool,
    /// What dbt answered.
    pub answer: String,
    /// When.
    pub at: Instant,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let age = if self.is_current { "the token in the Secret" } else { "a token that was replaced" };
        let uid = self.uid.as_deref().unwrap_or("unknown");
        write!(formatter, "{}: dbt answered {} to {age} (uid {uid})", self.holder, self.answer)
    }
}

/// What came of the calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many calls were made, by how the token was held.
    pub calls: BTreeMap<&'static str, u64>,
    /// How many of them were made with a token that the Secret did not hold any more, by how it was held.
    pub outdated: BTreeMap<&'static str, u64>,
    /// The calls that dbt did not accept.
    pub refused: Vec<Refusal>,
    /// The longest time that passed between two calls of one consumer.
    pub longest_pause: Duration,
}

impl Report {
    /// How many calls were made in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }
}

/// Consumers at work, until they are stopped or dropped.
#[derive(Debug)]
pub struct Consumers {
    shared: Arc<Shared>,
    watches: Vec<Watch>,
    callers: Vec<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    report: Mutex<Report>,
    is_over: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// What a thread that panicked left behind is still what was seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Consumers {
    /// Begins to watch and to call.
    ///
    /// # Errors
    /// If `kubectl` cannot be started, or the authority of dbt is none.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let client = Client::trusting(&options.dbt_authority)?;
        let shared = Arc::new(Shared { known: Mutex::new(Known::new(options.key, options.volume_lag)), ..Shared::default() });
        let watches = [Kind::Secrets, Kind::Pods].map(|kind| Watch::start(options, kind, Arc::clone(&shared)));
        let watches = watches.into_iter().collect::<Result<_, _>>()?;
        let callers = (0..CALLERS).map(|number| {
            let caller = Caller::new(options, client.clone(), number, CALLERS);
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || caller.run(&shared))
        });
        Ok(Self { callers: callers.collect(), watches, shared })
    }

    /// How many strings are in use now, by how they are held.
    #[must_use]
    pub fn holders(&self) -> BTreeMap<&'static str, usize> {
        let mut holders = BTreeMap::new();
        for view in lock(&self.shared.known).views(Instant::now()) {
            *holders.entry(view.holder.way()).or_default() += 1;
        }
        holders
    }

    /// What came of the calls so far.
    #[must_use]
    pub fn report(&self) -> Report {
        lock(&self.shared.report).clone()
    }

    /// Ends everything, and says what came of it.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for caller in self.callers.drain(..) {
            // A caller that panicked has told so on standard error.
            drop(caller.join());
        }
        self.watches.clear();
    }
}

impl Drop for Consumers {
    fn drop(&mut self) {
        self.end();
    }
}
