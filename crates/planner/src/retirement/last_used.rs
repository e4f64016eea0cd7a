//! `LastUsed`: dbt has seen no use of the old token for a while. This is how consumers show of which no pod tells: those in
//! other clusters, on laptops, and those that read the Secret through the API.
//!
//! The operator never uses a token that was replaced, so every use is somebody else's: a token is tried before it is
//! committed, and while it is published.

use super::{Answer, CLOCKS, Case, words};
use crate::effect::Need;
use crate::observation::{Observation, Reading, Token};
use crate::stage::retire::{later, minute};

/// The list that tells has to be taken after the whole quiet period has passed since the swap: an older one cannot tell of
/// a use that came after it. A last use lies so long before the list that dbt's clock, which may differ from ours, cannot
/// make up for it. dbt does not say how exact a last use is, or how late it shows; a period of some minutes covers both
/// \[ASSUMED\].
///
/// A token that was never used is quiet as any other: its first use may still come from somebody who took it before the
/// swap.
///
/// An adopted token has a rule of its own, which no period turns off; it belongs before the first line.
pub(super) fn last_used(case: &Case<'_>) -> Answer {
    let period = case.declared().quiet_period;
    if period.is_zero() {
        return Answer::Holds;
    }
    let token = case.old.token;
    let unseen = || Answer::Waits { message: format!("whether token {token} is in use is not known yet"), look_again_at: None };
    let Some(replaced_at) = case.replaced_at else { return unseen() };
    let quiet_since_swap = later(replaced_at, period);
    let used = listed(case.observation, case).and_then(|listed| listed.last_used);
    let quiet_since_use = used.map(|used| later(later(used, period), CLOCKS));
    let due = quiet_since_use.map_or(quiet_since_swap, |time| time.max(quiet_since_swap));
    if list_is_taken_since(case.observation, due) {
        return Answer::Holds;
    }
    let message = match used.filter(|_| due > quiet_since_swap) {
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

fn listed<'a>(observation: &'a Observation, case: &Case<'_>) -> Option<&'a Token> {
    observation.known_tokens().find(|listed| listed.id == case.old.token)
}

fn list_is_taken_since(observation: &Observation, time: jiff::Timestamp) -> bool {
    let list = observation.account.open().map(|account| &account.tokens);
    matches!(list, Some(Reading::Known { taken_at, .. }) if *taken_at >= time)
}
