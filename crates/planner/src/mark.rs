//! The mark: how a token's name in dbt says who made it. With a slot of ours it is the only proof of ownership.
//! A user's token name cannot contain the brackets, so it cannot forge a mark.

use std::fmt;

use crate::identity::{Installation, OwnerUid, Serial};

/// What the mark starts with, so that a person who reads dbt's token list knows what it is.
const PREFIX: &str = "dbt-token-operator";

/// The longest value of a label.
const LONGEST_WORD: usize = 63;

/// How the mark of an adopted token ends.
const ADOPTED: &str = "adopted";

/// The part of a token's name that the operator adds: `[dbt-token-operator INSTALLATION OWNER SERIAL]`, and for a token that
/// was adopted `[dbt-token-operator INSTALLATION OWNER SERIAL adopted]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Which installation made the token.
    pub installation: Installation,
    /// The uid of the object for which it was made.
    pub owner: OwnerUid,
    /// The attempt in which it was made, or taken over.
    pub serial: Serial,
    /// Who made the token.
    pub origin: Origin,
}

/// Who made a marked token. One that somebody else made may be held by others than the operator's Secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The operator.
    #[default]
    Made,
    /// Somebody else; the operator took it over.
    Adopted,
}

impl Mark {
    /// The full name in dbt: what the user wants to read, then the mark.
    pub fn name(&self, shown: &str) -> String {
        format!("{shown} {self}")
    }

    /// Reads the mark at the end of a token's name; `None` if there is none, or one that was tampered with.
    pub fn parse(name: &str) -> Option<Self> {
        let (_, mark) = name.strip_suffix(']')?.rsplit_once('[')?;
        let mut words = mark.split(' ');
        let (prefix, installation, owner, serial) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let origin = match words.next() {
            None => Origin::Made,
            Some(ADOPTED) => Origin::Adopted,
            Some(_) => return None,
        };
        if prefix != PREFIX || words.next().is_some() || !is_word(installation) || !is_word(owner) {
            return None;
        }
        Some(Self {
            installation: Installation::new(installation),
            owner: OwnerUid::new(owner),
            serial: Serial(read_serial(serial)?),
            origin,
        })
    }
}

/// An installation and an owner are values of labels. Whatever else stands in their place was not written by an operator,
/// and must not reach a message.
fn is_word(text: &str) -> bool {
    (1..=LONGEST_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A serial has one spelling only, so that no second name stands for the same mark.
fn read_serial(text: &str) -> Option<i64> {
    let serial: i64 = text.parse().ok()?;
    (serial > 0 && serial.to_string() == text).then_some(serial)
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{PREFIX} {} {} {}", self.installation, self.owner, self.serial)?;
        match self.origin {
            Origin::Made => formatter.write_str("]"),
            Origin::Adopted => write!(formatter, " {ADOPTED}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<(&str, &str, i64)>) {
        let found = Mark::parse(name);
        let found = found.as_ref().map(|mark| (mark.installation.as_str(), mark.owner.as_str(), mark.serial.0));
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn only_an_untouched_mark_at_the_end_is_read() {
        check("finance/dagster [dbt-token-operator here uid-1 5]", Some(("here", "uid-1", 5)));
        check("[dbt-token-operator here uid-1 9223372036854775807]", Some(("here", "uid-1", i64::MAX)));
        check("two [x] words [dbt-token-operator here uid-1 5]", Some(("here", "uid-1", 5)));
        check("finance/dagster", None);
        check("", None);
        check("]", None);
        check("[", None);
        check("finance/dagster [dbt-token-operator here uid-1 5] copy", None);
        check("finance/dagster [another-operator here uid-1 5]", None);
        check("finance/dagster [dbt-token-operator here uid-1]", None);
        check("finance/dagster [dbt-token-operator here uid-1 5 6]", None);
        check("finance/dagster [dbt-token-operator here uid-1 5 adopted]", Some(("here", "uid-1", 5)));
        check("finance/dagster [dbt-token-operator here uid-1 5 adopted 6]", None);
        check("finance/dagster [dbt-token-operator here uid-1 5 Adopted]", None);
        check("finance/dagster [dbt-token-operator  uid-1 5]", None);
        check("finance/dagster [dbt-token-operator here  5]", None);
        check("finance/dagster [dbt-token-operator h\u{e9}re uid-1 5]", None);
        check("finance/dagster [dbt-token-operator here uid\u{1b}1 5]", None);
        let longest = "u".repeat(LONGEST_WORD);
        check(&format!("[dbt-token-operator here {longest} 5]"), Some(("here", &longest, 5)));
        check(&format!("[dbt-token-operator here {longest}u 5]"), None);
        check("finance/dagster [dbt-token-operator here uid-1 0]", None);
        check("finance/dagster [dbt-token-operator here uid-1 -5]", None);
        check("finance/dagster [dbt-token-operator here uid-1 +5]", None);
        check("finance/dagster [dbt-token-operator here uid-1 05]", None);
        check("finance/dagster [dbt-token-operator here uid-1 9223372036854775808]", None);
        check("finance/dagster [dbt-token-operator here uid-1 5 ]", None);
    }

    #[test]
    fn a_name_is_read_back_as_the_mark_that_made_it() {
        let mark = Mark {
            installation: Installation::new("here"),
            owner: OwnerUid::new("uid-1"),
            serial: Serial(7),
            origin: Origin::Made,
        };
        assert_eq!(mark.name("finance/dagster"), "finance/dagster [dbt-token-operator here uid-1 7]");
        assert_eq!(Mark::parse(&mark.name("finance/dagster")), Some(mark.clone()));
        let adopted = Mark { origin: Origin::Adopted, ..mark };
        assert_eq!(adopted.name("old"), "old [dbt-token-operator here uid-1 7 adopted]");
        assert_eq!(Mark::parse(&adopted.name("old")), Some(adopted));
    }
}
