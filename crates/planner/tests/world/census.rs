//! The promises, asked of the truth. What an outsider did is excused narrowly: each damage excuses only the promise that
//! it breaks itself, and only until it is mended, so that the promises are not empty while something is broken.

use std::collections::BTreeSet;

use dbt_token_planner::invariant::{Census, CensusTarget, CensusToken, Violation, violations};

use stateright::Property;

use super::model::Checked;
use super::observe::{rows, tok, token_id};
use super::settle;
use super::shared::Shared;
use super::{Gone, Marked, Phase, Target, Tok, Token, Toks, World, bit};

/// The operator revoked a token that a consumer or the target held.
pub const HARM: u16 = 1 << 8;
/// The operator revoked a token that is used in another cluster, and nobody had confirmed that it may.
pub const HARM_ELSEWHERE: u16 = 1 << 9;
/// The interlock refused an effect that was planned.
pub const OBJECTION: u16 = 1 << 10;
/// A deletion finished cleanly, and a token that was published once still lives.
pub const LEAK_AT_DELETION: u16 = 1 << 11;
/// A deletion that retains left a dead token in the Secret.
pub const RETAINED_DEAD: u16 = 1 << 12;
/// Two tokens were made for one serial.
pub const MADE_TWICE: u16 = 1 << 13;
/// A token was committed by a string that was made up around its uid.
pub const UNPROVEN: u16 = 1 << 14;
/// A token that somebody else made was revoked, and no slot said for good that it may be.
pub const UNCONDEMNED: u16 = 1 << 15;
/// A token was committed without the links of those before it.
pub const UNLINKED: u16 = 1 << 7;

/// The bit of a violation in `Ghosts::broken`.
pub fn flag(violation: Violation) -> u16 {
    1 << match violation {
        Violation::TargetHoldsDeadToken => 0,
        Violation::TargetEmptied => 1,
        Violation::ConsumerHoldsDeadToken => 2,
        Violation::TooManyStored => 3,
        Violation::ForeignTokenTouched => 4,
        Violation::PublishedUncommitted => 5,
        Violation::RetiredTooEarly => 6,
    }
}

/// The target as consumers see it.
fn target(world: &World) -> CensusTarget {
    match world.target {
        Target::Missing | Target::Foreign | Target::Ours { intact: false, .. } => CensusTarget::Absent,
        Target::Ours { token: Some(token), .. } | Target::Released(Some(token)) => CensusTarget::Token(token_id(token)),
        Target::Ours { token: None, .. } | Target::Released(None) => CensusTarget::Empty,
    }
}

fn consumers(world: &World) -> impl Iterator<Item = Tok> {
    world.consumer.into_iter().chain(world.pod.map(|pod| pod.token)).chain(world.remote)
}

/// All that the shipped predicates see of a world, in a form that is quickly compared: most transitions change none of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Facts {
    was_ready: bool,
    deleting: bool,
    /// The target is there, and what it holds.
    target: Option<Option<Tok>>,
    consumers: Toks,
    overdue: Toks,
    compromised: Toks,
    declared: u8,
    ours: Toks,
    active: Toks,
    stored: Toks,
    touched: Toks,
    /// The rows of each token, of which there is one for each number.
    rows: Vec<u8>,
    ledger: u32,
}

impl Facts {
    fn of(world: &World) -> Self {
        let set = |has: &dyn Fn(Tok, &Token) -> bool| {
            (0..).zip(&world.tokens).filter(|(index, token)| has(*index, token)).fold(0, |set, (index, _)| set | bit(index))
        };
        let ghosts = &world.ghosts;
        let target = match target(world) {
            CensusTarget::Absent => None,
            CensusTarget::Empty => Some(None),
            CensusTarget::Token(token) => Some(Some(tok(token))),
        };
        let held = world.slots.iter().filter(|slot| !slot.retained).filter_map(|slot| slot.token).chain(target.flatten());
        Self {
            was_ready: ghosts.was_ready,
            deleting: world.object.deleted.is_some(),
            target,
            consumers: consumers(world).fold(0, |set, token| set | bit(token)),
            overdue: ghosts.overdue,
            compromised: ghosts.compromised,
            declared: ghosts.declared,
            ours: set(&|_, token| token.mark == Marked::Ours) | ghosts.stored,
            active: set(&|_, token| token.active),
            stored: held.fold(0, |set, token| set | bit(token)),
            touched: ghosts.touched,
            rows: world.tokens.iter().map(|token| token.rows).collect(),
            ledger: world.object.ledger,
        }
    }

    fn census(&self, shared: &Shared) -> Census {
        let ids = |set: Toks| (0..16).filter(|token| set & bit(*token) != 0).map(token_id).collect::<BTreeSet<_>>();
        let tokens = (0..).zip(&self.rows).map(|(index, number)| CensusToken {
            id: token_id(index),
            ours: self.ours & bit(index) != 0,
            active: self.active & bit(index) != 0,
            rows: rows(*number),
            stored: self.stored & bit(index) != 0,
            touched: self.touched & bit(index) != 0,
        });
        Census {
            was_ready: self.was_ready,
            deleting: self.deleting,
            disturbed: false,
            target: match self.target {
                None => CensusTarget::Absent,
                Some(None) => CensusTarget::Empty,
                Some(Some(token)) => CensusTarget::Token(token_id(token)),
            },
            consumers: ids(self.consumers),
            overdue: ids(self.overdue),
            compromised: ids(self.compromised),
            tokens: tokens.collect(),
            declared: (0..4).filter(|number| self.declared & (1 << number) != 0).map(rows).collect(),
            ledger: shared.ledger(self.ledger).as_ref().clone(),
        }
    }
}

/// What is broken, asked of the shipped predicates once for all worlds that are alike to them.
fn broken(world: &World, shared: &Shared) -> Vec<Violation> {
    let facts = Facts::of(world);
    shared.violations.get(&facts).unwrap_or_else(|| {
        let broken = violations(&facts.census(shared));
        shared.violations.put(facts, broken.clone());
        broken
    })
}

/// Whether an outsider's damage explains this violation by itself.
fn is_excused(world: &World, shared: &Shared, violation: Violation) -> bool {
    let (target, ledger) = (target(world), shared.ledger(world.object.ledger));
    let killed = |token: Tok| world.ghosts.killed & bit(token) != 0;
    let killed_id = |id| killed(tok(id));
    let excused = match violation {
        Violation::TargetHoldsDeadToken => matches!(target, CensusTarget::Token(id) if killed_id(id)),
        Violation::ConsumerHoldsDeadToken => consumers(world).all(|token| world.is_active(token) || killed(token)),
        Violation::TargetEmptied => world.ghosts.target_damaged,
        // A published token that does not work (or that came with a copy of a cluster) is in no ledger of ours while its
        // successor is on the way.
        Violation::PublishedUncommitted => {
            let lost = |token: Tok| {
                let foreign = world.tokens[usize::from(token)].mark == Marked::OtherInstallation;
                foreign || killed(token) || (world.ghosts.refused | world.ghosts.unslotted) & bit(token) != 0
            };
            world.ghosts.ledger_damaged || matches!(target, CensusTarget::Token(id) if lost(tok(id)))
        }
        Violation::RetiredTooEarly => {
            let dead = ledger.retiring.iter().map(|entry| tok(entry.token)).filter(|token| !world.is_active(*token));
            let successor_killed = ledger.current.is_some_and(|entry| killed_id(entry.token));
            let published_killed = matches!(target, CensusTarget::Token(id) if killed_id(id));
            let killed_after = successor_killed || published_killed;
            world.ghosts.target_damaged || world.ghosts.ledger_damaged || killed_after || dead.into_iter().all(killed)
        }
        Violation::TooManyStored | Violation::ForeignTokenTouched => return false,
    };
    excused || world.ghosts.restored
}

/// Brings the ghosts up to date after a transition, and notes what is broken.
pub fn judge(world: &mut World, shared: &Shared) {
    if matches!(world.target, Target::Ours { token: Some(_), intact: true }) {
        world.ghosts.target_damaged = false;
    }
    let broken = broken(world, shared);
    if matches!(target(world), CensusTarget::Token(_)) {
        world.ghosts.was_ready |= broken.is_empty();
    }
    world.ghosts.restored &= !broken.is_empty();
    for violation in broken {
        if !is_excused(world, shared, violation) {
            world.ghosts.broken |= flag(violation);
        }
    }
    deletion(world);
    let mut serials: Vec<_> = world.tokens.iter().filter(|token| token.mark == Marked::Ours).map(|token| token.serial).collect();
    serials.sort_unstable();
    if serials.windows(2).any(|pair| pair[0] == pair[1]) {
        world.ghosts.broken |= MADE_TWICE;
    }
    // What was in hand when somebody set the ledger back is done after that.
    let is_idle = world.replicas.iter().all(|replica| replica.phase == Phase::Idle);
    world.ghosts.ledger_damaged = world.ghosts.ledger_damaged && !(is_idle && settle::is_at_rest(world, shared));
    let tidy = || world.slots.len() == 1 && settle::is_at_rest(world, shared);
    if world.ghosts.declared.count_ones() > 1 && tidy() {
        world.ghosts.declared = 1 << world.object.rows;
    }
}

fn deletion(world: &mut World) {
    let leaked = (0..)
        .zip(&world.tokens)
        .filter(|(index, token)| !token.made_outside || world.slots.iter().any(|slot| slot.token == Some(*index)))
        .any(|(index, token)| token.active && world.ghosts.committed & bit(index) != 0 && !world.is_retained(index));
    if world.object.gone == Some(Gone::Clean) && leaked {
        world.ghosts.broken |= LEAK_AT_DELETION;
    }
    let dead =
        matches!(world.target, Target::Released(Some(token)) if !world.is_active(token) && world.ghosts.killed & bit(token) == 0);
    if world.object.gone == Some(Gone::Retained) && dead {
        world.ghosts.broken |= RETAINED_DEAD;
    }
}

fn holds(world: &World, flag: u16) -> bool {
    world.ghosts.broken & flag == 0
}

/// What must hold in every state.
pub fn properties() -> Vec<Property<Checked>> {
    vec![
        Property::always(DEAD_TARGET, |_, world| holds(world, flag(Violation::TargetHoldsDeadToken))),
        Property::always(EMPTIED, |_, world| holds(world, flag(Violation::TargetEmptied))),
        Property::always(DEAD_CONSUMER, |_, world| holds(world, flag(Violation::ConsumerHoldsDeadToken))),
        Property::always(STORED, |_, world| holds(world, flag(Violation::TooManyStored))),
        Property::always(FOREIGN, |_, world| holds(world, flag(Violation::ForeignTokenTouched))),
        Property::always(UNCOMMITTED, |_, world| holds(world, flag(Violation::PublishedUncommitted))),
        Property::always(EARLY, |_, world| holds(world, flag(Violation::RetiredTooEarly))),
        Property::always(HARMLESS, |_, world| holds(world, HARM)),
        Property::always(ELSEWHERE, |_, world| holds(world, HARM_ELSEWHERE)),
        Property::always(ALLOWED, |model, world| model.shared.mutation.is_some() || holds(world, OBJECTION)),
        Property::always(CLEAN_END, |_, world| holds(world, LEAK_AT_DELETION)),
        Property::always(RETAINED, |_, world| holds(world, RETAINED_DEAD)),
        Property::always(PROVEN, |_, world| holds(world, UNPROVEN)),
        Property::always(CONDEMNED, |_, world| holds(world, UNCONDEMNED)),
        Property::always(ONCE, |model, world| !model.configuration.alone() || holds(world, MADE_TWICE)),
        Property::always(LINKED, |_, world| holds(world, UNLINKED)),
        Property::always(SETTLES, |model, world| {
            settle::course(world, &model.shared).is_some_and(|length| length <= settle::LONGEST)
        }),
    ]
}

pub const DEAD_TARGET: &str = "the target holds a working token";
pub const EMPTIED: &str = "the target stays filled";
pub const DEAD_CONSUMER: &str = "consumers hold a working token";
pub const STORED: &str = "at most five live tokens are stored";
pub const FOREIGN: &str = "nobody else's token is touched";
pub const UNCOMMITTED: &str = "what is published is in the ledger";
pub const EARLY: &str = "nothing dies before its successor is published";
pub const HARMLESS: &str = "the operator revokes nothing that somebody holds";
pub const ELSEWHERE: &str = "what another cluster uses lives until a person confirms";
pub const ALLOWED: &str = "the interlock never objects";
pub const CLEAN_END: &str = "a clean deletion leaves no published token alive";
pub const RETAINED: &str = "a retained token lives";
pub const ONCE: &str = "a replica alone makes one token a serial";
pub const LINKED: &str = "no token is committed without the links of those before it";
pub const PROVEN: &str = "what is adopted was proven";
pub const CONDEMNED: &str = "an adopted token is condemned before it is revoked";
pub const SETTLES: &str = "one replica alone settles";
