//! What was read from dbt, how old it is, and what failed the last time. Held in memory only; losing it costs a reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::account::belief::own_token;
use dbt_token_planner::account::observation::{AccountInfo, Answer, Failure, FailureClass, OwnCredential, TokenList};
use dbt_token_planner::identity::{EnvironmentId, Installation, OwnerUid, ProjectId, TokenId, TokenUid};
use dbt_token_planner::observation::{Project, Reading, Token};
use jiff::{SignedDuration, Timestamp};

use crate::backend::dbt::contains_uid;
use crate::backend::{Backend, BackendError, ErrorClass};
use crate::token::TokenString;

/// Wait after the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest wait between two tries: dbt's own cool-down after a 429.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// How long a single read that found nothing is remembered. The list is newer by then, or the token was asked for again.
const GONE_MEMORY: SignedDuration = SignedDuration::from_hours(24);

/// One kind of reading.
#[derive(Debug)]
pub(super) struct Kept<T> {
    /// The last success, and when its request began.
    pub(super) known: Option<(Arc<T>, Timestamp)>,
    /// The failure of the last try.
    pub(super) failure: Option<Failure>,
    failures: u32,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { known: None, failure: None, failures: 0 }
    }
}

impl<T> Kept<T> {
    /// Takes over a success; tells whether it ends a series of failures.
    pub(super) fn succeed(&mut self, value: T, taken_at: Timestamp) -> bool {
        self.known = Some((Arc::new(value), taken_at));
        self.failures = 0;
        self.failure.take().is_some()
    }

    /// Notes a failure. What was known stays known.
    pub(super) fn fail(&mut self, error: &BackendError, now: Timestamp) -> Failure {
        self.failures = self.failures.saturating_add(1);
        let failure = Failure {
            class: failure_class(&error.class),
            detail: error.detail.clone(),
            since: self.failure.as_ref().map_or(now, |earlier| earlier.since),
            retry_at: retry_at(&error.class, self.failures, now),
        };
        self.failure = Some(failure.clone());
        failure
    }

    /// The failure that still holds back everybody.
    pub(super) fn held_back(&self, now: Timestamp) -> Option<&Failure> {
        self.failure.as_ref().filter(|failure| failure.retry_at > now)
    }

    pub(super) fn taken_at(&self) -> Option<Timestamp> {
        self.known.as_ref().map(|(_, taken_at)| *taken_at)
    }

    pub(super) fn value(&self) -> Option<&Arc<T>> {
        self.known.as_ref().map(|(value, _)| value)
    }

    /// For the planner of the account: a failure counts before what was known.
    pub(super) fn answer<U>(&self, convert: impl FnOnce(&Arc<T>) -> U) -> Answer<U> {
        match (&self.failure, &self.known) {
            (Some(failure), _) => Answer::Failed(failure.clone()),
            (None, Some((value, taken_at))) => Answer::Known { value: convert(value), taken_at: *taken_at },
            (None, None) => Answer::Unread,
        }
    }
}

impl<T> Kept<T> {
    /// For the planner of a ServiceToken: what is known, however old.
    pub(super) fn reading(&self) -> Reading<Arc<T>> {
        self.known
            .as_ref()
            .map_or(Reading::Unknown, |(value, taken_at)| Reading::Known { value: Arc::clone(value), taken_at: *taken_at })
    }
}

fn failure_class(class: &ErrorClass) -> FailureClass {
    match class {
        ErrorClass::CredentialRefused => FailureClass::CredentialRefused,
        ErrorClass::AccountLocked => FailureClass::AccountLocked,
        ErrorClass::IpRefused => FailureClass::IpRefused,
        ErrorClass::Denied => FailureClass::Denied,
        ErrorClass::Rejected { .. }
        | ErrorClass::Throttled { .. }
        | ErrorClass::Unavailable
        | ErrorClass::Ambiguous
        | ErrorClass::Malformed => FailureClass::Unavailable,
    }
}

/// When a read that failed so many times in a row is due again.
pub(super) fn retry_at(class: &ErrorClass, failures: u32, now: Timestamp) -> Timestamp {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
    let regular = later(now, doubled.min(LONGEST_RETRY));
    match class {
        ErrorClass::Throttled { until } => regular.max(*until),
        _ => regular,
    }
}

/// A time so much later, or the end of time.
pub(super) fn later(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

/// An open connection.
pub(super) struct Connected {
    pub(super) backend: Arc<dyn Backend>,
    /// The uid that stands in the credential, if it has today's form.
    pub(super) uid: Option<TokenUid>,
    /// The credential, to look for uids in it if it has another form.
    pub(super) credential: Arc<TokenString>,
}

impl Connected {
    /// How the credential is found in a list.
    fn own(&self, list: &TokenList) -> OwnCredential {
        match &self.uid {
            Some(uid) => OwnCredential::Uid(uid.clone()),
            None => {
                let fitting = list.tokens.values().filter(|token| contains_uid(&self.credential, &token.uid));
                OwnCredential::Candidates(fitting.map(|token| token.id).collect())
            }
        }
    }
}

/// A token list with what is looked up in it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) list: Arc<TokenList>,
    /// How the account's own credential is found in it.
    pub(super) own: OwnCredential,
    /// Whether the account's own credential is in it.
    pub(super) is_believed: bool,
    /// The tokens with our mark, by owner.
    pub(super) by_owner: BTreeMap<OwnerUid, BTreeSet<TokenId>>,
}

impl Snapshot {
    /// Prepares the look-ups.
    pub(super) fn new(tokens: Vec<Token>, connected: &Connected, installation: &Installation) -> Self {
        let list = TokenList { tokens: tokens.into_iter().map(|token| (token.id, token)).collect() };
        let own = connected.own(&list);
        let is_believed = own_token(&list, &own).is_ok();
        let mut by_owner: BTreeMap<OwnerUid, BTreeSet<TokenId>> = BTreeMap::new();
        for token in list.tokens.values() {
            if let Some(mark) = token.mark.as_ref().filter(|mark| mark.installation == *installation) {
                by_owner.entry(mark.owner.clone()).or_default().insert(token.id);
            }
        }
        Self { list: Arc::new(list), own, is_believed, by_owner }
    }

    /// The tokens with the owner's mark, and those that are named.
    pub(super) fn of_owner(&self, owner: &OwnerUid, named: &BTreeSet<TokenId>) -> BTreeMap<TokenId, Token> {
        let marked = self.by_owner.get(owner).into_iter().flatten();
        let found = marked.chain(named).filter_map(|id| self.list.tokens.get(id));
        found.map(|token| (token.id, token.clone())).collect()
    }

    /// The same list with one token as a single read showed it later. It only adds what a list would show as well.
    fn with(&self, token: Token, installation: &Installation) -> Self {
        let mut changed = self.clone();
        if let Some(mark) = token.mark.as_ref().filter(|mark| mark.installation == *installation) {
            changed.by_owner.entry(mark.owner.clone()).or_default().insert(token.id);
        }
        Arc::make_mut(&mut changed.list).tokens.insert(token.id, token);
        changed.is_believed = own_token(&changed.list, &changed.own).is_ok();
        changed
    }
}

/// Everything that was read from dbt with one connection.
#[derive(Default)]
pub(super) struct Readings {
    pub(super) info: Kept<AccountInfo>,
    pub(super) tokens: Kept<Snapshot>,
    pub(super) projects: Kept<Vec<Project>>,
    pub(super) environments: Kept<BTreeMap<ProjectId, EnvironmentId>>,
    /// Single reads of tokens that are not there, or inactive, with the time at which the request began.
    pub(super) gone: BTreeMap<TokenId, Timestamp>,
    /// Since when the lists have not been believed.
    pub(super) unbelieved_since: Option<Timestamp>,
}

impl Readings {
    /// Takes over a list; returns the one before.
    pub(super) fn install(&mut self, snapshot: Snapshot, taken_at: Timestamp) -> Option<Arc<Snapshot>> {
        let before = self.tokens.value().cloned();
        self.unbelieved_since = if snapshot.is_believed { None } else { self.unbelieved_since.or(Some(taken_at)) };
        let lives = |id: &TokenId| snapshot.list.tokens.get(id).is_some_and(|token| token.active);
        let is_remembered = |id: &TokenId, read_at: &Timestamp| {
            taken_at.duration_since(*read_at) < GONE_MEMORY && (*read_at >= taken_at || !lives(id))
        };
        self.gone.retain(|id, read_at| is_remembered(id, read_at));
        if self.tokens.succeed(snapshot, taken_at) {
            // The account answers again after a failure: who it is may have changed in between.
            self.info = Kept::default();
        }
        before
    }

    /// Whether a single read said that the token is not there, or inactive.
    pub(super) fn is_gone(&self, token: TokenId) -> bool {
        self.gone.contains_key(&token)
    }

    /// Takes over a single read of a token.
    pub(super) fn note_single(&mut self, id: TokenId, found: Option<Token>, read_at: Timestamp, installation: &Installation) {
        if found.as_ref().is_none_or(|token| !token.active) {
            self.gone.insert(id, read_at);
        } else {
            self.gone.remove(&id);
        }
        if let (Some(token), Some((snapshot, _))) = (found, self.tokens.known.as_mut()) {
            *snapshot = Arc::new(snapshot.with(token, installation));
        }
    }
}
