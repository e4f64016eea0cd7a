//! A token with our mark and a serial that the ledger never opened tells of a cluster that was set back in time, or of a
//! clone that is running elsewhere. That is written down before anything else, since the next attempt would hide it.

use jiff::Timestamp;

use crate::effect::LedgerEntry;
use crate::identity::Serial;
use crate::observation::Observation;
use crate::plan::Turn;
use crate::stage::write;

/// Records the finding, or a person's word on it. While it stands, nothing of the object is revoked.
pub fn set_back(observation: &Observation, _now: Timestamp) -> Turn {
    let ledger = &observation.ledger;
    if ledger.is_blank() {
        return Turn::Pass(None);
    }
    let known = ledger.serial.max(ledger.set_back.map_or(0, |serial| serial.0));
    if let Some(unknown) = highest_mark(observation).filter(|serial| serial.0 > known) {
        return write(observation, LedgerEntry::SetBack, ledger.found_set_back(unknown));
    }
    let confirmed = observation.account.open().and_then(|account| account.set_back_confirmed);
    match ledger.set_back {
        Some(found) if confirmed.is_some_and(|confirmed| confirmed >= found) => {
            write(observation, LedgerEntry::SetBackConfirmed, ledger.set_back_confirmed())
        }
        _ => Turn::Pass(None),
    }
}

fn highest_mark(observation: &Observation) -> Option<Serial> {
    observation.known_tokens().filter_map(|token| observation.own_mark(token)).map(|mark| mark.serial).max()
}
