//! The library's front: start, look, interfere, stop.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::account::TokenId;
use crate::core::{Core, Shared};
use crate::fault::Rule;
use crate::fault_plan::{FaultHandle, FaultState};
use crate::log::{Counter, LogEntry};
use crate::modes::Modes;
use crate::seed::{Seed, SeedToken, add_seed_token};
use crate::server::{self, Service};
use crate::tls;
use crate::view::{self, TokenState};

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is there at the start; [`Seed::demo`] by default.
    pub seed: Seed,
    /// The address to listen on; it must be a loopback address.
    pub address: IpAddr,
    /// The port for HTTP; 0 takes a free one.
    pub http_port: u16,
    /// The port for HTTPS; 0 takes a free one.
    pub https_port: u16,
    /// The port of the control API; 0 takes a free one, none leaves it out.
    pub control_port: Option<u16>,
    /// A file with mode 0600 to which every token string is appended, for leak scans.
    pub issued_tokens_file: Option<PathBuf>,
    /// The string of the admin token instead of the seed's or a generated one.
    pub admin_token: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: Seed::demo(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_port: 0,
            https_port: 0,
            control_port: None,
            issued_tokens_file: None,
            admin_token: None,
        }
    }
}

impl From<Seed> for Options {
    fn from(seed: Seed) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// Why the emulator did not start.
#[derive(Debug)]
pub enum StartError {
    /// A port could not be taken, or the address is not a loopback address.
    Bind(SocketAddr, io::Error),
    /// The test certificates could not be made.
    Certificate(rcgen::Error),
    /// The file for issued tokens could not be opened.
    IssuedTokensFile(PathBuf, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, _) => write!(formatter, "cannot listen on {address}"),
            Self::Certificate(_) => formatter.write_str("cannot make the test certificates"),
            Self::IssuedTokensFile(path, _) => {
                write!(formatter, "cannot open {} for issued tokens", path.display())
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(_, error) | Self::IssuedTokensFile(_, error) => Some(error),
            Self::Certificate(error) => Some(error),
        }
    }
}

/// A token that the library added, with the one copy of its string.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// Its id.
    pub id: TokenId,
    /// Its uid.
    pub uid: String,
    /// Its string.
    pub string: String,
}

/// The string stays out of it.
impl fmt::Debug for IssuedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IssuedToken").field("id", &self.id).field("uid", &self.uid).finish_non_exhaustive()
    }
}

/// A running emulator. It stops, with all its connections, when it is dropped.
pub struct Emulator {
    shared: Arc<Shared>,
    http: SocketAddr,
    https: SocketAddr,
    control: Option<SocketAddr>,
    admin_token: String,
    tasks: Vec<AbortHandle>,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Emulator {
    /// Starts on the present tokio runtime. Many may run in one process.
    ///
    /// # Errors
    /// When a port cannot be taken or is not on loopback, the certificates cannot be made, or the
    /// file for issued tokens cannot be opened.
    pub async fn start(options: impl Into<Options>) -> Result<Self, StartError> {
        let options = options.into();
        let (account, admin_token) = options.seed.build(options.admin_token.as_deref());
        let issued_file = options.issued_tokens_file.map(open_private).transpose()?;
        let tls = tls::make().map_err(StartError::Certificate)?;
        let mut core = Core::new(account, options.seed.modes.clone(), issued_file);
        core.write_issued();
        for rule in options.seed.faults {
            core.faults.add(rule, &core.account);
        }
        let shared = Arc::new(Shared::new(core, tls.ca_pem));
        let (http_listener, http) = listen(options.address, options.http_port).await?;
        let (https_listener, https) = listen(options.address, options.https_port).await?;
        let api = Service::Api(Arc::clone(&shared));
        let mut tasks = vec![
            tokio::spawn(server::run(http_listener, None, api.clone())).abort_handle(),
            tokio::spawn(server::run(https_listener, Some(tls.acceptor), api)).abort_handle(),
        ];
        let mut control = None;
        if let Some(port) = options.control_port {
            let (listener, address) = listen(options.address, port).await?;
            let service = Service::Control(Arc::clone(&shared));
            tasks.push(tokio::spawn(server::run(listener, None, service)).abort_handle());
            control = Some(address);
        }
        Ok(Self { shared, http, https, control, admin_token, tasks })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// `https://localhost:PORT`, without a slash at the end.
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}", self.https.port())
    }

    /// `http://127.0.0.1:PORT` of the control API, if it runs.
    pub fn control_url(&self) -> Option<String> {
        self.control.map(|address| format!("http://{address}"))
    }

    /// The certificate of the test CA.
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// The string of the admin token.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The id of the account.
    pub fn account_id(&self) -> i64 {
        self.shared.lock().account.id
    }

    /// The request log.
    pub fn log(&self) -> Vec<LogEntry> {
        self.log_since(0)
    }

    /// The entries of the request log after `sequence`.
    pub fn log_since(&self, sequence: u64) -> Vec<LogEntry> {
        self.shared.lock().log.since(sequence).to_vec()
    }

    /// Calls by method and path template.
    pub fn counters(&self) -> Vec<Counter> {
        self.shared.lock().log.counters()
    }

    /// All tokens as they truly are, deleted ones too.
    pub fn tokens(&self) -> Vec<TokenState> {
        view::tokens(&self.shared.lock())
    }

    /// Adds a token, unchecked.
    pub fn add_token(&self, token: SeedToken) -> IssuedToken {
        let mut core = self.shared.lock();
        let string = add_seed_token(&mut core.account, token);
        core.write_issued();
        let added = core.account.token_of(&string).expect("the token was added under this lock");
        IssuedToken { id: added.id, uid: added.uid.clone(), string }
    }

    /// Deletes a token as an outsider would; whether there was one to delete.
    pub fn delete_token(&self, id: TokenId) -> bool {
        let mut core = self.shared.lock();
        let modes = core.modes.clone();
        core.account.delete_token(id, None, &modes).is_ok()
    }

    /// Links a Semantic Layer credential to a token as an outsider would, in place of another one of its project; whether
    /// both were there.
    pub fn link_credential(&self, credential: i64, id: TokenId) -> bool {
        let mut core = self.shared.lock();
        core.account.link_credential(credential, id)
    }

    /// Renames a token as an outsider would; whether it was there.
    pub fn rename_token(&self, id: TokenId, name: &str) -> bool {
        let mut core = self.shared.lock();
        let token = core.account.tokens.get_mut(&id);
        token.map(|token| name.clone_into(&mut token.name)).is_some()
    }

    /// Changes when a token was made, as no outsider could; whether it was there.
    pub fn date_token(&self, id: TokenId, created_at: Timestamp) -> bool {
        let mut core = self.shared.lock();
        let token = core.account.tokens.get_mut(&id);
        token.map(|token| token.created_at = created_at).is_some()
    }

    /// The active projects: ids with names.
    pub fn projects(&self) -> Vec<(i64, String)> {
        let core = self.shared.lock();
        core.account.projects.values().filter(|project| project.active).map(|one| (one.id, one.name.clone())).collect()
    }

    /// Renames a project as an outsider would; whether it was there.
    pub fn rename_project(&self, id: i64, name: &str) -> bool {
        let mut core = self.shared.lock();
        let project = core.account.projects.get_mut(&id);
        project.map(|project| name.clone_into(&mut project.name)).is_some()
    }

    /// The token that a string opens now, if any; it leaves no trace.
    pub fn authenticates(&self, string: &str) -> Option<TokenId> {
        let core = self.shared.lock();
        let token = core.account.token_of(string)?;
        token.is_usable(Instant::now()).then_some(token.id)
    }

    /// Changes the modes.
    pub fn set_modes(&self, change: impl FnOnce(&mut Modes)) {
        change(&mut self.shared.lock().modes);
    }

    /// Changes the plan of the account.
    pub fn set_plan(&self, plan: &str) {
        plan.clone_into(&mut self.shared.lock().account.plan);
    }

    /// Adds a rule at the end of the fault plan.
    pub fn add_fault(&self, rule: Rule) -> FaultHandle {
        let mut core = self.shared.lock();
        let core = &mut *core;
        core.faults.add(rule, &core.account)
    }

    /// Lets everything go that a rule holds back (hanging calls, late effects), and ends the rule.
    pub fn release(&self, handle: FaultHandle) {
        self.shared.lock().faults.release(handle);
    }

    /// Releases a rule and removes it.
    pub fn remove_fault(&self, handle: FaultHandle) {
        self.shared.lock().faults.remove(handle);
    }

    /// Releases and removes all rules.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// The rules with their histories.
    pub fn faults(&self) -> Vec<FaultState> {
        self.shared.lock().faults.states()
    }

    /// Every token string that was ever known here, in order: what a leak scan must look for.
    pub fn issued_token_strings(&self) -> Vec<String> {
        self.shared.lock().account.issued.clone()
    }

    /// Waits until `condition` holds, looking again after each request and each change of a fault;
    /// whether it came to hold within `limit`.
    pub async fn wait_until(&self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let mut changes = self.shared.changes();
        let holds = async {
            while !condition(self) {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        timeout(limit, holds).await.is_ok()
    }
}

async fn listen(address: IpAddr, port: u16) -> Result<(TcpListener, SocketAddr), StartError> {
    let wanted = SocketAddr::new(address, port);
    let listener = server::bind(wanted).await.map_err(|error| StartError::Bind(wanted, error))?;
    let bound = listener.local_addr().map_err(|error| StartError::Bind(wanted, error))?;
    Ok((listener, bound))
}

fn open_private(path: PathBuf) -> Result<File, StartError> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    opened.map_err(|error| StartError::IssuedTokensFile(path, error))
}
