//! The bounded worlds in which the shipped planner is searched. Each keeps most of the world still, so that what moves in
//! it can be searched to the end.
//!
//! Known gaps, kept out of every search: a step in hand across a set-back of the ledger; a cluster that is set back into the
//! middle of an attempt which was published later; a replica that is paused for a whole overlap between two removals of the
//! target by outsiders. Not modelled: the budget, age and windows (they only delay what is modelled: a legacy token), the
//! account's own judgement, project names, suspension, failures that only delay (`Trouble`), more than one object (but for
//! another one that claims the same token), and the adoption of the very Secret that the object manages.

use std::collections::BTreeSet;
use std::time::Duration;

use dbt_token_planner::desired::{Deadline, OnDeadline, Retirement};

use super::Left;
use super::configuration::{Configuration, Lag, May, Start};
use super::model::Checked;
use super::observe::tok;
use super::{Gone, OTHER_ROWS, World, bit, settle};

const NOTHING: Lag = Lag { object: false, slots: false, target: false, list: false };
const OBJECT: Lag = Lag { object: true, ..NOTHING };
const CLUSTER: Lag = Lag { object: true, slots: true, target: true, list: false };
const LIST: Lag = Lag { list: true, ..NOTHING };

/// Half a tick of overlap; the quiet period is off.
pub fn overlap_alone() -> Retirement {
    Retirement {
        after: Duration::from_secs(500),
        volume_sync: Duration::from_secs(180),
        quiet_period: Duration::ZERO,
        restart: BTreeSet::new(),
        deadline: None,
    }
}

/// The same, with an end of waiting after one tick and a half.
fn ends(then: OnDeadline) -> Retirement {
    Retirement { deadline: Some(Deadline { after: Duration::from_secs(1500), then }), ..overlap_alone() }
}

/// A settled object and one replica; nothing happens.
pub fn quiet(name: &'static str) -> Configuration {
    Configuration {
        name,
        start: Start::Settled,
        replicas: vec![NOTHING],
        left: Left::default(),
        tokens: 3,
        may: Vec::new(),
        hides: false,
        retain: false,
        retirement: overlap_alone(),
        remote: false,
        witnesses: Vec::new(),
        mutation: None,
    }
}

fn rests(model: &Checked, world: &World) -> bool {
    settle::is_at_rest(world, &model.shared)
}

fn edited(model: &Checked, world: &World) -> bool {
    world.object.rows == OTHER_ROWS && rests(model, world)
}

/// A token whose string was lost is revoked, and the object is in order.
fn leak_swept(model: &Checked, world: &World) -> bool {
    let swept = |(index, token): (u8, &super::Token)| !token.active && world.ghosts.stored & bit(index) == 0;
    rests(model, world) && (0..).zip(&world.tokens).any(swept)
}

fn deleted(_: &Checked, world: &World) -> bool {
    world.object.gone == Some(Gone::Clean) && world.tokens.iter().all(|token| !token.active)
}

fn retained(_: &Checked, world: &World) -> bool {
    world.object.gone == Some(Gone::Retained)
}

fn left_behind(_: &Checked, world: &World) -> bool {
    world.object.gone == Some(Gone::LeftBehind)
}

fn mended(model: &Checked, world: &World) -> bool {
    rests(model, world) && world.left.outside == 0 && world.left.edits == 0
}

fn rebuilt(model: &Checked, world: &World) -> bool {
    let ledger = model.shared.ledger(world.object.ledger);
    world.left.outside == 0 && ledger.current.is_some() && !ledger.retiring.is_empty()
}

fn full(model: &Checked, world: &World) -> bool {
    model.shared.ledger(world.object.ledger).retiring.len() == 3
}

fn condemned_swept(model: &Checked, world: &World) -> bool {
    let swept = |(index, token): (u8, &super::Token)| {
        !token.active && world.ghosts.stored & bit(index) != 0 && world.ghosts.committed & bit(index) == 0 && index > 0
    };
    rests(model, world) && (0..).zip(&world.tokens).any(swept)
}

fn set_back(model: &Checked, world: &World) -> bool {
    model.shared.ledger(world.object.ledger).set_back.is_some()
}

fn confirmed(model: &Checked, world: &World) -> bool {
    world.confirmed && world.ghosts.touched != 0 && rests(model, world)
}

pub fn first_token() -> Configuration {
    Configuration {
        start: Start::New,
        replicas: vec![NOTHING; 2],
        left: Left { faults: 1, edits: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::Crash],
        witnesses: vec![("an edit is applied", edited), ("a leak is swept", leak_swept), ("a deletion ends", deleted)],
        ..quiet("first token, two replicas, one crash")
    }
}

pub fn late_create() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { faults: 1, edits: 1, ticks: 1, ..Left::default() },
        tokens: 5,
        may: vec![May::Edit, May::LateCreate],
        witnesses: vec![("an edit is applied", edited), ("a leak is swept", leak_swept)],
        ..quiet("rotation, two replicas, one late create")
    }
}

pub fn old_ledger() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, OBJECT],
        left: Left { edits: 2, ticks: 2, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("rotation, the ledger of one replica is old")
    }
}

pub fn old_cluster() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, CLUSTER],
        left: Left { edits: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("rotation, all cluster caches of one replica are old")
    }
}

pub fn old_list() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        left: Left { edits: 2, ticks: 2, faults: 1, lies: 1, ..Left::default() },
        tokens: 5,
        hides: true,
        may: vec![May::Edit, May::Crash, May::LateCreate, May::ShortList],
        witnesses: vec![("an edit is applied", edited), ("a leak is swept", leak_swept)],
        ..quiet("rotation, lists are old, short, and hide deleted tokens")
    }
}

pub fn old_lists() -> Configuration {
    Configuration {
        replicas: vec![LIST; 2],
        left: Left { edits: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("rotation, two replicas with old lists")
    }
}

const DAMAGE: [May; 6] = [May::Kill, May::DeleteTarget, May::EditTarget, May::TakeTarget, May::DeleteSlot, May::Wipe];

pub fn outsiders() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, outside: 1, ticks: 1, ..Left::default() },
        may: [DAMAGE.to_vec(), vec![May::Edit]].concat(),
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("rotation, two replicas, one damage")
    }
}

pub fn outsiders_alone() -> Configuration {
    Configuration {
        left: Left { edits: 1, outside: 2, ticks: 2, faults: 1, ..Left::default() },
        tokens: 5,
        may: [DAMAGE.to_vec(), vec![May::Edit, May::Crash, May::Delete]].concat(),
        witnesses: vec![("damage and edit are mended", mended), ("a deletion ends", deleted)],
        ..quiet("rotation, one replica, two damages")
    }
}

pub fn wipe_with_old_ledger() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, OBJECT],
        left: Left { edits: 1, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Wipe],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("rotation, status wiped, the ledger of one replica is old")
    }
}

pub fn deletion() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 3, faults: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::ChangePolicy, May::Outage],
        witnesses: vec![("a deletion ends", deleted), ("a token is retained", retained), ("an outage outlasts", left_behind)],
        ..quiet("deletion, two replicas, policy changed, outage")
    }
}

pub fn retention() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        retain: true,
        left: Left { edits: 2, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::Wipe],
        witnesses: vec![("a token is retained", retained)],
        ..quiet("deletion with retention, two replicas, status wiped")
    }
}

pub fn many_rotations() -> Configuration {
    Configuration {
        left: Left { edits: 4, outside: 1, ticks: 2, ..Left::default() },
        tokens: 6,
        may: vec![May::Edit, May::Kill, May::Wipe],
        witnesses: vec![("three are retiring", full), ("all ends well", mended)],
        ..quiet("four rotations at once, one replica")
    }
}

pub fn many_rotations_and_a_lost_slot() -> Configuration {
    Configuration {
        left: Left { edits: 4, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::DeleteSlot],
        ..Configuration { name: "four rotations at once, a slot deleted, one replica", ..many_rotations() }
    }
}

pub fn failed_attempts() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, faults: 1, ticks: 2, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit, May::Refuse, May::GrantOdd, May::GrantNothing],
        witnesses: vec![("an edit is applied", edited), ("a condemned token is swept", condemned_swept)],
        ..quiet("refused and odd grants, two replicas")
    }
}

pub fn set_back_in_time() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 1],
        left: Left { edits: 2, outside: 1, ticks: 2, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit, May::Delete, May::Restore, May::Confirm],
        witnesses: vec![("a set-back is found", set_back), ("a confirmed set-back is cleaned up", confirmed)],
        ..quiet("cluster set back in time")
    }
}

pub fn ledger_set_back() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::SetLedgerBack, May::Confirm],
        witnesses: vec![("a set-back is found", set_back)],
        ..quiet("status set back in time, two replicas")
    }
}

/// Two tokens were published since; the time at which the first left the target is none of theirs.
pub fn ledger_set_back_far() -> Configuration {
    Configuration {
        left: Left { edits: 2, outside: 1, ticks: 2, ..Left::default() },
        may: vec![May::Edit, May::SetLedgerBack],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("status set back behind two tokens")
    }
}

/// What the status names may be revoked by then, and no list says so.
pub fn ledger_set_back_without_dbt() -> Configuration {
    Configuration {
        replicas: vec![NOTHING],
        left: Left { edits: 1, outside: 1, faults: 1, ticks: 2, ..Left::default() },
        may: vec![May::Edit, May::SetLedgerBack, May::Outage],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("status set back in time, dbt away")
    }
}

fn own_token(_: &Checked, world: &World) -> bool {
    world.tokens.len() > 1 && world.target == super::Target::Ours { token: Some(1), intact: true }
}

pub fn copied_cluster() -> Configuration {
    Configuration {
        start: Start::Copied,
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, faults: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::Crash],
        witnesses: vec![
            ("a token of its own is published", own_token),
            ("a deletion ends", |_, world| world.object.gone.is_some()),
        ],
        ..quiet("copy of another installation's cluster")
    }
}

pub fn renamed() -> Configuration {
    Configuration {
        left: Left { edits: 2, outside: 1, faults: 1, ticks: 2, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit, May::Rename, May::Crash, May::Refuse],
        witnesses: vec![("an edit is applied", edited)],
        ..quiet("tokens renamed in dbt, one replica")
    }
}

pub fn many_edits() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 2, ticks: 1, ..Left::default() },
        tokens: 3,
        may: vec![May::Edit],
        ..quiet("two rotations, two replicas")
    }
}

pub fn wipe_with_short_list() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        left: Left { edits: 2, outside: 1, lies: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Wipe, May::ShortList],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("status wiped, a short list")
    }
}

pub fn deletion_with_short_list() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        left: Left { edits: 3, lies: 1, ticks: 2, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::ShortList],
        witnesses: vec![("a deletion ends", deleted)],
        ..quiet("deletion, a short list")
    }
}

/// Once only: a replica that is paused for a whole overlap, between two removals, could cut the overlap short.
pub fn target_deleted() -> Configuration {
    Configuration {
        start: Start::New,
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::DeleteTarget],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("target deleted, two replicas")
    }
}

pub fn renamed_in_a_race() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 2, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Rename],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("tokens renamed in dbt, two replicas")
    }
}

pub fn wipe_with_old_slots() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, Lag { slots: true, ..NOTHING }],
        left: Left { edits: 1, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Wipe],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("rotation, status wiped, the slots of one replica are old")
    }
}

pub fn wipe_with_old_caches() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, CLUSTER],
        left: Left { edits: 1, outside: 1, ..Left::default() },
        may: vec![May::Edit, May::Wipe],
        witnesses: vec![("a lost ledger is rebuilt", rebuilt)],
        ..quiet("rotation, status wiped, all cluster caches of one replica are old")
    }
}

pub fn wipe_twice() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 2, outside: 2, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Wipe],
        witnesses: vec![("damage and edit are mended", mended)],
        ..quiet("status wiped twice, two replicas")
    }
}

/// What a person called compromised is gone, and no time has passed since.
fn gone_at_once(model: &Checked, world: &World) -> bool {
    let called = |(index, token): (u8, &super::Token)| world.ghosts.compromised & bit(index) != 0 && !token.active;
    world.tick == 1 && rests(model, world) && (0..).zip(&world.tokens).any(called)
}

fn gone_although_full(model: &Checked, world: &World) -> bool {
    gone_at_once(model, world) && world.ghosts.compromised.count_ones() == 4
}

pub fn compromised() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 2, ticks: 1, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit, May::CallCompromised],
        witnesses: vec![("a compromised token goes at once", gone_at_once)],
        ..quiet("an edit and a compromised token, two replicas")
    }
}

pub fn compromised_with_old_caches() -> Configuration {
    Configuration {
        replicas: vec![NOTHING, CLUSTER],
        left: Left { edits: 1, ticks: 1, ..Left::default() },
        may: vec![May::CallCompromised],
        witnesses: vec![("a compromised token goes at once", gone_at_once)],
        ..quiet("a compromised token, all cluster caches of one replica are old")
    }
}

pub fn compromised_when_full() -> Configuration {
    Configuration {
        left: Left { edits: 4, ticks: 1, ..Left::default() },
        tokens: 6,
        may: vec![May::Edit, May::CallCompromised],
        witnesses: vec![("three are retiring", full), ("all of them go at once", gone_although_full)],
        ..quiet("a compromised token after three rotations, one replica")
    }
}

fn replaced_for_its_age(model: &Checked, world: &World) -> bool {
    rests(model, world) && world.tokens.iter().any(|token| token.legacy && !token.active)
}

pub fn legacy() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, outside: 1, faults: 1, ticks: 1, ..Left::default() },
        tokens: 4,
        may: vec![May::Edit, May::Age, May::Crash],
        witnesses: vec![("a legacy token is replaced", replaced_for_its_age)],
        ..quiet("dbt says that a token is a legacy one, two replicas")
    }
}

pub fn lost_answer() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        left: Left { edits: 2, faults: 2, ticks: 3, ..Left::default() },
        tokens: 5,
        may: vec![May::Edit, May::LoseAnswer, May::Crash],
        witnesses: vec![("an edit is applied", edited), ("a leak is swept", leak_swept)],
        ..quiet("rotation, answers to creates are lost, lists are old")
    }
}

/// A pod holds an older token than the target, more than a whole overlap after the swap.
fn pod_waits(model: &Checked, world: &World) -> bool {
    let retiring = &model.shared.ledger(world.object.ledger).retiring;
    let held = world.pod.is_some_and(|pod| retiring.iter().any(|entry| tok(entry.token) == pod.token));
    held && world.object.record.retiring.iter().any(|(_, at)| at + 1 < world.tick)
}

/// The rotation is over, and the pod has moved.
fn pod_moved(model: &Checked, world: &World) -> bool {
    world.pod.is_some_and(|pod| pod.token > 0) && edited(model, world)
}

pub fn pods() -> Configuration {
    Configuration {
        left: Left { edits: 2, ticks: 4, faults: 1, pods: 3, ..Left::default() },
        tokens: 3,
        may: vec![May::Edit, May::Pods, May::Crash],
        witnesses: vec![("an old token waits for a pod", pod_waits), ("a pod moves on", pod_moved)],
        ..quiet("rotation, a pod that starts, restarts and ends, one replica")
    }
}

pub fn pods_in_a_race() -> Configuration {
    Configuration {
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, ticks: 3, pods: 2, ..Left::default() },
        tokens: 2,
        may: vec![May::Edit, May::Pods],
        witnesses: vec![("an old token waits for a pod", pod_waits), ("a pod moves on", pod_moved)],
        ..quiet("rotation, a pod, two replicas")
    }
}

fn remote_waits(model: &Checked, world: &World) -> bool {
    let retiring = !model.shared.ledger(world.object.ledger).retiring.is_empty();
    retiring && world.object.record.retiring.iter().any(|(_, at)| at + 1 < world.tick)
}

fn remote_moved(model: &Checked, world: &World) -> bool {
    world.remote.is_some_and(|token| token > 0) && edited(model, world)
}

pub fn remote() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        retirement: Retirement { quiet_period: Duration::from_secs(500), ..overlap_alone() },
        remote: true,
        left: Left { edits: 1, ticks: 5, faults: 1, ..Left::default() },
        may: vec![May::Edit, May::Crash],
        witnesses: vec![("an old token waits for its last use", remote_waits), ("a consumer outside moves on", remote_moved)],
        ..quiet("rotation, a consumer outside the cluster, lists are old")
    }
}

fn went_at_deadline(_: &Checked, world: &World) -> bool {
    world.ghosts.overdue != 0
}

pub fn deadline_deletes() -> Configuration {
    Configuration {
        retirement: ends(OnDeadline::Delete),
        left: Left { edits: 1, ticks: 4, faults: 1, pods: 2, ..Left::default() },
        may: vec![May::Edit, May::Pods, May::Crash],
        witnesses: vec![("a deadline lets a token go", went_at_deadline), ("a pod moves on", pod_moved)],
        ..quiet("rotation, a pod, a deadline that lets go")
    }
}

pub fn deadline_holds() -> Configuration {
    Configuration {
        retirement: ends(OnDeadline::Hold),
        left: Left { edits: 1, ticks: 4, pods: 2, ..Left::default() },
        may: vec![May::Edit, May::Pods],
        witnesses: vec![("an old token waits for a pod", pod_waits), ("a pod moves on", pod_moved)],
        ..quiet("rotation, a pod, a deadline that holds")
    }
}

fn adopted(model: &Checked, world: &World) -> bool {
    let ledger = model.shared.ledger(world.object.ledger);
    rests(model, world) && ledger.current.is_some_and(|current| tok(current.token) == 0)
}

/// The adopted token was replaced, its readers have moved, and it is gone.
fn adopted_retired(model: &Checked, world: &World) -> bool {
    rests(model, world) && !world.is_active(0) && world.ghosts.touched & 1 != 0
}

fn conflict(_: &Checked, world: &World) -> bool {
    world.replicas.iter().any(|replica| matches!(replica.look, Some((super::Seen::Claimed(_), _))))
}

fn refused(_: &Checked, world: &World) -> bool {
    world.replicas.iter().any(|replica| matches!(replica.look, Some((super::Seen::Refused, _))))
}

/// The adopted token and its Secret were left where they are.
fn let_go_adopted(_: &Checked, world: &World) -> bool {
    world.object.gone == Some(Gone::Retained) && world.is_active(0)
}

pub fn adoption() -> Configuration {
    Configuration {
        start: Start::Adopting,
        replicas: vec![NOTHING; 2],
        left: Left { edits: 1, outside: 2, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::Delete, May::EmptySource, May::MoveReaders],
        witnesses: vec![("a token is adopted", adopted), ("an adopted token is let go", let_go_adopted)],
        ..quiet("adoption, two replicas")
    }
}

pub fn adoption_alone() -> Configuration {
    Configuration {
        left: Left { edits: 2, faults: 2, outside: 2, ticks: 2, ..Left::default() },
        replicas: vec![NOTHING],
        tokens: 4,
        may: vec![May::Edit, May::Delete, May::Crash, May::Refuse, May::EmptySource, May::MoveReaders],
        witnesses: vec![
            ("a token is adopted", adopted),
            ("an adopted token is retired", adopted_retired),
            ("an adopted token is let go", let_go_adopted),
        ],
        ..adoption()
    }
}

pub fn adoption_with_a_rival() -> Configuration {
    Configuration {
        start: Start::Adopting,
        replicas: vec![LIST; 2],
        left: Left { outside: 2, ticks: 1, ..Left::default() },
        may: vec![May::Rival, May::ForgeSource, May::Crash],
        witnesses: vec![("a token is adopted", adopted), ("a claim is lost", conflict), ("a string is refused", refused)],
        ..quiet("adoption, another object with the same string, a made-up string")
    }
}

pub fn adoption_with_a_wipe() -> Configuration {
    Configuration {
        start: Start::Adopting,
        left: Left { edits: 1, outside: 3, ticks: 2, ..Left::default() },
        may: vec![May::Edit, May::Wipe, May::EmptySource, May::MoveReaders],
        witnesses: vec![("a token is adopted", adopted), ("an adopted token is retired", adopted_retired)],
        ..quiet("adoption, status wiped")
    }
}

/// The Secret that it came from goes on holding the string, and what ends waiting for that does not end waiting for readers.
pub fn adoption_with_a_deadline() -> Configuration {
    Configuration {
        replicas: vec![LIST],
        retirement: ends(OnDeadline::Delete),
        left: Left { edits: 1, outside: 1, ticks: 4, ..Left::default() },
        may: vec![May::Edit, May::MoveReaders],
        witnesses: vec![("a token is adopted", adopted), ("an adopted token is retired", adopted_retired)],
        ..Configuration { name: "adoption, a deadline that lets go", ..adoption_alone() }
    }
}

pub fn adoption_compromised() -> Configuration {
    Configuration {
        left: Left { edits: 2, faults: 1, outside: 1, ticks: 1, ..Left::default() },
        may: vec![May::Edit, May::CallCompromised, May::Crash, May::MoveReaders],
        witnesses: vec![("a token is adopted", adopted), ("an adopted token is retired", adopted_retired)],
        ..Configuration { name: "adoption, called compromised", ..adoption_alone() }
    }
}

/// At most two damages: with a third, what was made after the adoption could be lost as well.
pub fn adoption_with_lost_slots() -> Configuration {
    Configuration {
        left: Left { edits: 1, faults: 1, outside: 2, ticks: 2, ..Left::default() },
        may: vec![May::Edit, May::Crash, May::Wipe, May::DeleteSlot, May::MoveReaders],
        witnesses: vec![("a token is adopted", adopted)],
        ..Configuration { name: "adoption, slots deleted, status wiped", ..adoption_with_a_wipe() }
    }
}
