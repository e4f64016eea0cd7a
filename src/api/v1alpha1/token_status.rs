//! What the operator reports about a `ServiceToken`, and the ledger, which it trusts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeletionPolicy;
use crate::api::schema;

/// What is. Written only by the operator; nobody else may write it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTokenStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, TokenUsable, Rotating; Reconciling and Stalled only while true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The published token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<PublishedToken>,
    /// Replaced tokens that wait for their end, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), transform = schema::list_by("id"))]
    pub retiring_tokens: Vec<RetiringToken>,
    /// What the operator does next for this object, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<NextStep>,
    /// When the next rotation that is known today is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,
    /// When the Secret last got another token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation_time: Option<Time>,
    /// The value of the annotation tokens.dbt-operator.dev/rotate-at that was last dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub last_handled_rotate_at: Option<String>,
    /// Under dryRun, what would be done from here to rest, in order: the first 20 steps. Absent if nothing would be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), transform = schema::atomic_list())]
    pub plan: Vec<PlannedStep>,
    /// The last five replacements, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), transform = schema::atomic_list())]
    pub history: Vec<HistoryEntry>,
    /// The values in force, with the defaults of the code filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<TokenEffective>,
    /// The operator's own record, by serials (one serial is one attempt to make or adopt a token). It is trusted: give
    /// nobody else the right to write status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
}

/// The published token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedToken {
    /// dbt's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// dbt's short identifier, which dbt also lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// The name in dbt, with the operator's mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub name: Option<String>,
    /// When dbt made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// When the Secret got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication_time: Option<Time>,
    /// Made on or before 18 July 2023 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<bool>,
    /// Not made by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<bool>,
    /// What dbt reports that it may do, with project ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200), transform = schema::atomic_list())]
    pub permissions: Vec<ReportedPermission>,
}

/// One permission set, as dbt reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedPermission {
    /// dbt's identifier of the set.
    pub permission_set: String,
    /// On every project of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_projects: Option<bool>,
    /// On these projects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), transform = schema::atomic_list())]
    pub projects: Vec<ReportedProject>,
    /// Kinds of environments in which it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = schema::atomic_list())]
    pub writable_environments: Vec<String>,
}

/// A project, as dbt reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReportedProject {
    /// dbt's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One replaced token that waits for its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetiringToken {
    /// dbt's id.
    pub id: i64,
    /// dbt's short identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// When dbt made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<Time>,
    /// When the Secret stopped holding it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement_time: Option<Time>,
    /// When waiting ends (rotation.retire.deadline).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_time: Option<Time>,
    /// The rules that do not hold yet. Empty means that it goes next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), transform = schema::list_by("rule"))]
    pub waiting_for: Vec<WaitingFor>,
}

/// A rule of retirement that does not hold yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingFor {
    /// Overlap, Pods, Restart, AdoptSource, LastUsed, Secret or Verification.
    #[schemars(length(max = 32))]
    pub rule: String,
    /// What is waited for, with names and times.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// What the operator does next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NextStep {
    /// Adopt, Create, Verify, Publish, Restart, Retire, Rotate, Delete or Wait.
    #[schemars(length(max = 32))]
    pub action: String,
    /// Why the token is to be replaced, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cause: Option<String>,
    /// Not before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The step in words.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// One step of a dry run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedStep {
    /// Adopt, Create, Verify, Publish, Restart, Retire, Rotate, Delete or Wait.
    #[schemars(length(max = 32))]
    pub action: String,
    /// Not before this time. Absent if it comes at once, or so long after the step before it as that says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The step in words.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// One replacement of the past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Why the token was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cause: Option<String>,
    /// dbt's id of the new token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i64>,
    /// dbt's id of the token that it replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_token_id: Option<i64>,
    /// When the Secret got the new token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication_time: Option<Time>,
    /// When the previous token was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retirement_time: Option<Time>,
}

/// The values in force, with the defaults of the code filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenEffective {
    /// The name in dbt, without the mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// The keys of the Secret that the operator writes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), transform = schema::atomic_list())]
    pub secret_keys: Vec<String>,
    /// Revoke or Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<String>,
    /// Whether a token that no call can try is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unproven: Option<bool>,
    /// Rotate or Report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<String>,
    /// Age at which the token is replaced; absent if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// Shortest time that both tokens live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_after: Option<String>,
    /// Time that a kubelet may take to refresh a mounted Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_sync: Option<String>,
    /// How long dbt must have seen no use of the old token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_period: Option<String>,
    /// When waiting for the old token's readers ends; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Hold or Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<String>,
}

/// The operator's own record of serials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The installation whose ledger this is; one of another installation counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub installation: Option<String>,
    /// The highest serial ever used for this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<i64>,
    /// The attempt under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<LedgerNext>,
    /// The published token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<LedgerEntry>,
    /// The tokens that wait for their retirement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), transform = schema::atomic_list())]
    pub retiring: Vec<LedgerEntry>,
    /// The policy under which the object's deletion began; final from the first revocation on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionPolicy>,
    /// A person called the token of this serial compromised; it and every older one are revoked without an overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compromised: Option<i64>,
    /// Up to this serial no workload is owed a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted: Option<i64>,
    /// Highest serial of a token that this ledger does not know; while set, nothing of this object is revoked until a
    /// person confirms it on the DbtAccount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_back: Option<i64>,
}

/// The attempt under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerNext {
    /// Its serial.
    pub serial: i64,
    /// Fingerprint of the grants it was opened for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub fingerprint: Option<String>,
    /// Attempts in a row that were given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// Why it was opened, in the words of status.history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub cause: Option<String>,
}

/// A token that the ledger names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Its serial.
    pub serial: i64,
    /// dbt's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<i64>,
}
