//! Makes token strings. It knows the format of a secret and nothing of accounts.
//!
//! It must never log or format a string it made: the caller hands it out once.

use rustls::crypto::ring::default_provider;

/// The alphabet of unpadded base64url, which fact-sheet samples of token strings use.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Five bytes give the seven characters of every observed uid.
const UID_BYTES: usize = 5;
/// Thirty-two bytes give the forty-three characters that follow the uid.
const TAIL_BYTES: usize = 32;
/// Personal access tokens carry fifty characters after their prefix.
const PERSONAL_LENGTH: usize = 50;
/// `[ASSUMED]` No legacy string has been seen. Forty hexadecimal-looking characters with the uid
/// inside is the most that the sources allow to guess.
const LEGACY_LENGTH: usize = 40;

/// How the string of a token is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StringFormat {
    /// `dbtc_`, the uid, then 43 characters: what dbt Cloud issues now.
    #[default]
    Current,
    /// No prefix, 40 characters with the uid somewhere inside: tokens of 2023-07-18 and before.
    /// `[ASSUMED]` in every detail.
    Legacy,
    /// `dbtu_` and 50 characters: a personal access token. It authenticates but may not create
    /// service tokens, and it is in no list of them.
    Personal,
}

/// A string and the uid inside it, just made.
pub(crate) struct Minted {
    pub(crate) uid: String,
    pub(crate) string: String,
}

/// Makes a random string of `format`; `uid` fixes the uid instead of drawing one.
pub(crate) fn mint(format: StringFormat, uid: Option<&str>) -> Minted {
    let uid = uid.map_or_else(|| random_text(UID_BYTES), str::to_owned);
    let string = match format {
        StringFormat::Current => format!("dbtc_{uid}{}", random_text(TAIL_BYTES)),
        StringFormat::Legacy => {
            let padding = random_text(LEGACY_LENGTH);
            let rest = &padding[..LEGACY_LENGTH.saturating_sub(uid.len())];
            let (before, after) = rest.split_at(rest.len() / 2);
            format!("{before}{uid}{after}")
        }
        StringFormat::Personal => {
            format!("dbtu_{}", &random_text(PERSONAL_LENGTH)[..PERSONAL_LENGTH])
        }
    };
    Minted { uid, string }
}

/// The part of a current string that follows the uid, which the create answer shows as `token`.
pub(crate) fn tail(string: &str, uid: &str) -> String {
    string.strip_prefix("dbtc_").and_then(|rest| rest.strip_prefix(uid)).unwrap_or(string).to_owned()
}

/// Replaces everything in `text` that looks like a token string, so that a secret that a client
/// put into a path by mistake does not reach the request log.
pub(crate) fn redact(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["dbtc_", "dbtu_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        kept.push_str(&rest[..start]);
        kept.push_str("[redacted]");
        let secret = &rest[start..];
        let end = secret.find(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)));
        rest = &secret[end.unwrap_or(secret.len())..];
    }
    kept.push_str(rest);
    kept
}

/// Unpadded base64url of `bytes` random bytes.
fn random_text(bytes: usize) -> String {
    let mut raw = vec![0_u8; bytes];
    default_provider().secure_random.fill(&mut raw).expect("the operating system's random source answers");
    encode(&raw)
}

fn encode(raw: &[u8]) -> String {
    let mut text = String::new();
    for chunk in raw.chunks(3) {
        let mut block = [0_u8; 3];
        block[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, block[0], block[1], block[2]]);
        for position in 0..=chunk.len() {
            let index = (number >> (18 - 6 * position)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{StringFormat, encode, mint, redact, tail};

    #[test]
    fn encoding_is_unpadded_base64url() {
        for (raw, text) in [(&b"f"[..], "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"\xff\xfe", "__4")] {
            assert_eq!(encode(raw), text);
        }
    }

    #[test]
    fn a_current_string_has_prefix_uid_and_tail() {
        let minted = mint(StringFormat::Current, None);
        assert_eq!(minted.uid.len(), 7);
        assert_eq!(minted.string.len(), 55);
        assert_eq!(&minted.string[5..12], minted.uid);
        assert_eq!(tail(&minted.string, &minted.uid).len(), 43);
    }

    #[test]
    fn a_legacy_string_contains_its_uid() {
        let minted = mint(StringFormat::Legacy, Some("abc-_12"));
        assert_eq!(minted.string.len(), 40);
        assert!(minted.string.contains("abc-_12"));
        assert_eq!(mint(StringFormat::Personal, None).string.len(), 55);
    }

    #[test]
    fn a_secret_in_a_path_is_redacted() {
        assert_eq!(redact("/a/dbtc_abc-1_2/b?x=dbtu_9"), "/a/[redacted]/b?x=[redacted]");
        assert_eq!(redact("/plain/"), "/plain/");
    }
}
