//! Prints the CustomResourceDefinitions, or writes each to a file of its own.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::api::crd;

/// Options of `crd`.
#[derive(Args)]
pub struct Crd {
    /// Write each definition to a file in this folder instead, named after its group and kind.
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// Writes every CRD: to the standard output as one YAML stream, or to files.
pub fn run(arguments: &Crd) -> Result<(), Box<dyn Error>> {
    let mut output = std::io::stdout().lock();
    for definition in crd::crds() {
        let yaml = crd::crd_yaml(&definition);
        match &arguments.directory {
            None => write!(output, "---\n{yaml}")?,
            Some(directory) => {
                let path = directory.join(crd::crd_file_name(&definition));
                fs::write(&path, yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
        }
    }
    Ok(())
}
