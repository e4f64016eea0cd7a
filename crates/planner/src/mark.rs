//! The mark: how a token's name in dbt says who made it. With a slot of ours it is the only proof of ownership.
//! A user's token name cannot contain the brackets, so it cannot forge a mark.

use std::fmt;

use crate::identity::{Installation, OwnerUid, Serial};

/// What the mark starts with, so that a person who reads dbt's token list knows what it is.
const PREFIX: &str = "dbt-token-operator";

/// The part of a token's name that the operator adds: `[dbt-token-operator INSTALLATION OWNER SERIAL]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Which installation made the token.
    pub installation: Installation,
    /// The uid of the object for which it was made.
    pub owner: OwnerUid,
    /// The attempt in which it was made.
    pub serial: Serial,
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
        if prefix != PREFIX || words.next().is_some() || installation.is_empty() || owner.is_empty() {
            return None;
        }
        Some(Self {
            installation: Installation::new(installation),
            owner: OwnerUid::new(owner),
            serial: Serial(read_serial(serial)?),
        })
    }
}

/// A serial has one spelling only, so that no second name stands for the same mark.
fn read_serial(text: &str) -> Option<i64> {
    let serial: i64 = text.parse().ok()?;
    (serial > 0 && serial.to_string() == text).then_some(serial)
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{PREFIX} {} {} {}]", self.installation, self.owner, self.serial)
    }
}
