//! Waiting for a condition with a limit: the one place of this crate that sleeps.

use std::time::{Duration, Instant};

/// Asks `condition` every `interval` until it answers `Some`, or gives `None` once `limit` is over.
///
/// It is always asked at least once, also with a limit of zero.
#[must_use]
pub fn until<T>(limit: Duration, interval: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(interval);
    }
}

/// A duration as people say it: `0.42 s`, `12.3 s`, `5 min 20 s`.
#[must_use]
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", duration.as_secs_f64()),
        10..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_even_when_no_time_is_left() {
        assert_eq!(until(Duration::ZERO, Duration::ZERO, || Some(1)), Some(1));
        assert_eq!(until::<()>(Duration::ZERO, Duration::ZERO, || None), None);
    }

    #[test]
    fn durations_are_spoken() {
        let check = |millis, expected| assert_eq!(spoken(Duration::from_millis(millis)), expected);
        check(420, "0.42 s");
        check(12_340, "12.3 s");
        check(320_000, "5 min 20 s");
    }
}
