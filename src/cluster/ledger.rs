//! The ledger: `status.ledger` read and written. Every write is a compare-and-swap on the resourceVersion of the object,
//! and carries the rest of the status with it. A version is never given twice, so it stands for the uid as well; the uid
//! is sent along all the same, although the API server (1.36.3) does not look at it in a patch of this status.

use dbt_token_planner::desired::DeletionPolicy;
use dbt_token_planner::identity::{Fingerprint, Installation, Serial, TokenId};
use dbt_token_planner::ledger::{Attempt, Cause, Entry, Ledger, MAXIMUM_RETIRING};
use kube::api::{ObjectMeta, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::failure::{Class, Failure};
use super::names;
use crate::api::v1alpha1::{self as api, ServiceToken, ServiceTokenStatus};

/// One version of one `ServiceToken`. A write that names it fails if the object has changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTokenReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that was seen.
    pub resource_version: String,
}

impl ServiceTokenReference {
    /// The reference to an object as the API server returned it; `None` for one that never was there.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            resource_version: metadata.resource_version.clone()?,
        })
    }
}

/// The status of an object cannot be written. After [`Class::Unavailable`] it may have been written.
#[derive(Debug, thiserror::Error)]
#[error("status of ServiceToken {namespace}/{name} cannot be written")]
pub struct LedgerError {
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why.
    pub source: Failure,
}

impl LedgerError {
    /// What it means for the caller.
    pub fn class(&self) -> Class {
        self.source.class.clone()
    }
}

/// The statuses of all `ServiceToken`s.
#[derive(Clone)]
pub struct Statuses {
    client: Client,
}

impl Statuses {
    /// Writes with this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes sure that the object is still in the version that was seen: a patch that changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Class::Conflict`] if the object has changed or is gone.
    pub async fn confirm(&self, object: &ServiceTokenReference) -> Result<ServiceToken, LedgerError> {
        self.write(object, json!({})).await
    }

    /// Applies a patch made by [`super::status::patch`] to the version of the object that was seen, and returns the object
    /// as it is now, which is newer than any cache.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Class::Conflict`] if the object has changed or is gone.
    pub async fn write(&self, object: &ServiceTokenReference, status: Value) -> Result<ServiceToken, LedgerError> {
        let api: Api<ServiceToken> = Api::namespaced(self.client.clone(), &object.namespace);
        let parameters = PatchParams { field_manager: Some(names::OPERATOR.to_owned()), ..PatchParams::default() };
        let patch = json!({
            "metadata": {"uid": object.uid, "resourceVersion": object.resource_version},
            "status": status,
        });
        api.patch_status(&object.name, &parameters, &Patch::Merge(patch)).await.map_err(|error| LedgerError {
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            source: error.into(),
        })
    }
}

/// A ledger as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The ledger.
    pub ledger: Ledger,
    /// What cannot be what the operator wrote, if there is something.
    pub problem: Option<&'static str>,
}

/// Reads the ledger of a status.
///
/// Nobody but the operator may write it, so what makes no sense is damage. A ledger of which a part is dropped would no
/// longer name some token, and what is not named is revoked. So such a ledger counts as lost as a whole: nothing is
/// destroyed with an empty ledger, and it is rebuilt from the slots. What was said about deletion and about the
/// annotation `rotate-at` names no token and stays.
pub fn read(status: &ServiceTokenStatus) -> Reading {
    let written = status.ledger.clone().unwrap_or_default();
    let lost = Ledger {
        deletion: written.deletion.map(read_policy),
        handled_rotate_at: status.last_handled_rotate_at.clone(),
        ..Ledger::default()
    };
    match read_names(&written) {
        Ok(names) => {
            let Ledger { deletion, handled_rotate_at, .. } = lost;
            Reading { ledger: Ledger { deletion, handled_rotate_at, ..names }, problem: None }
        }
        Err(problem) => Reading { ledger: lost, problem: Some(problem) },
    }
}

/// Everything of it that has to do with tokens.
fn read_names(written: &api::Ledger) -> Result<Ledger, &'static str> {
    let serial = written.serial.unwrap_or(0);
    let current = written.current.as_ref().map(read_entry).transpose()?;
    let next = written.next.as_ref().map(|next| read_attempt(next, current.is_some())).transpose()?;
    let retiring = written.retiring.iter().map(read_entry).collect::<Result<Vec<_>, _>>()?;
    if retiring.len() > MAXIMUM_RETIRING {
        return Err("it names more retiring tokens than there can be");
    }
    let named = next.iter().map(|attempt| attempt.serial).chain(current.iter().chain(&retiring).map(|entry| entry.serial));
    let mut named: Vec<Serial> = named.collect();
    named.sort_unstable();
    if serial < 0 || named.last().is_some_and(|highest| highest.0 > serial) {
        return Err("its serial is lower than one that it names");
    }
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("it names a serial twice");
    }
    let mut tokens: Vec<TokenId> = current.iter().chain(&retiring).map(|entry| entry.token).collect();
    tokens.sort_unstable();
    if tokens.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("it names a token twice");
    }
    if written.compromised.is_some_and(|highest| highest <= 0 || highest > serial) {
        return Err("it calls a serial compromised that never was");
    }
    if written.set_back.is_some_and(|serial| serial <= 0) {
        return Err("it was set back to a serial that cannot be");
    }
    if written.restarted.is_some_and(|highest| highest <= 0 || highest > serial) {
        return Err("it tells of restarts for a serial that never was");
    }
    Ok(Ledger {
        installation: written.installation.clone().map(Installation::new),
        serial,
        next,
        current,
        retiring,
        set_back: written.set_back.map(Serial),
        compromised: written.compromised.map(Serial),
        restarted: written.restarted.map(Serial),
        ..Ledger::default()
    })
}

fn read_entry(entry: &api::LedgerEntry) -> Result<Entry, &'static str> {
    match entry.token_id {
        Some(token) if token > 0 && entry.serial > 0 => Ok(Entry { serial: Serial(entry.serial), token: TokenId(token) }),
        _ => Err("it names a token without an id or a serial"),
    }
}

/// Fingerprint, failures and cause only decide whether the attempt goes on, how long the next one waits, and what the
/// history says: one that does not read is replaced by what ends the attempt soonest, or says least.
fn read_attempt(next: &api::LedgerNext, has_current: bool) -> Result<Attempt, &'static str> {
    if next.serial <= 0 {
        return Err("it names an attempt without a serial");
    }
    let unknown = if has_current { Cause::PermissionsChanged } else { Cause::First };
    Ok(Attempt {
        serial: Serial(next.serial),
        fingerprint: Fingerprint::new(next.fingerprint.clone().unwrap_or_default()),
        failures: next.failures.and_then(|failures| u32::try_from(failures).ok()).unwrap_or(0),
        cause: next.cause.as_deref().and_then(Cause::from_word).unwrap_or(unknown),
    })
}

/// The ledger as the status holds it; `None` if it says nothing.
pub(super) fn written(ledger: &Ledger) -> Option<api::Ledger> {
    let entry = |entry: &Entry| api::LedgerEntry { serial: entry.serial.0, token_id: Some(entry.token.0) };
    let next = ledger.next.as_ref().map(|attempt| api::LedgerNext {
        serial: attempt.serial.0,
        fingerprint: Some(attempt.fingerprint.to_string()),
        failures: (attempt.failures > 0).then(|| i32::try_from(attempt.failures).unwrap_or(i32::MAX)),
        cause: Some(attempt.cause.word().to_owned()),
    });
    let written = api::Ledger {
        installation: ledger.installation.as_ref().map(ToString::to_string),
        serial: (ledger.serial > 0).then_some(ledger.serial),
        next,
        current: ledger.current.as_ref().map(entry),
        retiring: ledger.retiring.iter().map(entry).collect(),
        deletion: ledger.deletion.map(write_policy),
        set_back: ledger.set_back.map(|serial| serial.0),
        compromised: ledger.compromised.map(|serial| serial.0),
        restarted: ledger.restarted.map(|serial| serial.0),
    };
    (written != api::Ledger::default()).then_some(written)
}

fn read_policy(policy: api::DeletionPolicy) -> DeletionPolicy {
    match policy {
        api::DeletionPolicy::Revoke => DeletionPolicy::Revoke,
        api::DeletionPolicy::Retain => DeletionPolicy::Retain,
    }
}

fn write_policy(policy: DeletionPolicy) -> api::DeletionPolicy {
    match policy {
        DeletionPolicy::Revoke => api::DeletionPolicy::Revoke,
        DeletionPolicy::Retain => api::DeletionPolicy::Retain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(serial: i64, token: i64) -> Entry {
        Entry { serial: Serial(serial), token: TokenId(token) }
    }

    fn full() -> Ledger {
        Ledger {
            installation: Some(Installation::new("prod-eu")),
            serial: 9,
            next: Some(Attempt {
                serial: Serial(9),
                fingerprint: Fingerprint::new("00ff"),
                failures: 2,
                cause: Cause::Requested,
            }),
            current: Some(entry(8, 2202)),
            retiring: vec![entry(6, 2100), entry(7, 2101)],
            deletion: Some(DeletionPolicy::Retain),
            set_back: Some(Serial(12)),
            compromised: Some(Serial(7)),
            restarted: Some(Serial(6)),
            handled_rotate_at: Some("2026-11-24T08:00:00Z".to_owned()),
        }
    }

    fn status(ledger: &Ledger) -> ServiceTokenStatus {
        ServiceTokenStatus {
            ledger: written(ledger),
            last_handled_rotate_at: ledger.handled_rotate_at.clone(),
            ..ServiceTokenStatus::default()
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let opened = Ledger { current: None, retiring: Vec::new(), deletion: None, set_back: None, ..full() };
        for ledger in [full(), opened, Ledger { serial: 3, ..Ledger::default() }, Ledger::default()] {
            assert_eq!(read(&status(&ledger)), Reading { ledger, problem: None });
        }
        assert_eq!(written(&Ledger::default()), None);
    }

    #[test]
    fn a_damaged_ledger_names_nothing_so_that_nothing_is_destroyed() {
        type Damage = fn(&mut api::Ledger);
        let cases: [(Damage, &str); 15] = [
            (|ledger| ledger.retiring[0].token_id = Some(2202), "a token twice"),
            (|ledger| ledger.restarted = Some(0), "restarts"),
            (|ledger| ledger.restarted = Some(10), "restarts"),
            (|ledger| ledger.compromised = Some(0), "compromised"),
            (|ledger| ledger.compromised = Some(10), "compromised"),
            (|ledger| ledger.serial = Some(-1), "lower than one"),
            (|ledger| ledger.serial = None, "lower than one"),
            (|ledger| ledger.serial = Some(8), "lower than one"),
            (|ledger| ledger.current.as_mut().expect("current").serial = 0, "without an id or a serial"),
            (|ledger| ledger.current.as_mut().expect("current").token_id = None, "without an id or a serial"),
            (|ledger| ledger.retiring[0].token_id = Some(-4), "without an id or a serial"),
            (|ledger| ledger.retiring[0].serial = 8, "a serial twice"),
            (|ledger| ledger.next.as_mut().expect("next").serial = -9, "an attempt without a serial"),
            (|ledger| ledger.set_back = Some(0), "set back"),
            (
                |ledger| ledger.retiring = (1..5).map(|id| api::LedgerEntry { serial: id, token_id: Some(id) }).collect(),
                "more retiring",
            ),
        ];
        for (damage, problem) in cases {
            let mut status = status(&full());
            damage(status.ledger.as_mut().expect("a ledger"));
            let reading = read(&status);
            assert!(reading.problem.expect(problem).contains(problem), "{problem}: {reading:?}");
            assert!(reading.ledger.is_blank(), "{problem}");
            assert_eq!(reading.ledger.deletion, Some(DeletionPolicy::Retain));
            assert_eq!(reading.ledger.handled_rotate_at, full().handled_rotate_at);
        }
    }

    #[test]
    fn what_only_delays_or_describes_an_attempt_may_be_unreadable() {
        for (current, expected) in [(Some(entry(8, 2202)), Cause::PermissionsChanged), (None, Cause::First)] {
            let mut status = status(&Ledger { current, ..full() });
            let next = status.ledger.as_mut().and_then(|ledger| ledger.next.as_mut()).expect("next");
            *next = api::LedgerNext { serial: 9, fingerprint: None, failures: Some(-3), cause: Some("Later".to_owned()) };
            let reading = read(&status);
            let attempt = reading.ledger.next.expect("an attempt");
            assert_eq!((attempt.failures, attempt.cause, attempt.fingerprint.as_str()), (0, expected, ""));
            assert_eq!(reading.problem, None);
        }
    }
}
