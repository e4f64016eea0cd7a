//! A control plane with the CRDs, and on it an installation of the operator: its namespace, its service account, and
//! exactly the rights that the chart ships.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use xtask::control_plane::{ControlPlane, Options, Pods};

use super::operator::{Operator, OperatorOptions};
use super::wait::{LIMIT, until};
use dbt_token_operator::api::v1alpha1::{DbtAccount, ServiceToken};

/// The service account's name.
const ACCOUNT: &str = "operator";

/// A running control plane that knows the kinds.
pub struct Ground {
    plane: Mutex<Option<ControlPlane>>,
    directory: PathBuf,
    client: Client,
}

impl Ground {
    /// Starts a plane, with a node if pods shall run, and applies the CRDs.
    pub async fn start(pods: Pods) -> Self {
        let plane = tokio::task::spawn_blocking(move || {
            let options = Options { pods, ..Options::default() };
            let mut plane = ControlPlane::start(&options).expect("the control plane starts");
            if pods == Pods::Run {
                plane.add_node("node-0").expect("a node");
            }
            let crds = repository().join("crds");
            plane.run_kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()]).expect("the CRDs are accepted");
            plane.run_kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).expect("the CRDs are served");
            plane
        });
        let plane = plane.await.expect("a control plane");
        let client = client(plane.kubeconfig()).await;
        Self { directory: plane.directory().to_path_buf(), plane: Mutex::new(Some(plane)), client }
    }

    fn with_plane<T>(&self, use_it: impl FnOnce(&ControlPlane) -> T) -> T {
        let plane = self.plane.lock().expect("no holder panics");
        use_it(plane.as_ref().expect("the plane runs until the end"))
    }
}

/// An installation of the operator on a plane.
pub struct Stage {
    ground: Ground,
    /// The operator's own namespace.
    pub namespace: String,
    /// The installation's id: the uid of that namespace.
    pub installation: String,
    kubeconfig: PathBuf,
    logs: Mutex<Vec<PathBuf>>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Stage {
    /// Installs the operator's namespace, account and roles.
    pub async fn new(ground: Ground, number: u32) -> Self {
        let namespace = format!("operator-{number}");
        apply(&ground.client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        for object in rights(&namespace) {
            apply(&ground.client, &object).await;
        }
        let in_plane = namespace.clone();
        let kubeconfig = tokio::task::block_in_place(|| {
            ground.with_plane(|plane| plane.kubeconfig_for_service_account(&in_plane, ACCOUNT).expect("a kubeconfig"))
        });
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(ground.client.clone());
        let installation = api.get(&namespace).await.expect("the namespace is there").uid().expect("it has a uid");
        Self { ground, namespace, installation, kubeconfig, logs: Mutex::default(), turn: None }
    }

    /// The same, holding the right to a plane of its own.
    pub fn with_turn(mut self, turn: OwnedSemaphorePermit) -> Self {
        self.turn = Some(turn);
        self
    }

    /// The plane, and the right to it.
    pub fn into_ground(self) -> (Ground, Option<OwnedSemaphorePermit>) {
        (self.ground, self.turn)
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.ground.client.clone()
    }

    /// The kubeconfig of the operator.
    pub fn operators_kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client of a ServiceAccount, which must exist, with a token as pods have it.
    pub async fn client_of(&self, namespace: &str, account: &str) -> Client {
        let make = || self.ground.with_plane(|plane| plane.kubeconfig_for_service_account(namespace, account));
        client(&tokio::task::block_in_place(make).expect("the ServiceAccount is there")).await
    }

    /// The name by which the API server knows the operator.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace)
    }

    /// Starts an operator process and waits until it serves its probes.
    pub async fn start_operator(&self, options: &OperatorOptions) -> Operator {
        let log = {
            let mut logs = self.logs.lock().expect("no holder panics");
            let log = self.ground.directory.join(format!("{}.{}.log", self.namespace, logs.len()));
            logs.push(log.clone());
            log
        };
        Operator::start(&self.namespace, &self.kubeconfig, log, options).await
    }

    /// What the operators and the API server wrote so far, each with its place.
    pub async fn emitted(&self) -> Vec<(String, String)> {
        let logs = self.logs.lock().expect("no holder panics").clone();
        let files = logs.into_iter().chain([self.audit_log()]);
        files.map(|file| (file.display().to_string(), std::fs::read_to_string(&file).unwrap_or_default())).collect()
    }

    /// The lines of the operators' logs that name one of the words, the last `most` of them.
    pub fn log_lines(&self, words: &[&str], most: usize) -> String {
        let logs = self.logs.lock().expect("no holder panics").clone();
        let text: String = logs.iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
        let is_detail = |line: &str| line.contains(" DEBUG ") || line.contains(" TRACE ");
        let wanted = |line: &&str| !is_detail(line) && words.iter().any(|word| line.contains(word));
        let lines: Vec<&str> = text.lines().filter(wanted).collect();
        lines[lines.len().saturating_sub(most)..].join("\n")
    }

    /// Where the API server notes every request.
    pub fn audit_log(&self) -> PathBuf {
        self.ground.with_plane(|plane| plane.audit_log().to_path_buf())
    }

    /// The kubeconfig of an admin.
    pub fn kubeconfig(&self) -> PathBuf {
        self.ground.with_plane(|plane| plane.kubeconfig().to_path_buf())
    }

    /// The path of kubectl.
    pub fn kubectl_program(&self) -> PathBuf {
        self.ground.with_plane(|plane| plane.kubectl().to_path_buf())
    }

    /// Runs kubectl as admin; its output, or what it complained about.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let run = || self.ground.with_plane(|plane| plane.run_kubectl(arguments));
        tokio::task::block_in_place(run).map_err(|error| error.to_string())
    }

    /// Adds rules of the chart, by their file, to what the operator may do in every namespace.
    pub fn grant(&self, file: &str) {
        let described = self.kubectl(&["get", "clusterrole", &self.namespace, "-o", "json"]).expect("it is there");
        let role: serde_json::Value = serde_json::from_str(&described).expect("JSON");
        let further = rules(&format!("rbac/{file}"));
        let all = [&role["rules"], &further].map(|rules| rules.as_array().expect("rules").clone()).concat();
        let patch = json!({"rules": all}).to_string();
        self.kubectl(&["patch", "clusterrole", &self.namespace, "--type=merge", "-p", &patch]).expect("an admin may");
    }

    /// Removes every declaration, so that the next installation on this plane finds none.
    pub async fn clean(&self) {
        remove_all::<ServiceToken>(&self.ground.client).await;
        remove_all::<DbtAccount>(&self.ground.client).await;
    }

    /// Ends the plane.
    pub fn end(&self) {
        drop(self.ground.plane.lock().expect("no holder panics").take());
    }
}

async fn remove_all<K>(client: &Client)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let all: Api<K> = Api::all(client.clone());
    until(LIMIT, "declarations are removed", async || {
        let left = all.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        for object in &left.items {
            let path = match object.namespace() {
                Some(namespace) => format!("{}/{}", K::url_path(&(), Some(&namespace)), object.name_any()),
                None => format!("{}/{}", K::url_path(&(), None), object.name_any()),
            };
            let body = serde_json::to_vec(&json!({"metadata": {"finalizers": null}})).expect("plain JSON");
            let patch = http::Request::patch(&path).header("content-type", "application/merge-patch+json").body(body);
            let _gone = client.request::<serde_json::Value>(patch.expect("a request")).await;
            let delete = http::Request::delete(&path).body(Vec::new());
            let _gone = client.request::<serde_json::Value>(delete.expect("a request")).await;
        }
        if left.items.is_empty() { Ok(()) } else { Err(format!("{} left", left.items.len())) }
    })
    .await;
}

/// A client from a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rules that the chart ships, by the path below its files.
pub fn rules(file: &str) -> serde_json::Value {
    let path = repository().join("charts/dbt-token-operator/files").join(file);
    let text = std::fs::read_to_string(&path).expect("the chart ships the rules");
    serde_yaml::from_str(&text).expect("a list of rules")
}

/// What the chart grants: the rules are the very files that it ships.
fn rights(namespace: &str) -> Vec<serde_json::Value> {
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = |kind: &str, metadata: &serde_json::Value, file: &str| json!({"apiVersion": rbac, "kind": kind, "metadata": metadata, "rules": rules(&format!("rbac/{file}"))});
    let binding = |kind: &str, metadata: &serde_json::Value, role: &str| {
        json!({
            "apiVersion": rbac, "kind": kind, "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": namespace},
        })
    };
    let (wide, narrow) = (json!({"name": namespace}), json!({"name": namespace, "namespace": namespace}));
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}),
        role("ClusterRole", &wide, "cluster-rules.yaml"),
        role("Role", &narrow, "namespace-rules.yaml"),
        binding("ClusterRoleBinding", &wide, "ClusterRole"),
        binding("RoleBinding", &narrow, "Role"),
    ]
}

/// Applies any object, as `kubectl apply --server-side` does.
pub async fn apply(client: &Client, object: &serde_json::Value) -> kube::core::DynamicObject {
    try_apply(client, object)
        .await
        .unwrap_or_else(|error| panic!("{} {} is refused: {error}", object["kind"], object["metadata"]["name"]))
}

/// The same, giving what the API server answers.
pub async fn try_apply(client: &Client, object: &serde_json::Value) -> Result<kube::core::DynamicObject, kube::Error> {
    let word = |field: &str| object[field].as_str().expect("every object says it").to_owned();
    let (api_version, kind) = (word("apiVersion"), word("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let kind = kube::core::GroupVersionKind::gvk(group, version, &kind);
    let resource = kube::core::ApiResource::from_gvk(&kind);
    let api: Api<kube::core::DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().expect("every object has a name");
    let parameters = PatchParams::apply("it").force().validation_strict();
    api.patch(name, &parameters, &Patch::Apply(object)).await
}
