//! Programs that are built with Go from sources pinned in this repository, once per version, and kept in the user's cache
//! folder. Nothing is ever downloaded as a binary.
//!
//! | file | its job |
//! |---|---|
//! | `module` | what a `go.mod` pins |
//! | `cache` | where built programs are kept |
//! | `build` | build those that are missing |

pub mod build;
pub mod cache;
pub mod module;

use std::path::PathBuf;

/// What an environment variable says, unless that is nothing.
pub(crate) fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
