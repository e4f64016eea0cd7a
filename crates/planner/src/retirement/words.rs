//! Names and times as messages of waiting show them: sorted, cut, and coarse enough that a message does not change with
//! each look.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::observation::WorkloadReference;

/// So many names stand in a message.
const NAMES: usize = 5;

/// How often a message may change because time passes, in seconds.
const QUARTER_OF_AN_HOUR: i64 = 15 * 60;

/// `pod a`, `pods a and b`, `pods a, b, c, d, e and 3 more`.
pub(super) fn pods(names: &BTreeSet<&str>) -> String {
    let plural = if names.len() == 1 { "pod" } else { "pods" };
    format!("{plural} {}", list(names))
}

/// `a`, `a and b`, `a, b, c, d, e and 3 more`.
pub(crate) fn list<Name: AsRef<str>>(names: &BTreeSet<Name>) -> String {
    listed(&names.iter().collect::<Vec<_>>())
}

/// The same, in the order in which they are given.
pub(crate) fn listed<Name: AsRef<str>>(names: &[Name]) -> String {
    let mut shown: Vec<&str> = names.iter().map(AsRef::as_ref).take(NAMES).collect();
    let rest = names.len() - shown.len();
    if rest > 0 {
        return format!("{} and {rest} more", shown.join(", "));
    }
    let last = shown.pop().unwrap_or_default();
    if shown.is_empty() { last.to_owned() } else { format!("{} and {last}", shown.join(", ")) }
}

/// `Deployment airflow-scheduler`.
pub(crate) fn workload(reference: &WorkloadReference) -> String {
    format!("{} {}", reference.kind.word(), reference.name)
}

/// The quarter of an hour that a time lies in, by its beginning, to the minute.
pub(super) fn quarter(time: Timestamp) -> String {
    let seconds = time.as_second().div_euclid(QUARTER_OF_AN_HOUR).saturating_mul(QUARTER_OF_AN_HOUR);
    Timestamp::from_second(seconds).unwrap_or(time).strftime("%Y-%m-%dT%H:%MZ").to_string()
}

/// A length in the grammar of the API, such as `15m` or `1h30m`.
pub(super) fn length(length: Duration) -> String {
    let mut seconds = length.as_secs();
    let mut text = String::new();
    for (name, unit) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = seconds / unit;
        seconds %= unit;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_cut_after_five() {
        for (names, expected) in [
            (&["a"][..], "pod a"),
            (&["b", "a"], "pods a and b"),
            (&["c", "b", "a"], "pods a, b and c"),
            (&["e", "d", "c", "b", "a"], "pods a, b, c, d and e"),
            (&["f", "e", "d", "c", "b", "a"], "pods a, b, c, d, e and 1 more"),
            (&["h", "g", "f", "e", "d", "c", "b", "a", "a"], "pods a, b, c, d, e and 3 more"),
        ] {
            assert_eq!(pods(&names.iter().copied().collect()), expected);
        }
    }

    #[test]
    fn a_time_changes_once_in_a_quarter_of_an_hour() {
        for (time, expected) in [
            ("2026-11-24T07:30:00Z", "2026-11-24T07:30Z"),
            ("2026-11-24T07:44:59.9Z", "2026-11-24T07:30Z"),
            ("2026-11-24T07:45:00Z", "2026-11-24T07:45Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:45Z"),
        ] {
            assert_eq!(quarter(time.parse().expect("a time")), expected);
        }
        assert_eq!(quarter(Timestamp::MAX), "9999-12-30T22:00Z");
        assert_eq!(quarter(Timestamp::MIN), Timestamp::MIN.strftime("%Y-%m-%dT%H:%MZ").to_string());
    }

    #[test]
    fn lengths_are_written_as_they_are_declared() {
        for (seconds, expected) in [(0, "0s"), (900, "15m"), (5400, "1h30m"), (86_461, "1d1m1s")] {
            assert_eq!(length(Duration::from_secs(seconds)), expected);
        }
    }
}
