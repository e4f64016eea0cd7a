//! The effect that touches other people's workloads.

use dbt_token_planner::effect::{Effect, Outcome};
use dbt_token_planner::identity::Serial;
use dbt_token_planner::observation::{WorkloadReference, Workloads};
use dbt_token_planner::report;
use jiff::Timestamp;

use super::{Done, Executor};
use crate::cluster::failure::{Class, Failure as ClusterFailure};
use crate::cluster::workloads;
use crate::controller::failure;
use crate::controller::retry::Failure;

impl Executor<'_> {
    /// Tries each of them, so that one which is refused does not keep the others from the new token. The last look says
    /// nothing any more afterwards, whatever came of it.
    pub(super) async fn restart(&self, serial: Serial, at: Timestamp, workloads: &[WorkloadReference]) -> Result<Done, Failure> {
        let owner = &self.seen.observation.owner;
        self.context.memories.note_workloads(&owner.uid, None);
        let mut restarted = Vec::new();
        let mut failed: Option<(&WorkloadReference, ClusterFailure)> = None;
        for workload in workloads {
            match self.context.restarts.restart(&owner.namespace, workload, at).await {
                Ok(()) => restarted.push(workload.clone()),
                Err(failure) if weight(&failure) >= failed.as_ref().map_or(0, |(_, worst)| weight(worst)) => {
                    failed = Some((workload, failure));
                }
                Err(_) => {}
            }
        }
        let Some((workload, failure)) = failed else { return Ok(Done::new(Outcome::Done, None)) };
        if !restarted.is_empty() {
            let done = Effect::RestartWorkloads { serial, at, workloads: restarted };
            self.context.tell(&self.seen.token, report::event(&self.seen.observation, &done).into_iter().collect());
        }
        if let Class::Refused { .. } = failure.class {
            let (kind, namespace) = (workload.kind, &owner.namespace);
            let why = workloads::unreadable(kind, namespace, &failure);
            let seen = (Workloads::Unreadable { kind, why }, self.context.clock.now());
            self.context.memories.note_workloads(&owner.uid, Some(seen));
            return Ok(Done::new(Outcome::Conflict, None));
        }
        Err(failure::cluster(&failure, failure.class.clone()))
    }
}

/// What a person must mend counts before what is tried again by itself, and that before what only has to be looked at again.
fn weight(failure: &ClusterFailure) -> u8 {
    match failure.class {
        Class::Conflict => 0,
        Class::Unavailable => 1,
        Class::Refused { .. } => 2,
    }
}
