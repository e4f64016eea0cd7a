//! The command line: argument types here, one file a subcommand.

mod core_files;
mod crd;
mod run;

use std::io::Write;

use clap::{Parser, Subcommand};

/// Creates, proves, publishes and rotates dbt service tokens in Kubernetes.
#[derive(Parser)]
#[command(name = "dbt-token-operator", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator in a cluster.
    Run(run::Run),
    /// Print the CustomResourceDefinitions as YAML.
    Crd(crd::Crd),
}

/// Runs the chosen subcommand.
///
/// # Errors
/// What stopped it, as a chain that is printed once.
pub fn execute(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    match arguments.command {
        Command::Run(run) => run::run(run),
        Command::Crd(arguments) => crd::run(&arguments),
    }
}

/// Prints an error and its causes, once.
pub fn explain(error: &dyn std::error::Error) {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    // Nobody is left to tell if even this cannot be written.
    let _ = writeln!(std::io::stderr(), "{text}");
}
