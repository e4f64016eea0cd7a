//! The one rule by which a token counts as legacy.

use jiff::Timestamp;

/// The first moment that is not legacy: 2023-07-19T00:00:00Z.
///
/// dbt asks to rotate tokens created on or before 18 July 2023, by the date that its page shows. The time zone of that page
/// is not documented; this is the reading in UTC, which is also how the API gives the times [ASSUMED].
const BOUNDARY_SECONDS: i64 = 1_689_724_800;

/// Whether a token that was created at this time counts as legacy: on or before 18 July 2023 (UTC).
pub fn is_legacy(created_at: Timestamp) -> bool {
    created_at.as_second() < BOUNDARY_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(created_at: &str, expected: bool) {
        assert_eq!(is_legacy(created_at.parse().expect("a time")), expected, "{created_at}");
    }

    #[test]
    fn the_boundary_is_the_end_of_18_july_2023_in_utc_to_the_microsecond() {
        check("2023-07-18T00:00:00Z", true);
        check("2023-07-18T23:59:59.999999Z", true);
        check("2023-07-18T23:59:59.999999999Z", true);
        check("2023-07-19T00:00:00Z", false);
        check("2023-07-19T00:00:00.000001Z", false);
    }

    #[test]
    fn offsets_are_read_as_the_moment_that_they_mean() {
        check("2023-07-19T01:59:59.999999+02:00", true);
        check("2023-07-18T12:00:00-12:00", false);
    }

    #[test]
    fn times_before_1970_and_far_ahead_are_judged_as_well() {
        check("1969-12-31T23:59:59.5Z", true);
        check("2026-11-24T07:40:00Z", false);
    }
}
