//! The switches: how this dbt Cloud behaves where the real one is unknown, differs between
//! installations, or is in a bad state for a while. A fault (`fault.rs`) hits single calls; a mode
//! holds for all of them.

use serde::{Deserialize, Serialize};

/// All switches. The defaults are the documented or observed behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Modes {
    /// How the list of service tokens treats `limit` and `offset` (unknown for the real service).
    pub list_paging: ListPaging,
    /// Whether that list honours `state` (unknown for the real service).
    pub list_honours_state: bool,
    /// Whether that list shows deleted tokens when no `state` narrows it (observed: yes).
    pub list_includes_deleted: bool,
    /// What GET answers for a deleted token.
    pub deleted_get: DeletedGet,
    /// What a second DELETE answers: 404 if set, else 204 again. `[ASSUMED]` either way.
    pub repeat_delete_not_found: bool,
    /// An older installation: create ignores `permission_grants`, the second call is needed.
    pub create_ignores_grants: bool,
    /// A lying backend: created tokens really get grants that differ from the request.
    pub create_alters_grants: Option<GrantChange>,
    /// Whether posting an empty array of permissions counts as assigning them. `[ASSUMED]` no.
    pub empty_permissions_assign: bool,
    /// Whether token names must be unique among active tokens (not known to be enforced).
    pub unique_names: bool,
    /// PUT refuses to rename (the documented call is unproven in the wild).
    pub rename_refused: bool,
    /// Whether lists refuse `limit` above 100 (multi-tenant does, single tenant does not).
    pub limit_enforced: bool,
    /// Whether GET on an Admin path without its last slash is redirected to the path with one, as
    /// clients that omit the slash rely on. `[ASSUMED]`; without it such a path is a plain 404.
    pub redirects_missing_slash: bool,
    /// What the Admin API answers a token that has GraphQL permission sets alone. `[ASSUMED]`.
    pub graphql_token_on_admin: Refusal,
    /// How Discovery answers a good token without the permission. `[ASSUMED]`.
    pub discovery_refusal: DiscoveryRefusal,
    /// Hides Semantic Layer credentials from every token, as seen in the provider's issue 446.
    pub semantic_layer_credentials_hidden: bool,
    /// Whether use of a token moves its `last_used`.
    pub tracks_last_used: bool,
    /// A fixed delay before each answer, in milliseconds.
    pub latency_ms: u64,
    /// A limit on Admin requests; none by default, so that tests do not meet it by chance.
    pub rate_limit: Option<RateLimit>,
    /// A limit on Discovery and Semantic Layer requests.
    pub graphql_rate_limit: Option<RateLimit>,
    /// The account is locked: every call gets 401 with a text about unpaid accounts.
    pub account_locked: bool,
    /// The caller's address is not allowed: every authenticated call gets the 403 body.
    pub ip_restricted: bool,
    /// For this many milliseconds after its creation a token is answered 401. `[ASSUMED]`.
    pub new_token_delay_ms: u64,
    /// For this many milliseconds after its deletion a token still works. `[ASSUMED]`.
    pub deleted_token_grace_ms: u64,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            list_paging: ListPaging::default(),
            list_honours_state: true,
            list_includes_deleted: true,
            deleted_get: DeletedGet::default(),
            repeat_delete_not_found: false,
            create_ignores_grants: false,
            create_alters_grants: None,
            empty_permissions_assign: false,
            unique_names: false,
            rename_refused: false,
            limit_enforced: true,
            redirects_missing_slash: false,
            graphql_token_on_admin: Refusal::default(),
            discovery_refusal: DiscoveryRefusal::default(),
            semantic_layer_credentials_hidden: false,
            tracks_last_used: true,
            latency_ms: 0,
            rate_limit: None,
            graphql_rate_limit: None,
            account_locked: false,
            ip_restricted: false,
            new_token_delay_ms: 0,
            deleted_token_grace_ms: 0,
        }
    }
}

/// How the token list treats `limit` and `offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListPaging {
    /// Both count.
    #[default]
    Honoured,
    /// Everything in one answer, whatever was asked.
    Everything,
    /// `offset` is ignored: the same first page again and again, with the true total count.
    FirstPage,
}

/// What GET answers for a deleted token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedGet {
    /// 200 with `state` 2.
    #[default]
    Shown,
    /// 404.
    NotFound,
}

/// How a created token's grants differ from those asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantChange {
    /// Every grant covers all projects.
    WidenProjects,
    /// Write categories are lost.
    DropWriteCategories,
    /// The last grant is lost.
    DropLast,
    /// Every grant has this permission set.
    ReplaceSet(String),
}

/// A refusal by the Admin API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// 404, as for any missing permission.
    #[default]
    NotFound,
    /// 401, as if the token were unknown.
    Unauthorized,
    /// 403 without the body of an address restriction.
    Forbidden,
}

/// A refusal by Discovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscoveryRefusal {
    /// 200 with `errors`.
    #[default]
    Errors,
    /// 403.
    Forbidden,
}

/// A request limit with the cool-down that follows when it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in any minute that starts with a request.
    pub per_minute: u64,
    /// How long 429 is answered after the limit was passed, in milliseconds.
    #[serde(default = "five_minutes")]
    pub cooldown_ms: u64,
    /// Whether 429 carries `Retry-After` (undocumented for the Admin API).
    #[serde(default)]
    pub retry_after: bool,
}

/// The documented cool-down.
fn five_minutes() -> u64 {
    5 * 60 * 1000
}
