//! `LastUsed`: dbt has seen no use of the old token for a while. This is how consumers show of which no pod tells: those in
//! other clusters, on laptops, and those that read the Secret through the API.
//!
//! The operator never uses a token that was replaced, so every use is somebody else's: a token is tried before it is
//! committed, and while it is published.

use std::time::Duration;

use jiff::Timestamp;

use super::{Answer, CLOCKS, Case, WRITTEN_TO_THE_SECOND, words};
use crate::effect::Need;
use crate::observation::{Observation, Reading, Token};
use crate::stage::retire::{later, minute};

/// How long dbt must have shown no use of an adopted token, if it may have seen one after the swap and no longer time is
/// declared. Readers that are still moving use the old token for a while, and that must not keep it for ever.
pub(super) const QUIET: Duration = Duration::from_secs(15 * 60);

/// An adopted token has a stricter rule, which no period turns off: it comes first.
///
/// The list that tells has to be taken after the whole quiet period has passed since the swap: an older one cannot tell of
/// a use that came after it. A last use lies so long before the list that dbt's clock, which may differ from ours, cannot
/// make up for it. dbt does not say how exact a last use is, or how late it shows; a period of some minutes covers both
/// \[ASSUMED\].
///
/// A token that was never used is quiet as any other: its first use may still come from somebody who took it before the
/// swap.
pub(super) fn last_used(case: &Case<'_>) -> Answer {
    match of_adopted(case) {
        Answer::Holds => {}
        answer => return answer,
    }
    let period = case.declared().quiet_period;
    if period.is_zero() {
        return Answer::Holds;
    }
    let Some(replaced_at) = case.replaced_at else { return unseen(case) };
    quiet(case, used(case), period, later(replaced_at, period))
}

/// An adopted token may be held where no pod and no Secret of ours tells of it, so that what dbt shows is all there is. It
/// goes when dbt shows no use after the swap, in a list from after the overlap; or, if it shows one, when that is long ago.
/// No deadline excuses this: those who use such a token need not be the ones who were told of it.
pub(super) fn of_adopted(case: &Case<'_>) -> Answer {
    if !case.observation.is_adopted(case.old.token) {
        return Answer::Holds;
    }
    let Some(replaced_at) = case.replaced_at else { return unseen(case) };
    let overlap_ends = later(replaced_at, case.declared().after.max(WRITTEN_TO_THE_SECOND));
    let used = used(case).filter(|used| may_be_used_since(*used, replaced_at));
    quiet(case, used, case.declared().quiet_period.max(QUIET), overlap_ends)
}

/// Whether a use may have come after the swap: dbt's clock may differ from ours.
pub(super) fn may_be_used_since(used: Timestamp, swap: Timestamp) -> bool {
    later(used, CLOCKS) >= swap
}

fn unseen(case: &Case<'_>) -> Answer {
    Answer::Waits { message: format!("whether token {} is in use is not known yet", case.old.token), look_again_at: None }
}

/// Whether a list that is taken at `earliest` or later shows no use of the token for the period.
fn quiet(case: &Case<'_>, used: Option<Timestamp>, period: Duration, earliest: Timestamp) -> Answer {
    let token = case.old.token;
    let quiet_since_use = used.map(|used| later(later(used, period), CLOCKS));
    let due = quiet_since_use.map_or(earliest, |time| time.max(earliest));
    if list_is_taken_since(case.observation, due) {
        return Answer::Holds;
    }
    let message = match used.filter(|_| due > earliest) {
        Some(used) => {
            let (used, period) = (words::quarter(used), words::length(period));
            format!("dbt saw token {token} in use after {used}; it goes after {period} without use")
        }
        None => format!("dbt must see no use of token {token} until {}", minute(due)),
    };
    if case.now < due {
        return Answer::Waits { message, look_again_at: Some(due) };
    }
    Answer::Unread { message, need: Need::Tokens(due.max(case.observation.fresh_after)) }
}

fn used(case: &Case<'_>) -> Option<Timestamp> {
    listed(case.observation, case).and_then(|listed| listed.last_used)
}

fn listed<'a>(observation: &'a Observation, case: &Case<'_>) -> Option<&'a Token> {
    observation.known_tokens().find(|listed| listed.id == case.old.token)
}

fn list_is_taken_since(observation: &Observation, time: Timestamp) -> bool {
    let list = observation.account.open().map(|account| &account.tokens);
    matches!(list, Some(Reading::Known { taken_at, .. }) if *taken_at >= time)
}
