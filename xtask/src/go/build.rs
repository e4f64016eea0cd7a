//! Builds programs with Go from a module of this repository, once per version.
//!
//! Each program is built beside its place and renamed into it, so that a half-built one is never
//! found, and one process builds while others wait for it.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::module::{self, Module};
use crate::wait;

/// How often a person is told that the build goes on: rarely enough to be read, often enough that
/// nobody takes it for stuck.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// How often the build is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Far above the six minutes that the longest build took on two cores, for slow machines with a cold module cache.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How much of the compiler's output a failure repeats.
const OUTPUT_LINES: usize = 30;

/// Why the programs could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pinned versions could not be read.
    #[error("cannot tell which versions are pinned")]
    Versions(#[from] module::Error),
    /// There is no Go.
    #[error("Go is not installed, and {name} has to be built once; install Go {needed} or later, or {instead}")]
    NoGo {
        /// What was to be built.
        name: &'static str,
        /// The version that go.mod asks for.
        needed: String,
        /// What can be done without Go.
        instead: &'static str,
    },
    /// Go is older than the pinned sources need.
    #[error("Go {found} is too old to build {name}; install Go {needed} or later, or {instead}")]
    GoTooOld {
        /// What was to be built.
        name: &'static str,
        /// What `go env GOVERSION` says.
        found: String,
        /// The version that go.mod asks for.
        needed: String,
        /// What can be done without it.
        instead: &'static str,
    },
    /// The compiler ended with an error.
    #[error("building {what} failed; the end of its output:\n{output}")]
    Compile {
        /// The programs.
        what: &'static str,
        /// The last lines.
        output: String,
    },
    /// Something was not done within an hour.
    #[error("{what} took more than {}; see what keeps the machine busy, and try again", wait::spoken(BUILD_LIMIT))]
    TooSlow {
        /// What was waited for.
        what: String,
    },
    /// A file or folder could not be used.
    #[error("cannot {what} {path}; check its permissions and the space on its disk")]
    File {
        /// What was attempted.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The compiler could not be watched.
    #[error("cannot run go")]
    Run(#[source] std::io::Error),
}

/// Programs that come from one module.
pub(crate) struct Programs<'a> {
    /// What they are together, such as `the control plane`; told while they are built.
    pub(crate) name: &'static str,
    /// What whoever has no Go can do instead, in the imperative.
    pub(crate) instead: &'static str,
    /// Where their versions are pinned.
    pub(crate) module: &'a Module,
    /// Further flags of the linker.
    pub(crate) linker_flags: &'a str,
    /// How they are built.
    pub(crate) runs: &'a [Run],
}

/// One run of the compiler. Programs of one module are built together, since they share most of
/// their packages.
pub(crate) struct Run {
    /// The programs, as they are told of.
    pub(crate) what: &'static str,
    /// Their file names.
    pub(crate) programs: &'static [&'static str],
    /// Their packages, in the same order.
    pub(crate) packages: &'static [&'static str],
    /// As measured on two cores with a cold cache.
    pub(crate) usually: Duration,
}

impl Programs<'_> {
    /// Builds the programs that are missing in the folder `version` of `cache`, and gives that folder.
    ///
    /// # Errors
    /// If Go is missing or too old, the build fails, or a file cannot be written.
    pub(crate) fn build_missing(&self, cache: &Path, version: &str) -> Result<PathBuf, Error> {
        let folder = cache.join(version);
        let is_missing = |run: &Run| run.programs.iter().any(|name| !folder.join(name).is_file());
        if !self.runs.iter().any(is_missing) {
            return Ok(folder);
        }
        self.check_go()?;
        create_folder(&folder)?;
        let _lock = self.lock(&cache.join("lock"))?;
        remove_leftovers(cache);
        // Another process may have built some while this one waited for the lock.
        for run in self.runs.iter().filter(|run| is_missing(run)) {
            self.build(run, cache, &folder)?;
        }
        Ok(folder)
    }

    fn check_go(&self) -> Result<(), Error> {
        let Self { name, instead, module, .. } = self;
        let needed = module.go.clone();
        // Asked outside the module: inside, an old Go would refuse with words of its own.
        let output = Command::new("go").args(["env", "GOVERSION"]).current_dir(std::env::temp_dir()).output();
        let output = match output {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoGo { name, needed, instead }),
            Err(error) => return Err(Error::Run(error)),
        };
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if module::is_at_least(&found, &needed) {
            return Ok(());
        }
        Err(Error::GoTooOld { name, found, needed, instead })
    }

    /// Waits until this process alone may build. The lock ends with the process, however it ends.
    fn lock(&self, path: &Path) -> Result<File, Error> {
        let failure = |what, source| Error::File { what, path: path.to_path_buf(), source };
        let file = File::create(path).map_err(|source| failure("create the lock file", source))?;
        let mut progress = Progress::new(Instant::now());
        let locked = wait::until(BUILD_LIMIT, LOOK_EVERY, || match file.try_lock() {
            Ok(()) => Some(Ok(())),
            Err(TryLockError::WouldBlock) => {
                progress.tell(|| "another process is building the same programs".to_owned());
                None
            }
            Err(TryLockError::Error(source)) => Some(Err(failure("lock", source))),
        });
        locked.unwrap_or_else(|| Err(Error::TooSlow { what: format!("another process's build of {}", self.name) }))?;
        Ok(file)
    }

    fn build(&self, run: &Run, cache: &Path, folder: &Path) -> Result<(), Error> {
        // In the cache folder itself, since a rename is atomic only within one file system.
        let fresh = tempfile::Builder::new().prefix(LEFTOVER_PREFIX).tempdir_in(cache).map_err(|source| Error::File {
            what: "create a folder in",
            path: cache.to_path_buf(),
            source,
        })?;
        let out = fresh.path();
        tell(&format!("building {} once for this version (usually {} on two cores)", run.what, wait::spoken(run.usually)));
        self.compile(run, out)?;
        for name in run.programs {
            let built = out.join(name);
            if !built.is_file() {
                return Err(Error::Compile { what: name, output: "the compiler made no such file".to_owned() });
            }
            let place = folder.join(name);
            std::fs::rename(built, &place).map_err(|source| Error::File {
                what: "move a built program to",
                path: place,
                source,
            })?;
        }
        Ok(())
    }

    fn compile(&self, run: &Run, out: &Path) -> Result<(), Error> {
        // A single package is built to a file of that name, several into a folder.
        let out = match run.programs {
            [name] => out.join(name),
            _ => out.to_path_buf(),
        };
        let started = Instant::now();
        let mut child = Command::new("go")
            .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
            // -s -w: without debug information.
            .args(["-ldflags", &format!("-s -w {}", self.linker_flags), "-o"])
            .arg(&out)
            .args(run.packages)
            .current_dir(&self.module.folder)
            // Static programs, which do not depend on this machine's C library.
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::Run)?;
        let output = follow_output(&mut child);
        let mut progress = Progress::new(started);
        let status = wait::until(BUILD_LIMIT, LOOK_EVERY, || {
            progress.tell(|| format!("still building {}", run.what));
            child.try_wait().transpose()
        });
        let Some(status) = status else {
            // A failure means that it ended just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::TooSlow { what: format!("building {}", run.what) });
        };
        let output = output.join().unwrap_or_default();
        if !status.map_err(Error::Run)?.success() {
            return Err(Error::Compile { what: run.what, output });
        }
        tell(&format!("built {} in {}", run.what, wait::spoken(started.elapsed())));
        Ok(())
    }
}

/// Passes the compiler's lines on (it names each module that it downloads) and gives the last ones.
fn follow_output(child: &mut Child) -> std::thread::JoinHandle<String> {
    let output = child.stderr.take().expect("standard error is piped");
    std::thread::spawn(move || {
        let mut last = VecDeque::new();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            tell(&line);
            last.push_back(line);
            if last.len() > OUTPUT_LINES {
                last.pop_front();
            }
        }
        Vec::from(last).join("\n")
    })
}

/// Says every so often how long something has been going on.
struct Progress {
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(started: Instant) -> Self {
        Self { started, told: started }
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            let elapsed = wait::spoken(self.started.elapsed());
            tell(&format!("{}, {elapsed} so far", what()));
        }
    }
}

fn tell(line: &str) {
    eprintln!("[go] {line}");
}

fn create_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::File { what: "create the folder", path: path.to_path_buf(), source })
}

/// Names the folders that are built into.
const LEFTOVER_PREFIX: &str = ".build-";

/// Removes what killed builds have left behind. Called under the lock, so nobody builds there.
fn remove_leftovers(cache: &Path) {
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with(LEFTOVER_PREFIX) {
            // It only wastes space, so a failure is no reason to stop.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
