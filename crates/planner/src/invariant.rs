//! What must never happen, as predicates over a census of one object: the truth as seen from outside, not as the operator
//! believes it. The interlock, the model and the integration tests share them.

use std::collections::BTreeSet;
use std::fmt;

use crate::grant::GrantRows;
use crate::identity::TokenId;
use crate::ledger::{Entry, Ledger, MAXIMUM_RETIRING};

/// One published, three retiring, one being made: the most live tokens whose string is stored anywhere.
pub const MAXIMUM_STORED: usize = MAXIMUM_RETIRING + 2;

/// The truth about one object at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The target held a working token before.
    pub was_ready: bool,
    /// Deletion was asked for.
    pub deleting: bool,
    /// Somebody outside revoked, removed or rewrote something of this object and it was not mended yet.
    pub disturbed: bool,
    /// What the target holds.
    pub target: CensusTarget,
    /// The tokens that consumers hold: pods in the cluster, and whoever else was seen to use one.
    pub consumers: BTreeSet<TokenId>,
    /// The replaced tokens whose deadline has passed, where the declaration says that they go then. Their consumers were
    /// told.
    pub overdue: BTreeSet<TokenId>,
    /// The tokens that a person called compromised: they die while consumers still hold them.
    pub compromised: BTreeSet<TokenId>,
    /// Every token of the account.
    pub tokens: Vec<CensusToken>,
    /// The grants that were declared at some time since the last rest.
    pub declared: Vec<GrantRows>,
    /// The ledger.
    pub ledger: Ledger,
}

/// What the target holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CensusTarget {
    /// There is none.
    #[default]
    Absent,
    /// It is claimed and empty.
    Empty,
    /// A token.
    Token(TokenId),
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CensusToken {
    /// dbt's id.
    pub id: TokenId,
    /// It carries our mark, or a slot of ours binds it.
    pub ours: bool,
    /// dbt accepts it.
    pub active: bool,
    /// What it may do.
    pub rows: GrantRows,
    /// Its string is in a slot or in the target.
    pub stored: bool,
    /// The operator changed or revoked it.
    pub touched: bool,
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// The target holds a token that dbt refuses, or that was never granted what was declared.
    TargetHoldsDeadToken,
    /// The target lost its token after it was ready.
    TargetEmptied,
    /// A consumer holds a token that the operator let die.
    ConsumerHoldsDeadToken,
    /// More live tokens are stored than allowed.
    TooManyStored,
    /// A token that is not ours was changed or revoked.
    ForeignTokenTouched,
    /// The target holds a token that the ledger does not know.
    PublishedUncommitted,
    /// A retiring token is dead while the target does not hold a live token that came after it.
    RetiredTooEarly,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TargetHoldsDeadToken => "the target holds a token that does not work as declared",
            Self::TargetEmptied => "the target lost its token after it was ready",
            Self::ConsumerHoldsDeadToken => "a consumer holds a token that does not work",
            Self::TooManyStored => "more live tokens are stored than allowed",
            Self::ForeignTokenTouched => "a token that is not ours was changed or revoked",
            Self::PublishedUncommitted => "the target holds a token that the ledger does not name",
            Self::RetiredTooEarly => "a replaced token died before its successor was published",
        })
    }
}

/// Every promise that the census breaks, in a fixed order.
pub fn violations(census: &Census) -> Vec<Violation> {
    let checks: [(Violation, bool); 7] = [
        (Violation::TargetHoldsDeadToken, target_holds_dead_token(census)),
        (Violation::TargetEmptied, target_emptied(census)),
        (Violation::ConsumerHoldsDeadToken, consumer_holds_dead_token(census)),
        (Violation::TooManyStored, too_many_stored(census)),
        (Violation::ForeignTokenTouched, census.tokens.iter().any(|token| token.touched && !token.ours)),
        (Violation::PublishedUncommitted, published_uncommitted(census)),
        (Violation::RetiredTooEarly, retired_too_early(census)),
    ];
    checks.into_iter().filter_map(|(violation, broken)| broken.then_some(violation)).collect()
}

/// Whether outages are the operator's doing at all: not once deletion was asked for, nor while an outsider's is unmended.
fn is_responsible(census: &Census) -> bool {
    !census.deleting && !census.disturbed
}

fn works(census: &Census, id: TokenId) -> bool {
    census.tokens.iter().any(|token| token.id == id && token.active && census.declared.contains(&token.rows))
}

fn is_active(census: &Census, id: TokenId) -> bool {
    census.tokens.iter().any(|token| token.id == id && token.active)
}

fn target_holds_dead_token(census: &Census) -> bool {
    match census.target {
        CensusTarget::Token(id) => is_responsible(census) && !works(census, id),
        CensusTarget::Absent | CensusTarget::Empty => false,
    }
}

fn target_emptied(census: &Census) -> bool {
    is_responsible(census) && census.was_ready && !matches!(census.target, CensusTarget::Token(_))
}

fn consumer_holds_dead_token(census: &Census) -> bool {
    let owed = |id: &&TokenId| !census.overdue.contains(*id) && !census.compromised.contains(*id);
    is_responsible(census) && census.consumers.iter().filter(owed).any(|id| !is_active(census, *id))
}

fn too_many_stored(census: &Census) -> bool {
    census.tokens.iter().filter(|token| token.ours && token.active && token.stored).count() > MAXIMUM_STORED
}

fn published_uncommitted(census: &Census) -> bool {
    match census.target {
        CensusTarget::Token(id) => is_responsible(census) && !census.ledger.is_blank() && !census.ledger.names_token(id),
        CensusTarget::Absent | CensusTarget::Empty => false,
    }
}

/// A dead retiring token is excused by a live one in the target that is not older. It need not be `current`: the next
/// commit may come between the revocation and its being forgotten.
fn retired_too_early(census: &Census) -> bool {
    let retiring = &census.ledger.retiring;
    let is_older = |id: TokenId, dead: &Entry| retiring.iter().any(|entry| entry.token == id && entry.serial <= dead.serial);
    let followed = |dead: &Entry| match census.target {
        CensusTarget::Token(id) => is_active(census, id) && !is_older(id, dead),
        CensusTarget::Absent | CensusTarget::Empty => false,
    };
    let mut dead = retiring.iter().filter(|entry| !is_active(census, entry.token));
    is_responsible(census) && dead.any(|entry| !followed(entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{object, rows};

    /// Token 2202 is published and used, 2190 is retiring and still used.
    fn sound() -> Census {
        Census {
            was_ready: true,
            target: CensusTarget::Token(TokenId(2202)),
            consumers: BTreeSet::from([TokenId(2202), TokenId(2190)]),
            tokens: vec![token(2202), token(2190), CensusToken { ours: false, stored: false, ..token(7) }],
            declared: vec![rows(&[("job_admin", 0)])],
            ledger: object().published(5, 2202).retiring(4, 2190, 9).ledger,
            ..Census::default()
        }
    }

    fn token(id: i64) -> CensusToken {
        let rows = rows(&[("job_admin", 0)]);
        CensusToken { id: TokenId(id), ours: true, active: true, rows, stored: true, touched: false }
    }

    fn check(change: impl Fn(&mut Census), expected: &[Violation]) {
        let mut census = sound();
        change(&mut census);
        assert_eq!(violations(&census), expected);
    }

    #[test]
    fn consumers_lose_only_what_was_called_compromised_or_is_overdue() {
        use Violation::{ConsumerHoldsDeadToken, TargetHoldsDeadToken};
        check(
            |it| {
                it.consumers.insert(TokenId(2180));
            },
            &[ConsumerHoldsDeadToken],
        );
        check(
            |it| {
                it.consumers.insert(TokenId(2180));
                it.overdue.insert(TokenId(2180));
            },
            &[],
        );
        check(
            |it| {
                it.consumers.insert(TokenId(2180));
                it.overdue.insert(TokenId(2190));
            },
            &[ConsumerHoldsDeadToken],
        );
        check(
            |it| {
                it.consumers.insert(TokenId(2190));
                it.tokens[1].active = false;
                it.compromised.insert(TokenId(2190));
            },
            &[],
        );
        // The target never holds one that is dead, whatever a person said of it.
        check(
            |it| {
                it.tokens[0].active = false;
                it.compromised.extend([TokenId(2190), TokenId(2202)]);
            },
            &[TargetHoldsDeadToken],
        );
    }

    #[test]
    fn each_promise_is_broken_once() {
        use Violation::{
            ForeignTokenTouched, PublishedUncommitted, RetiredTooEarly, TargetEmptied, TargetHoldsDeadToken, TooManyStored,
        };
        check(|_| {}, &[]);
        check(|it| *it = Census::default(), &[]);
        check(|it| it.declared = vec![rows(&[("job_viewer", 0)])], &[TargetHoldsDeadToken]);
        check(|it| it.tokens[0].rows = rows(&[]), &[TargetHoldsDeadToken]);
        check(|it| it.target = CensusTarget::Empty, &[TargetEmptied]);
        check(|it| it.target = CensusTarget::Absent, &[TargetEmptied]);
        check(
            |it| {
                it.target = CensusTarget::Empty;
                it.was_ready = false;
            },
            &[],
        );
        check(|it| it.tokens.extend((1..=3).map(token)), &[]);
        check(|it| it.tokens.extend((1..=4).map(token)), &[TooManyStored]);
        check(|it| it.tokens.extend((1..=4).map(|id| CensusToken { stored: false, ..token(id) })), &[]);
        check(|it| it.tokens.extend((1..=4).map(|id| CensusToken { active: false, ..token(id) })), &[]);
        check(|it| it.tokens[2].touched = true, &[ForeignTokenTouched]);
        check(|it| it.tokens[1].touched = true, &[]);
        check(|it| it.ledger.current = None, &[PublishedUncommitted]);
        check(|it| it.ledger = Ledger::default(), &[]);
        check(
            |it| {
                it.consumers.remove(&TokenId(2190));
                it.tokens[1].active = false;
            },
            &[],
        );
        check(
            |it| {
                it.target = CensusTarget::Token(TokenId(2190));
                it.consumers.clear();
            },
            &[],
        );
        check(
            |it| {
                it.target = CensusTarget::Absent;
                it.was_ready = false;
                it.tokens[1].active = false;
                it.consumers.clear();
            },
            &[RetiredTooEarly],
        );
    }

    #[test]
    fn outages_count_only_while_the_operator_is_responsible() {
        let dead = |census: &mut Census| census.tokens[0].active = false;
        check(dead, &[Violation::TargetHoldsDeadToken, Violation::ConsumerHoldsDeadToken]);
        check(
            |it| {
                dead(it);
                it.disturbed = true;
            },
            &[],
        );
        check(
            |it| {
                dead(it);
                it.deleting = true;
                it.target = CensusTarget::Absent;
            },
            &[],
        );
        check(
            |it| {
                it.deleting = true;
                it.tokens[2].touched = true;
            },
            &[Violation::ForeignTokenTouched],
        );
    }

    #[test]
    fn every_violation_has_words_of_its_own() {
        let all = [
            Violation::TargetHoldsDeadToken,
            Violation::TargetEmptied,
            Violation::ConsumerHoldsDeadToken,
            Violation::TooManyStored,
            Violation::ForeignTokenTouched,
            Violation::PublishedUncommitted,
            Violation::RetiredTooEarly,
        ];
        assert_eq!(all.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), all.len());
    }
}
