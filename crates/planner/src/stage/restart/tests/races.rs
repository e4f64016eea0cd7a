//! Two replicas without a lease, crashes and slow hands: every interleaving of a small world, with the shipped plan.
//!
//! What must hold in each state: the workload was restarted at most once for both swaps, and whoever goes on alone from there
//! brings that about and comes to rest.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::observation::Workload;
use crate::plan::{Step, plan};

/// Swaps of two Secrets that one workload takes, by their times; the moment of tables is the later one.
const SWAPS: [i64; 2] = [-30, 0];

/// Times at which something may happen.
const TIMES: [i64; 3] = [0, 30, 60];

/// The true state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    time: usize,
    /// Of each object: what the ledger says, and its version.
    objects: [(Option<i64>, u8); 2],
    workload: Workload,
    version: u8,
    restarts: u8,
    replicas: [Replica; 2],
    crashes: u8,
    touches: u8,
    pauses: u8,
}

/// What one process knows, and what it is about to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Replica {
    /// The objects as its cache shows them.
    seen: [(Option<i64>, u8); 2],
    /// The last look for each of them, and when it began.
    looks: [Option<(Workload, i64)>; 2],
    hand: Option<(usize, Deed)>,
}

/// An effect in hand, with the version that its write names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Restart { at: i64, version: String },
    Write { version: u8 },
}

/// Nothing is restarted yet, and so many things may go wrong.
fn start(crashes: u8, touches: u8, pauses: u8) -> World {
    World {
        time: 0,
        objects: [(Some(4), 0); 2],
        workload: Workload { reference: reference(0), ..workload("web", None) },
        version: 0,
        restarts: 0,
        replicas: [Replica::seeing([(Some(4), 0); 2]), Replica::seeing([(Some(4), 0); 2])],
        crashes,
        touches,
        pauses,
    }
}

fn reference(version: u8) -> WorkloadReference {
    WorkloadReference { version: version.to_string(), ..workload("web", None).reference }
}

impl Replica {
    fn seeing(seen: [(Option<i64>, u8); 2]) -> Self {
        Self { seen, ..Self::default() }
    }
}

impl World {
    fn now(&self) -> i64 {
        TIMES[self.time]
    }

    fn write_workload(&mut self) {
        self.version += 1;
        self.workload.reference = reference(self.version);
    }

    /// One look of a replica at one object, and the step that follows.
    fn consider(&mut self, replica: usize, which: usize, plans: &mut Plans) {
        let now = self.now();
        let known = self.replicas[replica].clone();
        let question = (which, known.seen[which].0, known.looks[which].clone(), now);
        let step = plans.entry(question).or_insert_with_key(planned).clone();
        let known = &mut self.replicas[replica];
        match step {
            Step::Read(Need::Workloads(_)) => known.looks[which] = Some((self.workload.clone(), now)),
            Step::Act(Effect::RestartWorkloads { at: mark, workloads, .. }) => {
                let version = workloads[0].version.clone();
                known.hand = Some((which, Deed::Restart { at: mark.as_second() - at(0).as_second(), version }));
            }
            Step::Act(Effect::WriteLedger { entry: LedgerEntry::Restarted, .. }) => {
                known.hand = Some((which, Deed::Write { version: known.seen[which].1 }));
            }
            Step::Act(other) => panic!("{other:?}"),
            _ => {}
        }
    }

    /// The write that is in hand arrives; one that names another version changes nothing.
    fn deliver(&mut self, replica: usize) {
        let Some((which, deed)) = self.replicas[replica].hand.take() else { return };
        match deed {
            Deed::Restart { at: mark, version } => {
                self.replicas[replica].looks = [None, None];
                if version == self.workload.reference.version {
                    assert!(self.workload.pace != Pace::Paused, "it is restarted against its pause");
                    self.restarts += 1;
                    self.workload.restarted_at = Some(at(mark));
                    self.write_workload();
                }
            }
            Deed::Write { version } if version == self.objects[which].1 => self.objects[which] = (Some(5), version + 1),
            Deed::Write { .. } => {}
        }
        self.replicas[replica].seen = self.objects;
    }

    /// Everything that may happen next.
    fn next(&self, plans: &mut Plans) -> Vec<Self> {
        let mut next = Vec::new();
        let mut after = |change: &mut dyn FnMut(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            next.push(world);
        };
        for replica in 0..2 {
            if self.replicas[replica].hand.is_some() {
                after(&mut |world| world.deliver(replica));
            } else {
                after(&mut |world| world.consider(replica, 0, plans));
                after(&mut |world| world.consider(replica, 1, plans));
            }
            after(&mut |world| world.replicas[replica].seen = world.objects);
            if self.crashes > 0 {
                after(&mut |world| {
                    world.crashes -= 1;
                    world.replicas[replica] = Replica::seeing(world.objects);
                });
                // The write arrives, and its answer does not.
                after(&mut |world| {
                    world.crashes -= 1;
                    world.deliver(replica);
                    world.replicas[replica] = Replica::seeing(world.objects);
                });
            }
        }
        if self.time + 1 < TIMES.len() {
            after(&mut |world| world.time += 1);
        }
        if self.touches > 0 {
            after(&mut |world| {
                world.touches -= 1;
                world.write_workload();
            });
        }
        let paused = self.workload.pace == Pace::Paused;
        if self.pauses > 0 || paused {
            after(&mut |world| {
                world.pauses -= u8::from(!paused);
                world.workload.pace = if paused { Pace::Rolling } else { Pace::Paused };
                world.write_workload();
            });
        }
        next
    }

    /// What becomes of it if only one replica goes on, and nobody pauses the workload.
    fn alone(&self, plans: &mut Plans) -> Self {
        let mut world = self.clone();
        world.time = TIMES.len() - 1;
        if world.workload.pace == Pace::Paused {
            world.workload.pace = Pace::Rolling;
            world.write_workload();
        }
        world.replicas[0] = Replica::seeing(world.objects);
        for turn in 0..20 {
            world.consider(0, turn % 2, plans);
            world.deliver(0);
        }
        world
    }
}

/// What a replica asks the plan: about which object, with which ledger and look in mind, and when. Asked once each.
type Question = (usize, Option<i64>, Option<(Workload, i64)>, i64);
type Plans = BTreeMap<Question, Step>;

fn planned((which, restarted, look, now): &Question) -> Step {
    let mut observation = object().swapped(-SWAPS[*which]).restarting(&[Deployment]);
    observation.ledger.restarted = restarted.map(Serial);
    if let Some((workload, taken_at)) = look {
        observation = observation.working(*taken_at, std::slice::from_ref(workload));
    }
    let step = plan(&observation, at(*now)).step;
    if let Step::Act(effect) = &step {
        assert_eq!(crate::interlock::check(&observation, effect), Ok(()), "{effect:?}");
    }
    step
}

#[test]
fn two_swaps_two_replicas_and_a_crash_make_one_restart() {
    search(start(1, 1, 0));
}

#[test]
fn a_pause_at_any_moment_is_respected_and_puts_nothing_off_for_ever() {
    search(start(0, 0, 1));
}

fn search(start: World) {
    let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
    let (mut plans, mut restarted, mut conflicts) = (Plans::new(), 0, 0);
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        assert!(world.restarts <= 1, "{world:#?}");
        restarted += u32::from(world.restarts == 1);
        conflicts += u32::from(world.replicas.iter().all(|it| matches!(it.hand, Some((_, Deed::Restart { .. })))));
        let end = world.alone(&mut plans);
        assert_eq!((end.restarts, end.objects[0].0, end.objects[1].0), (1, Some(5), Some(5)), "{world:#?}");
        open.extend(world.next(&mut plans));
    }
    assert!(restarted > 100 && conflicts > 10, "{} states say nothing: {restarted} {conflicts}", seen.len());
}
