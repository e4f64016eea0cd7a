//! Proves from the logs of both sides that a token was created, then tried, and only then published.

use serde_json::Value;

use super::Error;
use crate::site::operator::LoggedEffect;

/// Checks the order for one token; gives the effects from the first that belongs to it.
///
/// # Errors
/// What is not so.
pub(super) fn check(requests: &[Value], effects: &[LoggedEffect], token_id: i64) -> Result<Vec<LoggedEffect>, Error> {
    let is_create = |request: &&Value| {
        let path = request["path"].as_str().unwrap_or_default();
        request["method"] == "POST" && path.ends_with("/service-tokens/") && is_success(request)
    };
    let created = requests.iter().rfind(is_create).map(|request| time(&request["time"]));
    let tried = requests
        .iter()
        .find(|request| request["token_id"].as_i64() == Some(token_id) && is_success(request))
        .map(|request| time(&request["time"]));
    let of_token = |word: &str| {
        effects
            .iter()
            .find(|effect| effect.effect == word && effect.token_id == Some(token_id))
            .map(|effect| sortable(&effect.time))
    };
    let steps = [
        ("created in dbt", created),
        ("tried with a call of its own", tried),
        ("proved, by the operator's log", of_token("prove")),
        ("published, by the operator's log", of_token("project")),
    ];
    let mut earlier: Option<(&str, String)> = None;
    for (what, time) in steps {
        let time = time.ok_or_else(|| Error::NotTrue(format!("token {token_id} was {what}")))?;
        if let Some((before, earlier)) = earlier
            && earlier >= time
        {
            return Err(Error::NotTrue(format!("token {token_id} was {before} before it was {what}")));
        }
        earlier = Some((what, time));
    }
    let begin = effects.iter().rposition(|effect| effect.effect == "open").unwrap_or_default();
    Ok(effects[begin..].to_vec())
}

fn is_success(request: &Value) -> bool {
    request["status"].as_u64().is_some_and(|status| (200..300).contains(&status))
}

fn time(value: &Value) -> String {
    sortable(value.as_str().unwrap_or_default())
}

/// RFC 3339 in UTC with nine digits of the second, so that two of them compare as text.
fn sortable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(method: &str, token_id: i64, status: u16, second: &str) -> Value {
        json!({"method": method, "path": "/api/v3/accounts/1/service-tokens/", "token_id": token_id, "status": status,
            "time": format!("2026-11-24T10:00:{second}Z")})
    }

    fn effect(word: &str, token_id: Option<i64>, second: &str) -> LoggedEffect {
        LoggedEffect { time: format!("2026-11-24T10:00:{second}Z"), effect: word.to_owned(), token_id }
    }

    #[test]
    fn a_token_that_was_published_before_it_was_tried_is_found() {
        let effects = [effect("open", None, "01"), effect("prove", Some(7), "04.5"), effect("project", Some(7), "05")];
        let good = [request("POST", 1, 201, "02"), request("GET", 7, 200, "04.123456789")];
        let found = check(&good, &effects, 7).expect("the order is right");
        assert_eq!(found.len(), 3);
        let late = [request("POST", 1, 201, "02"), request("GET", 7, 200, "04.6")];
        assert!(check(&late, &effects, 7).is_err());
        assert!(check(&good[..1], &effects, 7).is_err());
        let refused = [request("POST", 1, 201, "02"), request("GET", 7, 403, "03")];
        assert!(check(&refused, &effects, 7).is_err());
    }
}
