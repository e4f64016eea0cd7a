//! An API server in memory, just enough for an account, and everything around the accounts of one test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dbt_token_planner::identity::{Installation, TokenId};
use jiff::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::dbt::{FakeConnector, FakeDbt, own_string, own_token};
use crate::account::{AccountCluster, Accounts, Surroundings, Watched, lock};
use crate::api::v1alpha1::{DbtAccount, DbtAccountStatus, ServiceToken};
use crate::cluster::account_access::{LiveOwners, SecretValue};
use crate::cluster::failure::{Class, Failure};
use crate::cluster::slot::{ObservedSlot, SlotReference};

/// 2026-11-24T08:00:00Z.
const START: i64 = 1_795_507_200;

/// Everything around the accounts of one test.
pub(super) struct World {
    pub(super) accounts: Arc<Accounts>,
    pub(super) dbt: Arc<FakeDbt>,
    pub(super) cluster: Arc<FakeCluster>,
    clock: Arc<AtomicI64>,
}

/// An API server as the test sets it; the watches show its writes at once.
#[derive(Default)]
pub(super) struct FakeCluster {
    account: Mutex<Option<Arc<DbtAccount>>>,
    tokens: Mutex<BTreeMap<String, Arc<ServiceToken>>>,
    pub(super) slots: Mutex<Vec<ObservedSlot>>,
    pub(super) held: Mutex<Vec<(TokenId, String)>>,
    /// String and version of the credential.
    credential: Mutex<Option<(String, String)>>,
    pub(super) live: Mutex<Option<LiveOwners>>,
    /// Every call, in order.
    pub(super) calls: Mutex<Vec<String>>,
}

impl World {
    /// An empty cluster, and a dbt with nothing but the operator's own credential.
    pub(super) fn new() -> Self {
        let cluster = Arc::new(FakeCluster::default());
        let dbt = Arc::new(FakeDbt::default());
        dbt.put(own_token());
        let clock = Arc::new(AtomicI64::new(START));
        let time = Arc::clone(&clock);
        let surroundings = Surroundings {
            installation: Installation::new("ours"),
            namespace: "dbt-operator".to_owned(),
            allow_insecure: false,
            watched: Arc::clone(&cluster) as Arc<dyn Watched>,
            cluster: Arc::clone(&cluster) as Arc<dyn AccountCluster>,
            connector: Arc::new(FakeConnector(Arc::clone(&dbt))),
            now: Arc::new(move || Timestamp::from_second(time.load(Ordering::SeqCst)).expect("a time")),
        };
        Self { accounts: Arc::new(Accounts::new(surroundings)), dbt, cluster, clock }
    }

    /// The same with a `DbtAccount` and its Secret, looked at until nothing is left to do.
    pub(super) async fn settled(spec: Value) -> Self {
        let world = Self::new();
        world.cluster.put_account(spec);
        world.cluster.put_credential(&own_string(), "1");
        world.settle().await;
        world
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.clock.load(Ordering::SeqCst)).expect("a time")
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Looks at the account until it has nothing to do, and returns in how many seconds it wants to be looked at again.
    pub(super) async fn settle(&self) -> Option<i64> {
        for _ in 0..20 {
            let outcome = self.accounts.reconcile("analytics").await.expect("no failure");
            if !outcome.acted {
                return outcome.wake_at.map(|time| time.duration_since(self.now()).as_secs());
            }
        }
        panic!("the account does not settle: {:?}", self.cluster.calls());
    }

    /// Status and reason of Ready.
    pub(super) fn ready(&self) -> String {
        let status = self.cluster.now().status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("Ready");
        let others: Vec<&str> =
            status.conditions.iter().map(|condition| condition.type_.as_str()).filter(|kind| *kind != "Ready").collect();
        format!("{} {} {}", ready.status, ready.reason, others.join(" ")).trim().to_owned()
    }

    /// Forgets what was asked so far.
    pub(super) fn forget_calls(&self) {
        lock(&self.dbt.calls).clear();
        lock(&self.cluster.calls).clear();
    }
}

impl FakeCluster {
    pub(super) fn calls(&self) -> String {
        lock(&self.calls).join(", ")
    }

    fn call(&self, word: impl Into<String>) {
        lock(&self.calls).push(word.into());
    }

    /// The account as it is now.
    pub(super) fn now(&self) -> Arc<DbtAccount> {
        lock(&self.account).clone().expect("the account")
    }

    /// Its status.
    pub(super) fn status(&self) -> DbtAccountStatus {
        self.now().status.clone().expect("a status")
    }

    /// The `DbtAccount` analytics, with these fields of its spec beside the required ones.
    pub(super) fn put_account(&self, spec: Value) {
        let mut object = json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1",
            "kind": "DbtAccount",
            "metadata": {
                "name": "analytics",
                "uid": "account-uid",
                "resourceVersion": "1",
                "generation": 1,
                "creationTimestamp": "2026-11-01T00:00:00Z",
            },
            "spec": {
                "accessUrl": "https://ab123.us1.dbt.com",
                "accountId": 70,
                "credentialsSecretRef": {"name": "dbt-admin"},
            },
        });
        let Value::Object(fields) = spec else { panic!("{spec} is no object") };
        for (name, value) in fields {
            object["spec"][name] = value;
        }
        *lock(&self.account) = Some(Arc::new(serde_json::from_value(object).expect("a DbtAccount")));
    }

    pub(super) fn change_account(&self, change: impl FnOnce(&mut DbtAccount)) {
        let mut object = self.now().as_ref().clone();
        change(&mut object);
        let version: i64 = object.metadata.resource_version.as_deref().unwrap_or("0").parse().expect("a number");
        object.metadata.resource_version = Some((version + 1).to_string());
        *lock(&self.account) = Some(Arc::new(object));
    }

    /// A ServiceToken of finance; with a published token if one is given.
    pub(super) fn put_token(&self, uid: &str, current: Option<i64>) {
        let ledger = current.map(|id| json!({"installation": "ours", "serial": 1, "current": {"serial": 1, "tokenId": id}}));
        let object = json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1",
            "kind": "ServiceToken",
            "metadata": {
                "namespace": "finance",
                "name": format!("name-{uid}"),
                "uid": uid,
                "resourceVersion": "1",
                "creationTimestamp": "2026-11-01T00:00:00Z",
            },
            "spec": {
                "accountRef": {"name": "analytics"},
                "permissions": [{"permissionSet": "job_admin", "allProjects": true}],
                "secret": {"name": uid},
            },
            "status": {"observedGeneration": 1, "ledger": ledger},
        });
        lock(&self.tokens).insert(uid.to_owned(), Arc::new(serde_json::from_value(object).expect("a ServiceToken")));
    }

    pub(super) fn remove_token(&self, uid: &str) {
        lock(&self.tokens).remove(uid);
    }

    pub(super) fn put_credential(&self, string: &str, version: &str) {
        *lock(&self.credential) = Some((string.to_owned(), version.to_owned()));
    }

    fn check_version(&self, seen: &DbtAccount) -> Result<(), Failure> {
        let current = self.now().metadata.resource_version == seen.metadata.resource_version;
        let conflict = || Failure { class: Class::Conflict, detail: "the object has been modified".to_owned() };
        if current { Ok(()) } else { Err(conflict()) }
    }
}

impl Watched for FakeCluster {
    fn account(&self, name: &str) -> Option<Arc<DbtAccount>> {
        lock(&self.account).clone().filter(|account| account.metadata.name.as_deref() == Some(name))
    }

    fn accounts(&self) -> Vec<Arc<DbtAccount>> {
        lock(&self.account).iter().cloned().collect()
    }

    fn tokens(&self) -> Vec<Arc<ServiceToken>> {
        lock(&self.tokens).values().cloned().collect()
    }

    fn tokens_of(&self, account: &str) -> Vec<Arc<ServiceToken>> {
        lock(&self.tokens).values().filter(|token| token.spec.account_ref.name == account).cloned().collect()
    }

    fn slots(&self) -> Vec<Arc<ObservedSlot>> {
        lock(&self.slots).iter().cloned().map(Arc::new).collect()
    }

    fn held(&self) -> Vec<(TokenId, String)> {
        lock(&self.held).clone()
    }

    fn secret_version(&self, _: &str) -> Option<String> {
        lock(&self.credential).as_ref().map(|(_, version)| version.clone())
    }
}

#[async_trait]
impl AccountCluster for FakeCluster {
    async fn secret_value(&self, secret: &str, _: &str) -> Result<Option<SecretValue>, Failure> {
        self.call(format!("secret {secret}"));
        let credential = lock(&self.credential).clone();
        Ok(credential.map(|(text, _)| SecretValue { bytes: Zeroizing::new(text.into_bytes()), version: None }))
    }

    async fn live_owners(&self) -> Result<LiveOwners, Failure> {
        self.call("live owners");
        let unavailable = || Failure { class: Class::Unavailable, detail: "words".to_owned() };
        lock(&self.live).clone().ok_or_else(unavailable)
    }

    async fn add_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        self.check_version(seen)?;
        self.call("finalizer");
        self.change_account(|object| object.metadata.finalizers = Some(vec![crate::cluster::names::FINALIZER.to_owned()]));
        Ok(())
    }

    async fn remove_finalizer(&self, seen: &DbtAccount) -> Result<(), Failure> {
        self.check_version(seen)?;
        self.call("no finalizer");
        self.change_account(|object| object.metadata.finalizers = None);
        Ok(())
    }

    async fn write_status(&self, seen: &DbtAccount, status: &DbtAccountStatus) -> Result<(), Failure> {
        self.check_version(seen)?;
        self.call("status");
        // What the API server stores is what it can be read back as.
        let text = serde_json::to_string(status).expect("JSON");
        self.change_account(|object| object.status = Some(serde_json::from_str(&text).expect("a status")));
        Ok(())
    }

    async fn close_slot(&self, slot: &SlotReference) -> Result<(), Failure> {
        self.call(format!("close {}", slot.name));
        lock(&self.slots).retain(|kept| kept.reference != *slot);
        Ok(())
    }
}
