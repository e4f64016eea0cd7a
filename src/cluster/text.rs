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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut() {
        for (text, limit, expected) in
            [("token", 5, "token"), ("tokens", 5, "to..."), ("äöüäöü", 6, "äöüäöü"), ("äöüäöüä", 6, "äöü...")]
        {
            assert_eq!(cut_to_characters(text, limit), expected);
        }
    }
}
