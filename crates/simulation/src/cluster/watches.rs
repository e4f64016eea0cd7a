//! Watches: who is told of which changes, and what goes wrong on the way. Events of one watch keep their order, come late,
//! come twice, or are lost together with their connection.

use std::sync::Arc;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::operation::Operation;
use super::service::USUAL_LENGTH;
use super::store::{Answer, Change, Shown};
use crate::world::State;

/// All that are open.
#[derive(Debug, Default)]
pub struct Watches {
    open: Vec<Watch>,
    opened: u64,
}

#[derive(Debug)]
struct Watch {
    id: u64,
    replica: usize,
    operation: Operation,
    sender: UnboundedSender<Bytes>,
    /// When the last event arrives: none overtakes it.
    last: u64,
    /// How many were sent.
    count: u64,
}

impl Watches {
    /// Opens a watch; what happened since its version comes first. If that is forgotten, the first event says so and is the
    /// last one: the API server answers 200 all the same, so that cached and uncached watches are alike.
    pub fn open(state: &mut State, replica: usize, operation: &Operation) -> UnboundedReceiver<Bytes> {
        let (sender, receiver) = unbounded();
        let concerns = |change: &&Change| change.key.kind == operation.key.kind;
        let missed = state.store.since(operation.from).map(|missed| missed.iter().filter(concerns).cloned().collect::<Vec<_>>());
        let Some(missed) = missed else {
            state.coverage.note_beside("watch expired");
            let expired = Answer::refusal(410, "Expired", "too old resource version");
            // The receiver is here.
            let _held = sender.unbounded_send(event("ERROR", |line| expired.write(line)));
            return receiver;
        };
        let watches = &mut state.watches;
        watches.opened += 1;
        let id = watches.opened;
        watches.open.push(Watch { id, replica, operation: operation.clone(), sender, last: 0, count: 0 });
        let kind = operation.key.kind;
        state
            .history
            .note(state.now(), || format!("    replica {replica} watches {kind:?} from version {}: watch {id}", operation.from));
        for change in &missed {
            Self::tell(state, id, change);
        }
        state.after(operation.seconds * 1000, id, move |state| Self::end(state, id));
        receiver
    }

    /// The time of a watch is over. A bookmark says up to where it has told everything.
    fn end(state: &mut State, id: u64) {
        let version = state.store.version();
        let Some(place) = state.watches.open.iter().position(|watch| watch.id == id) else { return };
        let watch = state.watches.open.remove(place);
        // What is due in this very moment may come after the end, and then never.
        let has_told_everything = watch.last < state.now();
        if has_told_everything {
            let (api, kind) = watch.operation.key.kind.names();
            let object =
                json!({"apiVersion": api, "kind": kind, "metadata": {"resourceVersion": version.to_string()}}).to_string();
            // Whoever watched may be gone.
            let _gone = watch.sender.unbounded_send(event("BOOKMARK", |line| line.extend_from_slice(object.as_bytes())));
        }
    }

    /// Hands a change on to everybody who watches.
    pub fn hand_on(state: &mut State, change: &Change) {
        let concerned = state.watches.open.iter().filter(|watch| watch.operation.key.kind == change.key.kind);
        let ids: Vec<u64> = concerned.map(|watch| watch.id).collect();
        for id in ids {
            Self::tell(state, id, change);
        }
    }

    /// Closes every watch of a process; what is under way to it is lost.
    pub fn close_all_of(&mut self, replica: usize) {
        self.open.retain(|watch| watch.replica != replica);
    }

    fn tell(state: &mut State, id: u64, change: &Change) {
        let now = state.now();
        let is_stormy = state.storm.is_raging(now);
        let Some(watch) = state.watches.open.iter_mut().find(|watch| watch.id == id) else { return };
        let Some(line) = line(&watch.operation, change) else { return };
        watch.count += 1;
        let (replica, turn) = (watch.replica, id);
        let mut dice = state.dice.about(("watch", id, &change.key, watch.count));
        let lot = if is_stormy { dice.u32(..1000) } else { 1000 };
        let delay = match lot {
            0..20 => dice.u64(2_000..40_000),
            20..120 => dice.u64(50..2_000),
            _ => dice.u64(1..6),
        };
        let due = (now + delay).max(state.script.delayed_until(replica, change.key.kind));
        watch.last = state.replicas[replica].arrival(now, watch.last.max(due));
        let wait = watch.last - now;
        if (120..125).contains(&lot) {
            state.coverage.note_beside("watch cut");
            state.after(wait, turn, move |state| state.watches.open.retain(|watch| watch.id != id));
            return;
        }
        let copies = if (125..140).contains(&lot) { 2 } else { 1 };
        if lot < 20 {
            state.coverage.note_beside("watch event late");
        }
        if copies == 2 {
            state.coverage.note_beside("watch event twice");
        }
        state.after(wait, turn, move |state| {
            let Some(watch) = state.watches.open.iter().find(|watch| watch.id == id) else { return };
            for _ in 0..copies {
                // Whoever watched may be gone.
                let _gone = watch.sender.unbounded_send(line.clone());
            }
        });
    }
}

/// What a watch is told of a change, if it concerns it.
fn line(operation: &Operation, change: &Change) -> Option<Bytes> {
    let wanted = &operation.key;
    let is_there = change.key.kind == wanted.kind && (wanted.namespace.is_empty() || change.key.namespace == wanted.namespace);
    if !is_there {
        return None;
    }
    let fits = |object: &Option<Arc<Value>>| object.clone().filter(|object| operation.selector.fits(object));
    let (kind, object) = match (fits(&change.before), fits(&change.after)) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => {
            let mut object = (**change.after.as_ref().unwrap_or(&before)).clone();
            object["metadata"]["resourceVersion"] = json!(change.version.to_string());
            ("DELETED", Arc::new(object))
        }
    };
    let shown = Shown { object, metadata_only: operation.metadata_only };
    Some(event(kind, |line| shown.write(line)))
}

/// The type comes first, as the API server writes it.
fn event(kind: &str, object: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut line = Vec::with_capacity(USUAL_LENGTH);
    line.extend_from_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    object(&mut line);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}
