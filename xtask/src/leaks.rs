//! The search for token strings in what was emitted: as they are, and in every disguise in which a library may write them.
//! It never prints what it finds, only where.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The secret end of a string of today's form. What stands before it, prefix and uid, is no secret: both stand in every
/// list of dbt.
const TAIL: usize = 43;

/// What must be found nowhere, by length, so that a text is passed over once for each length and not for each string.
#[derive(Debug, Default)]
pub struct Needles {
    strings: usize,
    by_length: BTreeMap<usize, HashSet<String>>,
}

impl Needles {
    /// What to look for after these strings were handed out.
    #[must_use]
    pub fn of(strings: &[String]) -> Self {
        let mut needles = Self::default();
        needles.add(strings);
        needles
    }

    /// Adds strings: the secret end of each, and what becomes of it in base64 (as Secrets carry it, from wherever it begins
    /// in the value) and as hexadecimal digits.
    pub fn add(&mut self, strings: &[String]) {
        for string in strings {
            let tail = string.get(string.len().saturating_sub(TAIL)..).unwrap_or(string);
            if !self.insert(tail.to_owned()) {
                continue;
            }
            self.strings += 1;
            self.insert(tail.bytes().map(|byte| format!("{byte:02x}")).collect());
            for skipped in 0..3 {
                // Without the ends, which change with what stands before and after.
                let whole = tail.as_bytes().get(skipped..).unwrap_or_default();
                let whole = &whole[..whole.len() / 3 * 3];
                if !whole.is_empty() {
                    self.insert(STANDARD_NO_PAD.encode(whole));
                }
            }
        }
    }

    fn insert(&mut self, needle: String) -> bool {
        self.by_length.entry(needle.len()).or_default().insert(needle)
    }

    /// How many strings are looked for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.strings
    }

    /// Where any of them stands in the text: one message a line.
    #[must_use]
    pub fn find(&self, place: &str, text: &str) -> Vec<String> {
        // No run goes beyond its line, so the lines need looking at only if there is something to tell of one.
        let lines = if self.is_in_runs(text) { text } else { "" };
        let hits = lines.lines().enumerate().filter(|(_, line)| self.is_in_runs(line));
        let lines = hits.map(|(number, _)| format!("{place}, line {}: holds a token string", number + 1));
        lines.chain(self.is_in_numbers(text).then(|| format!("{place}: holds a token string as numbers"))).collect()
    }

    /// Whether any of them stands in the text.
    #[must_use]
    pub fn are_in(&self, text: &str) -> bool {
        self.is_in_runs(text) || self.is_in_numbers(text)
    }

    /// Strings are made of letters, digits, dashes and underscores only, and so are their disguises: they lie within runs of
    /// these.
    fn is_in_runs(&self, text: &str) -> bool {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        runs(text, self.shortest(), belongs).any(|run| self.is_in_run(run))
    }

    fn is_in_run(&self, run: &str) -> bool {
        let fits = self.by_length.range(..=run.len());
        fits.into_iter()
            .any(|(length, needles)| (0..=run.len() - length).any(|start| needles.contains(&run[start..start + length])))
    }

    /// Bytes that were printed as a list of numbers, in one line or in many, as `{:?}` does it.
    fn is_in_numbers(&self, text: &str) -> bool {
        let belongs = |byte: u8| byte.is_ascii_digit() || byte == b',' || byte.is_ascii_whitespace();
        runs(text, self.shortest().saturating_mul(2), belongs).any(|list| {
            // What is no byte in between ends the run.
            let text: String = list.split(',').map(|number| number.trim().parse::<u8>().map_or(' ', char::from)).collect();
            self.is_in_runs(&text)
        })
    }

    fn shortest(&self) -> usize {
        self.by_length.keys().next().copied().unwrap_or(usize::MAX)
    }
}

/// The longest runs of ASCII signs that belong, as far as they are at least so long.
///
/// Tens of megabytes are read in this way by a program that is not optimised, so not every sign is looked at: the last one
/// that does not belong, among as many as a run has at least, rules out all that begin before it.
fn runs(text: &str, shortest: usize, belongs: impl Fn(u8) -> bool) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut start = 0;
    std::iter::from_fn(move || {
        while bytes.len().saturating_sub(start) >= shortest.max(1) {
            let window = &bytes[start..start + shortest.max(1)];
            if let Some(offset) = window.iter().rposition(|byte| !belongs(*byte)) {
                start += offset + 1;
                continue;
            }
            let length = bytes[start..].iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len() - start);
            let run = &text[start..start + length];
            start += length + 1;
            return Some(run);
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const TODAY: &str = "dbtc_abcdefgSECRETsecret0123456789-_ABCDEFGHIJKLMNOPQRS";
    const OLD: &str = "0123456789-old-string_0123456789";

    fn check(text: &str, expected: bool) {
        let needles = Needles::of(&[TODAY.to_owned(), OLD.to_owned()]);
        assert_eq!(needles.are_in(text), expected, "{text}");
        assert_eq!(!needles.find("here", text).is_empty(), expected, "{text}");
    }

    #[test]
    fn a_token_is_found_in_every_disguise() {
        let tail = &TODAY[TODAY.len() - TAIL..];
        check(&format!("token={TODAY}"), true);
        check(&format!("a line\nBearer {TODAY}\n"), true);
        check(&format!("xyz{tail}xyz"), true);
        check(&format!("x{OLD}x"), true);
        for before in ["", "u", "ur", "uri://12345:"] {
            check(&format!("\"data\":{{\"a\":\"{}\"}}", STANDARD.encode(format!("{before}{TODAY}@host"))), true);
        }
        check(&tail.bytes().map(|byte| format!("{byte:02x}")).collect::<String>(), true);
        check(&format!("ByteString({:?})", TODAY.as_bytes()), true);
        check(&format!("{:#?}", OLD.as_bytes()), true);
    }

    #[test]
    fn runs_are_found_wherever_they_begin_and_end() {
        let find = |text, shortest| runs(text, shortest, |byte| byte.is_ascii_digit()).collect::<Vec<_>>();
        assert_eq!(find("123", 3), ["123"]);
        assert_eq!(find("12345", 3), ["12345"]);
        assert_eq!(find("12 345 6789", 3), ["345", "6789"]);
        assert_eq!(find("a1234b12c123", 3), ["1234", "123"]);
        assert_eq!(find("ä123ä", 3), ["123"]);
        assert_eq!(find("12", 3), Vec::<&str>::new());
        assert_eq!(find("", 3), Vec::<&str>::new());
        assert_eq!(find("123", usize::MAX), Vec::<&str>::new());
        // Every place in a text, and every length, against the obvious way.
        let text = "1 22 333 4444 55555 666666 7777777 1 22 333 4444 55555 666666 7777777";
        for shortest in 1..9 {
            for start in 0..text.len() {
                let obvious: Vec<_> = text[start..].split(' ').filter(|run| run.len() >= shortest).collect();
                assert_eq!(find(&text[start..], shortest), obvious, "{shortest} {start}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        check("token 5 of uid abcdefg, dbtc_abcdefg", false);
        check(&TODAY[..TODAY.len() - 1], false);
        check(&format!("{:?}", &OLD.as_bytes()[1..]), false);
        check("slot-9bd5a1f4-1f0c-4a60-8f3e-7f6e6c1c2a55-1790000000-0123abcd", false);
        assert_eq!(Needles::default().find("here", TODAY), Vec::<String>::new());
    }

    #[test]
    fn the_finding_leaks_nothing_and_a_string_counts_once() {
        let needles = Needles::of(&[TODAY.to_owned(), TODAY.to_owned()]);
        assert_eq!(needles.count(), 1);
        assert_eq!(needles.find("the log", &format!("fine\n{TODAY}\n")), ["the log, line 2: holds a token string"]);
    }
}
