//! A real Kubernetes control plane for tests and for the demo: etcd, the API server and the
//! controller manager, on loopback, gone without a trace when the process that started it is.
//!
//! It behaves like a cluster without nodes: TLS, RBAC, admission, garbage collection, namespace
//! deletion and service account tokens are real; pods are accepted and never run, unless
//! [`Pods::Run`] asks for a scheduler and for nodes that pretend to run them. It must never
//! reach beyond the machine it runs on, and it keeps nothing between two starts.
//!
//! | file | its job |
//! |---|---|
//! | `binaries` `versions` | find the programs, or have them built (`crate::go`) from pinned sources |
//! | `supervisor` `supervised` | the far and the near end of the process that holds the servers |
//! | `servers` `nodes` `ports` | the flags of each server |
//! | `certificates` `kubeconfig` `files` | who trusts whom |

mod binaries;
mod certificates;
mod error;
mod files;
mod kubeconfig;
mod nodes;
mod ports;
mod servers;
mod supervised;
mod supervisor;
mod versions;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use binaries::{Binaries, Error as BinariesError, NodeBinaries};
pub use error::Error;
pub use supervisor::{Afterwards, supervise_if_asked};

pub(crate) use ports::free as free_port;
pub(crate) use supervised::{Error as SupervisedError, Supervised};
pub(crate) use supervisor::{Command as FinalCommand, Server};

use certificates::Certificates;
use kubeconfig::Identity;
use servers::Layout;

use crate::wait;

/// The servers that make pods run, and the files that they read.
struct NodeServers {
    scheduler: Server,
    kwok: Server,
    scheduler_kubeconfig: PathBuf,
    stages: PathBuf,
}

impl NodeServers {
    fn of(layout: &Layout<'_>, programs: &NodeBinaries) -> Self {
        let scheduler_kubeconfig = layout.directory.join("scheduler.kubeconfig");
        let kwok_kubeconfig = service_account_kubeconfig(layout.directory, nodes::KWOK_NAMESPACE, nodes::KWOK_ACCOUNT);
        let stages = layout.directory.join("kwok-stages.yaml");
        Self {
            scheduler: nodes::scheduler(layout, &programs.kube_scheduler, &scheduler_kubeconfig),
            kwok: nodes::kwok(layout, &programs.kwok, &kwok_kubeconfig, &stages),
            scheduler_kubeconfig,
            stages,
        }
    }
}

/// A dot is in no namespace, so two accounts never share a file.
fn service_account_kubeconfig(directory: &Path, namespace: &str, name: &str) -> PathBuf {
    directory.join(format!("service-account.{namespace}.{name}.kubeconfig"))
}

/// The start was measured at 3 to 4 s on two idle cores; a machine busy with a build needs several
/// times that, and one that needs longer than this will not get there.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A probe costs a process, so not much more often than that.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// How long one request of `kubectl` may take.
const REQUEST_LIMIT: &str = "--request-timeout=60s";

/// How often a port that somebody else took meanwhile is replaced by another.
const PORT_ATTEMPTS: usize = 3;

/// The life of a service account token in a kubeconfig: longer than any test or demo.
const TOKEN_LIFE: &str = "--duration=24h";

/// How much of a server's log a failure repeats.
const LOG_LINES: usize = 15;

/// How a control plane shall be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What happens to its folder at the end.
    pub afterwards: Afterwards,
    /// Further flags of the API server, such as `--feature-gates=...`; they win over the usual ones.
    pub api_server_flags: Vec<String>,
    /// What becomes of pods.
    pub pods: Pods,
}

/// What becomes of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pods {
    /// They are accepted and stay pending.
    #[default]
    Accepted,
    /// They are scheduled to the nodes that [`ControlPlane::add_node`] makes, and are shown as running there, with the
    /// times at which their containers would have started. Costs two more programs.
    Run,
}

/// A running control plane. Dropping it, or the death of this process, ends it.
#[derive(Debug)]
pub struct ControlPlane {
    supervised: Supervised,
    binaries: Binaries,
    certificates: Certificates,
    admin_kubeconfig: PathBuf,
    audit_log: PathBuf,
    api_server: Server,
    etcd: Server,
    port: u16,
    process_ids: BTreeMap<String, u32>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is usable: the API server is ready and the
    /// controllers work. Builds its programs first if they are missing (see
    /// [`Binaries::find_or_build`]).
    ///
    /// `main` must have called [`supervise_if_asked`].
    ///
    /// # Errors
    /// If the programs are missing and cannot be built, if a server ends or is not ready in time
    /// (the end of its log is in the error), or if `main` is not prepared.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let binaries = Binaries::find_or_build()?;
        let node_binaries = match options.pods {
            Pods::Accepted => None,
            Pods::Run => Some(NodeBinaries::find_or_build()?),
        };
        let mut attempt = 1;
        loop {
            match Self::start_once(binaries.clone(), node_binaries.as_ref(), options) {
                Err(Error::ServerEnded { log, .. }) if log.contains("address already in use") && attempt < PORT_ATTEMPTS => {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(binaries: Binaries, node_binaries: Option<&NodeBinaries>, options: &Options) -> Result<Self, Error> {
        let supervised = Supervised::start(options.afterwards)?;
        let directory = supervised.directory().to_path_buf();
        let certificates = Certificates::write(&directory)?;
        let port = ports::free().ok_or(Error::NoPort)?;
        let audit_policy = directory.join("audit-policy.yaml");
        files::write(&audit_policy, servers::AUDIT_POLICY)?;
        let audit_log = directory.join("audit.log");
        let controller_manager_kubeconfig = directory.join("controller-manager.kubeconfig");
        let layout = Layout {
            directory: &directory,
            binaries: &binaries,
            certificates: &certificates,
            audit_policy: &audit_policy,
            audit_log: &audit_log,
            controller_manager_kubeconfig: &controller_manager_kubeconfig,
            port,
            api_server_flags: &options.api_server_flags,
            pods: options.pods,
        };
        let etcd = layout.etcd();
        let api_server = layout.api_server();
        let controller_manager = layout.controller_manager();
        let node_servers = node_binaries.map(|programs| NodeServers::of(&layout, programs));
        let mut plane = Self {
            supervised,
            admin_kubeconfig: directory.join("admin.kubeconfig"),
            audit_log,
            api_server,
            etcd: etcd.clone(),
            port,
            process_ids: BTreeMap::new(),
            binaries,
            certificates,
        };
        plane.write_kubeconfig(&plane.admin_kubeconfig, &Identity::Certificate(&plane.certificates.admin))?;
        plane.write_kubeconfig(&controller_manager_kubeconfig, &Identity::Certificate(&plane.certificates.controller_manager))?;
        plane.start_server(&etcd)?;
        plane.start_api_server()?;
        plane.start_server(&controller_manager)?;
        plane.wait_for_controllers()?;
        if let Some(servers) = node_servers {
            plane.start_node_servers(&servers)?;
        }
        Ok(plane)
    }

    /// Both work by the time a node is ready, see [`Self::add_node`].
    fn start_node_servers(&mut self, servers: &NodeServers) -> Result<(), Error> {
        let rights = self.directory().join("kwok-rights.yaml");
        files::write(&rights, nodes::KWOK_RIGHTS)?;
        self.run_kubectl(&["apply", "-f", &rights.to_string_lossy()])?;
        files::write(&servers.stages, nodes::STAGES)?;
        self.write_kubeconfig(&servers.scheduler_kubeconfig, &Identity::Certificate(&self.certificates.scheduler))?;
        self.kubeconfig_for_service_account(nodes::KWOK_NAMESPACE, nodes::KWOK_ACCOUNT)?;
        self.start_server(&servers.scheduler)?;
        self.start_server(&servers.kwok)
    }

    /// Adds a node on which pods are shown as running, and waits until it takes some. Only with [`Pods::Run`].
    ///
    /// # Errors
    /// If there is a node of that name, or the node does not become ready in time, as without [`Pods::Run`].
    pub fn add_node(&mut self, name: &str) -> Result<(), Error> {
        let manifest = self.directory().join(format!("node.{name}.yaml"));
        files::write(&manifest, &nodes::node(name))?;
        self.run_kubectl(&["create", "-f", &manifest.to_string_lossy()])?;
        self.wait_for("a node without taints", nodes::KWOK, |plane| {
            let ready = "{.status.conditions[?(@.type==\"Ready\")].status}{.spec.taints}";
            plane.run_kubectl(&["get", "node", name, "-o", &format!("jsonpath={ready}")]).is_ok_and(|state| state == "True")
        })
    }

    /// A kubeconfig for a member of `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// What happened so far, one JSON event a line, at level `Metadata`, without the stage
    /// `RequestReceived`. An event is written before its answer is sent.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// The path of a `kubectl` of the plane's version.
    #[must_use]
    pub fn kubectl(&self) -> &Path {
        &self.binaries.kubectl
    }

    /// The API server's address, such as `https://127.0.0.1:23456`. It stays the same after a
    /// restart.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority that the API server is to be trusted by, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificates.authority_pem
    }

    /// The folder of logs (`<server>.log`), kubeconfigs and data. It is removed at the end, unless
    /// [`Options::afterwards`] says otherwise.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.supervised.directory()
    }

    /// The process id of each server, by name, to measure it or to prove that it is gone.
    #[must_use]
    pub fn process_ids(&self) -> &BTreeMap<String, u32> {
        &self.process_ids
    }

    /// Writes a kubeconfig for a service account, which must exist, with a token for 24 hours.
    ///
    /// # Errors
    /// If the service account does not exist, or the file cannot be written.
    pub fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        let token = self.run_kubectl(&["create", "token", name, "-n", namespace, TOKEN_LIFE])?;
        let path = service_account_kubeconfig(self.directory(), namespace, name);
        self.write_kubeconfig(&path, &Identity::Token(token.trim()))?;
        Ok(path)
    }

    /// Runs `kubectl` as admin and gives its standard output.
    ///
    /// # Errors
    /// If it ends with an error; its standard error is in the message.
    pub fn run_kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        let output = Command::new(self.kubectl())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg(REQUEST_LIMIT)
            .args(arguments)
            // Its discovery cache would otherwise be shared with the user's clusters.
            .env("KUBECACHEDIR", self.directory().join("kubectl-cache"))
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::RunKubectl { program: self.kubectl().to_path_buf(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Kubectl { arguments: arguments.join(" "), message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    /// Kills the API server, as a crash would, and leaves the plane without it.
    ///
    /// # Errors
    /// If the supervisor fails.
    pub fn stop_api_server(&mut self) -> Result<(), Error> {
        self.process_ids.remove(servers::API_SERVER);
        Ok(self.supervised.stop_server(servers::API_SERVER)?)
    }

    /// Starts the API server on its old data and port, and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready in time.
    pub fn start_api_server(&mut self) -> Result<(), Error> {
        let server = self.api_server.clone();
        self.start_server(&server)?;
        self.wait_for("/readyz", servers::API_SERVER, |plane| {
            // Cheaper than a process, and enough of an answer for as long as nobody listens.
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, plane.port));
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
                && plane.run_kubectl(&["get", "--raw=/readyz"]).is_ok()
        })
    }

    /// [`Self::stop_api_server`], then [`Self::start_api_server`].
    ///
    /// # Errors
    /// As those two.
    pub fn restart_api_server(&mut self) -> Result<(), Error> {
        self.stop_api_server()?;
        self.start_api_server()
    }

    /// Kills etcd, as a crash would, and starts it on its old data; the API server finds it again by itself.
    ///
    /// # Errors
    /// If the supervisor fails, or the API server is not ready in time.
    pub fn restart_etcd(&mut self) -> Result<(), Error> {
        self.supervised.stop_server(servers::ETCD)?;
        let server = self.etcd.clone();
        self.start_server(&server)?;
        self.wait_for("/readyz", servers::API_SERVER, |plane| plane.run_kubectl(&["get", "--raw=/readyz"]).is_ok())
    }

    /// Ends everything and waits until it is gone, as dropping does.
    pub fn stop(mut self) {
        self.supervised.end();
    }

    fn start_server(&mut self, server: &Server) -> Result<(), Error> {
        let pid = self.supervised.start_server(server)?;
        self.process_ids.insert(server.name.clone(), pid);
        Ok(())
    }

    /// The account that the controllers give every namespace proves that they work.
    fn wait_for_controllers(&mut self) -> Result<(), Error> {
        self.wait_for("a service account in namespace default", servers::CONTROLLER_MANAGER, |plane| {
            plane.run_kubectl(&["get", "serviceaccount", "default", "-n", "default"]).is_ok()
        })
    }

    fn wait_for(&mut self, missing: &'static str, server: &'static str, ready: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let outcome = wait::until(START_LIMIT, PROBE_EVERY, || {
            if ready(self) {
                return Some(Ok(()));
            }
            self.check_servers().err().map(Err)
        });
        outcome.unwrap_or_else(|| Err(Error::NotReady { missing, server, log: self.end_of_log(server) }))
    }

    fn check_servers(&mut self) -> Result<(), Error> {
        match self.supervised.ended_servers()?.pop_first() {
            None => Ok(()),
            Some((server, status)) => Err(Error::ServerEnded { log: self.end_of_log(&server), server, status }),
        }
    }

    fn end_of_log(&self, server: &str) -> String {
        let text = std::fs::read_to_string(servers::log(self.directory(), server)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn write_kubeconfig(&self, path: &Path, identity: &Identity<'_>) -> Result<(), files::Error> {
        kubeconfig::write(path, &self.server_url(), &self.certificates.authority, identity)
    }
}
