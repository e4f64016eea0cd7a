//! Makes a plan that breaks a promise smaller, as long as it breaks the same one.

use std::time::{Duration, Instant};

use crate::judge::Promise;
use crate::plan::Plan;
use crate::run::run;

/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The smallest plan that was found to break the promise that this one breaks.
pub fn smallest(plan: &Plan, promise: Promise) -> Plan {
    let started = Instant::now();
    let mut smallest = plan.clone();
    loop {
        let in_time = |_: &Plan| started.elapsed() < PATIENCE;
        let mut candidates = smallest.smaller().into_iter().take_while(in_time);
        match candidates.find(|candidate| breaks(candidate, promise)) {
            Some(found) => smallest = found,
            None => return smallest,
        }
    }
}

fn breaks(plan: &Plan, promise: Promise) -> bool {
    run(plan, false).violation.is_some_and(|found| found.promise == promise)
}
