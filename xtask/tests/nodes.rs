//! A plane with nodes, as its users meet it: pods are scheduled and run, Deployments roll, and nothing stays behind.
#![allow(clippy::print_stdout, reason = "this program is its own harness: what it prints is the outcome")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::control_plane::{ControlPlane, Options, Pods, supervise_if_asked};
use xtask::wait;

/// A roll-out takes about a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

const EVERY: Duration = Duration::from_millis(50);

const NAMESPACE: &str = "rolling";

/// A Deployment whose one container takes a key of a Secret by an environment variable.
const DEPLOYMENT: &str = r#"{
  "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "rolling"},
  "spec": {
    "replicas": 1,
    "selector": {"matchLabels": {"app": "web"}},
    "template": {
      "metadata": {"labels": {"app": "web"}},
      "spec": {"containers": [{"name": "web", "image": "web", "env": [
        {"name": "DBT_TOKEN", "valueFrom": {"secretKeyRef": {"name": "dbt", "key": "token"}}}
      ]}]}
    }
  }
}"#;

fn main() {
    supervise_if_asked();
    let started = Instant::now();
    let mut plane = match ControlPlane::start(&Options { pods: Pods::Run, ..Options::default() }) {
        Ok(plane) => plane,
        Err(error) => panic!("the plane does not start: {error} ({error:?})"),
    };
    run("a_node_takes_pods", || a_node_takes_pods(&mut plane));
    run("a_restart_replaces_the_pods_of_a_deployment", || a_restart_replaces_the_pods_of_a_deployment(&plane));
    run("kwok_may_do_no_more_than_a_kubelet_needs", || kwok_may_do_no_more_than_a_kubelet_needs(&plane));
    run("nothing_stays_behind", || nothing_stays_behind(plane));
    println!("\ntest result: ok. 4 passed; 0 failed; {}", wait::spoken(started.elapsed()));
}

/// A failing test panics, and the panic ends the program with the name of the test above it.
fn run(name: &str, test: impl FnOnce()) {
    println!("test {name} ...");
    let started = Instant::now();
    test();
    println!("test {name} ... ok ({})", wait::spoken(started.elapsed()));
}

fn a_node_takes_pods(plane: &mut ControlPlane) {
    plane.add_node("node-0").unwrap_or_else(|error| panic!("the node is not ready: {error}"));
    plane.add_node("node-0").expect_err("there is one of that name");
    let nodes = plane.run_kubectl(&["get", "nodes", "-o", "name"]).expect("an admin may");
    assert_eq!(nodes.trim(), "node/node-0");
}

/// A pod of the Deployment, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    name: String,
    phase: String,
    node: String,
    /// When its container started, to the second.
    started: String,
}

/// The pods that are not being deleted.
fn pods(plane: &ControlPlane) -> Vec<Pod> {
    let listed = plane.run_kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "json"]).expect("an admin may");
    let listed: Value = serde_json::from_str(&listed).expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pod = |item: &Value| Pod {
        name: text(&item["metadata"]["name"]),
        phase: text(&item["status"]["phase"]),
        node: text(&item["spec"]["nodeName"]),
        started: text(&item["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]),
    };
    let items = listed["items"].as_array().expect("a list has items");
    items.iter().filter(|item| item["metadata"]["deletionTimestamp"].is_null()).map(pod).collect()
}

/// Waits until there is one pod, and it runs and fits.
fn only_pod(plane: &ControlPlane, what: &str, fits: impl Fn(&Pod) -> bool) -> Pod {
    let found = wait::until(LIMIT, EVERY, || match pods(plane).as_slice() {
        [pod] if pod.phase == "Running" && fits(pod) => Some(pod.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{what}: {:?}", pods(plane)))
}

fn a_restart_replaces_the_pods_of_a_deployment(plane: &ControlPlane) {
    let admin = |arguments: &[&str]| plane.run_kubectl(arguments).unwrap_or_else(|error| panic!("an admin may: {error}"));
    admin(&["create", "namespace", NAMESPACE]);
    admin(&["create", "secret", "generic", "dbt", "-n", NAMESPACE, "--from-literal=token=not-a-real-one"]);
    let manifest = plane.directory().join("deployment.json");
    std::fs::write(&manifest, DEPLOYMENT).expect("the plane's folder is there");
    admin(&["apply", "-f", &manifest.to_string_lossy()]);
    let first = only_pod(plane, "a pod runs", |_| true);
    assert_eq!(first.node, "node-0");
    admin(&["rollout", "status", "deployment/web", "-n", NAMESPACE, "--timeout=60s"]);
    // Starts are told to the second, and the next one shall be told as a later one.
    let seen = Instant::now();
    let passed = wait::until(LIMIT, EVERY, || (seen.elapsed() >= Duration::from_secs(1)).then_some(()));
    assert!(passed.is_some(), "a second passes");

    admin(&["rollout", "restart", "deployment/web", "-n", NAMESPACE]);

    let second = only_pod(plane, "another pod replaces it", |pod| pod.name != first.name);
    assert!(second.started > first.started, "{first:?} {second:?}");
    admin(&["rollout", "status", "deployment/web", "-n", NAMESPACE, "--timeout=60s"]);
    let gone = wait::until(LIMIT, EVERY, || plane.run_kubectl(&["get", "pod", &first.name, "-n", NAMESPACE]).err());
    assert!(gone.is_some_and(|error| error.to_string().contains("NotFound")), "the old pod is gone");
}

fn kwok_may_do_no_more_than_a_kubelet_needs(plane: &ControlPlane) {
    let asks = |verb: &str, resource: &str| {
        let user = "--as=system:serviceaccount:kube-system:kwok-controller";
        plane.run_kubectl(&["auth", "can-i", verb, resource, "-n", NAMESPACE, user]).is_ok()
    };
    assert!(asks("patch", "pods/status") && !asks("get", "secrets") && !asks("create", "pods"));
}

fn nothing_stays_behind(plane: ControlPlane) {
    let directory = plane.directory().to_path_buf();
    let processes: Vec<u32> = plane.process_ids().values().copied().collect();
    let names: Vec<&str> = plane.process_ids().keys().map(String::as_str).collect();
    assert_eq!(names, ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"]);
    assert!(names.iter().all(|name| directory.join(format!("{name}.log")).exists()));
    assert!(processes.iter().all(|&id| exists(id)));
    plane.stop();
    assert!(!processes.iter().any(|&id| exists(id)));
    assert!(!directory.exists());
}

/// Whether a process exists, dead but unburied ones included.
fn exists(process: u32) -> bool {
    Command::new("sh")
        .args(["-c", "kill -0 \"$0\" 2>/dev/null", &process.to_string()])
        .status()
        .is_ok_and(|status| status.success())
}
