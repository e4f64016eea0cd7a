//! Turns the errors of the layers below into what the planner and people are told. No secrets, whatever the source.

use std::error::Error;

use dbt_token_planner::identity::TokenId;
use dbt_token_planner::link::{Inheritance, Link};
use dbt_token_planner::observation::TroubleKind;
use dbt_token_planner::report::Event;

use super::retry::Failure;
use crate::account::ReadError;
use crate::backend::{BackendError, ErrorClass};
use crate::cluster::failure::Class;

/// A failed call to dbt.
pub fn dbt_failure(error: &BackendError) -> Failure {
    let not_before = match &error.class {
        ErrorClass::Throttled { until } => Some(*until),
        _ => None,
    };
    Failure { kind: TroubleKind::DbtUnavailable, message: error.to_string(), not_before, stale: false }
}

/// dbt says that it made a token which it had listed before.
pub fn not_new(token: TokenId) -> Failure {
    let message = format!("dbt says that the new token is {token}, which it listed before; what it really made is revoked");
    Failure { kind: TroubleKind::DbtUnavailable, message, not_before: None, stale: false }
}

/// The links of the tokens that are replaced could not be read. dbt answers 403 or 404 where an account has no Semantic
/// Layer and where the credential may not see it alike; since a token was granted it, the second is what a person can mend.
pub fn links_unreadable(error: &BackendError, inheritance: &Inheritance) -> Failure {
    let tokens: Vec<String> = inheritance.from.iter().map(ToString::to_string).collect();
    let what = format!("the Semantic Layer credentials that are linked to token {} cannot be read", tokens.join(", "));
    link_failure(error, TroubleKind::LinksUnreadable, &what)
}

/// A credential could not be linked to the new token.
pub fn link_refused(error: &BackendError, link: Link) -> Failure {
    let what = format!("credential {} of project {} cannot be linked to token {}", link.credential, link.project, link.token);
    link_failure(error, TroubleKind::LinkRefused, &what)
}

/// Only what dbt clearly refuses is for a person to mend. After a lost answer the next try reads what is linked.
fn link_failure(error: &BackendError, kind: TroubleKind, what: &str) -> Failure {
    match error.class {
        ErrorClass::Denied | ErrorClass::Rejected { .. } => {
            Failure { kind, message: format!("{what}: {}", error.detail), not_before: None, stale: false }
        }
        _ => dbt_failure(error),
    }
}

/// A reading of the account that failed: the account's own conditions say more.
pub fn read_failure(error: &ReadError) -> Failure {
    Failure { kind: TroubleKind::DbtUnavailable, message: error.detail.clone(), not_before: Some(error.retry_at), stale: false }
}

/// The event that goes with the first failure of dbt in a row.
pub fn unavailable_event(failure: &Failure) -> Event {
    Event { warning: true, reason: "DbtUnavailable".into(), message: failure.message.clone() }
}

/// A failed call to the API server about one of our own things.
pub fn cluster(error: &dyn Error, class: Class) -> Failure {
    let stale = class == Class::Conflict;
    let message = match class {
        Class::Refused { message } => format!("{error}: {message}"),
        Class::Conflict | Class::Unavailable => chain(error),
    };
    Failure { kind: TroubleKind::Cluster, message, not_before: None, stale }
}

/// A failed call to the API server about the target: a refusal there is for the namespace's people to mend.
pub fn target(error: &dyn Error, class: Class, secret: &str) -> Failure {
    match class {
        Class::Refused { message } => Failure {
            kind: TroubleKind::SecretRefused,
            message: format!("the API server refuses Secret {secret}: {message}"),
            not_before: None,
            stale: false,
        },
        class => cluster(error, class),
    }
}

/// Something changed since it was looked at; looking again mends it.
pub fn stale(what: &str) -> Failure {
    Failure { kind: TroubleKind::Cluster, message: format!("{what}; it is looked at again"), not_before: None, stale: true }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
