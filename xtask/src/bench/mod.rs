//! `cargo xtask bench`: what the operator costs, measured on a real control plane beside a client that does only what
//! nobody can avoid. It judges nothing and fails on no number: it prints them next to the aims.
//!
//! | file | its job |
//! |---|---|
//! | `client` | the bare client, a process of its own |
//! | `process` `audit` | what a process has used, and what the API server was asked for |
//! | `report` | the numbers as people read them |

mod audit;
pub mod client;
mod process;
mod report;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cargo::{self, Profile};
use crate::control_plane::{Afterwards, Pods, Supervised};
use crate::private_file;
use crate::site::{self, Site, emulator::Emulator, install, operator::Operator};
use crate::wait;
use audit::Entry;
use client::{Server, Work};
use report::{Cost, Report, Resting};

/// The name of the account.
const ACCOUNT: &str = "analytics";

/// The project that every token is for: Finance in the emulator's seed.
const PROJECT: i64 = 700;

/// Who creates the ServiceTokens, and who the bare client is in the cluster.
const CLIENT: &str = "bench-client";

/// Objects are spread over so many namespaces, as those of several teams are.
const NAMESPACES: usize = 8;

/// How long everything may take: far above what is measured, for machines that are busy with other things.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How often the operator is asked how far it is. Each answer costs it some tens of microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many ServiceTokens
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    objects: u32,
    /// How many objects are worked on at once, by the operator and by the bare client
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How many seconds the operator is watched at rest
    #[arg(long, default_value_t = 15)]
    rest: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something could not be started or used.
    #[error("the benchmark cannot go on")]
    Site(#[from] site::Error),
    /// The bare client.
    #[error("the bare client failed; what it said stands above")]
    Client,
    /// The operator did not get to the end.
    #[error("{done} of {wanted} tokens are published after {}", wait::spoken(LIMIT))]
    TooSlow {
        /// How many it published.
        done: usize,
        /// How many there are.
        wanted: usize,
    },
    /// The system does not tell what a process uses.
    #[error("/proc does not tell what process {0} uses; this needs Linux")]
    Process(u32),
}

impl From<site::kubectl::Error> for Error {
    fn from(error: site::kubectl::Error) -> Self {
        Self::Site(error.into())
    }
}

/// Measures, and prints what was measured.
///
/// # Errors
/// If something cannot be started, or does not come to its end.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    println!("building operator, emulator and bare client as they are shipped (some minutes from nothing)");
    let programs = cargo::build(Profile::Release).map_err(site::Error::from)?;
    println!("starting the control plane");
    let mut site = Site::on_a_plane(Pods::Accepted)?;
    install::install(&site.kubectl)?;
    let bench = Bench { programs, objects: arguments.objects as usize, workers: arguments.concurrency.into() };
    let authority = site.plane.as_ref().map(|plane| plane.ca_pem().to_owned()).unwrap_or_default();
    let client = bench.create_client(&site, authority)?;
    let bare = bench.measure_bare_client(&site, &client)?;
    let report = bench.measure_operator(&mut site, &client, arguments, bare)?;
    site.end();
    println!("\n{report}");
    Ok(())
}

struct Bench {
    programs: cargo::Programs,
    objects: usize,
    workers: usize,
}

/// The client's way to the API server.
struct Client {
    url: String,
    authority_pem: String,
    token: String,
}

impl Client {
    fn server(&self) -> Server {
        Server { url: self.url.clone(), authority_pem: self.authority_pem.clone(), token: self.token.clone() }
    }
}

impl Bench {
    fn create_client(&self, site: &Site, authority_pem: String) -> Result<Client, Error> {
        let kubectl = &site.kubectl;
        let account = format!("--serviceaccount={}:{CLIENT}", install::NAMESPACE);
        kubectl.run(&["create", "serviceaccount", CLIENT, "-n", install::NAMESPACE])?;
        kubectl.run(&["create", "clusterrolebinding", CLIENT, "--clusterrole=cluster-admin", &account])?;
        let token = kubectl.run(&["create", "token", CLIENT, "-n", install::NAMESPACE, "--duration=24h"])?;
        let config = kubectl.json(&["config", "view", "--minify"])?;
        let url = config["clusters"][0]["cluster"]["server"].as_str().unwrap_or_default().to_owned();
        for prefix in ["bare", "bench"] {
            let names = namespaces(prefix);
            let wanted: Vec<_> = names.iter().map(|name| (name.as_str(), json!({}))).collect();
            kubectl.apply(&install::namespaces(&wanted))?;
        }
        Ok(Client { url, authority_pem, token: token.trim().to_owned() })
    }

    /// How long the bare client needs. It has an emulator of its own, so that the operator's list is not longer for it.
    fn measure_bare_client(&self, site: &Site, client: &Client) -> Result<Cost, Error> {
        println!("the bare client, with {} workers, for {} objects", self.workers, self.objects);
        let mut supervised = Supervised::start(Afterwards::Remove).map_err(site::Error::from)?;
        let emulator = Emulator::start(&mut supervised, &self.programs.emulator, None)?;
        let token = site::read(&emulator.admin_token)?.trim().to_owned();
        let dbt = Server { url: emulator.https_url.clone(), authority_pem: site::read(&emulator.ca)?, token };
        let before = server_time(site);
        let took = self.run_client(&supervised, client, "bare", Some(dbt), &emulator)?;
        let server = server_time(site).saturating_sub(before);
        println!("  {}", wait::spoken(took));
        for name in namespaces("bare") {
            let path = format!("/apis/tokens.dbt-operator.dev/v1alpha1/namespaces/{name}/servicetokens");
            site.kubectl.run(&["delete", "--raw", &path])?;
        }
        supervised.end();
        Ok(Cost { wall: took, server })
    }

    fn run_client(
        &self,
        supervised: &Supervised,
        client: &Client,
        prefix: &str,
        dbt: Option<Server>,
        emulator: &Emulator,
    ) -> Result<Duration, Error> {
        let work = Work {
            kubernetes: client.server(),
            dbt,
            account_id: emulator.account_id,
            project_id: PROJECT,
            objects: self.objects,
            workers: self.workers,
            namespaces: namespaces(prefix),
        };
        let path = supervised.directory().join("work.json");
        private_file::write(&path, &json!(work).to_string())
            .map_err(|source| site::Error::File { path: path.clone(), source })?;
        let output = Command::new(&self.programs.tasks)
            .arg("bench-client")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|source| site::Error::File { path: self.programs.tasks.clone(), source })?;
        let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| Error::Client)?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn measure_operator(&self, site: &mut Site, client: &Client, arguments: &Arguments, bare: Cost) -> Result<Report, Error> {
        let emulator = site.start_emulator(&self.programs)?;
        install::give_credential(&site.kubectl, &emulator)?;
        let flag = format!("--concurrency={}", self.workers);
        let operator = site.start_operator(&self.programs, &[&flag])?;
        site.kubectl.apply(&account(&emulator).to_string())?;
        site.kubectl.run(&["wait", "dbtaccount", ACCOUNT, "--for=condition=Ready", "--timeout=60s"])?;
        println!("the operator, for {} objects", self.objects);
        let (processor, server) = (processor_time(&operator)?, server_time(site));
        let calls = emulator.log_since(0)?.len();
        let created = self.run_client(&site.supervised, client, "bench", None, &emulator)?;
        println!("  all are declared after {}", wait::spoken(created));
        self.await_published(site, &operator)?;
        let busy = processor_time(&operator)?.saturating_sub(processor);
        let server = server_time(site).saturating_sub(server);
        let dbt_calls = emulator.log_since(0)?.len().saturating_sub(calls);
        let entries = read_audit_log(site)?;
        let (rss_busy, _) = memory(&operator)?;
        println!("  all are published; watching it at rest for {} s", arguments.rest);
        let resting = self.rest(site, &operator, &emulator, arguments.rest)?;
        Ok(Report {
            objects: self.objects,
            workers: self.workers,
            load: process::load(),
            bare,
            created,
            operator: Cost { wall: wall_time(&entries), server },
            busy,
            dbt_calls,
            requests: requests_of_objects(&entries),
            rss_busy,
            resting,
        })
    }

    /// Asks the operator how many it has published, then the API server whether that is so.
    fn await_published(&self, site: &Site, operator: &Operator) -> Result<(), Error> {
        let mut done = 0;
        let mut told = std::time::Instant::now();
        let counted = wait::until(LIMIT, LOOK_EVERY, || {
            done = operator.metrics().map_or(done, |metrics| published(&metrics));
            if told.elapsed() > Duration::from_secs(10) {
                told = std::time::Instant::now();
                println!("  {done} of {} are published", self.objects);
            }
            (done >= self.objects).then_some(())
        });
        counted.ok_or(Error::TooSlow { done, wanted: self.objects })?;
        let ready = wait::until(LIMIT, Duration::from_secs(1), || {
            let text = site.kubectl.run(&["get", "servicetokens", "-A", "--no-headers"]).ok()?;
            done = text.lines().filter(|line| line.contains(" True ") && line.contains(" Published ")).count();
            (done >= self.objects).then_some(())
        });
        ready.ok_or(Error::TooSlow { done, wanted: self.objects })
    }

    fn rest(&self, site: &Site, operator: &Operator, emulator: &Emulator, seconds: u64) -> Result<Resting, Error> {
        let before = (read_audit_log(site)?.len(), emulator.log_since(0)?.len(), processor_time(operator)?);
        let time = Duration::from_secs(seconds);
        // Nothing is waited for: that nothing happens is what is measured.
        let _ = wait::until::<()>(time, time, || None);
        let entries = read_audit_log(site)?;
        let (rss, peak) = memory(operator)?;
        let requests = entries[before.0..].iter().filter(|entry| is_of_operator(entry) && entry.resource != "leases");
        Ok(Resting {
            time,
            processor: processor_time(operator)?.saturating_sub(before.2),
            requests: audit::counts(requests.filter(|entry| entry.verb != "watch")),
            dbt_calls: emulator.log_since(0)?.len().saturating_sub(before.1),
            rss,
            peak,
        })
    }
}

fn namespaces(prefix: &str) -> Vec<String> {
    (0..NAMESPACES).map(|number| format!("{prefix}-{number}")).collect()
}

fn account(emulator: &Emulator) -> Value {
    let url = &emulator.https_url;
    json!({
        "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "DbtAccount", "metadata": {"name": ACCOUNT},
        "spec": {
            "accessUrl": url,
            "accountId": emulator.account_id,
            "credentialsSecretRef": {"name": install::CREDENTIAL},
            "caBundleSecretRef": {"name": install::CA},
            "endpoints": {"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")},
            "grants": [{"namespaces": namespaces("bench"), "permissionSets": ["job_runner"], "allProjects": true}],
            // Neither limit shall be what is measured.
            "limits": {"requestsPerMinute": 5000, "mintsPerHour": 10000},
        },
    })
}

/// How often the operator has published a token.
fn published(metrics: &str) -> usize {
    let line = "dbt_token_operator_effects_total{effect=\"project\",outcome=\"ok\"} ";
    metrics.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).unwrap_or_default()
}

/// Processor time of the API server so far; nothing where it cannot be told.
fn server_time(site: &Site) -> Duration {
    let process_id = site.plane.as_ref().and_then(|plane| plane.process_ids().get("kube-apiserver"));
    process_id.and_then(|id| process::processor_time(*id)).unwrap_or_default()
}

fn processor_time(operator: &Operator) -> Result<Duration, Error> {
    process::processor_time(operator.process_id).ok_or(Error::Process(operator.process_id))
}

fn memory(operator: &Operator) -> Result<(u64, u64), Error> {
    process::memory(operator.process_id).ok_or(Error::Process(operator.process_id))
}

fn read_audit_log(site: &Site) -> Result<Vec<Entry>, Error> {
    match &site.plane {
        Some(plane) => Ok(audit::entries(&site::read(plane.audit_log())?)),
        None => Ok(Vec::new()),
    }
}

fn is_of_operator(entry: &Entry) -> bool {
    entry.user == format!("system:serviceaccount:{0}:{0}", install::NAMESPACE)
}

/// Neither the leader election, nor what is asked once for a kind, nor events, which the aim leaves out.
fn is_of_objects(entry: &Entry) -> bool {
    !matches!(entry.resource.as_str(), "leases" | "events" | "namespaces" | "")
        && !entry.resource.starts_with("dbtaccounts")
        && entry.verb != "watch"
}

/// What the operator asked the API server for, from the first declaration on.
fn requests_of_objects(entries: &[Entry]) -> BTreeMap<(String, String), usize> {
    let begin = first_declaration(entries);
    audit::counts(entries.iter().filter(|entry| entry.received >= begin && is_of_operator(entry) && is_of_objects(entry)))
}

/// When the first object was declared.
fn first_declaration(entries: &[Entry]) -> u64 {
    let declared = entries
        .iter()
        .filter(|entry| entry.namespace.starts_with("bench-") && entry.verb == "create" && entry.resource == "servicetokens");
    declared.map(|entry| entry.received).min().unwrap_or_default()
}

/// From the first declaration to the last status that the operator wrote, by the API server's clock.
fn wall_time(entries: &[Entry]) -> Duration {
    let is_status = |entry: &&Entry| {
        is_of_operator(entry) && entry.namespace.starts_with("bench-") && entry.resource == "servicetokens/status"
    };
    let last = entries.iter().filter(is_status).map(|entry| entry.answered).max().unwrap_or_default();
    Duration::from_micros(last.saturating_sub(first_declaration(entries)))
}
