//! The lease. It spares duplicate work; safety never rests on it. Losing it to somebody else ends the process, so that
//! nothing of an old leader is left running.
//!
//! `kube-lease-manager` takes, renews and gives back the lease. What is believed about it comes from a watch: it shows a
//! lease that was given back at once, where the library would sleep until its old end, and it shows up to when our own
//! lease was renewed, which the library does not tell.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long a lease holds without renewal, in seconds: after a kill a standby takes over within it.
const LEASE_SECONDS: u64 = 12;

/// How long before its end the lease is renewed, in seconds.
const RENEWAL_SECONDS: u64 = 4;

/// How long giving the lease back may take at the end: one request.
const RESIGNATION: Duration = Duration::from_secs(3);

/// Where this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// It does not lead yet.
    Waiting,
    /// It leads, unless nobody renews the lease before this time.
    Leading { until: Timestamp },
    /// It led, and does not any more.
    Over,
}

/// Whether this process leads.
#[derive(Clone)]
pub struct Leadership(Option<watch::Receiver<Term>>);

impl Leadership {
    /// A process that always leads, since it is the only one.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Whether it leads at this time. A process that was stopped for longer than a lease holds finds itself without, until
    /// it has heard of the lease again.
    pub fn holds(&self, now: Timestamp) -> bool {
        let Some(term) = &self.0 else { return true };
        matches!(*term.borrow(), Term::Leading { until } if now < until)
    }

    /// Waits until it leads.
    pub async fn gained(&mut self) {
        if let Some(term) = &mut self.0 {
            // The channel closes only together with the campaign; then nothing is led.
            let _over = term.wait_for(|term| matches!(term, Term::Leading { .. })).await;
        }
    }

    /// Waits until it led and does not lead any more.
    pub async fn lost(&mut self) {
        match &mut self.0 {
            Some(term) => {
                let _over = term.wait_for(|term| *term == Term::Over).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// The part in the election that this process takes.
pub struct Campaign(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Campaign {
    /// None, for a process that always leads.
    pub fn none() -> Self {
        Self(None)
    }

    /// Takes part in the election.
    ///
    /// # Errors
    /// If the lease can neither be read nor created.
    pub async fn begin(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: &str,
    ) -> Result<(Self, Leadership), LeaseManagerError> {
        let candidate =
            Candidate { client, namespace: namespace.to_owned(), lease: lease.to_owned(), identity: identity.to_owned() };
        let manager = candidate.manager().await?;
        let (term, terms) = watch::channel(Term::Waiting);
        let (resign, resigned) = oneshot::channel();
        let task = tokio::spawn(candidate.run(manager, term, resigned));
        Ok((Self(Some((resign, task))), Leadership(Some(terms))))
    }

    /// Gives the lease back, so that another process takes over at once. Nothing may be under way any more.
    pub async fn resign(self) {
        let Some((resign, task)) = self.0 else { return };
        // A campaign that has ended holds nothing.
        let _ended = resign.send(());
        if tokio::time::timeout(RESIGNATION, task).await.is_err() {
            tracing::warn!("the lease could not be given back; another process takes over when it ends");
        }
    }
}

/// One who wants the lease.
struct Candidate {
    client: Client,
    namespace: String,
    lease: String,
    identity: String,
}

impl Candidate {
    async fn manager(&self) -> Result<LeaseManager, LeaseManagerError> {
        LeaseManagerBuilder::new(self.client.clone(), &self.lease)
            .with_namespace(&self.namespace)
            .with_identity(&self.identity)
            .with_duration(LEASE_SECONDS)
            .with_grace(RENEWAL_SECONDS)
            .build()
            .await
    }

    /// Follows the lease until it is over.
    async fn run(self, manager: LeaseManager, terms: watch::Sender<Term>, mut resigned: oneshot::Receiver<()>) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.lease));
        let mut events = pin!(watch_objects(leases, only).default_backoff());
        let (mut wins, mut renewing) = manager.watch().await;
        loop {
            let event = tokio::select! {
                _ = &mut resigned => break,
                event = events.next() => event,
            };
            let seen = match event {
                Some(Ok(event)) => Seen::of(event, &self.identity),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the watch of the lease begins anew");
                    None
                }
                None => break,
            };
            let Some(seen) = seen else { continue };
            let term = seen.follows(*terms.borrow());
            terms.send_replace(term);
            // The library sleeps until the end of the lease that it knows of; a new one looks now.
            if seen == Seen::Free && term == Term::Waiting && !*wins.borrow() {
                let Ok(manager) = self.manager().await else { continue };
                renewing.abort();
                (wins, renewing) = manager.watch().await;
            }
        }
        // The library gives the lease back when nobody listens any more.
        drop(wins);
        if let Err(error) = renewing.await {
            tracing::debug!(%error, "the renewal of the lease had ended");
        }
    }
}

/// What an event says about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody has it.
    Free,
    /// This process has it, up to then.
    Ours { until: Timestamp },
    /// Somebody else has it.
    Theirs,
}

impl Seen {
    /// `None` for an event that says nothing.
    fn of(event: Event<Lease>, identity: &str) -> Option<Self> {
        match event {
            Event::Apply(lease) | Event::InitApply(lease) => Some(Self::in_lease(&lease, identity)),
            Event::Delete(_) => Some(Self::Free),
            Event::Init | Event::InitDone => None,
        }
    }

    fn in_lease(lease: &Lease, identity: &str) -> Self {
        let spec = lease.spec.as_ref();
        let Some(holder) = spec.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty()) else {
            return Self::Free;
        };
        if holder != identity {
            return Self::Theirs;
        }
        let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let until = renewed.and_then(|renewed| renewed.checked_add(Duration::from_secs(LEASE_SECONDS)).ok());
        Self::Ours { until: until.unwrap_or(Timestamp::MIN) }
    }

    /// The term after this was seen. One that is over stays so: the process ends.
    fn follows(self, term: Term) -> Term {
        match (self, term) {
            (_, Term::Over) => Term::Over,
            (Self::Ours { until }, _) => Term::Leading { until },
            (Self::Free | Self::Theirs, Term::Waiting) => Term::Waiting,
            (Self::Free | Self::Theirs, Term::Leading { .. }) => Term::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).expect("a time")
    }

    fn lease(holder: Option<&str>, renewed: Option<Timestamp>) -> Lease {
        let renewed = renewed.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string());
        serde_json::from_value(json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder, "renewTime": renewed}}))
            .expect("a lease")
    }

    fn check(term: Term, event: Event<Lease>, expected: Option<Term>) {
        assert_eq!(Seen::of(event, "me").map(|seen| seen.follows(term)), expected);
    }

    #[test]
    fn a_term_follows_what_is_seen_of_the_lease() {
        let (mine, theirs) = (lease(Some("me"), Some(at(0))), lease(Some("other"), Some(at(0))));
        let leading = Term::Leading { until: at(12) };
        check(Term::Waiting, Event::InitApply(theirs.clone()), Some(Term::Waiting));
        check(Term::Waiting, Event::Apply(lease(None, None)), Some(Term::Waiting));
        check(Term::Waiting, Event::Apply(mine.clone()), Some(leading));
        check(leading, Event::Apply(lease(Some("me"), Some(at(8)))), Some(Term::Leading { until: at(20) }));
        check(leading, Event::Apply(theirs), Some(Term::Over));
        check(leading, Event::Apply(lease(Some(""), None)), Some(Term::Over));
        check(leading, Event::Delete(mine.clone()), Some(Term::Over));
        check(Term::Over, Event::Apply(mine), Some(Term::Over));
        check(leading, Event::InitDone, None);
        check(Term::Waiting, Event::Apply(lease(Some("me"), None)), Some(Term::Leading { until: Timestamp::MIN }));
    }

    #[test]
    fn a_lease_that_nobody_renewed_is_none() {
        let (term, terms) = watch::channel(Term::Waiting);
        let leadership = Leadership(Some(terms));
        assert!(!leadership.holds(at(0)));
        term.send_replace(Term::Leading { until: at(12) });
        assert!(leadership.holds(at(11)) && !leadership.holds(at(12)));
        term.send_replace(Term::Over);
        assert!(!leadership.holds(at(0)));
        assert!(Leadership::alone().holds(Timestamp::MAX));
    }
}
