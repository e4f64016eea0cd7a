//! What the caches will show of a write of ours. An object is not looked at before they do, so that no look is ever older
//! than our own hand; the watch that brings the write asks for the look.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use dbt_token_planner::identity::{OwnerUid, Serial};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::cache::Caches;
use crate::api::v1alpha1::ServiceToken;
use crate::cluster::slot::ObservedSlot;
use crate::cluster::target::TargetReference;

/// How long a write of ours may take to come back through a watch. Usually milliseconds; after this the object is simply
/// looked at again.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Something that is, or was, there in one version, and will not be any more.
pub enum Expect {
    /// The object itself.
    Token {
        /// Which.
        reference: ObjectRef<ServiceToken>,
        /// The version before the write.
        before: Option<String>,
    },
    /// A slot, or a record.
    Slot {
        /// Whose.
        owner: OwnerUid,
        /// Which.
        serial: Serial,
        /// Whether it is a record.
        retained: bool,
        /// The version before the write; `None` if it was not there.
        before: Option<String>,
    },
    /// A target.
    Target {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The version before the write; `None` if it was not there.
        before: Option<String>,
    },
}

impl Expect {
    /// The object in another version, or gone.
    pub fn token(token: &ServiceToken) -> Self {
        Self::Token { reference: ObjectRef::from_obj(token), before: token.resource_version() }
    }

    /// The slot in another version than before, or gone.
    pub fn slot(owner: &OwnerUid, serial: Serial, before: Option<&ObservedSlot>) -> Self {
        let before = before.map(|slot| slot.reference.resource_version.clone());
        Self::Slot { owner: owner.clone(), serial, retained: false, before }
    }

    /// The record of this serial.
    pub fn record(owner: &OwnerUid, serial: Serial) -> Self {
        Self::Slot { owner: owner.clone(), serial, retained: true, before: None }
    }

    /// The target in another version than before, or gone.
    pub fn target(namespace: &str, name: &str, before: Option<&TargetReference>) -> Self {
        let before = before.map(|target| target.resource_version.clone());
        Self::Target { namespace: namespace.to_owned(), name: name.to_owned(), before }
    }

    /// Whether the caches show it.
    pub fn holds(&self, caches: &Caches) -> bool {
        match self {
            Self::Token { reference, before } => {
                caches.tokens.get(reference).and_then(|token| token.resource_version()) != *before
            }
            Self::Slot { owner, serial, retained, before } => {
                let slots = caches.slots_of(owner.as_str());
                let slot = slots.iter().find(|slot| slot.slot.serial == *serial && slot.slot.retained == *retained);
                slot.map(|slot| &slot.reference.resource_version) != before.as_ref()
            }
            Self::Target { namespace, name, before } => {
                caches.target(namespace, name).and_then(|target| target.resource_version()) != *before
            }
        }
    }
}

/// What was written for each object and did not come back yet.
#[derive(Default)]
pub struct Expectations(Mutex<BTreeMap<OwnerUid, Vec<(Expect, Timestamp)>>>);

impl Expectations {
    /// Something was written for an object.
    pub fn add(&self, owner: &OwnerUid, expect: Expect, now: Timestamp) {
        let until = now.checked_add(CATCH_UP).unwrap_or(Timestamp::MAX);
        let mut expected = self.0.lock().expect("no holder of the lock panics");
        expected.entry(owner.clone()).or_default().push((expect, until));
    }

    /// Until when it is worth waiting for the caches; `None` if they show everything, or should have long ago.
    pub fn open_until(&self, owner: &OwnerUid, caches: &Caches, now: Timestamp) -> Option<Timestamp> {
        let mut expected = self.0.lock().expect("no holder of the lock panics");
        let open = expected.get_mut(owner)?;
        open.retain(|(expect, until)| *until > now && !expect.holds(caches));
        let last = open.iter().map(|(_, until)| *until).max();
        if last.is_none() {
            expected.remove(owner);
        }
        last
    }

    /// The object is gone.
    pub fn forget(&self, owner: &OwnerUid) {
        self.0.lock().expect("no holder of the lock panics").remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::controller::cache::Writers;

    fn token(version: &str) -> ServiceToken {
        let mut token = ServiceToken::new("dagster", serde_json::from_str(SPEC).expect("a spec"));
        token.metadata.namespace = Some("finance".to_owned());
        token.metadata.uid = Some("u1".to_owned());
        token.metadata.resource_version = Some(version.to_owned());
        token
    }

    const SPEC: &str = r#"{"accountRef": {"name": "a"}, "permissions": [], "secret": {"name": "s"}}"#;

    fn show(writers: &mut Writers, version: &str) {
        writers.tokens.apply_watcher_event(&Event::Apply(token(version)));
    }

    #[test]
    fn an_object_waits_until_the_caches_show_every_write_of_ours() {
        let (caches, mut writers) = Caches::new("operator");
        let (owner, now) = (OwnerUid::new("u1"), Timestamp::UNIX_EPOCH);
        let expected = Expectations::default();
        assert_eq!(expected.open_until(&owner, &caches, now), None, "nothing was written");
        show(&mut writers, "7");
        expected.add(&owner, Expect::token(&token("7")), now);
        expected.add(&owner, Expect::target("finance", "s", None), now);
        assert_eq!(expected.open_until(&OwnerUid::new("u2"), &caches, now), None, "another object does not wait");
        assert_eq!(expected.open_until(&owner, &caches, now), Some(now + CATCH_UP), "neither is shown");
        show(&mut writers, "8");
        assert_eq!(expected.open_until(&owner, &caches, now), Some(now + CATCH_UP), "the target is not shown");
        assert_eq!(expected.open_until(&owner, &caches, now + CATCH_UP), None, "after a while nobody waits any more");
        assert_eq!(expected.open_until(&owner, &caches, now), None, "and that is final");
    }

    #[test]
    fn what_was_deleted_is_shown_by_its_absence() {
        let (caches, mut writers) = Caches::new("operator");
        let (owner, now) = (OwnerUid::new("u1"), Timestamp::UNIX_EPOCH);
        let expected = Expectations::default();
        show(&mut writers, "7");
        expected.add(&owner, Expect::token(&token("7")), now);
        writers.tokens.apply_watcher_event(&Event::Delete(token("7")));
        assert_eq!(expected.open_until(&owner, &caches, now), None);
    }
}
