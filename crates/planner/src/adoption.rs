//! Adoption in the planner's words: what is declared, what a look into the Secret found, and what speaks against taking a
//! token over. A uid is no secret, so that it alone proves nothing: what counts is that dbt accepts the string that holds it.
//! The string itself never comes here.

use std::time::Duration;

use jiff::Timestamp;

use crate::grant::{AccountGrant, GrantRows};
use crate::identity::{PermissionSet, TokenId};

/// How long a look is believed that asked nobody but the API server: short, since nobody tells when the Secret changes.
const LOOK_BELIEVED: Duration = Duration::from_secs(60);

/// How long a refusal by dbt is believed. To find it out again takes half a minute of tries each time.
const REFUSAL_BELIEVED: Duration = Duration::from_secs(5 * 60);

/// A token that exists and shall be taken over, as declared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Adoption {
    /// Where its string is today.
    pub source: Source,
    /// The token, where the string does not say clearly which one it is. It must still belong to it.
    pub token: Option<TokenId>,
    /// What happens if it may do other things than declared.
    pub permissions: AdoptPermissions,
}

/// A key of a Secret in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Name of the Secret.
    pub secret: String,
    /// The key.
    pub key: String,
}

/// What happens if the token may do other things than declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdoptPermissions {
    /// The object stalls and spells out the difference.
    Match,
    /// The token is taken over and then replaced.
    Replace,
}

/// What a grant of an account says about adoption, from the strictest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdoptPolicy {
    /// No token may be adopted.
    Never,
    /// Those whose held string dbt accepted.
    Proven,
    /// Also those that no call can try.
    Unproven,
}

/// What a namespace may adopt: the most permissive of the grants that match it.
pub fn policy(grants: &[AccountGrant]) -> AdoptPolicy {
    grants.iter().map(|grant| grant.adopt).max().unwrap_or(AdoptPolicy::Never)
}

/// What came of the last look into the Secret. Kept in memory only, for delays and reports: whatever it says, the claim
/// itself looks again, and a retirement too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// What was found.
    pub finding: Finding,
    /// When.
    pub taken_at: Timestamp,
}

impl Look {
    /// Until when it is believed.
    pub fn until(&self) -> Timestamp {
        let believed = if matches!(self.finding, Finding::Refused { .. }) { REFUSAL_BELIEVED } else { LOOK_BELIEVED };
        self.taken_at.checked_add(believed).unwrap_or(Timestamp::MAX)
    }

    /// Whether it is believed now. One from the future (the clock was set back) is not, since it might stay for ever.
    pub fn is_believed(&self, now: Timestamp) -> bool {
        self.taken_at <= now && now < self.until()
    }
}

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The Secret or its key is not there.
    Missing,
    /// The Secret is the one that the object shall manage, and does not say that this object may take it over.
    Unannounced,
    /// The Secret is the one that the object shall manage, and something else controls it.
    Controlled {
        /// Kind and name of what controls it.
        controller: String,
    },
    /// What is there holds no string of a token, or several.
    Unusable {
        /// What is wrong with it; never a part of it.
        why: String,
    },
    /// A string, and the active tokens of the account whose uid stands in it.
    Fits(Vec<Fit>),
    /// dbt refuses the string, or it is another one by now.
    Refused {
        /// What dbt answered.
        detail: String,
    },
    /// Another object has claimed the token.
    Claimed {
        /// The token.
        token: TokenId,
        /// The object, as `namespace/name`.
        by: String,
    },
    /// The Secret from which a retiring token was adopted still holds its string.
    StillHeld(TokenId),
}

/// A token whose uid stands in a string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fit {
    /// The token.
    pub token: TokenId,
    /// Whose it is, apart from what its mark says.
    pub holder: Holder,
}

/// Whose a token is already.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// Nobody's; a mark that it may carry was left by an object that let it go.
    Nobody,
    /// It is the credential of an account, or may be.
    Account,
    /// Another object's, by a slot or by its mark.
    Object(String),
    /// It carries the mark of an object that is gone and did not let it go.
    GoneObject,
}

/// Why a token is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AdoptRefusal {
    /// The Secret or its key is not there.
    SourceNotFound,
    /// No grant allows it.
    NotAllowed {
        /// What a grant would have to say.
        needed: AdoptPolicy,
        /// The sets that no call can try, if that is the reason.
        untried: Vec<PermissionSet>,
    },
    /// The string, or the Secret, is not fit for it.
    Refused {
        /// What is so.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The string fits several tokens.
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// It is somebody else's.
    Conflict {
        /// The token.
        token: TokenId,
        /// Whose.
        holder: String,
    },
    /// It may do other things than declared.
    PermissionsDiffer {
        /// The token.
        token: TokenId,
        /// What only the token may do.
        only_there: GrantRows,
        /// What only the declaration asks for.
        only_here: GrantRows,
    },
}

impl AdoptRefusal {
    /// A refusal with a remedy.
    pub fn refused(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), remedy: remedy.into() }
    }
}

/// Which of the tokens that a string fits is meant.
///
/// # Errors
/// Why none is.
pub fn choose(adoption: &Adoption, fits: &[Fit]) -> Result<Fit, AdoptRefusal> {
    let Source { secret, key } = &adoption.source;
    match (adoption.token, fits) {
        (Some(wanted), _) => fits.iter().find(|fit| fit.token == wanted).cloned().ok_or_else(|| {
            let why = format!("the string in {secret}/{key} does not belong to token {wanted}");
            AdoptRefusal::refused(why, "correct adopt.tokenId, or leave it out")
        }),
        (None, [fit]) => Ok(fit.clone()),
        (None, []) => {
            let why = format!("the string in {secret}/{key} belongs to no active token of the account");
            Err(AdoptRefusal::refused(why, "put the string of a living token of this account there"))
        }
        (None, several) => Err(AdoptRefusal::Ambiguous { count: several.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, grant, now};

    fn adoption(token: Option<i64>) -> Adoption {
        let source = Source { secret: "old".into(), key: "token".into() };
        Adoption { source, token: token.map(TokenId), permissions: AdoptPermissions::Match }
    }

    fn check(token: Option<i64>, fitting: &[i64], expected: &str) {
        let fits: Vec<Fit> = fitting.iter().map(|id| Fit { token: TokenId(*id), holder: Holder::Nobody }).collect();
        let found = match choose(&adoption(token), &fits) {
            Ok(fit) => fit.token.to_string(),
            Err(AdoptRefusal::Ambiguous { count }) => format!("{count} fit"),
            Err(AdoptRefusal::Refused { why, .. }) => why,
            Err(other) => format!("{other:?}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_string_means_one_token_or_none() {
        check(None, &[17], "17");
        check(None, &[], "the string in old/token belongs to no active token of the account");
        check(None, &[17, 18], "2 fit");
        check(Some(18), &[17, 18], "18");
        check(Some(17), &[17], "17");
        check(Some(19), &[17, 18], "the string in old/token does not belong to token 19");
        check(Some(19), &[], "the string in old/token does not belong to token 19");
    }

    #[test]
    fn the_most_permissive_grant_counts() {
        let with = |adopt| AccountGrant { adopt, ..grant(&[], &[], &[]) };
        let (never, proven, unproven) = (AdoptPolicy::Never, AdoptPolicy::Proven, AdoptPolicy::Unproven);
        assert_eq!(policy(&[]), never);
        assert_eq!(policy(&[with(never)]), never);
        assert_eq!(policy(&[with(proven), with(never)]), proven);
        assert_eq!(policy(&[with(never), with(unproven), with(proven)]), unproven);
    }

    #[test]
    fn a_look_is_believed_for_a_while() {
        let look = |finding, seconds| Look { finding, taken_at: at(seconds) }.is_believed(now());
        let refused = || Finding::Refused { detail: "HTTP 401".into() };
        for (finding, seconds, expected) in [
            (Finding::Missing, 0, true),
            (Finding::Missing, -59, true),
            (Finding::Missing, -60, false),
            (Finding::Missing, 1, false),
            (refused(), -299, true),
            (refused(), -300, false),
        ] {
            assert_eq!(look(finding.clone(), seconds), expected, "{finding:?} at {seconds}");
        }
        assert!(!Look { finding: Finding::Missing, taken_at: Timestamp::MAX }.is_believed(now()));
    }
}
