//! The dry run: the planner that ships, run forward on a copy of what was observed, with every effect carried out in thought.
//! What comes out is a list for people. Nothing but reading is ever asked for here, so that whatever the planner would do,
//! a dry run does not: this is the one place that holds it back.
//!
//! The list has to be the same at every look until something changes. So what comes at once, or so long after a step that
//! comes at once, has no time; only what a window, a budget or an earlier swap fixes has one.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::carry_out::{carry_out, list_is_read, note};
use super::{Block, Plan, Step, Turn, Wait, decide, holds_back, to_come};
use crate::adoption::Source;
use crate::desired::WorkloadKind;
use crate::effect::{Effect, LedgerEntry, Need};
use crate::identity::{Serial, TokenId};
use crate::ledger::Entry;
use crate::observation::{Consumers, Observation, Reading};
use crate::report::{self, PlannedStep, planned};
use crate::restart::Restart;
use crate::retirement::deadline_at;
use crate::retirement::foreseen::{self, Times};
use crate::stage::retire::{later, replaced_at, retire_one};
use crate::stage::sweep::sweep;
use crate::{trigger, window};

/// So many entries has a list at most; the schema takes no more.
pub(crate) const MAXIMUM_ENTRIES: usize = 20;

/// So many steps are thought of at most. A first token takes twelve, a rotation with its end twenty, and three tokens that
/// retire another thirty; what needs more goes round in a circle.
const MAXIMUM_STEPS: usize = 200;

/// How long a look at the pods is believed to show who takes the Secret. As often may a message change because time passes.
const PODS_BELIEVED: Duration = Duration::from_secs(15 * 60);

/// How long a list of tokens is believed to show a token that a person made a moment ago, as where one is adopted in earnest.
const LIST_BELIEVED: Duration = Duration::from_secs(5 * 60);

/// What a dry run comes to.
enum End {
    /// Something has to be read before the list can be true.
    Look(Need),
    /// The Secret of an adoption has to be looked into; that changes nothing.
    Inspect(Source),
    /// Nothing is left to do.
    Settled,
    /// Nobody knows when it goes on.
    Wait(Wait),
    /// A person must act before it goes on.
    Blocked(Block),
    /// The list is full, or goes round in a circle.
    Long,
}

/// The plan under `dryRun`.
pub(super) fn dry_plan(observation: &Observation, now: Timestamp) -> Plan {
    let real = as_if_in_earnest(observation);
    let thought = without_restarts(&real);
    let mut run = Run::new(&thought, now);
    run.restarts = real.desired.as_ref().map_or_else(|_| BTreeSet::new(), |desired| desired.retirement.restart.clone());
    if Restart::of(&real).is_some_and(|restart| restart.is_owed()) {
        run.tell_of_restarts();
    }
    let end = run.go_on();
    let Run { entries, wakes, .. } = run;
    let wake_at = wakes.into_iter().filter(|time| *time > now).min();
    let step = match end {
        End::Look(need) => Step::Read(need),
        End::Inspect(source) => Step::Act(Effect::InspectSource(source)),
        End::Blocked(block) => Step::Blocked(block),
        End::Settled if entries.is_empty() => Step::Settled,
        End::Wait(wait) if entries.is_empty() => Step::Wait(wait),
        End::Settled | End::Wait(_) | End::Long => Step::Blocked(Block::DryRun),
    };
    if let Some(trouble) = observation.trouble.as_ref().filter(|trouble| holds_back(trouble, &step, now)) {
        let (step, retry_at) = (Step::Wait(Wait::Trouble), trouble.retry_at);
        let wake_at = Some(wake_at.map_or(retry_at, |time| time.min(retry_at)));
        return Plan { report: report::report(observation, &step, now), step, wake_at };
    }
    // With nothing to do the object is judged as if nothing was asked.
    let judged = if entries.is_empty() { &Observation { trouble: observation.trouble.clone(), ..real } } else { observation };
    let mut report = report::report(judged, &step, now);
    report.plan = entries;
    Plan { step, wake_at, report }
}

/// A failure concerns what is done in earnest.
fn as_if_in_earnest(observation: &Observation) -> Observation {
    let mut copy = Observation { trouble: None, ..observation.clone() };
    if let Ok(desired) = &mut copy.desired {
        desired.dry_run = false;
    }
    copy
}

/// Restarts are told as they are declared, right after the swap. Which workloads they would be of, and when each has rolled
/// out, could change at every look.
fn without_restarts(real: &Observation) -> Observation {
    let mut copy = real.clone();
    if let Ok(desired) = &mut copy.desired {
        desired.retirement.restart.clear();
    }
    copy
}

/// One run into the future.
struct Run<'a> {
    /// What was observed.
    real: &'a Observation,
    /// The time of the observation.
    now: Timestamp,
    /// What would be observed by then.
    copy: Observation,
    /// The time that the run has come to.
    clock: Timestamp,
    /// Whether the copy is ahead of what was observed.
    is_ahead: bool,
    /// Whether everything is as declared, and replaced tokens alone are left.
    is_finishing: bool,
    /// What is restarted after a swap.
    restarts: BTreeSet<WorkloadKind>,
    /// Whether those who take the Secret were looked at in thought once; a second time they are taken to have moved on.
    has_seen_pods: bool,
    /// Before when the next entry does not come; `None` if it follows at once, or so long after the one before it.
    not_before: Option<Timestamp>,
    /// The same, of the last swap.
    swap_not_before: Option<Timestamp>,
    /// What the next entry waits for in words: the opening of a window by its own clock, or the budget.
    opening: Option<String>,
    /// The replaced token whose waiting was told last, and before when it does not end.
    told: Option<TokenId>,
    ends_at: Option<Timestamp>,
    entries: Vec<PlannedStep>,
    /// When the list may be another one.
    wakes: Vec<Timestamp>,
}

/// When the replaced tokens that there are may be told of in another way.
fn ends(real: &Observation, now: Timestamp) -> Vec<Timestamp> {
    let retirement = real.desired.as_ref().ok().map(|desired| &desired.retirement);
    let times = real.ledger.retiring.iter().flat_map(|entry| {
        let waits = match retire_one(real, *entry, now) {
            Turn::Pass(time) => time,
            Turn::Take(..) => None,
        };
        let swap = replaced_at(real, entry.token).or(real.record.published.as_ref().map(|published| published.at));
        let deadline = retirement.zip(swap).and_then(|(declared, swap)| deadline_at(declared, swap));
        [waits, deadline]
    });
    times.flatten().collect()
}

impl<'a> Run<'a> {
    fn new(real: &'a Observation, now: Timestamp) -> Self {
        Self {
            real,
            now,
            copy: real.clone(),
            clock: now,
            is_ahead: false,
            is_finishing: false,
            restarts: BTreeSet::new(),
            has_seen_pods: false,
            not_before: None,
            swap_not_before: None,
            opening: None,
            told: None,
            ends_at: None,
            entries: Vec::new(),
            wakes: ends(real, now),
        }
    }

    fn go_on(&mut self) -> End {
        for _ in 0..MAXIMUM_STEPS {
            let (step, wake_at) = decide(&self.copy, self.clock);
            // A time that rests on what was only thought is another one with each look; these never do.
            let is_real = matches!(step, Step::Blocked(Block::Adopt(_)) | Step::Wait(Wait::AdoptSource | Wait::AccountMissing));
            if !self.is_ahead || is_real {
                self.wakes.extend(wake_at);
            }
            let report = report::report(&self.copy, &step, self.clock);
            let is_written = note(&mut self.copy, &report);
            // A status that was written is looked at again.
            if is_written && matches!(step, Step::Settled | Step::Wait(_)) {
                continue;
            }
            if let Some(end) = self.follow(step, wake_at) {
                return end;
            }
        }
        End::Long
    }

    fn follow(&mut self, step: Step, wake_at: Option<Timestamp>) -> Option<End> {
        match step {
            Step::Read(need) => self.look(need),
            Step::Act(Effect::InspectSource(source)) if self.clock == self.now => Some(End::Inspect(source)),
            Step::Act(Effect::InspectSource(_)) => Some(End::Long),
            Step::Act(effect) => self.assume(&effect),
            // What grows old, or is refused, while a replaced token waits is another story.
            Step::Wait(_) | Step::Blocked(_) if self.is_finishing => Some(End::Settled),
            Step::Wait(Wait::Window { opens_at, .. }) => self.open(opens_at),
            Step::Wait(Wait::Budget { free_at, .. }) => {
                self.opening = Some("when the account's mint budget is free again".into());
                self.jump(free_at, Some(free_at))
            }
            Step::Wait(Wait::Backoff { until }) if self.copy.ledger.next == self.real.ledger.next => {
                self.jump(until, Some(until))
            }
            Step::Wait(wait @ Wait::Backoff { .. }) => {
                // The delay of an attempt that was only thought of begins with it, and whether the next one fares better
                // nobody knows.
                self.tell_of(&wait);
                Some(End::Long)
            }
            Step::Wait(Wait::RetiringFull) => match wake_at {
                Some(time) => self.jump(time, self.not_before),
                None => Some(End::Wait(Wait::RetiringFull)),
            },
            Step::Settled => self.finish(),
            Step::Wait(wait) => {
                if !self.entries.is_empty() {
                    self.tell_of(&wait);
                }
                Some(End::Wait(wait))
            }
            Step::Blocked(block) => Some(End::Blocked(block)),
        }
    }

    /// Goes to a later time.
    fn jump(&mut self, time: Timestamp, not_before: Option<Timestamp>) -> Option<End> {
        if to_come(Some(time), self.clock).is_none() {
            return Some(End::Long);
        }
        (self.clock, self.not_before, self.is_ahead) = (time, not_before, true);
        self.wakes.extend(not_before);
        None
    }

    fn open(&mut self, opens_at: Timestamp) -> Option<End> {
        let windows = self.copy.desired.as_ref().map_or(&[][..], |desired| desired.rotation.windows.as_slice());
        self.opening = window::local_opening(windows, opens_at);
        if self.opening.is_none() {
            // None opens before the end of time.
            return Some(End::Settled);
        }
        self.jump(opens_at, Some(opens_at))
    }

    /// Only replaced tokens are left. They are told of in the order of the ledger, the oldest first: the order of their ends
    /// would depend on when they are looked at.
    fn finish(&mut self) -> Option<End> {
        if self.copy.ledger.current == self.real.ledger.current {
            self.wakes.extend(trigger::next_rotation(self.real));
        }
        let until = |turn| match turn {
            Turn::Pass(time) => to_come(time, self.clock),
            Turn::Take(..) => None,
        };
        let retiring = self.copy.ledger.retiring.iter().map(|entry| retire_one(&self.copy, *entry, self.clock));
        // What the ledger does not name and was in use once goes the same way.
        let waits = retiring.chain([sweep(&self.copy, self.clock)]).filter_map(until);
        let Some(last) = waits.max() else { return Some(End::Settled) };
        self.is_finishing = true;
        self.jump(last, self.not_before)
    }

    /// What a real look has to tell is asked for; what only a later look could tell is taken to be as it is now.
    fn look(&mut self, need: Need) -> Option<End> {
        match need {
            _ if !self.is_ahead => Some(End::Look(need)),
            Need::Projects | Need::Environments | Need::Token(_) => Some(End::Look(need)),
            Need::Tokens(since) => self.read_list(since),
            Need::Consumers(_) => self.look_at_pods(),
            // The copy declares none.
            Need::Workloads(_) => Some(End::Look(need)),
        }
    }

    fn read_list(&mut self, since: Timestamp) -> Option<End> {
        let fresh_after = self.real.fresh_after;
        let taken_at = match self.real.account.open().map(|account| &account.tokens) {
            Some(Reading::Known { taken_at, .. }) if *taken_at >= fresh_after => *taken_at,
            _ => return Some(End::Look(Need::Tokens(fresh_after))),
        };
        if since <= self.now {
            let until = later(taken_at, LIST_BELIEVED);
            if until <= self.now {
                return Some(End::Look(Need::Tokens(since)));
            }
            self.wakes.push(until);
        }
        list_is_read(&mut self.copy, since.max(self.clock));
        None
    }

    fn look_at_pods(&mut self) -> Option<End> {
        let seen = match &self.real.consumers {
            Reading::Known { value, taken_at } if later(*taken_at, PODS_BELIEVED) > self.now => {
                self.wakes.push(later(*taken_at, PODS_BELIEVED));
                value.clone()
            }
            _ => return Some(End::Look(Need::Consumers(self.now))),
        };
        let value = if self.has_seen_pods { Consumers::Seen(Vec::new()) } else { seen };
        self.has_seen_pods = true;
        self.copy.consumers = Reading::Known { value, taken_at: self.clock };
        None
    }

    /// Whether the published token is one that was only thought of: how that one is replaced is another story.
    fn is_over(&self) -> bool {
        self.copy.ledger.current.is_some_and(|current| !planned::is_known(self.real, current.token))
    }

    /// Carries an effect out in thought, and tells of it.
    fn assume(&mut self, effect: &Effect) -> Option<End> {
        match effect {
            Effect::WriteLedger { entry: LedgerEntry::Open, .. } if self.is_finishing || self.is_over() => {
                return Some(End::Settled);
            }
            Effect::WriteLedger { entry: LedgerEntry::Open, ledger } => {
                let waits = ledger.next.as_ref().is_some_and(|attempt| attempt.cause.waits_for_a_window());
                let windows = self.copy.desired.as_ref().map_or(&[][..], |desired| desired.rotation.windows.as_slice());
                self.wakes.extend(window::open_until(windows, self.clock).filter(|_| waits && self.not_before.is_none()));
            }
            Effect::ClaimAdoption { .. } => self.wakes.extend(self.real.look.as_ref().map(crate::adoption::Look::until)),
            Effect::Retire { token, serial, .. } => self.tell_waiting(*token, *serial, None),
            Effect::CondemnAdopted { token, serial, unless_held_in } => {
                self.tell_waiting(*token, *serial, unless_held_in.as_ref());
            }
            Effect::Project { .. } => {
                self.swap_not_before = self.not_before;
                // Who takes the Secret has to be looked at after a swap, whatever was seen before.
                self.copy.consumers = Reading::Unknown;
            }
            _ => {}
        }
        if let Some((action, message)) = planned::step(self.real, &self.copy, effect) {
            self.tell(effect, action, message);
        }
        if matches!(effect, Effect::Project { .. }) && !self.copy.ledger.retiring.is_empty() {
            self.tell_of_restarts();
        }
        if self.entries.len() >= MAXIMUM_ENTRIES {
            self.entries.truncate(MAXIMUM_ENTRIES);
            return Some(End::Long);
        }
        self.is_ahead = true;
        carry_out(&mut self.copy, effect, self.clock);
        None
    }

    fn tell(&mut self, effect: &Effect, action: &'static str, message: String) {
        // The end of a replaced token has a time of its own; what is held up by it comes no sooner.
        if let Effect::Retire { .. } = effect {
            self.entries.push(PlannedStep { action, at: self.ends_at, message });
            self.not_before = self.not_before.max(self.ends_at);
            return;
        }
        let message = match self.opening.take() {
            Some(opening) => format!("{opening}: {message}"),
            None => message,
        };
        self.entries.push(PlannedStep { action, at: self.not_before, message });
    }

    fn tell_of_restarts(&mut self) {
        let message = planned::restarts(&self.copy, &self.restarts);
        self.entries.extend(message.map(|message| PlannedStep { action: "Restart", at: self.not_before, message }));
    }

    fn tell_of(&mut self, wait: &Wait) {
        self.entries.push(PlannedStep { action: "Wait", at: None, message: planned::waiting(&self.copy, wait) });
    }

    /// Tells what a replaced token waits for before it may go.
    fn tell_waiting(&mut self, token: TokenId, serial: Serial, unless_held_in: Option<&Source>) {
        if self.told.replace(token) == Some(token) {
            return;
        }
        let old = Entry { serial, token };
        let times = Times { swap: self.swap_not_before, now: self.now };
        self.ends_at = None;
        let Some(waits) = foreseen::waits(self.real, &self.copy, old, unless_held_in, times) else { return };
        self.entries.extend(waits.message.map(|message| PlannedStep { action: "Wait", at: None, message }));
        self.ends_at = to_come(waits.earliest, self.now);
        self.wakes.extend(self.ends_at);
    }
}

#[cfg(test)]
mod tests;
