//! The control plane as its users meet it: it starts, obeys RBAC, survives a restart, and leaves
//! nothing behind, however its owner dies.
//!
//! One plane serves all tests in order, since each start takes seconds.
#![allow(clippy::print_stdout, reason = "this program is its own harness: what it prints is the outcome")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::control_plane::{ControlPlane, Options, supervise_if_asked};
use xtask::wait;

/// Tells the second process of this program that it is the one to be killed.
const VICTIM: &str = "DBT_TOKEN_OPERATOR_PLANE_VICTIM";

/// Killing three processes and removing a folder takes well under a second on an idle machine.
const GONE_LIMIT: Duration = Duration::from_secs(30);

fn main() {
    supervise_if_asked();
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim();
    }
    let mut plane = None;
    run("a_plane_starts_and_answers", || {
        plane = Some(a_plane_starts_and_answers());
    });
    let mut plane = plane.expect("the test before this one has passed");
    run("a_service_account_is_bound_by_rbac", || {
        a_service_account_is_bound_by_rbac(&plane);
    });
    run("the_audit_log_tells_who_read_what_without_bodies", || {
        the_audit_log_tells_who_read_what_without_bodies(&plane);
    });
    run("deleted_namespaces_and_owned_objects_go", || {
        deleted_namespaces_and_owned_objects_go(&plane);
    });
    run("a_restarted_api_server_keeps_data_and_address", || {
        a_restarted_api_server_keeps_data_and_address(&mut plane);
    });
    run("a_killed_etcd_comes_back_with_its_data", || {
        a_killed_etcd_comes_back_with_its_data(&mut plane);
    });
    run("a_stopped_plane_leaves_nothing_behind", || {
        a_stopped_plane_leaves_nothing_behind(plane);
    });
    run("a_killed_owner_leaves_nothing_behind", a_killed_owner_leaves_nothing_behind);
    println!("\ntest result: ok. 8 passed; 0 failed");
}

/// A failing test panics, and the panic ends the program with the name of the test above it.
fn run(name: &str, test: impl FnOnce()) {
    println!("test {name} ...");
    let started = Instant::now();
    test();
    println!("test {name} ... ok ({})", wait::spoken(started.elapsed()));
}

fn a_plane_starts_and_answers() -> ControlPlane {
    let plane = start();
    let namespaces = plane.run_kubectl(&["get", "namespaces", "-o", "name"]).expect("an admin may list namespaces");
    assert!(namespaces.contains("namespace/kube-system"), "{namespaces}");
    let version = plane.run_kubectl(&["version", "-o", "json"]).expect("a version");
    let told = version.matches("\"gitVersion\": \"v1.36.").count();
    assert_eq!(told, 2, "client and server tell their version: {version}");
    assert!(plane.ca_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    plane
}

fn a_service_account_is_bound_by_rbac(plane: &ControlPlane) {
    let admin = |arguments: &[&str]| plane.run_kubectl(arguments).expect("an admin may");
    admin(&["create", "namespace", "tenant"]);
    admin(&["create", "serviceaccount", "reader", "-n", "tenant"]);
    let kubeconfig = plane.kubeconfig_for_service_account("tenant", "reader").expect("a token for an account that exists");
    let reader = |arguments: &[&str]| as_user(plane, &kubeconfig, arguments);
    let list = ["get", "configmaps", "-n", "tenant", "-o", "name"];

    let refusal = reader(&list).expect_err("nothing is granted yet");
    let user = "system:serviceaccount:tenant:reader";
    assert!(refusal.contains(user) && refusal.contains("Forbidden"), "{refusal}");

    let grant = ["create", "rolebinding", "reader", "-n", "tenant", "--clusterrole=view", "--serviceaccount=tenant:reader"];
    admin(&grant);
    // The authorizer learns of the grant by a watch.
    let granted = wait::until(GONE_LIMIT, Duration::from_millis(50), || reader(&list).ok());
    assert!(granted.is_some(), "the grant takes effect");
    let secrets = ["get", "secrets", "-n", "tenant"];
    reader(&secrets).expect_err("a viewer may not read Secrets");

    plane.kubeconfig_for_service_account("tenant", "nobody").expect_err("an account that does not exist");
}

fn the_audit_log_tells_who_read_what_without_bodies(plane: &ControlPlane) {
    let log = std::fs::read_to_string(plane.audit_log()).expect("an audit log");
    let events: Vec<&str> =
        log.lines().filter(|line| line.contains("\"username\":\"system:serviceaccount:tenant:reader\"")).collect();
    let refused = events.iter().any(|event| event.contains("\"resource\":\"secrets\"") && event.contains("\"code\":403"));
    assert!(refused, "the refused read of Secrets is told: {events:?}");
    assert!(!log.contains("RequestReceived") && !log.contains("responseObject"));
}

fn deleted_namespaces_and_owned_objects_go(plane: &ControlPlane) {
    let admin = |arguments: &[&str]| plane.run_kubectl(arguments).expect("an admin may");
    let create = ["create", "deployment", "web", "--image=web", "-n", "tenant"];
    admin(&create);
    let list = ["get", "replicasets", "-n", "tenant", "-o", "name"];
    let made = wait::until(GONE_LIMIT, Duration::from_millis(50), || (!admin(&list).is_empty()).then_some(()));
    assert!(made.is_some(), "the deployment gets a replica set");
    admin(&["delete", "deployment", "web", "-n", "tenant"]);
    let collected = wait::until(GONE_LIMIT, Duration::from_millis(50), || admin(&list).is_empty().then_some(()));
    assert!(collected.is_some(), "the replica set goes with its owner");
    admin(&["delete", "namespace", "tenant", "--wait=false"]);
    let gone = wait::until(GONE_LIMIT, Duration::from_millis(50), || plane.run_kubectl(&["get", "namespace", "tenant"]).err());
    let message = gone.expect("the namespace goes").to_string();
    assert!(message.contains("NotFound"), "{message}");
}

fn a_restarted_api_server_keeps_data_and_address(plane: &mut ControlPlane) {
    let create = ["create", "configmap", "kept", "-n", "default"];
    plane.run_kubectl(&create).expect("an admin may");
    let address = plane.server_url();
    let process = plane.process_ids()["kube-apiserver"];

    plane.stop_api_server().expect("it can be stopped");
    assert!(!exists(process), "the old process is gone");
    plane.run_kubectl(&["get", "namespaces"]).expect_err("nobody answers");
    plane.start_api_server().expect("it starts again on its data");

    assert_eq!(plane.server_url(), address);
    assert_ne!(plane.process_ids()["kube-apiserver"], process);
    let read = ["get", "configmap", "kept", "-n", "default"];
    plane.run_kubectl(&read).expect("the data is still there");
}

fn a_killed_etcd_comes_back_with_its_data(plane: &mut ControlPlane) {
    plane.run_kubectl(&["create", "configmap", "before", "-n", "default"]).expect("an admin may");
    let process = plane.process_ids()["etcd"];

    plane.restart_etcd().expect("it starts again on its data");

    assert!(!exists(process), "the old process is gone");
    assert_ne!(plane.process_ids()["etcd"], process);
    plane.run_kubectl(&["get", "configmap", "before", "-n", "default"]).expect("the data is still there");
    plane.run_kubectl(&["create", "configmap", "after", "-n", "default"]).expect("and there will be more");
}

fn a_stopped_plane_leaves_nothing_behind(plane: ControlPlane) {
    let directory = plane.directory().to_path_buf();
    let processes: Vec<u32> = plane.process_ids().values().copied().collect();
    assert_eq!(processes.len(), 3);
    assert!(processes.iter().all(|&id| exists(id)));
    plane.stop();
    assert!(!processes.iter().any(|&id| exists(id)));
    assert!(!directory.exists());
}

fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Command::new(std::env::current_exe().expect("a path"))
        .env(VICTIM, "")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let output = owner.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let directory = PathBuf::from(lines.next().expect("the victim tells its folder"));
    let processes: Vec<u32> =
        (0..3).map(|_| lines.next().expect("a line for each process")).map(|line| line.parse().expect("a process id")).collect();
    assert!(processes.iter().all(|&id| exists(id)) && directory.exists());

    owner.kill().expect("SIGKILL, which no destructor survives");
    owner.wait().expect("it is dead");

    let gone = wait::until(GONE_LIMIT, Duration::from_millis(20), || {
        let remains = processes.iter().any(|&id| exists(id)) || directory.exists();
        (!remains).then_some(())
    });
    assert!(gone.is_some(), "{processes:?} or {directory:?} remain");
}

fn be_the_victim() {
    let plane = start();
    println!("{}", plane.directory().display());
    for id in plane.process_ids().values() {
        println!("{id}");
    }
    // Blocks until killed: the other end stays open for longer than this process lives.
    let _ = std::io::stdin().read(&mut [0]);
}

fn start() -> ControlPlane {
    match ControlPlane::start(&Options::default()) {
        Ok(plane) => plane,
        Err(error) => panic!("the plane does not start: {error} ({error:?})"),
    }
}

fn as_user(plane: &ControlPlane, kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(plane.kubectl())
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .env("KUBECACHEDIR", plane.directory().join("user-cache"))
        .output()
        .expect("kubectl runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether a process exists, dead but unburied ones included.
fn exists(process: u32) -> bool {
    Command::new("sh")
        .args(["-c", "kill -0 \"$0\" 2>/dev/null", &process.to_string()])
        .status()
        .is_ok_and(|status| status.success())
}
