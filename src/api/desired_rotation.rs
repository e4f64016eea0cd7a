//! Reads when a token is replaced. Bounds are judged again here, since an object may have been stored under an older schema,
//! and a wrong one would make tokens without end.

use std::time::Duration;

use dbt_token_planner::desired::Refusal;
use dbt_token_planner::rotation::{LegacyPolicy, RotationPolicy};
use dbt_token_planner::schedule::Schedule;
use dbt_token_planner::window::{Window, Zone};

use super::desired::{invalid, read_duration};
use super::duration;
use super::v1alpha1::{self as api, Rotation, RotationWindow};

/// The youngest and the oldest `maxAge`.
const AGES: (Duration, Duration) = (Duration::from_secs(60 * 60), Duration::from_secs(3650 * 24 * 60 * 60));

/// The shortest and the longest window.
const WINDOWS: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(7 * 24 * 60 * 60));

/// The policy, with the defaults filled in.
///
/// # Errors
/// [`Refusal::InvalidSpec`] for what no schema can judge: a schedule that never opens, a range that ends before it begins, a
/// time zone that does not exist.
pub(super) fn rotation(rotation: Option<&Rotation>) -> Result<RotationPolicy, Refusal> {
    let Some(rotation) = rotation else { return Ok(RotationPolicy::default()) };
    let maximum_age = rotation.max_age.as_deref().map(|age| between("rotation.maxAge", age, AGES)).transpose()?;
    let windows = rotation.windows.iter().flatten().enumerate();
    Ok(RotationPolicy {
        legacy: match rotation.legacy {
            Some(api::LegacyPolicy::Report) => LegacyPolicy::Report,
            Some(api::LegacyPolicy::Rotate) | None => LegacyPolicy::Rotate,
        },
        maximum_age,
        windows: windows.map(|(place, window)| read_window(place, window)).collect::<Result<_, _>>()?,
    })
}

fn read_window(place: usize, window: &RotationWindow) -> Result<Window, Refusal> {
    let field = |name: &str| format!("rotation.windows[{place}].{name}");
    let schedule = Schedule::parse(&window.schedule)
        .map_err(|problem| invalid(field("schedule"), format!("{:?}: {problem}", window.schedule), problem.remedy()))?;
    let zone = match window.time_zone.as_deref() {
        None => Zone::utc(),
        Some(name) => Zone::named(name).ok_or_else(|| {
            let remedy = "write a name of the IANA time zone database, for example Europe/Berlin or UTC";
            invalid(field("timeZone"), format!("there is no time zone {name:?}"), remedy)
        })?,
    };
    Ok(Window { schedule, length: between(&field("duration"), &window.duration, WINDOWS)?, zone })
}

fn between(field: &str, text: &str, (shortest, longest): (Duration, Duration)) -> Result<Duration, Refusal> {
    let read = read_duration(field, Some(text), Duration::ZERO)?;
    if (shortest..=longest).contains(&read) {
        return Ok(read);
    }
    let remedy = format!("write a time between {} and {}", duration::format(shortest), duration::format(longest));
    Err(invalid(field, format!("{text} is too short or too long"), remedy))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use dbt_token_planner::schedule::ScheduleProblem;

    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn read(declared: Value) -> Result<RotationPolicy, Refusal> {
        let declared: Rotation = serde_json::from_value(declared).expect("a rotation");
        rotation(Some(&declared))
    }

    #[test]
    fn what_is_left_out_gets_the_defaults() {
        let expected = RotationPolicy { legacy: LegacyPolicy::Rotate, maximum_age: None, windows: Vec::new() };
        assert_eq!(rotation(None), Ok(expected.clone()));
        assert_eq!(read(json!({})), Ok(expected.clone()));
        assert_eq!(read(json!({"legacy": "Rotate", "windows": []})), Ok(expected));
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let window = json!({"schedule": "0 2 * * SAT", "duration": "4h", "timeZone": "Europe/Berlin"});
        let policy =
            read(json!({"legacy": "Report", "maxAge": "90d", "windows": [window, {"schedule": "0 3 * * *", "duration": "15m"}]}));
        let policy = policy.expect("valid");
        assert_eq!((policy.legacy, policy.maximum_age), (LegacyPolicy::Report, Some(90 * DAY)));
        let expected = Window {
            schedule: Schedule::parse("0 2 * * SAT").expect("a schedule"),
            length: 4 * HOUR,
            zone: Zone::named("Europe/Berlin").expect("a zone"),
        };
        assert_eq!(policy.windows[0], expected);
        assert_eq!((policy.windows[1].length, &policy.windows[1].zone), (HOUR / 4, &Zone::utc()));
        for bounds in [json!({"maxAge": "1h"}), json!({"maxAge": "3650d"})] {
            assert!(read(bounds.clone()).is_ok(), "{bounds}");
        }
    }

    #[track_caller]
    fn refuses(declared: Value, expected: &str) {
        match read(declared) {
            Err(Refusal::InvalidSpec { field, why, remedy }) => assert_eq!(format!("{field}: {why}; {remedy}"), expected),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_schema_can_judge_is_refused_at_its_field() {
        let window = |schedule: &str, zone: &str| json!({"windows": [{"schedule": "* * * * *", "duration": "15m"}, {"schedule": schedule, "duration": "15m", "timeZone": zone}]});
        refuses(
            window("0 2 30 2 *", "UTC"),
            "rotation.windows[1].schedule: \"0 2 30 2 *\": no date matches it, so that it never opens; write a day that one of \
             its months has, for example '0 2 28 2 *'",
        );
        refuses(
            window("0 22-5 * * *", "UTC"),
            "rotation.windows[1].schedule: \"0 22-5 * * *\": the range 22-5 ends before it begins; write it as two ranges, for \
             example 22-23,0-5",
        );
        for name in ["Europe/Belin", "Local", "Mars/Olympus_Mons"] {
            refuses(
                window("0 2 * * *", name),
                &format!(
                    "rotation.windows[1].timeZone: there is no time zone \"{name}\"; write a name of the IANA time zone database, \
                     for example Europe/Berlin or UTC"
                ),
            );
        }
    }

    #[test]
    fn an_object_stored_under_an_older_schema_is_refused_rather_than_guessed() {
        let age = |text: &str| json!({"maxAge": text});
        refuses(age("59m59s"), "rotation.maxAge: 59m59s is too short or too long; write a time between 1h and 3650d");
        refuses(age("3650d1s"), "rotation.maxAge: 3650d1s is too short or too long; write a time between 1h and 3650d");
        let remedy = "write whole numbers with the units d, h, m, s in this order, for example 90d, 12h or 1h30m";
        refuses(age("3 months"), &format!("rotation.maxAge: \"3 months\" is not a duration; {remedy}"));
        let long = |text: &str| json!({"windows": [{"schedule": "0 2 * * *", "duration": text}]});
        for text in ["0s", "14m59s", "7d1s"] {
            let why = format!("{text} is too short or too long; write a time between 15m and 7d");
            refuses(long(text), &format!("rotation.windows[0].duration: {why}"));
        }
        let malformed = json!({"windows": [{"schedule": "@daily", "duration": "15m"}]});
        refuses(
            malformed,
            "rotation.windows[0].schedule: \"@daily\": it is not made of five cron fields; write minute, hour, day, month and \
             weekday with one blank between, for example '0 2 * * SAT'",
        );
    }

    #[test]
    fn the_parser_takes_the_schedules_that_the_schema_takes() {
        let mut texts = vec![String::new()];
        for _ in 0..3 {
            let longer = texts.iter().flat_map(|text| "0123679*/-,".chars().map(move |next| format!("{text}{next}")));
            texts = longer.chain(["".to_owned(), "?".to_owned(), " ".to_owned()]).collect();
            texts.extend(
                [
                    "SAT",
                    "sun",
                    "\u{17f}un",
                    "JAN",
                    "dec",
                    "Mon-fri",
                    "FEB,APR/3",
                    "10-20/5",
                    "59",
                    "60",
                    "24",
                    "32",
                    "*/10",
                    "*/99",
                ]
                .map(str::to_owned),
            );
        }
        let (mut taken, mut refused) = (0, 0);
        for place in 0..5 {
            for text in &texts {
                let mut fields = ["*"; 5];
                fields[place] = text;
                let schedule = fields.join(" ");
                crate::api::fuzzing::schedule(schedule.as_bytes());
                let parsed = Schedule::parse(&schedule) != Err(ScheduleProblem::Malformed);
                *if parsed { &mut taken } else { &mut refused } += 1;
            }
        }
        assert!(taken > 500 && refused > 500, "{taken} were taken, {refused} refused");
    }

    /// Every zone that a static image must have is compiled in; there is no file to read it from.
    #[test]
    fn the_zones_of_the_world_are_compiled_in() {
        for name in
            ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Asia/Kathmandu", "Pacific/Apia"]
        {
            assert!(Zone::named(name).is_some(), "{name}");
        }
    }
}
