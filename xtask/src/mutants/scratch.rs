//! A copy of the repository in which bugs are planted, and what is built of it. A person's own files are only read.
//!
//! The copy has what git has or would take: uncommitted changes and new files, and nothing that is ignored. A file that says
//! the same as before is left alone, so that cargo builds only what has changed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plant::{Mutant, NoPlace};

/// Why the copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("cannot use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Git does not say which files there are.
    #[error("cannot ask git for the files of {0}; run this in a checkout, with git installed")]
    Git(PathBuf),
    /// Somebody else plants bugs in the same copy.
    #[error("another `cargo xtask mutants` uses {0}; wait until it has ended")]
    InUse(PathBuf),
    /// The bug does not fit the source.
    #[error("{name} cannot be planted")]
    NoPlace {
        /// The bug.
        name: String,
        /// Why.
        source: NoPlace,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { path, source }
}

/// The copy.
#[derive(Debug)]
pub(super) struct Scratch {
    tree: PathBuf,
    target: PathBuf,
    logs: PathBuf,
    /// Held as long as this is.
    _lock: File,
}

impl Scratch {
    /// Brings the copy of `repository` in `folder` up to date.
    pub(super) fn open(repository: &Path, folder: &Path) -> Result<Self, Error> {
        let [tree, target, logs, lock] = ["tree", "target", "logs", "lock"].map(|name| folder.join(name));
        for folder in [&tree, &target, &logs] {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        let file = File::create(&lock).map_err(failed(&lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock)(source)),
        }
        mirror(repository, &tree)?;
        Ok(Self { tree, target, logs, _lock: file })
    }

    /// Has a command run in the copy, and build beside it. A bug is a line or two, so that much of what was built is used again.
    pub(super) fn at_home<'command>(&self, command: &'command mut Command) -> &'command mut Command {
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1")
    }

    /// Where the words of a run go.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Works with the bug in the copy, and takes it out again.
    pub(super) fn with<T>(&self, mutant: &Mutant, work: impl FnOnce() -> T) -> Result<T, Error> {
        let path = self.tree.join(&mutant.file);
        let sound = fs::read_to_string(&path).map_err(failed(&path))?;
        let planted = mutant.plant(&sound).map_err(|source| Error::NoPlace { name: mutant.name.clone(), source })?;
        fs::write(&path, planted).map_err(failed(&path))?;
        let outcome = work();
        // Never with its old time: what was built of the bug would be taken for up to date.
        fs::write(&path, sound).map_err(failed(&path))?;
        Ok(outcome)
    }
}

/// Makes one folder hold the files of another one that git has or would take.
fn mirror(from: &Path, to: &Path) -> Result<(), Error> {
    let files = files(from)?;
    remove_others(to, to, &files)?;
    for file in &files {
        copy(&from.join(file), &to.join(file))?;
    }
    Ok(())
}

/// The files of a checkout that git has or would take. Some may have been deleted since.
fn files(checkout: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(checkout);
    let output = git.output().ok().filter(|output| output.status.success());
    let output = output.ok_or_else(|| Error::Git(checkout.to_path_buf()))?;
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let files = names.map(|name| PathBuf::from(OsStr::from_bytes(name)));
    Ok(files.filter(|file| checkout.join(file).symlink_metadata().is_ok()).collect())
}

/// Removes what an earlier copy left. Build output of the copy itself stays.
fn remove_others(root: &Path, folder: &Path, files: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(failed(&path))?.is_dir();
        let name = path.strip_prefix(root).unwrap_or(&path);
        if is_folder && name != Path::new("target") {
            remove_others(root, &path, files)?;
        } else if !is_folder && !files.contains(name) {
            fs::remove_file(&path).map_err(failed(&path))?;
        }
    }
    Ok(())
}

/// Copies a file or a link, unless the copy is the same already.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).map_err(failed(folder))?;
    if from.is_symlink() {
        let leads_to = fs::read_link(from).map_err(failed(from))?;
        if fs::read_link(to).is_ok_and(|before| before == leads_to) {
            return Ok(());
        }
        if to.symlink_metadata().is_ok() {
            fs::remove_file(to).map_err(failed(to))?;
        }
        return symlink(leads_to, to).map_err(failed(to));
    }
    let content = fs::read(from).map_err(failed(from))?;
    if !to.is_symlink() && fs::read(to).is_ok_and(|before| before == content) {
        return Ok(());
    }
    if to.is_symlink() {
        fs::remove_file(to).map_err(failed(to))?;
    }
    // With the permissions: some of them are run.
    fs::copy(from, to).map(drop).map_err(failed(to))
}
