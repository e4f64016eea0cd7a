//! What the operator reports about a `DbtAccount`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// What is. Written only by the operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DbtAccountStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What dbt says about the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountFacts>,
    /// The installation that bound this account first; another one stops and asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub installation: Option<String>,
    /// The operator's own token, found in the list by its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
    /// Counts of active tokens at the last change of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenCounts>,
    /// The first twenty tokens of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 120), transform = schema::atomic_list())]
    pub findings: Vec<Finding>,
    /// Names in grants that are not exactly one active project; they cover nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), transform = schema::atomic_list())]
    pub unresolved_projects: Vec<String>,
    /// The values in force, with the defaults of the code filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<AccountEffective>,
}

/// What dbt says about the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountFacts {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its plan, as dbt spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// The operator's own token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// dbt's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i64>,
    /// When dbt made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// Made on or before 18 July 2023 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<bool>,
}

/// Counts of active tokens at the last change of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenCounts {
    /// All of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<i32>,
    /// Those that belong to a ServiceToken of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<i32>,
    /// Those made on or before 18 July 2023.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<i32>,
    /// Those older than inventory.agedAfter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aged: Option<i32>,
    /// Those not used for inventory.unusedAfter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused: Option<i32>,
    /// Those with this installation's mark that no object owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strays: Option<i32>,
    /// Those with the mark of another installation of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_installations: Option<i32>,
    /// Those without a mark or an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmanaged: Option<i32>,
    /// When one of these counts last changed. The time of the last reading is a metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_time: Option<Time>,
}

/// A token that somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Legacy, Aged, Unused, Stray, Unmanaged or OverBroad.
    pub kind: String,
    /// dbt's id.
    pub token_id: i64,
    /// Its name in dbt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// When dbt made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
}

/// The values in force, with the defaults of the code filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountEffective {
    /// URL of the Discovery API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
    /// URL of the Semantic Layer's GraphQL API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic_layer_url: Option<String>,
    /// Calls to dbt per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<i32>,
    /// Tokens that may be created per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mints_per_hour: Option<i32>,
    /// How often the token list is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_interval: Option<String>,
    /// Report or Revoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_enforcement: Option<String>,
}
