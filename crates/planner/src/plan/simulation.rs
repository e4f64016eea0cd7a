//! A thousand objects on a simulated clock: what becomes of them when all are due at once. dbt and Kubernetes always answer
//! here, and take no time; the model knows what happens when they do not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::carry_out::{carry_out, list_is_read, note};
use super::*;
use crate::account::budget::{Creation, Creations, budget};
use crate::fixture::{at, object};
use crate::identity::{OwnerUid, TokenId};
use crate::interlock;
use crate::invariant::MAXIMUM_STORED;
use crate::observation::{Account, Consumers, Reading, Token};
use crate::window;

/// `limits.mintsPerHour` unless the account says otherwise.
const MINTS_PER_HOUR: u32 = 200;

/// What is left of it for rotations that mend nothing, if all are of one namespace.
const ORDINARY_MINTS_PER_HOUR: usize = 128;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// All objects of one namespace, and the tokens that were made for them.
struct Fleet {
    objects: Vec<Observation>,
    made: Vec<Creation>,
    counted: Creations,
}

impl Fleet {
    /// A thousand published objects.
    fn of(change: impl Fn(usize, Observation) -> Observation) -> Self {
        let owner = |number: usize| OwnerUid::new(format!("6f1c{number:04x}-8d0e-4b7e-9c55-0242ac12{number:04x}"));
        let named = |number: usize| object().with(|it| it.owner.uid = owner(number));
        let objects = (0..1000).map(|number| change(number, named(number).published(5, 2202)));
        Self { objects: objects.collect(), made: Vec::new(), counted: Creations::default() }
    }

    /// Lets time pass from now on, each object being looked at when its plan asked for it.
    fn run(&mut self, until: Timestamp) {
        let mut looks: BinaryHeap<Reverse<(Timestamp, usize)>> =
            (0..self.objects.len()).map(|number| Reverse((at(0), number))).collect();
        while let Some(Reverse((now, number))) = looks.pop().filter(|Reverse((time, _))| *time <= until) {
            if let Some(wake_at) = self.work_on(number, now) {
                looks.push(Reverse((wake_at, number)));
            }
        }
    }

    /// What the shell does with one object until there is nothing to do now.
    fn work_on(&mut self, number: usize, now: Timestamp) -> Option<Timestamp> {
        for _ in 0..40 {
            let object = &mut self.objects[number];
            let allowed = budget(MINTS_PER_HOUR, &self.counted, "finance", 0, now);
            if let Account::Ready(account) = &mut object.account {
                account.budget = allowed;
            }
            list_is_read(object, now);
            object.consumers = Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: now };
            let plan = plan(object, now);
            let is_written = note(object, &plan.report);
            match plan.step {
                Step::Act(effect) => {
                    assert_eq!(interlock::check(object, &effect), Ok(()));
                    if matches!(effect, Effect::Mint { .. }) {
                        check_creation(object, now);
                        self.made.push(Creation { at: now, namespace: Some("finance".into()) });
                        self.counted.add(&self.made[self.made.len() - 1]);
                    }
                    carry_out(&mut self.objects[number], &effect, now);
                }
                Step::Read(need) => panic!("{need:?} was read already"),
                // A status that was written is looked at again.
                Step::Wait(_) | Step::Blocked(_) | Step::Settled if is_written => {}
                Step::Wait(_) | Step::Blocked(_) | Step::Settled => return plan.wake_at,
            }
        }
        panic!("object {number} does not come to rest");
    }

    /// How many tokens were made in each hour in which any were.
    fn by_hour(&self) -> BTreeMap<i64, usize> {
        let mut hours = BTreeMap::new();
        for made in &self.made {
            *hours.entry((made.at.as_second() - at(0).as_second()).div_euclid(HOUR)).or_insert(0) += 1;
        }
        hours
    }

    fn check(&self) {
        assert_eq!(self.made.len(), self.objects.len(), "one new token each");
        for object in &self.objects {
            let live = object.known_tokens().filter(|token| token.active).count();
            assert_eq!((live, object.ledger.retiring.len()), (1, 0), "{:?}", object.owner);
        }
        for (place, made) in self.made.iter().enumerate() {
            let within = self.made[place..].iter().filter(|later| later.at.as_second() < made.at.as_second() + HOUR);
            assert!(within.count() <= ORDINARY_MINTS_PER_HOUR, "over the budget");
        }
    }
}

/// What must hold whenever a token is made.
fn check_creation(object: &Observation, now: Timestamp) {
    let desired = object.desired.as_ref().expect("a spec");
    let windows = &desired.rotation.windows;
    let waits = object.ledger.next.as_ref().is_some_and(|attempt| attempt.cause.waits_for_a_window());
    let is_open = windows.is_empty() || window::open_until(windows, now).is_some();
    assert!(is_open || !waits, "made outside a window, at {now}");
    let live = object.known_tokens().filter(|token| token.active).count();
    assert!(live < MAXIMUM_STORED, "{live} live tokens of one object, and another one is made");
}

/// Half of the tokens are legacy, half have reached their age, and a window opens on Saturday night.
#[test]
fn a_thousand_tokens_that_are_due_at_once_take_the_windows_and_the_budget() {
    let mut fleet = Fleet::of(|number, object| {
        let aged = |token: &mut Token| token.created_at = Some(at(-91 * DAY));
        let object = if number % 2 == 0 { object.legacy(2202) } else { object.token(2202, aged) };
        object.aged_after(90, &["0 2 * * SAT"])
    });
    fleet.run(at(14 * DAY));
    fleet.check();
    // Tables look on a Tuesday, at 07:40. The window is open for four hours, so that the rest takes the one a week later.
    let first = (3 * DAY + 18 * HOUR) / HOUR;
    let hours: Vec<(i64, usize)> = fleet.by_hour().into_iter().collect();
    let expected = [(0, 128), (1, 128), (2, 128), (3, 128), (168, 128), (169, 128), (170, 128), (171, 104)];
    assert_eq!(hours, expected.map(|(hour, count)| (first + hour, count)));
}

/// Nothing but the spread over the last tenth keeps apart what was made together.
#[test]
fn a_thousand_tokens_that_were_made_together_are_not_replaced_together() {
    let born = at(-80 * DAY);
    let mut fleet = Fleet::of(|_, object| object.token(2202, |token| token.created_at = Some(born)).aged_after(90, &[]));
    fleet.run(at(11 * DAY));
    fleet.check();
    let hours = fleet.by_hour();
    assert!(hours.len() > 180, "they take only {} of the 216 hours of the last tenth", hours.len());
    assert!(hours.values().all(|count| *count <= 20), "{hours:?}");
}

/// A token that was lost does not wait for the others, nor for a window: a part of the budget is kept back for it.
#[test]
fn a_lost_token_is_replaced_among_a_thousand_that_wait() {
    let mut fleet = Fleet::of(|_, object| object.legacy(2202));
    fleet.run(at(1));
    assert_eq!(fleet.made.len(), ORDINARY_MINTS_PER_HOUR);
    let waits = fleet.objects.iter().position(|object| object.ledger.current.is_some_and(|it| it.token == TokenId(2202)));
    let waits = waits.expect("most of them wait");
    let lost = fleet.objects[waits].clone().inactive(2202).aged_after(3650, &["0 2 * * SAT"]);
    fleet.objects[waits] = lost;
    fleet.work_on(waits, at(2));
    assert_eq!(fleet.made.len(), ORDINARY_MINTS_PER_HOUR + 1);
}
