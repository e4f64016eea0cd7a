//! `ServiceToken`: one dbt service token, and the one Secret that holds it.
#![expect(clippy::duplicated_attributes, reason = "the printer columns of a kind share words; none is written twice")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::common::{ProjectRef, WritableEnvironment};
use super::{Rotation, ServiceTokenStatus, rules};
use crate::api::schema::{self, keyword, rule, values};

/// What is wanted. The operator never writes here; values that it chose by itself are in status.effective.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "tokens.dbt-operator.dev",
    version = "v1alpha1",
    kind = "ServiceToken",
    plural = "servicetokens",
    namespaced,
    status = "ServiceTokenStatus",
    derive = "PartialEq",
    schema = "manual",
    shortname = "dst",
    category = "dbt",
    selectable = ".spec.accountRef.name",
    selectable = ".spec.secret.name",
    doc = "One dbt service token: what it may do, the Secret that holds it, when and how it is replaced.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the declared token is published and usable."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        description = "Why it is ready or not."
    ),
    printcolumn(
        name = "Secret",
        type_ = "string",
        json_path = ".spec.secret.name",
        description = "The Secret that holds the token."
    ),
    printcolumn(
        name = "Rotated",
        type_ = "date",
        json_path = ".status.lastRotationTime",
        description = "How long ago the Secret last got another token."
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextRotationTime",
        description = "When the next rotation is due."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Account", type_ = "string", json_path = ".spec.accountRef.name", priority = 1),
    printcolumn(
        name = "Token",
        type_ = "string",
        json_path = ".status.token.id",
        description = "dbt's id of the published token.",
        priority = 1
    ),
    printcolumn(
        name = "Retiring",
        type_ = "string",
        json_path = ".status.retiringTokens[*].id",
        description = "dbt's ids of the tokens that wait for their retirement.",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
pub struct ServiceTokenSpec {
    /// The DbtAccount in which the token lives. Cannot be changed.
    #[schemars(transform = rule(
        "self == oldSelf",
        "accountRef cannot be changed; create another ServiceToken for the other account"
    ))]
    pub account_ref: AccountRef,
    /// Name shown in dbt, in front of the operator's mark. Default: the object's namespace/name. A change takes effect
    /// with the next token and causes no rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 100),
        transform = rule(
            "self.matches('^[A-Za-z0-9]([A-Za-z0-9 ._/-]*[A-Za-z0-9])?$')",
            "tokenName takes letters, digits, space, dot, dash, underscore and slash, and begins and ends with a \
             letter or digit"
        )
    )]
    pub token_name: Option<String>,
    /// What the token may do. dbt cannot edit the permissions of a token, so any change here makes a new token and
    /// retires the old one.
    // The rule compares every entry with every other, and 32 entries of 64 projects take just under half of the API
    // server's cost budget for one rule; twice as many entries would take 1.9 times it.
    #[schemars(length(min = 1, max = 32), transform = schema::atomic_list(), transform = rules::no_overlap())]
    pub permissions: Vec<Permission>,
    /// The Secret, in the object's own namespace, that holds the token.
    pub secret: SecretSpec,
    /// When the token is replaced, and how the old one is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Takes over a token that exists, by proof of possession. Read only before the object has its first token; it may
    /// be removed afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adoption>,
    /// How a new token is proved to work before anyone gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What happens when the object is deleted. Revoke revokes the token and removes the Secret, Retain leaves both.
    /// Default: Revoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Stops everything but deletion for this object. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Writes only the plan, to status.plan: nothing changes in dbt, no Secret is written. What is published stays as it
    /// is, replaced tokens are not revoked meanwhile, and annotations are not dealt with. Deletion goes on all the same, as
    /// under suspend. With nothing to do, the object is judged as if this were not set. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl JsonSchema for ServiceToken {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ServiceToken".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        schema::object::<ServiceTokenSpec, ServiceTokenStatus>(
            generator,
            "A ServiceToken declares one dbt service token: its permission sets and projects, the Secret that holds \
             it, and when and how it is replaced. The operator creates the token, proves that it works, publishes it, \
             and replaces it by swap-then-delete.",
            &[rules::short_name("ServiceToken"), rules::adopt_is_final()],
        )
    }
}

/// A DbtAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRef {
    /// Name of the DbtAccount (cluster-scoped).
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// One permission set on some projects, or on all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = rules::permission_scope(),
    transform = rules::account_sets_need_all_projects(),
    transform = rules::environments_fit_the_set()
)]
pub struct Permission {
    /// dbt's identifier of the permission set, for example job_admin or metadata_only. Any identifier is sent to dbt;
    /// one that this version does not know raises a warning event.
    #[schemars(
        length(min = 1, max = 63),
        transform = rules::permission_set_is_an_identifier(),
        transform = rules::permission_set_exists()
    )]
    pub permission_set: String,
    /// Grants the set on every project of the account, also on projects that are created later. Account-level sets
    /// need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_projects: Option<bool>,
    /// The projects on which the set is granted. When a name comes to mean another id, the token is rotated.
    // "At least one" is a rule and not a bound, since the server's own words for a bound would not say what to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 64),
        transform = schema::atomic_list(),
        transform = rule(
            "self.size() > 0",
            "an empty list grants nothing; name the projects, or write allProjects true instead"
        ),
        transform = rule("self.all(p, self.exists_one(q, q == p))", "a project is named twice; keep it once")
    )]
    pub projects: Option<Vec<ProjectRef>>,
    /// Kinds of environments in which the set may write. Absent or empty: none. all stands alone and is sent to dbt as
    /// it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), transform = schema::set(), transform = rules::all_stands_alone())]
    pub writable_environments: Option<Vec<WritableEnvironment>>,
}

/// The Secret that holds the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = rules::secret_name_is_final(), transform = rules::secret_type_is_final())]
pub struct SecretSpec {
    /// Name of the Secret. Cannot be changed. A Secret of that name which the operator did not make is never touched
    /// (see adopt).
    #[schemars(
        length(min = 1, max = 253),
        transform = rule(
            "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "a Secret's name takes lower-case letters, digits, dashes and dots"
        )
    )]
    pub name: String,
    /// How the Secret looks. A change rewrites the Secret and mints nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
}

/// How the Secret looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretTemplate {
    /// Type of the Secret. Default: Opaque. Cannot be changed.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub type_: Option<String>,
    /// Labels and annotations for the Secret. Nothing is copied from the ServiceToken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<SecretMetadata>,
    /// Key to template. Variables: token, accountId, accessUrl, discoveryUrl, semanticLayerUrl, tokenId, tokenUid.
    /// Filters: host (the host of a URL), uri_component (percent-encoding), tojson; four at most in one expression. An
    /// unknown variable is an error. Default: one key token with the bare token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        transform = keyword("minProperties", 1),
        transform = keyword("maxProperties", 32),
        transform = values(keyword("maxLength", 4096)),
        transform = rule(
            "self.all(k, k.matches('^[-._a-zA-Z0-9]{1,253}$'))",
            "a key of a Secret takes letters, digits, dash, underscore and dot"
        ),
        transform = rule(
            "self.exists(k, self[k].contains('token'))",
            "no value uses the token; write {{ token }} in at least one of them"
        )
    )]
    pub data: Option<BTreeMap<String, String>>,
}

/// Labels and annotations for the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretMetadata {
    /// Labels that the Secret gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        transform = keyword("maxProperties", 32),
        transform = values(keyword("maxLength", 63)),
        transform = rule(
            "self.all(k, !k.startsWith('tokens.dbt-operator.dev/') && k != 'app.kubernetes.io/managed-by')",
            "tokens.dbt-operator.dev/ and app.kubernetes.io/managed-by are set by the operator; use other keys"
        )
    )]
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations that the Secret gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        transform = keyword("maxProperties", 32),
        transform = values(keyword("maxLength", 4096)),
        transform = rule(
            "self.all(k, !k.startsWith('tokens.dbt-operator.dev/'))",
            "tokens.dbt-operator.dev/ is set by the operator; use other keys"
        )
    )]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A token that exists and is taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// The Secret, in the object's own namespace, that holds the token today. It may be secret.name itself if it
    /// carries the annotation tokens.dbt-operator.dev/adopt-by with the name of this object.
    pub secret_ref: AdoptSecretRef,
    /// dbt's id of the token. Needed only for old formats, whose string does not name its token clearly. The string
    /// must still belong to that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub token_id: Option<i64>,
    /// What happens when the token's permissions differ from the declared ones. Match stalls and spells out the
    /// difference, Replace rotates to the declared ones. Default: Match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<AdoptPermissions>,
}

/// The Secret that holds the token to adopt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdoptSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key that holds the token, bare or inside a URI or JSON text. Default: token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

/// What happens when an adopted token may do other things than declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdoptPermissions {
    /// The object stalls and spells out the difference.
    Match,
    /// The token is rotated to the declared permissions.
    Replace,
}

/// How a new token is proved to work before anyone gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// dbt's id of an environment in a granted project; needed to try metadata_only and semantic_layer_only tokens.
    /// Default: a deployment environment of a granted project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub environment_id: Option<i64>,
    /// Publishes a token that no call can try, after comparing its grants only. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_unproven: Option<bool>,
}

/// What happens when the object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The token is revoked and the Secret removed.
    Revoke,
    /// Both stay.
    Retain,
}
