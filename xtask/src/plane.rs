//! `cargo xtask plane`: a control plane to try things on by hand.

use std::io::Read;
use std::time::Instant;

use crate::control_plane::{self, Afterwards, ControlPlane, Options};
use crate::wait;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Keep the folder with logs, the audit log and data after the plane has ended
    #[arg(long)]
    keep: bool,
}

/// Starts a control plane, tells how to reach it, and runs it until standard input closes or the
/// process is interrupted.
///
/// # Errors
/// If the plane cannot be started.
pub fn run(arguments: &Arguments) -> Result<(), control_plane::Error> {
    let afterwards = if arguments.keep { Afterwards::Keep } else { Afterwards::Remove };
    let started = Instant::now();
    let plane = ControlPlane::start(&Options { afterwards, ..Options::default() })?;
    println!("ready after {}", wait::spoken(started.elapsed()));
    println!("server      {}", plane.server_url());
    println!("kubeconfig  {}", plane.kubeconfig().display());
    println!("audit log   {}", plane.audit_log().display());
    for (server, pid) in plane.process_ids() {
        println!("process     {pid} {server}");
    }
    println!();
    println!("  export KUBECONFIG={}", plane.kubeconfig().display());
    println!("  {} get namespaces", plane.kubectl().display());
    println!();
    println!("runs until Ctrl-C, or until standard input closes (Ctrl-D)");
    // Whatever is typed is of no interest, and a failure to read it means that nobody is there.
    let mut buffer = [0; 1024];
    while matches!(std::io::stdin().lock().read(&mut buffer), Ok(1..)) {}
    let directory = plane.directory().to_path_buf();
    plane.stop();
    match afterwards {
        Afterwards::Keep => println!("ended; its folder is {}", directory.display()),
        Afterwards::Remove => println!("ended; its folder is removed"),
    }
    Ok(())
}
