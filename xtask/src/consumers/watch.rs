//! What happens to objects of one kind in one namespace, from the first list on, as `kubectl` tells it.

use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::{Error, Options, Shared, lock};

/// One event of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, or what is of no interest here.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The object as it is now, or last was.
    pub(super) object: Value,
}

/// A running watch, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    kind: &'static str,
    child: Child,
    has_ended: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn start(options: &Options, kind: &'static str, shared: Arc<Shared>) -> Result<Self, Error> {
        let mut child = Command::new(&options.kubectl)
            .arg("--kubeconfig")
            .arg(&options.kubeconfig)
            .args(["get", kind, "-n", &options.namespace, "--watch", "--output-watch-events", "-o", "json"])
            .env("KUBECACHEDIR", &options.cache)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| Error::Kubectl { program: options.kubectl.clone(), source })?;
        let has_ended = Arc::new(AtomicBool::new(false));
        if let Some(output) = child.stdout.take() {
            let has_ended = Arc::clone(&has_ended);
            std::thread::spawn(move || {
                follow(output, kind, &shared);
                has_ended.store(true, Ordering::SeqCst);
            });
        }
        Ok(Self { kind, child, has_ended })
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Whether it tells nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It is a process of ours, and may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ends with the process, or with the first thing that is no event.
fn follow(output: ChildStdout, kind: &str, shared: &Shared) {
    let events = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Event>();
    for event in events.map_while(Result::ok) {
        let mut known = lock(&shared.known);
        match kind {
            "secrets" => known.secret(&event, Instant::now()),
            _ => known.pod(&event),
        }
    }
}
