//! What the metadata of a target says. Pure; the data is never looked at.

use std::collections::BTreeSet;

use dbt_token_planner::identity::{RenderRule, TokenId};
use dbt_token_planner::observation::{Target, TargetState};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::core::PartialObjectMeta;

use super::{ANNOTATIONS, Claim, LABELS, TargetReference, reference_of, whose};
use crate::cluster::managed_fields::applied;
use crate::cluster::names;

/// A target as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTarget {
    /// For the planner; never [`Target::Missing`].
    pub target: Target,
    /// For writes; only if it is ours.
    pub reference: Option<TargetReference>,
}

/// Reads the metadata of the Secret that the `ServiceToken` of this name names.
pub fn observe(secret: &PartialObjectMeta<Secret>, service_token: &str) -> ObservedTarget {
    let metadata = &secret.metadata;
    let (target, reference) = match whose(metadata, service_token) {
        Some(Claim::Ours(_) | Claim::Created(_)) => (Target::Ours(state(metadata)), reference_of(metadata)),
        Some(Claim::OtherOwner { name }) => (Target::OtherOwner { name }, None),
        Some(Claim::Foreign { manager }) => (Target::Foreign { manager }, None),
        // It is ours and has no version: no answer of an API server is like that, and nothing could be written.
        None => (Target::Foreign { manager: names::OPERATOR.to_owned() }, None),
    };
    ObservedTarget { target, reference }
}

fn state(metadata: &ObjectMeta) -> TargetState {
    let annotation = |name: &str| metadata.annotations.as_ref().and_then(|annotations| annotations.get(name));
    let token = annotation(names::TOKEN_ID).and_then(|text| text.parse().ok()).map(TokenId);
    let rule = annotation(names::RULE).map(RenderRule::new);
    let keys = annotation(names::DATA_KEYS).map(|keys| keys.split(',').collect::<BTreeSet<_>>());
    let intact = match keys {
        Some(keys) => is_intact(metadata, &keys),
        // Nothing was written yet, so nobody can have changed it.
        None => token.is_none() && rule.is_none(),
    };
    TargetState { token, rule, intact, taken_over: annotation(names::TAKEN_OVER).is_some() }
}

/// Whether all that we wrote last is still as we wrote it: the annotation that lists our keys is ours, and exactly those
/// keys and every label and annotation of ours still belong to our apply. Without `managedFields` nothing is known.
fn is_intact(metadata: &ObjectMeta, keys: &BTreeSet<&str>) -> bool {
    let Some(applied) = applied(metadata.managed_fields.as_deref().unwrap_or_default()) else { return false };
    applied.data == *keys
        && ANNOTATIONS.iter().all(|name| applied.annotations.contains(*name))
        && LABELS.iter().all(|(name, _)| applied.labels.contains(*name))
}
