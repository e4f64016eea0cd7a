//! A deterministic simulation of the shipped operator. The controller, the accounts, every write to Kubernetes, the planner
//! and the rate limiter are the code that ships; below kube's client stands an API server in memory, behind the trait
//! `Backend` an account of dbt in memory, and tokio's clock is paused and moved from one event to the next. One seed decides
//! everything else: the objects, what people do to them, which calls fail and how, which events come late or twice, and when
//! a process dies.
//!
//! What the operator promises is judged on what is true in that world ([`judge`]). A seed that breaks a promise is run again
//! with ever less in it, as long as it still does, and what is left is told line by line.

pub mod cluster;
pub mod coverage;
pub mod dbt;
pub mod dice;
pub mod evidence;
pub mod fault;
pub mod forgery;
pub mod history;
pub mod judge;
pub mod plan;
pub mod replica;
pub mod rest;
pub mod run;
pub mod scene;
pub mod script;
pub mod shrink;
pub mod span;
pub mod world;
