//! Names for things that must never be confused with each other: tokens, serials, projects, owners, installations.
//! Holds no behaviour beyond printing and reading them.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number! {
    /// dbt's id of an account. Larger than 32 bits in the wild.
    AccountId
}
number! {
    /// dbt's id of a service token.
    TokenId
}
number! {
    /// dbt's id of a project.
    ProjectId
}
number! {
    /// dbt's id of an environment.
    EnvironmentId
}
number! {
    /// dbt's id of a Semantic Layer credential.
    CredentialId
}
number! {
    /// One minting attempt of one object. At least the seconds since 1970 at which it was opened, higher than every
    /// serial that was ever seen for the object, and never used twice, even if the status is lost.
    Serial
}
text! {
    /// The seven characters by which dbt shows a token to every reader of its list; not a secret.
    TokenUid
}
text! {
    /// Which installation of the operator made something: the uid of its namespace, or what `--installation-id` pins.
    Installation
}
text! {
    /// The uid of the `ServiceToken` that owns something.
    OwnerUid
}
text! {
    /// dbt's identifier of a permission set, for example `job_admin`. Unknown ones are allowed: dbt's list grows.
    PermissionSet
}
text! {
    /// A kind of environment in which a set may write, as dbt spells it: `all`, `development`, `staging`,
    /// `production`, `other`, or what dbt adds one day.
    WriteCategory
}
text! {
    /// A short digest of a set of grants, comparable only with others made by [`crate::grant::GrantRows::fingerprint`].
    Fingerprint
}
text! {
    /// A digest of everything that decides what the target Secret looks like, apart from the token itself.
    RenderRule
}

impl AccountId {
    /// Reads an id; dbt's ids start at 1.
    pub fn new(id: i64) -> Option<Self> {
        (id > 0).then_some(Self(id))
    }
}
