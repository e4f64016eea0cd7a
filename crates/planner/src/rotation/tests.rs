//! When an aged token is due, and which window it takes.

use super::*;
use crate::schedule::Schedule;
use crate::window::Zone;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn policy(days: u64, windows: &[(&str, u64)]) -> RotationPolicy {
    let window = |(schedule, hours): &(&str, u64)| Window {
        schedule: Schedule::parse(schedule).expect("a schedule"),
        length: Duration::from_secs(hours * 3600),
        zone: Zone::utc(),
    };
    RotationPolicy {
        maximum_age: Some(Duration::from_secs(days * 86_400)),
        windows: windows.iter().map(window).collect(),
        ..RotationPolicy::default()
    }
}

fn owner(number: usize) -> OwnerUid {
    OwnerUid::new(format!("6f1c{number:04x}-8d0e-4b7e-9c55-0242ac12{number:04x}"))
}

#[test]
fn the_due_time_lies_in_the_last_tenth_and_is_spread_evenly_over_it() {
    let born = time("2026-08-26T10:00:00.5Z");
    let mut parts = [0; 10];
    for number in 0..1000 {
        let due = due(born, Duration::from_secs(90 * 86_400), &owner(number));
        let age = due.as_second() - born.as_second();
        assert!((81 * DAY..90 * DAY).contains(&age) && due.subsec_nanosecond() == 0, "{age}");
        parts[usize::try_from((age - 81 * DAY) * 10 / (9 * DAY)).expect("a part")] += 1;
        assert_eq!(due, super::due(born, Duration::from_secs(90 * 86_400), &owner(number)), "it moves");
    }
    assert!(parts.iter().all(|count| (70..=130).contains(count)), "{parts:?}");
    let youngest = due(born, Duration::from_secs(3600), &owner(1));
    assert!((3240..3600).contains(&(youngest.as_second() - born.as_second())));
    assert_eq!(due(born, Duration::MAX, &owner(1)), Timestamp::MAX);
    assert!(due(Timestamp::MIN, Duration::from_secs(3600), &owner(1)) > Timestamp::MIN);
}

/// A change of this time would rotate tokens early when the operator is updated.
#[test]
fn the_due_time_is_the_same_in_every_version() {
    let due = due(
        time("2026-08-26T10:00:00Z"),
        Duration::from_secs(90 * 86_400),
        &OwnerUid::new("6f1c0001-8d0e-4b7e-9c55-0242ac120001"),
    );
    assert_eq!(due, time("2026-11-15T18:24:06Z"));
}

#[test]
fn without_a_limit_no_age_is_too_old() {
    assert_eq!(RotationPolicy::default().starts_at(Timestamp::MIN, &owner(1)), None);
}

/// The start for a token of 26 August 2026 that may become 90 days old, so that it is due between 15 and 24 November.
#[track_caller]
fn starts(windows: &[(&str, u64)], expected: impl Fn(Timestamp) -> Timestamp) {
    let born = time("2026-08-26T10:00:00Z");
    for number in 0..50 {
        let due = due(born, Duration::from_secs(90 * 86_400), &owner(number));
        assert_eq!(policy(90, windows).starts_at(born, &owner(number)), Some(expected(due)), "due {due}");
    }
}

#[test]
fn an_aged_token_takes_the_window_that_keeps_its_age() {
    let after = |due: Timestamp, openings: &[&str]| openings.iter().map(|opening| time(opening)).find(|opening| *opening >= due);
    starts(&[], |due| due);
    starts(&[("* * * * *", 1)], |due| due);
    // Saturdays: the first one after the due time, if the age is not reached by then; else the one before.
    let saturdays = ["2026-11-14T02:00:00Z", "2026-11-21T02:00:00Z"];
    starts(&[("0 2 * * SAT", 4)], |due| {
        let is_open = due >= time(saturdays[1]) && due < time("2026-11-21T06:00:00Z");
        if is_open { due } else { after(due, &saturdays).unwrap_or(time(saturdays[1])) }
    });
    // No window in the last tenth: the last one before it.
    starts(&[("0 2 1 * *", 4)], |_| time("2026-11-01T02:00:00Z"));
    starts(&[("0 2 1 9,12 *", 4)], |_| time("2026-09-01T02:00:00Z"));
    // None in all its life: the next one.
    starts(&[("0 2 1 1 *", 4)], |_| time("2027-01-01T02:00:00Z"));
    // Several windows count together.
    starts(&[("0 2 1 1 *", 4), ("0 2 1 * *", 4)], |_| time("2026-11-01T02:00:00Z"));
}

/// A token that was made in a window must not be due in that same window by the rule of the last one before the due time.
#[test]
fn no_token_is_replaced_in_the_window_in_which_it_was_made() {
    let rare = policy(1, &[("0 2 * * SAT", 4)]);
    for number in 0..200 {
        let owner = owner(number);
        let mut born = time("2026-11-21T02:00:00Z");
        for _ in 0..20 {
            let start = rare.starts_at(born, &owner).expect("a limit");
            assert!(start.as_second() - born.as_second() >= 20 * HOUR, "{born} {start}");
            born = start;
        }
    }
}
