//! An API server in memory: the port to the cluster. It stands below kube's own client, so that everything above the wire is
//! the shipped code. It keeps the rules that the operator rests on (versions, preconditions, immutable Secrets, finalizers,
//! the owners of fields, watches that go on from a version) and nothing else of a cluster.

mod fields;
mod kind;
mod operation;
mod service;
mod store;
mod watches;

pub use self::kind::{Key, Kind};
pub use self::operation::{Operation, Verb};
pub use self::service::ClusterService;
pub use self::store::{Answer, Change, Store, seconds};
pub use self::watches::Watches;
