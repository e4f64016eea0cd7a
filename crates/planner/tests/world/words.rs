//! A state and a job as people read them.

use dbt_token_planner::effect::{Effect, LedgerEntry};
use dbt_token_planner::ledger::Entry;

use super::observe::{ser, tok};
use super::replica::{Job, subject};
use super::shared::Shared;
use super::{BASE, Phase, Replica, Slot, Token, World};

/// One state, for a person.
pub fn line(world: &World, shared: &Shared) -> String {
    let ledger = shared.ledger(world.object.ledger);
    let entry = |entry: &Entry| format!("{}:{}", ser(entry.serial), tok(entry.token));
    let slot = |slot: &Slot| {
        let marks = [(slot.committed, 'C'), (slot.retained, 'R'), (slot.condemned, 'X'), (slot.adopted, 'A')];
        let marks: String = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
        format!("{}:{:?}{marks}", slot.serial, slot.token)
    };
    let token = |token: &Token| format!("{}{}{}", token.serial, if token.active { "+" } else { "-" }, token.rows);
    let phase = |replica: &Replica| match replica.phase {
        Phase::Idle => "-".to_owned(),
        Phase::Pending(hand) => words(&shared.jobs.value(hand.job)),
        Phase::HalfForged(hand, token) => format!("half {} with a made-up {token}", words(&shared.jobs.value(hand.job))),
        Phase::Half(hand, token) => format!("half {} with {token}", words(&shared.jobs.value(hand.job))),
    };
    format!(
        "t{} {} source {:?} rival {} elsewhere {:?} ledger {}/{:?}/{:?}/{:?}{} record {:?} target {:?} slots {:?} tokens {:?} consumer {:?} {:?} {:?} replicas {:?}",
        world.tick,
        if world.object.deleted.is_some() { format!("deleted {:?}", world.object.gone) } else { String::new() },
        world.source,
        world.rival,
        world.elsewhere,
        ledger.serial,
        ledger.next.as_ref().map(|attempt| attempt.serial.0 - BASE + 1),
        ledger.current.as_ref().map(entry),
        ledger.retiring.iter().map(entry).collect::<Vec<_>>(),
        ledger.set_back.map_or(String::new(), |serial| format!(" set back {serial}")),
        world.object.record.published,
        world.target,
        world.slots.iter().map(slot).collect::<Vec<_>>(),
        world.tokens.iter().map(token).collect::<Vec<_>>(),
        world.consumer,
        world.pod,
        world.remote,
        world.replicas.iter().map(phase).collect::<Vec<_>>(),
    )
}

/// For people who read a history.
fn words(job: &Job) -> String {
    let Some(effect) = &job.effect else { return format!("write the report {:?}", job.record) };
    match effect {
        Effect::WriteLedger { entry: LedgerEntry::Open, ledger } => format!("open {:?}", ledger.next),
        Effect::WriteLedger { .. } => format!("{} {:?}", effect.word(), job.record),
        Effect::Mint { serial, .. } => format!("mint {}", ser(*serial)),
        Effect::Prove { serial, token, .. } => format!("prove {} token {}", ser(*serial), tok(*token)),
        Effect::Project { serial, token, .. } => format!("project {} token {}", ser(*serial), tok(*token)),
        Effect::Retire { serial, token, .. } => format!("retire {} token {}", ser(*serial), tok(*token)),
        Effect::Revoke { serial, token, because } => format!("revoke {} token {} {because:?}", ser(*serial), tok(*token)),
        _ => format!("{} {:?}", effect.word(), subject(effect).map(ser)),
    }
}
