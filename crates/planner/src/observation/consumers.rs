//! What an observation says of the pods that take the target: which container takes it how, and since when it runs.
//! Finished pods are not among them, nor is anything that reads the Secret through the API, or outside the cluster.

use jiff::Timestamp;

/// What a look at the pods of the object's namespace came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Consumers {
    /// All containers that take the target, each with every way in which it does.
    Seen(Vec<Consumer>),
    /// The look failed. It is a reading like any other: it holds back what needs one, and is repeated in time.
    Unreadable(Unreadable),
}

/// Why pods or workloads cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unreadable {
    /// The operator may not do that: a person must allow it.
    Forbidden,
    /// The API server did not answer; a retry mends it.
    Failed,
}

/// One container of a living pod, and one way in which it takes the target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Consumer {
    /// Name of the pod.
    pub pod: String,
    /// When the pod was created, by the API server's clock, in whole seconds.
    pub created_at: Timestamp,
    /// How the container takes the target.
    pub way: Way,
    /// Since when the container runs, by its node's clock, in whole seconds; `None` if it does not run now: it was not
    /// started yet, waits for its next start, or has ended.
    pub running_since: Option<Timestamp>,
}

/// How a container takes a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// By `env` or `envFrom`: read once, when the container is made.
    Environment,
    /// By a file that is mounted with `subPath`: taken once, when the container is made, from a volume that the kubelet
    /// refreshes.
    SubPath,
    /// By a volume, plain or projected, that the kubelet refreshes while the container runs.
    Volume,
}
