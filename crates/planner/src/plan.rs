//! The plan: the ordered list of stages, of which the first that has something to do wins.
//! Decides nothing itself but the order, and what a recent failure holds back.

mod carry_out;
mod foresee;

use jiff::Timestamp;

use crate::adoption::AdoptRefusal;
use crate::effect::{Effect, Need};
use crate::grant::{GrantRow, Unresolved};
use crate::identity::PermissionSet;
use crate::ledger::Cause;
use crate::observation::{Observation, TokenLimit, Trouble, TroubleKind};
use crate::report::{self, Report};
use crate::stage;

/// The answer to one observation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The next single step.
    pub step: Step,
    /// When to look again if nothing happens before; always later than now. `None` at rest.
    pub wake_at: Option<Timestamp>,
    /// What the status shall say if the step is taken.
    pub report: Report,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Run one effect, then observe again.
    Act(Effect),
    /// Read something, then observe again.
    Read(Need),
    /// Nothing can be done now; time or a retry mends it.
    Wait(Wait),
    /// A person must act.
    Blocked(Block),
    /// Everything is as declared.
    Settled,
}

/// Why nothing can be done now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// `spec.suspend` of the object, or of its account.
    Suspended,
    /// The account is not there yet; it may come with the same sync.
    AccountMissing,
    /// The account cannot be worked with now.
    AccountNotReady,
    /// Something failed and is tried again later.
    Trouble,
    /// The mint budget of the account is used up.
    Budget {
        /// Tokens an hour.
        limit: u32,
        /// When there is room again.
        free_at: Timestamp,
    },
    /// Attempts were given up; the next one comes later.
    Backoff {
        /// When.
        until: Timestamp,
    },
    /// Three replaced tokens wait for their end already.
    RetiringFull,
    /// A legacy or aged token is replaced in the next window.
    Window {
        /// Why it is replaced.
        cause: Cause,
        /// When the window opens; the end of time if none is to be found.
        opens_at: Timestamp,
    },
    /// The Secret to adopt from is not there yet; it may come with the same sync.
    AdoptSource,
}

/// What a person must mend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// The declaration cannot be worked with; what is wrong stands in the observation.
    Refused,
    /// The account does not exist.
    AccountNotFound,
    /// No grant covers this row.
    PolicyRefused(GrantRow),
    /// There are as many ServiceTokens as allowed.
    TokenLimit(TokenLimit),
    /// A project is not there, or its name is not unique.
    Project(Unresolved),
    /// An older object writes the same Secret.
    SecretConflict {
        /// Its name.
        senior: String,
    },
    /// The Secret exists and is not ours.
    SecretNotOwned {
        /// Who last wrote it.
        manager: String,
    },
    /// No call can try these sets.
    Unprobeable(Vec<PermissionSet>),
    /// The token is not taken over.
    Adopt(AdoptRefusal),
    /// Something would be done if `dryRun` were not set; the report lists it.
    DryRun,
    /// The object is deleted and its tokens cannot be revoked.
    Deletion {
        /// Why.
        why: String,
        /// When it is let go all the same.
        let_go_at: Timestamp,
    },
}

/// What a stage says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This is the next step; look again at this time at the latest.
    Take(Step, Option<Timestamp>),
    /// Nothing to do now; look again at this time at the latest.
    Pass(Option<Timestamp>),
}

impl Turn {
    /// An effect.
    pub fn act(effect: Effect) -> Self {
        Self::Take(Step::Act(effect), None)
    }

    /// A read.
    pub fn read(need: Need) -> Self {
        Self::Take(Step::Read(need), None)
    }

    /// The same, looked at again at this time at the latest.
    #[must_use]
    pub fn at_the_latest(self, time: Option<Timestamp>) -> Self {
        match self {
            Self::Take(step, until) => Self::Take(step, earlier(until, time)),
            Self::Pass(until) => Self::Pass(earlier(until, time)),
        }
    }
}

/// A stage: one question about one observation.
type Stage = fn(&Observation, Timestamp) -> Turn;

/// The stages in order. Publishing comes before everything that needs dbt, so that a Secret is mended while dbt is away;
/// destroying comes before minting, so that strays do not pile up.
const STAGES: [(Stage, Held); 10] = [
    (stage::finalize::finalize, Held::Rest),
    (stage::admit::admit, Held::Rest),
    (stage::rebuild::rebuild, Held::Rest),
    (stage::set_back::set_back, Held::Rest),
    (stage::project::project, Held::Itself),
    (stage::sweep::sweep, Held::Itself),
    (stage::retire::retire, Held::Itself),
    (stage::restart::restart, Held::Itself),
    (stage::adopt::adopt, Held::Rest),
    (stage::mint::mint, Held::Itself),
];

/// What waits while a failure holds a stage back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The stage alone: those after it have nothing to do with it.
    Itself,
    /// All after it, which rest on it: on a deletion, on an admission, on a ledger that is complete; and no token is made in
    /// place of one that is to be taken over.
    Rest,
}

/// The next single step for one object, and what its status shall say.
///
/// Total, deterministic and quiet: the same observation and time give the same plan, and a settled object gives no effect.
/// Under `dryRun` nothing is asked for but reading.
pub fn plan(observation: &Observation, now: Timestamp) -> Plan {
    let observation = observation.of_this_installation();
    let observation = observation.as_ref();
    if observation.is_dry_run() {
        return foresee::dry_plan(observation, now);
    }
    let (step, wake_at) = decide(observation, now);
    let report = report::report(observation, &step, now);
    Plan { step, wake_at, report }
}

fn decide(observation: &Observation, now: Timestamp) -> (Step, Option<Timestamp>) {
    let mut wake_at: Option<Timestamp> = None;
    let mut held = false;
    for (stage, waits) in STAGES {
        match stage(observation, now) {
            Turn::Pass(time) => wake_at = earlier(wake_at, to_come(time, now)),
            Turn::Take(step, time) => {
                wake_at = earlier(wake_at, to_come(time, now));
                match observation.trouble.as_ref().filter(|trouble| holds_back(trouble, &step, now)) {
                    None => return (if held { after_held(step) } else { step }, wake_at),
                    Some(trouble) => {
                        held = true;
                        wake_at = earlier(wake_at, Some(trouble.retry_at));
                        if waits == Held::Rest {
                            break;
                        }
                    }
                }
            }
        }
    }
    (if held { Step::Wait(Wait::Trouble) } else { Step::Settled }, wake_at)
}

/// A later stage may still act, but it may not call the object settled while an earlier one waits for a retry.
fn after_held(step: Step) -> Step {
    match step {
        Step::Settled => Step::Wait(Wait::Trouble),
        step => step,
    }
}

/// Whether a recent failure makes this step wait.
fn holds_back(trouble: &Trouble, step: &Step, now: Timestamp) -> bool {
    trouble.retry_at > now && concerns(trouble, step)
}

/// Whether the failure was one of this step's side: dbt's failures concern what needs dbt, the cluster's what touches it (most
/// of what calls dbt does so as well), a refusal of the Secret what is done without dbt and the retirement that reads the
/// Secret, and those of links nothing but the proof that carries them over.
pub(crate) fn concerns(trouble: &Trouble, step: &Step) -> bool {
    match step {
        // A look at pods or workloads has no trouble of its own: that it fails is a reading.
        Step::Read(Need::Consumers(_) | Need::Workloads(_)) => false,
        Step::Read(_) => is_about_dbt(trouble.kind),
        Step::Act(effect) => match trouble.kind {
            TroubleKind::LinkRefused | TroubleKind::LinksUnreadable => matches!(effect, Effect::Prove { .. }),
            TroubleKind::DbtUnavailable | TroubleKind::VerificationInconclusive => effect.calls_dbt(),
            TroubleKind::SecretRefused => !effect.calls_dbt() || matches!(effect, Effect::Retire { .. }),
            TroubleKind::Cluster => effect.touches_cluster(),
        },
        _ => false,
    }
}

fn is_about_dbt(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::DbtUnavailable | TroubleKind::VerificationInconclusive)
}

/// A time that has passed wakes nobody, and must not hide one that is still to come.
fn to_come(time: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    time.filter(|time| *time > now)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
