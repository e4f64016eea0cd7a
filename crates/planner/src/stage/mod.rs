//! One stage a file, each a question about one observation. They know nothing of each other.

use crate::effect::{Effect, LedgerEntry};
use crate::ledger::Ledger;
use crate::observation::Observation;
use crate::plan::Turn;

pub mod admit;
pub mod adopt;
pub mod finalize;
pub mod mint;
pub mod project;
pub mod rebuild;
pub mod restart;
pub mod retire;
pub mod set_back;
pub mod sweep;

/// A change of the ledger; the finalizer comes first, so that nothing is recorded for an object that could vanish.
pub(crate) fn write(observation: &Observation, entry: LedgerEntry, ledger: Ledger) -> Turn {
    if !observation.finalizer && observation.deleted_at.is_none() {
        return Turn::act(Effect::AddFinalizer);
    }
    Turn::act(Effect::WriteLedger { entry, ledger: Box::new(ledger) })
}
