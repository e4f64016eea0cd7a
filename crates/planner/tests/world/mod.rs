//! A pure model of dbt and Kubernetes for one object, around the shipped `plan`, `conclude` and `interlock::check`.
//!
//! The truth (`World`) is small and hashable: tokens are named by the order in which they were made, serials are seconds
//! since [`BASE`], times are ticks. What the planner makes (ledgers, effects) is kept once in [`shared::Shared`] and
//! named by number. Must never hold a copy of a rule of the planner: a wrong planner is the shipped one with its eyes or
//! hands altered (`mutation`).

pub mod adopt;
pub mod census;
pub mod configuration;
pub mod configurations;
pub mod execute;
pub mod model;
pub mod mutation;
pub mod observe;
pub mod outside;
pub mod replica;
pub mod settle;
pub mod shared;
pub mod start;
pub mod words;
pub mod wrong;

use std::hash::{Hash, Hasher};

/// The second at which every history begins.
pub const BASE: i64 = 1_767_225_600;
/// The length of a tick: longer than the overlap, the patience of a deletion and the first four delays after failures.
pub const TICK: i64 = 1_000;

/// A token, by the order in which dbt made it.
pub type Tok = u8;
/// A serial, as seconds since [`BASE`] plus one.
pub type Ser = u16;
/// A set of tokens.
pub type Toks = u16;

/// The rows that a token may have: none, the two that users ask for, and one that nobody asked for.
pub const NO_ROWS: u8 = 0;
/// What is declared at first.
pub const FIRST_ROWS: u8 = 1;
/// What an edit declares.
pub const OTHER_ROWS: u8 = 2;
/// What dbt may grant by mistake.
pub const ODD_ROWS: u8 = 3;

pub fn bit(token: Tok) -> Toks {
    1 << token
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Marked {
    Ours,
    /// The mark of another installation, for an owner of the same uid.
    OtherInstallation,
    /// No mark, or one that somebody removed.
    Nothing,
}

/// A token in dbt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    pub serial: Ser,
    pub mark: Marked,
    pub active: bool,
    pub rows: u8,
    pub used: bool,
    /// A Semantic Layer credential is linked to it.
    pub linked: bool,
    /// dbt says that it was made before 19 July 2023.
    pub legacy: bool,
    /// The tick of the last use by consumers that hold it without our target, 0 without one.
    pub used_at: u8,
    /// Somebody else made it; its readers do not all read our target.
    pub made_outside: bool,
}

/// One number for all of it, since every state is hashed three times.
impl Hash for Token {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { serial, mark, active, rows, used, linked, legacy, used_at, made_outside } = *self;
        let [first, second] = serial.to_le_bytes();
        let flags = bits([active, used, linked, legacy, made_outside]);
        u64::from_le_bytes([first, second, mark as u8, rows, used_at, flags, 0, 0]).hash(hasher);
    }
}

/// A pod that takes the target by its environment: it holds what it read until its container restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pod {
    /// What it read.
    pub token: Tok,
    /// Ticks.
    pub created: u8,
    pub since: u8,
}

/// A slot. Its content only moves forward, so that within one incarnation equal content means equal resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub serial: Ser,
    pub incarnation: u8,
    pub token: Option<Tok>,
    pub granted: u8,
    pub committed: bool,
    pub retained: bool,
    pub condemned: bool,
    /// It is named after its token, which was taken over.
    pub adopted: bool,
    /// The string in it was made up around the token's uid.
    pub forged: bool,
}

/// As for tokens.
impl Hash for Slot {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { serial, incarnation, token, granted, committed, retained, condemned, adopted, forged } = *self;
        let [first, second] = serial.to_le_bytes();
        let flags = bits([committed, retained, condemned, adopted, forged]);
        let filled = u8::from(token.is_some());
        u64::from_le_bytes([first, second, incarnation, filled, token.unwrap_or_default(), granted, flags, 0]).hash(hasher);
    }
}

fn bits(flags: [bool; 5]) -> u8 {
    flags.into_iter().fold(0, |bits, flag| bits << 1 | u8::from(flag))
}

/// What the Secret of an adoption holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// No string.
    #[default]
    Nothing,
    /// The string of a token.
    Real(Tok),
    /// A string that was made up around the uid of a token.
    Forged(Tok),
}

/// What a replica remembers of its last look into that Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seen {
    Missing,
    Fits(Tok),
    FitsRival(Tok),
    Unknown,
    Refused,
    Claimed(Tok),
    StillHeld(Tok),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Missing,
    /// A Secret of that name that does not carry our label.
    Foreign,
    /// It was ours and was let go with this token in it.
    Released(Option<Tok>),
    Ours {
        token: Option<Tok>,
        intact: bool,
    },
}

/// The parts of the status beside the ledger on which decisions rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub published: Option<(Tok, u8)>,
    pub retiring: Vec<(Tok, u8)>,
}

/// The `ServiceToken`. All of it has one resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    pub deleted: Option<u8>,
    pub gone: Option<Gone>,
    pub finalizer: bool,
    pub rows: u8,
    pub retain: bool,
    /// How often a person has called the published token compromised.
    pub asked: u8,
    pub ledger: u32,
    pub record: Record,
}

/// How the object went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gone {
    /// It had no finalizer.
    AtOnce,
    Clean,
    Retained,
    LeftBehind,
}

/// A copy of something that may be older than the truth.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cached<T> {
    pub value: T,
    /// Its resourceVersion is still the true one.
    pub current: bool,
}

/// The account's token list as a replica has it.
pub type List = Vec<(Tok, Token)>;

/// One process of the operator. What does not lag in a configuration is `None` and is read live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// The list is a copy of its own that may be old.
    pub list_lags: bool,
    pub object: Option<Cached<Object>>,
    pub slots: Option<Vec<Slot>>,
    pub target: Option<Cached<Target>>,
    pub list: Option<List>,
    /// The list is newer than the last change that this process made in dbt.
    pub fresh: bool,
    /// The tick in which the list was read.
    pub listed_at: u8,
    /// The last look at the pods, and its tick.
    pub consumers: Option<(Option<Pod>, u8)>,
    /// Tokens of which a read, newer than that change, said that they are not there.
    pub absent: Toks,
    /// What was found in the Secret of an adoption, and at which tick; lost with the process.
    pub look: Option<(Seen, u8)>,
    pub phase: Phase,
}

/// Where a process is between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    #[default]
    Idle,
    /// A plan is in hand, and nothing was done yet.
    Pending(Hand),
    /// A token was created (or verified, or its string was read), and the write that it is for comes next.
    Half(Hand, Tok),
    /// The string that was read was made up around the uid of this token.
    HalfForged(Hand, Tok),
}

/// A plan in hand: what to do, and whether what it rests on is still so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hand {
    pub job: u32,
    pub object_current: bool,
    pub target_current: bool,
}

/// What users, outsiders and misfortune may still do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    pub faults: u8,
    pub edits: u8,
    pub outside: u8,
    pub lies: u8,
    pub ticks: u8,
    /// Starts, restarts and ends of the pod.
    pub pods: u8,
}

/// What only the checker knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghosts {
    /// Tokens that somebody else revoked.
    pub killed: Toks,
    /// Tokens whose slot somebody else deleted.
    pub unslotted: Toks,
    /// Live tokens that dbt refused when they were verified in the target.
    pub refused: Toks,
    /// Tokens that the operator revoked.
    pub touched: Toks,
    /// Tokens whose string was in a slot once.
    pub stored: Toks,
    /// Tokens that were `current` once.
    pub committed: Toks,
    /// Tokens that the target held, or had held, when a person called it compromised.
    pub compromised: Toks,
    /// Rows declared since the last rest.
    pub declared: u8,
    pub was_ready: bool,
    /// The target was removed or rewritten by somebody else, and not mended yet.
    pub target_damaged: bool,
    /// The ledger was set back, and not mended yet.
    pub ledger_damaged: bool,
    /// The ledger was lost or set back at some time.
    pub was_set_back: bool,
    /// Everything in the cluster was set back, and not mended yet.
    pub restored: bool,
    /// Tokens that went at their deadline.
    pub overdue: Toks,
    /// Promises that were broken, see [`census`].
    pub broken: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub object: Object,
    pub slots: Vec<Slot>,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub tick: u8,
    pub object: Object,
    pub tokens: Vec<Token>,
    pub slots: Vec<Slot>,
    /// Serials whose slots were deleted, so that a new one of the same name has another uid.
    pub closed: Vec<Ser>,
    pub target: Target,
    /// The token that a consumer of the target holds.
    pub consumer: Option<Tok>,
    /// A pod that does not move by itself.
    pub pod: Option<Pod>,
    /// The token that a consumer outside the cluster holds and uses in every tick; only dbt sees it.
    pub remote: Option<Tok>,
    /// The token that a consumer in another cluster holds, who never reads our target.
    pub elsewhere: Option<Tok>,
    /// Creates that will land later: serial and rows.
    pub delayed: Vec<(Ser, u8)>,
    /// What the Secret of an adoption holds.
    pub source: Source,
    /// Another object holds the claim on the adopted token.
    pub rival: bool,
    pub account_ready: bool,
    /// A person confirmed that unknown tokens are the cluster's own.
    pub confirmed: bool,
    pub snapshot: Option<Box<Snapshot>>,
    pub replicas: Vec<Replica>,
    pub left: Left,
    pub ghosts: Ghosts,
}

impl World {
    pub fn slot(&self, serial: Ser) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.serial == serial && !slot.retained)
    }

    /// A record says that the token stays.
    pub fn is_retained(&self, token: Tok) -> bool {
        self.slots.iter().any(|slot| slot.retained && slot.token == Some(token))
    }

    pub fn is_active(&self, token: Tok) -> bool {
        self.tokens.get(usize::from(token)).is_some_and(|token| token.active)
    }

    /// What a list shows now; `hides` leaves out deleted tokens.
    pub fn list(&self, hides: bool) -> List {
        (0..).zip(self.tokens.iter().copied()).filter(|(_, token)| token.active || !hides).collect()
    }

    /// dbt makes a token.
    pub fn create(&mut self, serial: Ser, rows: u8) -> Tok {
        self.tokens.push(Token {
            serial,
            mark: Marked::Ours,
            active: true,
            rows,
            used: false,
            used_at: 0,
            linked: false,
            legacy: false,
            made_outside: false,
        });
        u8::try_from(self.tokens.len() - 1).expect("few tokens")
    }

    /// Somebody uses the token.
    pub fn used(&mut self, token: Tok) {
        let tick = self.tick;
        let token = &mut self.tokens[usize::from(token)];
        token.used = true;
        if token.made_outside {
            token.used_at = tick;
        }
    }

    /// The object has a new resourceVersion.
    pub fn object_written(&mut self) {
        for replica in &mut self.replicas {
            if let Some(cached) = &mut replica.object {
                cached.current = false;
            }
            if let Some(hand) = replica.phase.hand_mut() {
                hand.object_current = false;
            }
        }
    }

    /// The target has a new resourceVersion.
    pub fn target_written(&mut self, target: Target) {
        self.target = target;
        for replica in &mut self.replicas {
            if let Some(cached) = &mut replica.target {
                cached.current = false;
            }
            if let Some(hand) = replica.phase.hand_mut() {
                hand.target_current = false;
            }
        }
    }

    pub fn insert_slot(&mut self, slot: Slot) {
        self.slots.push(slot);
        self.slots.sort_unstable();
    }

    pub fn remove_slot(&mut self, serial: Ser) {
        self.slots.retain(|slot| slot.serial != serial || slot.retained);
        self.closed.push(serial);
        self.closed.sort_unstable();
    }

    pub fn slot_mut(&mut self, serial: Ser) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.serial == serial && !slot.retained)
    }
}

impl Phase {
    pub fn hand_mut(&mut self) -> Option<&mut Hand> {
        match self {
            Self::Idle => None,
            Self::Pending(hand) | Self::Half(hand, _) | Self::HalfForged(hand, _) => Some(hand),
        }
    }
}
