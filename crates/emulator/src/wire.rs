//! The JSON objects that go out, as they stand inside the envelope of `answer.rs`. These shapes are the emulator's own and
//! must never be shared with a client: a misspelt field would then be wrong on both sides and pass.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::account::{Account, AuditEvent, Environment, Grant, Job, Mapping, PermissionRow, Project};
use crate::account::{SemanticLayerCredential, Token};
use crate::secret;

/// `YYYY-MM-DD HH:MM:SS.ffffff+00:00`, the form of tokens, projects and groups.
pub(crate) fn spaced(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string()
}

/// The same instant with `T` and `Z`, as some other objects have it.
fn with_t(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn state(active: bool) -> u8 {
    if active { 1 } else { 2 }
}

pub(crate) fn account(account: &Account, locked: bool) -> Value {
    json!({
        "id": account.id,
        "name": account.name,
        "plan": account.plan,
        "state": 1,
        "locked": locked,
        "lock_reason": null,
        "lock_cause": null,
        "identifier": format!("act_{}", account.id),
        "static_subdomain": account.static_subdomain,
        "vanity_subdomain": null,
        "created_at": with_t(account.created_at),
        "updated_at": with_t(account.created_at),
    })
}

fn grant(grant: &Grant) -> Value {
    json!({
        "permission_set": grant.permission_set,
        "project_id": grant.project_id,
        "writable_environment_categories": grant.writable_environment_categories,
    })
}

/// The twelve fields of list and get. A deleted token shows no grants.
pub(crate) fn token(account_id: i64, token: &Token) -> Value {
    let shown: &[PermissionRow] = if token.active { &token.permissions } else { &[] };
    json!({
        "id": token.id,
        "account_id": account_id,
        "uid": token.uid,
        "name": token.name,
        "state": state(token.active),
        "permission_grants": shown.iter().map(|row| grant(&row.grant)).collect::<Vec<_>>(),
        "last_used": token.last_used.map(spaced),
        "semantic_layer_credentials": null,
        "metadata_only": token.metadata_only,
        "webhooks_only": token.webhooks_only,
        "created_at": spaced(token.created_at),
        "updated_at": spaced(token.updated_at),
    })
}

/// The twenty fields of the create answer, the only one that carries the string.
pub(crate) fn created_token(account_id: i64, created: &Token, string: &str) -> Value {
    let mut value = token(account_id, created);
    let more = json!({
        "expires_at": null,
        "last_identify": null,
        "service_token_permissions": permissions(account_id, created),
        "token": secret::tail(string, &created.uid),
        "token_string": string,
        "type": null,
        "user": null,
        "user_id": null,
    });
    if let (Value::Object(fields), Value::Object(added)) = (&mut value, more) {
        fields.extend(added);
    }
    value
}

pub(crate) fn permissions(account_id: i64, token: &Token) -> Vec<Value> {
    let shown: &[PermissionRow] = if token.active { &token.permissions } else { &[] };
    shown
        .iter()
        .map(|row| {
            json!({
                "id": row.id,
                "account_id": account_id,
                "service_token_id": token.id,
                "project_id": row.grant.project_id,
                "all_projects": row.grant.project_id.is_none(),
                "permission_set": row.grant.permission_set,
                "state": 1,
                "writable_environment_categories": row.grant.writable_environment_categories,
                "created_at": spaced(row.created_at),
                "updated_at": spaced(row.created_at),
            })
        })
        .collect()
}

pub(crate) fn project(account_id: i64, project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "account_id": account_id,
        "description": project.description,
        "connection_id": null,
        "repository_id": null,
        "semantic_layer_config_id": null,
        "state": state(project.active),
        "dbt_project_subdirectory": null,
        "docs_job_id": null,
        "freshness_job_id": null,
        "type": project.kind,
        "created_at": spaced(project.created_at),
        "updated_at": spaced(project.updated_at),
    })
}

pub(crate) fn environment(account: &Account, environment: &Environment) -> Value {
    let of = account.projects.get(&environment.project_id);
    json!({
        "id": environment.id,
        "account_id": account.id,
        "project_id": environment.project_id,
        "credentials_id": null,
        "connection_id": null,
        "name": environment.name,
        "dbt_version": "latest",
        "type": environment.kind,
        "use_custom_branch": false,
        "custom_branch": null,
        "supports_docs": true,
        "state": 1,
        "deployment_type": environment.deployment_type,
        "extended_attributes_id": null,
        "project": of.map(|project| self::project(account.id, project)),
        "jobs": null,
        "credentials": null,
        "custom_environment_variables": null,
        "created_at": with_t(account.created_at),
        "updated_at": with_t(account.created_at),
    })
}

pub(crate) fn job(account: &Account, job: &Job) -> Value {
    json!({
        "id": job.id,
        "account_id": account.id,
        "project_id": job.project_id,
        "environment_id": job.environment_id,
        "name": job.name,
        "description": "",
        "dbt_version": null,
        "deferring_environment_id": null,
        "deferring_job_definition_id": null,
        "execute_steps": ["dbt build"],
        "execution": { "timeout_seconds": 0 },
        "generate_docs": false,
        "run_generate_sources": false,
        "job_type": "scheduled",
        "lifecycle_webhooks": false,
        "raw_dbt_version": null,
        "run_compare_changes": false,
        "run_failure_count": 0,
        "schedule": {
            "cron": "0 6 * * *",
            "date": { "type": "every_day" },
            "time": { "type": "every_hour", "interval": 1 },
        },
        "settings": { "threads": 4, "target_name": "default" },
        "state": 1,
        "triggers": {
            "github_webhook": false,
            "git_provider_webhook": false,
            "schedule": false,
            "on_merge": false,
        },
        "triggers_on_draft_pr": false,
        "created_at": spaced(account.created_at),
        "updated_at": spaced(account.created_at),
    })
}

pub(crate) fn credential(account: &Account, credential: &SemanticLayerCredential) -> Value {
    let linked: Vec<Value> = account
        .mappings
        .values()
        .filter(|mapping| mapping.semantic_layer_credentials_id == credential.id)
        .filter_map(|mapping| account.tokens.get(&mapping.service_token_id))
        .map(|token| {
            json!({
                "id": token.id,
                "account_id": account.id,
                "uid": token.uid,
                "name": token.name,
            })
        })
        .collect();
    json!({
        "id": credential.id,
        "account_id": account.id,
        "project_id": credential.project_id,
        "name": credential.name,
        "schema_type": "semantic_layer_credentials",
        "adapter_version": credential.adapter_version,
        "values": {},
        "state": 1,
        "service_tokens": linked,
        "created_at": spaced(account.created_at),
        "updated_at": spaced(account.created_at),
    })
}

pub(crate) fn mapping(account_id: i64, mapping: &Mapping) -> Value {
    json!({
        "id": mapping.id,
        "account_id": account_id,
        "project_id": mapping.project_id,
        "semantic_layer_credentials_id": mapping.semantic_layer_credentials_id,
        "service_token_id": mapping.service_token_id,
        "state": 1,
    })
}

/// `[ASSUMED]` in every field but the event types.
pub(crate) fn audit_event(account_id: i64, event: &AuditEvent) -> Value {
    json!({
        "id": event.id,
        "account_id": account_id,
        "created_at": with_t(event.time),
        "event_type": event.event_type,
        "event_context": { "service_token_id": event.token_id },
        "actor_type": "service_token",
        "actor_id": event.actor,
        "source": "api",
    })
}
