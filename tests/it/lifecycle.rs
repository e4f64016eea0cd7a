//! The main job: a token is created, proved and published; edited, it is replaced; deleted, it is revoked.

use serde_json::json;

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;

pub fn cases() -> Vec<Case> {
    cases!(Shared: a_declared_token_is_created_proved_and_published, a_deleted_object_takes_its_token_and_secret_with_it)
}

async fn a_declared_token_is_created_proved_and_published(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]))).await;
    let string = scene.published("ci").await;
    let id = scene.id_of(&string);
    assert_eq!(scene.live(), [id]);
    let status = scene.status("ci").await;
    assert_eq!(status.token.and_then(|token| token.id), Some(id));
    scene.expect("ci", "TokenUsable", "True", "VerificationPassed").await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    scene.expect_account("Ready", "True", "Connected").await;
}

async fn a_deleted_object_takes_its_token_and_secret_with_it(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]))).await;
    scene.published("ci").await;
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    assert!(scene.data("ci-dbt").await.is_none(), "the Secret is gone");
}
