//! The rules of retirement: what has to be so before a replaced token is revoked, one function a rule.
//!
//! One chain answers both questions, "may it go?" and "what does it wait for?", so that status and deed cannot disagree.
//! Nothing here reads or writes; what a rule has to know and does not is named as a [`Need`].

pub(crate) mod adopted;
mod deadline;
pub(crate) mod foreseen;
mod last_used;
mod pods;
mod restart;
pub(crate) mod words;

pub(crate) use self::deadline::deadline_at;
pub(crate) use self::pods::paced;
pub(crate) use self::restart::refused;
pub(crate) use self::words::listed;

use std::time::Duration;

use jiff::Timestamp;

use crate::desired::{Desired, Retirement};
use crate::effect::Need;
use crate::ledger::Entry;
use crate::observation::{Life, Observation};
use crate::plan::Turn;
use crate::report::Waiting;
use crate::stage::admit::admit;
use crate::stage::retire::{later, minute};
use crate::stage::set_back::set_back;

/// How far the clocks of nodes and of dbt may be from ours, at most, for a time of theirs to be compared with one of ours.
/// Also longer than a kubelet takes from reading a Secret to reporting the container that it was read for as running, and
/// than it keeps a Secret in mind without asking (its cache, where it does not watch, lives for a minute).
const CLOCKS: Duration = Duration::from_secs(60);

/// The time of a swap is written down in whole seconds, so that it lies up to a second before the swap.
pub(crate) const WRITTEN_TO_THE_SECOND: Duration = Duration::from_secs(1);

/// One replaced token, and the one that follows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    /// All that is known.
    pub(crate) observation: &'a Observation,
    /// What is declared.
    pub(crate) desired: &'a Desired,
    /// The published token.
    pub(crate) current: Entry,
    /// The token that shall go.
    pub(crate) old: Entry,
    /// When the target was first seen without it; `None` if it was not yet.
    pub(crate) replaced_at: Option<Timestamp>,
    /// When it is asked.
    pub(crate) now: Timestamp,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It holds, for good as long as this token is the one that was replaced.
    Holds,
    /// It does not hold yet.
    Waits {
        /// What it waits for. Says the same at every time before `look_again_at`.
        message: String,
        /// When time alone may change the answer.
        look_again_at: Option<Timestamp>,
    },
    /// It did not hold when that was looked at; what comes next looks again by itself.
    LookedAtAgain {
        /// What it waits for, as long as nothing else is found.
        message: String,
    },
    /// Something has to be read before it can be judged.
    Unread {
        /// What it waits for, as long as nothing is read.
        message: String,
        /// What to read.
        need: Need,
    },
}

/// A rule with its word in the status.
struct Rule {
    word: &'static str,
    ask: fn(&Case<'_>) -> Answer,
}

/// Whether anything may be revoked at all, and whether the target holds the new token. While one of these does not hold,
/// nothing else is asked: the others count from the moment at which the target holds it. No deadline excuses them.
const GROUNDS: [Rule; 2] = [Rule { word: "Verification", ask: verification }, Rule { word: "Secret", ask: secret }];

/// Whether anybody may still need the old token. What costs nothing to know is asked first, since the first rule that wants
/// something read is the one that gets it.
const CONSUMERS: [Rule; 5] = [
    Rule { word: "Overlap", ask: overlap },
    Rule { word: "Pods", ask: pods::pods },
    Rule { word: "Restart", ask: restart::restart },
    Rule { word: "AdoptSource", ask: adopted::source },
    Rule { word: "LastUsed", ask: last_used::last_used },
];

/// Whether somebody may still need the old token of whom nobody could be told: what no deadline excuses.
const UNTOLD: [Rule; 1] = [Rule { word: "LastUsed", ask: last_used::of_adopted }];

impl<'a> Case<'a> {
    /// The case of an old token; `None` while nothing is published or declared.
    pub(crate) fn of(observation: &'a Observation, old: Entry, replaced_at: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        let (current, desired) = (observation.ledger.current?, observation.desired.as_ref().ok()?);
        Some(Self { observation, desired, current, old, replaced_at, now })
    }

    fn declared(&self) -> &'a Retirement {
        &self.desired.retirement
    }

    /// Whether it does not matter who still needs the old token: a person called it compromised, or its deadline has passed,
    /// of which they were told.
    fn goes_regardless_of_consumers(&self) -> bool {
        self.is_compromised() || deadline::deletes(self)
    }

    fn is_compromised(&self) -> bool {
        self.observation.ledger.is_compromised(self.old.serial) && self.swap_is_written()
    }

    /// Nothing goes before the swap is written down: another process would count from another time.
    fn swap_is_written(&self) -> bool {
        self.observation.record.published.as_ref().is_some_and(|published| published.token == self.current.token)
    }

    /// The rules that do not hold, in their order.
    fn open_rules(&self) -> Vec<(&'static str, Answer)> {
        let open = |rule: &Rule| Some((rule.word, (rule.ask)(self))).filter(|(_, answer)| *answer != Answer::Holds);
        if let Some(ground) = GROUNDS.iter().find_map(open) {
            return vec![ground];
        }
        if self.is_compromised() {
            return Vec::new();
        }
        let rules: &[Rule] = if deadline::deletes(self) { &UNTOLD } else { &CONSUMERS };
        rules.iter().filter_map(open).collect()
    }
}

/// The rules that do not hold yet, for the status. Empty means that the token goes next.
pub(crate) fn waiting_for(case: &Case<'_>) -> Vec<Waiting> {
    if case.observation.deleted_at.is_some() || case.observation.life(case.old.token) == Life::Inactive {
        return Vec::new();
    }
    let told = |(rule, answer)| match answer {
        Answer::Holds => None,
        Answer::Waits { message, .. } | Answer::Unread { message, .. } | Answer::LookedAtAgain { message } => {
            Some(Waiting { rule, message })
        }
    };
    case.open_rules().into_iter().filter_map(told).collect()
}

/// What there is to do before the token may go; `None` if all rules hold.
pub(crate) fn obstacle(case: &Case<'_>) -> Option<Turn> {
    let mut open = case.open_rules();
    open.retain(|(_, answer)| !matches!(answer, Answer::LookedAtAgain { .. }));
    if let (_, Answer::Unread { need, .. }) = open.first()? {
        return Some(Turn::read(*need));
    }
    let times = open.iter().filter_map(|(_, answer)| match answer {
        Answer::Waits { look_again_at, .. } => *look_again_at,
        Answer::Holds | Answer::LookedAtAgain { .. } | Answer::Unread { .. } => None,
    });
    let deadline = case.replaced_at.and_then(|replaced_at| deadline_at(case.declared(), replaced_at));
    // One that has passed would hide the others.
    Some(Turn::Pass(times.chain(deadline).filter(|time| *time > case.now).min()))
}

/// Whether the deadline of a token that its consumers still need has passed, and it is kept all the same.
pub(crate) fn is_blocked(case: &Case<'_>) -> bool {
    if case.observation.deleted_at.is_some() || case.observation.life(case.old.token) == Life::Inactive {
        return false;
    }
    let waits_for_consumers = case.open_rules().first().is_some_and(|(word, _)| CONSUMERS.iter().any(|rule| rule.word == *word));
    waits_for_consumers && (deadline::is_held(case) || deadline::deletes(case))
}

/// The first time at which a token that was replaced then may go, if nobody needs it.
pub(crate) fn earliest(declared: &Retirement, replaced_at: Timestamp) -> Timestamp {
    later(replaced_at, declared.after.max(declared.quiet_period))
}

/// Why nothing is revoked at all, however long the overlap has been. That the new token passes once more is part of the
/// effect itself.
fn verification(case: &Case<'_>) -> Answer {
    hindrance(case).map_or(Answer::Holds, |message| Answer::Waits { message, look_again_at: None })
}

fn hindrance(case: &Case<'_>) -> Option<String> {
    let Case { observation, current, old, .. } = case;
    if observation.is_dry_run() {
        return Some("nothing is revoked while dryRun is set; status.plan lists what would be done".into());
    }
    if matches!(admit(observation, case.now), Turn::Take(..)) {
        return Some("nothing is revoked while the object is suspended or stalled".into());
    }
    if observation.ledger.set_back.is_some() || matches!(set_back(observation, case.now), Turn::Take(..)) {
        return Some("nothing is revoked until a person confirms what DbtAccount tells of (SetBack)".into());
    }
    if observation.account.open().is_none() {
        return Some(format!("DbtAccount {} is not ready", case.desired.account));
    }
    if !observation.current_is_usable() {
        return Some(format!("token {} does not work any more; what follows it comes first", current.token));
    }
    if !observation.current_is_stored() {
        return Some(format!("the operator's copy of token {} is gone; what follows it comes first", current.token));
    }
    if current.serial <= old.serial {
        return Some(format!("token {} is newer than the published one; it goes after the next rotation", old.token));
    }
    let known = observation.life(old.token) == Life::Active && !observation.is_ours(old.token);
    let unmarked = known.then(|| format!("token {} carries no mark of this object; revoke it in dbt", old.token));
    unmarked.or_else(|| adopted::hindrance(case))
}

fn secret(case: &Case<'_>) -> Answer {
    let Case { observation, desired, current, .. } = case;
    if observation.rule.is_some() && observation.target_shows(current.token) {
        return Answer::Holds;
    }
    let message = format!("Secret {} does not hold token {} yet", desired.secret_name, current.token);
    Answer::Waits { message, look_again_at: None }
}

fn overlap(case: &Case<'_>) -> Answer {
    let unseen = || Answer::Waits { message: "its replacement was not seen yet".into(), look_again_at: None };
    let Some(replaced_at) = case.replaced_at else { return unseen() };
    let due = later(replaced_at, case.declared().after.max(WRITTEN_TO_THE_SECOND));
    if case.now < due {
        return Answer::Waits { message: format!("minimum overlap until {}", minute(due)), look_again_at: Some(due) };
    }
    if case.swap_is_written() { Answer::Holds } else { unseen() }
}

#[cfg(test)]
mod tests;
