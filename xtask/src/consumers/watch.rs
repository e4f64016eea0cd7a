//! What happens to objects of one kind in one namespace, from the first list on, as `kubectl` tells it. A watch that ends,
//! since the API server did, begins anew.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Options, Shared, lock};
use crate::wait;

/// How soon a watch begins anew.
const PAUSE: Duration = Duration::from_millis(200);

/// One event of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, or what is of no interest here.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The object as it is now, or last was.
    pub(super) object: Value,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secrets,
    Pods,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Pods => "pods",
        }
    }
}

/// A running watch, which ends when it is dropped, after everything is said to be over.
#[derive(Debug)]
pub(super) struct Watch {
    child: Arc<Mutex<Child>>,
    follower: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(options: &Options, kind: Kind, shared: Arc<Shared>) -> Result<Self, Error> {
        let (child, output) = spawn(options, kind)?;
        let child = Arc::new(Mutex::new(child));
        let (options, last) = (options.clone(), Arc::clone(&child));
        let follower = std::thread::spawn(move || {
            follow(output, kind, &shared);
            while !shared.is_over() {
                begin_anew(&options, kind, &shared, &last);
            }
        });
        Ok(Self { child, follower: Some(follower) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        end(&self.child);
        if let Some(follower) = self.follower.take() {
            // It may have begun anew just before.
            while !follower.is_finished() {
                end(&self.child);
                let _finished = wait::until(PAUSE, PAUSE, || follower.is_finished().then_some(()));
            }
        }
    }
}

/// It is a process of ours, and may have ended by itself.
fn end(child: &Mutex<Child>) {
    let mut child = lock(child);
    drop(child.kill());
    drop(child.wait());
}

fn kubectl(options: &Options) -> Command {
    let mut command = Command::new(&options.kubectl);
    command.arg("--kubeconfig").arg(&options.kubeconfig).env("KUBECACHEDIR", &options.cache);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn spawn(options: &Options, kind: Kind) -> Result<(Child, ChildStdout), Error> {
    let arguments = ["get", kind.word(), "-n", &options.namespace, "--watch", "--output-watch-events", "-o", "json"];
    let child = kubectl(options).args(arguments).spawn();
    let mut child = child.map_err(|source| Error::Kubectl { program: options.kubectl.clone(), source })?;
    let output = child.stdout.take().expect("standard output is piped");
    Ok((child, output))
}

/// One more watch. What was deleted meanwhile is told by nobody, so that a list has to show what is still there.
fn begin_anew(options: &Options, kind: Kind, shared: &Shared, last: &Mutex<Child>) {
    let _over = wait::until(PAUSE, PAUSE, || shared.is_over().then_some(()));
    let Ok((child, output)) = spawn(options, kind) else { return };
    *lock(last) = child;
    match list(options, kind) {
        Some((present, revision)) => {
            let mut known = lock(&shared.known);
            match kind {
                Kind::Secrets => known.only_secrets(&present, revision, Instant::now()),
                Kind::Pods => known.only_pods(&present, revision),
            }
        }
        // The API server is away again.
        None => return end(last),
    }
    follow(output, kind, shared);
}

/// The names of Secrets or the uids of pods that are there, and the revision of the list.
fn list(options: &Options, kind: Kind) -> Option<(BTreeSet<String>, u64)> {
    let output = kubectl(options).args(["get", "--raw", &path(options, kind)]).output().ok()?;
    let list: Value = serde_json::from_slice(&output.stdout).ok()?;
    let field = if kind == Kind::Secrets { "name" } else { "uid" };
    let names = list["items"].as_array()?.iter().filter_map(|item| item["metadata"][field].as_str()).map(str::to_owned);
    Some((names.collect(), list["metadata"]["resourceVersion"].as_str()?.parse().ok()?))
}

fn path(options: &Options, kind: Kind) -> String {
    format!("/api/v1/namespaces/{}/{}", options.namespace, kind.word())
}

/// Ends with the process, or with the first thing that is no event.
fn follow(output: ChildStdout, kind: Kind, shared: &Shared) {
    let events = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Event>();
    for event in events.map_while(Result::ok) {
        let mut known = lock(&shared.known);
        match kind {
            Kind::Secrets => known.secret(&event, Instant::now()),
            Kind::Pods => known.pod(&event),
        }
    }
}
