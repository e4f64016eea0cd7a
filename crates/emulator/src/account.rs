//! The truth: one dbt Cloud account held in memory. Data and the lookups on it; the operations that
//! change tokens are in `tokens.rs`, and nothing here knows HTTP.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::secret::StringFormat;

/// The id of a service token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(
    /// The number as the API shows it.
    pub i64,
);

impl std::fmt::Display for TokenId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One row of a token's permissions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The permission set, as `job_admin`.
    pub permission_set: String,
    /// The one project it covers, or every project.
    #[serde(default)]
    pub project_id: Option<i64>,
    /// Environment categories it may write, stored as they were sent.
    #[serde(default)]
    pub writable_environment_categories: Vec<String>,
}

impl Grant {
    /// `permission_set` on every project.
    pub fn new(permission_set: &str) -> Self {
        Self { permission_set: permission_set.to_owned(), project_id: None, writable_environment_categories: Vec::new() }
    }

    /// The same grant limited to one project.
    #[must_use]
    pub fn in_project(mut self, project_id: i64) -> Self {
        self.project_id = Some(project_id);
        self
    }

    /// The same grant with write categories.
    #[must_use]
    pub fn writing(mut self, categories: &[&str]) -> Self {
        self.writable_environment_categories = categories.iter().map(|category| (*category).to_owned()).collect();
        self
    }
}

/// A permission row as the two-step form sees it: a grant with an id of its own.
#[derive(Clone, Debug)]
pub(crate) struct PermissionRow {
    pub(crate) id: i64,
    pub(crate) grant: Grant,
    pub(crate) created_at: Timestamp,
}

/// A token as it truly is. The string is not here: `Account::strings` leads from string to token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: TokenId,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) format: StringFormat,
    pub(crate) active: bool,
    pub(crate) permissions: Vec<PermissionRow>,
    /// Whether permissions were ever set; from then on they cannot be changed.
    pub(crate) assigned: bool,
    pub(crate) metadata_only: bool,
    pub(crate) webhooks_only: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) last_used: Option<Timestamp>,
    /// The token that created it; none for the seed and the library.
    pub(crate) created_by: Option<TokenId>,
    /// Answered 401 before this instant.
    pub(crate) usable_from: Option<Instant>,
    /// After deletion it still works until this instant.
    pub(crate) usable_until: Option<Instant>,
}

impl Token {
    /// The grants, with the deprecated flags counted as the sets they stood for `[ASSUMED]`.
    pub(crate) fn effective_grants(&self) -> Vec<Grant> {
        let mut grants: Vec<Grant> = self.permissions.iter().map(|row| row.grant.clone()).collect();
        if self.metadata_only {
            grants.push(Grant::new("metadata_only"));
        }
        if self.webhooks_only {
            grants.push(Grant::new("webhooks_only"));
        }
        grants
    }

    /// Whether the string of this token opens anything at `now`.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        let started = self.usable_from.is_none_or(|from| now >= from);
        let lives = self.active || self.usable_until.is_some_and(|until| now < until);
        started && lives
    }
}

/// A project.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) kind: i64,
    pub(crate) active: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// An environment, as seeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its id.
    pub id: i64,
    /// The project it belongs to.
    pub project_id: i64,
    /// Its name.
    pub name: String,
    /// `deployment` (the default) or `development`.
    #[serde(default = "deployment", rename = "type")]
    pub kind: String,
    /// `production`, `staging` or none.
    #[serde(default)]
    pub deployment_type: Option<String>,
    /// What Discovery names as the adapter.
    #[serde(default = "postgres")]
    pub adapter_type: String,
    /// Metrics deployed to the Semantic Layer. With none, Semantic Layer queries are answered
    /// `User is not authorized` even for good credentials, as the real service does.
    #[serde(default)]
    pub metrics: Vec<String>,
}

fn deployment() -> String {
    "deployment".to_owned()
}

fn postgres() -> String {
    "postgres".to_owned()
}

/// A job, as seeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its id.
    pub id: i64,
    /// The project it belongs to.
    pub project_id: i64,
    /// The environment it runs in.
    pub environment_id: i64,
    /// Its name.
    pub name: String,
}

/// A Semantic Layer credential, as seeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemanticLayerCredential {
    /// Its id.
    pub id: i64,
    /// The project it belongs to.
    pub project_id: i64,
    /// Its name.
    pub name: String,
    /// The adapter version it was made for.
    #[serde(default = "postgres_adapter")]
    pub adapter_version: String,
}

fn postgres_adapter() -> String {
    "postgres_v0".to_owned()
}

/// A link from a Semantic Layer credential to a service token, as seeded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Its id.
    pub id: i64,
    /// The project in which it holds.
    pub project_id: i64,
    /// The credential.
    pub semantic_layer_credentials_id: i64,
    /// The token.
    pub service_token_id: TokenId,
}

/// A line of the audit log.
#[derive(Clone, Debug)]
pub(crate) struct AuditEvent {
    pub(crate) id: i64,
    pub(crate) time: Timestamp,
    pub(crate) event_type: &'static str,
    pub(crate) token_id: TokenId,
    pub(crate) actor: Option<TokenId>,
}

/// The account and everything in it.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) plan: String,
    pub(crate) static_subdomain: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) projects: BTreeMap<i64, Project>,
    pub(crate) environments: BTreeMap<i64, Environment>,
    pub(crate) jobs: BTreeMap<i64, Job>,
    pub(crate) tokens: BTreeMap<TokenId, Token>,
    pub(crate) credentials: BTreeMap<i64, SemanticLayerCredential>,
    pub(crate) mappings: BTreeMap<i64, Mapping>,
    pub(crate) events: Vec<AuditEvent>,
    /// Every string ever known, deleted tokens' too.
    pub(crate) strings: HashMap<String, TokenId>,
    /// The same strings in the order in which they became known.
    pub(crate) issued: Vec<String>,
    pub(crate) next_token_id: i64,
    pub(crate) next_id: i64,
}

impl Account {
    /// The next id for anything but a token.
    pub(crate) fn take_id(&mut self) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// The token that `string` belongs to, usable or not.
    pub(crate) fn token_of(&self, string: &str) -> Option<&Token> {
        self.strings.get(string).and_then(|id| self.tokens.get(id))
    }

    /// Whether the project exists and is not deleted.
    pub(crate) fn has_project(&self, project_id: i64) -> bool {
        self.projects.get(&project_id).is_some_and(|project| project.active)
    }

    /// Adds a line to the audit log.
    pub(crate) fn record(&mut self, event_type: &'static str, token_id: TokenId, actor: Option<TokenId>) {
        let id = self.take_id();
        self.events.push(AuditEvent { id, time: Timestamp::now(), event_type, token_id, actor });
    }
}
