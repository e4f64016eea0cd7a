//! An honest local dbt Cloud: the Admin API as far as service tokens need it, and enough of the two
//! GraphQL APIs to prove that a token works, over real HTTP and HTTPS.
//!
//! *Honest* means that it refuses what the real service refuses, and that what is assumed about the
//! real service is marked `[ASSUMED]` where it is coded. It is a stand-in for tests, the demonstration
//! and local work; nothing that is shipped may depend on it, and it listens on loopback only.
//!
//! | file | its job |
//! |---|---|
//! | `account.rs`, `tokens.rs` | the truth in memory, and what can be done to tokens |
//! | `permission.rs` | who may read or change what |
//! | `modes.rs` | switches that hold for all calls |
//! | `fault.rs`, `fault_plan.rs`, `carry_out.rs` | faults that hit single calls |
//! | `routes/` | from a request to an answer |
//! | `answer.rs`, `wire.rs` | the JSON that goes out, shared with no client on purpose |
//! | `seed.rs` | what is there at the start |
//! | `log.rs`, `view.rs` | what tests and people may look at |
//! | `server.rs`, `tls.rs`, `body.rs`, `control.rs` | HTTP, HTTPS and the control API |
//!
//! ```no_run
//! # async fn example() -> Result<(), dbt_cloud_emulator::StartError> {
//! use dbt_cloud_emulator::{Emulator, Fault, Options, Rule};
//! let dbt = Emulator::start(Options::default()).await?;
//! let rule = Rule::new(Fault::DropAfter).on("POST", "service-tokens/").nth(1);
//! dbt.add_fault(rule);
//! println!("{} {}", dbt.https_url(), dbt.account_id());
//! # Ok(()) }
//! ```

mod account;
mod answer;
mod body;
mod carry_out;
mod control;
mod core;
mod emulator;
mod fault;
mod fault_plan;
mod log;
mod modes;
mod permission;
mod routes;
mod secret;
mod seed;
mod server;
mod time_text;
mod tls;
mod tokens;
mod view;
mod wire;

pub use account::{Environment, Grant, Job, Mapping, SemanticLayerCredential, TokenId};
pub use emulator::{Emulator, IssuedToken, Options, StartError};
pub use fault::{Fault, Lost, Match, Rule};
pub use fault_plan::{FaultHandle, FaultState};
pub use log::{Counter, LogEntry};
pub use modes::{DeletedGet, DiscoveryRefusal, GrantChange, ListPaging, Modes, RateLimit, Refusal};
pub use secret::StringFormat;
pub use seed::{Seed, SeedAccount, SeedIds, SeedProject, SeedToken};
pub use view::TokenState;
