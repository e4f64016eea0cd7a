//! Adoption in words: why a token is not taken over, and what goes on while one is.

use crate::adoption::{AdoptPolicy, AdoptRefusal, Source};
use crate::effect::Effect;
use crate::identity::{PermissionSet, Serial};
use crate::observation::Observation;
use crate::report::Event;
use crate::report::words::names;

fn source(observation: &Observation) -> Option<&Source> {
    observation.desired.as_ref().ok()?.adopt.as_ref().map(|adoption| &adoption.source)
}

/// Reason and message of a token that is not taken over.
pub(super) fn refusal(observation: &Observation, refusal: &AdoptRefusal) -> (&'static str, String) {
    match refusal {
        AdoptRefusal::SourceNotFound => ("AdoptSourceNotFound", not_found(observation)),
        AdoptRefusal::NotAllowed { needed, untried } => ("PolicyRefused", not_allowed(observation, *needed, untried)),
        AdoptRefusal::Refused { why, remedy } => ("AdoptRefused", format!("{why}; {remedy}")),
        AdoptRefusal::Ambiguous { count } => {
            ("AdoptAmbiguous", format!("the string fits {count} tokens of the account; set adopt.tokenId"))
        }
        AdoptRefusal::Conflict { token, holder } => ("TokenConflict", format!("token {token} already belongs to {holder}")),
        AdoptRefusal::PermissionsDiffer { token, only_there, only_here } => {
            let message = format!("token {token} may {only_there}; declared are {only_here}");
            ("AdoptPermissionsDiffer", format!("{message}; change permissions, or adopt.permissions: Replace"))
        }
    }
}

fn not_found(observation: &Observation) -> String {
    let (secret, key) = source(observation).map_or(("", ""), |source| (&source.secret, &source.key));
    format!("Secret {secret} has no key {key}, or does not exist")
}

fn not_allowed(observation: &Observation, needed: AdoptPolicy, untried: &[PermissionSet]) -> String {
    let (_, account) = names(observation);
    let namespace = &observation.owner.namespace;
    let sets: Vec<&str> = untried.iter().map(PermissionSet::as_str).collect();
    match needed {
        AdoptPolicy::Never | AdoptPolicy::Proven => format!(
            "no grant of DbtAccount {account} lets namespace {namespace} adopt a token; it needs a grant with adopt: Proven"
        ),
        AdoptPolicy::Unproven => format!(
            "no call can try {}, and no grant of DbtAccount {account} lets namespace {namespace} adopt such a token; set \
             verification.environmentId, or give it a grant with adopt: Unproven",
            sets.join(", ")
        ),
    }
}

/// What is waited for while the Secret is not there.
pub(super) fn awaited(observation: &Observation) -> String {
    format!("waiting for the token to adopt: {}", not_found(observation))
}

/// An effect of this kind, as `status.nextStep` shows it.
pub(super) fn next_step(effect: &Effect) -> (&'static str, String) {
    match effect {
        Effect::InspectSource(source) => {
            ("Adopt", format!("looking for a token in Secret {}, key {}", source.secret, source.key))
        }
        Effect::ClaimAdoption { token, .. } => ("Adopt", format!("taking over token {token}")),
        Effect::TakeOverTarget { source, .. } => ("Adopt", format!("taking over Secret {}", source.secret)),
        Effect::Rename { token, .. } => ("Adopt", format!("marking token {token} in dbt")),
        Effect::CondemnAdopted { token, .. } => ("Retire", format!("making sure that nobody hands out token {token} any more")),
        _ => ("Adopt", "adopting a token".into()),
    }
}

/// Whether the slot of this serial holds a token that was adopted.
pub(super) fn is_adoption(observation: &Observation, serial: Serial) -> bool {
    observation.slot(serial).is_some_and(|slot| slot.adopted.is_some())
}

/// The event that goes with the label on the slot of an adopted token: it is the object's from here on.
pub(super) fn event(observation: &Observation, serial: Serial) -> Option<Event> {
    let slot = observation.slot(serial)?;
    let (source, token) = (slot.adopted.as_ref()?, slot.token()?);
    let message = format!("token {token} was adopted from Secret {}, key {}", source.secret, source.key);
    Some(Event { warning: false, reason: "TokenAdopted".into(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adoption::{AdoptPermissions, Finding};
    use crate::fixture::{object, rows};
    use crate::identity::TokenId;
    use crate::ledger::Cause;
    use crate::plan::Step;

    fn says(about: &AdoptRefusal, expected: &str) {
        let observation = object().adopting(None, AdoptPermissions::Match);
        let (reason, message) = refusal(&observation, about);
        assert_eq!(format!("{reason}: {message}"), expected);
    }

    #[test]
    fn every_refusal_has_the_words_of_the_api() {
        says(&AdoptRefusal::SourceNotFound, "AdoptSourceNotFound: Secret old has no key token, or does not exist");
        says(&AdoptRefusal::Ambiguous { count: 3 }, "AdoptAmbiguous: the string fits 3 tokens of the account; set adopt.tokenId");
        let (only_there, only_here) = (rows(&[("job_viewer", 700)]), rows(&[("job_admin", 0)]));
        says(
            &AdoptRefusal::PermissionsDiffer { token: TokenId(17), only_there, only_here },
            "AdoptPermissionsDiffer: token 17 may job_viewer on project 700; declared are job_admin on all projects; \
             change permissions, or adopt.permissions: Replace",
        );
        says(
            &AdoptRefusal::Conflict { token: TokenId(17), holder: "ServiceToken finance/first".into() },
            "TokenConflict: token 17 already belongs to ServiceToken finance/first",
        );
        says(
            &AdoptRefusal::refused("old/token does not authenticate", "mend it"),
            "AdoptRefused: old/token does not authenticate; mend it",
        );
        says(
            &AdoptRefusal::NotAllowed { needed: AdoptPolicy::Proven, untried: Vec::new() },
            "PolicyRefused: no grant of DbtAccount analytics lets namespace finance adopt a token; it needs a grant with adopt: Proven",
        );
        says(
            &AdoptRefusal::NotAllowed { needed: AdoptPolicy::Unproven, untried: vec![PermissionSet::new("brand_new")] },
            "PolicyRefused: no call can try brand_new, and no grant of DbtAccount analytics lets namespace finance adopt such a \
             token; set verification.environmentId, or give it a grant with adopt: Unproven",
        );
    }

    #[test]
    fn an_adoption_is_told_step_by_step() {
        let begun = || object().adopting(None, AdoptPermissions::Match).unmarked(17).claimed().attempt(6, Cause::First, 0);
        let next = |observation: Observation| {
            let next = observation.plan().report.next_step.expect("something goes on");
            format!("{}: {}", next.action, next.message)
        };
        assert_eq!(next(begun()), "Adopt: looking for a token in Secret old, key token");
        assert_eq!(next(begun().fitting(&[17])), "Adopt: taking over token 17");
        assert_eq!(next(begun().adopted_slot(6, 17, |_| {})), "Adopt: publishing token 17, which was adopted");
        let missing = begun().found(Finding::Missing, 5).with(|it| it.created_at = crate::fixture::at(-30));
        assert_eq!(next(missing), "Wait: waiting for the token to adopt: Secret old has no key token, or does not exist");
        let published = object().published(5, 17).by_adoption(5);
        assert!(published.plan().report.token.expect("a token").adopted);
        assert!(!object().published(5, 2202).plan().report.token.expect("a token").adopted);
        assert_eq!(published.plan().step, Step::Settled);
        let event = event(&published, Serial(5)).expect("an event");
        assert_eq!((event.reason.as_str(), event.warning), ("TokenAdopted", false));
        assert_eq!(event.message, "token 17 was adopted from Secret old, key token");
        assert_eq!(super::event(&object().published(5, 2202), Serial(5)), None);
    }
}
