//! Where built programs are kept between two runs.

use std::path::PathBuf;

use super::variable;

/// There is no place for built programs.
#[derive(Debug, thiserror::Error)]
#[error("neither XDG_CACHE_HOME nor HOME is set; set one, so that built programs can be kept")]
pub struct NoCacheFolder;

/// The folder for the programs of this name.
///
/// # Errors
/// [`NoCacheFolder`].
pub(crate) fn folder(name: &str) -> Result<PathBuf, NoCacheFolder> {
    place(variable("XDG_CACHE_HOME"), variable("HOME"), name).ok_or(NoCacheFolder)
}

fn place(cache_home: Option<PathBuf>, home: Option<PathBuf>, name: &str) -> Option<PathBuf> {
    let root = cache_home.or_else(|| home.map(|home| home.join(".cache")))?;
    Some(root.join("dbt-token-operator").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_the_users_wish() {
        let check = |cache_home: Option<&str>, home: Option<&str>, expected: Option<&str>| {
            let found = place(cache_home.map(PathBuf::from), home.map(PathBuf::from), "helm");
            assert_eq!(found, expected.map(PathBuf::from));
        };
        check(Some("/c"), Some("/h"), Some("/c/dbt-token-operator/helm"));
        check(None, Some("/h"), Some("/h/.cache/dbt-token-operator/helm"));
        check(None, None, None);
    }
}
