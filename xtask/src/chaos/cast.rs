//! Who plays: ServiceTokens, what runs with their Secrets, and tokens in dbt that are nobody's business.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Error, NAMESPACE};
use crate::consumers::Consumers;
use crate::site::emulator::Emulator;
use crate::site::install;

/// The key of every Secret that holds the token.
pub(super) const KEY: &str = "token";

/// The name of the DbtAccount.
pub(super) const ACCOUNT: &str = "analytics";

/// More than any run of some minutes needs, and few enough to show a loop.
pub(super) const MINTS_PER_HOUR: u32 = 2000;

/// How a token is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing runs with it: readers of the Secret only.
    Alone,
    Environment,
    Volume,
    SubPath,
}

/// One ServiceToken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    kind: Kind,
}

impl Member {
    pub(super) fn secret(&self) -> String {
        format!("{}-dbt", self.name)
    }

    /// Whether something runs that takes its Secret.
    pub(super) fn has_consumer(&self) -> bool {
        self.kind != Kind::Alone
    }

    /// Its Deployment, as kubectl names it.
    pub(super) fn deployment(&self) -> String {
        format!("deployment/{}", self.name)
    }

    /// What is declared.
    pub(super) fn declaration(&self) -> Value {
        json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "ServiceToken",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "accountRef": {"name": ACCOUNT},
                "permissions": permissions(0),
                "secret": {"name": self.secret()},
                "rotation": {"retire": {"after": "3s", "volumeSync": "4s", "quietPeriod": "0s"}},
            },
        })
    }

    fn workload(&self) -> Option<Value> {
        let mount = |path: &str| json!({"volumeMounts": [{"name": "dbt", "mountPath": "/dbt", "subPath": path}]});
        let mut container = match self.kind {
            Kind::Alone => return None,
            Kind::Environment => json!({"envFrom": [{"secretRef": {"name": self.secret()}}]}),
            Kind::Volume => mount(""),
            Kind::SubPath => mount(KEY),
        };
        container["name"] = json!("main");
        container["image"] = json!("reader");
        let volumes = match self.kind {
            Kind::Volume | Kind::SubPath => json!([{"name": "dbt", "secret": {"secretName": self.secret()}}]),
            Kind::Alone | Kind::Environment => json!([]),
        };
        let labels = json!({"reader": self.name});
        let spec = json!({"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 0});
        Some(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }))
    }
}

/// Two declarations that differ, by turns.
pub(super) fn permissions(turn: usize) -> Value {
    let sets: &[&str] = if turn.is_multiple_of(2) { &["job_viewer"] } else { &["job_viewer", "job_runner"] };
    sets.iter().map(|set| json!({"permissionSet": set, "projects": [{"name": "Finance"}]})).collect()
}

/// Something that every token may ask, and that the operator never does, so that faults can tell them apart.
pub(super) fn path_of_consumers(emulator: &Emulator) -> String {
    format!("/api/v2/accounts/{}/jobs/?limit=1&offset=0", emulator.account_id)
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Cast {
    pub(super) members: Vec<Member>,
}

/// Names of tokens that the operator must leave alone: one without a mark, one of another installation, and one whose mark
/// is not whole.
pub(super) const STRANGERS: [&str; 3] = [
    "made by hand",
    "elsewhere [dbt-token-operator 00000000-0000-4000-8000-000000000000 00000000-0000-4000-8000-000000000001 1700000000]",
    "forged [dbt-token-operator here there",
];

impl Cast {
    pub(super) fn new(objects: usize) -> Self {
        let kinds = [Kind::Alone, Kind::Environment, Kind::Volume, Kind::SubPath];
        let member = |number: usize| Member { name: format!("token-{number:03}"), kind: kinds[number % kinds.len()] };
        Self { members: (0..objects).map(member).collect() }
    }

    /// The account, led to the emulator.
    pub(super) fn account(emulator: &Emulator) -> Value {
        let url = &emulator.https_url;
        json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "DbtAccount", "metadata": {"name": ACCOUNT},
            "spec": {
                "accessUrl": url,
                "accountId": emulator.account_id,
                "credentialsSecretRef": {"name": install::CREDENTIAL},
                "caBundleSecretRef": {"name": install::CA},
                "endpoints": {"discovery": format!("{url}/graphql"), "semanticLayer": format!("{url}/api/graphql")},
                "inventory": {"interval": "1m"},
                "limits": {"mintsPerHour": MINTS_PER_HOUR},
                "grants": [{"namespaces": [NAMESPACE], "permissionSets": ["job_viewer", "job_runner"], "allProjects": true}],
            },
        })
    }

    /// All ServiceTokens.
    pub(super) fn declarations(&self) -> String {
        list(self.members.iter().map(Member::declaration))
    }

    /// What runs with their Secrets. No kubelet is here to hold it back until there are any.
    pub(super) fn workloads(&self) -> String {
        list(self.members.iter().filter_map(Member::workload))
    }

    pub(super) fn make_strangers(&self, emulator: &Emulator) -> Result<(), Error> {
        for name in STRANGERS {
            let grants = json!([{"permission_set": "job_viewer", "project_id": 700}]);
            emulator.add_token(&json!({"name": name, "created_at": "2022-03-04", "grants": grants}))?;
        }
        Ok(())
    }

    /// Whether every consumer runs and holds a token.
    pub(super) fn all_run(&self, consumers: &Consumers) -> bool {
        let count = |wanted: Kind| self.members.iter().filter(|member| member.kind == wanted).count();
        let of = |word, kind| (word, count(kind));
        let expected = BTreeMap::from([
            ("the Secret itself", self.members.len()),
            of("environment", Kind::Environment),
            of("volume", Kind::Volume),
            of("subPath", Kind::SubPath),
        ]);
        consumers.holders() == expected
    }
}

fn list(items: impl Iterator<Item = Value>) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()}).to_string()
}
