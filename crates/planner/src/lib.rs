//! The judgement of dbt-token-operator: one observation in, one next step and the time to look again out.
//!
//! [`plan`](plan::plan) is total, deterministic and quiet. It reads no clock, no randomness and no environment, does no
//! I/O, cannot fail, and asks for no write when nothing changed. All failure is in the shell, which makes no choices.
//!
//! Start reading at [`plan`], then the stages in the order in which it asks them, then [`ledger`], the commit record.
//! [`invariant`] says what must never happen; [`interlock`] refuses an effect that would make it happen.

pub mod account;
pub mod adoption;
pub mod conclude;
pub mod desired;
pub mod effect;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gate;
pub mod grant;
pub mod identity;
pub mod interlock;
pub mod invariant;
pub mod ledger;
pub mod legacy;
pub mod link;
pub mod mark;
pub mod observation;
pub mod permission;
pub mod plan;
pub mod report;
pub(crate) mod restart;
pub(crate) mod retirement;
pub mod rotation;
pub mod schedule;
pub mod stage;
pub mod trigger;
pub mod window;
