//! Everything outside the operator, and its time: what happens is put into one queue and done in its order. The queue is
//! what decides between things that happen in one moment, so that a run depends on nothing but its seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{Answer, Change, Operation, Store, Watches};
use crate::coverage::Coverage;
use crate::dbt::Dbt;
use crate::dice::Dice;
use crate::fault::Storm;
use crate::history::History;
use crate::judge::Judge;
use crate::replica::Replica;
use crate::script::Script;

/// 2026-11-24T08:00:00Z.
const START: i64 = 1_795_507_200;

/// Something that happens.
pub type Deed = Box<dyn FnOnce(&mut State) + Send>;

/// When: milliseconds, then what decides between things of one moment.
type Moment = (u64, u64, u64);

/// The world of one run. Cheap to clone; clones are one world.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

/// What is in the world.
pub struct State {
    me: WorldReference,
    started: Instant,
    queue: BTreeMap<Moment, Deed>,
    deeds: u64,
    /// Calls that have not arrived yet.
    pub under_way: usize,
    /// The objects of the cluster.
    pub store: Store,
    /// Who watches them.
    pub watches: Watches,
    /// The account in dbt.
    pub dbt: Dbt,
    /// What goes wrong.
    pub storm: Storm,
    /// The processes of the operator.
    pub replicas: Vec<Replica>,
    /// What people and other programs do.
    pub script: Script,
    /// What is promised, and what came of it.
    pub judge: Judge,
    /// Which faults struck where.
    pub coverage: Coverage,
    /// What happened, for people.
    pub history: History,
    /// All chance.
    pub dice: Dice,
    /// Version up to which changes of objects were handed on.
    shown: u64,
}

/// A world that may be gone.
#[derive(Clone)]
struct WorldReference {
    state: Weak<Mutex<State>>,
    wake: Arc<Notify>,
}

impl World {
    /// A world in which nothing has happened yet. Needs a runtime whose clock is paused.
    pub fn new(dice: Dice, storm: Storm, script: Script, history: History) -> Self {
        let wake = Arc::new(Notify::new());
        let state = Arc::new_cyclic(|state| {
            let me = WorldReference { state: state.clone(), wake: wake.clone() };
            Mutex::new(State {
                me,
                started: Instant::now(),
                queue: BTreeMap::new(),
                deeds: 0,
                under_way: 0,
                store: Store::default(),
                watches: Watches::default(),
                dbt: Dbt::default(),
                storm,
                replicas: Vec::new(),
                script,
                judge: Judge::default(),
                coverage: Coverage::default(),
                history,
                dice,
                shown: 0,
            })
        });
        Self { state, wake }
    }

    /// The state; nobody may wait while holding it.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something from outside the queue.
    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.wake.notify_one();
        result
    }

    /// Lets things happen until a condition holds, which is looked at after each moment, or the limit is over; whether it
    /// came to hold.
    pub async fn run_until(&self, limit: u64, mut holds: impl FnMut(&mut State) -> bool) -> bool {
        loop {
            let next = {
                let mut state = self.lock();
                state.do_what_is_due();
                let now = state.now();
                state.history.note_logs(now);
                if holds(&mut state) {
                    return true;
                }
                if now >= limit || state.judge.is_broken() {
                    return false;
                }
                let next = state.queue.first_key_value().map_or(limit, |(moment, _)| moment.0.min(limit));
                state.started + Duration::from_millis(next)
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }
}

impl State {
    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time of day.
    pub fn time(&self) -> Timestamp {
        start() + self.started.elapsed()
    }

    /// This world.
    pub fn world(&self) -> World {
        let state = self.me.state.upgrade().expect("who asks holds the world");
        World { state, wake: self.me.wake.clone() }
    }

    /// Puts something into the queue.
    pub fn after(&mut self, milliseconds: u64, turn: u64, deed: impl FnOnce(&mut Self) + Send + 'static) {
        self.deeds += 1;
        let moment = (self.now() + milliseconds.max(1), turn, self.deeds);
        self.queue.insert(moment, Box::new(deed));
    }

    /// Puts the arrival of a call into the queue. Nothing is at rest while one is on its way.
    pub fn after_travel(&mut self, milliseconds: u64, turn: u64, deed: impl FnOnce(&mut Self) + Send + 'static) {
        self.under_way += 1;
        self.after(milliseconds, turn, |state| {
            state.under_way -= 1;
            deed(state);
        });
    }

    fn do_what_is_due(&mut self) {
        let now = self.now();
        while self.queue.first_key_value().is_some_and(|(moment, _)| moment.0 <= now) {
            let Some((_, deed)) = self.queue.pop_first() else { return };
            deed(self);
        }
    }

    /// Does what a request wants in the cluster, and shows everybody what changed.
    pub fn in_cluster(&mut self, operation: &Operation) -> Answer {
        let now = self.time();
        let answer = self.store.handle(operation, now);
        self.show_changes();
        answer
    }

    fn show_changes(&mut self) {
        let changes: Vec<Change> = self.store.since(self.shown).unwrap_or_default().to_vec();
        self.shown = self.store.version();
        for change in changes {
            Watches::hand_on(self, &change);
            self.history.note_change(self.now(), &change);
            Judge::look_at_change(self, &change);
        }
    }
}

/// When every run begins.
pub fn start() -> Timestamp {
    Timestamp::from_second(START).expect("a time within bounds")
}
