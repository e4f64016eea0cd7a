//! A process of the operator: started, killed in the middle of something, stopped and continued. It runs the shipped code
//! from the point on where the real process has found its cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use dbt_token_operator::clock::Clock;
use dbt_token_operator::controller::{self, Leadership, Ports, Settings};
use dbt_token_operator::health::Health;
use dbt_token_operator::metrics::Metrics;
use dbt_token_planner::identity::Installation;
use kube::Client;
use tokio::task::JoinHandle;

use crate::cluster::ClusterService;
use crate::dbt::SimulatedConnector;
use crate::world::State;

/// The operator's own namespace.
pub const NAMESPACE: &str = "dbt-token-operator";

/// Which installation it is.
pub const INSTALLATION: &str = "ours";

/// How many objects a process works on at once.
const CONCURRENCY: u16 = 16;

/// One place in which a process runs, is killed, and is started again.
#[derive(Debug, Default)]
pub struct Replica {
    /// Which of its processes this is.
    pub incarnation: u32,
    process: Option<JoinHandle<()>>,
    /// Until when it is stopped, in milliseconds.
    frozen_until: u64,
    /// Moments in which something arrives already.
    taken: BTreeSet<u64>,
}

impl Replica {
    /// When something arrives that is sent to the process and would be there at this time: after it goes on, if it is stopped,
    /// and in a moment of its own, so that nothing rests on the order in which libraries poll what is woken together.
    pub fn arrival(&mut self, now: u64, wanted: u64) -> u64 {
        self.taken = self.taken.split_off(&now);
        let mut moment = wanted.max(self.frozen_until);
        while !self.taken.insert(moment) {
            moment += 1;
        }
        moment
    }

    /// Stops a process for a while; what is under way to it waits, and what it sent goes on.
    pub fn freeze(state: &mut State, place: usize, milliseconds: u64) {
        state.history.note(state.now(), || format!("replica {place} is stopped for {milliseconds} ms"));
        state.coverage.note_beside("process stopped");
        state.replicas[place].frozen_until = state.now() + milliseconds;
    }

    /// Starts a process. Each believes that it leads.
    pub fn start(state: &mut State, place: usize) {
        let world = state.world();
        let clock = Clock::of_the_runtime(state.time());
        let ports = Ports {
            client: Client::new(ClusterService { world: world.clone(), replica: place }, NAMESPACE),
            connector: Arc::new(SimulatedConnector { world, replica: place }),
            clock,
            leadership: Leadership::alone(),
        };
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            installation: Installation::new(INSTALLATION),
            identity: format!("replica-{place}"),
            concurrency: CONCURRENCY,
            allow_insecure_endpoints: false,
        };
        let run = controller::run(ports, settings, Metrics::default(), Health::default(), std::future::pending());
        let replica = &mut state.replicas[place];
        replica.incarnation += 1;
        replica.frozen_until = 0;
        replica.process = Some(tokio::spawn(run));
        state.history.note(state.now(), || format!("replica {place} starts"));
    }

    /// Ends a process without warning, if it is still the same, and starts another one after a while.
    pub fn crash(state: &mut State, place: usize, incarnation: u32) {
        let now = state.now();
        let replica = &mut state.replicas[place];
        if replica.incarnation != incarnation {
            return;
        }
        let Some(process) = replica.process.take() else { return };
        process.abort();
        state.watches.close_all_of(place);
        state.history.note(now, || format!("replica {place} dies"));
        state.coverage.note_beside("process killed");
        let mut dice = state.dice.about(("restart", place, incarnation));
        let wait = dice.u64(200..20_000);
        state.after(wait, dice.u64(..), move |state| Self::start(state, place));
    }
}

impl Replica {
    /// Ends a process for good: it has come to know that another one leads.
    pub fn depose(state: &mut State, place: usize) {
        let Some(process) = state.replicas[place].process.take() else {
            // It is about to be started again.
            let again = state.dice.about(("depose", place)).u64(20_000..30_000);
            return state.after(again, 0, move |state| Self::depose(state, place));
        };
        process.abort();
        state.watches.close_all_of(place);
        state.history.note(state.now(), || format!("replica {place} no longer leads"));
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.abort();
        }
    }
}
