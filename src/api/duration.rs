//! The one grammar of durations: `([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?`, at least one unit.
//!
//! It takes what people write (`90d`, `1h30m`) and what Go prints (`2160h0m0s`), and leaves out what is read in two
//! ways (`1.5h`, `P90D`, `3 months`). The schema's regular expression and [`parse`] accept the same strings.

use std::time::Duration;

/// Unit, its length in seconds, and how many digits may stand before it.
const UNITS: [(char, u64, usize); 4] = [('d', 86_400, 4), ('h', 3_600, 5), ('m', 60, 6), ('s', 1, 8)];

/// A string is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is not a duration", shown(.text))]
pub struct NotADuration {
    /// The string.
    pub text: String,
}

/// As much of it as a message repeats: more than the longest duration has.
fn shown(text: &str) -> &str {
    text.char_indices().nth(48).map_or(text, |(end, _)| &text[..end])
}

/// Reads a duration.
///
/// # Errors
/// [`NotADuration`] if the string does not follow the grammar. A duration that follows it always fits.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let refuse = || NotADuration { text: text.to_owned() };
    let mut rest = text;
    let mut seconds = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].chars().next().ok_or_else(refuse)?;
        // Searching on from the last unit makes the order and "each at most once" hold.
        let (_, length, most_digits) = units.find(|(name, ..)| *name == unit).ok_or_else(refuse)?;
        if digits == 0 || digits > *most_digits {
            return Err(refuse());
        }
        let count: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        seconds += count * length;
        rest = &rest[digits + unit.len_utf8()..];
    }
    if text.is_empty() { Err(refuse()) } else { Ok(Duration::from_secs(seconds)) }
}

/// Writes a duration in whole seconds with the largest units, zeros left out: `90d`, `1h30m`, `0s`.
///
/// Longer than 9999 days it no longer follows the grammar; no value in force is.
pub fn format(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    let mut text = String::new();
    for (name, length, _) in UNITS {
        let count = seconds / length;
        seconds %= length;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse(text).ok(), expected.map(Duration::from_secs), "{text:?}");
    }

    #[test]
    fn durations_are_whole_numbers_with_units_in_order() {
        check("90d", Some(7_776_000));
        check("1h30m", Some(5_400));
        check("2160h0m0s", Some(7_776_000));
        check("0s", Some(0));
        check("9999d99999h999999m99999999s", Some(9999 * 86_400 + 99_999 * 3600 + 999_999 * 60 + 99_999_999));
        for wrong in ["", "1", "d", "1.5h", "P90D", "3 months", "1m1h", "1h1h", "-1h", "+1h", "1H", " 1h", "1h ", "１h"] {
            check(wrong, None);
        }
        for too_long in ["00001d", "000001h", "0000001m", "000000001s"] {
            check(too_long, None);
        }
    }

    /// The regular expression of the schema, tried in its own way: unit by unit, each optional.
    fn matches_pattern(text: &str) -> bool {
        fn tail(text: &str, units: &[(char, u64, usize)]) -> bool {
            let Some(((name, _, most), later)) = units.split_first() else { return text.is_empty() };
            let taken = (1..=*most).any(|digits| {
                text.len() > digits
                    && text.bytes().take(digits).all(|byte| byte.is_ascii_digit())
                    && text[digits..].starts_with(*name)
                    && tail(&text[digits + 1..], later)
            });
            taken || tail(text, later)
        }
        // minLength 2 stands beside the expression.
        text.len() >= 2 && tail(text, &UNITS)
    }

    #[test]
    fn the_parser_agrees_with_the_schema_on_every_short_string() {
        let mut words = vec![String::new()];
        for _ in 0..6 {
            for text in &words {
                assert_eq!(parse(text).is_ok(), matches_pattern(text), "{text:?}");
            }
            words = words.iter().flat_map(|word| "07dhms.".chars().map(move |next| format!("{word}{next}"))).collect();
        }
    }

    #[test]
    fn the_pattern_of_the_schema_names_the_units_of_the_parser() {
        let built: String = UNITS.iter().map(|(name, _, digits)| format!("([0-9]{{1,{digits}}}{name})?")).collect();
        assert_eq!(crate::api::schema::DURATION_PATTERN, format!("^{built}$"));
    }

    #[test]
    fn formatting_uses_the_largest_units_and_can_be_read_back() {
        for (seconds, text) in [(0, "0s"), (600, "10m"), (5_400, "1h30m"), (7_776_000, "90d"), (129_661, "1d12h1m1s")] {
            assert_eq!(format(Duration::from_secs(seconds)), text);
            check(text, Some(seconds));
        }
    }
}
