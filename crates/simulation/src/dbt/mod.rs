//! An account of dbt in memory: the port to the backend. What the account does, and the truth about its tokens.

mod backend;

use std::collections::BTreeMap;

use dbt_token_operator::backend::{BackendError, ErrorClass};
use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::{EnvironmentId, ProjectId, TokenId, TokenUid};
use dbt_token_planner::mark::Mark;
use dbt_token_planner::observation::{Project, Token};
use jiff::Timestamp;

pub use self::backend::SimulatedConnector;

/// The account's id.
pub const ACCOUNT: i64 = 70;

/// The credential of the operator.
pub const ADMIN: TokenId = TokenId(1);

/// The projects that there are.
pub const PROJECTS: [(i64, &str); 3] = [(700, "Finance"), (701, "Marketing"), (702, "Web Shop")];

/// Who made a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// A process of the operator.
    Operator {
        /// When, in milliseconds.
        at: u64,
    },
    /// Somebody else.
    Outsider,
}

/// A token as it truly is.
#[derive(Clone, Debug)]
pub struct Stored {
    /// As dbt lists it.
    pub token: Token,
    /// What opens it.
    pub string: String,
    /// Who made it.
    pub maker: Maker,
    /// Whether dbt ever accepted it.
    pub proved: bool,
}

/// The account.
#[derive(Debug, Default)]
pub struct Dbt {
    /// Every token that ever was.
    pub tokens: BTreeMap<TokenId, Stored>,
    /// Whether the create call ignores permissions, as older installations do.
    pub two_steps: bool,
    /// Whether lists leave out deleted tokens.
    pub hides_deleted: bool,
    /// Tokens that the credential is not shown, each until when: one that is asked for is answered as if it were not there.
    pub hidden: BTreeMap<TokenId, u64>,
    last: i64,
}

impl Dbt {
    /// Makes a token.
    pub fn make(&mut self, name: &str, rows: &GrantRows, maker: Maker, now: Timestamp) -> &Stored {
        self.last += 1;
        let id = TokenId(self.last);
        let uid = format!("u{:06}", self.last);
        let token = Token {
            id,
            uid: TokenUid::new(&uid),
            name: name.to_owned(),
            mark: Mark::parse(name),
            active: true,
            rows: rows.clone(),
            created_at: Some(now),
            last_used: None,
            shows_links: false,
        };
        let string = format!("dbtc_{uid}{:x>43}", self.last);
        self.tokens.entry(id).or_insert(Stored { token, string, maker, proved: false })
    }

    /// The active token that a string opens.
    pub fn opened_by(&self, string: &str) -> Option<TokenId> {
        // The uid stands in a fixed place and is the id, written out.
        let id = TokenId(string.get(6..12)?.parse().ok()?);
        self.tokens.get(&id).filter(|stored| stored.token.active && stored.string == string).map(|stored| stored.token.id)
    }

    /// Whether a token works.
    pub fn is_active(&self, id: TokenId) -> bool {
        self.tokens.get(&id).is_some_and(|stored| stored.token.active)
    }

    /// Ends a token; whether it was active.
    pub fn revoke(&mut self, id: TokenId) -> bool {
        self.tokens.get_mut(&id).is_some_and(|stored| std::mem::replace(&mut stored.token.active, false))
    }

    /// Somebody used a token.
    pub fn use_token(&mut self, id: TokenId, now: Timestamp) {
        if let Some(stored) = self.tokens.get_mut(&id) {
            stored.token.last_used = Some(now);
        }
    }

    fn list(&self) -> Vec<Token> {
        let listed = self.tokens.values().filter(|stored| stored.token.active || !self.hides_deleted);
        listed.map(|stored| stored.token.clone()).collect()
    }

    fn projects() -> Vec<Project> {
        PROJECTS.iter().map(|(id, name)| Project { id: ProjectId(*id), name: (*name).to_owned() }).collect()
    }

    fn environments() -> BTreeMap<ProjectId, EnvironmentId> {
        PROJECTS.iter().map(|(id, _)| (ProjectId(*id), EnvironmentId(id + 1000))).collect()
    }
}

fn failure(operation: &str, class: ErrorClass) -> BackendError {
    BackendError { operation: operation.to_owned(), detail: "a fault of the simulation".to_owned(), class }
}
