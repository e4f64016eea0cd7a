//! Parts that both kinds share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// A project, by id or by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::id_or_name())]
pub struct ProjectRef {
    /// dbt's id of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub id: Option<i64>,
    /// The project's exact name. It must belong to exactly one active project of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
}

/// A kind of environments of a project in which a permission set may write, in dbt's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WritableEnvironment {
    /// Every kind; stands alone and is sent to dbt as it is.
    All,
    /// Development environments.
    Development,
    /// Deployment environments of type staging.
    Staging,
    /// Deployment environments of type production.
    Production,
    /// Deployment environments without a type.
    Other,
}

/// What happens to a token that dbt made on or before 18 July 2023 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LegacyPolicy {
    /// It is replaced.
    Rotate,
    /// It is only reported.
    Report,
}
