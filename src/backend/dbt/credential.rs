//! What may be read off a token's string, and the header that carries it. Here and in `http.rs` alone a string is opened.

use dbt_token_planner::identity::TokenUid;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::token::TokenString;

/// The prefix of today's service tokens `[OBS]`.
pub(super) const PREFIX: &str = "dbtc_";
/// Length of a uid, in characters `[OBS on forty tokens]`.
const UID_LENGTH: usize = 7;
/// Length of a whole string of today's form: prefix, uid and 43 more characters `[OBS on one full answer]`.
pub(super) const LENGTH: usize = 55;

/// The longest string that can be sent: many times the longest one seen, and what any server takes in one header.
const LONGEST: usize = 4096;

/// The uid that stands in a string of today's form (`dbtc_`, seven characters of uid, 43 more, all of the base64url
/// alphabet). `None` for every other string, including tokens made up to July 2023, whose form is unknown.
///
/// The string is never split at `_` or `-`: both may occur in a uid.
pub fn credential_uid(string: &TokenString) -> Option<TokenUid> {
    let text = string.expose();
    let rest = text.strip_prefix(PREFIX)?;
    let is_of_the_alphabet = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (text.len() == LENGTH && is_of_the_alphabet).then(|| TokenUid::new(&rest[..UID_LENGTH]))
}

/// Whether a string may belong to the token of this uid. With [`credential_uid`] it is how an account finds its own
/// token in the list.
///
/// A string that starts like today's must have today's form, with the uid in its place. Any other string only has to
/// contain the uid somewhere `[ASSUMED for tokens made up to July 2023]`: a hint, since the same seven characters may occur
/// by chance, so the caller must find exactly one uid of the account in it. A uid shorter than seven characters is never
/// found: an empty one would be found in everything.
pub fn contains_uid(string: &TokenString, uid: &TokenUid) -> bool {
    let text = string.expose();
    if text.starts_with(PREFIX) {
        return credential_uid(string).is_some_and(|found| found == *uid);
    }
    uid.as_str().len() >= UID_LENGTH && text.contains(uid.as_str())
}

/// The word in front of the token in the header `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// What dbt's provider sends; Admin API and Discovery take `Token` and `Bearer` alike `[DOC]`.
    Token,
    /// What the Semantic Layer wants `[DOC]`.
    Bearer,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Token => "Token ",
            Self::Bearer => "Bearer ",
        }
    }
}

/// Whether a string can be sent at all: not empty, no longer than a header may be, and nothing but visible ASCII.
/// Deliberately no more than that, since dbt's format may change `[fact sheet, section 6]`.
pub(super) fn is_sendable(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The value of the header `Authorization`, marked sensitive, so that `Debug` hides it and HTTP/2 would not index it.
/// Its memory is wiped when the last copy of it is dropped. `None` if the string cannot be sent.
pub(super) fn authorization(scheme: Scheme, string: &TokenString) -> Option<HeaderValue> {
    let text = string.expose();
    if !is_sendable(text) {
        return None;
    }
    let mut value = Zeroizing::new(Vec::with_capacity(scheme.word().len() + text.len()));
    value.extend_from_slice(scheme.word().as_bytes());
    value.extend_from_slice(text.as_bytes());
    sensitive_header(value)
}

/// A header over memory that stays its owner's: an owned `Bytes` is taken over as it is, while anything else would be
/// copied into memory that nobody wipes.
fn sensitive_header(value: impl AsRef<[u8]> + Send + 'static) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The token inside a header made by [`authorization`], to keep it out of messages.
pub(super) fn secret_of(header: &HeaderValue) -> &str {
    header.to_str().ok().and_then(|value| value.split_once(' ')).map_or("", |(_, secret)| secret)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const TODAY: &str = "dbtc_a_-bC12abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

    fn token(text: &str) -> TokenString {
        TokenString::new(text.to_owned())
    }

    #[test]
    fn the_uid_is_read_off_strings_of_todays_form_only() {
        assert_eq!(TODAY.len(), LENGTH);
        assert_eq!(credential_uid(&token(TODAY)), Some(TokenUid::new("a_-bC12")));
        let personal = TODAY.replace("dbtc_", "dbtu_");
        for other in ["", "dbtc_", &TODAY[..54], &format!("{TODAY}x"), &TODAY.replace('z', "!"), &personal, "0123456789abcdef"] {
            assert_eq!(credential_uid(&token(other)), None, "{other}");
        }
        let not_ascii = format!("dbtc_abcdeé{}", &TODAY[12..]);
        assert_eq!(not_ascii.len(), LENGTH);
        assert_eq!(credential_uid(&token(&not_ascii)), None);
    }

    #[test]
    fn a_string_of_todays_form_must_have_the_uid_in_its_place() {
        assert!(contains_uid(&token(TODAY), &TokenUid::new("a_-bC12")));
        assert!(!contains_uid(&token(TODAY), &TokenUid::new("abcdefg")));
        assert!(!contains_uid(&token("dbtc_a_-bC12"), &TokenUid::new("a_-bC12")));
    }

    #[test]
    fn another_string_may_have_the_uid_anywhere() {
        let legacy = token("9f3c0a1b2c3d4e5f60718293a4b5c6d7e8f9");
        assert!(contains_uid(&legacy, &TokenUid::new("1b2c3d4")));
        assert!(!contains_uid(&legacy, &TokenUid::new("zzzzzzz")));
        assert!(!contains_uid(&legacy, &TokenUid::new("")));
        assert!(!contains_uid(&legacy, &TokenUid::new("9f")));
    }

    /// Tells when it is dropped, which is when a `Zeroizing` in its place is wiped.
    struct Watched(Arc<AtomicBool>);

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            b"Token x"
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_headers_memory_is_given_back_with_its_last_copy() {
        let is_gone = Arc::new(AtomicBool::new(false));
        let header = sensitive_header(Watched(Arc::clone(&is_gone))).expect("sendable");
        assert!(std::ptr::eq(header.as_bytes(), header.clone().as_bytes()), "a copy shares the memory");
        let copy = header.clone();
        drop(header);
        assert!(!is_gone.load(Ordering::SeqCst));
        drop(copy);
        assert!(is_gone.load(Ordering::SeqCst));
    }

    #[test]
    fn the_header_is_sensitive_and_refuses_what_cannot_be_sent() {
        let header = authorization(Scheme::Token, &token(TODAY)).expect("sendable");
        assert_eq!(header.as_bytes(), format!("Token {TODAY}").as_bytes());
        assert!(header.is_sensitive());
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert_eq!(secret_of(&header), TODAY);
        let bearer = authorization(Scheme::Bearer, &token("x")).expect("sendable");
        assert_eq!(bearer.as_bytes(), b"Bearer x");
        for text in ["", " ", "a b", "a\r\nHost: b", "tab\t", "é", "\u{0}"] {
            assert!(authorization(Scheme::Token, &token(text)).is_none(), "{text:?}");
        }
    }
}
