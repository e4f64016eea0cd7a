//! When a token is replaced, and when the old one is revoked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::LegacyPolicy;
use super::rules;
use crate::api::schema::{self, DAY, HOUR, duration, rule};

/// When the token is replaced, and how the old one is retired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rotation {
    /// What happens to a token that was created on or before 18 July 2023 (UTC). Rotate replaces it, Report only says
    /// so. Default: Rotate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<LegacyPolicy>,
    /// Age at which the token is replaced, from 1h to 3650d, for example 90d, counted from its creation in dbt. It
    /// is due at a point of the last tenth that the object's uid fixes, so that tokens made together are not rotated
    /// together. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(HOUR, 3650 * DAY, "maxAge lies between 1h and 3650d"))]
    pub max_age: Option<String>,
    /// Times in which legacy and aged tokens may be rotated. Permission edits, lost tokens and requested rotations do
    /// not wait for one. A token that was made in one is published and takes over after it, too. Default: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), transform = schema::atomic_list())]
    pub windows: Option<Vec<RotationWindow>>,
    /// When the old token is revoked after a swap. All of the rules must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<Retirement>,
}

/// A time in which tokens may be rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationWindow {
    /// When the window opens: five cron fields, as in a CronJob (minute hour day month weekday).
    #[schemars(length(min = 9, max = 64), transform = rules::schedule_is_cron())]
    pub schedule: String,
    /// How long the window stays open, from 15m to 7d.
    #[schemars(transform = duration(15 * 60, 7 * DAY, "a window lasts between 15m and 7d"))]
    pub duration: String,
    /// IANA name, for example Europe/Berlin. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        transform = rule(
            format!("self != 'Local' && self.matches('{}')", schema::TIME_ZONE_PATTERN),
            "timeZone takes an IANA name such as Europe/Berlin or UTC"
        )
    )]
    pub time_zone: Option<String>,
}

/// When the old token is revoked after a swap. All of the rules must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    transform = rule("has(self.onDeadline) ? has(self.deadline) : true", "onDeadline needs a deadline")
        .field_path(".onDeadline"),
    transform = rules::deadline_after_overlap()
)]
pub struct Retirement {
    /// Shortest time that both tokens live, counted from the swap; 0s to 90d. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(0, 90 * DAY, "after is at most 90d"))]
    pub after: Option<String>,
    /// Time that a kubelet may take to refresh a mounted Secret; pods that mount it as a plain volume count as moved
    /// after it; 0s to 1h. Default: 3m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(0, HOUR, "volumeSync is at most 1h"))]
    pub volume_sync: Option<String>,
    /// How long dbt must have seen no use of the old token; this is how consumers outside the cluster are noticed; 0s
    /// to 90d. 0s ignores dbt's last use, but for an adopted token. Default: 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(0, 90 * DAY, "quietPeriod is at most 90d"))]
    pub quiet_period: Option<String>,
    /// Kinds of workloads that are restarted once after a swap, as by kubectl rollout restart, if they read the Secret by
    /// env or subPath and so cannot see the new token. The operator needs the right to list and patch them
    /// (rbac.restarts of its chart). Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), transform = schema::set())]
    pub restart: Option<Vec<RestartKind>>,
    /// Time after the swap at which waiting ends and onDeadline says what happens; up to 365d. Default: none, the old
    /// token waits as long as it is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = duration(0, 365 * DAY, "deadline is at most 365d"))]
    pub deadline: Option<String>,
    /// Hold keeps the old token and raises an alarm; Delete revokes it although it is in use. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<OnDeadline>,
}

/// A kind of workloads that may be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum RestartKind {
    /// Deployments.
    Deployment,
    /// StatefulSets.
    StatefulSet,
    /// DaemonSets.
    DaemonSet,
}

/// What happens to an old token that is in use at its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDeadline {
    /// It is kept, with an alarm.
    Hold,
    /// It is revoked.
    Delete,
}
