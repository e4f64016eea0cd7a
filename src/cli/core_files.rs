//! Keeps the memory of the process out of core files: it holds strings of tokens and the credentials of accounts, and a
//! core file lies about for anybody who may read the disk.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};

/// From here on a crash leaves no core file, whatever the limits were at the start. A kernel that refuses is told of and
/// lived with: that is no reason to leave tokens unattended.
pub fn keep_memory_out_of_them() {
    // The hard limit as well, so that nobody raises it again from outside.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let done = [("the size of core files cannot be limited", setrlimit(Resource::Core, none)), not_dumpable()];
    for (what, error) in done.into_iter().filter_map(|(what, done)| Some((what, done.err()?))) {
        tracing::warn!(%error, "{what}; a crash may write tokens to disk");
    }
}

/// Linux does not apply the limit to a core file that is piped to a program, as systemd and many distributions do it. A
/// process that is not dumpable has none at all, and no other process of its user may read its memory. What it costs:
/// the private files of `/proc/self`, such as `environ`, belong to root from then on. Nothing here reads them.
#[cfg(target_os = "linux")]
fn not_dumpable() -> (&'static str, Result<(), Errno>) {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    ("the process stays dumpable", set_dumpable_behavior(DumpableBehavior::NotDumpable))
}

/// Elsewhere the limit is all there is.
#[cfg(not(target_os = "linux"))]
fn not_dumpable() -> (&'static str, Result<(), Errno>) {
    ("", Ok(()))
}

#[cfg(test)]
mod tests {
    use rustix::process::getrlimit;

    use super::*;

    #[test]
    fn neither_the_limit_nor_the_process_lets_one_be_written() {
        keep_memory_out_of_them();
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior(), Ok(rustix::process::DumpableBehavior::NotDumpable));
    }
}
