//! Searches everything that anybody emitted for every token that the emulator ever knew.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One place that was searched.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) place: String,
    text: String,
}

impl Emitted {
    pub(crate) fn new(place: &str, text: String) -> Self {
        Self { place: place.to_owned(), text }
    }

    /// A log file; one that was never written holds nothing.
    pub(crate) fn file(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::new(&name, String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn length(&self) -> usize {
        self.text.len()
    }

    /// Whether one of the tokens is in it.
    pub(crate) fn holds_any(&self, needles: &[String]) -> bool {
        needles.iter().any(|needle| self.text.contains(needle.as_str()))
    }
}

/// What a token may look like when it leaks: whole or without its public beginning, as it is or as Secrets carry it.
pub(crate) fn needles(tokens: &[String]) -> Vec<String> {
    let mut needles = Vec::new();
    for token in tokens {
        // Without the last characters, which change with what follows.
        let whole = token.len() / 3 * 3;
        needles.push(STANDARD.encode(&token.as_bytes()[..whole]));
        // The prefix and the seven characters of the uid stand in every list of dbt.
        needles.push(token.strip_prefix("dbtc_").and_then(|rest| rest.get(7..)).unwrap_or(token).to_owned());
    }
    needles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_every_disguise() {
        let needles = needles(&["dbtc_abcdefgSECRETSECRET".to_owned(), "0123legacy".to_owned()]);
        let check = |text: &str, expected| assert_eq!(Emitted::new("x", text.to_owned()).holds_any(&needles), expected, "{text}");
        check("token=dbtc_abcdefgSECRETSECRET", true);
        check("tail SECRETSECRET.", true);
        check("ZGJ0Y19hYmNkZWZnU0VDUkVUU0VDUkVU", true);
        check("x0123legacyx", true);
        check("uid abcdefg, dbtc_abcdefg", false);
    }
}
