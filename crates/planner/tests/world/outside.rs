//! What others do: users, outsiders, consumers, time, and misfortune in the cluster or in dbt.

use super::observe::token_id;
use super::shared::Shared;
use super::{BASE, Cached, FIRST_ROWS, Gone, Marked, OTHER_ROWS, Phase, Pod, Replica, Ser, Snapshot, Target, Tok, World, bit};

/// The consumer reads the target, and uses what it finds.
pub fn move_consumer(world: &mut World) {
    if let Target::Ours { token: Some(token), intact: true } | Target::Released(Some(token)) = world.target {
        world.consumer = Some(token);
        if world.is_active(token) {
            world.used(token);
        }
    }
}

/// Readers outside use the token that they hold.
fn use_elsewhere(world: &mut World) {
    if let Some(token) = world.elsewhere.filter(|token| world.is_active(*token)) {
        world.used(token);
    }
}

/// Another object claims the adopted token. The name of the slot is taken then.
pub fn rival_claims(world: &mut World) {
    world.rival = true;
}

/// It revokes the token, and closes its slot.
pub fn rival_ends(world: &mut World) {
    world.tokens[0].active = false;
    world.rival = false;
    world.elsewhere = None;
}

/// The pod is created, or its container restarts, and reads the target.
pub fn start_pod(world: &mut World) {
    if let Target::Ours { token: Some(token), intact: true } = world.target {
        let created = world.pod.map_or(world.tick, |pod| pod.created);
        world.pod = Some(Pod { token, created, since: world.tick });
    }
}

/// Somebody brings the published token to the consumer outside the cluster.
pub fn move_remote(world: &mut World) {
    if let Target::Ours { token: Some(token), intact: true } = world.target {
        world.remote = world.remote.map(|_| token);
        use_remote(world);
    }
}

fn use_remote(world: &mut World) {
    if let Some(token) = world.remote.filter(|token| world.is_active(*token)) {
        let tick = world.tick;
        let token = &mut world.tokens[usize::from(token)];
        (token.used, token.used_at) = (true, tick);
    }
}

/// Time passes: longer than the overlap, so that every consumer has moved that moves by itself.
pub fn tick(world: &mut World) {
    world.tick += 1;
    world.left.ticks = world.left.ticks.saturating_sub(1);
    move_consumer(world);
    use_elsewhere(world);
    use_remote(world);
}

/// Whether a pod or a consumer outside the cluster holds another token than the target.
pub fn is_behind(world: &World) -> bool {
    let Target::Ours { token: Some(token), intact: true } = world.target else { return false };
    let started_with_it = |pod: Pod| pod.token == token && !world.object.record.retiring.iter().any(|(_, at)| *at >= pod.since);
    world.remote.is_some_and(|held| held != token) || world.pod.is_some_and(|pod| !started_with_it(pod))
}

/// Everybody takes up what is published, the pod as a new one in time to come.
pub fn catch_up(world: &mut World) {
    tick(world);
    world.pod = world.pod.take().map(|pod| Pod { created: world.tick, ..pod });
    if world.pod.is_some() {
        start_pod(world);
    }
    move_remote(world);
}

/// A create whose answer was lost takes effect.
pub fn land(world: &mut World) {
    let (serial, rows) = world.delayed.remove(0);
    world.create(serial, rows);
}

/// The user declares other permissions, or the first ones again.
pub fn edit(world: &mut World) {
    world.object.rows = if world.object.rows == FIRST_ROWS { OTHER_ROWS } else { FIRST_ROWS };
    world.ghosts.declared |= 1 << world.object.rows;
    world.object_written();
}

/// A person calls the published token compromised. Whoever holds it, or one of those before it, will be refused.
pub fn call_compromised(world: &mut World, shared: &Shared) {
    world.object.asked += 1;
    let ledger = shared.ledger(world.object.ledger);
    let newest = ledger.current.map_or(0, |current| current.serial.0 - BASE + 1);
    for (index, token) in (0..).zip(&world.tokens) {
        // One that is not adopted yet is not this object's, and one that was just adopted has no mark yet.
        let adopted = ledger.names_token(token_id(index));
        if token.serial > 0 && i64::from(token.serial) <= newest || adopted {
            world.ghosts.compromised |= bit(index);
        }
    }
    world.object_written();
}

/// dbt says that the token is older than it is.
pub fn age(world: &mut World, token: Tok) {
    world.tokens[usize::from(token)].legacy = true;
}

pub fn delete(world: &mut World) {
    if world.object.finalizer {
        world.object.deleted = Some(world.tick);
    } else {
        world.object.gone = Some(Gone::AtOnce);
    }
    world.object_written();
}

pub fn change_policy(world: &mut World) {
    world.object.retain = !world.object.retain;
    world.object_written();
}

pub fn kill(world: &mut World, token: Tok) {
    world.tokens[usize::from(token)].active = false;
    world.ghosts.killed |= bit(token);
}

/// Somebody renames a token in dbt, so that only its slot says that it is ours.
pub fn rename(world: &mut World, token: Tok) {
    world.tokens[usize::from(token)].mark = Marked::Nothing;
}

pub fn damage_target(world: &mut World, after: Target) {
    world.ghosts.target_damaged = true;
    world.target_written(after);
}

pub fn delete_slot(world: &mut World, serial: Ser) {
    if let Some(token) = world.slot(serial).and_then(|slot| slot.token) {
        world.ghosts.unslotted |= bit(token);
    }
    world.remove_slot(serial);
}

/// The whole status is gone.
pub fn wipe(world: &mut World, shared: &Shared) {
    world.object.ledger = shared.ledgers.number(Default::default());
    world.object.record = Default::default();
    world.ghosts.was_set_back = true;
    world.object_written();
}

pub fn remember(world: &mut World) {
    let snapshot = Snapshot { object: world.object.clone(), slots: world.slots.clone(), target: world.target };
    world.snapshot = Some(Box::new(snapshot));
}

/// The status alone is set back to what it was, whatever the replicas have in hand.
pub fn set_ledger_back(world: &mut World) {
    if let Some(snapshot) = world.snapshot.take() {
        world.object.ledger = snapshot.object.ledger;
        world.object.record = snapshot.object.record;
        world.ghosts.ledger_damaged = true;
        world.ghosts.was_set_back = true;
        world.object_written();
    }
}

/// etcd is set back; every process starts anew. Whoever uses a token that the cluster no longer knows goes on using it.
pub fn restore(world: &mut World, shared: &Shared) {
    if let Some(snapshot) = world.snapshot.take() {
        let before = world.target;
        world.object = snapshot.object;
        world.slots = snapshot.slots;
        world.target_written(snapshot.target);
        world.object_written();
        if let Target::Ours { token: Some(token), .. } = before
            && world.is_active(token)
            && before != world.target
            && i64::from(world.tokens[usize::from(token)].serial) > shared.ledger(world.object.ledger).serial - BASE + 1
        {
            world.elsewhere = Some(token);
        }
        world.ghosts.restored = true;
        world.ghosts.was_set_back = true;
        world.ghosts.declared |= 1 << world.object.rows;
        for replica in 0..world.replicas.len() {
            restart(world, replica);
        }
    }
}

/// The process ends and another one starts: its caches are filled anew, and it has read nothing of dbt yet.
pub fn restart(world: &mut World, replica: usize) {
    for cache in [Cache::Object, Cache::Slots, Cache::Target] {
        refresh(world, replica, cache);
    }
    let replica = &mut world.replicas[replica];
    *replica = Replica {
        list: None,
        listed_at: 0,
        consumers: None,
        fresh: false,
        absent: 0,
        look: None,
        phase: Phase::Idle,
        ..std::mem::take(replica)
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    Object,
    Slots,
    Target,
}

/// A cache catches up with the truth.
pub fn refresh(world: &mut World, replica: usize, cache: Cache) {
    let (object, slots, target) = (&world.object, &world.slots, world.target);
    let replica = &mut world.replicas[replica];
    match cache {
        Cache::Object => {
            if let Some(cached) = &mut replica.object {
                *cached = Cached { value: object.clone(), current: true };
            }
        }
        Cache::Slots => {
            if let Some(cached) = &mut replica.slots {
                cached.clone_from(slots);
            }
        }
        Cache::Target => {
            if let Some(cached) = &mut replica.target {
                *cached = Cached { value: target, current: true };
            }
        }
    }
}

pub fn is_old(world: &World, replica: usize, cache: Cache) -> bool {
    let replica = &world.replicas[replica];
    match cache {
        Cache::Object => replica.object.as_ref().is_some_and(|cached| !cached.current),
        Cache::Slots => replica.slots.as_ref().is_some_and(|cached| *cached != world.slots),
        Cache::Target => replica.target.as_ref().is_some_and(|cached| !cached.current),
    }
}
