//! The two alarms that stop destruction until a person has spoken: tokens that vanished, and a cluster that was set back.
//! Both are judged anew from each observation; nothing is remembered between two lists.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::observation::{AccountObservation, OwnerClaim, TokenList};
use crate::identity::{Serial, TokenId};

/// So many lost tokens are still replaced without asking: people do revoke single tokens by hand.
const FEW: usize = 2;

/// An alarm needs more than one in so many of the managed tokens.
const SHARE: usize = 4;

/// Published tokens that a believed list does not show, or shows as inactive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vanished {
    /// Them, in order.
    pub tokens: BTreeSet<TokenId>,
    /// How many tokens could have been missed.
    pub managed: usize,
}

impl Vanished {
    /// Whether that many cannot be an accident of one token.
    pub fn is_alarming(&self) -> bool {
        self.tokens.len() > FEW && self.tokens.len() * SHARE > self.managed
    }

    /// The value of the annotation `confirm` by which a person says that these are really gone.
    pub fn confirm_value(&self) -> String {
        let highest = self.tokens.last().map_or(0, |token| token.0);
        format!("vanished-{}-{highest}", self.tokens.len())
    }

    /// Whether the annotation covers these: at most as many, and none with a higher id. So it goes on counting while the
    /// tokens are replaced one by one, and does not cover the next accident.
    pub fn is_confirmed(&self, annotation: Option<&str>) -> bool {
        let Some((count, highest)) = annotation.and_then(parse_vanished) else { return false };
        self.tokens.len() <= count && self.tokens.iter().all(|token| token.0 <= highest)
    }
}

fn parse_vanished(value: &str) -> Option<(usize, i64)> {
    let (count, highest) = value.strip_prefix("vanished-")?.split_once('-')?;
    Some((count.parse().ok()?, highest.parse().ok()?))
}

/// Compares what the ledgers call `current` with a believed list that was asked for at `taken_at`.
///
/// An object that is being deleted loses its token on purpose; one that this process changed after the list was asked for
/// may have a token that the list cannot know.
pub fn vanished(observation: &AccountObservation, list: &TokenList, taken_at: Timestamp) -> Vanished {
    let judged = observation.owners.iter().filter(|owner| is_judged(observation, owner, taken_at));
    let current: BTreeSet<TokenId> = judged.filter_map(|owner| owner.ledger.current).map(|entry| entry.token).collect();
    let managed = current.len();
    let tokens = current.into_iter().filter(|id| !list.tokens.get(id).is_some_and(|token| token.active)).collect();
    Vanished { tokens, managed }
}

fn is_judged(observation: &AccountObservation, owner: &OwnerClaim, taken_at: Timestamp) -> bool {
    let ours = owner.ledger.installation.as_ref() == Some(&observation.installation);
    let known_to_list = owner.changed_at.is_none_or(|changed_at| changed_at <= taken_at);
    ours && !owner.deleting && owner.ledger.deletion.is_none() && known_to_list
}

/// Objects whose ledger is older than their tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetBack {
    /// How many tokens carry serials that the cluster does not know; at least the number of those objects.
    pub tokens: usize,
    /// The highest of these serials.
    pub highest: Serial,
}

impl SetBack {
    /// The value of the annotation `confirm` by which a person says that no other cluster uses them.
    pub fn confirm_value(&self) -> String {
        format!("set-back-{}", self.highest)
    }
}

/// Up to which serial a person has confirmed that unknown tokens are the cluster's own.
pub fn confirmed_serial(annotation: Option<&str>) -> Option<Serial> {
    let serial = annotation?.strip_prefix("set-back-")?.parse().ok()?;
    (serial > 0).then_some(Serial(serial))
}

/// What is not confirmed yet.
pub fn set_back(observation: &AccountObservation) -> Option<SetBack> {
    let confirmed = confirmed_serial(observation.confirm.as_deref());
    let open: Vec<(&OwnerClaim, Serial)> = observation
        .owners
        .iter()
        .filter_map(|owner| Some((owner, owner.ledger.set_back?)))
        .filter(|(_, serial)| confirmed.is_none_or(|confirmed| *serial > confirmed))
        .collect();
    let highest = open.iter().map(|(_, serial)| *serial).max()?;
    let tokens = observation.tokens.value().map_or(0, |list| {
        let unknown = |owner: &OwnerClaim| count_unknown(observation, owner, list);
        open.iter().map(|(owner, _)| unknown(owner)).sum()
    });
    Some(SetBack { tokens: tokens.max(open.len()), highest })
}

fn count_unknown(observation: &AccountObservation, owner: &OwnerClaim, list: &TokenList) -> usize {
    let marks = list.tokens.values().filter_map(|token| token.mark.as_ref());
    let own = marks.filter(|mark| mark.installation == observation.installation && mark.owner == owner.uid);
    own.filter(|mark| mark.serial.0 > owner.ledger.serial).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{list, marked, now, observation, owner, token};
    use super::*;
    use crate::identity::Installation;
    use crate::observation::Token;

    /// `managed` published tokens with the ids 1, 2, ...; of them `gone` are not listed.
    fn lost(managed: i64, gone: &[i64], confirm: Option<&str>) -> (Vanished, bool) {
        let mut observation = observation();
        observation.confirm = confirm.map(str::to_owned);
        observation.owners = (1..=managed).map(|id| owner(&format!("o{id}"), "finance", Some(id))).collect();
        let list = list((1..=managed).filter(|id| !gone.contains(id)).map(|id| token(id, None)));
        let found = vanished(&observation, &list, now());
        let confirmed = found.is_confirmed(observation.confirm.as_deref());
        (found, confirmed)
    }

    fn check(managed: i64, gone: &[i64], confirm: Option<&str>, expected: (bool, &str, bool)) {
        let (found, confirmed) = lost(managed, gone, confirm);
        assert_eq!(
            (found.is_alarming(), found.confirm_value().as_str(), confirmed),
            expected,
            "{gone:?} of {managed} with {confirm:?}"
        );
    }

    #[test]
    fn more_than_two_and_more_than_a_quarter_raise_the_alarm() {
        check(4, &[], None, (false, "vanished-0-0", false));
        check(2, &[1, 2], None, (false, "vanished-2-2", false));
        check(3, &[1, 2, 3], None, (true, "vanished-3-3", false));
        check(11, &[1, 2, 3], None, (true, "vanished-3-3", false));
        check(12, &[1, 2, 3], None, (false, "vanished-3-3", false));
        check(12, &[1, 2, 3, 9], None, (true, "vanished-4-9", false));
    }

    #[test]
    fn a_confirmation_covers_what_it_names_and_what_is_left_of_it() {
        check(6, &[1, 2, 3], Some("vanished-3-3"), (true, "vanished-3-3", true));
        check(6, &[1, 3, 4], Some("vanished-4-4"), (true, "vanished-3-4", true));
        check(6, &[1, 2, 3, 4], Some("vanished-3-4"), (true, "vanished-4-4", false));
        check(6, &[1, 2, 4], Some("vanished-3-3"), (true, "vanished-3-4", false));
        for wrong in ["", "vanished", "vanished-3", "vanished-x-3", "take-over-x", "vanished-3-"] {
            check(6, &[1, 2, 3], Some(wrong), (true, "vanished-3-3", false));
        }
    }

    #[test]
    fn an_inactive_token_has_vanished_as_well() {
        let mut observation = observation();
        observation.owners = vec![owner("o1", "finance", Some(1))];
        let list = list([Token { active: false, ..token(1, None) }]);
        assert_eq!(vanished(&observation, &list, now()).tokens.len(), 1);
    }

    #[test]
    fn tokens_that_go_on_purpose_or_that_the_list_cannot_know_are_not_missed() {
        let mut observation = observation();
        let mut deleting = owner("o1", "finance", Some(1));
        deleting.deleting = true;
        let mut foreign = owner("o2", "finance", Some(2));
        foreign.ledger.installation = Some(Installation::new("other"));
        let mut changed = owner("o3", "finance", Some(3));
        changed.changed_at = Some(now() + std::time::Duration::from_secs(1));
        let mut cleared = owner("o4", "finance", Some(4));
        cleared.ledger.deletion = Some(crate::desired::DeletionPolicy::Revoke);
        observation.owners = vec![deleting, foreign, changed, cleared];
        assert_eq!(vanished(&observation, &list([]), now()), Vanished::default());
    }

    fn check_set_back(serials: &[Option<i64>], confirm: Option<&str>, expected: Option<(usize, i64)>) {
        let mut observation = observation();
        observation.confirm = confirm.map(str::to_owned);
        for (place, serial) in serials.iter().enumerate() {
            let mut claim = owner(&format!("o{place}"), "finance", None);
            claim.ledger.set_back = serial.map(Serial);
            observation.owners.push(claim);
        }
        let found = set_back(&observation).map(|found| (found.tokens, found.highest.0));
        assert_eq!(found, expected, "{serials:?} with {confirm:?}");
    }

    #[test]
    fn the_highest_unknown_serial_is_what_a_person_confirms() {
        check_set_back(&[None, None], None, None);
        check_set_back(&[Some(7), None, Some(9)], None, Some((2, 9)));
        check_set_back(&[Some(7), None, Some(9)], Some("set-back-9"), None);
        check_set_back(&[Some(7), None, Some(9)], Some("set-back-8"), Some((1, 9)));
        check_set_back(&[Some(7)], Some("set-back-x"), Some((1, 7)));
    }

    #[test]
    fn tokens_above_the_ledger_are_counted() {
        let mut observation = observation();
        let mut claim = owner("o1", "finance", None);
        claim.ledger.serial = 5;
        claim.ledger.set_back = Some(Serial(8));
        observation.owners = vec![claim];
        let tokens = [marked(1, "o1", 5), marked(2, "o1", 6), marked(3, "o1", 8), marked(4, "o2", 9)];
        observation.tokens = super::super::testing::known(list(tokens));
        assert_eq!(set_back(&observation), Some(SetBack { tokens: 2, highest: Serial(8) }));
    }

    #[test]
    fn a_confirmed_serial_is_read_exactly() {
        for (value, expected) in [("set-back-9", Some(9)), ("set-back--9", None), ("set-back-0", None), ("9", None)] {
            assert_eq!(confirmed_serial(Some(value)), expected.map(Serial), "{value}");
        }
        assert_eq!(confirmed_serial(None), None);
    }
}
