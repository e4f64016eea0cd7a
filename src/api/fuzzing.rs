//! What must hold of any text that a tenant may have written into a spec: one check a parser. The properties below and the
//! fuzz targets in `fuzz/` call the same checks. No part of what is shipped.

use std::sync::OnceLock;

use dbt_token_planner::schedule::{Schedule, ScheduleProblem};
use dbt_token_planner::window::Zone;
use regex::Regex;

use super::{crd, duration as durations, schema, template as templates};

/// The most that a refusal says beyond the text that it refuses.
const LONGEST_REFUSAL: usize = 400;

/// A duration: the schema and the parser take the same ones, and what is taken can be written and read again.
///
/// # Panics
/// If a promise is broken.
pub fn duration(input: &[u8]) {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let text = String::from_utf8_lossy(input);
    let pattern = PATTERN.get_or_init(|| Regex::new(schema::DURATION_PATTERN).expect("an expression"));
    // minLength 2 stands beside the expression.
    let taken_by_schema = text.chars().count() >= 2 && pattern.is_match(&text);
    match durations::parse(&text) {
        Ok(duration) => {
            assert!(taken_by_schema, "the schema refuses {text:?}");
            let written = durations::format(duration);
            // What is longer than the grammar can say in days is written all the same.
            let fits = durations::parse(&written).map_or(duration.as_secs() >= 10_000 * 86_400, |read| read == duration);
            assert!(fits, "{text:?} is written as {written:?}");
        }
        Err(error) => {
            assert!(!taken_by_schema, "the schema takes {text:?}");
            let message = error.to_string();
            assert!(!message.contains(char::is_control) && message.len() <= LONGEST_REFUSAL, "{message:?}");
        }
    }
}

/// A schedule: the schema and the parser take the same ones, but for those that never open and ranges that end before they
/// begin, which no expression can tell.
///
/// # Panics
/// If a promise is broken.
pub fn schedule(input: &[u8]) {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let text = String::from_utf8_lossy(input);
    let pattern = PATTERN.get_or_init(|| Regex::new(&schedule_pattern()).expect("an expression"));
    // The schema's rule tries the text in upper case, as CEL writes it.
    let taken_by_schema = pattern.is_match(&text.to_ascii_uppercase());
    match Schedule::parse(&text) {
        Ok(_) | Err(ScheduleProblem::Never) => assert!(taken_by_schema, "the schema refuses {text:?}"),
        Err(ScheduleProblem::Malformed) => assert!(!taken_by_schema, "the schema takes {text:?}"),
        // Another of its fields may be malformed as well.
        Err(ScheduleProblem::Backwards { .. }) => {}
    }
}

/// The pattern of the schema, as the API server puts it together.
fn schedule_pattern() -> String {
    let crd = crd::crds().into_iter().find(|crd| crd.spec.names.kind == "ServiceToken").expect("the kind is there");
    let crd = serde_json::to_string(&crd).expect("a CRD holds nothing but JSON");
    let (_, rule) = crd.split_once("self.upperAscii().matches('").expect("the rule of the schedule");
    let (rule, _) = rule.split_once("')").expect("its end");
    rule.replace("' + '", "")
}

/// The name of a time zone: one that exists can be written as it is spelled in the database.
///
/// # Panics
/// If a promise is broken.
pub fn time_zone(input: &[u8]) {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let text = String::from_utf8_lossy(input);
    let pattern = PATTERN.get_or_init(|| Regex::new(schema::TIME_ZONE_PATTERN).expect("an expression"));
    if Zone::named(&text).is_some() {
        assert!(pattern.is_match(&text) && text.len() <= 64, "{text:?}");
    }
}

/// A template: what is taken names only what the API has, and in bounds; a refusal is short and says what to do.
///
/// # Panics
/// If a promise is broken.
pub fn template(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match templates::check(&text) {
        Ok(uses_token) => {
            assert!(!uses_token || text.contains("token"), "{text:?}");
            assert!(!text.contains("{%") && !text.contains("{#"), "{text:?}");
            let insides = text.split("{{").skip(1).map(|rest| rest.split_once("}}").expect("it is closed").0);
            for inside in insides {
                assert!(inside.split('|').count() <= 1 + templates::MOST_FILTERS, "{text:?}");
            }
        }
        Err(templates::Unusable { why, remedy }) => {
            assert!(!why.contains(char::is_control) && why.len() <= LONGEST_REFUSAL, "{why:?}");
            assert!(!remedy.is_empty() && remedy.len() <= LONGEST_REFUSAL, "{remedy:?}");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::tz::TimeZoneDatabase;
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

    fn nearly_a_duration() -> impl Strategy<Value = String> {
        "([0-9]{0,5}d)?([0-9]{0,6}h)?([0-9]{0,7}m)?([0-9]{0,9}s)?[0-9dhms]?\n?"
    }

    fn nearly_a_schedule() -> impl Strategy<Value = String> {
        // A letter that only Unicode takes for an S.
        let value = prop_oneof![5 => "[0-9]{1,3}", 2 => "SUN|mon|Sat|JAN|feb|Dec|\u{17f}un|SA\u{212a}", 1 => "[a-zA-Z]{3}"];
        let range = (value.clone(), value.clone()).prop_map(|(first, last)| format!("{first}-{last}"));
        let range = prop_oneof![3 => Just("*".to_owned()), 3 => value, 2 => range];
        let item = (range, prop_oneof![2 => "", 1 => "/[0-9]{1,3}"]).prop_map(|(range, step)| range + &step);
        let field = vec(item, 1..3).prop_map(|items| items.join(","));
        (vec(field, 4..7), prop_oneof![9 => "", 1 => "\\s"]).prop_map(|(fields, end)| fields.join(" ") + &end)
    }

    /// Templates that are mostly in order.
    pub(crate) fn template() -> impl Strategy<Value = String> {
        let variable = prop_oneof![
            9 => "token|accountId|accessUrl|discoveryUrl|semanticLayerUrl|tokenId|tokenUid",
            1 => "[a-z_]{0,6}",
        ];
        let filter = prop_oneof![9 => "host|uri_component|tojson", 1 => "[a-z]{0,6}"];
        let filters = vec(filter.prop_map(|filter| format!(" | {filter}")), 0..6).prop_map(|filters| filters.concat());
        let expression = ("[-+]?", "[ \n]{0,2}", variable, filters, " ?[-+]?")
            .prop_map(|(begin, space, variable, filters, end)| format!("{{{{{begin}{space}{variable}{filters}{end}}}}}"));
        let constant = prop_oneof![6 => "[ -z\n\r\t]{0,6}", 1 => "\\PC{0,4}", 1 => "[{}%#]{1,3}"];
        vec(prop_oneof![2 => expression, 1 => constant], 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_schema_and_the_parser_take_the_same_durations(input in prop_oneof![1 => anything(), 4 => nearly_a_duration()]) {
            super::duration(input.as_bytes());
        }

        #[test]
        fn the_schema_and_the_parser_take_the_same_schedules(input in prop_oneof![1 => anything(), 4 => nearly_a_schedule()]) {
            super::schedule(input.as_bytes());
        }

        #[test]
        fn no_template_is_taken_that_is_more_than_the_api_says(input in prop_oneof![1 => anything(), 4 => template()]) {
            super::template(input.as_bytes());
        }
    }

    #[test]
    fn every_time_zone_that_exists_can_be_written() {
        let mut count = 0;
        for name in TimeZoneDatabase::bundled().available() {
            super::time_zone(name.as_str().as_bytes());
            count += 1;
        }
        assert!(count > 400, "{count}");
    }
}
