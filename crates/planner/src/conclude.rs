//! What an effect's outcome leads to, at once and in the same pass, where the outcome itself is a fact that must not be
//! lost: a refusal by dbt becomes an entry of the ledger, or a mark on the slot.

use jiff::Timestamp;

use crate::effect::{Effect, LedgerEntry, Outcome};
use crate::gate;
use crate::ledger::{Cause, Opening};
use crate::observation::Observation;
use crate::plan::Step;
use crate::report::{self, Report};
use crate::stage::mint;

/// An effect that follows from an outcome, and what the status shall say with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// The effect.
    pub effect: Effect,
    /// The report that is written with it, if it writes one.
    pub report: Report,
}

/// What follows from the outcome of an effect; `None` where it is enough to look again.
pub fn conclude(observation: &Observation, effect: &Effect, outcome: &Outcome, now: Timestamp) -> Option<Conclusion> {
    match (effect, outcome) {
        (Effect::Mint { .. }, Outcome::Rejected { message }) => {
            let effect = mint::after_rejection(observation, now)?;
            let report = report::rejected(observation, &Step::Act(effect.clone()), message, now);
            Some(Conclusion { effect, report })
        }
        (Effect::Prove { serial, .. }, Outcome::Refused { why }) => {
            Some(plain(observation, Effect::Condemn { serial: *serial, why: why.clone() }, now))
        }
        (Effect::Retire { .. }, Outcome::Refused { .. }) => replace_unusable(observation, now),
        _ => None,
    }
}

fn plain(observation: &Observation, effect: Effect, now: Timestamp) -> Conclusion {
    let report = report::report(observation, &Step::Act(effect.clone()), now);
    Conclusion { effect, report }
}

/// dbt refuses the published token although the account's own credential works: it is replaced without waiting.
fn replace_unusable(observation: &Observation, now: Timestamp) -> Option<Conclusion> {
    let (account, desired) = (observation.account.open()?, observation.desired.as_ref().ok()?);
    if observation.ledger.next.is_some() {
        return None;
    }
    let wanted = gate::wanted(account, desired).ok()?;
    gate::policy(account, &wanted, true).ok()?;
    gate::budget(account, Cause::TokenUnusable, now).ok()?;
    gate::room(observation).ok()?;
    let opening = Opening { fingerprint: wanted.fingerprint(), cause: Cause::TokenUnusable, failures: 0 };
    let ledger = observation.ledger.opened(&observation.installation, opening, observation.highest_serial(), now);
    Some(plain(observation, Effect::WriteLedger { entry: LedgerEntry::Open, ledger: Box::new(ledger) }, now))
}
