//! The API server's audit log: who asked for what, without any body.

use std::path::Path;

use serde::Deserialize;

/// One request that was answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub verb: String,
    #[serde(rename = "requestURI")]
    pub uri: String,
    pub stage: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct ObjectRef {
    #[serde(default)]
    resource: String,
}

impl Request {
    /// Such as `secrets`.
    pub fn resource(&self) -> &str {
        &self.object_ref.resource
    }

    /// Whether it counts as work on objects: leases and events are left out, and so is a watch, which is not over.
    pub fn counts(&self) -> bool {
        !["leases", "events"].contains(&self.resource()) && self.verb != "watch"
    }

    /// Whether it may change something.
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// The answered requests of a user, in order.
pub fn requests_of(log: &Path, user: &str) -> Vec<Request> {
    let text = std::fs::read_to_string(log).expect("the audit log can be read");
    let read = |line: &str| serde_json::from_str::<Request>(line).ok();
    text.lines().filter_map(read).filter(|it| it.user.username == user && it.stage == "ResponseComplete").collect()
}
