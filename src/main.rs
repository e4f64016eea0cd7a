//! Parses arguments, runs, and turns an error into an exit code; nothing else.

use std::process::ExitCode;

use clap::Parser;
use dbt_token_operator::cli::{self, Arguments};

fn main() -> ExitCode {
    match cli::execute(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::explain(&*error);
            ExitCode::FAILURE
        }
    }
}
