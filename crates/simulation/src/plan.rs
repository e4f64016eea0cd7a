//! What a seed decides before anything happens: the objects, what people and other programs do to them and when, and the
//! weather. A plan can be made smaller, so that a failure is shown with as little around it as possible.

use std::ops::Range;

use crate::cluster::Kind;
use crate::dice::{Dice, pick};
use crate::fault::{Fault, Weather};

/// How long things go wrong in most runs, in milliseconds: everything happens close together.
const SHORT_STORM: Range<u64> = 150_000..330_000;

/// How long in one of ten: overlaps, quiet periods and the pauses between attempts end within it.
const LONG_STORM: u64 = 30 * 60_000;

/// How long nothing may be written at rest.
const SHORT_REST: u64 = 20 * 60_000;
const LONG_REST: u64 = 90 * 60_000;

/// Who reads a token, and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever reads the Secret reads it each time.
    Plain,
    /// A program outside the cluster that looks into the Secret from time to time only.
    Remote,
    /// Pods that take the Secret by environment; whether the operator shall restart their Deployment.
    Pods {
        /// `retire.restart` names Deployments.
        restart: bool,
    },
    /// Adopts a legacy token from another Secret, whose readers move to ours later.
    Adopts,
    /// Adopts a legacy token in the very Secret.
    AdoptsInPlace,
    /// Its Secret is somebody else's: it has to be Stalled for ever.
    Foreign,
}

/// One ServiceToken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name; its Secret is `NAME-dbt`.
    pub name: String,
    /// Its namespace.
    pub namespace: &'static str,
    /// Who reads it.
    pub role: Role,
    /// The permissions that it begins with, a place in [`crate::scene::PERMISSIONS`].
    pub permissions: usize,
    /// `retire.after`, in seconds.
    pub after: u64,
    /// `retire.quietPeriod`, in seconds.
    pub quiet: u64,
    /// Whether a deletion keeps token and Secret.
    pub retains: bool,
    /// When it is applied, in milliseconds.
    pub applied_at: u64,
}

/// Something that people or other programs do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Other permissions.
    Permit(usize),
    /// Another template: mints nothing.
    EditTemplate,
    /// A rotation is asked for.
    Rotate,
    /// The token is called compromised.
    CallCompromised,
    /// The object is suspended for a while, in milliseconds.
    Suspend(u64),
    /// The object is deleted.
    Delete,
    /// It is applied again, if it is gone.
    Recreate,
    /// Somebody deletes the Secret.
    DeleteSecret,
    /// Somebody writes something else into the Secret.
    EditSecret,
    /// Somebody revokes the published token in dbt.
    Revoke,
    /// Somebody deletes the slot of the published token.
    DeleteSlot,
    /// Somebody deletes the whole status.
    WipeStatus,
    /// The status is set back to what it was a while ago.
    SetStatusBack,
    /// dbt refuses the operator's credential for a while.
    RefuseAdmin(u64),
    /// dbt cannot be reached for a while.
    TakeDbtAway(u64),
    /// The API server cannot be reached for a while.
    TakeApiServerAway(u64),
    /// All watches end, and the versions that they could go on from are forgotten.
    ExpireWatches,
    /// A process dies.
    Kill(usize),
    /// A process is stopped for a while.
    Freeze(usize, u64),
    /// A process hears nothing new of a kind for a while.
    Delay(usize, Kind, u64),
}

/// Something that is done, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Milliseconds since the beginning.
    pub at: u64,
    /// To which subject.
    pub subject: usize,
    /// What.
    pub what: What,
}

/// Everything that is decided beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Processes that all believe to lead.
    pub replicas: usize,
    /// The objects.
    pub subjects: Vec<Subject>,
    /// What is done to them.
    pub actions: Vec<Action>,
    /// How much goes wrong with calls.
    pub weather: Weather,
    /// How long, in milliseconds.
    pub storm: u64,
    /// How long it is watched that nothing is written at rest, in milliseconds.
    pub rest: u64,
    /// `limits.mintsPerHour`.
    pub mints_per_hour: u32,
    /// Whether dbt ignores permissions in the create call.
    pub two_steps: bool,
    /// Whether dbt leaves deleted tokens out of its list.
    pub hides_deleted: bool,
    /// Whether dbt leaves out a living token now and then.
    pub lists_lie: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, objects: usize) -> Self {
        let mut dice = Dice::new(seed).about("plan");
        let is_long = dice.u32(..10) == 0;
        let storm = if is_long { LONG_STORM } else { dice.u64(SHORT_STORM) };
        let subjects: Vec<Subject> = (0..objects).map(|place| subject(seed, place, is_long)).collect();
        let replicas = if dice.u32(..3) == 0 { 2 } else { 1 };
        let count = dice.usize(4..14);
        let mut actions: Vec<Action> = (0..count).map(|place| action(seed, place, objects, replicas, storm)).collect();
        // What was deleted is applied again in half of the runs.
        let again = actions.iter().filter(|action| action.what == What::Delete && dice.bool());
        let again: Vec<Action> =
            again.map(|it| Action { at: (it.at + storm / 5).min(storm - 1000), what: What::Recreate, ..*it }).collect();
        actions.extend(again);
        actions.extend(silences(seed, replicas, storm));
        actions.sort_by_key(|action| action.at);
        Self {
            seed,
            replicas,
            subjects,
            actions,
            weather: Weather { permille: pick(&mut dice, &[0, 20, 60, 120]), faults: Fault::ALL.to_vec() },
            storm,
            rest: if is_long { LONG_REST } else { SHORT_REST },
            mints_per_hour: pick(&mut dice, &[200, 200, 60, 15]),
            two_steps: dice.u32(..6) == 0,
            hides_deleted: dice.u32(..4) == 0,
            lists_lie: dice.u32(..5) == 0,
        }
    }

    /// Plans with a little less in them, the largest steps first.
    pub fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        if self.weather.permille > 0 {
            smaller.push(Self { weather: Weather { permille: 0, ..self.weather.clone() }, ..self.clone() });
        }
        for size in [self.actions.len(), self.actions.len().div_ceil(2), 1] {
            for first in (0..self.actions.len()).step_by(size.max(1)) {
                let mut actions = self.actions.clone();
                actions.drain(first..(first + size).min(actions.len()));
                smaller.push(Self { actions, ..self.clone() });
            }
        }
        // Each object keeps its own place, so that nothing else changes.
        for place in 0..self.subjects.len() {
            if self.subjects.len() > 1 {
                let mut plan = self.clone();
                plan.subjects.remove(place);
                plan.actions.retain(|action| action.subject != place);
                plan.actions.iter_mut().filter(|action| action.subject > place).for_each(|action| action.subject -= 1);
                smaller.push(plan);
            }
        }
        for fault in &self.weather.faults {
            let faults = self.weather.faults.iter().copied().filter(|other| other != fault).collect();
            smaller.push(Self { weather: Weather { faults, ..self.weather }, ..self.clone() });
        }
        if self.replicas > 1 {
            smaller.push(Self { replicas: 1, ..self.clone() });
        }
        if self.lists_lie {
            smaller.push(Self { lists_lie: false, ..self.clone() });
        }
        smaller
    }
}

fn subject(seed: u64, place: usize, is_long: bool) -> Subject {
    let mut dice = Dice::new(seed).about(("subject", place));
    let roles = [
        Role::Plain,
        Role::Plain,
        Role::Remote,
        Role::Pods { restart: false },
        Role::Pods { restart: true },
        Role::Pods { restart: true },
        Role::Adopts,
        Role::AdoptsInPlace,
        Role::AdoptsInPlace,
        Role::Foreign,
    ];
    Subject {
        name: format!("t{place}"),
        namespace: pick(&mut dice, &["finance", "marketing"]),
        role: pick(&mut dice, &roles),
        permissions: dice.usize(..crate::scene::PERMISSIONS.len()),
        after: pick(&mut dice, if is_long { &[0, 60, 600] } else { &[0, 0, 60] }),
        quiet: pick(&mut dice, if is_long { &[0, 120, 900] } else { &[0, 0, 120] }),
        retains: dice.u32(..4) == 0,
        applied_at: if dice.bool() { dice.u64(1..1000) } else { dice.u64(1..120_000) },
    }
}

fn action(seed: u64, place: usize, objects: usize, replicas: usize, storm: u64) -> Action {
    let mut dice = Dice::new(seed).about(("action", place));
    let kinds = [
        What::Permit(dice.usize(..crate::scene::PERMISSIONS.len())),
        What::Permit(dice.usize(..crate::scene::PERMISSIONS.len())),
        What::EditTemplate,
        What::Rotate,
        What::Rotate,
        What::CallCompromised,
        What::Suspend(dice.u64(10_000..storm / 4)),
        What::Delete,
        What::Delete,
        What::Delete,
        What::DeleteSecret,
        What::EditSecret,
        What::Revoke,
        What::DeleteSlot,
        What::WipeStatus,
        What::SetStatusBack,
        What::SetStatusBack,
        What::RefuseAdmin(dice.u64(10_000..storm / 4)),
        What::TakeDbtAway(dice.u64(10_000..storm / 2)),
        What::TakeApiServerAway(dice.u64(5_000..60_000)),
        What::ExpireWatches,
        What::Kill(dice.usize(..replicas)),
        What::Freeze(dice.usize(..replicas), dice.u64(5_000..90_000)),
    ];
    Action { at: dice.u64(5_000..storm - 30_000), subject: dice.usize(..objects), what: pick(&mut dice, &kinds) }
}

/// In half of the runs a process hears nothing new of a kind for a while, once or twice.
fn silences(seed: u64, replicas: usize, storm: u64) -> Vec<Action> {
    let mut dice = Dice::new(seed).about("silences");
    let count = if dice.bool() { dice.usize(1..3) } else { 0 };
    let mut silence = || {
        let kind = pick(&mut dice, &[Kind::ServiceToken, Kind::Secret]);
        let what = What::Delay(dice.usize(..replicas), kind, dice.u64(5_000..90_000));
        Action { at: dice.u64(5_000..storm - 30_000), subject: 0, what }
    };
    (0..count).map(|_| silence()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(Plan::of(7, 10), Plan::of(7, 10));
        assert_ne!(Plan::of(7, 10), Plan::of(8, 10));
    }

    #[test]
    fn what_is_left_out_leaves_the_rest_as_it_is() {
        let plan = Plan::of(7, 10);
        for smaller in plan.smaller() {
            assert_ne!(smaller, plan);
            assert!(smaller.subjects.iter().all(|subject| plan.subjects.contains(subject)));
            assert!(smaller.actions.iter().all(|action| action.subject < smaller.subjects.len()));
        }
        let least = Plan { subjects: plan.subjects[..1].to_vec(), actions: Vec::new(), ..plan };
        assert!(least.smaller().iter().all(|smaller| smaller.subjects.len() == 1));
    }
}
