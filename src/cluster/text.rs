//! Cuts messages of others to what the API server takes. Pure.

/// Put where something was cut off.
const ELLIPSIS: &str = "...";

/// At most `limit` characters, as schemas count them.
pub(super) fn cut_to_characters(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit.saturating_sub(ELLIPSIS.len())).chain(ELLIPSIS.chars()).collect()
}

/// At most `limit` bytes, as the notes of events are counted.
pub(super) fn cut_to_bytes(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(ELLIPSIS.len());
    let end = text.char_indices().map(|(start, character)| start + character.len_utf8()).take_while(|end| *end <= room).last();
    format!("{}{ELLIPSIS}", &text[..end.unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut() {
        for (text, limit, characters, bytes) in [
            ("token", 5, "token", "token"),
            ("tokens", 5, "to...", "to..."),
            ("äöüäöü", 6, "äöüäöü", "ä..."),
            ("äöüäöüä", 6, "äöü...", "ä..."),
            ("äö", 3, "äö", "..."),
        ] {
            assert_eq!(cut_to_characters(text, limit), characters, "{text}");
            assert_eq!(cut_to_bytes(text, limit), bytes, "{text}");
        }
    }
}
