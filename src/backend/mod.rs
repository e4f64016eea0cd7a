//! What the operator needs of the service that makes tokens, in the planner's words. Knows nothing of HTTP or Kubernetes.

pub mod dbt;

use std::collections::BTreeMap;

use async_trait::async_trait;
use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::{AccountId, EnvironmentId, ProjectId, TokenId, TokenUid};
use dbt_token_planner::link::Link;
use dbt_token_planner::observation::{Project, Token};
use dbt_token_planner::permission::Probe;
use jiff::Timestamp;

use crate::token::TokenString;

/// One account of the service. One method is one logical exchange; a shared instance per account keeps the rate limit.
///
/// Every method may be dropped at any await. For those that change something that is the same as a lost answer: it may have
/// happened. No method holds a lock while it waits for the service.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What the account says about itself. Idempotent; retried. Whether it is the one that was meant is for the caller to
    /// judge.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn account(&self) -> Result<AccountInfo, BackendError>;

    /// Every token of the account, deleted ones included where the service lists them; each id once, in the service's
    /// order. Idempotent; retried.
    ///
    /// The list is whole or there is none, as far as the service says how long it is. Whether it may be believed (the
    /// account's own credential has to be in it) is for the caller to judge.
    ///
    /// # Errors
    /// Any class but `Ambiguous`. `Malformed` also if a single token is not believed: another account's, without a state,
    /// an active one without its grants, or with a time that cannot be read.
    async fn list(&self) -> Result<Vec<Token>, BackendError>;

    /// One token. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`. A 404 is an answer, not an error, but only after the same credential proved on another
    /// call that it may see tokens; what that call fails with is the error otherwise.
    async fn get(&self, token: TokenId) -> Result<Lookup, BackendError>;

    /// The active projects, names exactly as the service has them. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn projects(&self) -> Result<Vec<Project>, BackendError>;

    /// For each project that has one, an active deployment environment (production before others, then the lowest id).
    /// Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn environments(&self) -> Result<BTreeMap<ProjectId, EnvironmentId>, BackendError>;

    /// Creates a token with its grants in one call. **Not idempotent and never retried**: when the answer is lost the
    /// token may exist, or may come to exist later. The name is sent as it is. What was granted is in the answer; it may
    /// differ from `rows`, and the caller has to compare.
    ///
    /// # Errors
    /// `Ambiguous` if a token may have been made: no or half an answer, a 5xx, a redirect, words that are not the
    /// service's, an answer without a usable id, uid or string. Every other class: nothing was made. `Rejected` also,
    /// unsent, for no rows at all or a project id below 1.
    async fn create(&self, name: &str, rows: &GrantRows) -> Result<Created, BackendError>;

    /// Posts the permissions of a token that has none: the older second call. The service accepts it once, so it is never
    /// retried.
    ///
    /// # Errors
    /// `Rejected` if the token has permissions already, or, unsent, as for [`Backend::create`]; `Ambiguous` if the answer
    /// was lost. Every other class: nothing was granted.
    async fn grant(&self, token: TokenId, rows: &GrantRows) -> Result<(), BackendError>;

    /// Gives a token another name; nothing else of it can be changed. Idempotent; retried. Documented, and never seen to be
    /// used by anybody [ASSUMED to work on every active token].
    ///
    /// # Errors
    /// Any class; `Rejected` or `Denied` if the service does not rename this token, `Ambiguous` if it may have.
    async fn rename(&self, token: TokenId, name: &str) -> Result<(), BackendError>;

    /// Makes one call with a token's own string. Idempotent; retried a few times where the answer is inconclusive, and
    /// after a refusal, since a new token may be refused for a short time: a refusal takes about half a minute. Given only
    /// if the account's own credential fares better on the same host.
    async fn verify(&self, probe: Probe, token: &TokenString) -> Verdict;

    /// Every Semantic Layer credential of the account that is linked to a token, deleted tokens included where the service
    /// lists them. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`. `Denied` also if the plan of the account has no Semantic Layer, or the credential may not
    /// see it. `Malformed` also if a single credential is not believed: another account's, or without its project or its
    /// tokens.
    async fn links(&self) -> Result<Vec<Link>, BackendError>;

    /// Links a Semantic Layer credential to a token. **Not idempotent and never retried**: the service refuses a second
    /// link of a token in one project, so the caller reads first, after a lost answer as well.
    ///
    /// # Errors
    /// `Rejected` or `Denied` if the service refuses; `Ambiguous` if the answer was lost. Every other class: nothing was
    /// linked.
    async fn link(&self, link: Link) -> Result<(), BackendError>;

    /// Revokes a token. Idempotent; retried. `Ok` says that the service took the request, or does not know the token; that
    /// it is gone must be observed afterwards.
    ///
    /// # Errors
    /// Any class; `Ambiguous` if it may be revoked.
    async fn revoke(&self, token: TokenId) -> Result<(), BackendError>;
}

/// What the service says about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// The service's id of it.
    pub id: AccountId,
    /// Its name; empty if the service gives none.
    pub name: String,
    /// Its plan, as the service spells it; an open list, empty if the service gives none.
    pub plan: String,
    /// Whether it is locked, with the service's words for why, or words that say that it gives no reason.
    pub locked: Option<String>,
}

/// The answer to a read of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there, active or not.
    Found(Token),
    /// It is not there, and the credential may see tokens.
    Absent,
}

/// A token that was just created. Its string exists nowhere else.
pub struct Created {
    /// The service's id; 1 or more.
    pub id: TokenId,
    /// The service's short identifier; not empty.
    pub uid: TokenUid,
    /// What the service says that it granted; empty if it says nothing.
    pub rows: GrantRows,
    /// The string: not empty, visible ASCII. Its form is not checked beyond that, since it may change.
    pub string: TokenString,
}

/// What a live check says about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The service accepted the token and the call.
    Passed,
    /// The service refused the token or the call, for good.
    Refused {
        /// Status and message, without secrets.
        detail: String,
    },
    /// Neither: a time-out, a rate limit, a 5xx, an IP restriction, or a refusal while the credential does not work either.
    Inconclusive {
        /// Why, without secrets.
        detail: String,
    },
}

/// A failure of the service or on the way to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed: {detail}")]
pub struct BackendError {
    /// What was attempted, such as `list tokens of account 7`.
    pub operation: String,
    /// What happened, for a person: without secrets and control characters, some 600 characters at most.
    pub detail: String,
    /// What it means.
    pub class: ErrorClass,
}

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// 401: the credential is wrong or revoked, or the host is not this account's.
    CredentialRefused,
    /// 401 that speaks of an unpaid or locked account.
    AccountLocked,
    /// 403 of an IP restriction: the cluster's address is not on the account's list.
    IpRefused,
    /// 403 or 404: not permitted, or not there; dbt answers both alike.
    Denied,
    /// 400 and other 4xx, or a request that cannot be sent: refused; the message is for the user.
    Rejected {
        /// The service's own message with its details, cut to some 500 characters.
        message: String,
    },
    /// 429, or our own limiter's cool-down after one.
    Throttled {
        /// Not before this time: what the service said, an hour at most, or five minutes if it said nothing.
        until: Timestamp,
    },
    /// DNS, TLS, time-out, 5xx, an HTML page: a retry mends it. After a change: nothing was sent.
    Unavailable,
    /// A change was sent and the answer was lost, or says nothing.
    Ambiguous,
    /// The answer makes no sense, is a redirect, or is larger than the limit. Only after a read.
    Malformed,
}

impl ErrorClass {
    /// The word for metrics and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::CredentialRefused => "credential_refused",
            Self::AccountLocked => "account_locked",
            Self::IpRefused => "ip_refused",
            Self::Denied => "denied",
            Self::Rejected { .. } => "rejected",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable => "unavailable",
            Self::Ambiguous => "ambiguous",
            Self::Malformed => "malformed",
        }
    }
}
