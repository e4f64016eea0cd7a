//! One call with everything around it: the account's limit, the repetition of what may be repeated, the count and the
//! log line. Knows no operation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode, Uri};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use super::classify::{Effect, Problem, judge, judge_failure};
use super::credential::secret_of;
use super::http::{Answer, Connection, Request, Transport};
use super::limiter::Limiter;
use crate::backend::ErrorClass;

/// How often a request that may be repeated is repeated. With the delays below and 30 s a call, a call that fails for good
/// takes at most about 95 s.
const REPETITIONS: u32 = 2;
/// Delay before the first repetition; doubled for each further one. Short, since the reconciler has a backoff of its own:
/// this one only has to outlast a restarting proxy.
pub const REPETITION_DELAY: Duration = Duration::from_secs(1);

/// Tells the time; the callers of this crate's clock are elsewhere.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Is told of every exchange. Must be quick, and must not block.
pub trait Meter: Send + Sync {
    /// One exchange ended. `operation` is a fixed word such as `list_tokens`; `outcome` is `success` or the word of an
    /// [`ErrorClass`]; `duration` is without the wait for the limiter.
    fn exchange(&self, operation: &'static str, outcome: &'static str, duration: Duration);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmetered;

impl Meter for Unmetered {
    fn exchange(&self, _: &'static str, _: &'static str, _: Duration) {}
}

/// What a call is, apart from its address.
#[derive(Debug)]
pub(super) struct Route {
    /// The word for metrics.
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// The path for logs, without ids.
    pub(super) template: &'static str,
    pub(super) effect: Effect,
    /// Whether it may be sent again when it is not known to have arrived.
    pub(super) may_repeat: bool,
}

/// A call to be made.
pub(super) struct Call {
    pub(super) route: &'static Route,
    pub(super) uri: Uri,
    pub(super) body: Option<Vec<u8>>,
}

/// Makes calls.
pub(super) struct Caller {
    pub(super) transport: Transport,
    pub(super) limiter: Arc<Limiter>,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) now: Now,
    pub(super) repetition_delay: Duration,
    /// Source of the spread of delays: different for each, the same in each run.
    pub(super) spread: AtomicU64,
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Caller").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl Caller {
    /// Makes a call, again if it may be repeated and the trouble is of the passing kind. A 429 is never repeated: it stops
    /// everybody.
    pub(super) async fn call(&self, call: &Call, authorization: &HeaderValue) -> Result<Answer, Problem> {
        let mut repetition = 0;
        loop {
            match self.once(call, authorization).await {
                Err(problem) if problem.is_passing && call.route.may_repeat && repetition < REPETITIONS => {
                    tokio::time::sleep(self.delay(repetition)).await;
                    repetition += 1;
                }
                result => return result,
            }
        }
    }

    /// Makes a call exactly once.
    pub(super) async fn once(&self, call: &Call, authorization: &HeaderValue) -> Result<Answer, Problem> {
        let route = call.route;
        if let Err(until) = self.limiter.acquire().await {
            let detail = format!("dbt's request limit was passed; nothing is sent until {until:.0}");
            return Err(Problem::new(ErrorClass::Throttled { until }, detail));
        }
        let connection = if route.may_repeat { Connection::Shared } else { Connection::Fresh };
        let request =
            Request { method: route.method.clone(), uri: call.uri.clone(), authorization, body: call.body.clone(), connection };
        let begun = Instant::now();
        let (status, result) = match self.transport.exchange(request).await {
            Ok(answer) => {
                let judged = judge(&answer, route.effect, secret_of(authorization), (self.now)());
                (Some(answer.status), judged.map(|()| answer))
            }
            Err(failure) => (None, Err(judge_failure(failure, route.effect))),
        };
        if let Err(Problem { class: ErrorClass::Throttled { until }, pause: Some(pause), .. }) = &result {
            self.limiter.cool_down(*pause, *until);
        }
        let outcome = result.as_ref().map_or_else(|problem| problem.class.word(), |_| "success");
        let duration = begun.elapsed();
        self.meter.exchange(route.operation, outcome, duration);
        debug!(
            operation = route.operation,
            method = %route.method,
            path = route.template,
            status = status.map(|status: StatusCode| status.as_u16()),
            outcome,
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            "called dbt"
        );
        result
    }

    /// One to one and a half times the delay of this repetition, so that objects that failed together do not come back
    /// together. Not random: nobody has to be unable to foretell it.
    fn delay(&self, repetition: u32) -> Duration {
        let seed = self.spread.fetch_add(1, Ordering::Relaxed);
        let percent = 100 + scatter(seed) % 51;
        let delay = self.repetition_delay * 2u32.pow(repetition);
        delay * u32::try_from(percent).unwrap_or(100) / 100
    }
}

/// Spreads consecutive numbers over all of `u64` (the finisher of SplitMix64).
fn scatter(seed: u64) -> u64 {
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}
