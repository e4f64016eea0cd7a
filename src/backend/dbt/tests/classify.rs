//! The table of what each answer means.

use hyper::StatusCode;
use zeroize::Zeroizing;

use super::*;

const SECRET: &str = "dbtc_SECRETSECRET";

fn now() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().expect("valid")
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).expect("valid"),
        location_host: None,
        retry_after: None,
        body: Zeroizing::new(body.as_bytes().to_vec()),
    }
}

fn problem(status: u16, body: &str, effect: Effect) -> Problem {
    judge(&answer(status, body), effect, SECRET, now()).expect_err("a problem")
}

fn envelope(message: &str, data: &str) -> String {
    format!(r#"{{"status":{{"code":0,"is_success":false,"user_message":"{message}","developer_message":null}},"data":{data}}}"#)
}

const HTML: &str = "<html><head><title>502</title></head></html>";
const NOT_FOUND: &str = "The requested resource was not found. Please check that you have the proper permissions.";
const INVALID: &str = "The request was invalid. Please double check the provided data and try again.";

#[test]
fn every_answer_has_its_class() {
    let denied = r#"{"account_id":1,"user_id":null,"is_service_token":true,"account_access_denied":true}"#;
    let table = [
        (401, envelope("Invalid token.", "null"), "credential_refused", "credential_refused"),
        (401, String::new(), "credential_refused", "credential_refused"),
        (401, r#"{"errors":[{"message":"Unauthenticated"}]}"#.to_owned(), "credential_refused", "credential_refused"),
        (401, envelope("Token has expired.", "null"), "credential_refused", "credential_refused"),
        (401, envelope("This account is unpaid.", "null"), "account_locked", "account_locked"),
        (401, envelope("Account is LOCKED", "{}"), "account_locked", "account_locked"),
        (401, envelope("Your trial has ended.", "null"), "account_locked", "account_locked"),
        (401, HTML.to_owned(), "unavailable", "ambiguous"),
        (403, envelope("Forbidden: Access denied", denied), "ip_refused", "ip_refused"),
        (403, envelope("Forbidden", denied), "ip_refused", "ip_refused"),
        (403, envelope("Forbidden: Access denied", "null"), "ip_refused", "ip_refused"),
        (403, envelope("Forbidden", "null"), "denied", "denied"),
        (403, HTML.to_owned(), "unavailable", "ambiguous"),
        (404, envelope(NOT_FOUND, "null"), "denied", "denied"),
        (404, String::new(), "denied", "denied"),
        (404, HTML.to_owned(), "unavailable", "ambiguous"),
        (404, "page not found".to_owned(), "unavailable", "ambiguous"),
        (400, envelope(INVALID, "null"), "rejected", "rejected"),
        (400, HTML.to_owned(), "unavailable", "ambiguous"),
        (405, envelope("Method not allowed.", "null"), "rejected", "rejected"),
        (409, envelope("Conflict", "null"), "rejected", "rejected"),
        (422, r#"{"detail":"x"}"#.to_owned(), "rejected", "rejected"),
        (408, String::new(), "unavailable", "ambiguous"),
        (429, String::new(), "throttled", "throttled"),
        (429, HTML.to_owned(), "throttled", "throttled"),
        (500, envelope("Oops", "null"), "unavailable", "ambiguous"),
        (500, HTML.to_owned(), "unavailable", "ambiguous"),
        (502, HTML.to_owned(), "unavailable", "ambiguous"),
        (503, String::new(), "unavailable", "ambiguous"),
        (504, HTML.to_owned(), "unavailable", "ambiguous"),
        (301, String::new(), "malformed", "ambiguous"),
        (302, HTML.to_owned(), "malformed", "ambiguous"),
        (304, String::new(), "malformed", "ambiguous"),
        (307, String::new(), "malformed", "ambiguous"),
    ];
    for (status, body, of_a_read, of_a_change) in table {
        assert_eq!(problem(status, &body, Effect::None).class.word(), of_a_read, "{status} {body}");
        assert_eq!(problem(status, &body, Effect::Change).class.word(), of_a_change, "{status} {body}");
    }
    for status in [200, 201, 204] {
        assert_eq!(judge(&answer(status, ""), Effect::Change, SECRET, now()), Ok(()), "{status}");
    }
}

#[test]
fn only_passing_trouble_is_worth_a_repetition() {
    for (status, body, is_passing) in [
        (500, "", true),
        (502, HTML, true),
        (408, "", true),
        (429, "", false),
        (404, HTML, false),
        (400, "", false),
        (302, "", false),
    ] {
        assert_eq!(problem(status, body, Effect::None).is_passing, is_passing, "{status}");
    }
}

#[test]
fn a_lost_answer_is_ambiguous_only_if_something_was_sent() {
    let class = |failure: Failure, effect| judge_failure(failure, effect).class.word();
    let lost = || Failure::Lost("connection closed".to_owned());
    let not_sent = || Failure::NotSent("tcp connect error".to_owned());
    assert_eq!(class(not_sent(), Effect::None), "unavailable");
    assert_eq!(class(not_sent(), Effect::Change), "unavailable");
    assert_eq!(class(lost(), Effect::None), "unavailable");
    assert_eq!(class(lost(), Effect::Change), "ambiguous");
    assert_eq!(class(Failure::TooLarge, Effect::None), "malformed");
    assert_eq!(class(Failure::TooLarge, Effect::Change), "ambiguous");
}

#[test]
fn only_dbts_own_404_says_that_something_is_not_there() {
    assert!(problem(404, &envelope(NOT_FOUND, "null"), Effect::None).is_not_found);
    for (status, body) in [(404, ""), (404, HTML), (404, "{}"), (404, r#"{"detail":"x"}"#)] {
        assert!(!problem(status, body, Effect::None).is_not_found, "{status} {body}");
    }
    assert!(!problem(403, &envelope(NOT_FOUND, "null"), Effect::None).is_not_found);
}

#[test]
fn the_user_reads_dbts_reasons() {
    let check = |data: &str, expected: &str| {
        let ErrorClass::Rejected { message } = problem(400, &envelope("No.", data), Effect::Change).class else {
            panic!("another class");
        };
        assert_eq!(message, expected, "{data}");
    };
    check("null", "No.");
    check("{}", "No.");
    check(r#"{"reason":"too long"}"#, "No. (too long)");
    check(r#"{"name":["This field is required.","Really."],"plan":"x"}"#, "No. (name: This field is required. Really.; plan: x)");
    check(r#"{"name":[],"other":{"nested":1}}"#, "No.");
    check(r#""text""#, "No.");
    let silent = problem(400, "{}", Effect::Change);
    assert_eq!(silent.class, ErrorClass::Rejected { message: "400 Bad Request without a reason".to_owned() });
}

#[test]
fn foreign_words_are_cleaned_and_cut() {
    let odd = envelope("a\\u0000b\\u001b[31mc\\u202ed\\ne", "null");
    let detail = problem(400, &odd, Effect::None).detail;
    assert_eq!(detail, "400 Bad Request: a b [31mc d e");
    let long = "é".repeat(5000);
    let detail = problem(400, &envelope(&long, &format!(r#"{{"reason":"{long}"}}"#)), Effect::None).detail;
    assert_eq!(detail.chars().count(), MESSAGE_LIMIT + 1);
    assert!(detail.ends_with('…'));
}

#[test]
fn the_credential_is_never_repeated() {
    let data = format!(r#"{{"reason":"bad {SECRET}"}}"#);
    for status in [400, 401, 403, 404, 500] {
        let problem = problem(status, &envelope(&format!("Token {SECRET} is bad"), &data), Effect::None);
        assert!(!format!("{problem:?}").contains(SECRET), "{problem:?}");
        assert!(problem.detail.contains("[withheld]"), "{problem:?}");
    }
}

#[test]
fn no_string_of_todays_form_is_repeated() {
    let string = format!("dbtc_{}", "a_-4".repeat(12) + "zz");
    assert_eq!(string.len(), 55);
    for (text, expected) in [
        (format!("Token {string}, please"), "Token [withheld], please".to_owned()),
        (format!("x{string}{string}y {}", &string[..40]), "x[withheld] [withheld]".to_owned()),
        (string[..39].to_owned(), string[..39].to_owned()),
        ("dbtc_dbtc_ and dbtc_".to_owned(), "dbtc_dbtc_ and dbtc_".to_owned()),
        ("dbtc_é".to_owned(), "dbtc_é".to_owned()),
    ] {
        assert_eq!(plain(&text), expected, "{text}");
    }
}

#[test]
fn a_redirect_names_its_host() {
    let mut redirect = answer(302, "");
    redirect.location_host = Some("elsewhere.example".to_owned());
    let problem = judge(&redirect, Effect::None, SECRET, now()).expect_err("a problem");
    assert_eq!(problem.detail, "302 Found: redirected to elsewhere.example, which is not followed");
    redirect.location_host = Some(format!("{SECRET}.example"));
    let problem = judge(&redirect, Effect::None, SECRET, now()).expect_err("a problem");
    assert_eq!(problem.detail, "302 Found: redirected to [withheld].example, which is not followed");
}

#[test]
fn a_429_says_how_long_or_five_minutes() {
    let check = |retry_after: Option<&str>, seconds: i64| {
        let mut limited = answer(429, "");
        limited.retry_after = retry_after.map(str::to_owned);
        let problem = judge(&limited, Effect::Change, SECRET, now()).expect_err("a problem");
        let until = now() + SignedDuration::from_secs(seconds);
        assert_eq!(problem.class, ErrorClass::Throttled { until }, "{retry_after:?}");
        assert_eq!(problem.pause, Some(Duration::from_secs(seconds.unsigned_abs())), "{retry_after:?}");
    };
    check(None, 300);
    check(Some("17"), 17);
    check(Some(" 17 "), 17);
    check(Some("Tue, 24 Nov 2026 08:02:00 GMT"), 120);
    check(Some("Tue, 24 Nov 2026 07:00:00 GMT"), 1);
    check(Some("0"), 1);
    check(Some("99999999999999"), 3600);
    check(Some("soon"), 300);
    check(Some("-5"), 300);
    check(Some(""), 300);
}
