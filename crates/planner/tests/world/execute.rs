//! The hands of the shell: each effect as the events of which it consists, with the preconditions that every write of
//! the real shell must have. A write whose precondition fails changes nothing, and the replica looks again.

use dbt_token_planner::desired::OnDeadline;
use dbt_token_planner::effect::{Effect, LetGo};
use dbt_token_planner::identity::{Serial, TokenId};

use super::adopt;
use super::census::{self, HARM};
use super::mutation::Mutation;
use super::observe::{rows_number, ser, time, tok};
use super::replica::Job;
use super::shared::Shared;
use super::{Gone, Hand, NO_ROWS, Phase, Ser, Slot, Target, Tok, World, bit};

/// How dbt and the process behave during one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    Good,
    /// dbt refuses the call.
    Refused,
    /// dbt grants this instead of what was asked for.
    Grants(u8),
    /// The create call is lost now and lands later.
    Late,
    /// The create call is carried out, and its answer is lost.
    Unanswered,
}

/// The next event of a replica that has a plan in hand.
pub fn go(world: &World, replica: usize, shared: &Shared, luck: Luck) -> World {
    let mut world = world.clone();
    match world.replicas[replica].phase {
        Phase::Idle => {}
        Phase::Pending(hand) => {
            world.replicas[replica].phase = Phase::Idle;
            begin(&mut world, replica, hand, shared, luck);
        }
        Phase::Half(hand, token) => {
            world.replicas[replica].phase = Phase::Idle;
            finish(&mut world, replica, hand, token, shared);
        }
        Phase::HalfForged(hand, token) => {
            world.replicas[replica].phase = Phase::Idle;
            let job = shared.jobs.value(hand.job);
            if let Some(Effect::ClaimAdoption { serial, .. }) = &job.effect {
                adopt::claim(&mut world, replica, ser(*serial), token, true);
            }
        }
    }
    world
}

fn begin(world: &mut World, replica: usize, hand: Hand, shared: &Shared, luck: Luck) {
    let job = shared.jobs.value(hand.job);
    let Some(effect) = &job.effect else { return write_status(world, hand, &job, None, shared) };
    match effect {
        Effect::AddFinalizer if world.object.deleted.is_none() => {
            world.object.finalizer = true;
            world.object_written();
        }
        Effect::AddFinalizer => {}
        Effect::WriteLedger { ledger, .. } => {
            let number = shared.ledgers.number(ledger.as_ref().clone());
            write_status(world, hand, &job, Some(number), shared);
        }
        Effect::ClaimTarget if world.target == Target::Missing => {
            world.target_written(Target::Ours { token: None, intact: true });
        }
        Effect::ClaimTarget if matches!(world.target, Target::Released(_)) => world.target_written(Target::Foreign),
        Effect::ClaimTarget => {}
        Effect::Reserve(serial) => reserve(world, ser(*serial)),
        Effect::Mint { serial, rows, .. } => mint(world, replica, hand, &job, (ser(*serial), rows_number(rows)), luck),
        Effect::Grant { token, rows, .. } => {
            grant(world, tok(*token), rows_number(rows));
            changed_dbt(world, replica);
        }
        // With no call at all nothing is tried.
        Effect::Prove { serial, token, probes, .. } if probes.is_empty() => {
            commit_untried(world, replica, hand, (ser(*serial), tok(*token)));
        }
        Effect::Prove { serial, token, inheritance, .. } => {
            let mut from = inheritance.from.iter().map(|token| tok(*token));
            let inherits = !shared.is(Mutation::ProveWithoutLinks) && from.any(|token| is_linked(world, token));
            prove(world, replica, hand, &job, (ser(*serial), tok(*token)), inherits, luck);
        }
        Effect::Project { serial, token, .. } => {
            if job.record.is_some() && !shared.is(Mutation::ProjectWithoutReport) {
                if !hand.object_current {
                    return;
                }
                write_status(world, hand, &job, None, shared);
            }
            read_slot(world, replica, hand, (*serial, *token), shared);
        }
        Effect::Retire { token, .. } => verify(world, replica, hand, &job, *token, shared, luck),
        Effect::Revoke { token, .. } => {
            revoke(world, tok(*token), shared);
            changed_dbt(world, replica);
        }
        Effect::Condemn { serial, .. } => {
            write_slot(world, ser(*serial), &job, false, |slot| slot.condemned |= !slot.committed);
        }
        Effect::LabelCommitted(serial) => {
            let unchecked = shared.is(Mutation::LabelWithoutPrecondition);
            write_slot(world, ser(*serial), &job, unchecked, |slot| slot.committed |= unchecked || !slot.condemned);
        }
        Effect::CloseSlot(serial) => {
            let unchanged = world.slot(ser(*serial)) == job.slot.as_ref() || shared.is(Mutation::CloseWithoutPrecondition);
            if unchanged && world.slot(ser(*serial)).is_some() {
                world.remove_slot(ser(*serial));
            }
        }
        Effect::LeaveRecord { serial, token } => leave_record(world, ser(*serial), tok(*token)),
        Effect::InspectSource(_)
        | Effect::ClaimAdoption { .. }
        | Effect::TakeOverTarget { .. }
        | Effect::StripTarget
        | Effect::Rename { .. }
        | Effect::CondemnAdopted { .. } => adopting(world, replica, hand, &job, effect, luck),
        // No workloads are declared here; two replicas that restart some have a model of their own beside that stage.
        Effect::RestartWorkloads { .. } => {}
        Effect::ReleaseTarget => release(world, hand, Target::Released),
        Effect::DeleteTarget => release(world, hand, |_| Target::Missing),
        Effect::RemoveFinalizer(how) => let_go(world, hand, *how),
    }
}

fn adopting(world: &mut World, replica: usize, hand: Hand, job: &Job, effect: &Effect, luck: Luck) {
    match effect {
        Effect::InspectSource(_) => {
            let found = adopt::inspect(world);
            world.replicas[replica].look = Some((found, world.tick));
        }
        Effect::ClaimAdoption { token, probes, .. } => adopt::try_held(world, replica, hand, tok(*token), probes.is_empty()),
        Effect::Rename { serial, token, .. } => {
            if luck == Luck::Good && world.is_active(tok(*token)) {
                let token = &mut world.tokens[usize::from(tok(*token))];
                (token.mark, token.serial) = (super::Marked::Ours, ser(*serial));
            }
            changed_dbt(world, replica);
            refused(world, replica, hand, job);
        }
        Effect::CondemnAdopted { token, unless_held_in, .. } if unless_held_in.is_none() => {
            world.replicas[replica].phase = Phase::Half(hand, tok(*token));
        }
        Effect::CondemnAdopted { token, .. } => adopt::look_for_the_string(world, replica, hand, tok(*token)),
        // The model adopts from another Secret only.
        _ => {}
    }
}

fn finish(world: &mut World, replica: usize, hand: Hand, token: Tok, shared: &Shared) {
    let job = shared.jobs.value(hand.job);
    match job.effect.as_ref().expect("only effects have two events") {
        Effect::Mint { serial, .. } => {
            let granted = world.tokens[usize::from(token)].rows;
            let unchecked = shared.is(Mutation::FillWithoutCompare);
            write_slot(world, ser(*serial), &job, unchecked, |slot| {
                slot.token = Some(token);
                slot.granted = granted;
            });
            if world.slot(ser(*serial)).is_some_and(|slot| slot.token == Some(token)) {
                world.ghosts.stored |= bit(token);
            }
        }
        Effect::Prove { committed, .. } => {
            let before = shared.ledger(world.object.ledger);
            let mut replaced = before.current.iter().chain(&before.retiring).map(|entry| tok(entry.token));
            if hand.object_current && !world.tokens[usize::from(token)].linked && replaced.any(|token| is_linked(world, token)) {
                world.ghosts.broken |= census::UNLINKED;
            }
            let number = shared.ledgers.number(committed.as_ref().clone());
            write_status(world, hand, &job, Some(number), shared);
        }
        Effect::Project { .. } => {
            let expected = match world.target {
                Target::Ours { .. } => true,
                Target::Missing => shared.is(Mutation::CreateTargetWithContent),
                Target::Foreign | Target::Released(_) => false,
            };
            let created = world.target == Target::Missing && shared.is(Mutation::CreateTargetWithContent);
            if expected && (hand.target_current || created || shared.is(Mutation::ProjectWithoutCompare)) {
                world.target_written(Target::Ours { token: Some(token), intact: true });
            }
        }
        Effect::Retire { .. } => {
            revoke(world, token, shared);
            changed_dbt(world, replica);
        }
        Effect::ClaimAdoption { serial, .. } => adopt::claim(world, replica, ser(*serial), token, false),
        Effect::CondemnAdopted { serial, .. } => write_slot(world, ser(*serial), &job, false, |slot| slot.condemned = true),
        effect => unreachable!("{effect:?} is one event"),
    }
}

/// Ledger and report, under a compare-and-swap on the object's resourceVersion.
fn write_status(world: &mut World, hand: Hand, job: &Job, ledger: Option<u32>, shared: &Shared) {
    let ignores = shared.is(Mutation::LedgerWithoutCompare) && ledger.is_some();
    if world.object.gone.is_some() || !(hand.object_current || ignores) {
        return;
    }
    if let Some(ledger) = ledger {
        world.object.ledger = ledger;
        if let Some(current) = shared.ledger(ledger).current {
            if world.slot(ser(current.serial)).is_some_and(|slot| slot.forged) {
                world.ghosts.broken |= census::UNPROVEN;
            }
            world.ghosts.committed |= bit(tok(current.token));
        }
    }
    if let Some(record) = &job.record {
        world.object.record = record.clone();
    }
    world.object_written();
}

fn reserve(world: &mut World, serial: Ser) {
    if world.slot(serial).is_some() {
        return;
    }
    let incarnation = u8::try_from(world.closed.iter().filter(|closed| **closed == serial).count()).expect("few slots");
    world.insert_slot(Slot {
        serial,
        incarnation,
        token: None,
        granted: NO_ROWS,
        committed: false,
        retained: false,
        condemned: false,
        adopted: false,
        forged: false,
    });
}

/// A write of a slot under preconditions on its uid and resourceVersion.
fn write_slot(world: &mut World, serial: Ser, job: &Job, unchecked: bool, change: impl FnOnce(&mut Slot)) {
    if let Some(slot) = world.slot_mut(serial).filter(|slot| unchecked || Some(&**slot) == job.slot.as_ref()) {
        change(slot);
    }
}

/// Asks dbt for the token; the slot is filled by an event of its own.
fn mint(world: &mut World, replica: usize, hand: Hand, job: &Job, (serial, rows): (Ser, u8), luck: Luck) {
    let granted = if let Luck::Grants(rows) = luck { rows } else { rows };
    match luck {
        Luck::Refused => return refused(world, replica, hand, job),
        Luck::Late => world.delayed.push((serial, granted)),
        Luck::Unanswered => {
            world.create(serial, granted);
        }
        Luck::Good | Luck::Grants(_) => {
            let token = world.create(serial, granted);
            world.replicas[replica].phase = Phase::Half(hand, token);
        }
    }
    changed_dbt(world, replica);
}

/// Reads the string that shall be published, and reads the ledger again; the target is written by an event of its own.
fn read_slot(world: &mut World, replica: usize, hand: Hand, (serial, token): (Serial, TokenId), shared: &Shared) {
    let stored = world.slot(ser(serial)).is_some_and(|slot| slot.token == Some(tok(token)));
    let ledger = shared.ledger(world.object.ledger);
    let named = ledger.current.is_some_and(|entry| entry.serial == serial && entry.token == token);
    if stored && (named || shared.is(Mutation::ProjectWithoutLedger)) {
        world.replicas[replica].phase = Phase::Half(hand, tok(token));
    }
}

fn grant(world: &mut World, token: Tok, rows: u8) {
    let token = &mut world.tokens[usize::from(token)];
    if token.active && token.rows == NO_ROWS {
        token.rows = rows;
    }
}

/// A token that dbt no longer has takes its links with it.
fn is_linked(world: &World, token: Tok) -> bool {
    world.tokens.get(usize::from(token)).is_some_and(|token| token.active && token.linked)
}

fn commit_untried(world: &mut World, replica: usize, hand: Hand, (serial, token): (Ser, Tok)) {
    if world.slot(serial).is_some_and(|slot| slot.token == Some(token)) {
        world.replicas[replica].phase = Phase::Half(hand, token);
    }
}

/// Tries the string in the slot, and carries links over; the commit is an event of its own.
fn prove(world: &mut World, replica: usize, hand: Hand, job: &Job, (serial, token): (Ser, Tok), inherits: bool, luck: Luck) {
    if world.slot(serial).is_none_or(|slot| slot.token != Some(token)) {
        return;
    }
    let forged = world.slot(serial).is_some_and(|slot| slot.forged);
    if luck == Luck::Refused || forged || !world.is_active(token) {
        if world.slot(serial).is_some_and(|slot| slot.adopted) {
            world.replicas[replica].look = Some((super::Seen::Refused, world.tick));
        }
        return refused(world, replica, hand, job);
    }
    world.used(token);
    world.tokens[usize::from(token)].linked |= inherits;
    world.replicas[replica].phase = Phase::Half(hand, token);
}

/// Tries the published token, by the string in its slot if the target's own bytes are rendered from that; the revocation is
/// an event of its own.
fn verify(world: &mut World, replica: usize, hand: Hand, job: &Job, token: TokenId, shared: &Shared, luck: Luck) {
    if shared.is(Mutation::RetireBeforePublish) || shared.is(Mutation::CompromisedBeforePublish) {
        world.replicas[replica].phase = Phase::Half(hand, tok(token));
        return;
    }
    let Some(current) = job.current.filter(|current| world.target == Target::Ours { token: Some(*current), intact: true }) else {
        return;
    };
    if !world.slots.iter().any(|slot| slot.token == Some(current) && !slot.retained) {
        return;
    }
    if luck == Luck::Refused || !world.is_active(current) {
        world.ghosts.refused |= bit(current);
        return refused(world, replica, hand, job);
    }
    world.used(current);
    world.replicas[replica].phase = Phase::Half(hand, tok(token));
}

/// dbt said no: what follows is done in the same pass, on the same observation.
fn refused(world: &mut World, replica: usize, hand: Hand, job: &Job) {
    if let Some(refusal) = job.refusal {
        world.replicas[replica].phase = Phase::Pending(Hand { job: refusal, ..hand });
    }
}

/// The operator revokes a token. Whatever else is broken, it must not be one that somebody needs.
fn revoke(world: &mut World, token: Tok, shared: &Shared) {
    if !world.is_active(token) {
        return;
    }
    let published = matches!(world.target, Target::Ours { token: held, .. } | Target::Released(held) if held == Some(token));
    // A person took it into account that consumers of a compromised token are refused; but never those of the target.
    let called = world.ghosts.compromised & bit(token) != 0;
    let retains = world.object.deleted.is_some() && world.object.gone == Some(Gone::Retained);
    let overdue = is_overdue(world, token, shared);
    let waits = world.pod.is_some_and(|pod| pod.token == token) || world.remote == Some(token);
    if overdue && waits {
        world.ghosts.overdue |= bit(token);
    }
    let held = published || world.consumer == Some(token) && !called || waits && !overdue && !called;
    if (world.object.deleted.is_none() || retains) && held {
        world.ghosts.broken |= HARM;
    }
    if world.elsewhere == Some(token) && !world.confirmed && !called {
        world.ghosts.broken |= census::HARM_ELSEWHERE;
    }
    let made_outside = world.tokens[usize::from(token)].made_outside;
    let condemned = world.slots.iter().any(|slot| slot.token == Some(token) && slot.adopted && slot.condemned);
    if made_outside && !condemned {
        world.ghosts.broken |= census::UNCONDEMNED;
    }
    world.ghosts.touched |= bit(token);
    world.tokens[usize::from(token)].active = false;
}

/// Whether the declaration lets the token go whatever its consumers do.
fn is_overdue(world: &World, token: Tok, shared: &Shared) -> bool {
    let Some(deadline) = shared.retirement.deadline.filter(|it| it.then == OnDeadline::Delete) else { return false };
    let swap = world.object.record.retiring.iter().find(|(retiring, _)| *retiring == token);
    swap.is_some_and(|(_, at)| time(world.tick) >= time(*at) + deadline.after)
}

fn changed_dbt(world: &mut World, replica: usize) {
    world.replicas[replica].fresh = false;
    world.replicas[replica].absent = 0;
}

fn leave_record(world: &mut World, serial: Ser, token: Tok) {
    if !world.slots.iter().any(|slot| slot.serial == serial && slot.retained) {
        world.insert_slot(Slot {
            serial,
            incarnation: 0,
            token: Some(token),
            granted: NO_ROWS,
            committed: false,
            retained: true,
            condemned: false,
            adopted: world.slot(serial).is_some_and(|slot| slot.adopted),
            forged: false,
        });
    }
}

fn release(world: &mut World, hand: Hand, after: impl FnOnce(Option<Tok>) -> Target) {
    if let (Target::Ours { token, .. }, true) = (world.target, hand.target_current) {
        world.target_written(after(token));
    }
}

fn let_go(world: &mut World, hand: Hand, how: LetGo) {
    if hand.object_current && world.object.gone.is_none() {
        world.object.gone = Some(match how {
            LetGo::Clean => Gone::Clean,
            LetGo::Retained => Gone::Retained,
            LetGo::LeftBehind => Gone::LeftBehind,
        });
        world.object_written();
    }
}
