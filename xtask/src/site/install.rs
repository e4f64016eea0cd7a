//! The objects that the operator needs in a cluster: its namespace, its identity, and exactly the rules that its chart
//! grants. They are read from the chart, so that what is shown here is what users install.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::emulator::Emulator;
use super::kubectl::Kubectl;
use super::{Error, read};
use crate::{private_file, repository};

/// The operator's own namespace.
pub(crate) const NAMESPACE: &str = "dbt-token-operator";

/// The name of its service account and roles.
pub(crate) const NAME: &str = "dbt-token-operator";

/// The folder of the rules in the chart.
const RULES: &str = "charts/dbt-token-operator/files/rbac";

/// The folder of the CRDs.
const CRDS: &str = "crds";

/// The Secret with the operator's credential, as the examples name it.
pub(crate) const CREDENTIAL: &str = "dbt-admin";

/// The Secret with the certificate of the emulator's authority.
pub(crate) const CA: &str = "dbt-ca";

/// Every object that [`install`] and the examples make beside namespaces, as kubectl names them.
pub(crate) fn cluster_objects() -> Vec<String> {
    let kinds = ["dbtaccounts", "servicetokens"];
    let mut names: Vec<_> = kinds.map(|kind| format!("customresourcedefinition/{kind}.tokens.dbt-operator.dev")).into();
    names.extend(["clusterrole", "clusterrolebinding"].map(|kind| format!("{kind}/{NAME}")));
    names
}

/// Installs the CRDs, the namespace, the identity and its rules, and waits until the API server serves both kinds.
pub(crate) fn install(kubectl: &Kubectl) -> Result<(), Error> {
    let crds = repository().join(CRDS);
    kubectl.run(&["apply", "--server-side", "-f", &crds.display().to_string()])?;
    kubectl.apply(&manifest(&identity()?))?;
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=30s", "-f", &crds.display().to_string()])?;
    Ok(())
}

/// Gives the operator its credential for the emulator and the authority to trust.
pub(crate) fn give_credential(kubectl: &Kubectl, emulator: &Emulator) -> Result<(), Error> {
    for (name, key, path) in [(CREDENTIAL, "token", &emulator.admin_token), (CA, "ca.crt", &emulator.ca)] {
        let file = format!("--from-file={key}={}", path.display());
        kubectl.run(&["create", "secret", "generic", name, "-n", NAMESPACE, &file])?;
    }
    Ok(())
}

/// A kubeconfig for the operator's service account at the same cluster, readable for its owner only.
pub(crate) fn service_account_kubeconfig(kubectl: &Kubectl, folder: &Path) -> Result<PathBuf, Error> {
    let token = kubectl.run(&["create", "token", NAME, "-n", NAMESPACE, "--duration=24h"])?;
    let mut config = kubectl.json(&["config", "view", "--raw", "--minify", "--flatten"])?;
    let user = config["users"][0]["name"].clone();
    config["users"] = json!([{"name": user, "user": {"token": token.trim()}}]);
    let path = folder.join("operator.kubeconfig");
    match private_file::write(&path, &config.to_string()) {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::File { path, source }),
    }
}

/// Namespaces, with their labels.
pub(crate) fn namespaces(wanted: &[(&str, Value)]) -> String {
    let items: Vec<_> = wanted
        .iter()
        .map(|(name, labels)| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
        .collect();
    manifest(&items)
}

fn manifest(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

fn identity() -> Result<Vec<Value>, Error> {
    let in_namespace = json!({"name": NAME, "namespace": NAMESPACE});
    let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]);
    let group = "rbac.authorization.k8s.io";
    let version = "rbac.authorization.k8s.io/v1";
    Ok(vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": in_namespace}),
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules("cluster")?}),
        json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": NAME}, "subjects": subjects,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
        }),
        json!({"apiVersion": version, "kind": "Role", "metadata": in_namespace, "rules": rules("namespace")?}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": in_namespace, "subjects": subjects,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": NAME},
        }),
    ])
}

fn rules(reach: &str) -> Result<Value, Error> {
    let path = repository().join(RULES).join(format!("{reach}-rules.yaml"));
    serde_yaml::from_str(&read(&path)?).map_err(|error| Error::Content { path, message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_the_chart_are_found() {
        let objects = identity().expect("the chart has its rules");
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap_or_default()).collect();
        assert_eq!(kinds, ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
        assert!(objects[2]["rules"].as_array().is_some_and(|rules| !rules.is_empty()));
    }
}
