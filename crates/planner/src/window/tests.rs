//! Openings in zones whose clocks change, at the ends of what is searched, and of several windows together.

use super::*;

fn window(schedule: &str, minutes: u64, zone: &str) -> Window {
    Window {
        schedule: Schedule::parse(schedule).expect("a schedule"),
        length: Duration::from_secs(minutes * 60),
        zone: Zone::named(zone).expect("a zone"),
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The opening at the first time or after it, and the one at the second time or before it.
#[track_caller]
fn opens(window: &Window, after: &str, next: &str, before: &str, last: &str) {
    assert_eq!(window.next_opening(time(after)), Some(time(next)), "after {after}");
    assert_eq!(window.last_opening(time(before)), Some(time(last)), "before {before}");
}

#[test]
fn a_window_opens_by_the_clock_of_its_zone() {
    let saturday = window("0 2 * * SAT", 240, "Europe/Berlin");
    opens(&saturday, "2026-11-24T07:40:00Z", "2026-11-28T01:00:00Z", "2026-11-24T07:40:00Z", "2026-11-21T01:00:00Z");
    opens(&saturday, "2026-11-28T01:00:00Z", "2026-11-28T01:00:00Z", "2026-11-28T01:00:00Z", "2026-11-28T01:00:00Z");
    opens(&saturday, "2026-11-28T01:00:00.000000001Z", "2026-12-05T01:00:00Z", "2026-11-28T00:59:59.9Z", "2026-11-21T01:00:00Z");
    opens(&saturday, "2026-07-01T00:00:00Z", "2026-07-04T00:00:00Z", "2026-07-01T00:00:00Z", "2026-06-27T00:00:00Z");
    // A day begins at another moment in each zone.
    opens(
        &window("30 0 1 * *", 15, "Pacific/Auckland"),
        "2026-11-24T07:40:00Z",
        "2026-11-30T11:30:00Z",
        "2026-11-24T07:40:00Z",
        "2026-10-31T11:30:00Z",
    );
}

#[test]
fn in_a_skipped_hour_it_opens_at_the_first_moment_after_it() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
    for skipped in ["0 2 * * *", "30 2 * * *", "59 2 * * *", "*/5 2 * * *"] {
        let window = window(skipped, 60, "Europe/Berlin");
        opens(&window, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T12:00:00Z", "2026-03-29T01:00:00Z");
        opens(&window, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z");
        assert!(window.next_opening(time("2026-03-29T01:00:01Z")) >= Some(time("2026-03-30T00:00:00Z")), "{skipped}");
    }
    opens(
        &window("0 3 * * *", 60, "Europe/Berlin"),
        "2026-03-28T12:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T12:00:00Z",
        "2026-03-29T01:00:00Z",
    );
    // Apia has no 30 December 2011 at all.
    opens(
        &window("0 12 30 12 *", 60, "Pacific/Apia"),
        "2011-12-01T00:00:00Z",
        "2011-12-30T10:00:00Z",
        "2011-12-31T00:00:00Z",
        "2011-12-30T10:00:00Z",
    );
}

#[test]
fn in_a_repeated_hour_it_opens_once_at_the_first() {
    // Berlin goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
    let half_past = window("30 2 * * *", 15, "Europe/Berlin");
    opens(&half_past, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T12:00:00Z", "2026-10-25T00:30:00Z");
    opens(&half_past, "2026-10-25T00:30:01Z", "2026-10-26T01:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z");
    // While the clocks show 02:10 for the second time, 02:30 has opened already.
    opens(&half_past, "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T00:30:00Z");
    let quarters = window("*/15 2 * * *", 15, "Europe/Berlin");
    opens(&quarters, "2026-10-25T00:46:00Z", "2026-10-26T01:00:00Z", "2026-10-25T01:10:00Z", "2026-10-25T00:45:00Z");
    assert_eq!(open_until(&[quarters], time("2026-10-25T01:10:00Z")), None);
}

#[test]
fn the_rarest_date_is_found_and_nothing_is_searched_without_end() {
    let leap = window("0 0 29 2 *", 60, "UTC");
    opens(&leap, "2024-02-29T00:00:01Z", "2028-02-29T00:00:00Z", "2028-02-28T23:59:59Z", "2024-02-29T00:00:00Z");
    opens(&leap, "2096-02-29T00:00:01Z", "2104-02-29T00:00:00Z", "2104-02-28T23:59:59Z", "2096-02-29T00:00:00Z");
    for window in [leap, window("* * * * *", 15, "Pacific/Kiritimati"), window("0 0 31 12 *", 15, "Pacific/Pago_Pago")] {
        assert!(window.next_opening(Timestamp::MIN).is_some() && window.last_opening(Timestamp::MAX).is_some());
        assert!(window.next_opening(Timestamp::MAX).is_none_or(|opening| opening == Timestamp::MAX));
        assert!(window.last_opening(Timestamp::MIN).is_none_or(|opening| opening == Timestamp::MIN));
    }
}

/// Every opening of some weeks around a change of clocks, against the plainest reading of the rule: the first minute at which
/// the clocks show the time or a later one.
#[test]
fn openings_are_the_first_moments_at_which_clocks_show_the_time() {
    for (zone, from) in [
        ("Europe/Berlin", "2026-03-20T00:00:00Z"),
        ("America/Sao_Paulo", "2018-10-30T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-03-28T00:00:00Z"),
        ("America/St_Johns", "2026-10-25T00:00:00Z"),
    ] {
        for schedule in ["17 2 * * *", "*/20 0-3 * * *", "30 1 * * SUN"] {
            let window = window(schedule, 15, zone);
            let first = time(from).as_second();
            let moments: Vec<i64> = (first..first + 14 * 86_400).step_by(60).collect();
            let shown = |second: i64| window.zone.zone.to_datetime(Timestamp::from_second(second).expect("a time"));
            let mut latest = DateTime::MIN;
            let latest: Vec<DateTime> = moments
                .iter()
                .map(|second| {
                    latest = latest.max(shown(*second));
                    latest
                })
                .collect();
            let days = successive(shown(first).date(), |date| date.tomorrow().ok()).take(16);
            let mut plain: Vec<i64> = Vec::new();
            for date in days.filter(|date| window.schedule.matches(*date)) {
                for (hour, minute) in window.schedule.times() {
                    let wanted = date.at(hour, minute, 0, 0);
                    let place = latest.partition_point(|shown| *shown < wanted);
                    plain.extend(moments.get(place).filter(|_| place > 0));
                }
            }
            plain.dedup();
            let mut found = Vec::new();
            let mut after = first + 1;
            while let Some(opening) = window.next_opening(Timestamp::from_second(after).expect("a time")).map(|it| it.as_second())
                && opening <= first + 14 * 86_400 - 60
            {
                assert_eq!(
                    window.last_opening(Timestamp::from_second(opening).expect("a time")).map(|it| it.as_second()),
                    Some(opening)
                );
                found.push(opening);
                after = opening + 1;
            }
            assert_eq!(found, plain, "{schedule} in {zone}");
        }
    }
}

#[track_caller]
fn open(windows: &[Window], now: &str, expected: Option<&str>) {
    assert_eq!(open_until(windows, time(now)), expected.map(time), "{now}");
}

#[test]
fn several_windows_are_open_together() {
    let nights = [window("0 1 * * *", 60, "UTC"), window("30 1 * * *", 60, "UTC"), window("30 2 * * *", 15, "UTC")];
    open(&nights, "2026-11-24T00:59:59Z", None);
    open(&nights, "2026-11-24T01:00:00Z", Some("2026-11-24T02:45:00Z"));
    open(&nights, "2026-11-24T02:44:59Z", Some("2026-11-24T02:45:00Z"));
    open(&nights, "2026-11-24T02:45:00Z", None);
    open(&[], "2026-11-24T01:00:00Z", None);
    assert_eq!(next_opening(&nights, time("2026-11-24T01:10:00Z")), Some(time("2026-11-24T01:30:00Z")));
    assert_eq!(last_opening(&nights, time("2026-11-24T01:10:00Z")), Some(time("2026-11-24T01:00:00Z")));
    assert_eq!(next_opening(&[], time("2026-11-24T01:10:00Z")), None);
    // What is always open is followed to the end of the day.
    let always = [window("*/15 * * * *", 15, "UTC")];
    open(&always, "2026-11-24T01:07:00Z", Some("2026-11-25T00:00:00Z"));
    open(&always, "2026-11-24T23:59:59Z", Some("2026-11-25T00:00:00Z"));
    open(&[window("0 2 * * SAT", 7 * 24 * 60, "UTC")], "2026-11-24T01:07:00Z", Some("2026-11-25T00:00:00Z"));
    // The end is real time: four hours after the opening, whatever the clocks do in between.
    open(&[window("0 1 * * *", 240, "Europe/Berlin")], "2026-03-29T00:30:00Z", Some("2026-03-29T04:00:00Z"));
}
