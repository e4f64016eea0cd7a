//! One operator process, as it is shipped, with its log in a file.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::wait::{LIMIT, until};

/// How an operator is started.
#[derive(Clone, Debug, Default)]
pub struct OperatorOptions {
    /// Whether it takes part in the election.
    pub leader_election: bool,
    /// Its name in the election; replicas must differ.
    pub identity: Option<&'static str>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// It is killed, by SIGKILL, the moment it logs its n-th effect as done.
    pub killed_after_effects: Option<usize>,
    /// The kubeconfig, if it is another one than that of the stage.
    pub kubeconfig: Option<PathBuf>,
}

/// Lets the program leave core files as large as the system allows, whatever the usual limit is, and puts all that it writes
/// into one stream.
const WITH_CORE_FILES: &str = r#"ulimit -c "$(ulimit -H -c)"; exec "$0" "$@" >&2"#;

/// A running operator. Dropping it kills it.
pub struct Operator {
    child: Arc<Mutex<Child>>,
    heard: Arc<Mutex<Heard>>,
    address: String,
}

/// What its log said so far.
#[derive(Default)]
struct Heard {
    address: Option<String>,
    effects: Vec<String>,
    leads: bool,
    ended: Option<ExitStatus>,
}

impl Operator {
    /// Starts it and waits until it serves its probes.
    pub async fn start(namespace: &str, kubeconfig: &Path, log: PathBuf, options: &OperatorOptions) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", WITH_CORE_FILES, env!("CARGO_BIN_EXE_dbt-token-operator")])
            .args(["run", "--namespace", namespace, "--http-address", "127.0.0.1:0"])
            .args(["--identity", options.identity.unwrap_or("operator-0")])
            // As much as there is: no level may show a token.
            .args(["--log-format", "text", "--log", "trace"])
            .args(["--leader-election", if options.leader_election { "true" } else { "false" }])
            .args(&options.arguments)
            .env("KUBECONFIG", options.kubeconfig.as_deref().unwrap_or(kubeconfig))
            .env("NO_COLOR", "1")
            // Where a core file would lie.
            .current_dir(log.parent().expect("a log lies in a folder"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the operator starts");
        let output = child.stderr.take().expect("its output is piped");
        let child = Arc::new(Mutex::new(child));
        let heard = Arc::<Mutex<Heard>>::default();
        let ears = (Arc::clone(&heard), Arc::clone(&child), options.killed_after_effects);
        std::thread::spawn(move || listen(output, &log, ears));
        let address = until(LIMIT, "the operator serves its probes", async || {
            let heard = heard.lock().expect("no holder panics");
            assert!(heard.ended.is_none() || heard.address.is_some(), "the operator ended at its start");
            heard.address.clone().ok_or_else(|| "nothing".to_owned())
        })
        .await;
        Self { child, heard, address }
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("no holder panics");
        // It may have been killed already.
        let _ended = child.kill();
        let _status = child.wait();
    }

    /// Ends it; there is nothing that it would have to finish.
    pub fn stop(&self) {
        self.kill();
    }

    /// Sends it a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().expect("there is a kill");
        assert!(sent.success(), "signal {name} to process {id}");
    }

    /// Whether its log said that it leads.
    pub fn leads(&self) -> bool {
        self.heard.lock().expect("no holder panics").leads
    }

    /// The effects that its log calls done, in order, without those of other objects.
    pub fn effects(&self, name: &str) -> Vec<String> {
        let heard = self.heard.lock().expect("no holder panics");
        let wanted = format!("resource.name=\"{name}\"");
        heard.effects.iter().filter(|line| line.contains(&wanted)).filter_map(|line| word_of(line)).collect()
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("no holder panics").id()
    }

    /// Whether the process is gone.
    pub fn has_ended(&self) -> bool {
        self.exit().is_some()
    }

    /// How the process ended, once it has.
    pub fn exit(&self) -> Option<ExitStatus> {
        self.heard.lock().expect("no holder panics").ended
    }

    /// What `/metrics` answers.
    pub async fn metrics(&self) -> String {
        let client: Client<_, String> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("http://{}/metrics", self.address).parse().expect("an address")).await;
        let body = answer.expect("the metrics are served").into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

fn word_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("effect=\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Copies its output to the log, and hears what it says. A thread of its own, so that a kill follows a line at once.
fn listen(output: impl std::io::Read, log: &Path, (heard, child, limit): (Arc<Mutex<Heard>>, Arc<Mutex<Child>>, Option<usize>)) {
    let mut file = File::options().create(true).append(true).open(log).expect("a log file");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if line.contains("effect done") {
            let mut heard = heard.lock().expect("no holder panics");
            heard.effects.push(line.clone());
            if limit.is_some_and(|limit| heard.effects.len() >= limit) {
                let _ended = child.lock().expect("no holder panics").kill();
            }
        } else if line.contains("this process leads") {
            heard.lock().expect("no holder panics").leads = true;
        } else if line.contains("serving /livez") {
            let address = line.rsplit_once("address=").map(|(_, address)| address.trim().to_owned());
            heard.lock().expect("no holder panics").address = address;
        }
        if writeln!(file, "{line}").is_err() {
            break;
        }
    }
    let status = child.lock().expect("no holder panics").wait().expect("it is a child of this process");
    heard.lock().expect("no holder panics").ended = Some(status);
}
