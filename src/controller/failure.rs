//! Turns the errors of the layers below into what the planner and people are told. No secrets, whatever the source.

use std::error::Error;

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
