//! The ordered rules of the fault plan and their histories. This file decides whether a call goes
//! wrong; it never does anything to it.

use serde::Serialize;
use tokio::sync::watch;

use crate::account::{Account, TokenId};
use crate::fault::{Fault, Rule};

/// Names a rule that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FaultHandle(
    /// The number as the control API shows it.
    pub u64,
);

/// A rule with its history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultState {
    /// Names the rule.
    pub handle: FaultHandle,
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// Calls that matched method, path and token.
    pub seen: u64,
    /// Calls that it was applied to.
    pub applied: u64,
    /// Calls that it holds back at this moment.
    pub waiting: u64,
    /// Whether it was released; a released rule applies no more.
    pub released: bool,
}

/// What the server needs to carry out a fault.
pub(crate) struct Applied {
    pub(crate) handle: FaultHandle,
    pub(crate) fault: Fault,
    pub(crate) release: watch::Receiver<bool>,
}

struct Entry {
    handle: FaultHandle,
    rule: Rule,
    seen: u64,
    applied: u64,
    waiting: u64,
    random: u64,
    release: watch::Sender<bool>,
    snapshot: Option<Box<Account>>,
}

/// The ordered rules.
#[derive(Default)]
pub(crate) struct FaultPlan {
    entries: Vec<Entry>,
    last_handle: u64,
}

impl FaultPlan {
    /// Adds a rule at the end. A stale list remembers `account` as it is now.
    pub(crate) fn add(&mut self, rule: Rule, account: &Account) -> FaultHandle {
        self.last_handle += 1;
        let handle = FaultHandle(self.last_handle);
        let stale = rule.fault == Fault::StaleList;
        self.entries.push(Entry {
            handle,
            seen: 0,
            applied: 0,
            waiting: 0,
            random: rule.matching.seed,
            release: watch::Sender::new(false),
            snapshot: stale.then(|| Box::new(account.clone())),
            rule,
        });
        handle
    }

    /// Lets everything go that the rule holds back, and ends it.
    pub(crate) fn release(&self, handle: FaultHandle) -> bool {
        let entry = self.entries.iter().find(|entry| entry.handle == handle);
        entry.map(|entry| entry.release.send_replace(true)).is_some()
    }

    /// Releases a rule and removes it.
    pub(crate) fn remove(&mut self, handle: FaultHandle) -> bool {
        let known = self.release(handle);
        self.entries.retain(|entry| entry.handle != handle);
        known
    }

    /// Releases and removes all rules.
    pub(crate) fn clear(&mut self) {
        for entry in self.entries.drain(..) {
            entry.release.send_replace(true);
        }
    }

    /// The rules with their histories.
    pub(crate) fn states(&self) -> Vec<FaultState> {
        self.entries
            .iter()
            .map(|entry| FaultState {
                handle: entry.handle,
                rule: entry.rule.clone(),
                seen: entry.seen,
                applied: entry.applied,
                waiting: entry.waiting,
                released: *entry.release.borrow(),
            })
            .collect()
    }

    /// The account as a stale list shows it.
    pub(crate) fn snapshot(&self, handle: FaultHandle) -> Option<Account> {
        let entry = self.entries.iter().find(|entry| entry.handle == handle)?;
        entry.snapshot.as_deref().cloned()
    }

    /// Counts a call in or out of those held back.
    pub(crate) fn count_waiting(&mut self, handle: FaultHandle, entering: bool) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.handle == handle) {
            entry.waiting = if entering { entry.waiting + 1 } else { entry.waiting.saturating_sub(1) };
        }
    }

    /// The first rule that is for this call, if any. Rules behind it do not see the call.
    pub(crate) fn choose(&mut self, method: &str, path: &str, caller: Option<TokenId>) -> Option<Applied> {
        self.entries.iter_mut().find_map(|entry| entry.applies(method, path, caller).then(|| entry.apply()))
    }
}

impl Entry {
    fn applies(&mut self, method: &str, path: &str, caller: Option<TokenId>) -> bool {
        let matching = &self.rule.matching;
        let fits = matching.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && matching.path.as_deref().is_none_or(|pattern| path_matches(pattern, path))
            && matching.token_id.is_none_or(|wanted| caller == Some(wanted));
        if !fits || *self.release.borrow() {
            return false;
        }
        self.seen += 1;
        let in_turn = self.seen > matching.skip
            && matching.nth.is_none_or(|nth| self.seen == nth)
            && matching.times.is_none_or(|times| self.applied < times);
        let probability = matching.probability;
        in_turn && probability.is_none_or(|probability| self.draw() < probability)
    }

    fn apply(&mut self) -> Applied {
        self.applied += 1;
        Applied { handle: self.handle, fault: self.rule.fault.clone(), release: self.release.subscribe() }
    }

    /// The next number from 0 to 1 (splitmix64: small, and the same everywhere for the same seed).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0);
        f64::from(top) / f64::from(u32::MAX)
    }
}

/// Whether `path` fits `pattern` (see [`Match::path`]).
fn path_matches(pattern: &str, path: &str) -> bool {
    let mut wanted: Vec<&str> = pattern.split('/').collect();
    if !pattern.starts_with('/') {
        wanted.insert(0, "**");
    }
    segments_match(&wanted, &path.split('/').collect::<Vec<_>>())
}

fn segments_match(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skip| segments_match(rest, &path[skip..])),
        ([wanted, pattern @ ..], [segment, path @ ..]) => {
            let is_wild = *wanted == "*" || (wanted.starts_with('{') && wanted.ends_with('}'));
            let fits = if is_wild { !segment.is_empty() } else { wanted == segment };
            fits && segments_match(pattern, path)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::path_matches;

    #[test]
    fn patterns_match_whole_paths_or_their_ends() {
        let path = "/api/v3/accounts/1/service-tokens/22/";
        for (pattern, expected) in [
            ("/api/v3/accounts/{account}/service-tokens/{id}/", true),
            ("/api/v3/accounts/*/service-tokens/*/", true),
            ("/api/**", true),
            ("service-tokens/*/", true),
            ("service-tokens/", false),
            ("/service-tokens/*/", false),
            ("/api/v3/accounts/*/service-tokens/", false),
            ("tokens/22/", false),
        ] {
            assert_eq!(path_matches(pattern, path), expected, "{pattern}");
        }
        assert!(path_matches("service-tokens/", "/api/v3/accounts/1/service-tokens/"));
    }
}
