//! Version `v1alpha1`: [`DbtAccount`] and [`ServiceToken`] exactly as users write them, with the schema, the rules and
//! the documentation that end up in the CRDs.
//!
//! Doc comments on fields are what `kubectl explain` shows, so they speak to users. No field of a spec has a default
//! in the schema: defaults are in [`crate::api::desired`], and the values in force in `status.effective`. Durations are
//! strings here ([`crate::api::duration`] reads them). Status words are plain strings, so that an operator can read what
//! a newer one has written.

mod account;
mod account_status;
mod common;
mod rotation;
mod rules;
mod token;
mod token_status;

pub use account::{
    AccountInventory, AccountLimits, AdoptionPolicy, CaBundleSecretRef, CredentialsRotation, CredentialsSecretRef, DbtAccount,
    DbtAccountSpec, Endpoints, Grant, GrantEnforcement, NamespaceSelector, SelectorOperator, SelectorRequirement,
};
pub use account_status::{AccountEffective, AccountFacts, CredentialStatus, DbtAccountStatus, Finding, TokenCounts};
pub use common::{LegacyPolicy, ProjectRef, WritableEnvironment};
pub use rotation::{OnDeadline, RestartKind, Retirement, Rotation, RotationWindow};
pub use token::{
    AccountRef, AdoptPermissions, AdoptSecretRef, Adoption, DeletionPolicy, Permission, SecretMetadata, SecretSpec,
    SecretTemplate, ServiceToken, ServiceTokenSpec, Verification,
};
pub use token_status::{
    HistoryEntry, Ledger, LedgerEntry, LedgerNext, NextStep, PlannedStep, PublishedToken, ReportedPermission, ReportedProject,
    RetiringToken, ServiceTokenStatus, TokenEffective, WaitingFor,
};
