//! Reading and changing objects of a scene.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use dbt_token_operator::api::v1alpha1::{DbtAccount, ServiceToken, ServiceTokenStatus};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::scene::Scene;
use super::wait::{LIMIT, until};

impl Scene {
    pub fn tokens(&self) -> Api<ServiceToken> {
        Api::namespaced(self.stage.client(), &self.namespace)
    }

    pub fn accounts(&self) -> Api<DbtAccount> {
        Api::all(self.stage.client())
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.stage.client(), &self.namespace)
    }

    /// The operator's copies, and credentials.
    pub fn slots(&self) -> Api<Secret> {
        Api::namespaced(self.stage.client(), &self.stage.namespace)
    }

    /// The slots of one object.
    pub async fn slots_of(&self, owner_uid: &str) -> Vec<Secret> {
        let selector = format!("tokens.dbt-operator.dev/owner-uid={owner_uid}");
        self.slots().list(&ListParams::default().labels(&selector)).await.expect("the API server answers").items
    }

    pub async fn status(&self, name: &str) -> ServiceTokenStatus {
        self.tokens().get(name).await.expect("the ServiceToken is there").status.unwrap_or_default()
    }

    /// Waits for a condition of a ServiceToken that speaks of its present generation.
    pub async fn expect(&self, name: &str, kind: &str, status: &str, reason: &str) -> Condition {
        until(LIMIT, &format!("ServiceToken {name}: {kind}={status} {reason}"), async || {
            let token = self.tokens().get(name).await.map_err(|error| error.to_string())?;
            find(&token.status.unwrap_or_default().conditions, token.metadata.generation, kind, status, reason)
        })
        .await
    }

    /// Waits for a condition of the DbtAccount.
    pub async fn expect_account(&self, kind: &str, status: &str, reason: &str) -> Condition {
        until(LIMIT, &format!("DbtAccount {}: {kind}={status} {reason}", self.account), async || {
            let account = self.accounts().get(&self.account).await.map_err(|error| error.to_string())?;
            find(&account.status.unwrap_or_default().conditions, account.metadata.generation, kind, status, reason)
        })
        .await
    }

    /// Waits until the token is published as declared; the string that the Secret holds under the key `token`.
    pub async fn published(&self, name: &str) -> String {
        self.expect(name, "Ready", "True", "Published").await;
        self.check().await;
        self.string_of(name).await
    }

    /// Waits until the published token is another one than `before`.
    pub async fn replaced(&self, name: &str, before: &str) -> String {
        let what = format!("Secret {name}-dbt holds another token");
        let string = until(LIMIT, &what, async || {
            let now = self.data(&format!("{name}-dbt")).await.and_then(|mut data| data.remove("token"));
            now.filter(|now| !now.is_empty() && now != before).ok_or_else(|| "the old one, or none".to_owned())
        });
        let string = string.await;
        self.published(name).await;
        string
    }

    /// What the Secret `NAME-dbt` holds under `token`.
    pub async fn string_of(&self, name: &str) -> String {
        let data = self.data(&format!("{name}-dbt")).await.expect("the Secret is there");
        data.get("token").cloned().expect("it has the key token")
    }

    /// The data of a Secret; `None` if there is none.
    pub async fn data(&self, secret: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.secrets().get_opt(secret).await.expect("the API server answers")?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the operator writes text");
        Some(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value.0))).collect())
    }

    /// Merges into a ServiceToken.
    pub async fn patch_token(&self, name: &str, patch: Value) {
        let token = self.tokens().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        let token = token.expect("the patch is accepted");
        self.declare(&token);
    }

    /// Notes that what is declared has come to mean something else.
    pub async fn redeclare(&self, name: &str) {
        self.declare(&self.tokens().get(name).await.expect("the ServiceToken is there"));
    }

    /// Replaces the permissions of a ServiceToken.
    pub async fn permit(&self, name: &str, permissions: Value) {
        self.patch_token(name, json!({"spec": {"permissions": permissions}})).await;
    }

    pub async fn annotate_token(&self, name: &str, key: &str, value: &str) {
        self.patch_token(name, json!({"metadata": {"annotations": {format!("tokens.dbt-operator.dev/{key}"): value}}})).await;
    }

    /// Gives a person's word on what a condition of the account asks.
    pub async fn confirm(&self, value: &str) {
        let patch = json!({"metadata": {"annotations": {"tokens.dbt-operator.dev/confirm": value}}});
        self.patch_account(patch).await;
    }

    pub async fn patch_account(&self, patch: Value) {
        let patched = self.accounts().patch(&self.account, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("the patch is accepted");
    }

    /// Asks for the deletion of a ServiceToken.
    pub async fn delete(&self, name: &str) {
        self.tell_the_guard(name);
        self.tokens().delete(name, &DeleteParams::default()).await.expect("deletion is accepted");
    }

    /// From here on the Secret may hold a token that dbt refuses: it is revoked first, and the Secret removed afterwards.
    fn tell_the_guard(&self, name: &str) {
        let guards = self.guards.lock().expect("no holder panics");
        let guarded = guards.iter().filter(|guard| guard.namespace == self.namespace && guard.name == name);
        guarded.for_each(|guard| guard.deleted.store(true, Ordering::SeqCst));
    }

    /// Waits until a ServiceToken is gone.
    pub async fn gone(&self, name: &str) {
        until(LIMIT, &format!("ServiceToken {name} is gone"), async || {
            match self.tokens().get_opt(name).await.map_err(|error| error.to_string())? {
                None => Ok(()),
                Some(token) => Err(ready_of(&token)),
            }
        })
        .await;
    }

    /// Writes into the status as only an admin can.
    pub async fn damage_status(&self, name: &str, patch: Value) {
        let patched = self.tokens().patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.expect("an admin may");
    }

    /// The active tokens that dbt has and that were created through its API, that is by the operator.
    pub fn live(&self) -> Vec<i64> {
        let made = self.dbt.tokens().into_iter().filter(|token| token.is_active() && token.created_by.is_some());
        made.map(|token| token.id.0).collect()
    }

    /// How many tokens were ever created through dbt's API.
    pub fn created(&self) -> usize {
        self.dbt.tokens().iter().filter(|token| token.created_by.is_some()).count()
    }

    /// Waits until exactly these tokens of the operator are active.
    pub async fn only_live(&self, expected: &[i64]) {
        until(LIMIT, &format!("only {expected:?} live in dbt"), async || {
            let live = self.live();
            if live == expected { Ok(()) } else { Err(format!("{live:?}")) }
        })
        .await;
    }

    /// The id of the token that a string opens.
    pub fn id_of(&self, string: &str) -> i64 {
        self.dbt.authenticates(string).expect("dbt accepts the published string").0
    }

    /// Waits for an event of this reason about an object; its message.
    pub async fn event(&self, name: &str, reason: &str) -> String {
        until(LIMIT, &format!("an event {reason} about {name}"), async || {
            let events = self.events(&self.namespace).await;
            let about = |event: &&DynamicObject| event.data["regarding"]["name"] == name && event.data["reason"] == reason;
            let found = events.iter().find(about).and_then(|event| event.data["note"].as_str().map(str::to_owned));
            found.ok_or_else(|| format!("{:?}", events.iter().map(|event| event.data["reason"].clone()).collect::<Vec<_>>()))
        })
        .await
    }

    /// The events of a namespace.
    pub async fn events(&self, namespace: &str) -> Vec<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("events.k8s.io", "v1", "Event"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.stage.client(), namespace, &resource);
        api.list(&ListParams::default()).await.expect("the API server answers").items
    }

    /// Everything that was emitted about the scene, each with its place.
    pub async fn emitted(&self, namespaces: &[String]) -> Vec<(String, String)> {
        let mut found = vec![("the emulator's log".to_owned(), lines(&self.dbt.log()))];
        for namespace in namespaces.iter().map(String::as_str).chain(["default"]) {
            found.push((format!("the events of {namespace}"), lines(&self.events(namespace).await)));
            let tokens: Api<ServiceToken> = Api::namespaced(self.stage.client(), namespace);
            let tokens = tokens.list(&ListParams::default()).await.expect("the API server answers").items;
            found.push((format!("the ServiceTokens of {namespace}"), lines(&tokens)));
        }
        for namespace in namespaces.iter().chain([&self.stage.namespace]) {
            let secrets: Api<Secret> = Api::namespaced(self.stage.client(), namespace);
            let secrets = secrets.list_metadata(&ListParams::default()).await.expect("the API server answers").items;
            found.push((format!("labels, annotations and managed fields of Secrets in {namespace}"), lines(&secrets)));
        }
        let accounts = self.accounts().list(&ListParams::default()).await.expect("the API server answers").items;
        found.push(("the DbtAccounts".to_owned(), lines(&accounts)));
        let leases: Api<Lease> = Api::namespaced(self.stage.client(), &self.stage.namespace);
        found.push(("the leases".to_owned(), lines(&leases.list(&ListParams::default()).await.expect("an answer").items)));
        found
    }

    /// Removes its declarations as an admin, so that the operator has nothing to do with a dbt that is gone.
    pub(super) async fn remove_declarations(&self, namespaces: &[String]) {
        for namespace in namespaces {
            let tokens: Api<ServiceToken> = Api::namespaced(self.stage.client(), namespace);
            for token in tokens.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
                remove(&tokens, &token.name_any()).await;
            }
        }
        let accounts = self.accounts();
        let mine = |account: &DbtAccount| account.spec.account_id == self.dbt.account_id();
        for account in accounts.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            if mine(&account) {
                remove(&accounts, &account.name_any()).await;
            }
        }
    }
}

/// It may be gone by itself at any moment.
async fn remove<K>(api: &Api<K>, name: &str)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let without = json!({"metadata": {"finalizers": null}});
    let _gone = api.patch(name, &PatchParams::default(), &Patch::Merge(&without)).await;
    let _gone = api.delete(name, &DeleteParams::default()).await;
    let _gone = api.patch(name, &PatchParams::default(), &Patch::Merge(&without)).await;
}

fn lines(items: &[impl serde::Serialize]) -> String {
    items.iter().map(|item| serde_json::to_string(item).expect("plain JSON") + "\n").collect()
}

pub(super) fn find(
    conditions: &[Condition],
    generation: Option<i64>,
    kind: &str,
    status: &str,
    reason: &str,
) -> Result<Condition, String> {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    let fits = |condition: &&Condition| {
        condition.status == status && condition.reason == reason && condition.observed_generation == generation
    };
    found.filter(fits).cloned().ok_or_else(|| told(conditions))
}

/// Conditions in one line.
pub fn told(conditions: &[Condition]) -> String {
    let told = conditions.iter().map(|it| {
        format!("{}={} {} (generation {}): {}", it.type_, it.status, it.reason, it.observed_generation.unwrap_or(-1), it.message)
    });
    told.collect::<Vec<_>>().join(" | ")
}

fn ready_of(token: &ServiceToken) -> String {
    told(&token.status.clone().unwrap_or_default().conditions)
}
