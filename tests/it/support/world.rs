//! Everything that outlives a single test: the control planes, and every token string that must be found nowhere.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use xtask::control_plane::Pods;
use xtask::leaks::Needles;

use super::operator::{Operator, OperatorOptions};
use super::stage::{Ground, Stage};

/// How many planes there are beside the shared one, for tests that need one to themselves: each takes 430 MB and, at rest,
/// a tenth of a core.
const PLANES: usize = 4;

/// How many tests play on the shared plane at once: they wait most of the time, so that there are many more than cores.
const BESIDE_OTHERS: usize = 14;

/// The world of one run.
pub struct World {
    shared: OnceCell<(Arc<Stage>, Operator)>,
    idle: Mutex<Vec<Ground>>,
    turns: Arc<Semaphore>,
    beside_others: Semaphore,
    numbers: AtomicU32,
    needles: Mutex<Needles>,
    leaks: Mutex<Vec<String>>,
}

impl World {
    pub fn new() -> Self {
        Self {
            shared: OnceCell::new(),
            idle: Mutex::default(),
            turns: Arc::new(Semaphore::new(PLANES)),
            beside_others: Semaphore::new(BESIDE_OTHERS),
            numbers: AtomicU32::new(1),
            needles: Mutex::default(),
            leaks: Mutex::default(),
        }
    }

    /// A number that no other test has.
    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A turn on the shared plane, which ends when this is dropped.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.beside_others.acquire().await.expect("the semaphore is never closed")
    }

    /// The plane and the operator of ordinary tests, started with the first of them.
    pub async fn shared(&self) -> Arc<Stage> {
        let start = || async {
            let stage = Arc::new(Stage::new(Ground::start(Pods::Accepted).await, self.number()).await);
            let operator = stage.start_operator(&OperatorOptions { leader_election: true, ..OperatorOptions::default() }).await;
            (stage, operator)
        };
        Arc::clone(&self.shared.get_or_init(start).await.0)
    }

    /// A plane for one test alone, without an operator.
    pub async fn own(&self) -> Arc<Stage> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let idle = self.idle.lock().expect("no holder panics").pop();
        let ground = match idle {
            Some(ground) => ground,
            None => Ground::start(Pods::Accepted).await,
        };
        Arc::new(Stage::new(ground, self.number()).await.with_turn(turn))
    }

    /// The same, with a node on which pods run.
    pub async fn rolling(&self) -> Arc<Stage> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let ground = Ground::start(Pods::Run).await;
        Arc::new(Stage::new(ground, self.number()).await.with_turn(turn))
    }

    /// Ends a plane that no other test takes over.
    pub async fn end_plane(&self, stage: &Stage) {
        self.scan(stage).await;
        stage.end();
    }

    /// Takes a plane back for the next test.
    pub async fn give_back(&self, stage: Arc<Stage>) {
        stage.clean().await;
        self.scan(&stage).await;
        if let Some(stage) = Arc::into_inner(stage) {
            let (ground, turn) = stage.into_ground();
            self.idle.lock().expect("no holder panics").push(ground);
            drop(turn);
        }
    }

    /// Notes strings that must never be found anywhere.
    pub fn note_strings(&self, strings: &[String]) {
        self.needles.lock().expect("no holder panics").add(strings);
    }

    /// Searches a text for every string noted so far, and keeps what is found for the end of the run.
    pub fn search(&self, place: &str, text: &str) {
        let found = self.needles.lock().expect("no holder panics").find(place, text);
        self.leaks.lock().expect("no holder panics").extend(found);
    }

    /// Searches the logs of a stage: those of its operators, and what the API server wrote.
    async fn scan(&self, stage: &Stage) {
        for (place, text) in stage.emitted().await {
            self.search(&place, &text);
        }
    }

    /// Ends everything; the leaks that were found, if any.
    pub async fn end(&self) -> Result<(), String> {
        if let Some((stage, operator)) = self.shared.get() {
            self.search("the metrics of the shared operator", &operator.metrics().await);
            operator.stop();
            self.scan(stage).await;
            stage.end();
        }
        self.idle.lock().expect("no holder panics").clear();
        let leaks = self.leaks.lock().expect("no holder panics");
        if leaks.is_empty() { Ok(()) } else { Err(leaks.join("\n")) }
    }
}
