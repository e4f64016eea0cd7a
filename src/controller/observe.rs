//! All reads that a plan rests on, put together into one observation. Everything comes from the caches, from the account's
//! shared reading and from what is remembered of pods and workloads; nothing is asked of a server here.

use std::collections::BTreeSet;
use std::sync::Arc;

use dbt_token_planner::adoption::{Finding, Look};
use dbt_token_planner::identity::{AccountId, OwnerUid, TokenId};
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::observation::{Account, Observation, Owner, Slot, Target};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Context;
use crate::account::AccountHandle;
use crate::api::desired;
use crate::api::names;
use crate::api::v1alpha1::{ServiceToken, ServiceTokenStatus, TokenEffective};
use crate::cluster::render::{self, Template, Variables};
use crate::cluster::slot::{Belonging, ObservedSlot};
use crate::cluster::target::{self, TargetReference};
use crate::cluster::{ledger, status};

/// One look at one object, with what its effects need beside the observation.
pub struct Seen {
    /// The object, in the version that was looked at.
    pub token: Arc<ServiceToken>,
    /// What the planner is given.
    pub observation: Observation,
    /// The slots, with the versions that were seen.
    pub slots: Vec<Arc<ObservedSlot>>,
    /// The target, in the version that was seen.
    pub target: Option<TargetReference>,
    /// The account.
    pub account: Option<Arc<AccountHandle>>,
    /// What templates may use beside the token.
    pub variables: Option<Variables>,
    /// How the target shall look.
    pub template: Template,
}

impl Seen {
    /// The values in force; `None` if the declaration is refused.
    pub fn effective(&self) -> Option<TokenEffective> {
        self.observation.desired.as_ref().ok().map(|declared| desired::effective(&self.token, declared))
    }

    /// Whom a slot of this object belongs to.
    pub fn belonging(&self, context: &Context, account_id: AccountId) -> Belonging {
        Belonging {
            installation: context.installation.clone(),
            owner: self.observation.owner.clone(),
            account: self.token.spec.account_ref.name.clone(),
            account_id,
        }
    }
}

/// Looks at the object; `None` if it is gone.
pub fn observe(context: &Context, reference: &ObjectRef<ServiceToken>, now: Timestamp) -> Option<Seen> {
    let token = context.caches.tokens.get(reference)?;
    let owner = owner_of(&token)?;
    let slots = slots(context, &owner.uid);
    let (target, target_reference) = look_at_target(context, &token, &owner, now);
    let account = context.accounts.get(&token.spec.account_ref.name);
    let nothing = ServiceTokenStatus::default();
    let status = token.status.as_ref().unwrap_or(&nothing);
    let ledger = read_ledger(&owner, status);
    let variables = account.as_ref().and_then(|account| account.variables()).map(|known| Variables {
        account_id: known.account_id,
        access_url: known.access_url,
        discovery_url: known.discovery_url,
        semantic_layer_url: known.semantic_layer_url,
    });
    let template = Template::of(&token);
    let generation = token.metadata.generation.unwrap_or_default();
    let look = context.memories.last_look(&owner.uid, generation);
    let named: BTreeSet<TokenId> = ledger
        .current
        .iter()
        .chain(&ledger.retiring)
        .map(|entry| entry.token)
        .chain(slots.iter().filter_map(|slot| slot.slot.token()))
        .chain(token_in(&target))
        .chain(look.iter().flat_map(looked_at))
        .collect();
    let observation = Observation {
        installation: context.installation.clone(),
        generation,
        created_at: token.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0),
        deleted_at: token.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        finalizer: token.finalizers().iter().any(|name| name == names::FINALIZER),
        rotate_at: token.annotations().get(names::ROTATE_AT).cloned(),
        compromised: token.annotations().get(names::COMPROMISED).cloned(),
        desired: desired::desired(&token),
        deletion_policy: desired::deletion_policy(&token),
        record: status::record(status),
        account: account_view(context, account.as_deref(), &owner, &named),
        slots: slots_in_order(&slots),
        rule: variables.as_ref().map(|variables| render::rule(&template, variables)),
        consumers: context.memories.consumers(&owner.uid),
        workloads: context.memories.workloads(&owner.uid),
        senior: senior(context, &token, &owner),
        look,
        fresh_after: context.fresh_after(&owner.uid),
        trouble: context.memories.trouble(&owner.uid),
        target,
        ledger,
        owner,
    };
    Some(Seen { token, observation, slots, target: target_reference, account, variables, template })
}

/// The object as the planner names it.
pub fn owner_of(token: &ServiceToken) -> Option<Owner> {
    let uid = OwnerUid::new(token.uid()?);
    Some(Owner { uid, namespace: token.namespace().unwrap_or_default(), name: token.name_any() })
}

fn slots(context: &Context, owner: &OwnerUid) -> Vec<Arc<ObservedSlot>> {
    let mut slots = context.caches.slots_of(owner.as_str());
    slots.retain(|slot| slot.belonging.installation == context.installation && slot.belonging.owner.uid == *owner);
    slots
}

fn slots_in_order(slots: &[Arc<ObservedSlot>]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = slots.iter().map(|slot| slot.slot.clone()).collect();
    slots.sort_by_key(|slot| (slot.serial, slot.retained));
    slots
}

fn look_at_target(context: &Context, token: &ServiceToken, owner: &Owner, now: Timestamp) -> (Target, Option<TargetReference>) {
    match context.caches.target(&owner.namespace, &token.spec.secret.name) {
        Some(metadata) => {
            let seen = target::observe(&metadata, &owner.name);
            (seen.target, seen.reference)
        }
        None => match context.memories.foreign(&owner.uid, now) {
            Some(manager) => (Target::Foreign { manager }, None),
            None => (Target::Missing, None),
        },
    }
}

fn token_in(target: &Target) -> Option<TokenId> {
    match target {
        Target::Ours(state) => state.token,
        _ => None,
    }
}

/// The tokens that a held string fits.
fn looked_at(look: &Look) -> Vec<TokenId> {
    match &look.finding {
        Finding::Fits(fits) => fits.iter().map(|fit| fit.token).collect(),
        _ => Vec::new(),
    }
}

fn account_view(context: &Context, account: Option<&AccountHandle>, owner: &Owner, named: &BTreeSet<TokenId>) -> Account {
    let Some(account) = account else { return Account::Missing };
    let namespace = context.caches.namespaces.get(&ObjectRef::new(&owner.namespace));
    let labels = namespace.and_then(|namespace| namespace.metadata.labels.clone()).unwrap_or_default();
    account.view(owner, &labels, named)
}

fn read_ledger(owner: &Owner, status: &ServiceTokenStatus) -> Ledger {
    let reading = ledger::read(status);
    if let Some(problem) = reading.problem {
        tracing::error!(
            resource.namespace = owner.namespace,
            resource.name = owner.name,
            problem,
            "the ledger in the status is damaged and counts as lost; who else may write servicetokens/status?"
        );
    }
    reading.ledger
}

/// An older object of the namespace that writes the same Secret; of two as old, the one with the lower uid. One that is
/// being deleted still holds the name.
fn senior(context: &Context, token: &ServiceToken, owner: &Owner) -> Option<String> {
    let age = |token: &ServiceToken| (token.metadata.creation_timestamp.as_ref().map(|time| time.0), token.uid());
    let others = context.caches.writers_of(&owner.namespace, &token.spec.secret.name);
    let oldest = others.iter().filter(|other| other.uid() != token.uid()).min_by_key(|other| age(other))?;
    (age(oldest) < age(token)).then(|| oldest.name_any())
}
