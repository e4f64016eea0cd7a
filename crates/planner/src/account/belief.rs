//! May the token list be believed? A wrong host, a lagging replica or a lying proxy may answer 200 with no tokens, or with
//! those of somebody else. Only a list that holds the account's own credential, active, says anything at all.

use crate::identity::{TokenId, TokenUid};
use crate::observation::Token;

use super::observation::{OwnCredential, TokenList};

/// Why a list is not believed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disbelief {
    /// The credential's own token is not in it.
    NotListed(TokenUid),
    /// The credential's own token is in it, and inactive, although it just worked.
    Inactive(TokenId),
    /// More than one token has this uid.
    ListedTwice(TokenUid),
    /// A credential of an old form that fits this number of tokens instead of exactly one.
    Unclear(usize),
}

/// The account's own token in the list, if the list may be believed.
///
/// # Errors
/// Why it may not.
pub fn own_token<'list>(list: &'list TokenList, own: &OwnCredential) -> Result<&'list Token, Disbelief> {
    match own {
        OwnCredential::Uid(uid) => {
            let mut found = list.tokens.values().filter(|token| token.uid == *uid);
            match (found.next(), found.next()) {
                (None, _) => Err(Disbelief::NotListed(uid.clone())),
                (Some(_), Some(_)) => Err(Disbelief::ListedTwice(uid.clone())),
                (Some(token), None) if token.active => Ok(token),
                (Some(token), None) => Err(Disbelief::Inactive(token.id)),
            }
        }
        OwnCredential::Candidates(ids) => {
            let mut found = ids.iter().filter_map(|id| list.tokens.get(id)).filter(|token| token.active);
            match (found.next(), found.next()) {
                (Some(token), None) => Ok(token),
                (first, second) => Err(Disbelief::Unclear(first.iter().chain(&second).count() + found.count())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{list, token};
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "an expected value reads better without a borrow")]
    fn check(tokens: &[(i64, &str, bool)], own: &OwnCredential, expected: Result<i64, Disbelief>) {
        let list =
            list(tokens.iter().map(|(id, uid, active)| Token { uid: TokenUid::new(*uid), active: *active, ..token(*id, None) }));
        assert_eq!(own_token(&list, own).map(|token| token.id.0), expected, "{own:?}");
    }

    fn uid(uid: &str) -> OwnCredential {
        OwnCredential::Uid(TokenUid::new(uid))
    }

    fn candidates(ids: &[i64]) -> OwnCredential {
        OwnCredential::Candidates(ids.iter().copied().map(TokenId).collect())
    }

    #[test]
    fn a_list_counts_only_with_the_own_credential_in_it() {
        check(&[(1, "aaaaaaa", true), (2, "bbbbbbb", true)], &uid("bbbbbbb"), Ok(2));
        check(&[], &uid("bbbbbbb"), Err(Disbelief::NotListed(TokenUid::new("bbbbbbb"))));
        check(&[(1, "aaaaaaa", true)], &uid("bbbbbbb"), Err(Disbelief::NotListed(TokenUid::new("bbbbbbb"))));
        check(&[(1, "aaaaaaa", false)], &uid("aaaaaaa"), Err(Disbelief::Inactive(TokenId(1))));
        check(
            &[(1, "aaaaaaa", true), (2, "aaaaaaa", true)],
            &uid("aaaaaaa"),
            Err(Disbelief::ListedTwice(TokenUid::new("aaaaaaa"))),
        );
    }

    #[test]
    fn an_old_credential_must_fit_exactly_one_active_token() {
        check(&[(1, "aaaaaaa", true), (2, "bbbbbbb", true)], &candidates(&[2]), Ok(2));
        check(&[(1, "aaaaaaa", true), (2, "bbbbbbb", true)], &candidates(&[]), Err(Disbelief::Unclear(0)));
        check(&[(1, "aaaaaaa", true), (2, "bbbbbbb", true)], &candidates(&[1, 2]), Err(Disbelief::Unclear(2)));
        check(&[(1, "aaaaaaa", true), (2, "bbbbbbb", false)], &candidates(&[1, 2]), Ok(1));
        check(&[(1, "aaaaaaa", true)], &candidates(&[7]), Err(Disbelief::Unclear(0)));
    }
}
