//! A dbt in memory, just enough for an account. It counts what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{
    AccountId, EnvironmentId, Installation, OwnerUid, PermissionSet, ProjectId, Serial, TokenId, TokenUid,
};
use dbt_token_planner::link::Link;
use dbt_token_planner::mark::{Mark, Origin};
use dbt_token_planner::observation::{Owner, Project, Token};
use dbt_token_planner::permission::Probe;

use crate::account::connect::Connector;
use crate::account::lock;
use crate::backend::dbt::{ConnectError, Connection, Limiter};
use crate::backend::{AccountInfo, Backend, BackendError, Created, ErrorClass, Lookup, Verdict};
use crate::token::TokenString;

/// The account that is asked for.
pub(super) const ACCOUNT: AccountId = AccountId(70);

/// The uid of its own credential.
pub(super) const OWN_UID: &str = "ownuid0";

/// A string of today's form with [`OWN_UID`] in its place.
pub(super) fn own_string() -> String {
    format!("dbtc_{OWN_UID}{}", "x".repeat(43))
}

/// dbt as the test sets it.
#[derive(Default)]
pub(super) struct FakeDbt {
    /// The account that answers, if it is not the one that is asked for.
    pub(super) other_account: Mutex<Option<AccountId>>,
    pub(super) tokens: Mutex<BTreeMap<TokenId, Token>>,
    pub(super) projects: Mutex<Vec<Project>>,
    /// Whether a deleted token is not shown any more, rather than shown as inactive.
    pub(super) hides_deleted: AtomicBool,
    pub(super) failure: Mutex<Option<ErrorClass>>,
    /// Every call, in order.
    pub(super) calls: Mutex<Vec<String>>,
    /// Lists that are being read at this moment, and the most that ever were.
    pub(super) lists: (AtomicUsize, AtomicUsize),
    pub(super) connections: AtomicUsize,
}

/// The operator's own credential, as dbt lists it.
pub(super) fn own_token() -> Token {
    let row = GrantRow { permission_set: PermissionSet::new("account_admin"), scope: Scope::All, writable: BTreeSet::new() };
    Token { uid: TokenUid::new(OWN_UID), rows: GrantRows::new(vec![row]), mark: None, ..marked(9, "x", 1) }
}

/// A token with our mark.
pub(super) fn marked(id: i64, owner: &str, serial: i64) -> Token {
    let mark = Mark {
        installation: Installation::new("ours"),
        owner: OwnerUid::new(owner),
        serial: Serial(serial),
        origin: Origin::Made,
    };
    Token {
        id: TokenId(id),
        uid: TokenUid::new(format!("uid{id:04}")),
        name: mark.name("token"),
        mark: Some(mark),
        active: true,
        rows: GrantRows::default(),
        created_at: None,
        last_used: None,
        shows_links: false,
    }
}

pub(super) fn owner(uid: &str) -> Owner {
    Owner { uid: OwnerUid::new(uid), namespace: "finance".to_owned(), name: format!("name-{uid}") }
}

/// Connects to it.
pub(super) struct FakeConnector(pub(super) Arc<FakeDbt>);

impl Connector for FakeConnector {
    fn connect(&self, connection: &Connection, _: &TokenString, _: Arc<Limiter>) -> Result<Arc<dyn Backend>, ConnectError> {
        if connection.access_url.starts_with("http:") && !connection.allow_insecure {
            return Err(ConnectError::InsecureEndpoint { field: "accessUrl" });
        }
        self.0.connections.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeBackend(Arc::clone(&self.0))))
    }
}

impl FakeDbt {
    pub(super) fn put(&self, token: Token) {
        lock(&self.tokens).insert(token.id, token);
    }

    pub(super) fn calls(&self) -> String {
        lock(&self.calls).join(", ")
    }

    pub(super) fn fail(&self, class: Option<ErrorClass>) {
        *lock(&self.failure) = class;
    }

    fn call(&self, word: &str) -> Result<(), BackendError> {
        lock(&self.calls).push(word.to_owned());
        lock(&self.failure)
            .clone()
            .map_or(Ok(()), |class| Err(BackendError { operation: word.to_owned(), detail: "words".to_owned(), class }))
    }
}

struct FakeBackend(Arc<FakeDbt>);

#[async_trait]
impl Backend for FakeBackend {
    async fn account(&self) -> Result<AccountInfo, BackendError> {
        self.0.call("account")?;
        let id = lock(&self.0.other_account).unwrap_or(ACCOUNT);
        Ok(AccountInfo { id, name: "Example".to_owned(), plan: "enterprise_2025".to_owned(), locked: None })
    }

    async fn list(&self) -> Result<Vec<Token>, BackendError> {
        let (now, most) = &self.0.lists;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let result = self.0.call("list");
        let tokens = lock(&self.0.tokens).values().cloned().collect();
        now.fetch_sub(1, Ordering::SeqCst);
        result.map(|()| tokens)
    }

    async fn get(&self, token: TokenId) -> Result<Lookup, BackendError> {
        self.0.call(&format!("get {token}"))?;
        Ok(lock(&self.0.tokens).get(&token).cloned().map_or(Lookup::Absent, Lookup::Found))
    }

    async fn projects(&self) -> Result<Vec<Project>, BackendError> {
        self.0.call("projects")?;
        Ok(lock(&self.0.projects).clone())
    }

    async fn environments(&self) -> Result<BTreeMap<ProjectId, EnvironmentId>, BackendError> {
        self.0.call("environments")?;
        Ok(BTreeMap::new())
    }

    async fn create(&self, _: &str, _: &GrantRows) -> Result<Created, BackendError> {
        unreachable!("an account makes no token")
    }

    async fn grant(&self, _: TokenId, _: &GrantRows) -> Result<(), BackendError> {
        unreachable!("an account makes no token")
    }

    async fn rename(&self, _: TokenId, _: &str) -> Result<(), BackendError> {
        unreachable!("an account renames no token")
    }

    async fn verify(&self, _: Probe, _: &TokenString) -> Verdict {
        unreachable!("an account proves no token")
    }

    async fn links(&self) -> Result<Vec<Link>, BackendError> {
        unreachable!("an account replaces no token")
    }

    async fn link(&self, _: Link) -> Result<(), BackendError> {
        unreachable!("an account replaces no token")
    }

    async fn revoke(&self, token: TokenId) -> Result<(), BackendError> {
        self.0.call(&format!("revoke {token}"))?;
        let mut tokens = lock(&self.0.tokens);
        if self.0.hides_deleted.load(Ordering::SeqCst) {
            tokens.remove(&token);
        } else if let Some(token) = tokens.get_mut(&token) {
            token.active = false;
        }
        Ok(())
    }
}
