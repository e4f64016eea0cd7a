//! What tests stand on: control planes, operator processes, one scene per test, and the checks that run beside every test.

pub mod audit;
pub mod case;
pub mod census;
pub mod guard;
pub mod objects;
pub mod operator;
pub mod relay;
pub mod scene;
pub mod stage;
pub mod tenant;
pub mod wait;
pub mod world;
