//! Project tasks as a library, so that the integration tests can start the same control plane.
//!
//! `cargo xtask <task>` is the command; each task is one module here with a `run`. Nothing of this
//! crate is ever shipped with the operator.
#![allow(clippy::print_stdout, reason = "these are command-line tasks: what they print is their result")]

pub mod bench;
mod cargo;
pub mod chaos;
pub mod codegen;
pub mod consumers;
pub mod control_plane;
pub mod demo;
pub mod go;
pub mod helm;
mod http;
pub mod leaks;
pub mod model;
pub mod mutants;
pub mod plane;
mod private_file;
pub mod simulate;
mod site;
mod story;
pub mod test;
pub mod tidy;
pub mod wait;

/// The root of the repository, which this crate was compiled in.
fn repository() -> &'static std::path::Path {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}
