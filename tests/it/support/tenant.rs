//! A tenant: a user who may edit one namespace, as Kubernetes and the chart let such a user, and nothing else. Whatever is done
//! as a tenant goes to the API server with the token of a ServiceAccount of its own, and is judged there.

use dbt_token_operator::api::v1alpha1::{ServiceToken, ServiceTokenStatus};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::objects::{find, told};
use super::scene::Scene;
use super::stage::{apply, rules, try_apply};
use super::wait::{LIMIT, until};

/// The name of the ServiceAccount.
const NAME: &str = "tenant";

/// A tenant.
pub struct Tenant {
    /// What it may edit.
    pub namespace: String,
    client: Client,
}

/// An account, bound to the role `edit` of Kubernetes in one namespace, and what the chart adds to that role.
fn user(namespace: &str) -> Vec<Value> {
    let version = "rbac.authorization.k8s.io/v1";
    let role = |name: &str| {
        json!({
            "apiVersion": version, "kind": "ClusterRole",
            "metadata": {"name": format!("tenants-{name}"), "labels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
            "rules": rules(&format!("users/{name}-rules.yaml")),
        })
    };
    vec![
        role("view"),
        role("edit"),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": NAME, "namespace": namespace},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        }),
    ]
}

impl Scene {
    /// Makes a further namespace with a user who may edit it.
    pub async fn tenant(&self, suffix: &str) -> Tenant {
        let namespace = format!("{}-{suffix}", self.namespace);
        self.make_namespace(&namespace).await;
        for object in user(&namespace) {
            self.apply(&object).await;
        }
        let client = self.stage.client_of(&namespace, NAME).await;
        let tenant = Tenant { namespace, client };
        // The roles are put together by a controller.
        let rehearsal: ServiceToken = serde_json::from_value(tenant.token(self, "rehearsal", json!([]))).expect("a token");
        let rehearse = PostParams { dry_run: true, ..PostParams::default() };
        until(LIMIT, "the tenant may ask for tokens", async || match tenant.tokens().create(&rehearse, &rehearsal).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Err(status.message.clone()),
            _ => Ok(()),
        })
        .await;
        tenant
    }
}

impl Tenant {
    pub fn tokens(&self) -> Api<ServiceToken> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A ServiceToken as [`Scene::token`] makes it, in its own namespace.
    pub fn token(&self, scene: &Scene, name: &str, permissions: Value) -> Value {
        let mut token = scene.token(name, permissions);
        token["metadata"]["namespace"] = json!(self.namespace);
        token
    }

    /// A Secret with one text.
    pub fn secret(&self, name: &str, key: &str, text: &str) -> Value {
        let metadata = json!({"name": name, "namespace": self.namespace});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: text}})
    }

    /// Applies an object.
    pub async fn apply(&self, object: &Value) {
        apply(&self.client, object).await;
    }

    /// The same, giving what the API server says to it.
    pub async fn try_apply(&self, object: &Value) -> Result<(), String> {
        try_apply(&self.client, object).await.map(drop).map_err(|error| error.to_string())
    }

    /// Sends a request as it is; the status that is answered.
    pub async fn status_of(&self, method: &str, path: &str, body: Value) -> u16 {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = http::Request::builder().method(method).uri(path).header("content-type", kind).body(body);
        match self.client.request::<Value>(request.expect("a request")).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    pub async fn status(&self, name: &str) -> ServiceTokenStatus {
        self.tokens().get(name).await.expect("the ServiceToken is there").status.unwrap_or_default()
    }

    /// Waits for a condition that speaks of the present generation.
    pub async fn expect(&self, name: &str, kind: &str, status: &str, reason: &str) -> Condition {
        until(LIMIT, &format!("ServiceToken {}/{name}: {kind}={status} {reason}", self.namespace), async || {
            let token = self.tokens().get(name).await.map_err(|error| error.to_string())?;
            find(&token.status.unwrap_or_default().conditions, token.metadata.generation, kind, status, reason)
        })
        .await
    }

    /// Waits until its token is published; the string.
    pub async fn published(&self, name: &str) -> String {
        self.expect(name, "Ready", "True", "Published").await;
        self.string_of(&format!("{name}-dbt")).await
    }

    /// Waits until a token is published that is none of these.
    pub async fn replaced(&self, name: &str, others: &[&str]) {
        until(LIMIT, &format!("Secret {}/{name}-dbt holds another token", self.namespace), async || {
            let string = self.string_of(&format!("{name}-dbt")).await;
            if string.is_empty() || others.contains(&string.as_str()) { Err("one of those") } else { Ok(()) }
                .map_err(str::to_owned)
        })
        .await;
        self.published(name).await;
    }

    /// What a Secret holds under `token`.
    pub async fn string_of(&self, secret: &str) -> String {
        let data = self.secrets().get(secret).await.expect("the Secret is there").data.unwrap_or_default();
        String::from_utf8(data["token"].0.clone()).expect("text")
    }

    /// Merges into a ServiceToken.
    pub async fn patch(&self, name: &str, patch: &Value) {
        self.tokens().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("the patch is accepted");
    }

    /// Asks for a rotation, in a word of its own.
    pub async fn rotate(&self, name: &str, word: &str) {
        self.patch(name, &json!({"metadata": {"annotations": {"tokens.dbt-operator.dev/rotate-at": word}}})).await;
    }

    /// Deletes a ServiceToken and waits until it is gone.
    pub async fn delete(&self, name: &str) {
        self.tokens().delete(name, &DeleteParams::default()).await.expect("deletion is accepted");
        self.gone(name).await;
    }

    /// Waits until a ServiceToken is gone.
    pub async fn gone(&self, name: &str) {
        until(LIMIT, &format!("ServiceToken {}/{name} is gone", self.namespace), async || {
            match self.tokens().get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(token) => Err(told(&token.status.unwrap_or_default().conditions)),
            }
        })
        .await;
    }
}
