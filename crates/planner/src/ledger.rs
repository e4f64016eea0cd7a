//! The ledger: the commit record of one object, kept in its status. Every change to it is a compare-and-swap, and every
//! change that is possible is a function here, so that no other shape of it can be written.

use jiff::Timestamp;

use crate::desired::DeletionPolicy;
use crate::identity::{Fingerprint, Installation, Serial, TokenId};

/// How many replaced tokens may wait for their end at once. A fourth rotation waits.
pub const MAXIMUM_RETIRING: usize = 3;

/// How many finished rotations the status remembers.
pub const MAXIMUM_HISTORY: usize = 5;

/// The commit record, and what goes with it: the times that later decisions rest on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// Whose ledger it is; empty before the first entry. One of another installation counts for nothing.
    pub installation: Option<Installation>,
    /// The highest serial ever opened for the object, 0 before the first.
    pub serial: i64,
    /// The attempt under way.
    pub next: Option<Attempt>,
    /// The token that is, or is about to be, published.
    pub current: Option<Entry>,
    /// The tokens that wait for their end, oldest first; at most [`MAXIMUM_RETIRING`].
    pub retiring: Vec<Entry>,
    /// The policy under which deletion began.
    pub deletion: Option<DeletionPolicy>,
    /// The highest serial of a token that this ledger does not know, found when the ledger turned out to be older than
    /// the tokens. While it is set, nothing of the object is revoked.
    pub set_back: Option<Serial>,
    /// A person said that the token of this serial is compromised, and with it every older one, since nobody can tell which
    /// of the strings that the Secret has held got out. Only rises; such a token stays no longer than its successor needs.
    pub compromised: Option<Serial>,
    /// Up to this serial nobody is owed a restart. `None` if none was declared when the published token was committed.
    pub restarted: Option<Serial>,
    /// The value of the annotation `rotate-at` that was last dealt with.
    pub handled_rotate_at: Option<String>,
}

/// An attempt to make a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Its serial.
    pub serial: Serial,
    /// What it shall grant.
    pub fingerprint: Fingerprint,
    /// How many attempts in a row were given up before it.
    pub failures: u32,
    /// Why it was opened.
    pub cause: Cause,
}

/// A token that the ledger names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The serial of the attempt that made it.
    pub serial: Serial,
    /// dbt's id.
    pub token: TokenId,
}

/// Why a token is made or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The object has no token yet.
    First,
    /// The declared permissions changed.
    PermissionsChanged,
    /// The name of a project has come to mean another project.
    ProjectMoved,
    /// A person said that the token is compromised.
    Compromised,
    /// The annotation `rotate-at` has a new value.
    Requested,
    /// The token was created on or before 18 July 2023.
    Legacy,
    /// The token reaches the declared age.
    MaxAge,
    /// The token is gone in dbt.
    TokenLost,
    /// The operator's copy of the string is gone.
    SlotLost,
    /// dbt refuses the published token, and the account's own credential works.
    TokenUnusable,
}

impl Cause {
    /// The word that users read in `status.history`.
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "First",
            Self::PermissionsChanged => "PermissionsChanged",
            Self::ProjectMoved => "ProjectMoved",
            Self::Compromised => "Compromised",
            Self::Requested => "Requested",
            Self::Legacy => "Legacy",
            Self::MaxAge => "MaxAge",
            Self::TokenLost => "TokenLost",
            Self::SlotLost => "SlotLost",
            Self::TokenUnusable => "TokenUnusable",
        }
    }

    /// Reads the word back; `None` for one of another version.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::First,
            Self::PermissionsChanged,
            Self::ProjectMoved,
            Self::Compromised,
            Self::Requested,
            Self::Legacy,
            Self::MaxAge,
            Self::TokenLost,
            Self::SlotLost,
            Self::TokenUnusable,
        ]
        .into_iter()
        .find(|cause| cause.word() == word)
    }

    /// Whether the rotation mends something broken, and may use the part of the budget that is kept for that.
    pub fn is_repair(self) -> bool {
        matches!(self, Self::TokenLost | Self::SlotLost | Self::TokenUnusable)
    }

    /// Whether the rotation may wait for one of the declared windows.
    pub fn waits_for_a_window(self) -> bool {
        matches!(self, Self::Legacy | Self::MaxAge)
    }
}

impl Ledger {
    /// Whether nothing was ever recorded: a new object, or one whose status was lost.
    pub fn is_blank(&self) -> bool {
        self.serial == 0 && self.next.is_none() && self.current.is_none() && self.retiring.is_empty()
    }

    /// Whether the serial is that of the attempt, the published token or a retiring one.
    pub fn names(&self, serial: Serial) -> bool {
        self.next.as_ref().is_some_and(|attempt| attempt.serial == serial)
            || self.current.is_some_and(|entry| entry.serial == serial)
            || self.retiring.iter().any(|entry| entry.serial == serial)
    }

    /// Whether the token is the published one or a retiring one.
    pub fn names_token(&self, token: TokenId) -> bool {
        self.current.is_some_and(|entry| entry.token == token) || self.retiring.iter().any(|entry| entry.token == token)
    }

    /// Whether a person called the token of this serial, or a later one, compromised.
    pub fn is_compromised(&self, serial: Serial) -> bool {
        self.compromised.is_some_and(|highest| serial <= highest)
    }

    /// Opens an attempt. `highest` is the highest serial seen in ledger, slots and marks.
    #[must_use]
    pub fn opened(&self, installation: &Installation, opening: Opening, highest: Serial, now: Timestamp) -> Self {
        let serial = Serial(now.as_second().max(highest.0.saturating_add(1)).max(self.serial.saturating_add(1)));
        Self {
            installation: Some(installation.clone()),
            serial: serial.0,
            next: Some(Attempt { serial, fingerprint: opening.fingerprint, failures: opening.failures, cause: opening.cause }),
            ..self.clone()
        }
    }

    /// Drops the attempt, since what is published is what is wanted after all.
    #[must_use]
    pub fn abandoned(&self) -> Self {
        Self { next: None, ..self.clone() }
    }

    /// Makes the proven token the current one. The one before it joins the retiring tokens, unless it is unusable.
    #[must_use]
    pub fn committed(&self, token: TokenId, predecessor_usable: bool, rotate_at: Option<String>) -> Self {
        let Some(attempt) = self.next.clone() else { return self.clone() };
        let mut retiring = self.retiring.clone();
        if let Some(entry) = self.current.filter(|_| predecessor_usable) {
            retiring.push(entry);
        }
        Self {
            next: None,
            current: Some(Entry { serial: attempt.serial, token }),
            retiring,
            handled_rotate_at: rotate_at,
            ..self.clone()
        }
    }

    /// Remembers, with the commit of a token, whether restarts are declared: then whoever took one of its predecessors is owed
    /// one, even if none of them still lives. `self` is the ledger before the commit.
    #[must_use]
    pub fn owing(&self, committed: Self, restarts: Restarts) -> Self {
        let restarted = match restarts {
            Restarts::Declared => self.restarted.or(self.current.map(|predecessor| predecessor.serial)),
            Restarts::Undeclared => None,
        };
        Self { restarted, ..committed }
    }

    /// Whether somebody may be owed a restart: one was declared when the published token was committed, and is not done; or
    /// it was not, and a predecessor still lives.
    pub fn owes_restarts(&self) -> bool {
        self.current.is_some_and(|current| match self.restarted {
            Some(serial) => serial < current.serial,
            None => self.retiring.iter().any(|entry| entry.serial < current.serial),
        })
    }

    /// Nobody is owed a restart for the published token any more.
    #[must_use]
    pub fn restarts_done(&self) -> Self {
        Self { restarted: self.current.map(|current| current.serial), ..self.clone() }
    }

    /// Remembers that a person called the published token compromised.
    #[must_use]
    pub fn called_compromised(&self) -> Self {
        Self { compromised: self.compromised.max(self.current.map(|entry| entry.serial)), ..self.clone() }
    }

    /// Forgets a retiring token whose slot is closed and which was observed inactive.
    #[must_use]
    pub fn forgotten(&self, serial: Serial) -> Self {
        let retiring = self.retiring.iter().copied().filter(|entry| entry.serial != serial).collect();
        Self { retiring, ..self.clone() }
    }

    /// Records under which policy the deletion goes on.
    #[must_use]
    pub fn deleting(&self, installation: &Installation, policy: DeletionPolicy) -> Self {
        Self { installation: Some(installation.clone()), deletion: Some(policy), ..self.clone() }
    }

    /// Names nothing any more. From here on the deletion cannot be called off.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self { next: None, current: None, retiring: Vec::new(), ..self.clone() }
    }

    /// Remembers that tokens up to this serial exist which the ledger does not know.
    #[must_use]
    pub fn found_set_back(&self, highest: Serial) -> Self {
        Self { set_back: Some(highest), ..self.clone() }
    }

    /// A person has confirmed that the unknown tokens are this object's own.
    #[must_use]
    pub fn set_back_confirmed(&self) -> Self {
        let serial = self.set_back.map_or(self.serial, |highest| self.serial.max(highest.0));
        Self { serial, set_back: None, ..self.clone() }
    }
}

/// Whether workloads are declared to be restarted after a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// Those of at least one kind.
    Declared,
    /// None.
    Undeclared,
}

/// What an attempt is opened for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    /// What it shall grant.
    pub fingerprint: Fingerprint,
    /// Why.
    pub cause: Cause,
    /// How many attempts in a row were given up before it.
    pub failures: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, ledger, now, object};

    fn opening(cause: Cause, failures: u32) -> Opening {
        Opening { fingerprint: Fingerprint::new("wanted"), cause, failures }
    }

    fn full() -> Ledger {
        let entry = |serial, token| Entry { serial: Serial(serial), token: TokenId(token) };
        Ledger { retiring: vec![entry(3, 2183), entry(4, 2184)], ..object().published(5, 2205).ledger }
    }

    fn check(changed: &Ledger, expected: &str) {
        assert_eq!(ledger(changed), expected);
    }

    #[test]
    fn every_change_keeps_what_it_does_not_speak_of() {
        let (here, before) = (Installation::new("here"), full());
        let opened = before.opened(&here, opening(Cause::Requested, 2), Serial(5), now());
        check(&before, "; serial 5, current 5:2205, retiring 3:2183 4:2184");
        check(&opened, "; serial now+0, next now+0 Requested x2, current 5:2205, retiring 3:2183 4:2184");
        check(&opened.abandoned(), "; serial now+0, current 5:2205, retiring 3:2183 4:2184");
        check(
            &opened.committed(TokenId(2206), true, Some("noon".into())),
            "; serial now+0, current now+0:2206, retiring 3:2183 4:2184 5:2205, handled noon",
        );
        check(&opened.committed(TokenId(2206), false, None), "; serial now+0, current now+0:2206, retiring 3:2183 4:2184");
        check(&before.committed(TokenId(2206), true, None), "; serial 5, current 5:2205, retiring 3:2183 4:2184");
        check(&before.forgotten(Serial(3)), "; serial 5, current 5:2205, retiring 4:2184");
        check(&before.forgotten(Serial(5)), "; serial 5, current 5:2205, retiring 3:2183 4:2184");
        check(&opened.cleared(), "; serial now+0");
        check(
            &before.deleting(&here, DeletionPolicy::Retain),
            "; serial 5, current 5:2205, retiring 3:2183 4:2184, deletion Retain",
        );
        let set_back = before.found_set_back(Serial(9));
        check(&set_back, "; serial 5, current 5:2205, retiring 3:2183 4:2184, set back 9");
        check(&set_back.set_back_confirmed(), "; serial 9, current 5:2205, retiring 3:2183 4:2184");
        check(&before.found_set_back(Serial(2)).set_back_confirmed(), "; serial 5, current 5:2205, retiring 3:2183 4:2184");
        let compromised = before.called_compromised();
        check(&compromised, "; serial 5, current 5:2205, retiring 3:2183 4:2184, compromised 5");
        check(
            &opened.called_compromised().committed(TokenId(2206), true, None).forgotten(Serial(3)),
            "; serial now+0, current now+0:2206, retiring 4:2184 5:2205, compromised 5",
        );
        assert!([3, 4, 5].into_iter().all(|serial| compromised.is_compromised(Serial(serial))));
        assert!(!compromised.is_compromised(Serial(6)) && !before.is_compromised(Serial(0)));
        check(
            &Ledger { compromised: Some(Serial(9)), ..full() }.called_compromised(),
            "; serial 5, current 5:2205, retiring 3:2183 4:2184, compromised 9",
        );
        assert_eq!(Ledger::default().deleting(&here, DeletionPolicy::Revoke).installation, Some(here));
    }

    #[test]
    fn restarts_are_owed_from_a_commit_until_they_are_done() {
        use Restarts::{Declared, Undeclared};
        let opened = || full().opened(&Installation::new("here"), opening(Cause::Requested, 0), Serial(5), now());
        let committed = |before: &Ledger, restarts| before.owing(before.committed(TokenId(2206), false, None), restarts);
        let declared = committed(&opened(), Declared);
        check(&declared, "; serial now+0, current now+0:2206, retiring 3:2183 4:2184, restarted 5");
        assert!(declared.owes_restarts() && declared.forgotten(Serial(3)).forgotten(Serial(4)).owes_restarts());
        let done = declared.restarts_done();
        check(&done, "; serial now+0, current now+0:2206, retiring 3:2183 4:2184, restarted now+0");
        assert!(!done.owes_restarts());
        // Who took a token before the last restarts, and was not among them, is owed them still.
        let again = committed(&Ledger { restarted: Some(Serial(4)), ..opened() }, Declared);
        assert_eq!((again.restarted, again.owes_restarts()), (Some(Serial(4)), true));
        // Undeclared, somebody is owed one only while a predecessor lives: it may be declared later.
        let undeclared = committed(&Ledger { restarted: Some(Serial(4)), ..opened() }, Undeclared);
        assert_eq!((undeclared.restarted, undeclared.owes_restarts()), (None, true));
        assert!(!undeclared.forgotten(Serial(3)).forgotten(Serial(4)).owes_restarts());
        // A first token has none.
        let first = Ledger { current: None, retiring: Vec::new(), ..opened() };
        let first = committed(&first, Declared);
        assert_eq!((first.restarted, first.owes_restarts()), (None, false));
        assert!(!Ledger::default().owes_restarts());
    }

    fn serial(before: i64, highest: i64, now: Timestamp, expected: i64) {
        let before = Ledger { serial: before, ..Ledger::default() };
        let opened = before.opened(&Installation::new("here"), opening(Cause::First, 0), Serial(highest), now);
        let next = opened.next.as_ref().map(|attempt| attempt.serial.0);
        assert_eq!((opened.serial, next), (expected, Some(expected)));
    }

    #[test]
    fn a_serial_is_the_time_unless_a_higher_one_was_seen() {
        let seconds = now().as_second();
        serial(0, 0, now(), seconds);
        serial(seconds - 1, seconds - 1, now(), seconds);
        serial(seconds, seconds, now(), seconds + 1);
        serial(seconds, seconds, at(-100), seconds + 1);
        serial(5, seconds + 7, now(), seconds + 8);
        serial(seconds + 7, 5, now(), seconds + 8);
        serial(0, 0, Timestamp::MIN, 1);
        serial(0, 0, Timestamp::MAX, Timestamp::MAX.as_second());
        serial(0, i64::MAX, now(), i64::MAX);
    }

    #[test]
    fn a_ledger_is_blank_until_anything_was_opened() {
        assert!(Ledger::default().is_blank());
        assert!(Ledger { installation: Some(Installation::new("here")), ..Ledger::default() }.is_blank());
        assert!(Ledger { deletion: Some(DeletionPolicy::Revoke), ..Ledger::default() }.is_blank());
        assert!(!Ledger { serial: 1, ..Ledger::default() }.is_blank());
        assert!(!full().is_blank());
        assert!(!Ledger { serial: 0, ..full() }.is_blank());
    }

    #[test]
    fn what_a_ledger_names() {
        let full = full().opened(&Installation::new("here"), opening(Cause::First, 0), Serial(5), now());
        for (serial, expected) in [(3, true), (4, true), (5, true), (now().as_second(), true), (2, false), (6, false)] {
            assert_eq!(full.names(Serial(serial)), expected, "{serial}");
        }
        for (token, expected) in [(2183, true), (2184, true), (2205, true), (2206, false)] {
            assert_eq!(full.names_token(TokenId(token)), expected, "{token}");
        }
    }

    #[test]
    fn causes_are_read_back_by_their_word() {
        for cause in [
            Cause::First,
            Cause::PermissionsChanged,
            Cause::ProjectMoved,
            Cause::Compromised,
            Cause::Requested,
            Cause::Legacy,
            Cause::MaxAge,
            Cause::TokenLost,
            Cause::SlotLost,
            Cause::TokenUnusable,
        ] {
            assert_eq!(Cause::from_word(cause.word()), Some(cause));
            let repair = matches!(cause, Cause::TokenLost | Cause::SlotLost | Cause::TokenUnusable);
            assert_eq!(cause.is_repair(), repair, "{cause:?}");
            assert_eq!(cause.waits_for_a_window(), matches!(cause, Cause::Legacy | Cause::MaxAge), "{cause:?}");
        }
        assert_eq!(Cause::from_word("Whim"), None);
    }
}
