//! Counts of the account's active tokens, for the status. Looks at one believed list and compares ages with the time at
//! which that list was asked for, so that a count never moves without a new list.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::observation::{AccountObservation, AccountSettings, OwnerClaim, TokenList};
use crate::identity::{OwnerUid, TokenId};
use crate::legacy::is_legacy;
use crate::mark::Origin;
use crate::observation::Token;

/// How many active tokens there are, of each kind. Each is managed, a stray, of another installation, or unmanaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenCounts {
    /// All of them.
    pub active: u32,
    /// Those that belong to a ServiceToken of this cluster.
    pub managed: u32,
    /// Those made on or before 18 July 2023.
    pub legacy: u32,
    /// Those older than `inventory.agedAfter`.
    pub aged: u32,
    /// Those not used for `inventory.unusedAfter`.
    pub unused: u32,
    /// Those with this installation's mark that no object owns.
    pub strays: u32,
    /// Those with the mark of another installation.
    pub other_installations: u32,
    /// The others, the account's own credential and released tokens among them.
    pub unmanaged: u32,
}

/// Whose an active token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Belonging {
    /// A ServiceToken of this cluster.
    Managed,
    /// Our mark, and no object that owns it.
    Stray,
    /// Another installation of the operator.
    OtherInstallation,
    /// Somebody else, or nobody since it was released.
    Unmanaged,
}

/// Says whose tokens are; made once for a whole list.
pub struct Census<'observation> {
    observation: &'observation AccountObservation,
    named: BTreeSet<TokenId>,
    living: BTreeSet<&'observation OwnerUid>,
    released: BTreeSet<TokenId>,
}

impl<'observation> Census<'observation> {
    /// Prepares the look-ups.
    pub fn new(observation: &'observation AccountObservation) -> Self {
        let ours = |owner: &&OwnerClaim| owner.ledger.installation.as_ref() == Some(&observation.installation);
        let ledgers = observation.owners.iter().filter(ours).map(|owner| &owner.ledger);
        let named = ledgers.flat_map(|ledger| ledger.current.iter().chain(&ledger.retiring)).map(|entry| entry.token).collect();
        let owners = observation.owners.iter().map(|owner| &owner.uid);
        let living = owners.chain(&observation.living).collect();
        let records = observation.slots.iter().filter(|slot| slot.slot.retained);
        let released = records.filter_map(|slot| slot.slot.token()).collect();
        Self { observation, named, living, released }
    }

    /// Whether the watch shows the owner.
    pub fn lives(&self, owner: &OwnerUid) -> bool {
        self.living.contains(owner)
    }

    /// Whether a record says that the token was let go on purpose.
    pub fn is_released(&self, token: TokenId) -> bool {
        self.released.contains(&token)
    }

    /// Whose the token is.
    pub fn belonging(&self, token: &Token) -> Belonging {
        match &token.mark {
            _ if self.named.contains(&token.id) => Belonging::Managed,
            None => Belonging::Unmanaged,
            Some(mark) if mark.installation != self.observation.installation => Belonging::OtherInstallation,
            Some(mark) if self.lives(&mark.owner) => Belonging::Managed,
            // One that somebody else made is no stray without its object: it may be in use where nobody asks us.
            Some(mark) if mark.origin == Origin::Adopted || self.is_released(token.id) => Belonging::Unmanaged,
            Some(_) => Belonging::Stray,
        }
    }

    /// Counts a believed list that was asked for at `taken_at`.
    pub fn count(&self, settings: &AccountSettings, list: &TokenList, taken_at: Timestamp) -> TokenCounts {
        let mut counts = TokenCounts::default();
        for token in list.tokens.values().filter(|token| token.active) {
            counts.active += 1;
            let whose = match self.belonging(token) {
                Belonging::Managed => &mut counts.managed,
                Belonging::Stray => &mut counts.strays,
                Belonging::OtherInstallation => &mut counts.other_installations,
                Belonging::Unmanaged => &mut counts.unmanaged,
            };
            *whose += 1;
            counts.legacy += u32::from(token.created_at.is_some_and(is_legacy));
            counts.aged += u32::from(is_older(token.created_at, settings.aged_after, taken_at));
            counts.unused += u32::from(is_older(token.last_used.max(token.created_at), settings.unused_after, taken_at));
        }
        counts
    }
}

/// Whether so much time has passed since; an unknown time is never long ago.
pub fn is_older(time: Option<Timestamp>, age: std::time::Duration, now: Timestamp) -> bool {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    time.is_some_and(|time| now.duration_since(time) >= age)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{list, marked, now, observation, owner, record_of, settings, token};
    use super::*;
    use crate::identity::Installation;

    fn count(tokens: Vec<Token>, change: impl FnOnce(&mut AccountObservation)) -> TokenCounts {
        let mut observation = observation();
        change(&mut observation);
        let list = list(tokens);
        Census::new(&observation).count(&settings(), &list, now())
    }

    fn other(id: i64) -> Token {
        let mut token = marked(id, "o1", 1);
        if let Some(mark) = token.mark.as_mut() {
            mark.installation = Installation::new("other");
        }
        token
    }

    #[test]
    fn each_active_token_belongs_to_exactly_one_kind() {
        let tokens = vec![
            token(1, None),
            marked(2, "alive", 2),
            marked(3, "gone", 3),
            marked(4, "gone", 4),
            other(5),
            token(6, None),
            Token { active: false, ..marked(7, "alive", 7) },
            marked(8, "elsewhere", 8),
        ];
        let counts = count(tokens, |observation| {
            observation.owners = vec![owner("alive", "finance", Some(6))];
            observation.living = [OwnerUid::new("elsewhere")].into();
            observation.slots = vec![record_of("gone", 4, 4)];
        });
        let expected =
            TokenCounts { active: 7, managed: 3, strays: 1, other_installations: 1, unmanaged: 2, ..TokenCounts::default() };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_token_that_somebody_else_made_is_managed_or_unmanaged_and_never_a_stray() {
        let adopted = |id: i64, owner: &str| {
            let mut token = marked(id, owner, id);
            token.mark.iter_mut().for_each(|mark| mark.origin = Origin::Adopted);
            token
        };
        // 2 was not renamed: the ledger alone names it.
        let counts = count(vec![adopted(1, "alive"), token(2, None), adopted(3, "gone")], |observation| {
            observation.owners = vec![owner("alive", "finance", Some(1)), owner("other", "finance", Some(2))];
        });
        let expected = TokenCounts { active: 3, managed: 2, unmanaged: 1, ..TokenCounts::default() };
        assert_eq!(counts, expected);
    }

    fn check_age(created: Option<&str>, used: Option<&str>, expected: (u32, u32, u32)) {
        let read = |text: Option<&str>| text.map(|text| text.parse().expect("a time"));
        let token = Token { created_at: read(created), last_used: read(used), ..token(1, None) };
        let counts = count(vec![token], |_| {});
        assert_eq!((counts.legacy, counts.aged, counts.unused), expected, "{created:?} {used:?}");
    }

    #[test]
    fn ages_are_compared_with_the_time_of_the_list() {
        // now() is 2026-11-24T08:00:00Z; aged after 365 days, unused after 90.
        check_age(None, None, (0, 0, 0));
        check_age(Some("2026-11-24T07:00:00Z"), None, (0, 0, 0));
        check_age(Some("2026-08-26T08:00:00Z"), None, (0, 0, 1));
        check_age(Some("2026-08-26T08:00:01Z"), None, (0, 0, 0));
        check_age(Some("2025-11-24T08:00:00Z"), Some("2026-11-23T00:00:00Z"), (0, 1, 0));
        check_age(Some("2025-11-24T08:00:01Z"), Some("2026-08-26T08:00:00Z"), (0, 0, 1));
        check_age(Some("2023-07-18T23:59:59.999999Z"), Some("2026-11-23T00:00:00Z"), (1, 1, 0));
        check_age(Some("2026-11-25T08:00:00Z"), None, (0, 0, 0));
    }

    #[test]
    fn an_unknown_time_is_never_long_ago() {
        assert!(!is_older(None, Duration::ZERO, now()));
        assert!(is_older(Some(now()), Duration::ZERO, now()));
        assert!(!is_older(Some(Timestamp::MIN), Duration::MAX, Timestamp::MAX));
    }
}
