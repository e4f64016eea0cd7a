//! `DbtAccount`: a connection to one account of dbt, and who may ask for what.
#![expect(clippy::duplicated_attributes, reason = "the printer columns of a kind share words; none is written twice")]
#![allow(rustdoc::bare_urls, reason = "kubectl explain would show the brackets of a link")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::common::{LegacyPolicy, ProjectRef, WritableEnvironment};
use super::{DbtAccountStatus, rules};
use crate::api::schema::{self, DAY, HOUR, duration, items, keyword, rule, values};

/// What is wanted. The operator never writes here; values that it chose by itself are in status.effective.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tokens.dbt-operator.dev",
    version = "v1alpha1",
    kind = "DbtAccount",
    plural = "dbtaccounts",
    status = "DbtAccountStatus",
    derive = "PartialEq",
    schema = "manual",
    shortname = "dacct",
    category = "dbt",
    doc = "A connection of the operator to one account of dbt, and which namespaces may ask for which tokens.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the operator can work with the account."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it can or cannot."
    ),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountId", description = "dbt's id of the account."),
    printcolumn(name = "Plan", type_ = "string", json_path = ".status.account.plan", description = "dbt's name of the plan."),
    printcolumn(
        name = "Managed",
        type_ = "string",
        json_path = ".status.tokens.managed",
        description = "Active tokens that belong to a ServiceToken of this cluster."
    ),
    printcolumn(
        name = "Legacy",
        type_ = "string",
        json_path = ".status.tokens.legacy",
        description = "Active tokens created on or before 18 July 2023, whoever owns them."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.accessUrl", priority = 1),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.tokens.active", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
pub struct DbtAccountSpec {
    /// The access URL shown in dbt's account settings, for example https://ab123.us1.dbt.com; scheme and host only.
    /// May be changed when dbt moves the account. http is accepted for loopback hosts, and only if the operator was
    /// started with --allow-insecure-endpoints.
    #[schemars(
        length(min = 1, max = 253),
        transform = rules::access_url_is_a_url(),
        transform = rules::access_url_is_https(),
        transform = rules::access_url_is_bare()
    )]
    pub access_url: String,
    /// dbt's id of the account. Cannot be changed.
    #[schemars(
        range(min = 1),
        transform = rule(
            "self == oldSelf",
            "accountId cannot be changed; create another DbtAccount for the other account"
        )
    )]
    pub account_id: i64,
    /// The Secret, in the operator's own namespace, that holds a service token with the permission set account_admin
    /// (owner on self-service plans). Personal tokens cannot create service tokens.
    pub credentials_secret_ref: CredentialsSecretRef,
    /// Lets the operator replace its own credential, swap then delete. Absent: it is reported, never replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_rotation: Option<CredentialsRotation>,
    /// Hosts that cannot be derived from accessUrl (single tenant).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// A Secret, in the operator's own namespace, with the PEM certificates of a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<CaBundleSecretRef>,
    /// Who may ask for what. A permission is allowed when each of its projects is covered by some grant that matches
    /// the namespace. No grants: nothing is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), transform = schema::atomic_list())]
    pub grants: Option<Vec<Grant>>,
    /// What happens to a published token whose grant was withdrawn. Report keeps it, makes no new one and says so;
    /// Revoke revokes it. Default: Report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_enforcement: Option<GrantEnforcement>,
    /// Brakes for the whole account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AccountLimits>,
    /// The shared reading of the account's token list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<AccountInventory>,
    /// Stops everything but deletion for all ServiceTokens of the account. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

impl JsonSchema for DbtAccount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DbtAccount".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::object::<DbtAccountSpec, DbtAccountStatus>(
            generator,
            "A DbtAccount connects the operator to one account of dbt and says which namespaces may ask for which \
             tokens. Nothing is allowed that no grant covers.",
            &[rules::short_name("DbtAccount")],
        )
    }
}

/// The Secret with the operator's own credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialsSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the token. Default: token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// The Secret with the certificates of a private CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaBundleSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the certificates. Default: ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// When the operator's own credential is replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsRotation {
    /// Rotate or Report a credential created on or before 18 July 2023 (UTC). Default: Rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacyPolicy>,
    /// Age at which it is replaced, from 1h to 3650d. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(HOUR, 3650 * DAY, "this duration lies between 1h and 3650d"))]
    pub max_age: Option<String>,
}

/// Hosts of dbt besides the one of accessUrl.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// URL of the Discovery API. Default: derived from accessUrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), transform = rules::endpoint_is_https())]
    pub discovery: Option<String>,
    /// URL of the Semantic Layer's GraphQL API. Default: derived from accessUrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), transform = rules::endpoint_is_https())]
    pub semantic_layer: Option<String>,
}

/// Permission sets that some namespaces may use on some projects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = rules::grant_namespaces(), transform = rules::grant_scope())]
pub struct Grant {
    /// Names of namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 63)),
        transform = schema::set(),
        transform = items(rule(
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "namespaces takes exact names of namespaces; for a group of them use namespaceSelector"
        ))
    )]
    pub namespaces: Option<Vec<String>>,
    /// Labels of namespaces; {} means every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyword("x-kubernetes-map-type", "atomic"))]
    pub namespace_selector: Option<NamespaceSelector>,
    /// dbt's identifiers, or "*" alone for every set, account_admin included.
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 63)),
        transform = schema::set(),
        transform = rule(
            "'*' in self ? self.size() == 1 : true",
            "* already contains every permission set; write it alone"
        ),
        transform = items(rule(
            "self == '*' ? true : self.matches('^[a-z][a-z0-9_]*$')",
            "permissionSets takes dbt's identifiers such as job_admin, or *"
        ))
    )]
    pub permission_sets: Vec<String>,
    /// Covers every project, and permissions that say allProjects. Account-level sets need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_projects: Option<bool>,
    /// Covers these projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), transform = schema::atomic_list())]
    pub projects: Option<Vec<ProjectRef>>,
    /// Kinds of environments in which the sets may write; all covers every kind. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), transform = schema::set(), transform = rules::all_stands_alone())]
    pub writable_environments: Option<Vec<WritableEnvironment>>,
    /// ServiceTokens that one matching namespace may have. If several grants match, the largest counts, and one
    /// without maxTokens means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: Option<i32>,
    /// Whether the namespace may adopt existing tokens: Never, Proven (the held string was accepted by dbt) or
    /// Unproven (also tokens that no call can try). If several grants match, the most permissive counts. Default:
    /// Proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<AdoptionPolicy>,
}

/// Whether a namespace may adopt existing tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionPolicy {
    /// None.
    Never,
    /// Those whose held string dbt accepted.
    Proven,
    /// Also those that no call can try.
    Unproven,
}

/// Labels of namespaces, as in the standard label selector, with bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that the namespace must carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyword("maxProperties", 16), transform = values(keyword("maxLength", 63)))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on the namespace's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), transform = schema::atomic_list())]
    pub match_expressions: Option<Vec<SelectorRequirement>>,
}

/// One requirement on the labels of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rule(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values)",
    "In and NotIn need values, Exists and DoesNotExist take none"
))]
pub struct SelectorRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In or NotIn (with values), Exists or DoesNotExist (without).
    pub operator: SelectorOperator,
    /// The values that In and NotIn compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 63)), transform = schema::atomic_list())]
    pub values: Option<Vec<String>>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label is there and has one of the values.
    In,
    /// The label is not there, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

/// What happens to a published token whose grant was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GrantEnforcement {
    /// It is kept and reported.
    Report,
    /// It is revoked.
    Revoke,
}

/// Brakes for the whole account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountLimits {
    /// Calls to dbt per minute; dbt itself allows 5000 for all clients together. Default: 2500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 5000))]
    pub requests_per_minute: Option<i32>,
    /// Tokens that may be created per hour. A fifth is kept back for repairs, and a fifth of the rest for namespaces that
    /// made few lately. Default: 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub mints_per_hour: Option<i32>,
    /// ServiceTokens that may use the account. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: Option<i32>,
}

/// The shared reading of the account's token list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountInventory {
    /// How often the list is read; 1m to 24h. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(60, DAY, "interval lies between 1m and 24h"))]
    pub interval: Option<String>,
    /// Age from which a token is reported as aged. Default: 365d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(HOUR, 3650 * DAY, "this duration lies between 1h and 3650d"))]
    pub aged_after: Option<String>,
    /// Time without use from which a token is reported as unused. Default: 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(HOUR, 3650 * DAY, "this duration lies between 1h and 3650d"))]
    pub unused_after: Option<String>,
    /// Age at which a token with this installation's mark that no object owns is revoked. Tokens of other
    /// installations are only reported. Default: 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(HOUR, 3650 * DAY, "this duration lies between 1h and 3650d"))]
    pub revoke_strays_after: Option<String>,
}
