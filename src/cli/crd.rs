//! Prints the CustomResourceDefinitions.

use std::io::Write;

use crate::api::crd;

/// Writes every CRD to the standard output, as one YAML stream.
pub fn print() -> Result<(), Box<dyn std::error::Error>> {
    let mut output = std::io::stdout().lock();
    for definition in crd::crds() {
        write!(output, "---\n{}", crd::crd_yaml(&definition))?;
    }
    Ok(())
}
