//! Everything that the operator writes to Kubernetes, one file an object. Every write is conditional: it names the uid
//! and the version of what was seen, or creates something that must not be there yet. Nothing here decides what to
//! write, and nothing here knows of dbt's HTTP interface.

pub mod account_access;
pub mod account_report;
pub mod account_status;
pub mod adopt_source;
pub mod consumers;
mod digest;
pub mod events;
pub mod failure;
pub mod finalizer;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod ledger;
mod managed_fields;
mod merge_patch;
pub mod names;
mod pages;
mod pod_spec;
mod quotes;
pub mod render;
pub mod slot;
pub mod status;
pub mod target;
mod text;
pub mod workloads;
