//! Secrets that look like slots of the operator and are none: what a tenant forges, and what a copy of a cluster brings along.

use dbt_token_planner::observation::Token;
use serde_json::{Value, json};

use crate::cluster::{Key, Kind};
use crate::dbt::ACCOUNT;
use crate::replica::{INSTALLATION, NAMESPACE};
use crate::scene::{self, ACCOUNT_NAME, PREFIX};
use crate::world::State;

/// A Secret that looks like a filled slot of this owner: namespace, name and uid.
pub fn forge(state: &mut State, namespace: &str, installation: &str, owner: (&str, &str, &str), token: &Token) {
    let (owner_namespace, owner_name, uid) = owner;
    // The first digits of the digest of the installation.
    let digits = if installation == INSTALLATION { "ae0bec9e" } else { "4c55a855" };
    let own = |pairs: &[(&str, &str)]| -> Value {
        pairs.iter().map(|(name, value)| (format!("{PREFIX}/{name}"), json!(value))).collect()
    };
    let mut body = scene::secret("token", "forged");
    body["type"] = json!(format!("{PREFIX}/slot"));
    body["metadata"]["labels"] =
        own(&[("slot", "true"), ("owner-uid", uid), ("serial", "5"), ("installation", installation), ("committed", "true")]);
    body["metadata"]["annotations"] = own(&[
        ("owner-namespace", owner_namespace),
        ("owner-name", owner_name),
        ("account", ACCOUNT_NAME),
        ("account-id", &ACCOUNT.to_string()),
        ("token-id", &token.id.to_string()),
        ("token-uid", &token.uid.to_string()),
        ("granted", ""),
    ]);
    scene::create(state, &Key::new(Kind::Secret, namespace, &format!("slot-{uid}-5-{digits}")), body);
}

/// The slot that the original of this cluster, of which it is a copy, has for an object.
pub fn of_the_original(state: &mut State, key: &Key) {
    let Some(uid) = state.store.get(key).and_then(|object| object["metadata"]["uid"].as_str()).map(str::to_owned) else { return };
    let theirs = state.dbt.tokens.values().find(|it| it.token.name.starts_with("x [")).map(|it| it.token.clone());
    if let Some(theirs) = theirs {
        forge(state, NAMESPACE, "theirs", (&key.namespace, &key.name, &uid), &theirs);
    }
}
