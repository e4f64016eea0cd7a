//! The operator as a process on this machine, with the identity that it would have in the cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::install::NAMESPACE;
use super::{Error, LOOK_EVERY, START_LIMIT, end_of_log, read};
use crate::control_plane::{Server, Supervised, free_port};
use crate::http::Client;
use crate::wait;

/// A running operator.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) log: PathBuf,
    pub(crate) process_id: u32,
    /// Where probes and metrics are.
    pub(crate) url: String,
    server: Server,
    client: Client,
}

impl Operator {
    /// Starts one under a name that no other has, and waits until it says that it is ready.
    pub(crate) fn start(
        supervised: &mut Supervised,
        name: &str,
        program: &Path,
        kubeconfig: &Path,
        flags: &[&str],
    ) -> Result<Self, Error> {
        let log = supervised.directory().join(format!("{name}.log"));
        let address = format!("127.0.0.1:{}", free_port().ok_or(Error::NoPort)?);
        let fixed = ["run", "--namespace", NAMESPACE, "--identity", name, "--http-address", &address];
        let arguments = fixed.iter().chain(flags).map(|&argument| argument.to_owned()).collect();
        let server = Server {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments,
            environment: BTreeMap::from([("KUBECONFIG".to_owned(), kubeconfig.display().to_string())]),
            log: log.clone(),
        };
        let process_id = supervised.start_server(&server)?;
        // It is asked without TLS, so it does not matter whom the client trusts.
        let operator = Self { log, process_id, url: format!("http://{address}"), server, client: Client::trusting("")? };
        let ready = wait::until(START_LIMIT, LOOK_EVERY, || operator.is_ready().then_some(()));
        match ready {
            Some(()) => Ok(operator),
            None => Err(Error::NotReady { name: operator.server.name, log: end_of_log(&operator.log) }),
        }
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&self, supervised: &mut Supervised) -> Result<(), Error> {
        Ok(supervised.stop_server(&self.server.name)?)
    }

    /// Starts it again after it has ended. Whether it is ready then is for others to see.
    pub(crate) fn start_again(&mut self, supervised: &mut Supervised) -> Result<(), Error> {
        self.process_id = supervised.start_server(&self.server)?;
        Ok(())
    }

    /// Whether it says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// The name under which it runs.
    pub(crate) fn name(&self) -> &str {
        &self.server.name
    }

    /// Its metrics, as they are scraped.
    pub(crate) fn metrics(&self) -> Result<String, Error> {
        Ok(self.get("/metrics")?.1)
    }

    /// The effects that it logged for one object, in their order.
    pub(crate) fn effects(&self, namespace: &str, name: &str) -> Result<Vec<LoggedEffect>, Error> {
        let text = read(&self.log)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.filter_map(|line| LoggedEffect::of(&line, namespace, name)).collect())
    }

    fn get(&self, path: &str) -> Result<(u16, String), Error> {
        let answer = self.client.get(&format!("{}{path}", self.url), None)?;
        Ok((answer.status, answer.body))
    }
}

/// One line of the log: an effect that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedEffect {
    /// When it was over, RFC 3339.
    pub(crate) time: String,
    pub(crate) effect: String,
    pub(crate) token_id: Option<i64>,
}

impl LoggedEffect {
    fn of(line: &Value, namespace: &str, name: &str) -> Option<Self> {
        let is_done =
            line["message"] == "effect done" && line["resource.namespace"] == namespace && line["resource.name"] == name;
        is_done.then(|| Self {
            time: line["timestamp"].as_str().unwrap_or_default().to_owned(),
            effect: line["effect"].as_str().unwrap_or_default().to_owned(),
            token_id: line["token.id"].as_i64(),
        })
    }
}
