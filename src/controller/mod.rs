//! Runs the operator: watches, work queues with bounded concurrency, leadership, shutdown. The work itself is in
//! [`reconcile`] for ServiceTokens and in [`crate::account`] for DbtAccounts.

mod cache;
mod execute;
mod expect;
mod failure;
mod leader;
mod observe;
mod outbox;
mod queue;
mod reconcile;
mod retry;
mod start;
mod watches;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dbt_token_planner::identity::{Installation, OwnerUid};
use dbt_token_planner::report::Event;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};

pub use leader::Leadership;
pub use reconcile::OBJECTION;
pub use start::{Options, StartError, start};

use crate::account::{Accounts, Affected, Change, Connector, DbtConnector, Surroundings, Watched};
use crate::api::v1alpha1::{DbtAccount, ServiceToken};
use crate::backend::dbt::{Meter, Now, Timing};
use crate::clock::Clock;
use crate::cluster::account_access::AccountAccess;
use crate::cluster::consumers::Pods;
use crate::cluster::events::Events;
use crate::cluster::ledger::Statuses;
use crate::cluster::slot::Slots;
use crate::cluster::target::Targets;
use crate::cluster::workloads::Restarts;
use crate::health::Health;
use crate::metrics::Metrics;
use cache::Caches;
use expect::Expect;
use outbox::Outbox;
use queue::Look;
use retry::Memories;
use watches::Triggers;

/// How long work that is under way may go on after the process was asked to stop: less than the grace period of the
/// chart, so that an effect in flight is finished rather than cut off.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// How long work on one object may take: longer than all time-outs of the calls that one look makes one after the other.
const LONGEST_WORK: Duration = Duration::from_secs(5 * 60);

/// How soon work that was given up is begun anew.
const AGAIN: Duration = Duration::from_secs(1);

/// Everything outside the process that work goes to, and the time. A simulation puts its own world here; what works on
/// it is the same.
pub struct Ports {
    /// The API server: whatever answers below the client.
    pub client: Client,
    /// Opens connections to dbt.
    pub connector: Arc<dyn Connector>,
    /// The time.
    pub clock: Clock,
    /// Whether this process leads.
    pub leadership: Leadership,
}

impl Ports {
    /// The ports of a real process: the system's clock, and dbt over the network.
    fn real(client: Client, leadership: Leadership, metrics: &Metrics) -> Self {
        let clock = Clock::system();
        let connector =
            DbtConnector { meter: Arc::new(DbtMeter(metrics.clone())), now: now_of(&clock), timing: Timing::default() };
        Self { client, connector: Arc::new(connector), clock, leadership }
    }
}

/// What a run is told from outside.
pub struct Settings {
    /// The operator's own namespace, where the slots are.
    pub namespace: String,
    /// Which installation this is.
    pub installation: Installation,
    /// The name of this process, for events.
    pub identity: String,
    /// How many objects are worked on at once.
    pub concurrency: u16,
    /// Whether http to loopback addresses is allowed.
    pub allow_insecure_endpoints: bool,
}

/// Everything that work on one object needs.
struct Context {
    client: Client,
    clock: Clock,
    installation: Installation,
    caches: Arc<Caches>,
    accounts: Accounts,
    slots: Slots,
    targets: Targets,
    pods: Pods,
    restarts: Restarts,
    statuses: Statuses,
    events: Outbox,
    metrics: Metrics,
    memories: Memories,
    leadership: Leadership,
    leads_since: OnceLock<Timestamp>,
}

impl Context {
    /// Readings of dbt from before this moment say nothing about the object: this process did something since, or did not
    /// lead yet and another one may have.
    fn fresh_after(&self, owner: &OwnerUid) -> Timestamp {
        let leads_since = self.leads_since.get().copied().unwrap_or(Timestamp::MAX);
        self.memories.changed_at(owner).map_or(leads_since, |changed_at| changed_at.max(leads_since))
    }

    /// Tells what happened, beside the work: nobody waits for it.
    fn tell(&self, token: &ServiceToken, events: Vec<Event>) {
        self.events.send(token.object_ref(&()), events);
    }

    /// Tells what is about to happen, before it does.
    async fn tell_first(&self, token: &ServiceToken, events: Vec<Event>) {
        self.events.send_and_wait(&token.object_ref(&()), &events).await;
    }

    /// Something was written for the object, which the caches will show.
    fn expect(&self, owner: &OwnerUid, expect: Expect) {
        self.caches.expected.add(owner, expect, self.clock.now());
    }
}

/// Runs until it is asked to stop, or leadership is lost.
pub async fn run(
    ports: Ports,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let Ports { client, connector, clock, mut leadership } = ports;
    let (token_trigger, token_queue) = unbounded();
    let (account_trigger, account_queue) = unbounded();
    let triggers = Triggers { tokens: token_trigger.clone(), accounts: account_trigger.clone() };
    let (caches, writers) = Caches::new(&settings.namespace);
    let filling = watches::fill(client.clone(), caches.clone(), writers, triggers.clone());
    let context = Arc::new(Context {
        accounts: accounts(&client, &settings, &caches, &clock, connector),
        slots: Slots::new(client.clone(), &settings.namespace),
        targets: Targets::new(client.clone()),
        pods: Pods::new(client.clone()),
        restarts: Restarts::new(client.clone()),
        statuses: Statuses::new(client.clone()),
        events: Outbox::new(Events::new(client.clone(), Some(settings.identity.clone())), metrics.clone()),
        memories: Memories::default(),
        leads_since: OnceLock::new(),
        installation: settings.installation.clone(),
        leadership: leadership.clone(),
        caches: caches.clone(),
        client,
        clock,
        metrics,
    });
    let stop = stop.boxed().shared();
    let waking = wake(context.clone(), triggers);
    let work = lead(context.clone(), settings.concurrency, leadership.clone(), health, token_queue, account_queue, stop.clone());
    let lost = async {
        leadership.gained().await;
        leadership.lost().await;
    };
    let overdue = async {
        stop.await;
        tokio::time::sleep(SHUTDOWN).await;
    };
    tokio::select! {
        biased;
        () = waking => tracing::error!("the accounts ended"),
        () = filling => tracing::error!("the watches ended"),
        () = work => {
            context.events.finish().await;
            tracing::info!("stopped");
        }
        () = lost => tracing::warn!("the lease is lost; the process ends"),
        () = overdue => tracing::warn!("work under way did not end in time; it is taken up again at the next start"),
    }
}

fn accounts(
    client: &Client,
    settings: &Settings,
    caches: &Arc<Caches>,
    clock: &Clock,
    connector: Arc<dyn Connector>,
) -> Accounts {
    Accounts::new(Surroundings {
        installation: settings.installation.clone(),
        namespace: settings.namespace.clone(),
        allow_insecure: settings.allow_insecure_endpoints,
        watched: caches.clone(),
        cluster: Arc::new(AccountAccess::new(client.clone(), &settings.namespace)),
        connector,
        now: now_of(clock),
    })
}

fn now_of(clock: &Clock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

/// Counts the calls of dbt.
struct DbtMeter(Metrics);

impl Meter for DbtMeter {
    fn exchange(&self, operation: &'static str, outcome: &'static str, duration: Duration) {
        self.0.dbt_call(operation, outcome, duration);
    }
}

/// Wakes the objects that a change of their account concerns. A change of an account's status is none: its counts move
/// with every token that is made.
async fn wake(context: Arc<Context>, triggers: Triggers) {
    let mut changes = pin!(context.accounts.changes());
    while let Some(change) = changes.next().await {
        let Some(Change { account, affected }) = change else {
            context.caches.accounts().iter().for_each(|account| watches::trigger(&triggers.accounts, &**account));
            context.caches.tokens().iter().for_each(|token| watches::trigger(&triggers.tokens, &**token));
            continue;
        };
        watches::send(&triggers.accounts, ObjectRef::new(&account));
        match affected {
            Affected::AccountOnly => {}
            Affected::All => {
                context.caches.users_of(&account).iter().for_each(|token| watches::trigger(&triggers.tokens, &**token));
            }
            Affected::Only(owners) => {
                let named = owners.iter().map(|owner| ObjectRef::new(&owner.name).within(&owner.namespace));
                named.for_each(|token| watches::send(&triggers.tokens, token));
            }
        }
    }
}

/// Works as long as it is not asked to stop, once the caches are warm and this process leads. Then work under way is
/// finished.
async fn lead(
    context: Arc<Context>,
    concurrency: u16,
    mut leadership: Leadership,
    health: Health,
    token_queue: UnboundedReceiver<ObjectRef<ServiceToken>>,
    account_queue: UnboundedReceiver<ObjectRef<DbtAccount>>,
    stop: impl Future<Output = ()> + Clone + Send + 'static,
) {
    let ready = async {
        context.caches.ready().await;
        health.kinds_are_served();
        health.caches_are_synced();
        leadership.gained().await;
    };
    tokio::select! {
        biased;
        () = ready => {}
        () = stop.clone() => return,
    }
    tracing::info!("this process leads");
    // What another leader did until now shows in readings that begin from now on.
    let _first = context.leads_since.set(context.clock.now());
    let tokens = |token| reconcile_token(context.clone(), token);
    let accounts = |account| reconcile_account(context.clone(), account);
    futures::join!(
        queue::work(token_queue, concurrency, stop.clone(), tokens),
        queue::work(account_queue, concurrency, stop, accounts),
    );
}

async fn reconcile_token(context: Arc<Context>, token: ObjectRef<ServiceToken>) -> Look {
    limited(&token.name, token.namespace.as_deref(), reconcile::reconcile(&context, &token)).await
}

async fn reconcile_account(context: Arc<Context>, account: ObjectRef<DbtAccount>) -> Look {
    limited(&account.name, None, reconcile::reconcile_account(&context, &account)).await
}

/// Work that does not end is given up, as a crash would do, and begun anew: the object would never be looked at otherwise.
async fn limited(name: &str, namespace: Option<&str>, work: impl Future<Output = Look>) -> Look {
    match tokio::time::timeout(LONGEST_WORK, work).await {
        Ok(look) => look,
        Err(_) => {
            tracing::error!(resource.namespace = namespace, resource.name = name, "work did not end and is begun anew");
            Look::After(AGAIN)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_begun_anew() {
        let short = async {
            tokio::time::sleep(LONGEST_WORK / 2).await;
            Look::OnChange
        };
        assert_eq!(limited("short", None, short).await, Look::OnChange);
        assert_eq!(limited("endless", None, std::future::pending()).await, Look::After(AGAIN));
    }
}
