//! dbt Cloud as a backend. Here: what a connection is and how it is opened; the operations are in `operations.rs`, the
//! probes in `verify.rs`, one exchange in `http.rs`, all JSON in `wire.rs`.
//!
//! Nothing here was ever run against the real service. What rests on documents is tagged `[DOC]`, what rests on published
//! captures and other clients `[OBS]`, and what is neither `[ASSUMED]`.

mod call;
mod classify;
mod convert;
mod credential;
mod endpoints;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod held;
mod http;
mod limiter;
mod list;
mod operations;
mod tls;
mod verify;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dbt_token_planner::identity::AccountId;
use hyper::header::HeaderValue;

pub use self::call::{Meter, Now, REPETITION_DELAY, Unmetered};
pub use self::credential::{contains_uid, credential_uid};
pub use self::endpoints::{DerivedEndpoints, derive_endpoints};
pub use self::held::{HeldString, find_string, holds};
pub use self::http::{BODY_LIMIT, CALL_TIMEOUT, CONNECT_TIMEOUT};
pub use self::limiter::{DEFAULT_REQUESTS_PER_MINUTE, Limiter};
pub use self::verify::VERIFICATION_PAUSES;

use self::call::{Call, Caller, Route};
use self::classify::Problem;
use self::credential::{Scheme, authorization};
use self::endpoints::{Address, Plaintext, Unusable};
use self::http::{Answer, Limits, Transport};
use self::tls::Untrusted;
use crate::backend::{BackendError, ErrorClass};
use crate::token::TokenString;

/// What most functions here fail with. Boxed, since an error is larger than most answers.
type Failed = Box<BackendError>;

/// Where an account is and how it may be reached. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The account's access URL: scheme and host, for example `https://ab123.us1.dbt.com`. A last slash is dropped.
    pub access_url: String,
    /// The account. Ids are larger than 32 bits in the wild.
    pub account_id: AccountId,
    /// The whole URL of Discovery; `None`: derived from the access URL (see [`derive_endpoints`]).
    pub discovery_url: Option<String>,
    /// The whole URL of the Semantic Layer; `None`: derived from the access URL.
    pub semantic_layer_url: Option<String>,
    /// PEM certificates that are trusted beside the machine's own roots.
    pub ca_bundle: Option<Vec<u8>>,
    /// Whether `http` is allowed for loopback hosts. For every other host it never is.
    pub allow_insecure: bool,
    /// Requests a minute that all callers share; at least 1. See [`DEFAULT_REQUESTS_PER_MINUTE`].
    pub requests_per_minute: u32,
}

/// Why a connection cannot be opened. No variant repeats the address or the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// An address cannot be used.
    #[error("{field} {reason}")]
    InvalidUrl {
        /// The field of the connection, as users write it: `accessUrl`, `endpoints.discovery`, `endpoints.semanticLayer`.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An address is `http` where only `https` is allowed.
    #[error(
        "{field} must start with https://; http is for loopback hosts alone, and only where the operator was started with it"
    )]
    InsecureEndpoint {
        /// The field of the connection, as users write it.
        field: &'static str,
    },
    /// The bundle is not PEM, holds no certificate, or one that cannot be a root.
    #[error("the CA bundle {reason}")]
    CaBundleInvalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Neither the machine nor the bundle has a root certificate.
    #[error("no certificate can be trusted: {reason}")]
    NoRoots {
        /// What the trust store says.
        reason: String,
    },
    /// The credential is empty or holds characters that no header can carry, a line break for example.
    #[error("the credential is empty or holds characters that a token cannot have")]
    CredentialUnusable,
    /// The account's id is below 1.
    #[error("the account id must be 1 or more")]
    AccountIdInvalid,
}

/// Waiting times; parameters so that tests need not wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time to open a TCP connection.
    pub connect: Duration,
    /// Time for a whole exchange.
    pub call: Duration,
    /// Delay before the first repetition of a call that may be repeated.
    pub repetition_delay: Duration,
    /// Pauses between the tries of a probe; there is one try more than there are pauses.
    pub verification_pauses: Vec<Duration>,
    /// Bytes of one answer.
    pub body_limit: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            call: CALL_TIMEOUT,
            repetition_delay: REPETITION_DELAY,
            verification_pauses: VERIFICATION_PAUSES.to_vec(),
            body_limit: BODY_LIMIT,
        }
    }
}

/// What a connection shares with the rest of the process.
#[derive(Clone)]
pub struct Surroundings {
    /// The account's limiter. The same one must be handed on when a connection is replaced (new credential, new address):
    /// dbt's limit and its cool-down are the account's.
    pub limiter: Arc<Limiter>,
    /// Is told of every exchange.
    pub meter: Arc<dyn Meter>,
    /// Tells the time, for `Throttled { until }`.
    pub now: Now,
    /// Waiting times.
    pub timing: Timing,
}

/// One account of dbt Cloud, with the credential by which it is reached. Cheap to share behind an `Arc`.
pub struct DbtCloud {
    account: AccountId,
    access: Address,
    discovery: Option<Address>,
    semantic_layer: Option<Address>,
    /// Admin API and Discovery.
    token_header: HeaderValue,
    /// The Semantic Layer.
    bearer_header: HeaderValue,
    caller: Caller,
    verification_pauses: Vec<Duration>,
}

impl fmt::Debug for DbtCloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DbtCloud")
            .field("account", &self.account)
            .field("host", &self.access.host())
            .finish_non_exhaustive()
    }
}

impl DbtCloud {
    /// Opens a connection: checks addresses, credential and trust. Makes no call, so a wrong credential or a dead host
    /// shows with the first operation; reads the machine's roots from disk, once. The limiter of `surroundings` gets the
    /// connection's rate.
    ///
    /// # Errors
    /// See [`ConnectError`]; all of them are for a person to mend.
    pub fn connect(connection: &Connection, credential: &TokenString, surroundings: Surroundings) -> Result<Self, ConnectError> {
        let Connection { account_id, access_url, ca_bundle, .. } = connection;
        let account = AccountId::new(account_id.0).ok_or(ConnectError::AccountIdInvalid)?;
        let plaintext = if connection.allow_insecure { Plaintext::OnLoopback } else { Plaintext::Refused };
        let access = Address::origin(access_url, plaintext).map_err(|error| unusable("accessUrl", error))?;
        let derived = derive_endpoints(access_url);
        let graphql = |field, given: &Option<String>, derived: Option<String>| {
            let text = given.clone().or(derived);
            text.map(|text| Address::full(&text, plaintext)).transpose().map_err(|error| unusable(field, error))
        };
        let (discovery, semantic_layer) = derived.map(|derived| (derived.discovery, derived.semantic_layer)).unzip();
        let discovery = graphql("endpoints.discovery", &connection.discovery_url, discovery)?;
        let semantic_layer = graphql("endpoints.semanticLayer", &connection.semantic_layer_url, semantic_layer)?;
        let addresses = [Some(&access), discovery.as_ref(), semantic_layer.as_ref()];
        let tls = if addresses.into_iter().flatten().any(Address::is_encrypted) {
            tls::client_config(ca_bundle.as_deref())
        } else {
            tls::distrustful_config()
        };
        let tls = tls.map_err(|error| match error {
            Untrusted::Bundle(reason) => ConnectError::CaBundleInvalid { reason },
            Untrusted::NoRoots(reason) => ConnectError::NoRoots { reason },
        })?;
        let header = |scheme| authorization(scheme, credential).ok_or(ConnectError::CredentialUnusable);
        let (token_header, bearer_header) = (header(Scheme::Token)?, header(Scheme::Bearer)?);
        let Surroundings { limiter, meter, now, timing } = surroundings;
        limiter.set_requests_per_minute(connection.requests_per_minute);
        let limits = Limits { connect: timing.connect, call: timing.call, body: timing.body_limit };
        let caller = Caller {
            transport: Transport::new(tls, connection.allow_insecure, limits),
            limiter,
            meter,
            now,
            repetition_delay: timing.repetition_delay,
            spread: AtomicU64::new(account.0.unsigned_abs()),
        };
        let verification_pauses = timing.verification_pauses;
        Ok(Self { account, access, discovery, semantic_layer, token_header, bearer_header, caller, verification_pauses })
    }

    /// A call of the Admin API with the account's own credential.
    async fn admin(
        &self,
        route: &'static Route,
        path_and_query: &str,
        body: Option<Vec<u8>>,
        what: &str,
    ) -> Result<Answer, Failed> {
        let call = self.admin_call(route, path_and_query, body).map_err(|problem| self.failed(what, problem))?;
        self.caller.call(&call, &self.token_header).await.map_err(|problem| self.failed(what, problem))
    }

    fn admin_call(&self, route: &'static Route, path_and_query: &str, body: Option<Vec<u8>>) -> Result<Call, Problem> {
        let uri = self.access.join(path_and_query).ok_or_else(unsayable)?;
        Ok(Call { route, uri, body })
    }

    /// `what` as in `list tokens`.
    fn failed(&self, what: &str, problem: Problem) -> Failed {
        let operation = format!("{what} of account {}", self.account);
        Box::new(BackendError { operation, detail: problem.detail, class: problem.class })
    }
}

fn unsayable() -> Problem {
    let message = "the address cannot be put together".to_owned();
    Problem::new(ErrorClass::Rejected { message: message.clone() }, message)
}

fn unusable(field: &'static str, error: Unusable) -> ConnectError {
    match error {
        Unusable::Invalid(reason) => ConnectError::InvalidUrl { field, reason },
        Unusable::Insecure => ConnectError::InsecureEndpoint { field },
    }
}

#[cfg(test)]
mod tests;
