//! The request shapes of published clients, as they were seen when those clients ran against the
//! emulator (they are not part of the repository).

use dbt_cloud_emulator::{Grant, SeedToken};
use serde_json::{Value, json};

use crate::support::{Extra, World, get_http2};

/// terraform-provider-dbtcloud 1.12.5: apply, plan, destroy of a token and its project.
#[tokio::test]
async fn the_terraform_provider_creates_in_two_steps() {
    let world = World::start().await;
    let account_id = world.dbt.account_id();
    let body = json!({
        "account_id": account_id,
        "description": "",
        "docs_job_id": null,
        "freshness_job_id": null,
        "name": "tf",
        "state": 1,
        "type": 0,
    });
    let project = world.call("POST", &world.v3("projects/"), Some(&body)).await.data();
    let project_path = world.v3(&format!("projects/{}/", project["id"]));
    let related = format!("{project_path}?include_related=[freshness_job_id,docs_job_id]");
    assert_eq!(world.get(&related).await.data()["name"], "tf", "raw brackets in the query");
    let body = json!({ "id": null, "account_id": account_id, "uid": "", "name": "tf", "state": 1 });
    let token = world.create(body).await;
    let path = world.v3(&format!("service-tokens/{}/", token["id"]));
    let rows = json!([
        {
            "account_id": account_id,
            "service_token_id": token["id"],
            "project_id": project["id"],
            "all_projects": false,
            "permission_set": "developer",
            "writable_environment_categories": ["staging", "production"],
        },
        {
            "account_id": account_id,
            "service_token_id": token["id"],
            "all_projects": true,
            "permission_set": "git_admin",
        },
    ]);
    let permissions = format!("{path}permissions/");
    assert_eq!(world.call("POST", &permissions, Some(&rows)).await.status, 200);
    let shown = world.get(&permissions).await.data();
    assert_eq!(shown[0]["writable_environment_categories"], json!(["staging", "production"]));
    assert_eq!(shown[1]["all_projects"], true);
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    assert_eq!(world.get(&path).await.data()["state"], 2);
    let mut gone = project.clone();
    gone["state"] = json!(2);
    assert_eq!(world.call("POST", &project_path, Some(&gone)).await.status, 200);
    assert!(!world.get(&world.v3("projects/")).await.ids().contains(&project["id"].as_i64().expect("an id")));
}

/// apache-airflow-providers-dbt-cloud 4.11 pages by what the answers say of themselves, and tests a
/// connection by asking for the front page.
#[tokio::test]
async fn airflow_pages_by_filters_and_pagination() {
    let world = World::start().await;
    let first = world.get(&world.v3("projects/?limit=3")).await.json();
    let limit = first["extra"]["filters"]["limit"].as_i64().expect("a limit");
    let total = first["extra"]["pagination"]["total_count"].as_i64().expect("a total");
    let count = first["extra"]["pagination"]["count"].as_i64().expect("a count");
    assert_eq!((limit, count, total), (3, 3, 4));
    let second = world.get(&world.v3(&format!("projects/?limit={limit}&offset={limit}"))).await;
    assert_eq!(second.ids(), [812]);
    assert_eq!(world.get("/").await.status, 200);
}

/// dbt-jobs-as-code 1.22 filters jobs by a bracketed, encoded list and ends by the filters.
#[tokio::test]
async fn jobs_are_filtered_by_a_list_of_projects() {
    let world = World::start().await;
    let path = world.v2("jobs/?offset=0&project_id__in=%5B700%2C701%5D");
    let jobs = world.get(&path).await;
    assert_eq!(jobs.ids(), [30_001, 30_002]);
    assert_eq!(jobs.json()["extra"]["filters"]["offset"], 0);
    assert_eq!(jobs.json()["extra"]["filters"]["limit"], 100);
}

/// dbtc 0.11 and dagster-dbt omit the last slash of some reads and follow the redirect; dbtc also
/// asks Discovery at its older path.
#[tokio::test]
async fn reads_without_a_last_slash_need_the_redirect() {
    let world = World::start().await;
    world.dbt.set_modes(|modes| modes.redirects_missing_slash = true);
    let redirected = world.get(&world.v2("").replace("25/", "25")).await;
    assert_eq!((redirected.status, redirected.header("location")), (301, Some(world.v2("").as_str())));
    let posted = world.call("POST", &world.v3("service-tokens"), Some(&json!({ "name": "x" }))).await;
    assert_eq!(posted.status, 404, "a POST is never redirected");
    let token = world.dbt.add_token(SeedToken::new("m", &[Grant::new("metadata_only")]));
    let authorization = format!("Bearer {}", token.string);
    let extra = Extra { authorization: Some(&authorization), host: Some("metadata.localhost:8543") };
    let body = json!({
        "query": "query($environmentId: BigInt!){environment(id:$environmentId){adapterType applied{models(first:1){totalCount}}}}",
        "variables": { "environmentId": 218_762 },
    });
    let reply = world.try_call("POST", "/beta/graphql", Some(&body), extra).await.expect("an answer");
    let environment: Value = reply.data()["environment"].clone();
    assert_eq!(environment, json!({ "adapterType": "postgres", "applied": { "models": { "totalCount": 0 } } }));
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_negotiated() {
    let world = World::start().await;
    let reply = get_http2(&world.dbt, &world.v3("projects/"), world.dbt.admin_token()).await;
    assert_eq!(reply.expect("an answer").ids(), [700, 701, 702, 812]);
}
