//! What must hold of any text that a stranger may have written and the planner reads: one check a parser. The properties
//! below and the fuzz targets in `fuzz/` call the same checks. No part of what is shipped.

use std::time::Duration;

use jiff::Timestamp;

use crate::identity::{Installation, OwnerUid, Serial};
use crate::mark::{Mark, Origin};
use crate::schedule::Schedule;
use crate::window::{self, Window, Zone};

/// 2026-11-24T07:40:00Z.
const NOW_SECONDS: i64 = 1_795_506_000;

/// The longest word of a mark: an installation and an owner are values of labels.
const LONGEST_WORD: usize = 63;

/// A token's name, which everybody may write who may rename tokens in dbt.
///
/// # Panics
/// If a promise is broken.
pub fn mark(input: &[u8]) {
    let name = String::from_utf8_lossy(input);
    if let Some(mark) = Mark::parse(&name) {
        assert!(name.ends_with(&mark.to_string()), "a mark has a second spelling: {name:?}");
        assert!(mark.serial.0 > 0, "{mark}");
        for word in [mark.installation.as_str(), mark.owner.as_str()] {
            assert!(word.len() <= LONGEST_WORD && word.bytes().all(|byte| byte.is_ascii_graphic()), "{word:?}");
        }
    }
    let origin = if input.len().is_multiple_of(2) { Origin::Made } else { Origin::Adopted };
    let ours =
        Mark { installation: Installation::new("here"), owner: OwnerUid::new("uid-1"), serial: Serial(NOW_SECONDS), origin };
    assert_eq!(Mark::parse(&ours.name(&name)), Some(ours), "what stands before our mark hides it: {name:?}");
}

/// A schedule in cron fields.
///
/// # Panics
/// If a promise is broken.
pub fn schedule(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let schedule = match Schedule::parse(&text) {
        Ok(schedule) => schedule,
        Err(problem) => {
            let message = problem.to_string();
            assert!(message.len() <= 100 + text.len() && !message.contains(char::is_control), "{message:?}");
            assert!(!problem.remedy().is_empty());
            return;
        }
    };
    let is_of_the_grammar = |byte: u8| byte.is_ascii_alphanumeric() || b" *,-/".contains(&byte);
    assert!(text.bytes().all(is_of_the_grammar), "{text:?}");
    for other in [text.to_ascii_uppercase(), text.to_ascii_lowercase()] {
        assert_eq!(Schedule::parse(&other).as_ref(), Ok(&schedule), "{other:?}");
    }
    let now = Timestamp::from_second(NOW_SECONDS).expect("a time in range");
    for zone in ["UTC", "Europe/Berlin", "Australia/Lord_Howe"] {
        let zone = Zone::named(zone).expect("a zone that is compiled in");
        opens(&text, &Window { schedule: schedule.clone(), length: Duration::from_secs(900), zone }, now);
    }
    let times: Vec<_> = schedule.times().collect();
    assert!(times.is_sorted() && !times.is_empty(), "{text:?}");
}

/// A schedule that is taken opens, and its openings are in order.
fn opens(text: &str, window: &Window, now: Timestamp) {
    let next = window.next_opening(now).expect(text);
    assert!(next >= now, "{text:?} opens at {next}");
    assert_eq!((window.next_opening(next), window.last_opening(next)), (Some(next), Some(next)), "{text:?}");
    let last = window.last_opening(now).expect(text);
    assert!(last <= now, "{text:?} opened at {last}");
    if window.zone == Zone::utc() {
        let civil = jiff::tz::TimeZone::UTC.to_datetime(next);
        assert!(window.schedule.matches(civil.date()), "{text:?} opens at {next}");
        assert!(window.schedule.times().any(|time| time == (civil.hour(), civil.minute())), "{text:?} opens at {next}");
    }
    let open_until = window::open_until(std::slice::from_ref(window), now);
    assert!(open_until.is_none_or(|end| end > now), "{text:?} {open_until:?}");
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
    use proptest::test_runner::RngSeed;

    /// The seed is fixed, so that a red run can be repeated.
    fn config() -> ProptestConfig {
        ProptestConfig {
            cases: 1000,
            rng_seed: RngSeed::Fixed(20_261_124),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    fn anything() -> impl Strategy<Value = String> {
        let bytes = vec(any::<u8>(), 0..80).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        prop_oneof![bytes, "\\PC{0,40}"]
    }

    /// Names that are nearly marked.
    fn nearly_marked() -> impl Strategy<Value = String> {
        let word = prop_oneof![4 => "[a-z0-9-]{1,8}", 1 => "\\PC{0,4}", 1 => "[\\x00-\\x1f]{1,2}", 1 => "[a-z]{60,70}"];
        let serial = prop_oneof![3 => "[1-9][0-9]{0,9}", 1 => "[+-]?[0-9]{0,20}"];
        let end = prop_oneof![4 => "", 2 => " adopted", 1 => " ?[a-z]{0,8}"];
        let shown = prop_oneof!["\\PC{0,8}", "\\[[a-z ]{0,8}\\]?"];
        (shown, "dbt-token-operator|[a-z-]{0,20}", word.clone(), word, (serial, end)).prop_map(
            |(shown, prefix, installation, owner, (serial, end))| {
                format!("{shown}[{prefix} {installation} {owner} {serial}{end}]")
            },
        )
    }

    fn field() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            3 => "[0-9]{1,2}",
            1 => "SUN|mon|Sat|JAN|feb|Dec",
            1 => "[a-zA-Z\u{17f}]{3}",
        ];
        let range = prop_oneof![3 => Just("*".to_owned()), 3 => value.clone(), 2 => (value.clone(), value).prop_map(|(a, b)| format!("{a}-{b}"))];
        let item = (range, prop_oneof![2 => "", 1 => "/[0-9]{1,2}"]).prop_map(|(range, step)| range + &step);
        vec(item, 1..3).prop_map(|items| items.join(","))
    }

    fn nearly_a_schedule() -> impl Strategy<Value = String> {
        // Days at the end of short months, which some schedules never meet.
        let never = "[0-9] [0-9] (28|29|30|31)(,3[01])? (2|FEB|4|feb,JUN)(,SEP|-4)? [*](/1)?";
        prop_oneof![3 => vec(field(), 4..7).prop_map(|fields| fields.join(" ")), 1 => never]
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn no_name_is_read_as_a_mark_that_is_none(input in prop_oneof![1 => anything(), 3 => nearly_marked()]) {
            super::mark(input.as_bytes());
        }

        #[test]
        fn no_schedule_is_read_that_does_not_open(input in prop_oneof![1 => anything(), 4 => nearly_a_schedule()]) {
            super::schedule(input.as_bytes());
        }
    }
}
