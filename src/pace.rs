//! How often the same thing may be written for its own sake. Two processes that see things differently, or a report that
//! says something else with each look, would write without end otherwise; a simulation of two processes that both believed
//! to lead showed a hundred writes a second.

use std::time::Duration;

use jiff::Timestamp;

/// So many writes may follow each other at once: more than the life of one token has.
const BURST: u32 = 20;

/// After that, one in this time.
const INTERVAL: Duration = Duration::from_secs(5);

/// The pace of one thing. It is harmless to lose it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace(Option<Timestamp>);

impl Pace {
    /// When the next write is due; `None` if it is due now.
    pub fn due(self, now: Timestamp) -> Option<Timestamp> {
        let due = self.0?.checked_sub(INTERVAL * (BURST - 1)).unwrap_or(Timestamp::MIN);
        (due > now).then_some(due)
    }

    /// Something was written.
    pub fn note(&mut self, now: Timestamp) {
        let before = self.0.map_or(now, |full_again| full_again.max(now));
        self.0 = Some(before.checked_add(INTERVAL).unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_the_pace_holds() {
        let start = Timestamp::from_second(1_790_000_000).expect("a time");
        let mut pace = Pace::default();
        for written in 0..BURST {
            assert_eq!(pace.due(start), None, "{written}");
            pace.note(start);
        }
        let next = start + INTERVAL;
        assert_eq!(pace.due(start), Some(next));
        assert_eq!(pace.due(next), None);
        pace.note(next);
        assert_eq!(pace.due(next), Some(next + INTERVAL));
        assert_eq!(pace.due(start + INTERVAL * 1000), None, "who rested may have another burst");
    }
}
