//! Makes a plan that breaks a promise smaller, as long as it breaks the same one.

use crate::plan::Plan;
use crate::run::run;

/// How many runs a search may take.
const MOST_RUNS: usize = 300;

/// The smallest plan that was found to break the promise that this one breaks; none if it breaks none.
pub fn smallest(plan: &Plan) -> Option<Plan> {
    let promise = run(plan, false).violation?.promise;
    let breaks = |plan: &Plan| run(plan, false).violation.is_some_and(|found| found.promise == promise);
    let mut smallest = plan.clone();
    let mut left = MOST_RUNS;
    loop {
        let mut candidates = smallest.smaller().into_iter().take(left);
        let tried = std::cell::Cell::new(0);
        let found = candidates.find(|candidate| {
            tried.set(tried.get() + 1);
            breaks(candidate)
        });
        left -= tried.get();
        match found {
            Some(found) if left > 0 => smallest = found,
            _ => return Some(smallest),
        }
    }
}
