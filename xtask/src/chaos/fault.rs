//! What goes wrong: with the replicas, with Kubernetes, with dbt, and by people.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cast::{self, Member};
use super::storm::Storm;
use super::{Error, NAMESPACE, Stage};
use crate::site;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    KillReplica,
    PauseReplica,
    RestartApiServer,
    RestartEtcd,
    CutDbt,
    SlowDbt,
    TooManyRequests,
    LoseAnswers,
    LoseCreations,
    LateCreations,
    GatewayErrors,
    RefuseCredential,
    EmptyLists,
    StaleLists,
    RevokeToken,
    DeleteSecret,
    OverwriteSecret,
    DeleteSlot,
    WipeStatus,
    EditPermissions,
    AskForRotation,
    DeleteObject,
}

pub(super) const ALL: [Fault; 22] = [
    Fault::KillReplica,
    Fault::PauseReplica,
    Fault::RestartApiServer,
    Fault::RestartEtcd,
    Fault::CutDbt,
    Fault::SlowDbt,
    Fault::TooManyRequests,
    Fault::LoseAnswers,
    Fault::LoseCreations,
    Fault::LateCreations,
    Fault::GatewayErrors,
    Fault::RefuseCredential,
    Fault::EmptyLists,
    Fault::StaleLists,
    Fault::RevokeToken,
    Fault::DeleteSecret,
    Fault::OverwriteSecret,
    Fault::DeleteSlot,
    Fault::WipeStatus,
    Fault::EditPermissions,
    Fault::AskForRotation,
    Fault::DeleteObject,
];

/// What has to be undone later.
#[derive(Debug)]
pub(super) enum Undo {
    StartReplica(usize),
    ResumeReplica(usize),
    /// A rule of the emulator, by its handle.
    RemoveRule(u64),
    DbtAtFullSpeed,
    Declare(Member),
}

impl Fault {
    /// How often it comes, beside others.
    pub(super) fn weight(self) -> u32 {
        match self {
            Self::EditPermissions | Self::AskForRotation => 6,
            Self::KillReplica
            | Self::PauseReplica
            | Self::DeleteSecret
            | Self::LoseAnswers
            | Self::LateCreations
            | Self::LoseCreations => 3,
            Self::RestartApiServer | Self::RestartEtcd => 1,
            _ => 2,
        }
    }

    /// Lets it happen. What has to be undone goes into the storm's list.
    pub(super) fn strike(self, storm: &mut Storm, stage: &mut Stage) -> Result<(), Error> {
        match self {
            Self::KillReplica | Self::PauseReplica => self.strike_replica(storm, stage),
            Self::RestartApiServer => plane(stage, |plane| plane.restart_api_server()),
            Self::RestartEtcd => plane(stage, |plane| plane.restart_etcd()),
            Self::SlowDbt => {
                stage.emulator.set_modes(&json!({"latency_ms": 400}))?;
                storm.undo_later(Undo::DbtAtFullSpeed, Duration::from_secs(6));
                Ok(())
            }
            Self::RevokeToken => revoke_token(storm, stage),
            Self::DeleteSlot => delete_slot(storm, stage),
            Self::CutDbt
            | Self::TooManyRequests
            | Self::LoseAnswers
            | Self::LoseCreations
            | Self::LateCreations
            | Self::GatewayErrors
            | Self::RefuseCredential
            | Self::EmptyLists
            | Self::StaleLists => self.strike_dbt(storm, stage),
            Self::DeleteSecret
            | Self::OverwriteSecret
            | Self::WipeStatus
            | Self::EditPermissions
            | Self::AskForRotation
            | Self::DeleteObject => self.strike_object(storm, stage),
        }
    }

    fn strike_replica(self, storm: &mut Storm, stage: &mut Stage) -> Result<(), Error> {
        let number = storm.choose(stage.operators.len());
        if storm.is_down(number) {
            return Ok(());
        }
        let operator = &stage.operators[number];
        match self {
            Self::KillReplica => {
                operator.kill(&mut stage.site.supervised)?;
                let down = storm.seconds(0, 6);
                storm.undo_later(Undo::StartReplica(number), down);
            }
            _ => {
                signal(operator.process_id, "STOP");
                // Shorter and longer than a lease holds.
                let down = storm.seconds(1, 20);
                storm.undo_later(Undo::ResumeReplica(number), down);
            }
        }
        Ok(())
    }

    /// A rule for the calls of the operator's own credential. Its tries of new tokens, and all consumers, are let through.
    fn strike_dbt(self, storm: &mut Storm, stage: &Stage) -> Result<(), Error> {
        let admin = stage.admin()?;
        let seed = storm.seed();
        let every = json!({"token_id": admin});
        let writes = |probability: f64| json!({"token_id": admin, "method": "POST", "path": "service-tokens/", "probability": probability, "seed": seed});
        let lists = json!({"token_id": admin, "method": "GET", "path": "service-tokens/"});
        let (matching, fault) = match self {
            Self::CutDbt => (every, json!({"kind": "drop_before"})),
            Self::TooManyRequests => (every, json!({"kind": "too_many_requests", "retry_after_seconds": 1})),
            Self::GatewayErrors => (every, json!({"kind": "html", "status": 502})),
            Self::RefuseCredential => (every, json!({"kind": "unauthorized"})),
            Self::LoseAnswers => (json!({"token_id": admin, "probability": 0.4, "seed": seed}), json!({"kind": "drop_after"})),
            // While lists are answered too rarely nothing is created, so that those of creations are lost by themselves as well.
            Self::LoseCreations => (writes(0.6), json!({"kind": "drop_after"})),
            Self::LateCreations => (writes(0.6), json!({"kind": "late_effect", "after_ms": 3000})),
            Self::EmptyLists => (lists, json!({"kind": "empty_list"})),
            _ => (lists, json!({"kind": "stale_list"})),
        };
        let answer = stage.emulator.control("POST", "/control/faults", &json!({"match": matching, "fault": fault}))?;
        let handle = answer["handles"][0].as_u64().unwrap_or_default();
        let lasts = storm.seconds(2, 8);
        storm.undo_later(Undo::RemoveRule(handle), lasts);
        Ok(())
    }

    fn strike_object(self, storm: &mut Storm, stage: &Stage) -> Result<(), Error> {
        let member = storm.choose_member(stage, self == Self::DeleteObject);
        let Some(member) = member else { return Ok(()) };
        let kubectl = &stage.site.kubectl;
        let (name, secret) = (member.name.clone(), member.secret());
        let merge = |subresource: &[&str], patch: Value| {
            let patch = patch.to_string();
            let fixed = ["patch", "servicetoken", &name, "-n", NAMESPACE, "--type=merge", "-p", &patch];
            kubectl.run(&[&fixed[..], subresource].concat())
        };
        match self {
            Self::DeleteSecret => kubectl.run(&["delete", "secret", &secret, "-n", NAMESPACE])?,
            Self::OverwriteSecret => {
                let patch = json!({"stringData": {cast::KEY: "overwritten by somebody"}}).to_string();
                kubectl.run(&["patch", "secret", &secret, "-n", NAMESPACE, "--type=merge", "-p", &patch])?
            }
            Self::WipeStatus => merge(&["--subresource=status"], json!({"status": null}))?,
            Self::EditPermissions => {
                let turn = storm.turn(&name);
                merge(&[], json!({"spec": {"permissions": cast::permissions(turn)}}))?
            }
            Self::AskForRotation => {
                let value = storm.seed().to_string();
                merge(&[], json!({"metadata": {"annotations": {"tokens.dbt-operator.dev/rotate-at": value}}}))?
            }
            _ => {
                storm.note_deleted(&secret, Instant::now());
                storm.undo_later(Undo::Declare(member), Duration::from_secs(5));
                kubectl.run(&["delete", "servicetoken", &name, "-n", NAMESPACE, "--wait=false"])?
            }
        };
        Ok(())
    }
}

/// Somebody deletes the token that an object has published, in dbt's web page.
fn revoke_token(storm: &mut Storm, stage: &Stage) -> Result<(), Error> {
    let Some(member) = storm.choose_member(stage, false) else { return Ok(()) };
    let object = stage.site.kubectl.json(&["get", "servicetoken", &member.name, "-n", NAMESPACE])?;
    let token = &object["status"]["token"];
    let (Some(id), Some(uid)) = (token["id"].as_i64(), token["uid"].as_str()) else { return Ok(()) };
    storm.note_revoked(uid);
    stage.emulator.control("DELETE", &format!("/control/tokens/{id}"), &Value::Null)?;
    Ok(())
}

/// Somebody deletes one of the operator's own Secrets.
fn delete_slot(storm: &mut Storm, stage: &Stage) -> Result<(), Error> {
    let kubectl = &stage.site.kubectl;
    let selector = "tokens.dbt-operator.dev/owner-uid";
    let slots = kubectl.run(&["get", "secrets", "-n", site::install::NAMESPACE, "-l", selector, "-o", "name"])?;
    let slots: Vec<&str> = slots.lines().collect();
    if slots.is_empty() {
        return Ok(());
    }
    let slot = slots[storm.choose(slots.len())];
    kubectl.run(&["delete", slot, "-n", site::install::NAMESPACE])?;
    Ok(())
}

fn plane(
    stage: &mut Stage,
    change: impl FnOnce(&mut crate::control_plane::ControlPlane) -> Result<(), crate::control_plane::Error>,
) -> Result<(), Error> {
    let plane = stage.site.plane.as_mut().expect("chaos has a plane of its own");
    Ok(change(plane).map_err(site::Error::from)?)
}

/// Sends a signal to a process of ours; one that has ended just now gets none.
fn signal(process_id: u32, name: &str) {
    let _sent = Command::new("kill").args([&format!("-{name}"), &process_id.to_string()]).status();
}

impl Undo {
    pub(super) fn run(self, storm: &mut Storm, stage: &mut Stage) -> Result<(), Error> {
        match self {
            Self::StartReplica(number) => {
                storm.up(number);
                Ok(stage.operators[number].start_again(&mut stage.site.supervised)?)
            }
            Self::ResumeReplica(number) => {
                storm.up(number);
                signal(stage.operators[number].process_id, "CONT");
                Ok(())
            }
            Self::RemoveRule(handle) => {
                stage.emulator.control("DELETE", &format!("/control/faults/{handle}"), &Value::Null)?;
                Ok(())
            }
            Self::DbtAtFullSpeed => Ok(stage.emulator.set_modes(&json!({"latency_ms": 0}))?),
            Self::Declare(member) => {
                let kubectl = &stage.site.kubectl;
                let query = ["get", "servicetoken", &member.name, "-n", NAMESPACE, "--ignore-not-found", "-o", "name"];
                if !kubectl.run(&query)?.is_empty() {
                    storm.undo_later(Self::Declare(member), Duration::from_secs(2));
                    return Ok(());
                }
                kubectl.apply(&member.declaration().to_string())?;
                storm.declared(&member, Instant::now());
                Ok(())
            }
        }
    }
}
