//! Fills the caches from watches, and says which objects a change concerns.

use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;

use dbt_token_planner::identity::OwnerUid;
use futures::channel::mpsc::UnboundedSender;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::cache::{Caches, SecretMetadata, Writers, in_order, secret_key};
use crate::api::v1alpha1::{DbtAccount, ServiceToken};
use crate::cluster::names;

/// What may need another look after a change.
#[derive(Clone)]
pub struct Triggers {
    /// For ServiceTokens.
    pub tokens: UnboundedSender<ObjectRef<ServiceToken>>,
    /// For DbtAccounts.
    pub accounts: UnboundedSender<ObjectRef<DbtAccount>>,
}

/// Fills the caches until a watch ends, which none does by itself.
pub async fn fill(client: Client, caches: Arc<Caches>, writers: Writers, triggers: Triggers) {
    let tokens = watch(Api::<ServiceToken>::all(client.clone()), watcher::Config::default());
    let accounts = watch(Api::<DbtAccount>::all(client.clone()), watcher::Config::default());
    let slots = watch(
        Api::<SecretMetadata>::namespaced(client.clone(), &caches.namespace),
        watcher::Config::default().labels(&format!("{}={}", names::SLOT, names::TRUE)),
    );
    let secrets = watch(
        Api::<SecretMetadata>::namespaced(client.clone(), &caches.namespace),
        watcher::Config::default().labels(&format!("!{}", names::SLOT)),
    );
    let targets = watch(
        Api::<SecretMetadata>::all(client.clone()),
        watcher::Config::default().labels(&format!("{}={}", names::MANAGED, names::TRUE)),
    );
    let namespaces = watch(Api::<PartialObjectMeta<Namespace>>::all(client), watcher::Config::default());
    let all: [BoxFuture<'_, ()>; 6] = [
        run(tokens.modify(drop_managed_fields), writers.tokens, |event| on_token(&caches, &triggers, event)).boxed(),
        run(accounts.modify(drop_managed_fields), writers.accounts, |event| on_account(&caches, &triggers, event)).boxed(),
        run(slots.modify(drop_managed_fields), writers.slots, |event| on_slot(&caches, &triggers, event)).boxed(),
        run(targets.modify(drop_fields_of_others), writers.targets, |event| on_target(&caches, &triggers, event)).boxed(),
        run(secrets.modify(drop_managed_fields), writers.secrets, |event| on_secret(&caches, &triggers, event)).boxed(),
        run(namespaces.modify(drop_managed_fields), writers.namespaces, |event| on_namespace(&caches, &triggers, event)).boxed(),
    ];
    // Only the watch that has something is woken: whatever else goes on in this task would look into all of them otherwise.
    all.into_iter().collect::<FuturesUnordered<_>>().collect::<()>().await;
}

/// Who wrote which field takes more memory than all the rest, and nobody asks.
fn drop_managed_fields(object: &mut impl ResourceExt) {
    object.managed_fields_mut().clear();
}

/// Of a target it is asked whether our own fields are still ours, and who wrote last.
fn drop_fields_of_others(target: &mut SecretMetadata) {
    for entry in target.managed_fields_mut() {
        if entry.manager.as_deref() != Some(names::OPERATOR) {
            entry.fields_v1 = None;
        }
    }
}

/// A change of one object, seen after the store has it.
enum Change<'object, K> {
    /// It is there.
    Present(&'object K),
    /// It is gone.
    Gone(&'object K),
}

impl<K> Change<'_, K> {
    fn object(&self) -> &K {
        let (Self::Present(object) | Self::Gone(object)) = self;
        object
    }
}

async fn run<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    mut writer: Writer<K>,
    on_change: impl Fn(&Change<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let store = writer.as_reader();
    let mut before: Vec<Arc<K>> = Vec::new();
    let mut events = pin!(events.default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if matches!(event, Event::Init) {
                    before = in_order(store.state());
                }
                writer.apply_watcher_event(&event);
                match event {
                    Event::Apply(object) => on_change(&Change::Present(&object)),
                    Event::Delete(object) => on_change(&Change::Gone(&object)),
                    // Only at the end of a list does the store show it.
                    Event::Init | Event::InitApply(_) => {}
                    Event::InitDone => on_list(&store, std::mem::take(&mut before), &on_change),
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "a watch failed and is started again");
            }
        }
    }
}

/// A new list says nothing of what vanished while the watch was away: that is found by comparing.
fn on_list<K>(store: &Store<K>, before: Vec<Arc<K>>, on_change: impl Fn(&Change<'_, K>))
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    for object in before {
        if store.get(&ObjectRef::from_obj_with(&*object, K::DynamicType::default())).is_none() {
            on_change(&Change::Gone(&object));
        }
    }
    for object in in_order(store.state()) {
        on_change(&Change::Present(&object));
    }
}

fn on_token(caches: &Caches, triggers: &Triggers, change: &Change<'_, ServiceToken>) {
    let token = change.object();
    let namespace = token.namespace().unwrap_or_default();
    let secret = secret_key(&namespace, &token.spec.secret.name);
    let account = &token.spec.account_ref.name;
    match change {
        Change::Present(_) => {
            caches.tokens_by_secret.insert(&secret, token);
            caches.tokens_by_account.insert(account, token);
        }
        Change::Gone(_) => {
            caches.tokens_by_secret.remove(&secret, token);
            caches.tokens_by_account.remove(account, token);
            token.uid().iter().for_each(|uid| caches.expected.forget(&OwnerUid::new(uid.as_str())));
            // A younger object may have waited for the Secret, and the account for its last user.
            caches.writers_of(&namespace, &token.spec.secret.name).iter().for_each(|other| trigger(&triggers.tokens, &**other));
            send(&triggers.accounts, ObjectRef::new(account));
            crowded_out(caches, account).iter().for_each(|other| trigger(&triggers.tokens, &**other));
        }
    }
    trigger(&triggers.tokens, token);
}

/// The objects that were told that there are too many of them. One that is told so only after this look is looked at again
/// when its status comes back.
fn crowded_out(caches: &Caches, account: &str) -> Vec<Arc<ServiceToken>> {
    let limited = caches.accounts.get(&ObjectRef::new(account)).is_some_and(|account| {
        let of_account = account.spec.limits.as_ref().is_some_and(|limits| limits.max_tokens.is_some());
        of_account || account.spec.grants.iter().flatten().any(|grant| grant.max_tokens.is_some())
    });
    if !limited {
        return Vec::new();
    }
    let told = |token: &ServiceToken| {
        let conditions = token.status.iter().flat_map(|status| &status.conditions);
        conditions.into_iter().any(|condition| condition.reason == "TokenLimitReached")
    };
    caches.users_of(account).into_iter().filter(|token| told(token)).collect()
}

fn on_account(caches: &Caches, triggers: &Triggers, change: &Change<'_, DbtAccount>) {
    let account = change.object();
    trigger(&triggers.accounts, account);
    // Another one for the same account of dbt may have waited for this one to go, or to move to another host.
    let same = |other: &DbtAccount| other.spec.account_id == account.spec.account_id && other.uid() != account.uid();
    in_order(caches.accounts.state_filter(same)).iter().for_each(|other| trigger(&triggers.accounts, &**other));
    if let Change::Gone(account) = change {
        caches.users_of(&account.name_any()).iter().for_each(|token| trigger(&triggers.tokens, &**token));
    }
}

fn on_slot(caches: &Caches, triggers: &Triggers, change: &Change<'_, SecretMetadata>) {
    let slot = change.object();
    if let Change::Gone(slot) = change {
        caches.read_slots.forget(slot);
    }
    if let Some(owner) = slot.labels().get(names::OWNER_UID) {
        match change {
            Change::Present(_) => caches.slots_by_owner.insert(owner, slot),
            Change::Gone(_) => caches.slots_by_owner.remove(owner, slot),
        }
    }
    let annotations = slot.annotations();
    if let (Some(namespace), Some(name)) = (annotations.get(names::OWNER_NAMESPACE), annotations.get(names::OWNER_NAME)) {
        send(&triggers.tokens, ObjectRef::new(name).within(namespace));
    }
}

fn on_target(caches: &Caches, triggers: &Triggers, change: &Change<'_, SecretMetadata>) {
    let target = change.object();
    let namespace = target.namespace().unwrap_or_default();
    caches.writers_of(&namespace, &target.name_any()).iter().for_each(|token| trigger(&triggers.tokens, &**token));
}

/// A credential or a CA bundle: every account that uses it is looked at.
fn on_secret(caches: &Caches, triggers: &Triggers, change: &Change<'_, SecretMetadata>) {
    let secret = change.object();
    let name = secret.name_any();
    let uses = |account: &DbtAccount| {
        let bundle = account.spec.ca_bundle_secret_ref.as_ref().map(|reference| &reference.name);
        account.spec.credentials_secret_ref.name == name || bundle == Some(&name)
    };
    in_order(caches.accounts.state_filter(uses)).iter().for_each(|account| trigger(&triggers.accounts, &**account));
}

/// A namespace's labels decide which grants match.
fn on_namespace(caches: &Caches, triggers: &Triggers, change: &Change<'_, PartialObjectMeta<Namespace>>) {
    let namespace = change.object();
    let name = namespace.name_any();
    let affected = caches.tokens.state_filter(|token| token.namespace().as_deref() == Some(&name));
    in_order(affected).iter().for_each(|token| trigger(&triggers.tokens, &**token));
}

/// Asks for a look at the object.
pub fn trigger<K: Resource<DynamicType = ()> + 'static>(queue: &UnboundedSender<ObjectRef<K>>, object: &K) {
    send(queue, ObjectRef::from_obj(object));
}

/// Asks for a look at the object of this name. The queue is closed only when the process ends.
pub fn send<K: Resource<DynamicType = ()> + 'static>(queue: &UnboundedSender<ObjectRef<K>>, object: ObjectRef<K>) {
    if queue.unbounded_send(object).is_err() {
        tracing::debug!("the work queue is closed");
    }
}
