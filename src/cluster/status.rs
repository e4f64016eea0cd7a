//! The status of a `ServiceToken`: what the planner reports, as users read it, and read back. Pure; [`super::ledger`]
//! writes it.

mod record;

use std::collections::{BTreeMap, BTreeSet};

use dbt_token_planner::grant::{GrantRows, Scope};
use dbt_token_planner::identity::ProjectId;
use dbt_token_planner::ledger::Ledger;
use dbt_token_planner::observation::Project;
use dbt_token_planner::report::{Condition, NextStep, PlannedStep, Replacement, Report, RetiringReport, TokenReport};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::Value;

pub use self::record::record;
use super::ledger;
use super::merge_patch::difference;
use super::text::cut_to_characters;
use crate::api::v1alpha1::{self as api, ServiceTokenStatus, TokenEffective};

/// What the schema takes as the message of a condition.
const LONGEST_CONDITION_MESSAGE: usize = 4096;

/// What the schema takes as any other message.
const LONGEST_MESSAGE: usize = 1024;

/// What the schema takes as the name of a token, and as its uid.
const LONGEST_NAME: usize = 512;
const LONGEST_UID: usize = 64;

/// How many permissions, and how many projects and write environments of one, the schema takes. A token has more of them
/// only if somebody else made it; then the first are shown.
const MOST_PERMISSIONS: usize = 200;
const MOST_PROJECTS: usize = 100;
const MOST_ENVIRONMENTS: usize = 8;

/// What a status shall say.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What the planner reports.
    pub report: &'a Report,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The values in force; `None` if the spec is refused, and then the earlier ones stay.
    pub effective: Option<&'a TokenEffective>,
    /// The account's projects as far as they are known, for their names.
    pub projects: &'a [Project],
}

/// The status as it shall be; `None` if it is so already. A condition keeps its transition time as long as its status stays,
/// so that nothing is written only because time has passed.
pub fn changed(previous: &ServiceTokenStatus, wanted: Wanted<'_>, now: Timestamp) -> Option<ServiceTokenStatus> {
    let after = status(previous, wanted, now);
    (after != *previous).then_some(after)
}

/// The merge patch of the status that makes it say what it shall; `None` if it says so already.
pub fn patch(previous: &ServiceTokenStatus, wanted: Wanted<'_>, now: Timestamp) -> Option<Value> {
    let after = changed(previous, wanted, now)?;
    let as_value = |status: &ServiceTokenStatus| serde_json::to_value(status).expect("a status holds nothing but JSON");
    difference(&as_value(previous), &as_value(&after))
}

fn status(previous: &ServiceTokenStatus, wanted: Wanted<'_>, now: Timestamp) -> ServiceTokenStatus {
    let Wanted { report, ledger, effective, projects } = wanted;
    ServiceTokenStatus {
        observed_generation: Some(report.observed_generation),
        conditions: conditions(&report.conditions, report.observed_generation, &previous.conditions, now),
        token: report.token.as_ref().map(|token| published(token, previous.token.as_ref(), projects)),
        retiring_tokens: report.retiring.iter().map(|token| retiring(token, &previous.retiring_tokens)).collect(),
        next_step: report.next_step.as_ref().map(next_step),
        next_rotation_time: report.next_rotation.map(time),
        last_rotation_time: report.last_rotation.map(time),
        last_handled_rotate_at: ledger.handled_rotate_at.clone(),
        plan: report.plan.iter().map(planned_step).collect(),
        history: report.history.iter().map(replacement).collect(),
        effective: effective.cloned().or_else(|| previous.effective.clone()),
        ledger: ledger::written(ledger),
    }
}

/// Conditions as a status holds them. A condition keeps its transition time as long as its status stays.
pub fn conditions(wanted: &[Condition], generation: i64, previous: &[meta::Condition], now: Timestamp) -> Vec<meta::Condition> {
    wanted.iter().map(|condition| write_condition(condition, generation, previous, now)).collect()
}

/// Kubernetes writes whole seconds; a fraction would differ from what is read back.
fn time(time: Timestamp) -> meta::Time {
    meta::Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn write_condition(condition: &Condition, generation: i64, previous: &[meta::Condition], now: Timestamp) -> meta::Condition {
    let (kind, status) = (condition.kind.word(), condition.status.word());
    let unchanged = previous.iter().find(|before| before.type_ == kind && before.status == status);
    meta::Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: condition.reason.clone(),
        message: cut_to_characters(&condition.message, LONGEST_CONDITION_MESSAGE),
        observed_generation: Some(generation),
        last_transition_time: unchanged.map_or_else(|| time(now), |before| before.last_transition_time.clone()),
    }
}

/// What could not be read this time is what it was, as long as it is the same token.
fn published(token: &TokenReport, previous: Option<&api::PublishedToken>, projects: &[Project]) -> api::PublishedToken {
    let before = previous.filter(|before| before.id == Some(token.id.0)).cloned().unwrap_or_default();
    api::PublishedToken {
        id: Some(token.id.0),
        uid: token.uid.as_ref().map(|uid| cut_to_characters(uid.as_str(), LONGEST_UID)).or(before.uid),
        name: token.name.as_ref().map(|name| cut_to_characters(name, LONGEST_NAME)).or(before.name),
        creation_time: token.created_at.map(time).or(before.creation_time),
        publication_time: Some(time(token.published_at)),
        legacy: token.legacy.or(before.legacy),
        adopted: Some(token.adopted),
        permissions: token.rows.as_ref().map_or(before.permissions, |rows| permissions(rows, projects)),
    }
}

/// Rows with the same set and the same write environments become one permission.
fn permissions(rows: &GrantRows, projects: &[Project]) -> Vec<api::ReportedPermission> {
    let names: BTreeMap<ProjectId, &str> = projects.iter().map(|project| (project.id, project.name.as_str())).collect();
    let mut grouped: BTreeMap<_, (bool, BTreeSet<ProjectId>)> = BTreeMap::new();
    for row in rows.rows() {
        let group = grouped.entry((&row.permission_set, &row.writable)).or_default();
        match row.scope {
            Scope::All => group.0 = true,
            Scope::Project(id) => drop(group.1.insert(id)),
        }
    }
    let shown = grouped.into_iter().flat_map(|((set, writable), (all, ids))| {
        let permission = api::ReportedPermission {
            permission_set: set.to_string(),
            writable_environments: writable.iter().take(MOST_ENVIRONMENTS).map(ToString::to_string).collect(),
            ..api::ReportedPermission::default()
        };
        let projects = ids
            .iter()
            .take(MOST_PROJECTS)
            .map(|id| api::ReportedProject { id: Some(id.0), name: names.get(id).map(|name| (*name).to_owned()) });
        let projects: Vec<_> = projects.collect();
        let everywhere = all.then(|| api::ReportedPermission { all_projects: Some(true), ..permission.clone() });
        let somewhere = (!projects.is_empty()).then_some(api::ReportedPermission { projects, ..permission });
        everywhere.into_iter().chain(somewhere)
    });
    shown.take(MOST_PERMISSIONS).collect()
}

fn retiring(token: &RetiringReport, previous: &[api::RetiringToken]) -> api::RetiringToken {
    let before = previous.iter().find(|before| before.id == token.id.0).cloned().unwrap_or_default();
    api::RetiringToken {
        id: token.id.0,
        uid: token.uid.as_ref().map(|uid| cut_to_characters(uid.as_str(), LONGEST_UID)).or(before.uid),
        creation_time: token.created_at.map(time).or(before.creation_time),
        replacement_time: token.replaced_at.map(time).or(before.replacement_time),
        deadline_time: token.deadline_at.map(time),
        waiting_for: token
            .waiting_for
            .iter()
            .map(|waiting| api::WaitingFor {
                rule: waiting.rule.to_owned(),
                message: cut_to_characters(&waiting.message, LONGEST_MESSAGE),
            })
            .collect(),
    }
}

fn next_step(step: &NextStep) -> api::NextStep {
    api::NextStep {
        action: step.action.to_owned(),
        cause: step.cause.map(|cause| cause.word().to_owned()),
        time: step.at.map(time),
        message: cut_to_characters(&step.message, LONGEST_MESSAGE),
    }
}

fn planned_step(step: &PlannedStep) -> api::PlannedStep {
    api::PlannedStep {
        action: step.action.to_owned(),
        time: step.at.map(time),
        message: cut_to_characters(&step.message, LONGEST_MESSAGE),
    }
}

fn replacement(replacement: &Replacement) -> api::HistoryEntry {
    api::HistoryEntry {
        cause: Some(replacement.cause.word().to_owned()),
        token_id: Some(replacement.token.0),
        previous_token_id: replacement.previous.map(|token| token.0),
        publication_time: replacement.published_at.map(time),
        retirement_time: replacement.retired_at.map(time),
    }
}

#[cfg(test)]
mod tests;
