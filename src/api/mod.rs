//! The API `tokens.dbt-operator.dev`: the two custom resources as users write them, the CRDs generated from them, and
//! the only place where user input is judged.
//!
//! What a schema can judge is in the CRD and never arrives here; what it cannot judge becomes a
//! [`Refusal`](dbt_token_planner::desired::Refusal), and from there a condition. This module never talks to the API server
//! or to dbt.

pub mod crd;
pub mod desired;
pub mod desired_account;
mod desired_retirement;
mod desired_rotation;
pub mod duration;
#[cfg(test)]
mod edits;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod manifests;
mod schema;
pub mod template;
pub mod v1alpha1;

/// The API group of both kinds, and the prefix of every label and annotation of the operator.
pub const GROUP: &str = "tokens.dbt-operator.dev";

/// Annotations and other names that belong to the API without being in a schema.
pub mod names {
    /// On a ServiceToken: any new value rotates the token once.
    pub const ROTATE_AT: &str = "tokens.dbt-operator.dev/rotate-at";
    /// On a ServiceToken: counts only if it equals [`ROTATE_AT`]; then the old token goes without waiting for readers.
    pub const COMPROMISED: &str = "tokens.dbt-operator.dev/compromised";
    /// On a DbtAccount: a person's word on what a condition asks; counts only with the value that the condition names.
    pub const CONFIRM: &str = "tokens.dbt-operator.dev/confirm";
    /// On a Secret, set by its owner: name of the ServiceToken that may take over this very Secret.
    pub const ADOPT_BY: &str = "tokens.dbt-operator.dev/adopt-by";
    /// On a Secret, by the operator: name of the ServiceToken that it belongs to.
    pub const SERVICE_TOKEN: &str = "tokens.dbt-operator.dev/service-token";
    /// On a Secret, by the operator: dbt's id of the token that it holds.
    pub const TOKEN_ID: &str = "tokens.dbt-operator.dev/token-id";
    /// On a Secret, by the operator: dbt's short identifier of the token that it holds.
    pub const TOKEN_UID: &str = "tokens.dbt-operator.dev/token-uid";
    /// On a Secret, by the operator: since when it holds this token.
    pub const PUBLISHED_AT: &str = "tokens.dbt-operator.dev/published-at";
    /// Label on a Secret that the operator wrote; its value is `true`.
    pub const MANAGED: &str = "tokens.dbt-operator.dev/managed";
    /// The finalizer of a ServiceToken: the only thing that the operator writes to the metadata of its objects.
    pub const FINALIZER: &str = "tokens.dbt-operator.dev/revoke";
}
