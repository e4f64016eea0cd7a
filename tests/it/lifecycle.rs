//! The main job as users meet it: scenarios of the API with their statuses, Secrets that are mended, harmless edits.

use dbt_token_operator::api::v1alpha1::ReportedProject;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_declared_token_is_created_proved_and_published,
        the_columns_tell_what_is_published,
        two_sets_on_projects_by_name_fill_a_template,
        write_environments_are_granted_and_reported,
        an_airflow_connection_is_rendered,
        a_semantic_layer_token_is_tried_on_its_environment,
        a_set_that_no_call_can_try_stalls_until_that_is_allowed,
        a_harmless_edit_rewrites_the_secret_and_mints_nothing,
        a_deleted_secret_is_rebuilt_without_a_new_token,
        an_edited_secret_is_mended_without_a_new_token,
        a_wiped_status_is_rebuilt_without_a_new_token,
    )
}

/// One row on Finance.
fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

async fn a_declared_token_is_created_proved_and_published(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let id = scene.id_of(&string);
    assert_eq!(scene.live(), [id]);
    let status = scene.status("ci").await;
    assert_eq!(status.token.and_then(|token| token.id), Some(id));
    scene.expect("ci", "TokenUsable", "True", "VerificationPassed").await;
    scene.expect("ci", "Rotating", "False", "UpToDate").await;
    scene.expect_account("Ready", "True", "Connected").await;
    assert!(scene.event("ci", "TokenCreated").await.contains(&id.to_string()));
    assert!(scene.event("ci", "TokenPublished").await.contains(&id.to_string()));
}

async fn the_columns_tell_what_is_published(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let wide = scene.stage.kubectl(&["get", "dst", "-n", &scene.namespace, "-o", "wide"]).expect("kubectl get works");
    let columns: Vec<Vec<&str>> = wide.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        columns[0],
        ["NAME", "READY", "REASON", "SECRET", "ROTATED", "NEXT", "AGE", "ACCOUNT", "TOKEN", "RETIRING", "MESSAGE"]
    );
    assert_eq!(columns[1][..4], ["ci", "True", "Published", "ci-dbt"], "{wide}");
    assert!(columns[1].contains(&scene.id_of(&string).to_string().as_str()), "{wide}");
    let counted = until(LIMIT, "the account counts the token", async || {
        let text = scene.stage.kubectl(&["get", "dacct", &scene.account])?;
        let row: Vec<String> = text.lines().nth(1).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        if row.get(5).is_some_and(|managed| managed == "1") { Ok(row) } else { Err(text) }
    });
    let row = counted.await;
    assert_eq!(
        row[1..5],
        ["True".to_owned(), "Connected".to_owned(), scene.dbt.account_id().to_string(), "enterprise_plus_2025".to_owned()]
    );
    let explained = scene.stage.kubectl(&["explain", "servicetoken.spec.rotation"]).expect("kubectl explain works");
    assert!(explained.contains("retire") && explained.contains("legacy"), "{explained}");
}

async fn two_sets_on_projects_by_name_fill_a_template(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token(
        "dagster",
        json!([
            {"permissionSet": "job_admin", "projects": [{"name": "Finance"}, {"name": "Marketing"}]},
            {"permissionSet": "metadata_only", "projects": [{"name": "Finance"}, {"name": "Marketing"}, {"name": "Web Shop"}]},
        ]),
    );
    token["spec"]["secret"]["template"] = json!({
        "metadata": {"labels": {"team": "data"}},
        "data": {"DBT_CLOUD_ACCOUNT_ID": "{{ accountId }}", "DBT_CLOUD_TOKEN": "{{ token }}", "DBT_CLOUD_ACCESS_URL": "{{ accessUrl }}"},
    });
    scene.apply(&token).await;
    scene.expect("dagster", "Ready", "True", "Published").await;
    scene.check().await;
    let data = scene.data("dagster-dbt").await.expect("the Secret is there");
    let id = scene.id_of(&data["DBT_CLOUD_TOKEN"]);
    assert_eq!(data["DBT_CLOUD_ACCOUNT_ID"], scene.dbt.account_id().to_string());
    assert_eq!(data["DBT_CLOUD_ACCESS_URL"], scene.dbt.https_url());
    assert_eq!(data.len(), 3);
    let status = scene.status("dagster").await;
    let published = status.token.expect("a token");
    assert_eq!(published.id, Some(id));
    let named = |id: i64, name: &str| ReportedProject { id: Some(id), name: Some(name.to_owned()) };
    assert_eq!(published.permissions[0].projects, [named(700, "Finance"), named(701, "Marketing")]);
    assert_eq!(published.permissions[1].projects.len(), 3);
    let secret = scene.secrets().get("dagster-dbt").await.expect("the Secret is there");
    assert_eq!(secret.labels()["team"], "data");
    assert_eq!(secret.labels()["tokens.dbt-operator.dev/managed"], "true");
    assert_eq!(secret.annotations()["tokens.dbt-operator.dev/token-id"], id.to_string());
    assert!(secret.owner_references().is_empty(), "foreground deletion would remove it too early");
    // Both sets were tried: one call each.
    let tried: Vec<String> = scene
        .dbt
        .log()
        .into_iter()
        .filter(|entry| entry.token_id.is_some_and(|by| by.0 == id))
        .map(|entry| entry.template)
        .collect();
    assert_eq!(tried.len(), 2, "{tried:?}");
}

async fn write_environments_are_granted_and_reported(scene: &Scene) {
    scene.connect(|_| {}).await;
    let writing = json!([{"permissionSet": "developer", "projects": [{"name": "Finance"}], "writableEnvironments": ["development", "staging"]}]);
    scene.apply(&scene.token("mcp", writing)).await;
    scene.published("mcp").await;
    let status = scene.status("mcp").await;
    assert_eq!(status.token.expect("a token").permissions[0].writable_environments, ["development", "staging"]);
}

async fn an_airflow_connection_is_rendered(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("airflow", json!([{"permissionSet": "job_admin", "allProjects": true}]));
    let template = "dbt-cloud://{{ accountId }}:{{ token | uri_component }}@{{ accessUrl | host }}";
    token["spec"]["secret"]["template"] = json!({"data": {"AIRFLOW_CONN_DBT_CLOUD_DEFAULT": template}});
    scene.apply(&token).await;
    scene.expect("airflow", "Ready", "True", "Published").await;
    scene.check().await;
    let data = scene.data("airflow-dbt").await.expect("the Secret is there");
    let uri = &data["AIRFLOW_CONN_DBT_CLOUD_DEFAULT"];
    let (_, rest) = uri.split_once(":dbtc_").expect("the token stands after the account");
    let (string, host) = rest.split_once('@').expect("the host stands last");
    assert_eq!(scene.live(), [scene.id_of(&format!("dbtc_{string}"))]);
    assert!(scene.dbt.https_url().ends_with(host) && uri.starts_with("dbt-cloud://"));
}

async fn a_semantic_layer_token_is_tried_on_its_environment(scene: &Scene) {
    scene.connect(|_| {}).await;
    let mut token = scene.token("bi", json!([{"permissionSet": "semantic_layer_only", "projects": [{"name": "Finance"}]}]));
    token["spec"]["verification"] = json!({"environmentId": 218_762});
    token["spec"]["secret"]["template"] =
        json!({"data": {"token": "{{ token }}", "environment-id": "218762", "host": "{{ semanticLayerUrl | host }}"}});
    scene.apply(&token).await;
    let string = scene.published("bi").await;
    scene.expect("bi", "TokenUsable", "True", "VerificationPassed").await;
    let id = scene.id_of(&string);
    assert!(scene.dbt.log().iter().any(|entry| entry.token_id.is_some_and(|by| by.0 == id) && entry.path.contains("graphql")));
    assert_eq!(scene.data("bi-dbt").await.expect("the Secret is there")["environment-id"], "218762");
}

async fn a_set_that_no_call_can_try_stalls_until_that_is_allowed(scene: &Scene) {
    scene.connect(|_| {}).await;
    // Project 812 has no environment, and the Discovery API answers for environments only.
    scene.apply(&scene.token("bi", json!([{"permissionSet": "metadata_only", "projects": [{"id": 812}]}]))).await;
    scene.expect("bi", "Stalled", "True", "Unprobeable").await;
    assert_eq!(scene.created(), 0, "what cannot be tried is not made");
    scene.patch_token("bi", json!({"spec": {"verification": {"allowUnproven": true}}})).await;
    scene.expect("bi", "Ready", "True", "PublishedUnproven").await;
    scene.expect("bi", "TokenUsable", "Unknown", "Unprobeable").await;
}

async fn a_harmless_edit_rewrites_the_secret_and_mints_nothing(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let template = json!({"metadata": {"labels": {"team": "data"}}, "data": {"token": "{{ token }}", "id": "{{ tokenId }}"}});
    scene.patch_token("ci", json!({"spec": {"secret": {"template": template}, "tokenName": "finance/other"}})).await;
    until(LIMIT, "the Secret is written anew", async || {
        let data = scene.data("ci-dbt").await.unwrap_or_default();
        if data.contains_key("id") { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    assert_eq!(scene.published("ci").await, string);
    let secret = scene.secrets().get("ci-dbt").await.expect("the Secret is there");
    assert_eq!(secret.labels()["team"], "data");
    // What is no longer declared goes again.
    scene.patch_token("ci", json!({"spec": {"secret": {"template": null}}})).await;
    until(LIMIT, "the Secret has one key again", async || {
        let data = scene.data("ci-dbt").await.unwrap_or_default();
        if data.len() == 1 { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    assert_eq!(scene.published("ci").await, string);
    assert!(!scene.secrets().get("ci-dbt").await.expect("it is there").labels().contains_key("team"));
    assert_eq!(scene.created(), 1);
}

async fn a_deleted_secret_is_rebuilt_without_a_new_token(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    scene.disturb();
    scene.secrets().delete("ci-dbt", &DeleteParams::default()).await.expect("it is deleted");
    until(LIMIT, "the Secret is back", async || {
        let data = scene.data("ci-dbt").await.unwrap_or_default();
        if data.get("token") == Some(&string) { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    scene.mended();
    scene.published("ci").await;
    scene.event("ci", "SecretRebuilt").await;
    assert_eq!(scene.created(), 1);
}

async fn an_edited_secret_is_mended_without_a_new_token(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    scene.disturb();
    let edit = json!({"stringData": {"token": "something else", "more": "of it"}, "metadata": {"labels": {"added": "by-hand"}}});
    scene.secrets().patch("ci-dbt", &PatchParams::default(), &Patch::Merge(&edit)).await.expect("it is edited");
    until(LIMIT, "the Secret holds the token again", async || {
        let data = scene.data("ci-dbt").await.unwrap_or_default();
        if data.get("token") == Some(&string) { Ok(()) } else { Err(format!("{:?}", data.keys())) }
    })
    .await;
    scene.mended();
    scene.published("ci").await;
    assert_eq!(scene.created(), 1);
}

async fn a_wiped_status_is_rebuilt_without_a_new_token(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let before = scene.status("ci").await.ledger.expect("a ledger");
    scene.damage_status("ci", json!({"status": null})).await;
    let rebuilt = until(LIMIT, "the ledger is rebuilt", async || {
        let ledger = scene.status("ci").await.ledger.filter(|ledger| ledger.current.is_some());
        ledger.ok_or_else(|| "no ledger".to_owned())
    });
    assert_eq!(rebuilt.await.current, before.current);
    assert_eq!(scene.published("ci").await, string);
    assert_eq!(scene.created(), 1);
    scene.only_live(&[scene.id_of(&string)]).await;
}
