//! What an observation says of the account: its tokens, its projects, its grants and what is left of its budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Reading;
use crate::grant::{AccountGrant, GrantRows};
use crate::identity::{AccountId, EnvironmentId, ProjectId, Serial, TokenId, TokenUid};
use crate::mark::Mark;

/// The account of an object, as far as it can be worked with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// There is no `DbtAccount` of that name.
    Missing,
    /// It is there, and nothing may be made or revoked with it now. Readings may be there all the same.
    NotReady {
        /// The reason of its Ready condition.
        reason: String,
        /// The message of that condition.
        message: String,
    },
    /// It can be worked with.
    Ready(Box<OpenAccount>),
}

impl Account {
    /// The account, if it can be worked with.
    pub fn open(&self) -> Option<&OpenAccount> {
        match self {
            Self::Ready(account) => Some(account),
            _ => None,
        }
    }
}

/// What an account that can be worked with says about one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpenAccount {
    /// dbt's id of it.
    pub id: AccountId,
    /// dbt's name of its plan, for messages.
    pub plan: String,
    /// Whether everything but deletion is stopped for the whole account.
    pub suspended: bool,
    /// The tokens of the account that concern this object: those with its mark, and those that its ledger or its slots
    /// name. The list was believed (the account's own credential was in it).
    pub tokens: Reading<BTreeMap<TokenId, Token>>,
    /// Single reads of tokens that the list did not show: those that dbt says are not there, with the time of the read.
    pub gone: BTreeMap<TokenId, Timestamp>,
    /// The active projects.
    pub projects: Reading<Arc<Vec<Project>>>,
    /// For each project, a deployment environment on which GraphQL probes can be made; read only when a probe needs one.
    pub environments: Reading<Arc<BTreeMap<ProjectId, EnvironmentId>>>,
    /// The grants that match the object's namespace.
    pub grants: Vec<AccountGrant>,
    /// Whether a token may be made now.
    pub budget: Budget,
    /// The limit that leaves no place for this object, if there is one; the oldest objects keep their place.
    pub crowded_out: Option<TokenLimit>,
    /// Up to which serial a person has confirmed that unknown tokens are the cluster's own.
    pub set_back_confirmed: Option<Serial>,
}

/// A token as dbt lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// dbt's id.
    pub id: TokenId,
    /// dbt's short identifier.
    pub uid: TokenUid,
    /// Its name in dbt.
    pub name: String,
    /// Its mark, if it has one.
    pub mark: Option<Mark>,
    /// Whether dbt accepts it. Deletion is final, so an inactive token stays inactive.
    pub active: bool,
    /// What it may do, as dbt reports it.
    pub rows: GrantRows,
    /// When dbt made it.
    pub created_at: Option<Timestamp>,
    /// When dbt last saw it used.
    pub last_used: Option<Timestamp>,
    /// Whether dbt shows Semantic Layer credentials that are linked to it. No sign of the opposite: in every list that was
    /// seen dbt shows none, whatever is linked.
    pub shows_links: bool,
}

/// An active project of the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Project {
    /// dbt's id.
    pub id: ProjectId,
    /// Its name, not always unique.
    pub name: String,
}

/// Whether a token may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// For anything that is wanted.
    pub ordinary: Allowance,
    /// For repairs, which have a reserve.
    pub repair: Allowance,
}

/// One answer of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// A token may be made.
    Free,
    /// The budget is used up.
    UsedUp {
        /// Tokens an hour.
        limit: u32,
        /// When there is room again.
        free_at: Timestamp,
    },
}

/// A limit on the number of ServiceTokens that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenLimit {
    /// What it limits: `namespace finance` or `the account`.
    pub scope: String,
    /// How many there are.
    pub count: u32,
    /// How many there may be.
    pub limit: u32,
}
