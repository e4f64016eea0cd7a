//! What a plane needs beyond accepting pods for them to run, as far as the API shows it: the scheduler, and kwok in place
//! of kubelets. Containers are never started; their statuses say that they were.

use std::path::Path;

use super::servers::Layout;
use super::supervisor::Server;

pub(crate) const SCHEDULER: &str = "kube-scheduler";
pub(crate) const KWOK: &str = "kwok";

/// The service account of kwok, named as upstream names it.
pub(crate) const KWOK_NAMESPACE: &str = "kube-system";
pub(crate) const KWOK_ACCOUNT: &str = "kwok-controller";

/// That account with its role: the rules of kwok's own role, without those for its custom resources, which are not used.
pub(crate) const KWOK_RIGHTS: &str = include_str!("kwok-rights.yaml");

/// How nodes and pods go on: ready at once, and gone at once.
pub(crate) const STAGES: &str = include_str!("kwok-stages.yaml");

/// The scheduler, with its own identity, whose rights every API server brings along.
pub(crate) fn scheduler(layout: &Layout<'_>, program: &Path, kubeconfig: &Path) -> Server {
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        // There is only one.
        "--leader-elect=false".to_owned(),
        // No port of its own: nobody asks for its metrics.
        "--secure-port=0".to_owned(),
        "--profiling=false".to_owned(),
    ];
    layout.server(SCHEDULER, program, arguments)
}

/// In place of a kubelet on every node.
pub(crate) fn kwok(layout: &Layout<'_>, program: &Path, kubeconfig: &Path, stages: &Path) -> Server {
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--config={}", stages.display()),
        "--manage-all-nodes=true".to_owned(),
        // Without a lease, the controllers take a node for dead after 40 s.
        "--node-lease-duration-seconds=40".to_owned(),
        "--node-ip=127.0.0.1".to_owned(),
        // No port of its own: nobody asks for logs, and nothing may listen beyond loopback.
        "--node-port=0".to_owned(),
    ];
    let mut server = layout.server(KWOK, program, arguments);
    // It reads a configuration from the user's home otherwise.
    server.environment.insert("HOME".to_owned(), layout.directory.display().to_string());
    server
}

/// A node without anything that kwok fills in.
pub(crate) fn node(name: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}}}}}}}\n")
}
