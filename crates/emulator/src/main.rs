//! The emulator as a program: for the demonstration, chaos runs and local work. It only reads
//! arguments and starts the library.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use dbt_cloud_emulator::{Emulator, Options, Seed, StartError};

/// An honest local dbt Cloud for tests and demonstrations. Loopback only.
#[derive(Parser)]
#[command(name = "dbt-cloud-emulator", version)]
struct Arguments {
    /// The seed file (YAML); the seed of the demonstration if absent.
    #[arg(long)]
    seed: Option<PathBuf>,
    /// The loopback address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The port for HTTP; 0 takes a free one.
    #[arg(long, default_value_t = 8580)]
    http_port: u16,
    /// The port for HTTPS; 0 takes a free one.
    #[arg(long, default_value_t = 8543)]
    https_port: u16,
    /// The port of the control API; 0 takes a free one.
    #[arg(long, default_value_t = 8590)]
    control_port: u16,
    /// The string of the admin token, from the environment only: arguments are visible to others.
    #[arg(skip = std::env::var("DBT_CLOUD_EMULATOR_ADMIN_TOKEN").ok())]
    admin_token: Option<String>,
    /// A file with the string of the admin token. Without content (or without the file) the string
    /// that is in use is written to it, with mode 0600.
    #[arg(long)]
    admin_token_file: Option<PathBuf>,
    /// A file with mode 0600 to which every token string is appended, for leak scans.
    #[arg(long)]
    issued_tokens_file: Option<PathBuf>,
    /// A file to which the certificate of the test CA is written.
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// A file to which the addresses are written as JSON once the emulator listens.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

/// What stops the program.
enum Failure {
    ReadSeed(PathBuf, io::Error),
    ParseSeed(PathBuf, serde_yaml::Error),
    ReadAdminToken(PathBuf, io::Error),
    Write(PathBuf, io::Error),
    Start(StartError),
    Runtime(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadSeed(path, error) => write!(formatter, "cannot read the seed {}: {error}", path.display()),
            Self::ParseSeed(path, error) => {
                write!(formatter, "the seed {} is wrong: {error}", path.display())
            }
            Self::ReadAdminToken(path, error) => {
                write!(formatter, "cannot read the admin token from {}: {error}", path.display())
            }
            Self::Write(path, error) => {
                write!(formatter, "cannot write {}: {error}", path.display())
            }
            Self::Start(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                write!(formatter, "{error}: {cause}")
            }
            Self::Runtime(error) => write!(formatter, "cannot start the runtime: {error}"),
        }
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Failure::Runtime).and_then(|runtime| runtime.block_on(run(Arguments::parse())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing else can be done when standard error is closed.
            let _ = writeln!(io::stderr(), "dbt-cloud-emulator: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let seed = match &arguments.seed {
        None => Seed::demo(),
        Some(path) => read_seed(path)?,
    };
    let stored = arguments.admin_token_file.as_deref().map(read_token).transpose()?.flatten();
    let options = Options {
        seed,
        address: arguments.address,
        http_port: arguments.http_port,
        https_port: arguments.https_port,
        control_port: Some(arguments.control_port),
        issued_tokens_file: arguments.issued_tokens_file,
        admin_token: stored.clone().or(arguments.admin_token),
    };
    let emulator = Emulator::start(options).await.map_err(Failure::Start)?;
    if let (Some(path), None) = (&arguments.admin_token_file, &stored) {
        write_file(path, emulator.admin_token(), 0o600)?;
    }
    if let Some(path) = &arguments.ca_file {
        write_file(path, emulator.ca_pem(), 0o644)?;
    }
    let addresses = serde_json::json!({
        "account_id": emulator.account_id(),
        "http_url": emulator.http_url(),
        "https_url": emulator.https_url(),
        "control_url": emulator.control_url(),
    });
    if let Some(path) = &arguments.ready_file {
        write_file(path, &addresses.to_string(), 0o644)?;
    }
    let _ = writeln!(io::stderr(), "dbt-cloud-emulator: {addresses}");
    stop_signal().await.map_err(Failure::Runtime)
}

async fn stop_signal() -> io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt,
        _ = terminate.recv() => Ok(()),
    }
}

fn read_seed(path: &Path) -> Result<Seed, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::ReadSeed(path.to_owned(), error))?;
    Seed::from_yaml(&text).map_err(|error| Failure::ParseSeed(path.to_owned(), error))
}

/// The token in a file; none if the file is missing or empty.
fn read_token(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::ReadAdminToken(path.to_owned(), error)),
    }
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::Write(path.to_owned(), error))
}
