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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{now, object, turn};

    fn check(observation: &Observation, expected: &str) {
        assert_eq!(turn(&set_back(observation, now())), expected);
    }

    #[test]
    fn a_mark_above_the_ledger_is_written_down_before_anything_else() {
        let published = || object().published(5, 2202);
        let found = |serial| published().with(|it| it.ledger.set_back = Some(Serial(serial)));
        let confirmed = |it: Observation, serial| it.with_account(|account| account.set_back_confirmed = Some(Serial(serial)));
        check(&object().listed(9, 2209), "pass");
        check(&published(), "pass");
        check(&published().listed(4, 2204), "pass");
        check(&published().listed(9, 2209), "set_back; serial 5, current 5:2202, set back 9");
        check(&published().listed(9, 2209).inactive(2209), "set_back; serial 5, current 5:2202, set back 9");
        check(&published().listed(9, 2209).not_ready(), "pass");
        check(&published().listed(9, 2209).with(|it| it.finalizer = false), "add_finalizer");
        check(&found(9), "pass");
        check(&found(9).listed(9, 2209), "pass");
        check(&found(9).listed(12, 2212), "set_back; serial 5, current 5:2202, set back 12");
        check(&confirmed(found(9), 8), "pass");
        check(&confirmed(found(9), 9), "set_back_confirmed; serial 9, current 5:2202");
        check(&confirmed(found(9), 10), "set_back_confirmed; serial 9, current 5:2202");
        check(&confirmed(published(), 10), "pass");
        // A word on an older finding does not count for a newer one.
        check(&confirmed(found(9).listed(12, 2212), 9), "set_back; serial 5, current 5:2202, set back 12");
    }

    #[test]
    fn marks_of_others_say_nothing() {
        let foreign = |change: fn(&mut crate::mark::Mark)| {
            object().published(5, 2202).listed(9, 2209).token(2209, |token| token.mark.iter_mut().for_each(change))
        };
        check(&foreign(|mark| mark.installation = crate::identity::Installation::new("there")), "pass");
        check(&foreign(|mark| mark.owner = crate::identity::OwnerUid::new("uid-2")), "pass");
    }
}
