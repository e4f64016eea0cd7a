//! The one state behind the one lock, and the steps of serving that need it.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::account::{Account, TokenId};
use crate::answer::Answer;
use crate::fault_plan::{Applied, FaultHandle, FaultPlan};
use crate::log::Log;
use crate::modes::{Modes, RateLimit};
use crate::routes::call::{Call, Surface};
use crate::routes::{self, Caller, Context};

/// The window of a request limit.
const WINDOW: Duration = Duration::from_secs(60);

/// Everything that can change.
pub(crate) struct Core {
    pub(crate) account: Account,
    pub(crate) modes: Modes,
    pub(crate) faults: FaultPlan,
    pub(crate) log: Log,
    pub(crate) issued_file: Option<File>,
    issued_written: usize,
    admin_limiter: Limiter,
    graphql_limiter: Limiter,
}

impl Core {
    pub(crate) fn new(account: Account, modes: Modes, issued_file: Option<File>) -> Self {
        Self {
            account,
            modes,
            faults: FaultPlan::default(),
            log: Log::default(),
            issued_file,
            issued_written: 0,
            admin_limiter: Limiter::default(),
            graphql_limiter: Limiter::default(),
        }
    }

    /// The token that calls, if its string works; nothing is changed.
    pub(crate) fn peek(&self, call: &Call) -> Option<TokenId> {
        let token = self.account.token_of(call.bearer(&["Bearer", "Token"])?)?;
        token.is_usable(call.arrived).then_some(token.id)
    }

    /// 429 if a limit is passed.
    pub(crate) fn throttle(&mut self, call: &Call) -> Option<Answer> {
        let (limiter, limit) = match call.surface() {
            Surface::Admin | Surface::Nothing => (&mut self.admin_limiter, self.modes.rate_limit),
            _ => (&mut self.graphql_limiter, self.modes.graphql_rate_limit),
        };
        let limit = limit?;
        let remaining = limiter.take(limit, call.arrived)?;
        let seconds = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
        Some(Answer::too_many(limit.retry_after.then_some(seconds)))
    }

    /// The fault for this call.
    pub(crate) fn choose_fault(&mut self, call: &Call, caller: Option<TokenId>) -> Option<Applied> {
        self.faults.choose(&call.method, &call.path, caller)
    }

    /// Lets the caller in or says why not.
    pub(crate) fn admit(&mut self, call: &Call) -> Result<Caller, Answer> {
        routes::admit(&mut Context { account: &mut self.account, modes: &self.modes }, call)
    }

    /// Serves a caller who was let in.
    pub(crate) fn perform(&mut self, call: &Call, caller: &Caller) -> Answer {
        let answer = routes::perform(&mut Context { account: &mut self.account, modes: &self.modes }, call, caller);
        self.write_issued();
        answer
    }

    /// Lets in and serves.
    pub(crate) fn serve(&mut self, call: &Call) -> Answer {
        match self.admit(call) {
            Ok(caller) => self.perform(call, &caller),
            Err(answer) => answer,
        }
    }

    /// Serves a read from what a rule remembers; anything else from the present.
    pub(crate) fn serve_stale(&mut self, call: &Call, handle: FaultHandle) -> Answer {
        let caller = match self.admit(call) {
            Ok(caller) => caller,
            Err(answer) => return answer,
        };
        match self.faults.snapshot(handle).filter(|_| call.method == "GET") {
            Some(mut past) => routes::perform(&mut Context { account: &mut past, modes: &self.modes }, call, &caller),
            None => self.perform(call, &caller),
        }
    }

    /// Appends strings that became known since the last time to the file for leak scans.
    pub(crate) fn write_issued(&mut self) {
        let Some(file) = &mut self.issued_file else {
            return;
        };
        for string in &self.account.issued[self.issued_written..] {
            // A scan that misses strings would prove nothing, so failing here must be loud.
            writeln!(file, "{string}").expect("the file of issued tokens can be written");
        }
        self.issued_written = self.account.issued.len();
    }
}

/// The core, and word of its changes.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) ca_pem: String,
    /// Counts up whenever the log or a fault's history may have changed.
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(core: Core, ca_pem: String) -> Self {
        Self { core: Mutex::new(core), ca_pem, changed: watch::Sender::new(0) }
    }

    /// The core, locked. A panic elsewhere while it was locked does not matter to an emulator.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for a change.
    pub(crate) fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits for changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Counts requests of a minute, and remembers a cool-down.
#[derive(Default)]
struct Limiter {
    window_start: Option<Instant>,
    calls: u64,
    closed_until: Option<Instant>,
}

impl Limiter {
    /// Counts a call; answers the rest of the cool-down if it is not allowed.
    fn take(&mut self, limit: RateLimit, now: Instant) -> Option<Duration> {
        if let Some(until) = self.closed_until {
            if now < until {
                return Some(until - now);
            }
            *self = Self::default();
        }
        let start = self.window_start.filter(|start| now.saturating_duration_since(*start) < WINDOW);
        if start.is_none() {
            self.window_start = Some(now);
            self.calls = 0;
        }
        self.calls += 1;
        if self.calls <= limit.per_minute {
            return None;
        }
        let cooldown = Duration::from_millis(limit.cooldown_ms);
        self.closed_until = Some(now + cooldown);
        Some(cooldown)
    }
}

#[cfg(test)]
mod tests {
    use super::Limiter;
    use crate::modes::RateLimit;
    use std::time::{Duration, Instant};

    #[test]
    fn a_passed_limit_closes_for_the_cooldown() {
        let limit = RateLimit { per_minute: 2, cooldown_ms: 300_000, retry_after: false };
        let start = Instant::now();
        let mut limiter = Limiter::default();
        let mut after = |seconds| limiter.take(limit, start + Duration::from_secs(seconds));
        assert_eq!(after(0), None);
        assert_eq!(after(1), None);
        assert_eq!(after(2), Some(Duration::from_secs(300)));
        assert_eq!(after(100), Some(Duration::from_secs(202)));
        assert_eq!(after(302), None);
        assert_eq!(after(370), None, "a new window");
    }
}
