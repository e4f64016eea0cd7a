//! Whether a creation was sent again by itself when its answer was lost. Nothing else may make a second token of one attempt
//! so soon: whoever looks again first waits, and then finds the token of the first.

use std::collections::BTreeMap;

use serde_json::Value;

/// The operator waits at least so long after a failure of dbt; its client repeats a call sooner.
const SOONEST_RETRY: f64 = 2.0;

/// Between the arrival of a creation and the token: the time for which a slow dbt holds each call.
const LONGEST_CREATION: f64 = 1.0;

const DAY: f64 = 24.0 * 60.0 * 60.0;

/// The tokens that were made a second time, as sentences. A name stands for one attempt, since it ends in its serial.
pub(super) fn repeated(tokens: &[Value], requests: &[Value]) -> Vec<String> {
    let creations = requests.iter().filter(|it| it["method"] == "POST" && it["fault"] == "drop_after");
    let creations = creations.filter(|it| it["path"].as_str().is_some_and(|path| path.ends_with("/service-tokens/")));
    let lost: Vec<f64> = creations.filter_map(|it| second_of_day(&it["time"])).collect();
    let mut made: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for token in tokens.iter().filter(|token| !token["created_by"].is_null()) {
        let (Some(name), Some(at)) = (token["name"].as_str(), second_of_day(&token["created_at"])) else { continue };
        made.entry(name).or_default().push(at);
    }
    let was_lost = |at: f64| lost.iter().any(|arrived| since(*arrived, at) < LONGEST_CREATION);
    let is_repetition = |pair: &[f64]| since(pair[0], pair[1]) < SOONEST_RETRY && was_lost(pair[0]);
    let twice = made.into_iter().filter(|(_, times)| times.windows(2).any(is_repetition));
    twice.map(|(name, _)| format!("a creation was sent again when its answer was lost: {name}")).collect()
}

/// Seconds from one time of day to the next such time of another.
fn since(earlier: f64, later: f64) -> f64 {
    (later - earlier).rem_euclid(DAY)
}

/// Of a time as the emulator writes it, `2026-11-24T07:40:00.25Z`.
fn second_of_day(time: &Value) -> Option<f64> {
    let (_, clock) = time.as_str()?.strip_suffix('Z')?.split_once('T')?;
    let mut parts = clock.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(name: &str, time: &str) -> Value {
        json!({"name": name, "created_at": format!("2026-11-24T{time}Z"), "created_by": 1})
    }

    fn lost(time: &str) -> Value {
        let path = "/api/v3/accounts/1/service-tokens/";
        json!({"method": "POST", "path": path, "fault": "drop_after", "time": format!("2026-11-24T{time}Z")})
    }

    #[test]
    fn only_what_the_client_sent_again_counts() {
        let check = |times: [&str; 2], requests: &[Value], expected: usize| {
            let found = repeated(&[token("a 5", times[0]), token("a 5", times[1]), token("b 5", times[1])], requests);
            assert_eq!(found.len(), expected, "{times:?} {requests:?}");
        };
        check(["07:40:00.25", "07:40:01.5"], &[lost("07:40:00.249")], 1);
        check(["07:40:00.25", "07:40:01.5"], &[lost("07:39:59.8")], 1);
        check(["23:59:59.5", "00:00:00.75"], &[lost("23:59:59.4")], 1);
        check(["07:40:00.25", "07:40:02.5"], &[lost("07:40:00.249")], 0);
        check(["07:40:00.25", "07:40:01.5"], &[lost("07:39:50")], 0);
        check(["07:40:00.25", "07:40:01.5"], &[lost("07:40:00.3")], 0);
        check(["07:40:00.25", "07:40:01.5"], &[], 0);
        let late = json!({"fault": "late_effect", "time": "2026-11-24T07:40:00.2Z"});
        check(["07:40:00.25", "07:40:01.5"], &[late], 0);
    }

    #[test]
    fn a_token_that_somebody_else_made_is_no_attempt() {
        let by_hand = |time| json!({"name": "x", "created_at": format!("2026-11-24T{time}Z"), "created_by": null});
        assert!(repeated(&[by_hand("07:40:00"), by_hand("07:40:01")], &[lost("07:40:00")]).is_empty());
    }
}
