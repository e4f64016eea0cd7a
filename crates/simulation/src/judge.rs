//! The promises of `docs/reliability.md`, judged on what is true, and not on what the operator believes or reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::TokenId;

use crate::cluster::{Change, Key, Kind, Operation, Store, Verb};
use crate::dbt::{ADMIN, Dbt, Maker, Stored};
use crate::evidence::{
    holds_a_string, is_held_by_an_adopted_slot, is_managed, is_of_this_installation, loses_a_token, stored_strings_beside,
    tells_of_an_objection,
};
use crate::plan::{Role, Subject};
use crate::replica::{INSTALLATION, NAMESPACE};
use crate::scene;
use crate::world::State;

/// Times in a status have no fraction.
const ROUNDING: u64 = 2_000;

/// The hour of the budget, in milliseconds.
const HOUR: u64 = 3_600_000;

/// One published and three retiring, beside the one that is made.
const MOST_STORED: usize = 5;

/// Writes for each object in one run, beyond which something goes round in circles.
const MOST_WRITES: u64 = 1000;

/// A promise of `docs/reliability.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Whoever reads the Secret gets a token that works and may do what is declared.
    P1,
    /// An old token goes only after its successor is published, and nobody needs it.
    P2,
    /// No more tokens than there may be, and none that nobody owns.
    P3,
    /// Nothing of anybody else is touched.
    P4,
    /// No token's string but in Secrets.
    P5,
    /// Creations are bounded.
    P6,
    /// When faults end, everything comes to rest.
    P7,
    /// At rest nothing is written.
    P8,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.promise, self.what)
    }
}

/// What is true of one object.
#[derive(Debug)]
pub struct Truth {
    /// What it is.
    pub subject: Subject,
    /// The ServiceToken.
    pub key: Key,
    /// Its Secret.
    pub secret: Key,
    /// Everything that it was ever declared to be granted, the last one last.
    pub rows: Vec<GrantRows>,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Somebody else did something to what is published; until it is mended, readers may find nothing.
    pub meddled: bool,
    /// Somebody wrote into its status.
    pub tampered: bool,
    /// Whether a person called a token compromised.
    pub compromised: bool,
    /// Whether readers ever found a token of the operator.
    pub published: bool,
    /// What the Secret holds.
    pub holds: Option<TokenId>,
    /// Tokens that the Secret held, and since when it holds them no more.
    pub replaced: BTreeMap<TokenId, u64>,
    /// What the pod took when it started.
    pub pod: Option<TokenId>,
    /// What the program outside the cluster goes on using.
    pub remote: Option<TokenId>,
}

impl Truth {
    /// Of an object that is not there yet.
    pub fn new(subject: Subject) -> Self {
        Self {
            key: Key::new(Kind::ServiceToken, subject.namespace, &subject.name),
            secret: Key::new(Kind::Secret, subject.namespace, &scene::secret_name(&subject)),
            rows: vec![scene::rows(subject.permissions)],
            deleting: false,
            meddled: false,
            tampered: false,
            compromised: false,
            published: false,
            holds: None,
            replaced: BTreeMap::new(),
            pod: None,
            remote: None,
            subject,
        }
    }
}

/// Judges one run.
#[derive(Debug, Default)]
pub struct Judge {
    /// What is true of each object, in the order of the plan.
    pub truths: Vec<Truth>,
    /// What was broken. A run ends with the first.
    pub violations: Vec<Violation>,
    /// How many writes the operator made, and the last one.
    pub writes: (u64, String),
    /// `limits.mintsPerHour`, once for each process.
    pub budget: usize,
    /// Processes that believe to lead.
    pub replicas: usize,
    created: Vec<(u64, TokenId)>,
    started: BTreeSet<(usize, u32)>,
    excused: usize,
    names: BTreeSet<String>,
}

impl Judge {
    /// Whether a promise is broken.
    pub fn is_broken(&self) -> bool {
        !self.violations.is_empty()
    }

    /// A promise is broken.
    pub fn broken(&mut self, promise: Promise, what: String) {
        self.violations.push(Violation { promise, what });
    }

    /// A token may come into being, or be out of sight, without anybody's knowledge: the budget cannot count it.
    pub fn note_late(&mut self) {
        self.excused += 1;
    }

    /// A process lists tokens. Where dbt shows nothing of those that were deleted, a new process cannot know of them: the
    /// budget does not count them any more, and what bounds attempts then is the growing pause between them.
    pub fn note_list(&mut self, dbt: &Dbt, process: (usize, u32)) {
        if self.started.insert(process) && dbt.hides_deleted {
            self.created.retain(|(_, id)| dbt.is_active(*id));
        }
    }

    /// A request of the operator, before it is done: what would be broken if it changed something.
    pub fn before_write(&mut self, store: &Store, dbt: &Dbt, operation: &Operation) -> Option<Violation> {
        let Operation { verb, key, body, .. } = operation;
        if key.kind != Kind::Secret {
            if verb.writes() && holds_a_string(body) {
                self.broken(Promise::P5, format!("a token's string is written to {key}"));
            }
            if verb.writes() && tells_of_an_objection(body) {
                self.broken(Promise::P2, format!("the planner asked for what its safety check refuses, as {key} tells"));
            }
            return None;
        }
        let meddling = |what: String| Some(Violation { promise: Promise::P4, what: format!("{} {key}, {what}", verb.word()) });
        if key.namespace == NAMESPACE {
            let name = if *verb == Verb::Create { body["metadata"]["name"].as_str().unwrap_or_default() } else { &key.name };
            let is_ours = ["slot-", "record-", "adopted-"].iter().any(|prefix| name.starts_with(prefix));
            if store.get(key).is_some_and(|slot| is_ours && !is_of_this_installation(slot)) {
                return meddling("which is another installation's".to_owned());
            }
            if *verb == Verb::Delete && loses_a_token(store, dbt, key) {
                let what = format!("{key} is deleted, and its token lives, though nobody let it go");
                return Some(Violation { promise: Promise::P3, what });
            }
            return if is_ours { None } else { meddling(format!("{name} is no slot")) };
        }
        if *verb == Verb::Create {
            return None;
        }
        let truth = self.truths.iter().find(|truth| truth.secret == *key);
        let allowed = truth.is_some_and(|truth| {
            let managed = store.get(key).is_none_or(|secret| is_managed(secret));
            truth.subject.role != Role::Foreign && (managed || truth.subject.role == Role::AdoptsInPlace)
        });
        if allowed { None } else { meddling("which is somebody else's".to_owned()) }
    }

    /// The operator changed something.
    pub fn note_write(&mut self, what: impl FnOnce() -> String) {
        self.writes = (self.writes.0 + 1, what());
        if self.writes.0 > MOST_WRITES * self.truths.len() as u64 {
            let what = format!("{} writes, the last of them: {}", self.writes.0, self.writes.1);
            self.broken(Promise::P7, what);
        }
    }

    /// An object changed.
    pub fn look_at_change(state: &mut State, change: &Change) {
        if change.key.kind != Kind::Secret {
            return;
        }
        let Some(place) = state.judge.truths.iter().position(|truth| truth.secret == change.key) else { return };
        let now = state.now();
        let holds = scene::token_in(state, &change.key);
        let truth = &mut state.judge.truths[place];
        if holds != truth.holds {
            truth.holds.into_iter().for_each(|old| {
                truth.replaced.insert(old, now);
            });
            holds.into_iter().for_each(|new| {
                truth.replaced.remove(&new);
            });
            truth.holds = holds;
            Self::look_at_publication(state, &change.key, holds);
        }
        Self::look_at_reader(state, place);
    }

    fn look_at_publication(state: &mut State, secret: &Key, holds: Option<TokenId>) {
        let untried = |stored: &&Stored| matches!(stored.maker, Maker::Operator { .. }) && !stored.proved;
        let Some(id) = holds.and_then(|id| state.dbt.tokens.get(&id)).filter(untried).map(|stored| stored.token.id) else {
            return;
        };
        state.judge.broken(Promise::P2, format!("token {id} is published in {secret}, and was never tried"));
    }

    /// A token ended: whoever reads it from a Secret notices.
    pub fn look_at_readers_of(state: &mut State, token: TokenId) {
        let readers: Vec<usize> = places(state, |truth| truth.holds == Some(token));
        readers.into_iter().for_each(|place| Self::look_at_reader(state, place));
    }

    fn look_at_reader(state: &mut State, place: usize) {
        let truth = &state.judge.truths[place];
        let found = scene::token_in(state, &truth.secret);
        let granted = found.and_then(|id| state.dbt.tokens.get(&id)).map(|stored| &stored.token.rows);
        let fits = granted.is_some_and(|rows| truth.rows.contains(rows));
        let managed = state.store.get(&truth.secret).is_some_and(|secret| is_managed(secret));
        let what = match (found, granted) {
            (Some(id), Some(rows)) => format!("Secret {} holds token {id}, which may do {rows}", truth.secret.name),
            _ => format!("Secret {} holds no token that works", truth.secret.name),
        };
        let truth = &mut state.judge.truths[place];
        if fits && managed {
            (truth.published, truth.meddled) = (true, false);
        } else if !fits && truth.published && !truth.meddled && !truth.deleting {
            state.judge.broken(Promise::P1, what);
        }
    }

    /// The operator made a token.
    pub fn look_at_create(state: &mut State, id: TokenId) {
        let now = state.now();
        let Some(stored) = state.dbt.tokens.get(&id) else { return };
        let name = stored.token.name.clone();
        let mark = stored.token.mark.as_ref().filter(|mark| mark.installation.as_str() == INSTALLATION);
        let others = mark.map_or(0, |mark| stored_strings_beside(state, mark));
        let is_marked = mark.is_some();
        let owner = mark.map(|mark| mark.owner.to_string());
        // What a ledger knew that somebody set back is neither counted nor revoked before a person has confirmed it.
        let is_tampered = state.judge.truths.iter().any(|truth| truth.tampered && uid_of(state, truth) == owner);
        let judge = &mut state.judge;
        if !is_marked {
            judge.broken(Promise::P3, format!("token {id} is made without a mark: {name}"));
        }
        if others >= MOST_STORED && !is_tampered {
            judge.broken(Promise::P3, format!("token {id} is made beside {others} living ones: {name}"));
        }
        let is_first = judge.names.insert(name.clone());
        if !is_first && judge.replicas == 1 && judge.excused == 0 && !is_tampered {
            judge.broken(Promise::P3, format!("token {id} is the second of its serial: {name}"));
        }
        judge.created.retain(|(at, _)| at + HOUR > now);
        judge.created.push((now, id));
        let most = judge.budget * judge.replicas + judge.excused;
        if judge.created.len() > most {
            judge.broken(Promise::P6, format!("{} tokens are made within an hour, at most {most} may be", judge.created.len()));
        }
    }

    /// The operator renames a token.
    pub fn look_at_rename(state: &mut State, id: TokenId) {
        if !is_held_by_an_adopted_slot(state, id) {
            state.judge.broken(Promise::P4, format!("token {id} is renamed, and nobody adopted it"));
        }
    }

    /// The operator revokes a token; before it is gone.
    pub fn look_at_revocation(state: &mut State, id: TokenId) {
        let Some(stored) = state.dbt.tokens.get(&id).filter(|stored| stored.token.active) else { return };
        if !is_ours_to_revoke(state, stored) {
            state.judge.broken(Promise::P4, format!("token {id} ({}) is revoked, and is not the operator's", stored.token.name));
            return;
        }
        let now = state.now();
        let owner = stored.token.mark.as_ref().map(|mark| mark.owner.to_string());
        let concerned = places(state, |truth| {
            truth.holds == Some(id) || truth.replaced.contains_key(&id) || uid_of(state, truth) == owner && owner.is_some()
        });
        for place in concerned {
            let truth = &state.judge.truths[place];
            if truth.deleting {
                continue;
            }
            if let Some(why) = needed(state, truth, id, now) {
                let what = format!("token {id} of {} is revoked, {why}", truth.subject.name);
                state.judge.broken(Promise::P2, what);
            }
        }
    }
}

/// Why a token is still needed.
fn needed(state: &State, truth: &Truth, id: TokenId, now: u64) -> Option<String> {
    if truth.holds == Some(id) && !truth.meddled {
        return Some("which its Secret holds".to_owned());
    }
    let ledger = state.store.get(&truth.key).map(|token| &token["status"]["ledger"]);
    if !truth.tampered && ledger.is_some_and(|ledger| ledger["current"]["tokenId"] == serde_json::json!(id.0)) {
        return Some("which its ledger calls current".to_owned());
    }
    if truth.compromised {
        return None;
    }
    if let Some(since) = truth.replaced.get(&id) {
        let passed = now - since;
        if passed + ROUNDING < truth.subject.after * 1000 {
            return Some(format!("{passed} ms after it was replaced"));
        }
    }
    if truth.pod == Some(id) {
        return Some("which a pod took when it started".to_owned());
    }
    if truth.remote == Some(id) && truth.subject.quiet > 0 {
        return Some("which a program outside the cluster is using".to_owned());
    }
    let source = Key::new(Kind::Secret, truth.subject.namespace, &format!("{}-old", truth.subject.name));
    if scene::token_in(state, &source) == Some(id) {
        return Some("which the Secret that it was adopted from still holds".to_owned());
    }
    None
}

fn is_ours_to_revoke(state: &State, stored: &Stored) -> bool {
    let ours = stored.token.mark.as_ref().is_some_and(|mark| mark.installation.as_str() == INSTALLATION);
    match stored.maker {
        Maker::Operator { .. } => ours,
        Maker::Outsider => stored.token.id != ADMIN && is_held_by_an_adopted_slot(state, stored.token.id),
    }
}

fn places(state: &State, concerned: impl Fn(&Truth) -> bool) -> Vec<usize> {
    let truths = state.judge.truths.iter().enumerate();
    truths.filter(|(_, truth)| concerned(truth)).map(|(place, _)| place).collect()
}

/// The uid of an object as it is now.
pub fn uid_of(state: &State, truth: &Truth) -> Option<String> {
    state.store.get(&truth.key).and_then(|token| token["metadata"]["uid"].as_str()).map(str::to_owned)
}
