//! Sends events beside the work. A slow API server holds up no object because of them; what is too much is dropped and
//! counted, since an event is worth less than the memory of a process that cannot get rid of thousands.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbt_token_planner::report::Event;
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cluster::events::Events;
use crate::metrics::Metrics;

/// How many objects may wait to be told of. A thousand objects that change in one moment lose none.
const LONGEST_QUEUE: usize = 4096;

/// How many are told of at once.
const AT_ONCE: usize = 4;

/// How long a process that ends goes on telling.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is told beside the work.
pub struct Outbox {
    events: Events,
    metrics: Metrics,
    turns: Arc<Semaphore>,
    sending: Mutex<JoinSet<()>>,
}

impl Outbox {
    /// An empty one.
    pub fn new(events: Events, metrics: Metrics) -> Self {
        Self { events, metrics, turns: Arc::new(Semaphore::new(AT_ONCE)), sending: Mutex::default() }
    }

    /// Sends the events of one object, in their order, as soon as there is a turn.
    pub fn send(&self, object: ObjectReference, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut sending = self.sending.lock().expect("no holder of the lock panics");
        while sending.try_join_next().is_some() {}
        if sending.len() >= LONGEST_QUEUE {
            self.metrics.event_lost(events.len() as u64);
            return;
        }
        let (emitter, metrics, turns) = (self.events.clone(), self.metrics.clone(), self.turns.clone());
        sending.spawn(async move {
            let _turn = turns.acquire().await;
            metrics.event_lost(emitter.emit(&object, &events).await);
        });
    }

    /// Sends the events of one object now.
    pub async fn send_and_wait(&self, object: &ObjectReference, events: &[Event]) {
        self.metrics.event_lost(self.events.emit(object, events).await);
    }

    /// Ends when everything is sent, or after a while.
    pub async fn finish(&self) {
        let mut sending = std::mem::take(&mut *self.sending.lock().expect("no holder of the lock panics"));
        let all = async { while sending.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            self.metrics.event_lost(sending.len() as u64);
            tracing::warn!(lost = sending.len(), "events are lost at the end of the process");
        }
    }
}
