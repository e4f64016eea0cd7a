//! Dry runs: the plan is told and nothing is done, neither in dbt nor in the cluster, until `dryRun` goes.

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::support::audit::{Request, requests_of};
use crate::support::case::{Case, cases};
use crate::support::operator::OperatorOptions;
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    let mut cases = cases!(Own: an_object_that_is_born_in_a_dry_run_gets_a_status_and_nothing_else);
    cases.extend(cases!(Shared:
        an_edit_is_held_until_the_dry_run_ends,
        a_replaced_token_is_held_and_a_damaged_secret_is_left_alone,
        a_refused_object_says_so_and_a_deleted_one_goes,
    ));
    cases
}

/// One row on Marketing, by its name.
fn admin() -> Value {
    json!([{"permissionSet": "job_admin", "projects": [{"name": "Marketing"}]}])
}

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

fn dry(mut token: Value) -> Value {
    token["spec"]["dryRun"] = json!(true);
    token
}

/// The plan in the status, a line an entry.
async fn told(scene: &Scene, name: &str) -> Vec<String> {
    let plan = scene.status(name).await.plan;
    plan.iter().map(|step| format!("{}: {}", step.action, step.message)).collect()
}

/// Waits for a plan that begins with this action.
async fn planned(scene: &Scene, name: &str, action: &str) -> Vec<String> {
    until(LIMIT, &format!("the plan of {name} begins with {action}"), async || {
        let told = told(scene, name).await;
        if told.first().is_some_and(|first| first.starts_with(action)) { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await
}

async fn an_object_that_is_born_in_a_dry_run_gets_a_status_and_nothing_else(scene: &Scene) {
    scene.connect(|spec| spec["inventory"] = json!({"interval": "1m"})).await;
    let _operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let (before, log_before) = (requests(scene).len(), scene.dbt.log().len());
    scene.apply(&dry(scene.token("preview", admin()))).await;
    let stalled = scene.expect("preview", "Stalled", "True", "DryRun").await;
    assert_eq!(stalled.message, "dryRun is set: status.plan lists what would be done; unset dryRun");
    scene.expect("preview", "Ready", "False", "DryRun").await;
    assert_eq!(
        told(scene, "preview").await,
        [
            "Create: a token with job_admin on Marketing (701)",
            "Verify: list the jobs of Marketing with it",
            "Publish: create Secret preview-dbt with the key token",
        ]
    );
    let written = |scene: &Scene| -> Vec<Request> {
        let requests = requests(scene).split_off(before);
        requests.into_iter().filter(|it| it.writes() && it.resource() != "dbtaccounts").collect()
    };
    let writes = written(scene);
    assert_eq!(writes.len(), 1, "one status: {writes:?}");
    assert!(writes[0].uri.contains("/servicetokens/preview/status"), "{writes:?}");
    // The account's list is read again, and the object looked at; nothing more is written.
    let lists = |scene: &Scene| {
        let log = scene.dbt.log().split_off(log_before);
        log.into_iter().filter(|entry| entry.method == "GET" && entry.template.ends_with("/service-tokens/")).count()
    };
    let counted = lists(scene);
    assert!(scene.dbt.wait_until(LIMIT, |_| lists(scene) > counted).await, "a list comes every interval");
    let writes = written(scene);
    assert_eq!(writes.len(), 1, "nothing at rest: {writes:?}");
    let called: Vec<String> = scene.dbt.log().split_off(log_before).into_iter().map(|entry| entry.method).collect();
    assert!(called.iter().all(|method| method == "GET"), "{called:?}");
    assert_eq!(scene.created(), 0);
    let object = scene.tokens().get("preview").await.expect("it is there");
    assert_eq!(object.finalizers(), Vec::<String>::new());
    assert_eq!(object.status.as_ref().and_then(|status| status.ledger.clone()), None);
    assert!(scene.data("preview-dbt").await.is_none());
    assert_eq!(scene.slots_of(&object.uid().expect("a uid")).await.len(), 0);
    // In earnest it is done.
    scene.patch_token("preview", json!({"spec": {"dryRun": null}})).await;
    scene.published("preview").await;
    assert_eq!(told(scene, "preview").await, Vec::<String>::new());
    assert_eq!(scene.created(), 1);
}

fn requests(scene: &Scene) -> Vec<Request> {
    requests_of(&scene.stage.audit_log(), &scene.stage.user()).into_iter().filter(Request::counts).collect()
}

async fn an_edit_is_held_until_the_dry_run_ends(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let id = scene.id_of(&string);
    // With nothing to do it is judged as if nothing was asked.
    scene.patch_token("ci", json!({"spec": {"dryRun": true}})).await;
    scene.expect("ci", "Ready", "True", "Published").await;
    assert_eq!(told(scene, "ci").await, Vec::<String>::new());
    // What comes by GitOps does not name the field, and leaves it, whichever way it is applied.
    let edited = scene.token("ci", admin());
    scene.apply(&edited).await;
    scene.expect("ci", "Stalled", "True", "DryRun").await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), edited.to_string()).expect("it is written");
    let path = file.path().to_str().expect("a path of letters");
    for _ in 0..2 {
        scene.stage.kubectl(&["apply", "-f", path]).expect("it is applied");
    }
    scene.apply(&edited).await;
    assert_eq!(scene.tokens().get("ci").await.expect("it is there").spec.dry_run, Some(true));
    scene.expect("ci", "Stalled", "True", "DryRun").await;
    scene.expect("ci", "TokenUsable", "True", "VerificationPassed").await;
    scene.annotate_token("ci", "rotate-at", "noon").await;
    let told_now = planned(scene, "ci", "Create").await;
    assert!(
        told_now[0].starts_with(&format!("Create: a token with job_admin on Marketing (701), in place of token {id} created "))
    );
    assert!(told_now[0].ends_with(" (PermissionsChanged)"), "{told_now:?}");
    assert_eq!(told_now[1], "Verify: list the jobs of Marketing with it");
    assert_eq!(told_now[2], format!("Publish: replace token {id} in Secret ci-dbt by it"));
    assert!(told_now[3].starts_with(&format!("Retire: delete token {id} created ")), "{told_now:?}");
    assert_eq!((scene.created(), scene.string_of("ci").await), (1, string.clone()));
    assert_eq!(scene.status("ci").await.last_handled_rotate_at, None);
    scene.patch_token("ci", json!({"spec": {"dryRun": null}})).await;
    let after = scene.replaced("ci", &string).await;
    scene.only_live(&[scene.id_of(&after)]).await;
    assert_eq!(told(scene, "ci").await, Vec::<String>::new());
    assert_eq!(scene.status("ci").await.last_handled_rotate_at.as_deref(), Some("noon"));
}

async fn a_replaced_token_is_held_and_a_damaged_secret_is_left_alone(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("ci", runner());
    token["spec"]["rotation"]["retire"]["after"] = json!("1h");
    scene.apply(&token).await;
    let old = scene.published("ci").await;
    scene.permit("ci", admin()).await;
    let new = scene.replaced("ci", &old).await;
    let both = [scene.id_of(&old), scene.id_of(&new)];
    // Nothing but the dry run holds the old one back.
    scene.patch_token("ci", json!({"spec": {"dryRun": true, "rotation": {"retire": {"after": "0s"}}}})).await;
    scene.expect("ci", "Stalled", "True", "DryRun").await;
    let told_now = planned(scene, "ci", "Retire").await;
    assert!(told_now[0].starts_with(&format!("Retire: delete token {} created ", both[0])), "{told_now:?}");
    scene.disturb();
    let broken = json!({"stringData": {"token": "edited by hand"}}).to_string();
    scene.stage.kubectl(&["patch", "secret", "ci-dbt", "-n", &scene.namespace, "-p", &broken]).expect("an admin may");
    let told_now = planned(scene, "ci", "Publish").await;
    assert_eq!(told_now[0], format!("Publish: write Secret ci-dbt again with token {}, as declared", both[1]));
    assert_eq!(scene.string_of("ci").await, "edited by hand");
    assert_eq!(scene.live(), both);
    scene.patch_token("ci", json!({"spec": {"dryRun": false}})).await;
    until(LIMIT, "the Secret is mended", async || {
        let held = scene.string_of("ci").await;
        if held == new { Ok(()) } else { Err("another one".to_owned()) }
    })
    .await;
    scene.mended();
    scene.only_live(&both[1..]).await;
}

async fn a_refused_object_says_so_and_a_deleted_one_goes(scene: &Scene) {
    scene.connect(|_| {}).await;
    let row = |set: &str| json!([{"permissionSet": set, "allProjects": true}]);
    scene.apply(&dry(scene.token("too-much", row("account_admin")))).await;
    let stalled = scene.expect("too-much", "Stalled", "True", "PolicyRefused").await;
    assert!(stalled.message.contains("account_admin"), "{}", stalled.message);
    assert_eq!(told(scene, "too-much").await, Vec::<String>::new());
    scene.delete("too-much").await;
    scene.gone("too-much").await;
    assert_eq!(scene.created(), 0);
    // A deletion is a person's own act: the token goes with its object.
    scene.apply(&scene.token("ci", row("job_admin"))).await;
    scene.published("ci").await;
    scene.patch_token("ci", json!({"spec": {"dryRun": true}})).await;
    scene.expect("ci", "Ready", "True", "Published").await;
    scene.delete("ci").await;
    scene.gone("ci").await;
    assert_eq!(scene.live(), Vec::<i64>::new());
    assert!(scene.data("ci-dbt").await.is_none());
}
