//! The emulator over real HTTP: the checklist of the fact sheet (section 10) point by point, the
//! GraphQL probes of its section 5, faults and modes, the contract files, and the control API.

mod checklist;
mod clients;
mod contract;
mod control;
mod faults;
mod graphql;
mod modes;
mod support;
mod token_checklist;
