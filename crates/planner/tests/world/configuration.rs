//! What a configuration is: where a history begins, what may happen in it, and how often.

use dbt_token_planner::desired::Retirement;

use super::model::Checked;
use super::mutation::Mutation;
use super::{Left, World};

/// A replica whose ledger is old may reserve again and again what another one closes.
pub const MOST_CLOSED: usize = 5;

/// What may happen beside the replicas' own steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Uses up `edits`.
    Edit,
    Delete,
    ChangePolicy,
    /// A person calls the published token compromised.
    CallCompromised,
    /// Uses up `faults`: a process ends between two events.
    Crash,
    /// The create call is lost and lands later.
    LateCreate,
    /// The answer to the create call is lost.
    LoseAnswer,
    /// dbt refuses a call.
    Refuse,
    GrantOdd,
    GrantNothing,
    Outage,
    /// Uses up `outside`: somebody revokes a token of ours in dbt.
    Kill,
    Rename,
    /// dbt says that a token is a legacy one.
    Age,
    DeleteTarget,
    EditTarget,
    TakeTarget,
    DeleteSlot,
    Wipe,
    SetLedgerBack,
    Restore,
    /// Uses up `pods`: a pod starts, restarts or ends.
    Pods,
    /// A person confirms that unknown tokens are ours; at any time once something was set back.
    Confirm,
    /// Somebody takes the string out of the Secret that it is adopted from.
    EmptySource,
    /// Somebody writes a string there that was made up around the uid.
    ForgeSource,
    /// The readers outside move to our target.
    MoveReaders,
    /// Another object claims the token, and revokes it later.
    Rival,
    /// Uses up `lies`: a list leaves out a token.
    ShortList,
}

/// Where a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new object.
    New,
    /// One token, published and settled.
    Settled,
    /// A new object that shall take over token 0, which somebody outside uses.
    Adopting,
    /// A copy of a cluster of another installation: its ledger and its target, but none of its slots.
    Copied,
}

/// Which caches of a replica may be old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub object: bool,
    pub slots: bool,
    pub target: bool,
    pub list: bool,
}

pub struct Configuration {
    pub name: &'static str,
    pub start: Start,
    /// The lag of each replica.
    pub replicas: Vec<Lag>,
    pub left: Left,
    pub tokens: usize,
    pub may: Vec<May>,
    /// Lists leave out deleted tokens.
    pub hides: bool,
    pub retain: bool,
    /// What is declared about the end of a replaced token.
    pub retirement: Retirement,
    /// A consumer outside the cluster holds the first token.
    pub remote: bool,
    pub witnesses: Vec<(&'static str, Witness)>,
    pub mutation: Option<Mutation>,
}

impl Configuration {
    /// The same with wider bounds.
    #[must_use]
    pub fn deeper(self) -> Self {
        let left = Left { edits: self.left.edits + 1, ticks: self.left.ticks + 1, ..self.left };
        Self { left, tokens: self.tokens + 1, ..self }
    }

    /// One replica, and no create that lands late: only then is a second token of one serial a mistake of the planner.
    pub fn alone(&self) -> bool {
        self.replicas.len() == 1 && !self.may.contains(&May::LateCreate) && !self.may.contains(&May::ShortList)
    }
}

pub type Witness = fn(&Checked, &World) -> bool;
