//! What the operator knows of Kubernetes without asking: watches of the four kinds that matter, and who belongs to whom.
//! Secrets are watched as metadata and by label only, so that other people's Secrets cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use dbt_token_planner::identity::TokenId;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::{Resource, ResourceExt};

use super::expect::Expectations;
use crate::account::Watched;
use crate::api::v1alpha1::{DbtAccount, ServiceToken};
use crate::cluster::names;
use crate::cluster::slot::{self, ObservedSlot};

/// Metadata of a Secret.
pub type SecretMetadata = PartialObjectMeta<Secret>;

/// The watched objects and their indices.
pub struct Caches {
    /// All ServiceTokens.
    pub tokens: Store<ServiceToken>,
    /// All DbtAccounts.
    pub accounts: Store<DbtAccount>,
    /// The slots and records, in the operator's own namespace.
    pub slots: Store<SecretMetadata>,
    /// The targets, in all namespaces.
    pub targets: Store<SecretMetadata>,
    /// The other Secrets of the operator's own namespace: credentials and CA bundles of accounts.
    pub secrets: Store<SecretMetadata>,
    /// The namespaces, for their labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(super) slots_by_owner: Grouped,
    pub(super) read_slots: ReadSlots,
    pub(super) tokens_by_secret: Grouped,
    pub(super) tokens_by_account: Grouped,
    /// What they do not show yet of our own writes.
    pub(super) expected: Expectations,
    /// The operator's own namespace.
    pub(super) namespace: String,
}

/// Which objects belong to a key. An entry whose object is gone does no harm: the store knows.
#[derive(Default)]
pub(super) struct Grouped(RwLock<BTreeMap<String, BTreeSet<Named>>>);

/// Namespace and name.
type Named = (Option<String>, String);

impl Grouped {
    pub(super) fn insert(&self, key: &str, object: &impl ResourceExt) {
        let mut groups = self.0.write().expect("no holder of the lock panics");
        groups.entry(key.to_owned()).or_default().insert((object.namespace(), object.name_any()));
    }

    pub(super) fn remove(&self, key: &str, object: &impl ResourceExt) {
        let mut groups = self.0.write().expect("no holder of the lock panics");
        if let Some(group) = groups.get_mut(key) {
            group.remove(&(object.namespace(), object.name_any()));
            if group.is_empty() {
                groups.remove(key);
            }
        }
    }

    fn get<K: Resource<DynamicType = ()>>(&self, key: &str) -> Vec<ObjectRef<K>> {
        let groups = self.0.read().expect("no holder of the lock panics");
        let reference = |(namespace, name): &Named| {
            let reference = ObjectRef::new(name);
            namespace.as_ref().map_or(reference.clone(), |namespace| reference.within(namespace))
        };
        groups.get(key).into_iter().flatten().map(reference).collect()
    }
}

/// Slots as they were read from their Secrets: every look at an account needs all of them, and few change in between. One
/// counts only for the version that it was read from.
#[derive(Default)]
pub(super) struct ReadSlots(RwLock<HashMap<String, Arc<ObservedSlot>>>);

impl ReadSlots {
    /// What the metadata of a Secret says; `None` if that makes no sense.
    fn read(&self, secret: &SecretMetadata) -> Option<Arc<ObservedSlot>> {
        let ObjectMeta { name: Some(name), uid: Some(uid), resource_version: Some(version), .. } = &secret.metadata else {
            return None;
        };
        let is_of_version = |slot: &&Arc<ObservedSlot>| slot.reference.uid == *uid && slot.reference.resource_version == *version;
        let known = self.0.read().expect("no holder of the lock panics").get(name).filter(is_of_version).cloned();
        known.or_else(|| {
            let slot = Arc::new(slot::observe(secret).ok()?);
            self.0.write().expect("no holder of the lock panics").insert(name.clone(), slot.clone());
            Some(slot)
        })
    }

    /// The Secret is gone.
    pub(super) fn forget(&self, secret: &SecretMetadata) {
        self.0.write().expect("no holder of the lock panics").remove(&secret.name_any());
    }
}

/// The writing halves of the stores, for the tasks that fill them.
pub struct Writers {
    pub(super) tokens: Writer<ServiceToken>,
    pub(super) accounts: Writer<DbtAccount>,
    pub(super) slots: Writer<SecretMetadata>,
    pub(super) targets: Writer<SecretMetadata>,
    pub(super) secrets: Writer<SecretMetadata>,
    pub(super) namespaces: Writer<PartialObjectMeta<Namespace>>,
}

impl Caches {
    /// Empty caches, and what fills them.
    pub fn new(namespace: &str) -> (Arc<Self>, Writers) {
        let (tokens, tokens_writer) = reflector::store();
        let (accounts, accounts_writer) = reflector::store();
        let (slots, slots_writer) = reflector::store();
        let (targets, targets_writer) = reflector::store();
        let (secrets, secrets_writer) = reflector::store();
        let (namespaces, namespaces_writer) = reflector::store();
        let caches = Self {
            tokens,
            accounts,
            slots,
            targets,
            secrets,
            namespaces,
            slots_by_owner: Grouped::default(),
            read_slots: ReadSlots::default(),
            tokens_by_secret: Grouped::default(),
            tokens_by_account: Grouped::default(),
            expected: Expectations::default(),
            namespace: namespace.to_owned(),
        };
        let writers = Writers {
            tokens: tokens_writer,
            accounts: accounts_writer,
            slots: slots_writer,
            targets: targets_writer,
            secrets: secrets_writer,
            namespaces: namespaces_writer,
        };
        (Arc::new(caches), writers)
    }

    /// Waits until every watch has shown its first list.
    pub async fn ready(&self) {
        // A writer that is gone ends the process by itself.
        let _all = futures::join!(
            self.tokens.wait_until_ready(),
            self.accounts.wait_until_ready(),
            self.slots.wait_until_ready(),
            self.targets.wait_until_ready(),
            self.secrets.wait_until_ready(),
            self.namespaces.wait_until_ready(),
        );
    }

    /// The slots and records of an owner, those that can be read.
    pub fn slots_of(&self, owner: &str) -> Vec<Arc<ObservedSlot>> {
        let secrets = self.slots_by_owner.get(owner).into_iter().filter_map(|slot| self.slots.get(&slot));
        secrets.filter_map(|secret| self.read_slots.read(&secret)).collect()
    }

    /// The ServiceTokens that write the Secret of this name.
    pub fn writers_of(&self, namespace: &str, secret: &str) -> Vec<Arc<ServiceToken>> {
        let key = secret_key(namespace, secret);
        self.tokens_by_secret.get(&key).iter().filter_map(|token| self.tokens.get(token)).collect()
    }

    /// The ServiceTokens that name this account.
    pub fn users_of(&self, account: &str) -> Vec<Arc<ServiceToken>> {
        self.tokens_by_account.get(account).iter().filter_map(|token| self.tokens.get(token)).collect()
    }

    /// The Secret of this name, if it carries our label.
    pub fn target(&self, namespace: &str, name: &str) -> Option<Arc<SecretMetadata>> {
        self.targets.get(&ObjectRef::new(name).within(namespace))
    }
}

/// What an account may look at.
impl Watched for Caches {
    fn account(&self, name: &str) -> Option<Arc<DbtAccount>> {
        self.accounts.get(&ObjectRef::new(name))
    }

    fn accounts(&self) -> Vec<Arc<DbtAccount>> {
        in_order(self.accounts.state())
    }

    fn tokens(&self) -> Vec<Arc<ServiceToken>> {
        in_order(self.tokens.state())
    }

    fn tokens_of(&self, account: &str) -> Vec<Arc<ServiceToken>> {
        self.users_of(account)
    }

    fn slots(&self) -> Vec<Arc<ObservedSlot>> {
        self.slots.state().iter().filter_map(|secret| self.read_slots.read(secret)).collect()
    }

    fn held(&self) -> Vec<(TokenId, String)> {
        in_order(self.targets.state()).iter().filter_map(|secret| held_by(secret)).collect()
    }

    fn secret_version(&self, name: &str) -> Option<String> {
        self.secrets.get(&ObjectRef::new(name).within(&self.namespace))?.metadata.resource_version.clone()
    }
}

/// By namespace and name: a store keeps its objects in no order.
pub(super) fn in_order<K: Resource>(mut objects: Vec<Arc<K>>) -> Vec<Arc<K>> {
    objects.sort_unstable_by(|one, other| place(&**one).cmp(&place(&**other)));
    objects
}

fn place<K: Resource>(object: &K) -> (Option<&str>, Option<&str>) {
    (object.meta().namespace.as_deref(), object.meta().name.as_deref())
}

fn held_by(secret: &SecretMetadata) -> Option<(TokenId, String)> {
    let token = secret.annotations().get(names::TOKEN_ID)?.parse().ok()?;
    Some((TokenId(token), format!("{}/{}", secret.namespace()?, secret.name_any())))
}

pub(super) fn secret_key(namespace: &str, secret: &str) -> String {
    format!("{namespace}/{secret}")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::core::PartialObjectMetaExt;
    use kube::runtime::watcher::Event;

    use super::*;

    fn secret(version: &str, more: &[(&str, &str)]) -> SecretMetadata {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let labels = [(names::SLOT, "true"), (names::OWNER_UID, "u1"), (names::SERIAL, "7"), (names::INSTALLATION, "ours")];
        let annotations = [
            (names::OWNER_NAMESPACE, "finance"),
            (names::OWNER_NAME, "dagster"),
            (names::ACCOUNT, "analytics"),
            (names::ACCOUNT_ID, "1"),
        ];
        let metadata = ObjectMeta {
            name: Some("record-u1-7-ae0bec9e".to_owned()),
            namespace: Some("operator".to_owned()),
            uid: Some("slot-uid".to_owned()),
            resource_version: Some(version.to_owned()),
            creation_timestamp: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
            labels: Some(map(&[labels.as_slice(), &[(names::RETAINED, "true")]].concat())),
            annotations: Some(map(&[annotations.as_slice(), more].concat())),
            ..ObjectMeta::default()
        };
        metadata.into_response_partial::<Secret>()
    }

    #[test]
    fn a_slot_is_read_anew_with_every_version() {
        let (caches, mut writers) = Caches::new("operator");
        let tokens = || caches.slots().iter().map(|slot| slot.slot.token()).collect::<Vec<_>>();
        let filled = [(names::TOKEN_ID, "2202"), (names::TOKEN_UID, "k0PqL-2"), (names::GRANTED, "00ff")];
        writers.slots.apply_watcher_event(&Event::Apply(secret("1", &[])));
        assert_eq!((tokens(), tokens()), (vec![None], vec![None]));
        writers.slots.apply_watcher_event(&Event::Apply(secret("2", &filled)));
        assert_eq!(tokens(), [Some(TokenId(2202))]);
        writers.slots.apply_watcher_event(&Event::Apply(secret("3", &filled[..2])));
        assert_eq!(tokens(), [], "a part of what a slot holds is none");
        writers.slots.apply_watcher_event(&Event::Delete(secret("3", &filled[..2])));
        assert_eq!(tokens(), []);
    }
}
