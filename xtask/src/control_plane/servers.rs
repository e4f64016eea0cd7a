//! How each server of the plane is started: its flags, and why they are what they are.
//!
//! Only flags that differ from a real cluster's for a reason of speed or of isolation are set; the
//! rest keeps its default, so that tests meet the admission, RBAC and limits that users meet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Pods;
use super::binaries::Binaries;
use super::certificates::Certificates;
use super::supervisor::Server;

pub(crate) const ETCD: &str = "etcd";
pub(crate) const API_SERVER: &str = "kube-apiserver";
pub(crate) const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// Who signs service account tokens, as clusters are used to it.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// An address of nobody, for a database that is alone.
const ADVERTISED: &str = "http://localhost:1";

/// What happened, without bodies: enough to prove who read or wrote what, and no Secret ever lands
/// in the log. `RequestReceived` would only say everything twice.
pub(crate) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// Where everything of one plane lies.
pub(crate) struct Layout<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) binaries: &'a Binaries,
    pub(crate) certificates: &'a Certificates,
    pub(crate) audit_policy: &'a Path,
    pub(crate) audit_log: &'a Path,
    pub(crate) controller_manager_kubeconfig: &'a Path,
    /// The API server's TCP port on loopback.
    pub(crate) port: u16,
    /// Further flags of the API server, which win over the ones here.
    pub(crate) api_server_flags: &'a [String],
    /// Whether there are nodes for the controllers to care for.
    pub(crate) pods: Pods,
}

impl Layout<'_> {
    /// The database. It listens on sockets in the plane's folder instead of TCP ports: nobody else
    /// on the machine can reach it, and no port can be taken by somebody else.
    pub(crate) fn etcd(&self) -> Server {
        let peer = format!("unix://{}", self.directory.join("etcd-peer.sock").display());
        self.server(
            ETCD,
            &self.binaries.etcd,
            vec![
                "--name=plane".to_owned(),
                format!("--data-dir={}", self.directory.join("etcd").display()),
                format!("--listen-client-urls={}", self.etcd_url()),
                format!("--listen-peer-urls={peer}"),
                // It insists on telling a host and a port to others. There are none: nobody
                // listens there, and nobody asks.
                format!("--advertise-client-urls={ADVERTISED}"),
                format!("--initial-advertise-peer-urls={ADVERTISED}"),
                format!("--initial-cluster=plane={ADVERTISED}"),
                // The data does not outlive the test, so a power cut may lose it.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ],
        )
    }

    pub(crate) fn api_server(&self) -> Server {
        let certificates = self.certificates;
        let mut arguments = vec![
            format!("--etcd-servers={}", self.etcd_url()),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.port),
            // An endpoint on loopback is invalid, and no pod will ever need it.
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--tls-cert-file={}", certificates.serving.certificate.display()),
            format!("--tls-private-key-file={}", certificates.serving.key.display()),
            format!("--client-ca-file={}", certificates.authority.display()),
            "--authorization-mode=Node,RBAC".to_owned(),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-key-file={}", certificates.service_accounts.certificate.display()),
            format!("--service-account-signing-key-file={}", certificates.service_accounts.key.display()),
            format!("--audit-policy-file={}", self.audit_policy.display()),
            format!("--audit-log-path={}", self.audit_log.display()),
            // In megabytes: never rotated within a test, or its early part could not be searched.
            "--audit-log-maxsize=2000".to_owned(),
            "--profiling=false".to_owned(),
        ];
        arguments.extend_from_slice(self.api_server_flags);
        self.server(API_SERVER, &self.binaries.kube_apiserver, arguments)
    }

    pub(crate) fn controller_manager(&self) -> Server {
        let kubeconfig = self.controller_manager_kubeconfig.display();
        let certificates = self.certificates;
        let mut arguments = vec![
            format!("--kubeconfig={kubeconfig}"),
            // No port of its own: nobody asks for its metrics.
            "--secure-port=0".to_owned(),
            // There is only one.
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", certificates.service_accounts.key.display()),
            format!("--root-ca-file={}", certificates.authority.display()),
            // All, but for those that care for nodes, volumes and certificates, which are none here.
            format!("--controllers={}", self.controllers()),
            "--profiling=false".to_owned(),
            // Tests wait for a namespace to be gone; with the default of 20 requests a second, its
            // deletion would queue behind the discovery of all kinds.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            "--namespace-sync-period=10s".to_owned(),
            "--concurrent-namespace-syncs=4".to_owned(),
        ];
        // One or two objects at a time are plenty, and fewer workers mean less memory.
        arguments.extend(
            ["gc", "deployment", "replicaset", "serviceaccount-token"].map(|name| format!("--concurrent-{name}-syncs=2")),
        );
        self.server(CONTROLLER_MANAGER, &self.binaries.kube_controller_manager, arguments)
    }

    fn controllers(&self) -> String {
        let is_needed = |name: &str| self.pods == Pods::Run && name == NODE_LIFECYCLE;
        let unused = UNUSED_CONTROLLERS.into_iter().filter(|name| !is_needed(name));
        std::iter::once("*".to_owned()).chain(unused.map(|name| format!("-{name}"))).collect::<Vec<_>>().join(",")
    }

    fn etcd_url(&self) -> String {
        format!("unix://{}", self.directory.join("etcd.sock").display())
    }

    pub(crate) fn server(&self, name: &str, program: &Path, arguments: Vec<String>) -> Server {
        Server {
            name: name.to_owned(),
            program: program.to_path_buf(),
            arguments,
            environment: BTreeMap::new(),
            log: log(self.directory, name),
        }
    }
}

/// Takes the taint off a node that has become ready, with which every node is created.
const NODE_LIFECYCLE: &str = "node-lifecycle-controller";

/// Controllers with nothing to do on a plane without nodes.
const UNUSED_CONTROLLERS: [&str; 10] = [
    "node-ipam-controller",
    NODE_LIFECYCLE,
    "node-route-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "ephemeral-volume-controller",
    "horizontal-pod-autoscaler-controller",
];

/// Where the output of a server goes.
pub(crate) fn log(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}
