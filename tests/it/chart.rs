//! The charts as they are used: rendered for odd names and values, installed, upgraded and uninstalled by Helm, and granting
//! what the operator asks for, no less and no more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::stage::repository;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    let beside_others = cases!(Shared: both_charts_pass_the_strict_linter, every_name_and_value_is_accepted_by_the_api_server,
        wrong_values_are_refused, a_chart_may_contain_the_chart, the_crds_of_the_chart_are_those_of_the_repository,
        the_chart_grants_its_rule_files_and_nobody_else_a_status, the_right_to_restart_is_off_unless_it_is_asked_for);
    let alone = cases!(Own: accounts_are_installed_after_the_operator_and_outlive_it, every_right_is_needed_and_none_is_missing);
    beside_others.into_iter().chain(alone).collect()
}

/// The longest name that Helm gives a release.
const LONGEST_NAME: usize = 53;

async fn both_charts_pass_the_strict_linter(_: &Scene) {
    let helm = Helm::new(None);
    for name in ["dbt-token-operator", "dbt-account"] {
        helm.run(&["lint", "--strict", &chart(name)]).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    }
}

async fn every_name_and_value_is_accepted_by_the_api_server(scene: &Scene) {
    let namespace = &scene.namespace;
    scene.stage.kubectl(&["label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"]).expect("a label");
    // Pods are refused until the controllers have made this one.
    until(LIMIT, "the default account", async || scene.stage.kubectl(&["get", "serviceaccount", "default", "-n", namespace]))
        .await;
    let helm = Helm::new(None);
    let everything = helm.file(&everything_set());
    let long = "a".repeat(LONGEST_NAME);
    for (name, values) in [("y", None), ("123", None), (long.as_str(), None), ("full", Some(&everything))] {
        let mut arguments = vec!["-n", namespace, "--set", "crds.install=false"];
        arguments.extend(values.iter().flat_map(|file| ["-f", file.as_str()]));
        let objects = helm.template("dbt-token-operator", name, &arguments).expect("it renders");
        let pods: Vec<Value> = objects.iter().filter(|object| object["kind"] == "Deployment").map(pod_of).collect();
        assert_eq!(pods.len(), 1, "one Deployment");
        let items = [objects, pods].concat();
        let list = helm.file(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
        let accepted = scene.stage.kubectl(&["create", "--dry-run=server", "-n", namespace, "-f", &list]);
        accepted.unwrap_or_else(|refusal| panic!("release {name}: {refusal}"));
    }
}

/// A value for everything that has none, and some that look like something else to YAML.
fn everything_set() -> Value {
    let labels = json!({"matchLabels": {"app.kubernetes.io/name": "dbt-token-operator"}});
    json!({
        "image": {"repository": "registry.example.com/operator", "digest": format!("sha256:{}", "a".repeat(64))},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "installationId": "123",
        "concurrency": 32,
        "allowInsecureEndpoints": true,
        "log": {"level": "info,dbt_token_operator=debug", "format": "text"},
        "extraArgs": ["--http-address=[::]:8080"],
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/trust/ca.crt"}],
        "extraVolumes": [{"name": "trust", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "trust", "mountPath": "/etc/trust", "readOnly": true}],
        "serviceAccount": {"name": "y", "annotations": {"a": "1"}},
        "rbac": {"restarts": true},
        "service": {"annotations": {"prometheus.io/scrape": "true"}},
        "podAnnotations": {"a": "true"},
        // A label of the selector cannot be overridden, or the Deployment would be refused.
        "podLabels": {"team": "y", "app.kubernetes.io/name": "another"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels},
        ]}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": labels},
        ],
        "priorityClassName": "system-cluster-critical",
    })
}

/// The pod that a Deployment makes: a refusal of it would show only in the events of a ReplicaSet.
fn pod_of(deployment: &Value) -> Value {
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("trial");
    // Nothing is created, so the account is not there, nor is what it would pull with.
    pod["spec"]["serviceAccountName"] = json!("default");
    pod
}

async fn wrong_values_are_refused(_: &Scene) {
    let helm = Helm::new(None);
    for (name, argument, expected) in [
        ("dbt-token-operator", "replica=2", "'replica' not allowed"),
        ("dbt-token-operator", "image.digest=abc", "/image/digest"),
        ("dbt-token-operator", "installationId=123", "got number, want string"),
        ("dbt-token-operator", "concurrency=0", "/concurrency"),
        ("dbt-token-operator", "log.format=xml", "one of 'json', 'text'"),
        ("dbt-token-operator", "fullnameOverride=1abc", "/fullnameOverride"),
        ("dbt-token-operator", "podLabels.a=1", "/podLabels/a"),
        ("dbt-token-operator", "rbac.restarts=some", "/rbac/restarts"),
        ("dbt-token-operator", "serviceAccount.create=false", "set serviceAccount.name to one that exists"),
        ("dbt-account", "serviceTokens.a.namespace=b", "missing property 'spec'"),
        ("dbt-account", "serviceTokens.A.namespace=b", "propertyName 'A'"),
        ("dbt-account", "account.spec=1", "want object"),
    ] {
        let refusal = helm.template(name, "x", &["--set", argument]).expect_err(argument);
        assert!(refusal.contains(expected), "{argument}: {refusal}");
    }
}

async fn a_chart_may_contain_the_chart(_: &Scene) {
    let helm = Helm::new(None);
    let around = helm.home.path().join("around");
    std::fs::create_dir_all(around.join("charts")).expect("a folder");
    let dependency = json!({"name": "dbt-token-operator", "version": "*", "condition": "dbt-token-operator.enabled"});
    let about = json!({"apiVersion": "v2", "name": "around", "version": "0.1.0", "dependencies": [dependency]});
    std::fs::write(around.join("Chart.yaml"), about.to_string()).expect("a file");
    let inside = around.join("charts").display().to_string();
    helm.run(&["package", &chart("dbt-token-operator"), "--destination", &inside]).expect("a package");
    let around = around.display().to_string();
    let count = |arguments: &[&str]| {
        let text = helm.run(&[&["template", "x", &around], arguments].concat())?;
        Ok::<_, String>(text.lines().filter(|line| line.starts_with("kind: ")).count())
    };
    let on = ["--set", "global.region=eu", "--set", "dbt-token-operator.enabled=true"];
    assert!(count(&on).expect("global and enabled are let through") > 5);
    assert_eq!(count(&["--set", "dbt-token-operator.enabled=false"]), Ok(0));
    let refusal = count(&["--set", "dbt-token-operator.replica=2"]).expect_err("misspelt");
    assert!(refusal.contains("'replica' not allowed"), "{refusal}");
}

async fn the_crds_of_the_chart_are_those_of_the_repository(_: &Scene) {
    let helm = Helm::new(None);
    let folder = repository().join("crds");
    let files = std::fs::read_dir(&folder).expect("the folder of the CRDs").map(|entry| entry.expect("an entry").path());
    let expected: Vec<Value> = files.map(|file| parse(&std::fs::read_to_string(file).expect("a CRD"))).collect();
    for (keep, annotation) in [("true", json!("keep")), ("false", Value::Null)] {
        let objects = helm.template("dbt-token-operator", "x", &["--set", &format!("crds.keep={keep}")]).expect("it renders");
        let mut crds: Vec<Value> = objects.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
        assert_eq!(crds.len(), expected.len());
        for crd in &mut crds {
            assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], annotation);
            let metadata = crd["metadata"].as_object_mut().expect("metadata");
            metadata.remove("annotations");
            metadata.remove("labels").expect("labels");
            assert!(expected.contains(crd), "{} is another one than in the repository", crd["metadata"]["name"]);
        }
    }
}

async fn the_chart_grants_its_rule_files_and_nobody_else_a_status(_: &Scene) {
    let objects = Helm::new(None).template("dbt-token-operator", "x", &[]).expect("it renders");
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    let (own, others): (Vec<&Value>, Vec<&Value>) = roles.partition(|role| role["metadata"]["name"] == "x-dbt-token-operator");
    assert_eq!(own.len(), 2);
    for role in own {
        let file = if role["kind"] == "Role" { "namespace-rules.yaml" } else { "cluster-rules.yaml" };
        assert_eq!(role["rules"], rules(file));
    }
    assert_eq!(others.len(), 3);
    // Those that the tests of tenants bind, by the same files.
    for (name, file) in [("x-dbt-token-operator-view", "view-rules.yaml"), ("x-dbt-token-operator-edit", "edit-rules.yaml")] {
        let role = others.iter().find(|role| role["metadata"]["name"] == name).expect("the role is there");
        assert_eq!(role["rules"], crate::support::stage::rules(&format!("users/{file}")), "{name}");
        assert_eq!(role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"], "true", "{name}");
    }
    for rule in others.iter().flat_map(|role| role["rules"].as_array().expect("rules")) {
        let reads = words(&rule["verbs"]).iter().all(|verb| ["get", "list", "watch"].contains(verb));
        let says = |end: &str| words(&rule["resources"]).iter().any(|resource| resource.ends_with(end));
        assert!(!says("*") && (reads || !says("/status")), "{rule} may write a status");
    }
}

async fn the_right_to_restart_is_off_unless_it_is_asked_for(_: &Scene) {
    let helm = Helm::new(None);
    let granted = |arguments: &[&str]| {
        let objects = helm.template("dbt-token-operator", "x", arguments).expect("it renders");
        let own = |it: &&Value| it["kind"] == "ClusterRole" && it["metadata"]["name"] == "x-dbt-token-operator";
        let role = objects.iter().find(own).expect("the role is there");
        role["rules"].as_array().expect("rules").clone()
    };
    let (usual, restarts) = (rules("cluster-rules.yaml"), rules("restart-rules.yaml"));
    let (usual, restarts) = (usual.as_array().expect("a list"), restarts.as_array().expect("a list"));
    assert_eq!(&granted(&[]), usual);
    assert!(!usual.iter().any(|rule| words(&rule["apiGroups"]).contains(&"apps")), "workloads are out of reach");
    assert_eq!(granted(&["--set", "rbac.restarts=true"]), [usual.as_slice(), restarts].concat());
}

async fn accounts_are_installed_after_the_operator_and_outlive_it(scene: &Scene) {
    let (stage, namespace) = (&scene.stage, scene.stage.namespace.as_str());
    let helm = Helm::new(Some(stage.kubeconfig()));
    let operator = stage.start_operator(&OperatorOptions::default()).await;
    // The plane knows the kinds already, and not from this release.
    helm.run(&["install", "y", &chart("dbt-token-operator"), "-n", namespace, "--take-ownership"]).expect("installed");

    let token = scene.token("ci", json!([{"permissionSet": "job_runner", "allProjects": true}]));
    let mut spec = token["spec"].clone();
    spec.as_object_mut().expect("a spec").remove("accountRef");
    let values = helm.file(&json!({
        "account": {"spec": scene.account_manifest()["spec"]},
        "serviceTokens": {"ci": {"namespace": scene.namespace, "spec": spec}},
    }));
    let of_account = |verb: &str, further: &[&str]| {
        let usual =
            [verb, scene.account.as_str(), &chart("dbt-account"), "-n", namespace, "-f", &values, "--wait"].map(String::from);
        let all: Vec<&str> = usual.iter().map(String::as_str).chain(further.iter().copied()).collect();
        helm.run(&all)
    };
    of_account("install", &[]).expect("installed, and waited for");
    let id = scene.id_of(&scene.string_of("ci").await);
    let too_much = ["--set", "serviceTokens.ci.spec.permissions[0].permissionSet=account_admin"];
    let refusal = of_account("upgrade", &too_much).expect_err("not granted");
    assert!(refusal.contains("no grant of DbtAccount"), "{refusal}");
    of_account("upgrade", &[]).expect("as before");
    assert_eq!(scene.live(), [id], "nothing was minted meanwhile");

    let told = helm.run(&["uninstall", "y", "-n", namespace]).expect("uninstalled");
    assert!(told.contains("kept due to the resource policy"), "{told}");
    stage.kubectl(&["get", "servicetoken", "ci", "-n", &scene.namespace]).expect("kind and object are still there");
    helm.run(&["uninstall", &scene.account, "-n", namespace, "--wait"]).expect("uninstalled, and waited for");
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    operator.stop();
}

async fn every_right_is_needed_and_none_is_missing(scene: &Scene) {
    let operator = scene.stage.start_operator(&OperatorOptions { leader_election: true, ..OperatorOptions::default() }).await;
    let foreign =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "foreign-dbt", "namespace": scene.namespace}});
    scene.apply(&foreign).await;
    scene.connect(|_| {}).await;
    let runner = json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]);
    let mut kept = scene.token("kept", runner.clone());
    kept["spec"]["deletionPolicy"] = json!("Retain");
    for object in [scene.token("ci", runner.clone()), scene.token("foreign", runner), kept] {
        scene.apply(&object).await;
    }
    scene.published("kept").await;
    let string = scene.published("ci").await;
    scene.annotate_token("ci", "rotate-at", "once").await;
    scene.replaced("ci", &string).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    scene.expect("foreign", "Stalled", "True", "SecretNotOwned").await;
    // Once deletion is asked for, a Secret may hold a revoked token for a moment.
    scene.disturb();
    for name in ["ci", "foreign", "kept"] {
        scene.delete(name).await;
        scene.gone(name).await;
    }
    scene.accounts().delete(&scene.account, &DeleteParams::default()).await.expect("an admin may");
    until(LIMIT, "the account is gone", async || match scene.accounts().get_opt(&scene.account).await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    operator.stop();

    let own = scene.stage.namespace.as_str();
    let asked = asked(&scene.stage.audit_log(), &scene.stage.user());
    let used = |inside: bool| -> BTreeSet<Right> {
        asked.iter().filter(|(namespace, _)| (namespace == own) == inside).map(|(_, right)| right.clone()).collect()
    };
    assert_eq!(used(false), granted("cluster-rules.yaml"), "used on the left, granted by the cluster rules on the right");
    assert_eq!(used(true), granted("namespace-rules.yaml"), "used on the left, granted in the own namespace on the right");
}

/// A verb on a resource of a group.
type Right = (String, String, String);

/// What a user asked for, with the namespace. A refusal fails the test.
fn asked(log: &Path, user: &str) -> BTreeSet<(String, Right)> {
    let text = std::fs::read_to_string(log).expect("the audit log can be read");
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of_user = events.filter(|event| event["user"]["username"] == user && event["objectRef"].is_object());
    of_user
        .map(|event| {
            assert_ne!(event["responseStatus"]["code"], 403, "{event}");
            let object = &event["objectRef"];
            let resource = match object["subresource"].as_str() {
                Some(subresource) => format!("{}/{subresource}", word(&object["resource"])),
                None => word(&object["resource"]),
            };
            (word(&object["namespace"]), (word(&object["apiGroup"]), resource, word(&event["verb"])))
        })
        .collect()
}

fn granted(file: &str) -> BTreeSet<Right> {
    let rules = rules(file);
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().expect("a list of rules") {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let verbs = words(&rule["verbs"]).into_iter();
                rights.extend(verbs.map(|verb| (group.to_owned(), resource.to_owned(), verb.to_owned())));
            }
        }
    }
    rights
}

fn rules(file: &str) -> Value {
    crate::support::stage::rules(&format!("rbac/{file}"))
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word")).collect()
}

fn parse(yaml: &str) -> Value {
    serde_yaml::from_str(yaml).expect("YAML")
}

fn chart(name: &str) -> String {
    repository().join("charts").join(name).display().to_string()
}

/// A Helm that knows nothing of its user.
struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    home: TempDir,
}

impl Helm {
    /// `kubeconfig`: the cluster that it may reach; without, it only renders.
    fn new(kubeconfig: Option<PathBuf>) -> Self {
        let program = tokio::task::block_in_place(xtask::helm::find_or_build).expect("a helm");
        Self { program, kubeconfig, home: TempDir::new().expect("a temporary folder") }
    }

    /// Its output, or what it complained about.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path().join(variable));
        }
        let nowhere = self.home.path().join("no-kubeconfig");
        command.env("KUBECONFIG", self.kubeconfig.as_ref().unwrap_or(&nowhere));
        let output = tokio::task::block_in_place(|| command.args(arguments).output()).expect("helm starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The objects of a chart.
    fn template(&self, name: &str, release: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let text = self.run(&[&["template", release, &chart(name)], arguments].concat())?;
        let documents = serde_yaml::Deserializer::from_str(&text);
        let objects = documents.map(|document| serde::Deserialize::deserialize(document).expect("YAML"));
        Ok(objects.filter(|object: &Value| !object.is_null()).collect())
    }

    /// Writes a file and gives its path.
    fn file(&self, content: &Value) -> String {
        let file = tempfile::Builder::new().suffix(".json").tempfile_in(self.home.path()).expect("a file");
        let (_, path) = file.keep().expect("it stays until the folder goes");
        std::fs::write(&path, content.to_string()).expect("it can be written");
        path.display().to_string()
    }
}
