//! Whether a message of the API server repeats data of a Secret: a policy of the cluster may quote what it refuses, as text
//! or in base64, as it stands in the object. Pure.

use std::collections::HashSet;

use k8s_openapi::ByteString;
use zeroize::{Zeroize, Zeroizing};

/// So many bytes in a row are a quotation. Of the 43 secret characters of a token 19 are left then, which nobody guesses.
const QUOTATION: usize = 24;

/// The same in base64.
const QUOTATION_IN_BASE64: usize = QUOTATION / 3 * 4;

/// A shorter value is no string of a token, and is likely to occur in any message.
const SHORTEST_SECRET: usize = 8;

/// How a string of today's form begins, as it is and in base64, from each place of a value that it may begin at.
const BEGINNINGS: [&str; 4] = ["dbtc_", "ZGJ0Y1", "RidGNf", "kYnRjX"];

/// Whether a string of today's form seems to stand in the message, whosoever it is.
pub(super) fn shows_a_token(message: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| message.contains(beginning))
}

/// Whether the message repeats one of the secrets, or a good part of it.
pub(super) fn repeats<'secret>(message: &str, secrets: impl IntoIterator<Item = &'secret [u8]>) -> bool {
    let message = Message::new(message.as_bytes());
    secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET).any(|secret| message.quotes(secret))
}

/// A message by its parts, so that a long secret is passed over once.
struct Message<'message> {
    bytes: &'message [u8],
    plain: HashSet<&'message [u8]>,
    encoded: HashSet<&'message [u8]>,
}

impl<'message> Message<'message> {
    fn new(bytes: &'message [u8]) -> Self {
        Self { bytes, plain: bytes.windows(QUOTATION).collect(), encoded: bytes.windows(QUOTATION_IN_BASE64).collect() }
    }

    fn quotes(&self, secret: &[u8]) -> bool {
        let mut encoded = (0..3).map(|skipped| base64_of_whole_triples(&secret[skipped..]));
        if secret.len() < QUOTATION {
            return self.contains(secret) || encoded.any(|text| self.contains(text.as_bytes()));
        }
        let parts = |text: Zeroizing<String>| {
            text.as_bytes().windows(QUOTATION_IN_BASE64).step_by(4).any(|part| self.encoded.contains(part))
        };
        secret.windows(QUOTATION).any(|part| self.plain.contains(part)) || encoded.any(parts)
    }

    fn contains(&self, part: &[u8]) -> bool {
        self.bytes.windows(part.len()).any(|window| window == part)
    }
}

/// What does not change with the bytes that follow.
fn base64_of_whole_triples(bytes: &[u8]) -> Zeroizing<String> {
    let mut whole = ByteString(bytes[..bytes.len() / 3 * 3].to_vec());
    let quoted = Zeroizing::new(serde_json::to_string(&whole).expect("bytes can always be written as JSON"));
    whole.0.zeroize();
    Zeroizing::new(quoted.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRING: &str = "dbtc_a_-bC12abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ";

    fn encoded(text: &str) -> String {
        serde_json::to_string(&ByteString(text.as_bytes().to_vec())).expect("JSON").trim_matches('"').to_owned()
    }

    #[track_caller]
    fn check(message: &str, secret: &str, expected: bool) {
        assert_eq!(repeats(&format!("denied: {message}; ask somebody"), [secret.as_bytes()]), expected, "{message}");
    }

    #[test]
    fn a_secret_is_found_as_text_and_in_base64() {
        let uri = format!("dbt-cloud://12:{STRING}@ab123.us1.dbt.com");
        for secret in [STRING, uri.as_str(), "an-old-string-1"] {
            check(secret, secret, true);
            for before in ["", "u", "ur", "uri"] {
                check(&encoded(&format!("{before}{secret}{before}")), secret, true);
            }
        }
        check(&encoded("something else that is long enough"), STRING, false);
        check("", STRING, false);
    }

    #[test]
    fn a_good_part_of_it_is_enough_and_a_small_one_is_not() {
        check(&STRING[10..34], STRING, true);
        check(&encoded(&STRING[10..36]), STRING, true);
        check(&STRING[10..33], STRING, false);
        check("short", "short", false);
    }

    #[test]
    fn a_token_that_nobody_knows_here_is_told_by_how_it_begins() {
        for before in ["", "u", "ur", "uri", "uri:"] {
            assert!(shows_a_token(&format!("denied: {}", encoded(&format!("{before}{STRING}")))), "{before}");
        }
        assert!(shows_a_token(&format!("denied: {STRING}")));
        assert!(!shows_a_token("secrets \"slot-ca985ebb-2ef7-4e57-90b6-df90dc0b89ad-1795811400-3898a921\" is forbidden"));
    }
}
