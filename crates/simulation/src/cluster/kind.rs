//! The kinds of objects that the operator works with, as paths name them.

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A namespace.
    Namespace,
    /// A Secret.
    Secret,
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// An event.
    Event,
    /// The operator's own kinds.
    DbtAccount,
    /// A token.
    ServiceToken,
}

/// Every kind with its name in paths, its `apiVersion` and its `kind`.
const KINDS: [(Kind, &str, &str, &str); 7] = [
    (Kind::Namespace, "namespaces", "v1", "Namespace"),
    (Kind::Secret, "secrets", "v1", "Secret"),
    (Kind::Pod, "pods", "v1", "Pod"),
    (Kind::Deployment, "deployments", "apps/v1", "Deployment"),
    (Kind::Event, "events", "events.k8s.io/v1", "Event"),
    (Kind::DbtAccount, "dbtaccounts", "tokens.dbt-operator.dev/v1alpha1", "DbtAccount"),
    (Kind::ServiceToken, "servicetokens", "tokens.dbt-operator.dev/v1alpha1", "ServiceToken"),
];

impl Kind {
    /// The kind that a path names.
    pub fn of_path(word: &str) -> Option<Self> {
        KINDS.iter().find(|(_, plural, ..)| *plural == word).map(|(kind, ..)| *kind)
    }

    /// `apiVersion` and `kind`.
    pub fn names(self) -> (&'static str, &'static str) {
        let (_, _, version, kind) = KINDS.iter().find(|(kind, ..)| *kind == self).expect("the table has every kind");
        (version, kind)
    }

    /// Whether its status is written apart from the rest.
    pub fn has_status(self) -> bool {
        matches!(self, Self::DbtAccount | Self::ServiceToken)
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty if it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The object of this name.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, kind) = self.kind.names();
        if self.namespace.is_empty() {
            return write!(formatter, "{kind} {}", self.name);
        }
        write!(formatter, "{kind} {}/{}", self.namespace, self.name)
    }
}
