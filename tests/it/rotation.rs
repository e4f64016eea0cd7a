//! Replacement: the old token dies only after the new one is published and proved, whatever the reason of the rotation.

use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_name_that_moves_to_another_project_makes_a_new_token,
        a_token_deleted_in_dbt_is_replaced_within_an_interval,
        an_edit_of_permissions_replaces_the_token_without_a_gap,
        edits_in_a_row_go_ahead_until_three_tokens_retire,
        a_compromised_token_is_revoked_as_soon_as_its_successor_is_published,
        a_legacy_token_is_reported_or_replaced,
        a_new_value_of_rotate_at_rotates_once,
        a_token_that_reaches_its_age_is_replaced,
        a_suspended_object_keeps_its_token_and_mints_nothing,
    )
}

fn set(name: &str) -> Value {
    json!([{"permissionSet": name, "projects": [{"id": 700}]}])
}

async fn an_edit_of_permissions_replaces_the_token_without_a_gap(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", set("job_runner"));
    token["spec"]["rotation"]["retire"]["after"] = json!("3s");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    let old = scene.id_of(&first);
    scene.permit("ci", set("job_admin")).await;
    let second = scene.replaced("ci", &first).await;
    let new = scene.id_of(&second);
    assert_ne!(new, old);
    let status = scene.status("ci").await;
    let told = status.retiring_tokens.iter().find(|token| token.id == old);
    if let Some(retiring) = told {
        assert!(retiring.replacement_time.is_some() || !retiring.waiting_for.is_empty());
    }
    scene.only_live(&[new]).await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    let log = scene.dbt.log();
    let revoked = log.iter().find(|entry| entry.method == "DELETE" && entry.path.ends_with(&format!("/{old}/")));
    let revoked = revoked.expect("the old token was revoked by a call");
    let proofs = log.iter().filter(|entry| entry.token_id.is_some_and(|by| by.0 == new) && entry.sequence < revoked.sequence);
    assert_eq!(proofs.count(), 2, "the new token proved itself before it was published and again before the old one went");
    let history = scene.status("ci").await.history;
    assert_eq!(history[0].cause.as_deref(), Some("PermissionsChanged"));
    assert_eq!((history[0].token_id, history[0].previous_token_id), (Some(new), Some(old)));
    let published = history[0].publication_time.as_ref().expect("published").0;
    assert!(
        revoked.time.duration_since(published).as_secs() >= 2,
        "the overlap of 3 s was kept (times in a status have no fraction)"
    );
    assert!(scene.event("ci", "TokenRetired").await.contains(&old.to_string()));
}

/// Edits three times in a row under an overlap of an hour: the strings of one published and three retiring tokens, the
/// published one last.
async fn edited_three_times(scene: &Scene) -> Vec<String> {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", set("job_runner"));
    token["spec"]["rotation"]["retire"]["after"] = json!("1h");
    scene.apply(&token).await;
    let mut strings = vec![scene.published("ci").await];
    for permissions in ["job_admin", "job_viewer", "job_runner"] {
        scene.permit("ci", set(permissions)).await;
        let before = strings.last().expect("there is one").clone();
        strings.push(scene.replaced("ci", &before).await);
    }
    strings
}

async fn edits_in_a_row_go_ahead_until_three_tokens_retire(scene: &Scene) {
    let strings = edited_three_times(scene).await;
    let ids: Vec<i64> = strings.iter().map(|string| scene.id_of(string)).collect();
    assert_eq!(scene.live(), ids, "one is published, three retire");
    until(LIMIT, "three tokens are told to retire", async || {
        let told: Vec<i64> = scene.status("ci").await.retiring_tokens.iter().map(|token| token.id).collect();
        if told == ids[..3] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    scene.permit("ci", set("job_admin")).await;
    until(LIMIT, "the fourth edit waits", async || {
        let token = scene.tokens().get("ci").await.map_err(|error| error.to_string())?;
        let status = token.status.unwrap_or_default();
        if status.observed_generation == token.metadata.generation { Ok(()) } else { Err("not observed".to_owned()) }
    })
    .await;
    scene.check().await;
    assert_eq!(scene.created(), 4);
    scene.patch_token("ci", json!({"spec": {"rotation": {"retire": {"after": "0s"}}}})).await;
    let last = scene.replaced("ci", &strings[3]).await;
    scene.only_live(&[scene.id_of(&last)]).await;
    assert_eq!(scene.created(), 5);
}

async fn a_name_that_moves_to_another_project_makes_a_new_token(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    scene.apply(&scene.token("ci", json!([{"permissionSet": "job_runner", "projects": [{"name": "Finance"}]}]))).await;
    let first = scene.published("ci").await;
    assert!(scene.dbt.rename_project(700, "Finance until 2026") && scene.dbt.rename_project(812, "Finance"));
    scene.redeclare("ci").await;
    let second = scene.replaced("ci", &first).await;
    let new = scene.id_of(&second);
    scene.only_live(&[new]).await;
    let granted = scene.dbt.tokens().into_iter().find(|token| token.id.0 == new).expect("it is there").grants;
    assert_eq!(granted[0].project_id, Some(812));
    assert_eq!(scene.status("ci").await.history[0].cause.as_deref(), Some("ProjectMoved"));
}

async fn a_token_deleted_in_dbt_is_replaced_within_an_interval(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    scene.apply(&scene.token("ci", set("job_runner"))).await;
    let first = scene.published("ci").await;
    scene.disturb();
    let lost = scene.id_of(&first);
    assert!(scene.dbt.delete_token(dbt_cloud_emulator::TokenId(lost)));
    let second = scene.replaced("ci", &first).await;
    scene.mended();
    scene.only_live(&[scene.id_of(&second)]).await;
    assert!(scene.event("ci", "TokenLost").await.contains(&lost.to_string()));
    assert_eq!(scene.status("ci").await.history[0].cause.as_deref(), Some("TokenLost"));
}

async fn a_new_value_of_rotate_at_rotates_once(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", set("job_runner"));
    token["metadata"]["annotations"] = json!({"tokens.dbt-operator.dev/rotate-at": "at-first"});
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    assert_eq!(
        scene.status("ci").await.last_handled_rotate_at.as_deref(),
        Some("at-first"),
        "what is found at first counts as handled"
    );
    scene.annotate_token("ci", "rotate-at", "2026-11-24T08:00:00Z").await;
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    let status = scene.status("ci").await;
    assert_eq!(status.last_handled_rotate_at.as_deref(), Some("2026-11-24T08:00:00Z"));
    assert_eq!(status.history[0].cause.as_deref(), Some("Requested"));
    assert!(status.last_rotation_time.is_some());
    scene.annotate_token("ci", "unrelated", "x").await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    assert_eq!(scene.created(), 2);
}

/// The overlap is an hour, so that whatever goes within this test goes without it.
async fn a_compromised_token_is_revoked_as_soon_as_its_successor_is_published(scene: &Scene) {
    let strings = edited_three_times(scene).await;
    assert_eq!(scene.live().len(), 4, "one is published, three retire");
    let asked = "2026-11-24T08:00:00Z";
    // Alone it counts for nothing.
    scene.annotate_token("ci", "compromised", asked).await;
    scene.expect("ci", "Ready", "True", "Published").await;
    assert_eq!(scene.created(), 4);
    let old = scene.id_of(&strings[3]);
    scene.annotate_token("ci", "rotate-at", asked).await;
    let last = scene.replaced("ci", &strings[3]).await;
    let new = scene.id_of(&last);
    scene.only_live(&[new]).await;
    let history = until(LIMIT, "the history tells of the end of the old token", async || {
        let history = scene.status("ci").await.history;
        if history[0].retirement_time.is_some() { Ok(history) } else { Err(format!("{:?}", history[0])) }
    });
    let history = history.await;
    assert_eq!(history[0].cause.as_deref(), Some("Compromised"));
    assert_eq!((history[0].token_id, history[0].previous_token_id), (Some(new), Some(old)));
    let published = history[0].publication_time.as_ref().expect("published").0;
    let log = scene.dbt.log();
    let revoked = log.iter().find(|entry| entry.method == "DELETE" && entry.path.ends_with(&format!("/{old}/")));
    let waited = revoked.expect("the old token was revoked by a call").time.duration_since(published).as_secs();
    assert!((0..60).contains(&waited), "revoked {waited} s after its successor was published");
    assert_eq!(scene.status("ci").await.last_handled_rotate_at.as_deref(), Some(asked));
    // Left behind, it does nothing: the next rotation has its overlap.
    scene.annotate_token("ci", "rotate-at", "2026-11-24T09:00:00Z").await;
    let next = scene.replaced("ci", &last).await;
    scene.expect("ci", "Rotating", "True", "AwaitingConsumers").await;
    assert_eq!(scene.live(), [new, scene.id_of(&next)]);
}

async fn a_token_that_reaches_its_age_is_replaced(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    let mut token = scene.token("ci", set("job_runner"));
    token["spec"]["rotation"]["maxAge"] = json!("90d");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    let told = async || scene.status("ci").await.next_rotation_time.map(|time| time.0);
    let due = until(LIMIT, "the next rotation is told", async || told().await.ok_or("not told".to_owned())).await;
    let days = due.duration_since(jiff::Timestamp::now()).as_hours() / 24;
    assert!((80..90).contains(&days), "due in {days} days");
    assert_eq!(scene.status("ci").await.effective.and_then(|values| values.max_age).as_deref(), Some("90d"));
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(90 * 24);
    assert!(scene.dbt.date_token(dbt_cloud_emulator::TokenId(scene.id_of(&first)), long_ago));
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    let status = scene.status("ci").await;
    assert_eq!(status.history[0].cause.as_deref(), Some("MaxAge"));
    assert!(status.last_rotation_time.is_some());
    assert_eq!(scene.created(), 2);
}

async fn a_legacy_token_is_reported_or_replaced(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    let mut token = scene.token("ci", set("job_runner"));
    token["spec"]["rotation"]["legacy"] = json!("Report");
    scene.apply(&token).await;
    let first = scene.published("ci").await;
    let old = scene.id_of(&first);
    let last_moment = "2023-07-18T23:59:59Z".parse().expect("a time");
    assert!(scene.dbt.date_token(dbt_cloud_emulator::TokenId(old), last_moment));
    scene.expect("ci", "Rotating", "False", "LegacyReported").await;
    assert!(scene.event("ci", "LegacyToken").await.contains(&old.to_string()));
    assert_eq!(scene.string_of("ci").await, first);
    // A window that hardly ever opens: it is told, and waited for.
    let window = json!({"schedule": "0 0 29 2 *", "duration": "15m"});
    scene.patch_token("ci", json!({"spec": {"rotation": {"legacy": "Rotate", "windows": [window]}}})).await;
    scene.expect("ci", "Rotating", "False", "WaitingForWindow").await;
    assert_eq!(scene.published("ci").await, first);
    scene.patch_token("ci", json!({"spec": {"rotation": {"windows": null}}})).await;
    let second = scene.replaced("ci", &first).await;
    scene.only_live(&[scene.id_of(&second)]).await;
    assert_eq!(scene.status("ci").await.history[0].cause.as_deref(), Some("Legacy"));
    assert_eq!(scene.created(), 2);
}

async fn a_suspended_object_keeps_its_token_and_mints_nothing(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", set("job_runner"))).await;
    let first = scene.published("ci").await;
    scene.patch_token("ci", json!({"spec": {"suspend": true, "permissions": set("job_admin")}})).await;
    scene.expect("ci", "Ready", "True", "Suspended").await;
    assert_eq!(scene.string_of("ci").await, first);
    assert_eq!(scene.created(), 1);
    scene.patch_token("ci", json!({"spec": {"suspend": false}})).await;
    let second = scene.replaced("ci", &first).await;
    // The same for a whole account.
    scene.patch_account(json!({"spec": {"suspend": true}})).await;
    scene.expect_account("Ready", "True", "Suspended").await;
    scene.permit("ci", set("job_runner")).await;
    scene.expect("ci", "Ready", "True", "Suspended").await;
    assert_eq!(scene.string_of("ci").await, second);
    scene.patch_account(json!({"spec": {"suspend": null}})).await;
    let third = scene.replaced("ci", &second).await;
    scene.only_live(&[scene.id_of(&third)]).await;
}
