//! Guards: beside every test, each published Secret is looked at five times a second. From its first publication on there must
//! be no moment in which it holds a token that does not work, other than where the test itself damages things.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbt_cloud_emulator::Emulator;
use dbt_token_operator::api::v1alpha1::ServiceToken;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::census::{Declarations, held};
use super::scene::Scene;
use super::wait::for_ever;

/// How often a Secret is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// One guarded ServiceToken.
pub struct Guard {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The name of its Secret.
    pub secret: String,
    /// What was declared at any time.
    pub declared: Declarations,
    /// Whether its Secret ever held a working token.
    pub was_ready: Arc<AtomicBool>,
    /// Whether its deletion was asked for, from which on outages are meant.
    pub deleted: Arc<AtomicBool>,
    broken: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Guard {
    /// What was seen broken.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().expect("no holder panics").clone()
    }

    /// Ends the watching.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Scene {
    /// Guards a ServiceToken that is about to be applied.
    pub(super) fn guard(&self, object: &Value) {
        let token: ServiceToken = serde_json::from_value(object.clone()).expect("a ServiceToken");
        let namespace = token.metadata.namespace.clone().unwrap_or_default();
        let name = token.metadata.name.clone().unwrap_or_default();
        let known = |guard: &Guard| guard.namespace == namespace && guard.name == name;
        if !self.guards.lock().expect("no holder panics").iter().any(known) {
            let guard = self.start_guard(&token, namespace.clone(), name.clone());
            self.guards.lock().expect("no holder panics").push(guard);
        }
        self.declare(&token);
    }

    /// Notes what is declared from now on.
    pub(super) fn declare(&self, token: &ServiceToken) {
        let guards = self.guards.lock().expect("no holder panics");
        let (namespace, name) = (token.metadata.namespace.as_ref(), token.metadata.name.as_ref());
        let guard = guards.iter().find(|guard| Some(&guard.namespace) == namespace && Some(&guard.name) == name);
        if let Some(guard) = guard {
            guard.declared.add(token, &self.dbt);
        }
    }

    fn start_guard(&self, token: &ServiceToken, namespace: String, name: String) -> Guard {
        let secret = token.spec.secret.name.clone();
        let api: Api<Secret> = Api::namespaced(self.stage.client(), &namespace);
        let (was_ready, deleted) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let broken = Arc::<Mutex<Vec<String>>>::default();
        let watched = Watched {
            api,
            secret: secret.clone(),
            dbt: Arc::clone(&self.dbt),
            excused: [Arc::clone(&self.disturbed), Arc::clone(&deleted)],
            was_ready: Arc::clone(&was_ready),
            broken: Arc::clone(&broken),
        };
        let watched = Arc::new(watched);
        let task = tokio::spawn(for_ever(EVERY, move || Arc::clone(&watched).look()));
        Guard { namespace, name, secret, declared: Declarations::default(), was_ready, deleted, broken, task }
    }
}

struct Watched {
    api: Api<Secret>,
    secret: String,
    dbt: Arc<Emulator>,
    excused: [Arc<AtomicBool>; 2],
    was_ready: Arc<AtomicBool>,
    broken: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    /// A Secret that holds a dead string is looked at once more: only if it is still the same was there such a moment.
    async fn look(self: Arc<Self>) {
        let Ok(Some(secret)) = self.api.get_opt(&self.secret).await else { return };
        // One that was there before is nobody's promise until it is taken over.
        if !secret.annotations().contains_key("tokens.dbt-operator.dev/service-token") {
            return;
        }
        match held(&secret, &self.dbt) {
            None => return,
            Some((_, true)) => return self.was_ready.store(true, Ordering::SeqCst),
            Some((_, false)) => {}
        }
        let Ok(Some(again)) = self.api.get_opt(&self.secret).await else { return };
        if again.metadata.resource_version == secret.metadata.resource_version
            && again.metadata.deletion_timestamp.is_none()
            && !self.excused.iter().any(|excuse| excuse.load(Ordering::SeqCst))
        {
            let now = jiff::Timestamp::now();
            let message = format!("{now}: Secret {} holds a token that dbt refuses", self.secret);
            self.broken.lock().expect("no holder panics").push(message);
        }
    }
}
