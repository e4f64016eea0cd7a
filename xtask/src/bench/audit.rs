//! Counts requests in the audit log of the API server.

use std::collections::BTreeMap;

use serde_json::Value;

/// One finished request.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) user: String,
    pub(super) verb: String,
    /// With the subresource behind a slash.
    pub(super) resource: String,
    pub(super) namespace: String,
    /// Microseconds of the day of receipt and of the answer.
    pub(super) received: u64,
    pub(super) answered: u64,
}

/// The entries behind the first `skip` bytes of a log.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    text.lines().filter_map(|line| entry(&serde_json::from_str(line).ok()?)).collect()
}

fn entry(event: &Value) -> Option<Entry> {
    let object = &event["objectRef"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let subresource = text(&object["subresource"]);
    let slash = if subresource.is_empty() { "" } else { "/" };
    Some(Entry {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        resource: format!("{}{slash}{subresource}", text(&object["resource"])),
        namespace: text(&object["namespace"]),
        received: microseconds(event["requestReceivedTimestamp"].as_str()?)?,
        answered: microseconds(event["stageTimestamp"].as_str()?)?,
    })
}

/// How often each verb was used on each resource.
pub(super) fn counts<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry((entry.verb.clone(), entry.resource.clone())).or_default() += 1;
    }
    counts
}

/// The time of day in `2026-11-24T09:56:52.138664Z`.
fn microseconds(time: &str) -> Option<u64> {
    let time = time.split_once('T')?.1.trim_end_matches('Z');
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let seconds = clock.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    let fraction: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(seconds * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_and_counted() {
        let line = r#"{"user":{"username":"u"},"verb":"patch","objectRef":{"resource":"servicetokens","subresource":"status","namespace":"n"},"requestReceivedTimestamp":"2026-11-24T00:01:02.5Z","stageTimestamp":"2026-11-24T01:00:00.000001Z"}"#;
        let entries = entries(&format!("{line}\nnonsense\n{line}"));
        assert_eq!((entries[0].received, entries[0].answered), (62_500_000, 3_600_000_001));
        let counts = counts(entries.iter());
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(("patch".to_owned(), "servicetokens/status".to_owned()), 2)]);
    }
}
