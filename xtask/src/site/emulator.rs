//! The emulator of dbt Cloud as a process. The string of its admin token goes from file to file, never through an argument.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, LOOK_EVERY, START_LIMIT, end_of_log, read};
use crate::control_plane::{Server, Supervised};
use crate::http::Client;
use crate::wait;

const NAME: &str = "dbt-cloud-emulator";

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    /// Its address over TLS.
    pub(crate) https_url: String,
    pub(crate) account_id: i64,
    /// Holds the string of the operator's credential.
    pub(crate) admin_token: PathBuf,
    /// Holds the certificate of its authority.
    pub(crate) ca: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) process_id: u32,
    issued: PathBuf,
    control_url: String,
    client: Client,
}

impl Emulator {
    /// Starts it on free ports, with the seed of the demonstration if there is no other, and waits until it listens.
    pub(crate) fn start(supervised: &mut Supervised, program: &Path, seed: Option<&Path>) -> Result<Self, Error> {
        let folder = supervised.directory().to_path_buf();
        let [admin_token, issued, ca, ready, log] =
            ["admin-token", "issued-tokens", "dbt-ca.pem", "emulator.json", "dbt-cloud-emulator.log"]
                .map(|name| folder.join(name));
        let mut arguments: Vec<String> =
            ["--http-port", "0", "--https-port", "0", "--control-port", "0"].map(str::to_owned).into();
        let files = [
            ("--admin-token-file", Some(admin_token.as_path())),
            ("--issued-tokens-file", Some(&issued)),
            ("--ca-file", Some(&ca)),
            ("--ready-file", Some(&ready)),
            ("--seed", seed),
        ];
        for (name, path) in files {
            arguments.extend(path.into_iter().flat_map(|path| [name.to_owned(), path.display().to_string()]));
        }
        let process_id = supervised.start_server(&Server {
            name: NAME.to_owned(),
            program: program.to_path_buf(),
            arguments,
            environment: BTreeMap::new(),
            log: log.clone(),
        })?;
        let addresses =
            wait::until(START_LIMIT, LOOK_EVERY, || serde_json::from_str::<Value>(&std::fs::read_to_string(&ready).ok()?).ok())
                .ok_or_else(|| Error::NotReady { name: NAME, log: end_of_log(&log) })?;
        let text = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            https_url: text("https_url"),
            control_url: text("control_url"),
            account_id: addresses["account_id"].as_i64().unwrap_or_default(),
            client: Client::trusting(&read(&ca)?)?,
            admin_token,
            issued,
            ca,
            log,
            process_id,
        })
    }

    /// A client that trusts it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Every token string that it ever knew.
    pub(crate) fn issued_tokens(&self) -> Result<Vec<String>, Error> {
        let text = read(&self.issued)?;
        Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }

    /// What it was asked for after the request of that number.
    pub(crate) fn log_since(&self, sequence: u64) -> Result<Vec<Value>, Error> {
        let answer = self.client.get(&format!("{}/control/log?since={sequence}", self.control_url), None)?;
        Ok(answer.json().as_array().cloned().unwrap_or_default())
    }
}
