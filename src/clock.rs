//! The clock: the only place that asks the system for the time. Everything else is given a time, or this.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time. Cheap to clone; clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Runtime { start: Timestamp, started: Instant },
    Hand(Hand),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `start` now and goes on with tokio's own clock, which a simulation may pause and move.
    pub fn of_the_runtime(start: Timestamp) -> Self {
        Self(Source::Runtime { start, started: Instant::now() })
    }

    /// A clock that stands until its hand is moved, for tests.
    pub fn standing_at(time: Timestamp) -> (Self, Hand) {
        let hand = Hand(Arc::new(Mutex::new(time)));
        (Self(Source::Hand(hand.clone())), hand)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Runtime { start, started } => start.checked_add(started.elapsed()).unwrap_or(Timestamp::MAX),
            Source::Hand(hand) => hand.time(),
        }
    }
}

/// The hand of a clock that stands.
#[derive(Clone, Debug)]
pub struct Hand(Arc<Mutex<Timestamp>>);

impl Hand {
    /// Moves the clock forward. At the end of time it stands still.
    pub fn forward(&self, by: Duration) {
        let mut time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *time = time.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    fn time(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stands_until_its_hand_is_moved() {
        let start = Timestamp::from_second(1_790_000_000).expect("a time");
        let (clock, hand) = Clock::standing_at(start);
        assert_eq!(clock.now(), start);
        hand.forward(Duration::from_secs(90));
        assert_eq!(clock.now(), Timestamp::from_second(1_790_000_090).expect("a time"));
        hand.forward(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_the_runtime_goes_with_it() {
        let start = Timestamp::from_second(1_790_000_000).expect("a time");
        let clock = Clock::of_the_runtime(start);
        assert_eq!(clock.now(), start);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), Timestamp::from_second(1_790_000_090).expect("a time"));
    }

    #[test]
    fn the_systems_clock_goes_on() {
        let clock = Clock::system();
        let before = clock.now();
        assert!(clock.now() >= before);
    }
}
