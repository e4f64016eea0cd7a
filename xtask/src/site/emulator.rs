//! The emulator of dbt Cloud as a process. The string of its admin token goes from file to file, never through an argument.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Error, LOOK_EVERY, START_LIMIT, end_of_log, read};
use crate::control_plane::{Server, Supervised};
use crate::http::{self, Client, Request, Session};
use crate::wait;

const NAME: &str = "dbt-cloud-emulator";

/// A running emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    /// Its address over TLS.
    pub(crate) https_url: String,
    /// The same without TLS.
    pub(crate) http_url: String,
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
                .ok_or_else(|| Error::NotReady { name: NAME.to_owned(), log: end_of_log(&log) })?;
        let text = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            https_url: text("https_url"),
            http_url: text("http_url"),
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

    /// Changes the switches that are given.
    pub(crate) fn set_modes(&self, changes: &Value) -> Result<(), Error> {
        self.control("PATCH", "/control/modes", changes).map(drop)
    }

    /// Adds a token as if somebody had made it by hand; its id and its string.
    pub(crate) fn add_token(&self, seed: &Value) -> Result<(i64, String), Error> {
        let made = self.control("POST", "/control/tokens", seed)?;
        let string = made["token_string"].as_str().unwrap_or_default().to_owned();
        Ok((made["id"].as_i64().unwrap_or_default(), string))
    }

    /// Every token as it truly is, without its string.
    pub(crate) fn tokens(&self) -> Result<Vec<Value>, Error> {
        Ok(self.control("GET", "/control/tokens", &Value::Null)?.as_array().cloned().unwrap_or_default())
    }

    /// A call to its control API.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let url = format!("{}{path}", self.control_url);
        let failure = |source| Error::Http(http::Error::Exchange { url: url.clone(), source });
        let mut session = Session::open(&self.client, &self.control_url).map_err(failure)?;
        let request = Request { method, path, token: "", content_type: "application/json", body: body.to_string() };
        let answer = session.send(&request).map_err(failure)?;
        match answer.status {
            200 => Ok(answer.json()),
            status => Err(failure(std::io::Error::other(format!("the emulator answers {status} to {method}")))),
        }
    }

    /// Everything that it was asked for but GETs: of those there may be hundreds of thousands.
    pub(crate) fn writes(&self) -> Result<Vec<Value>, Error> {
        let answer = self.client.get(&format!("{}/control/log?since=0&without_method=GET", self.control_url), None)?;
        Ok(answer.json().as_array().cloned().unwrap_or_default())
    }

    /// What it was asked for after the request of that number.
    pub(crate) fn log_since(&self, sequence: u64) -> Result<Vec<Value>, Error> {
        let answer = self.client.get(&format!("{}/control/log?since={sequence}", self.control_url), None)?;
        Ok(answer.json().as_array().cloned().unwrap_or_default())
    }
}
