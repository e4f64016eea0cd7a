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
