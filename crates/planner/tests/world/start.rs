//! Where a history begins: the settled states are reached by the planner itself, alone and undisturbed.

use super::configuration::{Configuration, Lag, Start};
use super::shared::Shared;
use super::{Cached, FIRST_ROWS, Ghosts, Left, Marked, Object, Record, Replica, Source, Target, Token, World, observe, settle};

fn blank(configuration: &Configuration, shared: &Shared) -> World {
    let ledger = shared.ledgers.number(Default::default());
    World {
        tick: 0,
        object: Object {
            deleted: None,
            gone: None,
            finalizer: false,
            rows: FIRST_ROWS,
            retain: configuration.retain,
            asked: 0,
            ledger,
            record: Record::default(),
        },
        tokens: Vec::new(),
        slots: Vec::new(),
        closed: Vec::new(),
        target: Target::Missing,
        consumer: None,
        pod: None,
        remote: None,
        elsewhere: None,
        delayed: Vec::new(),
        account_ready: true,
        source: Source::Nothing,
        rival: false,
        confirmed: false,
        snapshot: None,
        replicas: vec![Replica::default()],
        left: Left::default(),
        ghosts: Ghosts { declared: 1 << FIRST_ROWS, ..Ghosts::default() },
    }
}

/// The first state of a configuration.
pub fn start(configuration: &Configuration, shared: &Shared) -> World {
    let mut world = blank(configuration, shared);
    if !matches!(configuration.start, Start::New | Start::Adopting) {
        let unbroken = Shared::new(None, false, configuration.retirement.clone());
        world.object.ledger = unbroken.ledgers.number(Default::default());
        while let Some(next) = settle::step(&world, &unbroken) {
            world = next;
        }
        let ledger = unbroken.ledger(world.object.ledger).as_ref().clone();
        let ledger = match configuration.start {
            Start::Copied => observe::copied(&ledger),
            _ => ledger,
        };
        world.object.ledger = shared.ledgers.number(ledger);
        world.tick = 1;
    }
    match configuration.start {
        Start::New => {}
        Start::Adopting => {
            world.tokens.push(Token {
                serial: 0,
                mark: Marked::Nothing,
                active: true,
                rows: FIRST_ROWS,
                used: true,
                used_at: 0,
                // Somebody has linked a Semantic Layer credential to it.
                linked: true,
                legacy: false,
                made_outside: true,
            });
            world.source = Source::Real(0);
            world.elsewhere = Some(0);
        }
        Start::Settled => {
            world.ghosts.stored |= 1;
            // Somebody has linked a Semantic Layer credential to it.
            world.tokens[0].linked = true;
        }
        Start::Copied => {
            world.tokens[0].mark = Marked::OtherInstallation;
            world.slots.clear();
            world.closed.clear();
            world.elsewhere = world.consumer.take();
            world.ghosts = Ghosts { declared: 1 << FIRST_ROWS, ledger_damaged: true, ..Ghosts::default() };
        }
    }
    world.remote = configuration.remote.then_some(0);
    world.left = configuration.left;
    world.replicas = configuration.replicas.iter().map(|lag| replica(*lag, &world)).collect();
    world
}

fn replica(lag: Lag, world: &World) -> Replica {
    Replica {
        list_lags: lag.list,
        object: lag.object.then(|| Cached { value: world.object.clone(), current: true }),
        slots: lag.slots.then(|| world.slots.clone()),
        target: lag.target.then_some(Cached { value: world.target, current: true }),
        ..Replica::default()
    }
}
