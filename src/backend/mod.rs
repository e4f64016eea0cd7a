//! What the operator needs of the service that makes tokens, in the planner's words. Knows nothing of HTTP or Kubernetes.

pub mod dbt;

use std::collections::BTreeMap;

use async_trait::async_trait;
use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::{EnvironmentId, ProjectId, TokenId, TokenUid};
use dbt_token_planner::observation::{Project, Token};
use dbt_token_planner::permission::Probe;
use jiff::Timestamp;

use crate::token::TokenString;

/// One account of the service. One method is one logical exchange; a shared instance per account keeps the rate limit.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What the account says about itself. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn account(&self) -> Result<AccountInfo, BackendError>;

    /// Every token of the account, deleted ones included where the service lists them. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn list(&self) -> Result<Vec<Token>, BackendError>;

    /// One token. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`. A 404 is an answer, not an error, but only after the same credential proved itself on
    /// another call.
    async fn get(&self, token: TokenId) -> Result<Lookup, BackendError>;

    /// The active projects. Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn projects(&self) -> Result<Vec<Project>, BackendError>;

    /// For each project, a deployment environment (production before others, then the lowest id). Idempotent; retried.
    ///
    /// # Errors
    /// Any class but `Ambiguous`.
    async fn environments(&self) -> Result<BTreeMap<ProjectId, EnvironmentId>, BackendError>;

    /// Creates a token with its grants in one call. **Not idempotent and never retried**: when the answer is lost the
    /// token may exist, or may come to exist later.
    ///
    /// # Errors
    /// `Rejected` if nothing was made; `Ambiguous` if something may have been; others before anything was sent.
    async fn create(&self, name: &str, rows: &GrantRows) -> Result<Created, BackendError>;

    /// Posts the permissions of a token that has none: the older second call. The service accepts it once.
    ///
    /// # Errors
    /// `Rejected` if the token has permissions already; `Ambiguous` if the answer was lost.
    async fn grant(&self, token: TokenId, rows: &GrantRows) -> Result<(), BackendError>;

    /// Makes one call with a token's own string. Idempotent; retried a few times where the answer is inconclusive, and
    /// after a 401, since a new token may be refused for a short time.
    async fn verify(&self, probe: Probe, token: &TokenString) -> Verdict;

    /// Revokes a token. Idempotent; that it is gone must be observed afterwards.
    ///
    /// # Errors
    /// Any class.
    async fn revoke(&self, token: TokenId) -> Result<(), BackendError>;
}

/// What the service says about the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// Its name.
    pub name: String,
    /// Its plan, as the service spells it.
    pub plan: String,
    /// Whether it is locked, with the service's words for why.
    pub locked: Option<String>,
}

/// The answer to a read of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there, active or not.
    Found(Token),
    /// It is not there, and the credential works.
    Absent,
}

/// A token that was just created. Its string exists nowhere else.
pub struct Created {
    /// The service's id.
    pub id: TokenId,
    /// The service's short identifier.
    pub uid: TokenUid,
    /// What the service says that it granted.
    pub rows: GrantRows,
    /// The string.
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
    /// What happened, for a person, without secrets.
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
    /// 403 of an IP restriction.
    IpRefused,
    /// 403 or 404: not permitted, or not there; dbt answers both alike.
    Denied,
    /// 400: the request is refused; the message is for the user.
    Rejected {
        /// The service's own message.
        message: String,
    },
    /// 429, or our own limiter's cool-down after one.
    Throttled {
        /// Not before this time.
        until: Timestamp,
    },
    /// DNS, TLS, time-out, 5xx: a retry mends it.
    Unavailable,
    /// A change was sent and the answer was lost.
    Ambiguous,
    /// The answer makes no sense, or is larger than the limit.
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
