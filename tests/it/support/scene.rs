//! The scene of one test: an emulated dbt with one account, its DbtAccount, a namespace, and guards over what it publishes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use dbt_cloud_emulator::{Emulator, Seed};
use serde_json::{Value, json};

use super::guard::Guard;
use super::stage::{Stage, apply};
use super::world::World;

/// The permission sets that the account's usual grant allows.
const ALLOWED: [&str; 6] = ["job_admin", "job_runner", "job_viewer", "metadata_only", "semantic_layer_only", "developer"];

/// Where one test plays.
pub struct Scene {
    pub world: Arc<World>,
    pub stage: Arc<Stage>,
    /// dbt.
    pub dbt: Arc<Emulator>,
    /// The namespace of its ServiceTokens.
    pub namespace: String,
    /// The name of its DbtAccount, and of the Secrets with credential and CA bundle.
    pub account: String,
    pub(super) guards: Mutex<Vec<Guard>>,
    pub(super) disturbed: Arc<AtomicBool>,
    namespaces: Mutex<Vec<String>>,
}

impl Scene {
    /// Sets the scene, without applying the DbtAccount.
    pub async fn set(world: Arc<World>, stage: Arc<Stage>, name: &str) -> Self {
        let number = world.number();
        let mut seed = Seed::demo();
        // The account's id decides about shared limits and left-behind slots, token ids about who holds what.
        seed.account.id += i64::from(number);
        seed.ids.first_token += i64::from(number) * 100_000;
        let dbt = Arc::new(Emulator::start(seed).await.expect("the emulator starts"));
        let slug: String = name.rsplit("::").next().unwrap_or(name).chars().take(40).collect();
        let namespace = format!("{}-{number}", slug.replace('_', "-").trim_matches('-'));
        let scene = Self {
            account: format!("account-{number}"),
            namespaces: Mutex::new(vec![namespace.clone()]),
            world,
            stage,
            dbt,
            namespace,
            guards: Mutex::default(),
            disturbed: Arc::default(),
        };
        scene.make_namespace(&scene.namespace).await;
        scene.set_credential(scene.dbt.admin_token()).await;
        scene
            .apply(&json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("{}-ca", scene.account), "namespace": scene.stage.namespace},
                "stringData": {"ca.crt": scene.dbt.ca_pem()},
            }))
            .await;
        scene
    }

    /// Applies the DbtAccount with a grant for the scene's namespace; `change` may alter its spec.
    pub async fn connect(&self, change: impl FnOnce(&mut Value)) {
        let mut account = self.account_manifest();
        change(&mut account["spec"]);
        self.apply(&account).await;
    }

    /// The usual DbtAccount.
    pub fn account_manifest(&self) -> Value {
        let url = self.dbt.https_url();
        json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "DbtAccount",
            "metadata": {"name": self.account},
            "spec": {
                "accessUrl": url,
                "accountId": self.dbt.account_id(),
                "credentialsSecretRef": {"name": self.account},
                "caBundleSecretRef": {"name": format!("{}-ca", self.account)},
                "endpoints": {"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")},
                "grants": [{"namespaces": [self.namespace], "permissionSets": ALLOWED, "allProjects": true,
                            "writableEnvironments": ["development", "staging"]}],
            },
        })
    }

    /// A ServiceToken with the given permissions, whose Secret is `NAME-dbt`, and which retires replaced tokens at once.
    #[expect(clippy::needless_pass_by_value, reason = "every caller makes the permissions on the spot")]
    pub fn token(&self, name: &str, permissions: Value) -> Value {
        json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "ServiceToken",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "accountRef": {"name": self.account},
                "permissions": permissions,
                "secret": {"name": format!("{name}-dbt")},
                "rotation": {"retire": {"after": "0s", "quietPeriod": "0s"}},
            },
        })
    }

    /// Applies an object. A ServiceToken is guarded from then on.
    pub async fn apply(&self, object: &Value) {
        if object["kind"] == "ServiceToken" {
            self.guard(object);
        }
        apply(&self.stage.client(), object).await;
    }

    /// Makes a further namespace, which goes with the scene.
    pub async fn make_namespace(&self, name: &str) {
        self.namespaces.lock().expect("no holder panics").push(name.to_owned());
        apply(&self.stage.client(), &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    }

    /// Writes the account's credential.
    pub async fn set_credential(&self, string: &str) {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": self.account, "namespace": self.stage.namespace},
            "stringData": {"token": string},
        }))
        .await;
    }

    /// From now on the test itself damages things: outages are not the operator's.
    pub fn disturb(&self) {
        self.disturbed.store(true, Ordering::SeqCst);
    }

    /// The damage is mended: outages count again.
    pub fn mended(&self) {
        self.disturbed.store(false, Ordering::SeqCst);
    }

    /// The operator's log as far as it is about this scene.
    pub fn story(&self) -> String {
        self.stage.log_lines(&[&format!("\"{}\"", self.namespace), &format!("\"{}\"", self.account)], 60)
    }

    /// The promises that were broken at some moment.
    pub fn broken_promises(&self) -> Vec<String> {
        self.guards.lock().expect("no holder panics").iter().flat_map(Guard::broken).collect()
    }

    /// Removes what the scene brought, and searches what it emitted for tokens.
    pub async fn strike(self) {
        for guard in self.guards.lock().expect("no holder panics").drain(..) {
            guard.stop();
        }
        self.world.note_strings(&self.dbt.issued_token_strings());
        let namespaces = self.namespaces.lock().expect("no holder panics").clone();
        for (place, text) in self.emitted(&namespaces).await {
            self.world.search(&place, &text);
        }
        self.remove_declarations(&namespaces).await;
    }
}
