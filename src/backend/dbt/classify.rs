//! What an answer, or the lack of one, means. Pure: makes no call and reads no clock.

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::credential::PREFIX;
use super::held::is_of_the_alphabet;
use super::http::{Answer, Failure};
use super::wire::{self, ErrorEnvelope};
use crate::backend::ErrorClass;

/// The pause after a 429 that does not say how long: dbt's documented cool-down `[DOC]`.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(5 * 60);
/// The longest pause that a 429 can bring about. A server that says more is taken at an hour: a wrong clock there must not
/// stop the operator for a day.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);
/// The shortest, so that `Retry-After: 0` does not become a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// Characters of dbt's words that are passed on. Conditions hold them, and etcd objects must stay small.
pub(super) const MESSAGE_LIMIT: usize = 512;
/// Bytes of the body of an error that is looked into. dbt's have some hundred; what is read of a long one can take many
/// times its own size in memory.
const ERROR_LIMIT: usize = 64 * 1024;

/// From this length on, what begins like a string of today's form is taken for one.
const SUSPECT_LENGTH: usize = 40;
/// What stands for what is not shown.
const WITHHELD: &str = "[withheld]";

/// Whether an exchange changes something at dbt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing changes.
    None,
    /// Something may change, so no answer means not knowing.
    Change,
}

/// An exchange that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) class: ErrorClass,
    /// For a person; no secrets, no control characters, bounded.
    pub(super) detail: String,
    /// Whether the same request may do better in a moment.
    pub(super) is_passing: bool,
    /// Whether dbt itself said that the object is not there (a 404 in its own words).
    pub(super) is_not_found: bool,
    /// How long nobody may call the account.
    pub(super) pause: Option<Duration>,
}

impl Problem {
    pub(super) fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into(), is_passing: false, is_not_found: false, pause: None }
    }

    /// An answer that makes no sense. After a change nobody knows what it did.
    pub(super) fn senseless(effect: Effect, detail: impl Into<String>) -> Self {
        let class = match effect {
            Effect::None => ErrorClass::Malformed,
            Effect::Change => ErrorClass::Ambiguous,
        };
        Self::new(class, detail)
    }

    fn passing(effect: Effect, detail: String) -> Self {
        let class = match effect {
            Effect::None => ErrorClass::Unavailable,
            Effect::Change => ErrorClass::Ambiguous,
        };
        Self { is_passing: true, ..Self::new(class, detail) }
    }
}

/// Judges a missing answer.
pub(super) fn judge_failure(failure: Failure, effect: Effect) -> Problem {
    match failure {
        Failure::NotSent(words) => Problem { is_passing: true, ..Problem::new(ErrorClass::Unavailable, plain(&words)) },
        Failure::Lost(words) => Problem::passing(effect, plain(&words)),
        Failure::TooLarge => Problem::senseless(effect, "the answer is larger than the limit"),
    }
}

/// Judges an answer: `Ok` for 2xx, a problem for all else. `secret` is what the request was authorised with; it is kept
/// out of the detail even if the other side repeats it.
///
/// A 4xx in dbt's own words (its envelope, other JSON, or no body) is a clear refusal: nothing was changed. Any other body,
/// an HTML page above all, is the word of something in between, which may also have replaced the answer to a change that
/// was carried out.
pub(super) fn judge(answer: &Answer, effect: Effect, secret: &str, now: Timestamp) -> Result<(), Problem> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let host = answer.location_host.as_deref().map_or_else(|| "nowhere".to_owned(), |host| plain(&without(host, secret)));
        return Err(Problem::senseless(effect, format!("{status}: redirected to {host}, which is not followed")));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(throttled(answer.retry_after.as_deref(), now));
    }
    let words = Words::of(answer, secret);
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return Err(Problem::passing(effect, words.sentence(status)));
    }
    if !status.is_client_error() {
        return Err(Problem::senseless(effect, format!("{status} is not an answer that this call can have")));
    }
    if words.is_foreign {
        let detail = format!("{status} with a body that is not dbt's");
        return Err(Problem { is_passing: false, ..Problem::passing(effect, detail) });
    }
    Err(refused(status, &words))
}

/// 4xx in dbt's words.
fn refused(status: StatusCode, words: &Words) -> Problem {
    let said = words.message.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|text| said.contains(text));
    let class = match status {
        // The text of the locked case was seen only as "about unpaid accounts" [OBS]; the other words are [ASSUMED].
        StatusCode::UNAUTHORIZED if says(&["unpaid", "locked", "trial"]) => ErrorClass::AccountLocked,
        StatusCode::UNAUTHORIZED => ErrorClass::CredentialRefused,
        StatusCode::FORBIDDEN if words.is_ip_restriction || says(&["access denied"]) => ErrorClass::IpRefused,
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => ErrorClass::Denied,
        _ => ErrorClass::Rejected { message: words.text(status) },
    };
    let is_not_found = status == StatusCode::NOT_FOUND && words.is_envelope;
    Problem { is_not_found, ..Problem::new(class, words.sentence(status)) }
}

/// What the body of an error says.
struct Words {
    message: String,
    details: String,
    is_foreign: bool,
    is_envelope: bool,
    is_ip_restriction: bool,
}

impl Words {
    fn of(answer: &Answer, secret: &str) -> Self {
        if answer.body.len() > ERROR_LIMIT {
            return Self::foreign();
        }
        let envelope = wire::read::<ErrorEnvelope>(&answer.body).ok();
        let is_json = envelope.is_some() || wire::read::<serde::de::IgnoredAny>(&answer.body).is_ok();
        let is_empty = answer.body.iter().all(u8::is_ascii_whitespace);
        let message = envelope.as_ref().and_then(|envelope| envelope.status.as_ref()?.user_message.clone());
        let data = envelope.as_ref().map_or(&Value::Null, |envelope| &envelope.data);
        Self {
            message: without(message.as_deref().unwrap_or_default(), secret),
            details: without(&details(data), secret),
            is_foreign: !is_json && !is_empty,
            is_envelope: envelope.as_ref().is_some_and(|envelope| envelope.status.is_some()),
            is_ip_restriction: data.get("account_access_denied") == Some(&Value::Bool(true)),
        }
    }

    fn foreign() -> Self {
        let (message, details) = (String::new(), String::new());
        Self { message, details, is_foreign: true, is_envelope: false, is_ip_restriction: false }
    }

    /// dbt's words for the user, with the details of the fields that it complains about.
    fn text(&self, status: StatusCode) -> String {
        let text = match (self.message.is_empty(), self.details.is_empty()) {
            (true, true) => format!("{status} without a reason"),
            (false, true) => self.message.clone(),
            (true, false) => self.details.clone(),
            (false, false) => format!("{} ({})", self.message, self.details),
        };
        plain(&text)
    }

    fn sentence(&self, status: StatusCode) -> String {
        match (self.is_foreign, self.message.is_empty() && self.details.is_empty()) {
            (true, _) => format!("{status} with a body that is not dbt's"),
            (false, true) => status.to_string(),
            (false, false) => plain(&format!("{status}: {}", self.text(status))),
        }
    }
}

/// `data.reason` alone if it is there, else every field with its complaint `[OBS]`.
fn details(data: &Value) -> String {
    let Value::Object(fields) = data else { return String::new() };
    if let Some(reason) = fields.get("reason").and_then(Value::as_str) {
        return reason.to_owned();
    }
    let complaint = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            (!texts.is_empty()).then(|| texts.join(" "))
        }
        _ => None,
    };
    let named = fields.iter().filter_map(|(field, value)| Some(format!("{field}: {}", complaint(value)?)));
    named.collect::<Vec<_>>().join("; ")
}

fn throttled(retry_after: Option<&str>, now: Timestamp) -> Problem {
    let pause = retry_after.and_then(|text| read_retry_after(text, now)).unwrap_or(COOL_DOWN);
    let pause = pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let until = after(now, pause);
    let class = ErrorClass::Throttled { until };
    let detail = format!("429: dbt's request limit was passed; nothing is sent until {until:.0}");
    Problem { pause: Some(pause), ..Problem::new(class, detail) }
}

/// A moment so long after another; the end of time if there is none.
pub(super) fn after(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// Whole seconds, or an HTTP date.
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The text without a secret that it may repeat.
pub(super) fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, WITHHELD) }
}

/// Control and direction characters, and such as have no width.
pub(super) fn is_odd(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text without anything that looks like a string of today's form, or like most of one: whoever answers in dbt's place
/// may repeat one that we do not have at hand.
pub(super) fn withheld(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(PREFIX) {
        let run = rest[begin..].bytes().take_while(|byte| is_of_the_alphabet(*byte)).count();
        let is_shown = run < SUSPECT_LENGTH;
        shown.push_str(&rest[..begin]);
        shown.push_str(if is_shown { &rest[begin..begin + run] } else { WITHHELD });
        rest = &rest[begin + run..];
    }
    if rest.len() == text.len() { Cow::Borrowed(text) } else { Cow::Owned(shown + rest) }
}

/// Somebody else's words made fit for a condition or a log: strings of tokens are withheld, control and direction characters
/// become spaces, and the rest is cut.
pub(super) fn plain(text: &str) -> String {
    let text = withheld(text);
    let cleaned: String = text.chars().map(|letter| if is_odd(letter) { ' ' } else { letter }).collect();
    let cleaned = cleaned.trim();
    match cleaned.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &cleaned[..end]),
        None => cleaned.to_owned(),
    }
}

#[cfg(test)]
#[path = "tests/classify.rs"]
mod tests;
