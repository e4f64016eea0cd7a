//! Invariant 7: from here, with faults stopped, caches fresh and time passing, one replica alone settles within a fixed
//! number of effects, and what it settles on is what was declared.

use ahash::RandomState;

use super::execute::{Luck, go};
use super::observe::{View, tok};
use super::outside::{self, land, move_consumer, tick};
use super::replica::{Next, look, planned};
use super::shared::Shared;
use super::{BASE, Gone, Marked, Replica, Target, Tok, World, bit};

/// More than any course within the bounds of the configurations needs; far fewer than a loop takes.
pub const LONGEST: u16 = 90;

/// How many events a course takes to its end; `None` if it has no good one.
pub type Course = Option<u16>;

/// Whether the object is as declared and nothing is left over.
pub fn is_at_rest(world: &World, shared: &Shared) -> bool {
    let ledger = shared.ledger(world.object.ledger);
    let Some(current) = ledger.current.map(|entry| tok(entry.token)) else { return false };
    let newest = world.tokens.get(usize::from(current)).map_or(0, |token| token.serial);
    let left_over = (0..).zip(&world.tokens).any(|(index, token)| {
        // A claim on somebody else's token that was given back binds nothing any more.
        let stored = world.ghosts.stored & bit(index) != 0 && !token.made_outside;
        let ours = (token.mark == Marked::Ours || stored) && !is_given_up(world, index);
        let held = world.slots.iter().any(|slot| slot.token == Some(index) && !slot.committed);
        // Its slot was removed by somebody else, or the ledger was set back, and dbt saw it used: it waits for a successor of a higher serial.
        let lost = world.ghosts.was_set_back || world.ghosts.unslotted & bit(index) != 0;
        let waits = token.used && !held && token.serial > newest && lost;
        index != current && token.active && ours && !waits
    });
    let known = world.tokens.get(usize::from(current)).is_some_and(|token| token.active && token.rows == world.object.rows);
    // An empty slot above the ledger's serial (reserved by a step in flight while the status was lost) harms nobody, and
    // a committed one above that of `current` (the ledger was set back) may be in use: both go with the next rotation.
    let mut slots = world.slots.iter().filter(|slot| match slot.token {
        None => i64::from(slot.serial) <= ledger.serial - BASE + 1,
        Some(_) => !(slot.committed && slot.serial > newest && world.ghosts.was_set_back),
    });
    let stored = slots.next().is_some_and(|slot| slot.token == Some(current) && slot.committed) && slots.next().is_none();
    // What a person said is forgotten with the status.
    let is_sound = world.ghosts.compromised & bit(current) == 0 || world.ghosts.was_set_back;
    let is_young = world.tokens.get(usize::from(current)).is_some_and(|token| !token.legacy);
    known
        && stored
        && is_sound
        && is_young
        && (!left_over || ledger.set_back.is_some())
        && ledger.next.is_none()
        && ledger.retiring.iter().all(|entry| is_given_up(world, tok(entry.token)))
        && world.target == (Target::Ours { token: Some(current), intact: true })
        && world.object.record.published.is_some_and(|(token, _)| token == current)
}

/// An adopted token whose slot somebody deleted: it waits for ever, and a person revokes it in dbt.
fn is_given_up(world: &World, token: Tok) -> bool {
    world.tokens[usize::from(token)].made_outside && !world.slots.iter().any(|slot| slot.token == Some(token))
}

fn is_good_end(world: &World, shared: &Shared) -> bool {
    let ours = |index: u8, mark| mark == Marked::Ours || world.ghosts.stored & bit(index) != 0;
    match world.object.gone {
        Some(Gone::AtOnce | Gone::LeftBehind | Gone::Retained) => true,
        // Tokens that nobody can use may land after the end; the inventory of the account sweeps those.
        Some(Gone::Clean) => (0..).zip(&world.tokens).all(|(i, token)| {
            !token.active
                || is_given_up(world, i)
                || !ours(i, token.mark)
                || world.ghosts.committed & bit(i) == 0
                || world.is_retained(i)
        }),
        None => match world.target {
            Target::Foreign => true,
            _ => is_at_rest(world, shared) || waits_for_a_person(world, shared),
        },
    }
}

/// A cluster that was set back in time destroys nothing until a person confirms; what is published must be right.
fn waits_for_a_person(world: &World, shared: &Shared) -> bool {
    let ledger = shared.ledger(world.object.ledger);
    if ledger.set_back.is_none() {
        return false;
    }
    if world.object.deleted.is_some() {
        return true;
    }
    ledger.next.is_none()
        && ledger.current.is_some_and(|current| {
            let current = tok(current.token);
            world.is_active(current) && world.target == (Target::Ours { token: Some(current), intact: true })
        })
}

/// Whether the object had its first token, so that nothing is adopted any more.
fn shared_is_done(world: &World) -> bool {
    world.ghosts.committed != 0
}

/// Nothing can be adopted from here, nothing was made instead, and nothing of the try is left.
fn is_refused_adoption(world: &World, shared: &Shared) -> bool {
    let ledger = shared.ledger(world.object.ledger);
    let begun = ledger.current.is_some() || !ledger.retiring.is_empty();
    let blocked = shared.adopts && world.object.deleted.is_none() && !begun && !super::adopt::is_possible(world);
    blocked
        && world.slots.iter().all(|slot| slot.retained)
        && world.tokens.iter().all(|token| token.made_outside || !token.active)
}

/// The world with faults stopped: everything in flight is dropped or has landed, and one replica starts anew.
fn calmed(world: &World) -> World {
    // Not a clone of all of it: this is done for every state.
    let mut world = World {
        tick: world.tick,
        object: world.object.clone(),
        tokens: world.tokens.clone(),
        slots: world.slots.clone(),
        closed: world.closed.clone(),
        target: world.target,
        consumer: world.consumer,
        pod: world.pod,
        remote: world.remote,
        elsewhere: world.elsewhere,
        delayed: world.delayed.clone(),
        source: world.source,
        rival: false,
        account_ready: true,
        confirmed: world.confirmed,
        snapshot: None,
        replicas: vec![Replica::default()],
        left: super::Left::default(),
        ghosts: world.ghosts.clone(),
    };
    while !world.delayed.is_empty() {
        land(&mut world);
    }
    if shared_is_done(&world) {
        // The readers of an adopted token move sooner or later, and nobody puts it back.
        world.source = super::Source::Nothing;
        world.elsewhere = None;
    }
    world.ghosts.broken = 0;
    world.ghosts.declared = 0;
    world.ghosts.was_ready = false;
    world.ghosts.target_damaged = false;
    world.ghosts.ledger_damaged = false;
    world.ghosts.restored = false;
    world
}

fn digest(world: &World) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(world)
}

/// The course from this world on.
pub fn course(world: &World, shared: &Shared) -> Course {
    let mut world = calmed(world);
    let mut path = Vec::new();
    let end = loop {
        let here = digest(&world);
        if let Some(known) = shared.courses.get(&here) {
            break known;
        }
        if path.contains(&here) || path.len() > usize::from(LONGEST) * 2 {
            break None;
        }
        path.push(here);
        match step(&world, shared) {
            Some(next) => world = next,
            None if is_good_end(&world, shared) || is_refused_adoption(&world, shared) => break Some(0),
            None => break None,
        }
    };
    let mut course = end;
    for here in path.into_iter().rev() {
        course = course.map(|length| length + 1);
        shared.courses.put(here, course);
    }
    course
}

/// One event of the replica that is alone, or of time; `None` at the end.
pub fn step(world: &World, shared: &Shared) -> Option<World> {
    if world.object.gone.is_some() {
        return None;
    }
    if world.replicas[0].phase != super::Phase::Idle {
        return Some(go(world, 0, shared, Luck::Good));
    }
    if let Some(next) = look(world, 0, shared) {
        return Some(next);
    }
    let rest = planned(View::of(world, 0, shared), shared);
    let mut next = world.clone();
    match rest.next {
        Next::Rest { .. } if outside::is_behind(world) => {
            outside::catch_up(&mut next);
            Some(next)
        }
        Next::Rest { .. } if is_refused_adoption(world, shared) => None,
        Next::Rest { wakes: true, .. } if world.tick < 60 && !lingers(world, shared) => {
            tick(&mut next);
            Some(next)
        }
        _ => {
            move_consumer(&mut next);
            (next != *world).then_some(next)
        }
    }
}

/// A token that a person called compromised waits for time to pass, although what follows it is in place.
fn lingers(world: &World, shared: &Shared) -> bool {
    let ledger = shared.ledger(world.object.ledger);
    let Some(current) = ledger.current.filter(|_| ledger.set_back.is_none() && ledger.next.is_none()) else { return false };
    let is_published = world.target == (Target::Ours { token: Some(tok(current.token)), intact: true });
    let mut older = ledger.retiring.iter().filter(|entry| entry.serial < current.serial);
    let waits = older.any(|entry| ledger.is_compromised(entry.serial) && world.is_active(tok(entry.token)));
    world.object.deleted.is_none() && is_published && waits
}

/// The events of the course, for a person.
pub fn story(world: &World, shared: &Shared) -> Vec<String> {
    let mut world = calmed(world);
    let mut lines = Vec::new();
    for _ in 0..30 {
        let Some(next) = step(&world, shared) else { break };
        lines.push(super::words::line(&next, shared));
        world = next;
    }
    lines
}
