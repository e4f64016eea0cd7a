//! Who holds which string at a moment, at the worst. Secrets and pods are ordered by their resourceVersions, which the API
//! server takes from one clock of etcd's, so that no comparison of times is needed but for volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::pod::{self, Way};
use super::watch::Event;

/// Whoever holds a string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// Anybody who reads the Secret now.
    Reader {
        /// The Secret.
        secret: String,
    },
    /// A container that runs.
    Container {
        /// The name of its pod.
        pod: String,
        /// Its name.
        container: String,
        /// The Secret.
        secret: String,
        /// How it takes it.
        way: Way,
    },
}

impl Holder {
    /// The Secret that the string comes from.
    pub(super) fn secret(&self) -> &str {
        match self {
            Self::Reader { secret } | Self::Container { secret, .. } => secret,
        }
    }

    /// How the string is held.
    pub(super) fn way(&self) -> &'static str {
        match self {
            Self::Reader { .. } => "the Secret itself",
            Self::Container { way, .. } => way.word(),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reader { secret } => write!(formatter, "a reader of Secret {secret}"),
            Self::Container { pod, container, secret, way } => {
                write!(formatter, "container {container} of pod {pod}, which takes Secret {secret} by {}", way.word())
            }
        }
    }
}

/// A string, which cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Held(Arc<str>);

impl Held {
    /// The uid at its start, which is no secret.
    pub(super) fn uid(&self) -> Option<String> {
        self.0.strip_prefix("dbtc_")?.get(..7).map(str::to_owned)
    }

    /// For the header of a request.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Held(..)")
    }
}

/// What somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) holder: Holder,
    pub(super) held: Held,
    /// Whether the Secret holds it, too.
    pub(super) is_current: bool,
}

/// A Secret from one write to the next.
#[derive(Debug)]
struct Version {
    revision: u64,
    seen: Instant,
    held: Option<Held>,
}

#[derive(Debug)]
struct Pod {
    name: String,
    revision: u64,
    containers: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    container: pod::Container,
    /// The last revision before it was seen to run: it took nothing that is older.
    since: u64,
}

/// Everything that the watches told.
#[derive(Debug, Default)]
pub(super) struct Known {
    key: &'static str,
    volume_lag: Duration,
    secrets: BTreeMap<String, Vec<Version>>,
    /// By their uids: a name may come again.
    pods: BTreeMap<String, Pod>,
}

impl Known {
    pub(super) fn new(key: &'static str, volume_lag: Duration) -> Self {
        Self { key, volume_lag, ..Self::default() }
    }

    /// Notes what became of a Secret.
    pub(super) fn secret(&mut self, event: &Event, now: Instant) {
        let (name, revision) = (text(&event.object["metadata"]["name"]), revision(&event.object));
        let data = event.object["data"][self.key].as_str().filter(|_| event.kind != "DELETED");
        let held = data.and_then(decoded).map(|string| Held(string.into()));
        let versions = self.secrets.entry(name).or_default();
        // A watch that begins anew tells once more what is known already.
        if versions.last().is_none_or(|last| last.revision < revision) {
            versions.push(Version { revision, seen: now, held });
        }
    }

    /// Notes that of all Secrets only these are there, as far as a list of this revision knows.
    pub(super) fn only_secrets(&mut self, present: &BTreeSet<String>, revision: u64, now: Instant) {
        for (name, versions) in &mut self.secrets {
            let is_older = versions.last().is_some_and(|last| last.revision <= revision && last.held.is_some());
            if is_older && !present.contains(name) {
                versions.push(Version { revision, seen: now, held: None });
            }
        }
    }

    /// The same for pods, by their uids.
    pub(super) fn only_pods(&mut self, present: &BTreeSet<String>, revision: u64) {
        self.pods.retain(|uid, pod| pod.revision > revision || present.contains(uid));
    }

    /// Notes what became of a pod.
    pub(super) fn pod(&mut self, event: &Event) {
        let uid = text(&event.object["metadata"]["uid"]);
        if event.kind == "DELETED" {
            self.pods.remove(&uid);
            return;
        }
        let before = self.pods.get(&uid);
        let now = revision(&event.object);
        let last = before.map_or(now, |pod| pod.revision);
        let containers = pod::containers(&event.object).into_iter().map(|container| {
            let known = before.and_then(|pod| pod.containers.iter().find(|known| known.container.name == container.name));
            let since = known.filter(|known| known.container.started == container.started).map_or(last, |known| known.since);
            Running { container, since }
        });
        let containers = containers.collect();
        self.pods.insert(uid, Pod { name: text(&event.object["metadata"]["name"]), revision: now, containers });
    }

    /// What everybody holds.
    pub(super) fn views(&self, now: Instant) -> Vec<View> {
        let readers = self.secrets.iter().filter_map(|(name, versions)| {
            let held = versions.last()?.held.clone()?;
            Some(View { holder: Holder::Reader { secret: name.clone() }, held, is_current: true })
        });
        readers.chain(self.pods.values().flat_map(|pod| self.views_of(pod, now))).collect()
    }

    fn views_of<'a>(&'a self, pod: &'a Pod, now: Instant) -> impl Iterator<Item = View> + 'a {
        let running = pod.containers.iter().filter(|running| running.container.started.is_some());
        running.flat_map(move |running| {
            running.container.takes.iter().filter_map(move |(secret, way)| {
                let versions = self.secrets.get(secret)?;
                let held = self.taken(versions, *way, running.since, now)?.held.clone()?;
                let is_current = versions.last().is_some_and(|last| last.held.as_ref() == Some(&held));
                let (secret, container) = (secret.clone(), running.container.name.clone());
                Some(View { holder: Holder::Container { pod: pod.name.clone(), container, secret, way: *way }, held, is_current })
            })
        })
    }

    /// The version that a container has: the last one before it started, or before the volume was last written. The first
    /// one if all are later: it was there before the watch.
    fn taken<'a>(&self, versions: &'a [Version], way: Way, since: u64, now: Instant) -> Option<&'a Version> {
        let is_before = |version: &&Version| match way {
            Way::Environment | Way::SubPath => version.revision <= since,
            Way::Volume => version.revision <= since || version.seen + self.volume_lag <= now,
        };
        versions.iter().rev().find(is_before).or_else(|| versions.first())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The text of a value in a Secret; nothing if it is none.
fn decoded(value: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LAG: Duration = Duration::from_secs(5);

    struct Story {
        known: Known,
        start: Instant,
    }

    impl Story {
        fn begin() -> Self {
            Self { known: Known::new("token", LAG), start: Instant::now() }
        }

        /// Secret `dbt` holds `old` (base64 `b2xk`) or `new` (`bmV3`) from a revision and a second on.
        fn secret(mut self, data: &str, revision: u64, second: u64) -> Self {
            let object = json!({"metadata": {"name": "dbt", "resourceVersion": revision.to_string()}, "data": {"token": data}});
            let now = self.start + Duration::from_secs(second);
            self.known.secret(&Event { kind: "MODIFIED".into(), object }, now);
            self
        }

        fn pod(mut self, revision: u64, started: Option<&str>, kind: &str) -> Self {
            let running = started.map(|started| json!({"running": {"startedAt": started}}));
            let object = json!({
                "metadata": {"name": "reader", "uid": "u", "resourceVersion": revision.to_string()},
                "spec": {
                    "volumes": [{"name": "v", "secret": {"secretName": "dbt"}}],
                    "containers": [
                        {"name": "main", "envFrom": [{"secretRef": {"name": "dbt"}}], "volumeMounts": [{"name": "v"}]},
                    ],
                },
                "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": running}]},
            });
            self.known.pod(&Event { kind: kind.into(), object });
            self
        }

        /// What is held at a second: by readers, by environment, by volume.
        fn check(self, second: u64, expected: &[&str]) -> Self {
            let views = self.known.views(self.start + Duration::from_secs(second));
            let told: Vec<String> = views
                .iter()
                .map(|view| {
                    let age = if view.is_current { "" } else { ", outdated" };
                    format!("{}: {}{age}", view.holder.way(), view.held.expose())
                })
                .collect();
            assert_eq!(told, expected);
            self
        }
    }

    #[test]
    fn a_container_holds_what_the_secret_held_before_it_started() {
        let story = Story::begin().secret("b2xk", 10, 0).check(0, &["the Secret itself: old"]);
        let story = story.pod(20, None, "ADDED").check(0, &["the Secret itself: old"]);
        let story = story.pod(22, Some("then"), "MODIFIED");
        let story = story.check(0, &["the Secret itself: old", "environment: old", "volume: old"]);
        let story = story.secret("bmV3", 30, 100);
        let old = ["the Secret itself: new", "environment: old, outdated", "volume: old, outdated"];
        let story = story.check(100, &old).check(104, &old);
        let story = story.check(105, &["the Secret itself: new", "environment: old, outdated", "volume: new"]);
        // Other news of the pod change nothing; a new start does.
        let story = story.pod(31, Some("then"), "MODIFIED");
        let story = story.check(200, &["the Secret itself: new", "environment: old, outdated", "volume: new"]);
        let story = story.pod(40, Some("later"), "MODIFIED");
        let story = story.check(200, &["the Secret itself: new", "environment: new", "volume: new"]);
        story.pod(41, None, "DELETED").check(200, &["the Secret itself: new"]);
    }

    #[test]
    fn the_order_of_the_watches_does_not_matter() {
        let story = Story::begin().secret("b2xk", 10, 0).pod(20, None, "ADDED").pod(40, Some("then"), "MODIFIED");
        // The Secret was changed while the pod waited for its container, which may have read it before.
        let story = story.secret("bmV3", 30, 1);
        let story = story.check(2, &["the Secret itself: new", "environment: old, outdated", "volume: old, outdated"]);
        // And before the pod was there.
        let story = Story { known: Known { pods: BTreeMap::new(), ..story.known }, ..story };
        let story = story.pod(50, None, "ADDED").pod(51, Some("then"), "MODIFIED");
        story.check(2, &["the Secret itself: new", "environment: new", "volume: new"]);
    }

    #[test]
    fn what_went_while_nobody_watched_is_dropped() {
        let mut story = Story::begin().secret("b2xk", 10, 0).pod(20, Some("then"), "ADDED");
        let none = BTreeSet::new();
        story.known.only_pods(&none, 19);
        story.known.only_secrets(&none, 9, story.start);
        let mut story = story.check(1, &["the Secret itself: old", "environment: old", "volume: old"]);
        story.known.only_pods(&BTreeSet::from(["u".to_owned()]), 20);
        story.known.only_secrets(&BTreeSet::from(["dbt".to_owned()]), 20, story.start);
        // It is told once more, and nothing changes.
        let mut story = story.secret("b2xk", 10, 1).check(1, &["the Secret itself: old", "environment: old", "volume: old"]);
        story.known.only_pods(&none, 20);
        let mut story = story.check(1, &["the Secret itself: old"]);
        story.known.only_secrets(&none, 20, story.start);
        story.check(1, &[]);
    }

    #[test]
    fn a_secret_that_is_gone_or_empty_is_held_by_nobody() {
        let story = Story::begin().secret("", 10, 0);
        assert_eq!(decoded("b2xkZXI="), Some("older".into()));
        assert_eq!((decoded("b2x*"), decoded("/w==")), (None, None));
        let mut story = story.secret("b2xk", 11, 0);
        let object = json!({"metadata": {"name": "dbt", "resourceVersion": "12"}, "data": {"token": "b2xk"}});
        story.known.secret(&Event { kind: "DELETED".into(), object }, story.start);
        story.check(1, &[]);
    }
}
