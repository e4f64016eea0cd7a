//! Runs the operator: reads the environment, connects, and hands over to the controller.

use std::error::Error;
use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::core_files;
use crate::controller::{self, Options};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::server::Server;
use crate::telemetry;

/// Options of `run`.
#[derive(Args)]
pub struct Run {
    /// The operator's own namespace: it holds the credentials of accounts, and the operator's copies of tokens.
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: String,
    /// Name of this process in the leader election; must differ between replicas.
    #[arg(long, env = "POD_NAME", default_value = "dbt-token-operator")]
    identity: String,
    /// Which installation this is, written into the name of every token. Default: the uid of the namespace. Pin it only to
    /// move an installation to another cluster.
    #[arg(long)]
    installation_id: Option<String>,
    /// Whether replicas elect a leader. Without it there must be one replica only.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    leader_election: bool,
    /// Name of the Lease for the election.
    #[arg(long, default_value = "dbt-token-operator")]
    lease_name: String,
    /// How many objects are worked on at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Allow http addresses of dbt; they are accepted for loopback hosts only.
    #[arg(long)]
    allow_insecure_endpoints: bool,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
    /// What is logged, such as `info` or `info,dbt_token_operator=debug`.
    #[arg(long, env = "DBT_TOKEN_OPERATOR_LOG", default_value = "info")]
    log: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

/// Runs until it is asked to stop by SIGTERM or SIGINT, or loses the lease.
pub fn run(run: Run) -> Result<(), Box<dyn Error>> {
    let format = match run.log_format {
        LogFormat::Json => telemetry::Format::Json,
        LogFormat::Text => telemetry::Format::Text,
    };
    telemetry::set_up(format, &run.log)?;
    core_files::keep_memory_out_of_them();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(operate(run))
}

async fn operate(run: Run) -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::default();
    let health = Health::default();
    let server = Server::listen(run.http_address, health.clone(), metrics.clone()).await?;
    tracing::info!(address = %server.address()?, "serving /livez, /readyz and /metrics");
    let options = Options {
        namespace: run.namespace,
        identity: run.identity,
        installation: run.installation_id,
        lease: run.leader_election.then_some(run.lease_name),
        concurrency: run.concurrency,
        allow_insecure_endpoints: run.allow_insecure_endpoints,
    };
    tokio::select! {
        ended = controller::start(options, metrics, health, stop_signal()) => ended.map_err(Into::into),
        ended = server.serve(std::future::pending()) => ended.map_err(Into::into),
    }
}

async fn stop_signal() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match terminate {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be listened for; only an interrupt stops the process in good order");
            let _interrupted = tokio::signal::ctrl_c().await;
        }
    }
}
