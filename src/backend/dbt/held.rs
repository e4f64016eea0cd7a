//! Finding the string of a token in what a Secret holds: the bare string, or a text with exactly one string of today's form.
//! A text is never cut anywhere else, and a string that was put together around a uid is no string of today's form.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::credential::{LENGTH, PREFIX, is_sendable};
use crate::token::TokenString;

/// What a text holds.
pub enum HeldString {
    /// One string.
    One(TokenString),
    /// No string that could be one.
    None,
    /// So many different strings of today's form.
    Several(usize),
}

/// The string in a text: the only one of today's form, written as it is or with percent encoding (as in a URI); else the
/// whole text, if it can be sent at all and holds nothing that begins like a string of today's form. White space around the
/// text does not count.
pub fn find_string(text: &TokenString) -> HeldString {
    let text = text.expose().trim();
    let decoded = decoded(text);
    let found: BTreeSet<&str> = strings_of_today(text).chain(strings_of_today(&decoded)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.len()) {
        (Some(string), 0) => HeldString::One(own(string)),
        (Some(_), others) => HeldString::Several(others + 1),
        (None, _) if is_sendable(text) && !text.contains(PREFIX) && !decoded.contains(PREFIX) => HeldString::One(own(text)),
        (None, _) => HeldString::None,
    }
}

/// Whether a text still holds a string, however it is written.
pub fn holds(text: &TokenString, string: &TokenString) -> bool {
    let (text, string) = (text.expose(), string.expose());
    text.contains(string) || decoded(text).contains(string)
}

fn own(string: &str) -> TokenString {
    TokenString::from_wiped(Zeroizing::new(string.to_owned()))
}

/// Whether a byte can stand in a string of today's form.
pub(super) fn is_of_the_alphabet(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// The runs of letters, digits, dashes and underscores that are a string of today's form as a whole: a longer run that
/// only contains one is something else.
fn strings_of_today(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|sign: char| !u8::try_from(sign).is_ok_and(is_of_the_alphabet));
    runs.filter(|run| run.len() == LENGTH && run.starts_with(PREFIX))
}

/// The text with its percent encoding taken off. What does not decode stays as it is.
fn decoded(text: &str) -> Zeroizing<String> {
    let bytes = text.as_bytes();
    let mut plain = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut place = 0;
    while let Some(byte) = bytes.get(place) {
        let digits = bytes.get(place + 1..place + 3).filter(|_| *byte == b'%');
        let value = digits.and_then(|digits| Some(digit(digits[0])? * 16 + digit(digits[1])?));
        plain.push(value.unwrap_or(*byte));
        place += if value.is_some() { 3 } else { 1 };
    }
    Zeroizing::new(std::str::from_utf8(&plain).unwrap_or_default().to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "dbtc_a_-bC12abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";
    const OTHER: &str = "dbtc_zzzzzzzabcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";
    const OLD: &str = "9f3c0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    fn check(text: &str, expected: &str) {
        let found = match find_string(&own(text)) {
            HeldString::One(string) => string.expose().to_owned(),
            HeldString::None => "none".to_owned(),
            HeldString::Several(count) => count.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_bare_string_is_taken_as_it_is() {
        check(ONE, ONE);
        check(&format!("  {ONE}\n"), ONE);
        check(OLD, OLD);
        check(&format!("{OLD}\n"), OLD);
        check("", "none");
        check("two words", "none");
        check("é", "none");
    }

    #[test]
    fn the_one_string_of_todays_form_is_found_in_a_text() {
        check(&format!("dbt-cloud://70403103922125:{ONE}@ab123.us1.dbt.com"), ONE);
        check(&format!("dbt-cloud://7:{}@ab123.us1.dbt.com", ONE.replace('_', "%5F").replace('-', "%2d")), ONE);
        check(&format!(r#"{{"conn_type": "dbt_cloud", "password": "{ONE}", "login": "7"}}"#), ONE);
        check(&format!("A={ONE}\nB={ONE}"), ONE);
        check(&format!("A={ONE}&B={}", ONE.replace('_', "%5f")), ONE);
        check(&format!("A={ONE}\nB={OTHER}"), "2");
        check(&format!("100% {ONE}"), ONE);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        check(&format!("{ONE}x"), "none");
        check(&format!("x{ONE}"), "none");
        check(&ONE[..54], "none");
        check("dbtc_a_-bC12", "none");
        check("pass:dbtc_a_-bC12@host", "none");
        check(&format!("old:{OLD}:dbtc%5fa_-bC12"), "none");
    }

    #[test]
    fn a_string_is_found_however_it_is_written() {
        let text = |text: &str| own(text);
        assert!(holds(&text(&format!("x{ONE}x")), &text(ONE)));
        assert!(holds(&text(&ONE.replace('_', "%5F")), &text(ONE)));
        assert!(holds(&text(OLD), &text(OLD)));
        assert!(!holds(&text(OTHER), &text(ONE)));
        assert!(!holds(&text(""), &text(ONE)));
    }
}
