//! How fast one account may be called: a limit that all callers share, and the pause after a 429. Makes no call itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

/// Requests a minute unless the account says otherwise: half of the 5,000 that dbt allows all clients of an account
/// together `[DOC]`. Half, because a full bucket holds one minute's worth: in the worst minute it is emptied and refilled,
/// which makes 2 x 2,500 requests, and that is just what dbt allows. Going over costs every client of the account five
/// minutes.
pub const DEFAULT_REQUESTS_PER_MINUTE: u32 = 2_500;

/// The pause after a 429, while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CoolDown {
    ends: Instant,
    until: Timestamp,
}

/// A token bucket in the form of one instant (GCRA): when it will be full again. It is filled with one minute's worth of
/// requests, so that a restart or a round over many objects is not slowed down, and only a sustained rate is.
///
/// Callers wait in the order in which they came (the lock's queue is first in, first out, and the lock is held while its
/// holder waits). Dropping the future of a waiting caller gives up its place and takes nothing from the bucket.
///
/// Keep it when the account's credential or address changes: dbt's limit is the account's, not the credential's.
#[derive(Debug)]
pub struct Limiter {
    requests_per_minute: AtomicU32,
    full_again: Mutex<Option<Instant>>,
    cool_down: watch::Sender<Option<CoolDown>>,
}

impl Limiter {
    /// A limiter with a full bucket.
    pub fn new(requests_per_minute: u32) -> Self {
        Self {
            requests_per_minute: AtomicU32::new(requests_per_minute.max(1)),
            full_again: Mutex::new(None),
            cool_down: watch::Sender::new(None),
        }
    }

    /// Changes the rate, from the next caller on. 0 counts as 1.
    pub fn set_requests_per_minute(&self, requests_per_minute: u32) {
        self.requests_per_minute.store(requests_per_minute.max(1), Ordering::Relaxed);
    }

    /// Stops every caller, waiting ones included, for so long; `until` is the same moment for a person. A pause under
    /// way is made longer, never shorter.
    pub fn cool_down(&self, pause: Duration, until: Timestamp) {
        let ends = Instant::now() + pause;
        self.cool_down.send_if_modified(|current| {
            let longer = current.is_none_or(|current| current.ends < ends);
            if longer {
                *current = Some(CoolDown { ends, until });
            }
            longer
        });
    }

    /// Waits for leave to make one request.
    ///
    /// # Errors
    /// At once, with the time when the pause after a 429 ends, if there is one or as soon as one begins: a caller who
    /// waited for minutes would hold up everything behind it.
    pub async fn acquire(&self) -> Result<(), Timestamp> {
        tokio::select! {
            biased;
            until = self.pause() => Err(until),
            () = self.turn() => Ok(()),
        }
    }

    /// Ends when there is a pause, which may be never.
    async fn pause(&self) -> Timestamp {
        let mut receiver = self.cool_down.subscribe();
        let is_now = |pause: &Option<CoolDown>| pause.is_some_and(|pause| pause.ends > Instant::now());
        let found = receiver.wait_for(is_now).await.map(|pause| *pause);
        match found {
            Ok(Some(pause)) => pause.until,
            // The sender is a part of `self`, and the condition holds for `Some` alone.
            _ => std::future::pending().await,
        }
    }

    async fn turn(&self) {
        let mut full_again = self.full_again.lock().await;
        let rate = self.requests_per_minute.load(Ordering::Relaxed);
        let interval = Duration::from_secs(60) / rate;
        let burst = interval * (rate - 1);
        if let Some(full) = *full_again {
            // All but one place of the bucket may be missing; `checked_sub` since a young clock has no earlier instants.
            if let Some(due) = full.checked_sub(burst) {
                sleep_until(due).await;
            }
        }
        let now = Instant::now();
        *full_again = Some(full_again.map_or(now, |full| full.max(now)) + interval);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    fn later() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range")
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_worth_passes_at_once_and_then_the_rate_holds() {
        let limiter = Limiter::new(60);
        let start = Instant::now();
        for _ in 0..60 {
            limiter.acquire().await.expect("no pause");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for expected in 1..=3 {
            limiter.acquire().await.expect("no pause");
            let elapsed = start.elapsed();
            assert!((Duration::from_secs(expected)..Duration::from_secs(expected) + Duration::from_millis(2)).contains(&elapsed));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_minute_holds_more_than_twice_the_rate() {
        let limiter = Limiter::new(100);
        let start = Instant::now();
        let mut passed = 0;
        while start.elapsed() < Duration::from_secs(60) {
            limiter.acquire().await.expect("no pause");
            passed += 1;
        }
        assert!(passed <= 201, "{passed}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_fills_up_but_not_beyond_a_minute() {
        let limiter = Limiter::new(10);
        for _ in 0..10 {
            limiter.acquire().await.expect("no pause");
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        let start = Instant::now();
        for _ in 0..10 {
            limiter.acquire().await.expect("no pause");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        limiter.acquire().await.expect("no pause");
        assert!(start.elapsed() >= Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_pass_in_the_order_in_which_they_came() {
        let limiter = Arc::new(Limiter::new(1));
        limiter.acquire().await.expect("no pause");
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut callers = Vec::new();
        for caller in 0..5 {
            let (limiter, order) = (Arc::clone(&limiter), Arc::clone(&order));
            callers.push(tokio::spawn(async move {
                limiter.acquire().await.expect("no pause");
                order.lock().expect("no panic").push(caller);
            }));
            tokio::task::yield_now().await;
        }
        for caller in callers {
            caller.await.expect("no panic");
        }
        assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_gives_up_takes_nothing() {
        let limiter = Limiter::new(1);
        let start = Instant::now();
        limiter.acquire().await.expect("no pause");
        {
            let mut waiting = Box::pin(limiter.acquire());
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        limiter.acquire().await.expect("no pause");
        assert!(start.elapsed() < Duration::from_secs(61), "the second one, not the third");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_sends_everybody_away_at_once_and_ends() {
        let limiter = Arc::new(Limiter::new(1));
        limiter.acquire().await.expect("no pause");
        let waiting = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.acquire().await }
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        limiter.cool_down(Duration::from_secs(300), later());
        assert_eq!(waiting.await.expect("no panic"), Err(later()));
        assert_eq!(limiter.acquire().await, Err(later()));
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(limiter.acquire().await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_never_made_shorter() {
        let limiter = Limiter::new(10);
        limiter.cool_down(Duration::from_secs(300), later());
        limiter.cool_down(Duration::from_secs(1), Timestamp::UNIX_EPOCH);
        assert_eq!(limiter.acquire().await, Err(later()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_counts_from_the_next_caller_on() {
        let limiter = Limiter::new(1);
        limiter.set_requests_per_minute(0);
        limiter.acquire().await.expect("no pause");
        limiter.set_requests_per_minute(60);
        let start = Instant::now();
        limiter.acquire().await.expect("no pause");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
