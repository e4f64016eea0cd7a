//! What the shell remembers of one object between two looks: what went wrong, how long it waits, and since when readings
//! of dbt count. Losing it is harmless: nothing is made or destroyed because of it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use dbt_token_planner::adoption::Look;
use dbt_token_planner::identity::OwnerUid;
use dbt_token_planner::observation::{Consumers, Reading, Trouble, TroubleKind, Workloads};
use jiff::Timestamp;

use crate::pace::Pace;

/// How long a foreign Secret is believed to be in the way before the name is tried again.
const FOREIGN_BELIEVED: Duration = Duration::from_secs(60);

/// What went wrong, and how long to wait at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: TroubleKind,
    /// What failed, in words, without secrets.
    pub message: String,
    /// A time before which a retry is pointless, if the other side named one.
    pub not_before: Option<Timestamp>,
    /// Something had changed since it was looked at: no failure of anybody, and looking again mends it.
    pub stale: bool,
}

/// The first delay after a failure and the longest, doubled in between.
fn delays(kind: TroubleKind) -> (Duration, Duration) {
    match kind {
        TroubleKind::DbtUnavailable | TroubleKind::VerificationInconclusive => {
            (Duration::from_secs(2), Duration::from_secs(5 * 60))
        }
        TroubleKind::SecretRefused | TroubleKind::LinkRefused | TroubleKind::LinksUnreadable => {
            (Duration::from_secs(5), Duration::from_secs(5 * 60))
        }
        TroubleKind::Cluster => (Duration::from_millis(200), Duration::from_secs(60)),
    }
}

/// One object's memory.
#[derive(Clone, Debug, Default)]
struct Memory {
    changed_at: Option<Timestamp>,
    trouble: Option<(Trouble, u32)>,
    foreign: Option<(String, Timestamp)>,
    /// What the last look at the pods showed, and when it began.
    consumers: Option<(Consumers, Timestamp)>,
    /// What the last look at the workloads showed, and when it began.
    workloads: Option<(Workloads, Timestamp)>,
    /// The account under which a token is counted that is kept beyond its deadline.
    blocked: Option<String>,
    /// Versions of the object after the last commit of this process, and of the target before it.
    commit: Option<(String, String)>,
    /// What was found in the Secret of an adoption, under which generation of the object.
    look: Option<(Look, i64)>,
    /// How often reports were written lately.
    reports: Pace,
}

/// The memory of all objects.
#[derive(Default)]
pub struct Memories(Mutex<BTreeMap<OwnerUid, Memory>>);

impl Memories {
    fn with<T>(&self, owner: &OwnerUid, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memories = self.0.lock().expect("no holder of the lock panics");
        change(memories.entry(owner.clone()).or_default())
    }

    /// Changes what is remembered, if anything is.
    fn change(&self, owner: &OwnerUid, change: impl FnOnce(&mut Memory)) {
        if let Some(memory) = self.0.lock().expect("no holder of the lock panics").get_mut(owner) {
            change(memory);
        }
    }

    /// Looking leaves no trace, so that only objects that something was done for take memory.
    fn look<T>(&self, owner: &OwnerUid, look: impl FnOnce(&Memory) -> Option<T>) -> Option<T> {
        self.0.lock().expect("no holder of the lock panics").get(owner).and_then(look)
    }

    /// When this process last changed something of the object in dbt.
    pub fn changed_at(&self, owner: &OwnerUid) -> Option<Timestamp> {
        self.look(owner, |memory| memory.changed_at)
    }

    /// Something of the object was, or may have been, changed in dbt.
    pub fn note_changed(&self, owner: &OwnerUid, now: Timestamp) {
        self.with(owner, |memory| memory.changed_at = Some(now));
    }

    /// What went wrong the last time.
    pub fn trouble(&self, owner: &OwnerUid) -> Option<Trouble> {
        self.look(owner, |memory| memory.trouble.as_ref().map(|(trouble, _)| trouble.clone()))
    }

    /// Remembers a failure; the delay doubles while the same kind goes on. Whether it is the first of its kind in a row.
    pub fn note_failure(&self, owner: &OwnerUid, failure: Failure, now: Timestamp) -> bool {
        let (first, longest) = delays(failure.kind);
        self.with(owner, |memory| {
            let before = memory.trouble.take().filter(|(trouble, _)| trouble.kind == failure.kind);
            let (since, count) = before.map_or((now, 0), |(trouble, count)| (trouble.since, count + 1));
            let delay = spread(owner, first.saturating_mul(1 << count.min(16)).min(longest));
            let retry_at = now.checked_add(delay).unwrap_or(Timestamp::MAX).max(failure.not_before.unwrap_or(Timestamp::MIN));
            let trouble = Trouble { kind: failure.kind, message: failure.message, since, retry_at };
            memory.trouble = Some((trouble, count));
            count == 0
        })
    }

    /// Something of this kind worked.
    pub fn note_success(&self, owner: &OwnerUid, about_dbt: bool) {
        if let Some(memory) = self.0.lock().expect("no holder of the lock panics").get_mut(owner) {
            memory.trouble = memory.trouble.take().filter(|(trouble, _)| is_about_dbt(trouble.kind) != about_dbt);
        }
    }

    /// When a report may be written again; `None` if one may be now.
    pub fn report_due(&self, owner: &OwnerUid, now: Timestamp) -> Option<Timestamp> {
        self.look(owner, |memory| memory.reports.due(now))
    }

    /// A report was written.
    pub fn note_report(&self, owner: &OwnerUid, now: Timestamp) {
        self.with(owner, |memory| memory.reports.note(now));
    }

    /// What the last look at the pods showed.
    pub fn consumers(&self, owner: &OwnerUid) -> Reading<Consumers> {
        let known = self.look(owner, |memory| memory.consumers.clone());
        known.map_or(Reading::Unknown, |(value, taken_at)| Reading::Known { value, taken_at })
    }

    /// Remembers a look at the pods, or forgets the last one: nobody waits for them any more.
    pub fn note_consumers(&self, owner: &OwnerUid, seen: Option<(Consumers, Timestamp)>) {
        match seen {
            Some(seen) => self.with(owner, |memory| memory.consumers = Some(seen)),
            None => self.change(owner, |memory| memory.consumers = None),
        }
    }

    /// What the last look at the workloads showed.
    pub fn workloads(&self, owner: &OwnerUid) -> Reading<Workloads> {
        let known = self.look(owner, |memory| memory.workloads.clone());
        known.map_or(Reading::Unknown, |(value, taken_at)| Reading::Known { value, taken_at })
    }

    /// Remembers a look at the workloads, or forgets the last one: they were changed, or nobody waits for them any more.
    pub fn note_workloads(&self, owner: &OwnerUid, seen: Option<(Workloads, Timestamp)>) {
        match seen {
            Some(seen) => self.with(owner, |memory| memory.workloads = Some(seen)),
            None => self.change(owner, |memory| memory.workloads = None),
        }
    }

    /// Remembers the account under which a token is kept beyond its deadline, if one is. Returns what it was before.
    pub fn note_blocked(&self, owner: &OwnerUid, account: Option<&str>) -> Option<String> {
        let mut before = None;
        match account {
            Some(account) => self.with(owner, |memory| before = memory.blocked.replace(account.to_owned())),
            None => self.change(owner, |memory| before = memory.blocked.take()),
        }
        before
    }

    /// This process committed a token: the object is in this version since, and the target was in that one before.
    pub fn note_commit(&self, owner: &OwnerUid, object: String, target: String) {
        self.with(owner, |memory| memory.commit = Some((object, target)));
    }

    /// Whether neither the object nor the target has changed since this process committed a token.
    pub fn is_last_commit(&self, owner: &OwnerUid, object: &str, target: &str) -> bool {
        let is_last = |memory: &Memory| memory.commit.as_ref().map(|(o, t)| o == object && t == target);
        self.look(owner, is_last).unwrap_or(false)
    }

    /// Who is in the way of the target, if that was found lately.
    pub fn foreign(&self, owner: &OwnerUid, now: Timestamp) -> Option<String> {
        self.look(owner, |memory| memory.foreign.clone().filter(|(_, until)| *until > now).map(|(manager, _)| manager))
    }

    /// The name of the target is taken.
    pub fn note_foreign(&self, owner: &OwnerUid, manager: String, now: Timestamp) {
        let until = now.checked_add(FOREIGN_BELIEVED).unwrap_or(Timestamp::MAX);
        self.with(owner, |memory| memory.foreign = Some((manager, until)));
    }

    /// When a foreign target will be tried again.
    pub fn foreign_until(&self, owner: &OwnerUid, now: Timestamp) -> Option<Timestamp> {
        self.look(owner, |memory| memory.foreign.as_ref().map(|(_, until)| *until).filter(|until| *until > now))
    }

    /// What the last look into the Secret of an adoption found. An edit of the object asks for another one.
    pub fn last_look(&self, owner: &OwnerUid, generation: i64) -> Option<Look> {
        let last = self.look(owner, |memory| memory.look.clone())?;
        (last.1 == generation).then_some(last.0)
    }

    /// Something was found in the Secret of an adoption.
    pub fn note_look(&self, owner: &OwnerUid, look: Look, generation: i64) {
        self.with(owner, |memory| memory.look = Some((look, generation)));
    }

    /// The object is gone.
    pub fn forget(&self, owner: &OwnerUid) {
        self.0.lock().expect("no holder of the lock panics").remove(owner);
    }
}

fn is_about_dbt(kind: TroubleKind) -> bool {
    matches!(kind, TroubleKind::DbtUnavailable | TroubleKind::VerificationInconclusive) || kind.is_about_links()
}

/// Up to a quarter more, fixed by the object, so that a thousand objects do not come back in the same moment.
fn spread(owner: &OwnerUid, delay: Duration) -> Duration {
    let sum: u32 = owner.as_str().bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    delay + delay.mul_f64(f64::from(sum % 256) / 1024.0)
}
