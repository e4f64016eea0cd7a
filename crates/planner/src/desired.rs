//! What a user declared, after the shell has parsed and checked it. Holds no defaults: those are filled in by the parse.

mod retirement;

pub use self::retirement::{Deadline, OnDeadline, Retirement, WorkloadKind};

use std::collections::BTreeSet;

use crate::adoption::Adoption;
use crate::identity::{EnvironmentId, PermissionSet, ProjectId, WriteCategory};
use crate::rotation::RotationPolicy;

/// One `ServiceToken` as declared, with the code's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Desired {
    /// Name of the `DbtAccount`.
    pub account: String,
    /// Name shown in dbt, without the mark.
    pub token_name: String,
    /// What the token may do, as written: projects may be given by name.
    pub permissions: Vec<Permission>,
    /// Name of the target Secret, in the object's own namespace.
    pub secret_name: String,
    /// The keys of the target that the operator writes, in order; for messages only.
    pub secret_keys: Vec<String>,
    /// The environment on which `metadata_only` and `semantic_layer_only` are tried.
    pub verification_environment: Option<EnvironmentId>,
    /// Whether a token that no call can try may be published.
    pub allow_unproven: bool,
    /// When the token is replaced because of its age.
    pub rotation: RotationPolicy,
    /// When a replaced token may go.
    pub retirement: Retirement,
    /// What happens to the token when the object is deleted.
    pub deletion_policy: DeletionPolicy,
    /// Whether everything but deletion is stopped.
    pub suspended: bool,
    /// Whether nothing is done but telling what would be; deletion goes on all the same.
    pub dry_run: bool,
    /// The token to take over instead of making the first one.
    pub adopt: Option<Adoption>,
}

/// One permission set on some projects, or on all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permission {
    /// dbt's identifier of the set.
    pub permission_set: PermissionSet,
    /// The projects on which it is granted.
    pub projects: Projects,
    /// The kinds of environments in which it may write; empty means none.
    pub writable: BTreeSet<WriteCategory>,
}

/// The projects of a permission, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Projects {
    /// Every project, also later ones.
    All,
    /// Exactly these; never empty.
    Named(Vec<ProjectReference>),
}

/// A project, as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectReference {
    /// By dbt's id.
    Id(ProjectId),
    /// By its exact name.
    Name(String),
}

/// What happens to the token when its object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeletionPolicy {
    /// The tokens are revoked and the Secret is removed.
    Revoke,
    /// Both stay.
    Retain,
}

/// Why a declaration cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A value that the schema let through and that makes no sense.
    InvalidSpec {
        /// Path of the field, such as `secret.template.data.token`.
        field: String,
        /// What is wrong with it.
        why: String,
        /// What to write instead.
        remedy: String,
    },
    /// A field that is in the schema and that this version cannot serve.
    NotImplemented {
        /// Path of the field.
        field: String,
    },
}
