//! `cargo xtask model`: searches every configuration of the planner's model, and prints how far each search went. The
//! ordinary tests do the same; this shows it, and can go deeper.

use crate::cargo;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// One more edit, tick and token in each configuration, in a release build. Takes long, and the largest searches were
    /// never seen to end
    #[arg(long)]
    deep: bool,
    /// Only configurations whose names contain this
    name: Option<String>,
}

/// Runs the searches.
///
/// # Errors
/// If cargo cannot be run, or a promise is broken, a witness is missing, or a wrong planner is not caught; the history
/// stands above.
pub fn run(arguments: &Arguments) -> Result<(), cargo::Error> {
    let mut words = vec!["test", "--locked", "-p", "dbt-token-planner", "--test", "model"];
    if arguments.deep {
        words.push("--release");
    }
    words.extend(["--", "--nocapture"]);
    words.extend(arguments.name.as_deref());
    let mut command = cargo::command();
    command.args(&words).env("DBT_MODEL_DEEP", if arguments.deep { "1" } else { "0" });
    let status = command.status().map_err(cargo::Error::Run)?;
    if status.success() { Ok(()) } else { Err(cargo::Error::Failed(words.join(" "))) }
}
