//! Makes a plan that breaks a promise smaller, as long as it breaks the same one.
//!
//! A plan is tried more than once. The queue of kube's runtime polls what is woken in one moment in the order of a hash map
//! with keys of its own in each process, so that two runs of one seed may differ where two objects act in one moment.

use std::time::{Duration, Instant};

use crate::judge::Promise;
use crate::plan::Plan;
use crate::run::{Outcome, run};

/// How often a plan is run before it counts as one that breaks nothing.
const TRIES: usize = 4;

/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest plan that was found to break the promise that this one breaks.
pub fn smallest(plan: &Plan, promise: Promise) -> Plan {
    let started = Instant::now();
    let mut smallest = plan.clone();
    loop {
        let in_time = |_: &Plan| started.elapsed() < PATIENCE;
        let mut candidates = smallest.smaller().into_iter().take_while(in_time);
        match candidates.find(|candidate| broken(candidate, promise, false).is_some()) {
            Some(found) => smallest = found,
            None => return smallest,
        }
    }
}

/// A run of the plan in which it breaks the promise.
pub fn broken(plan: &Plan, promise: Promise, told: bool) -> Option<Outcome> {
    let mut runs = (0..TRIES).map(|_| run(plan, told));
    runs.find(|outcome| outcome.violation.as_ref().is_some_and(|found| found.promise == promise))
}
