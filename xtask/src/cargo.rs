//! Runs cargo: the same one that runs this program, and without what it told this program about itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::repository;

/// Why a program was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cargo could not be started.
    #[error("cannot run cargo; check that Rust is installed")]
    Run(#[source] std::io::Error),
    /// The compiler ended with an error, which stands above in its own words.
    #[error("`cargo {0}` failed")]
    Failed(String),
    /// The build made no such program.
    #[error("`cargo {arguments}` made no program {program}")]
    Missing {
        /// What cargo was asked for.
        arguments: String,
        /// The program.
        program: &'static str,
    },
}

/// How programs are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly, as the tests build them.
    Debug,
    /// As they are shipped.
    Release,
}

/// The programs of this repository.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) operator: PathBuf,
    pub(crate) emulator: PathBuf,
    /// This very program; in a release build, built for speed.
    pub(crate) tasks: PathBuf,
}

/// A cargo in the repository, which asks nothing.
pub(crate) fn command() -> Command {
    // The cargo that runs this program, so that both use one toolchain.
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        if describes_this_package(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// Runs cargo, with a path as its last argument if there is one.
pub(crate) fn run(arguments: &[&str], path: Option<&Path>) -> Result<(), Error> {
    let status = command().args(arguments).args(path).status().map_err(Error::Run)?;
    if status.success() { Ok(()) } else { Err(Error::Failed(arguments.join(" "))) }
}

/// Builds operator and emulator, if they are not there already; cargo tells on standard error how it gets on.
///
/// This program itself must not be among them in the profile in which it runs: cargo would replace its file under it.
pub(crate) fn build(profile: Profile) -> Result<Programs, Error> {
    let mut arguments = vec!["build", "--locked", "--bins", "-p", "dbt-token-operator", "-p", "dbt-cloud-emulator"];
    if profile == Profile::Release {
        arguments.extend(["-p", "xtask", "--release"]);
    }
    let messages = artifacts(&arguments)?;
    let find = |program| executable(&messages, program).ok_or_else(|| Error::Missing { arguments: arguments.join(" "), program });
    let tasks = match profile {
        Profile::Debug => std::env::current_exe().map_err(Error::Run)?,
        Profile::Release => find("xtask")?,
    };
    Ok(Programs { operator: find("dbt-token-operator")?, emulator: find("dbt-cloud-emulator")?, tasks })
}

/// Runs a build and gives what cargo says about each thing that it made.
fn artifacts(arguments: &[&str]) -> Result<Vec<Value>, Error> {
    let output = command()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::Run)?;
    if !output.status.success() {
        return Err(Error::Failed(arguments.join(" ")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The file of a program of that name.
pub(crate) fn executable(messages: &[Value], name: &str) -> Option<PathBuf> {
    messages.iter().rev().find_map(|message| {
        let path = message["executable"].as_str()?;
        (message["target"]["name"] == name).then(|| Path::new(path).to_path_buf())
    })
}

/// Variables by which `cargo run` tells a program about its own package. Handed on to another cargo,
/// they look like a change to the build scripts that watch them, which then run again.
fn describes_this_package(variable: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_among_what_cargo_made() {
        let messages = [
            serde_json::json!({"reason": "compiler-artifact", "target": {"name": "a"}, "executable": null}),
            serde_json::json!({"reason": "compiler-artifact", "target": {"name": "b"}, "executable": "/t/b"}),
            serde_json::json!({"reason": "build-finished", "success": true}),
        ];
        assert_eq!(executable(&messages, "b"), Some(PathBuf::from("/t/b")));
        assert_eq!(executable(&messages, "a"), None);
    }
}
