//! Timestamps as text in seeds and in the control API (jiff is built without serde here).

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes RFC 3339.
pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// Writes RFC 3339 or null.
pub(crate) fn serialize_option<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// Reads a timestamp with offset, or a date, which stands for its first instant in UTC.
pub(crate) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    parse(&text).map(Some).ok_or_else(|| D::Error::custom(format!("\"{text}\" is not a time")))
}

fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let date: Date = text.parse().ok()?;
        date.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_forms_of_a_time_are_read() {
        for (text, expected) in [
            ("2023-07-18", Some("2023-07-18T00:00:00Z")),
            ("2023-07-18T23:59:59.999999Z", Some("2023-07-18T23:59:59.999999Z")),
            ("2023-07-18 10:00:00.000001+00:00", Some("2023-07-18T10:00:00.000001Z")),
            ("yesterday", None),
        ] {
            assert_eq!(parse(text).map(|time| time.to_string()).as_deref(), expected, "{text}");
        }
    }
}
