//! The scan for leaked tokens itself: it finds what is there, so that finding nothing means something.

use serde_json::json;

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::secrecy::Needles;

pub fn cases() -> Vec<Case> {
    cases!(Shared: a_leaked_token_is_found)
}

async fn a_leaked_token_is_found(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]))).await;
    let string = scene.published("ci").await;
    let mut needles = Needles::default();
    needles.add(&scene.dbt.issued_token_strings());
    assert!(needles.count() >= 4, "every string that dbt ever knew is searched for");
    let tail = &string[string.len() - 43..];
    for leak in [format!("token={string}"), format!("a line\nBearer {string}\n"), format!("xyz{tail}xyz"), format!("\"{tail}\"")]
    {
        assert_eq!(needles.find("here", &leak).len(), 1);
        assert!(!needles.find("here", &leak)[0].contains(tail), "the finding itself leaks nothing");
    }
    // The same through all that is searched: an event with the string in it.
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "leak", "namespace": scene.namespace},
        "eventTime": "2026-11-24T08:00:00.000000Z", "action": "Leak", "reason": "Leak", "type": "Normal", "note": string,
        "regarding": {"kind": "Namespace", "name": scene.namespace, "namespace": scene.namespace}, "reportingController": "it", "reportingInstance": "it",
    });
    let find = async || {
        let emitted = scene.emitted(std::slice::from_ref(&scene.namespace)).await;
        emitted.iter().flat_map(|(place, text)| needles.find(place, text)).collect::<Vec<_>>()
    };
    assert_eq!(find().await, Vec::<String>::new());
    scene.apply(&event).await;
    let found = find().await;
    assert!(found.len() == 1 && found[0].starts_with("the events of"), "{found:?}");
    scene.stage.kubectl(&["delete", "event", "leak", "-n", &scene.namespace]).expect("it is deleted");
    assert!(needles.find("here", &format!("token {} of {}", scene.id_of(&string), &string[..12])).is_empty());
}
