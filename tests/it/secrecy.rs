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
    assert!(needles.find("here", &format!("token {} of {}", scene.id_of(&string), &string[..12])).is_empty());
}
