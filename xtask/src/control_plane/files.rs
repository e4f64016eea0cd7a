//! Small files of a control plane, each readable for its owner only: most hold a key or a token.

use std::path::{Path, PathBuf};

use crate::private_file;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}; check that the disk is not full")]
pub struct Error {
    /// The file.
    path: PathBuf,
    /// What the system said.
    source: std::io::Error,
}

/// Writes `text`, replacing what was there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    private_file::write(path, text).map_err(|source| Error { path: path.to_path_buf(), source })
}
