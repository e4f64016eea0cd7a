//! The shell of dbt-token-operator: it observes, asks the planner for one step, runs that step, and observes again.
//! All judgement is in the crate `dbt-token-planner`; all failure is here.

pub mod account;
pub mod api;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod health;
pub mod metrics;
pub mod pace;
pub mod server;
pub mod telemetry;
pub mod token;
