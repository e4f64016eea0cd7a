//! Events: what happened, told once, beside the object. A failed event is logged and counted, and never holds up or fails
//! a reconcile.

use std::time::Duration;

use dbt_token_planner::report::Event;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{self, EventType, Recorder, Reporter};

use super::failure::Failure;
use super::names;
use super::text::cut_to_bytes;

/// What the API server takes as a note.
const LONGEST_NOTE_BYTES: usize = 1024;

/// An event is worth no longer wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Emits events of this process.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    /// Emits as this instance: the name of the pod.
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self { client, reporter: Reporter { controller: names::OPERATOR.to_owned(), instance } }
    }

    /// Emits events about an object (its `object_ref`), and returns how many of them were lost.
    pub async fn emit(&self, object: &ObjectReference, events: &[Event]) -> u64 {
        let mut lost = 0;
        for event in events {
            // A recorder counts further events of the same reason without writing their note, so that the second token
            // in six minutes would be told of with the id of the first; a new recorder has nothing to count on.
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            let problem = match tokio::time::timeout(PATIENCE, recorder.publish(&note(event), object)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => Failure::from(error).detail,
                Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
            };
            lost += 1;
            tracing::warn!(
                resource.namespace = object.namespace,
                resource.name = object.name,
                reason = event.reason,
                "event lost: {problem}"
            );
        }
        lost
    }
}

fn note(event: &Event) -> events::Event {
    events::Event {
        type_: if event.warning { EventType::Warning } else { EventType::Normal },
        reason: event.reason.clone(),
        note: Some(cut_to_bytes(&event.message, LONGEST_NOTE_BYTES)),
        // The API server wants a word here, and nothing shows it.
        action: event.reason.clone(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_in_the_planners_words() {
        for (warning, expected) in [(true, EventType::Warning), (false, EventType::Normal)] {
            let event = Event { warning, reason: "Published".to_owned(), message: "é".repeat(900) };
            let note = note(&event);
            assert_eq!((note.type_, note.reason.as_str(), note.action.as_str()), (expected, "Published", "Published"));
            let text = note.note.expect("a note");
            assert!(text.len() <= LONGEST_NOTE_BYTES && text.ends_with("é..."), "{text}");
        }
    }
}
