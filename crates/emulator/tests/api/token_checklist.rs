//! Points 4 to 11 of the checklist: the life of a service token.

use serde_json::{Value, json};

use dbt_cloud_emulator::{DeletedGet, Grant, SeedToken, StringFormat};

use crate::support::World;

#[tokio::test]
async fn point_4_both_create_forms_issue_a_string_once() {
    let world = World::start().await;
    let one_call = world
        .create(json!({
            "name": "one call",
            "unknown": 1,
            "service_token_permissions": [{ "permission_set": "account_admin" }],
            "permission_grants": [
                { "permission_set": "job_admin", "project_id": 700 },
                { "permission_set": "developer", "writable_environment_categories": ["staging"] },
            ],
        }))
        .await;
    let mut keys: Vec<&str> = one_call.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "account_id",
            "created_at",
            "expires_at",
            "id",
            "last_identify",
            "last_used",
            "metadata_only",
            "name",
            "permission_grants",
            "semantic_layer_credentials",
            "service_token_permissions",
            "state",
            "token",
            "token_string",
            "type",
            "uid",
            "updated_at",
            "user",
            "user_id",
            "webhooks_only",
        ]
    );
    let uid = one_call["uid"].as_str().expect("a uid");
    let string = one_call["token_string"].as_str().expect("a string");
    let tail = one_call["token"].as_str().expect("a tail");
    assert_eq!((uid.len(), tail.len(), string.len()), (7, 43, 55));
    assert_eq!(string, format!("dbtc_{uid}{tail}"));
    assert_eq!(
        one_call["permission_grants"],
        json!([
            { "permission_set": "job_admin", "project_id": 700, "writable_environment_categories": [] },
            {
                "permission_set": "developer",
                "project_id": null,
                "writable_environment_categories": ["staging"],
            },
        ])
    );
}

#[tokio::test]
async fn point_4_a_name_is_enough_and_needed() {
    let world = World::start().await;
    let account_id = world.dbt.account_id();
    let two_calls = world.create(json!({ "id": null, "account_id": account_id, "uid": "", "name": "two", "state": 1 })).await;
    assert_eq!(two_calls["permission_grants"], json!([]));
    for body in [json!({}), json!({ "name": "" }), json!({ "name": null }), json!([])] {
        let reply = world.call("POST", &world.v3("service-tokens/"), Some(&body)).await;
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.message(), "The request was invalid. Please double check the provided data and try again.");
        assert!(reply.data()["name"].is_array());
    }
}

#[tokio::test]
async fn point_5_a_string_is_never_shown_again() {
    let world = World::start().await;
    let created = world.create(json!({ "name": "quiet" })).await;
    let path = world.v3(&format!("service-tokens/{}/", created["id"]));
    let renamed = json!({ "name": "quieter" });
    let replies = [
        world.get(&path).await,
        world.get(&world.v3("service-tokens/")).await,
        world.get(&format!("{path}permissions/")).await,
        world.call("PUT", &path, Some(&renamed)).await,
    ];
    for reply in replies {
        let text = String::from_utf8(reply.body).expect("the body is UTF-8");
        for secret in world.dbt.issued_token_strings() {
            assert!(!text.contains(&secret[12..]), "a string is shown");
        }
        assert!(!text.contains("\"token_string\"") && !text.contains("\"token\""));
    }
    let got = world.get(&path).await.data();
    assert_eq!(got.as_object().expect("an object").len(), 12);
}

#[tokio::test]
async fn point_6_permissions_are_paged_and_set_once() {
    let world = World::start().await;
    let account_id = world.dbt.account_id();
    let created = world.create(json!({ "name": "many" })).await;
    let path = world.v3(&format!("service-tokens/{}/permissions/", created["id"]));
    let row = |set: &str, project: Option<i64>| {
        let mut row = json!({
            "account_id": account_id,
            "service_token_id": created["id"],
            "permission_set": set,
            "all_projects": project.is_none(),
        });
        if let Some(project) = project {
            row["project_id"] = json!(project);
        }
        row
    };
    assert_eq!(world.call("POST", &path, Some(&json!([]))).await.status, 200);
    let rows: Vec<Value> = (0..120).map(|_| row("job_viewer", Some(700))).collect();
    let posted = world.call("POST", &path, Some(&json!(rows))).await;
    assert_eq!(posted.status, 200, "{}", posted.message());
    let first = world.get(&path).await;
    assert_eq!(first.json()["extra"]["pagination"], json!({ "count": 100, "total_count": 120 }));
    assert_eq!(world.get(&format!("{path}?offset=100")).await.ids().len(), 20);
    let item = first.data()[0].clone();
    let mut keys: Vec<&String> = item.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "account_id",
            "all_projects",
            "created_at",
            "id",
            "permission_set",
            "project_id",
            "service_token_id",
            "state",
            "updated_at",
            "writable_environment_categories",
        ]
    );
    let again = world.call("POST", &path, Some(&json!([row("job_admin", None)]))).await;
    let text = "Service token permissions cannot be updated after assigment. Please create a new service token.";
    assert_eq!((again.status, again.message().as_str()), (400, text));
    let granted = world.create(json!({ "name": "granted", "permission_grants": [{ "permission_set": "readonly" }] })).await;
    let path = world.v3(&format!("service-tokens/{}/permissions/", granted["id"]));
    let mut late = row("job_admin", None);
    late["service_token_id"] = granted["id"].clone();
    assert_eq!(world.call("POST", &path, Some(&json!([late]))).await.message(), text);
}

#[tokio::test]
async fn point_7_write_categories_are_stored_as_sent() {
    let world = World::start().await;
    let created = world
        .create(json!({
            "name": "writers",
            "permission_grants": [
                { "permission_set": "developer", "project_id": 700 },
                { "permission_set": "developer", "project_id": 701, "writable_environment_categories": [] },
                { "permission_set": "developer", "project_id": 702, "writable_environment_categories": ["all"] },
            ],
        }))
        .await;
    let shown = world.get(&world.v3(&format!("service-tokens/{}/", created["id"]))).await.data();
    let categories: Vec<&Value> = shown["permission_grants"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|grant| &grant["writable_environment_categories"])
        .collect();
    assert_eq!(categories, [&json!([]), &json!([]), &json!(["all"])]);
}

#[tokio::test]
async fn point_8_a_refused_create_leaves_nothing() {
    let world = World::start().await;
    let before = world.dbt.tokens().len();
    let ids_before = world.dbt.add_token(SeedToken::new("marker", &[])).id.0;
    for (grants, status) in [
        (json!([{ "permission_set": "readonly" }, { "permission_set": "no_such_set" }]), 400),
        (json!([{ "permission_set": "readonly" }, { "permission_set": "readonly", "project_id": 1 }]), 404),
        (json!([{ "permission_set": "developer", "writable_environment_categories": ["nowhere"] }]), 400),
        (json!([{ "project_id": 700 }]), 400),
        (json!("readonly"), 400),
    ] {
        let body = json!({ "name": "never", "permission_grants": grants });
        let reply = world.call("POST", &world.v3("service-tokens/"), Some(&body)).await;
        assert_eq!(reply.status, status, "{body}");
    }
    assert_eq!(world.dbt.tokens().len(), before + 1);
    let next = world.create(json!({ "name": "next" })).await;
    assert_eq!(next["id"].as_i64(), Some(ids_before + 1), "no id was used up either");
    let deleted = world.call("DELETE", &world.v3("projects/812/"), None).await;
    assert_eq!(deleted.status, 204);
    let body = json!({
        "name": "never",
        "permission_grants": [{ "permission_set": "readonly", "project_id": 812 }],
    });
    assert_eq!(world.call("POST", &world.v3("service-tokens/"), Some(&body)).await.status, 404);
}

#[tokio::test]
async fn point_9_deletion_is_soft() {
    let world = World::start().await;
    let created = world.create(json!({ "name": "doomed", "permission_grants": [{ "permission_set": "readonly" }] })).await;
    let id = created["id"].as_i64().expect("an id");
    let path = world.v3(&format!("service-tokens/{id}/"));
    let deleted = world.call("DELETE", &path, None).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    let shown = world.get(&path).await.data();
    assert_eq!((&shown["state"], &shown["permission_grants"]), (&json!(2), &json!([])));
    assert_ne!(shown["updated_at"], created["updated_at"]);
    assert_eq!(shown["created_at"], created["created_at"]);
    assert!(world.get(&world.v3("service-tokens/")).await.ids().contains(&id));
    assert!(!world.get(&world.v3("service-tokens/?state=1")).await.ids().contains(&id));
    assert!(world.get(&world.v3("service-tokens/?state=2")).await.ids().contains(&id));
    assert_eq!(world.call("DELETE", &path, None).await.status, 204);
    world.dbt.set_modes(|modes| {
        modes.deleted_get = DeletedGet::NotFound;
        modes.repeat_delete_not_found = true;
        modes.list_includes_deleted = false;
    });
    assert_eq!(world.get(&path).await.status, 404);
    assert_eq!(world.call("DELETE", &path, None).await.status, 404);
    assert!(!world.get(&world.v3("service-tokens/")).await.ids().contains(&id));
}

#[tokio::test]
async fn point_10_put_renames_and_nothing_else() {
    let world = World::start().await;
    let created = world.create(json!({ "name": "before", "permission_grants": [{ "permission_set": "readonly" }] })).await;
    let path = world.v3(&format!("service-tokens/{}/", created["id"]));
    let body = json!({
        "name": "after",
        "state": 2,
        "uid": "changed",
        "permission_grants": [{ "permission_set": "account_admin" }],
    });
    let renamed = world.call("PUT", &path, Some(&body)).await;
    assert_eq!(renamed.status, 200);
    for field in ["permission_grants", "state", "uid", "created_at", "id"] {
        assert_eq!(renamed.data()[field], created[field], "{field}");
    }
    assert_eq!(renamed.data()["name"], "after");
    world.dbt.set_modes(|modes| modes.rename_refused = true);
    assert_eq!(world.call("PUT", &path, Some(&body)).await.status, 400);
}

#[tokio::test]
async fn point_11_times_are_spaced_settable_and_moved_by_use() {
    let world = World::start().await;
    let created_at = "2023-07-18T23:59:59.000001Z".parse().expect("a time");
    let old = world
        .dbt
        .add_token(SeedToken::new("old", &[Grant::new("readonly")]).created_at(created_at).in_format(StringFormat::Legacy));
    assert!(old.string.contains(&old.uid));
    let path = world.v3(&format!("service-tokens/{}/", old.id));
    let shown = world.get(&path).await.data();
    assert_eq!(shown["created_at"], "2023-07-18 23:59:59.000001+00:00");
    assert_eq!(shown["last_used"], Value::Null);
    world.call_as(&old.string, "GET", &world.v2("jobs/"), None).await;
    let used = world.get(&path).await.data()["last_used"].clone();
    let used = used.as_str().expect("a time");
    assert_eq!((used.len(), &used[10..11], &used[26..]), (32, " ", "+00:00"));
    assert_eq!(world.dbt.authenticates(&old.string), Some(old.id));
}
