//! Which fault struck in which effect, and whether every pair that there can be was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::fault::{Fault, Way};

/// An effect of the planner, and the ways that it goes.
pub struct Effect {
    /// Its word, as in logs.
    pub word: &'static str,
    /// Where it calls.
    pub ways: &'static [Way],
}

const fn effect(word: &'static str, ways: &'static [Way]) -> Effect {
    Effect { word, ways }
}

use Way::{ClusterRead, ClusterWrite, DbtChange, DbtRead};

/// Every effect that runs here, as `docs/architecture.md` lists them.
pub const EFFECTS: [Effect; 34] = [
    effect("add_finalizer", &[ClusterWrite]),
    effect("inspect_source", &[ClusterRead]),
    effect("claim_adoption", &[ClusterRead, ClusterWrite, DbtRead]),
    effect("take_over_target", &[ClusterRead, ClusterWrite]),
    effect("rename", &[DbtChange]),
    effect("condemn_adopted", &[ClusterRead, ClusterWrite]),
    effect("open", &[ClusterRead, ClusterWrite]),
    effect("claim_target", &[ClusterRead, ClusterWrite]),
    effect("reserve", &[ClusterWrite]),
    effect("mint", &[ClusterWrite, DbtChange]),
    effect("grant", &[DbtChange]),
    effect("prove", &[ClusterRead, ClusterWrite, DbtRead]),
    effect("condemn", &[ClusterWrite]),
    effect("give_up", &[ClusterWrite]),
    effect("abandon", &[ClusterWrite]),
    effect("label_committed", &[ClusterWrite]),
    effect("project", &[ClusterRead, ClusterWrite]),
    effect("retire", &[ClusterRead, DbtRead, DbtChange]),
    effect("restart_workloads", &[ClusterWrite]),
    effect("restarted", &[ClusterWrite]),
    effect("revoke", &[DbtRead, DbtChange]),
    effect("close_slot", &[ClusterWrite]),
    effect("forget", &[ClusterWrite]),
    effect("rebuild", &[ClusterRead, ClusterWrite]),
    effect("call_compromised", &[ClusterWrite]),
    effect("set_back", &[ClusterWrite]),
    effect("set_back_confirmed", &[ClusterWrite]),
    effect("delete", &[ClusterWrite]),
    effect("clear", &[ClusterWrite]),
    effect("leave_record", &[ClusterRead, ClusterWrite]),
    effect("release_target", &[ClusterRead, ClusterWrite]),
    effect("delete_target", &[ClusterWrite]),
    effect("strip_target", &[ClusterRead, ClusterWrite]),
    effect("remove_finalizer", &[ClusterWrite]),
];

/// What struck where, over any number of runs.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    struck: BTreeMap<(usize, Way, Fault), u64>,
    ran: BTreeMap<usize, u64>,
    beside: BTreeMap<&'static str, u64>,
    unlisted: BTreeSet<(usize, Way)>,
}

impl Coverage {
    /// A call of an effect.
    pub fn note(&mut self, effect: Option<usize>, way: Way, fault: Option<Fault>) {
        let Some(effect) = effect else {
            if let Some(fault) = fault {
                *self.beside.entry(fault.word()).or_default() += 1;
            }
            return;
        };
        if !EFFECTS[effect].ways.contains(&way) {
            self.unlisted.insert((effect, way));
        }
        *self.ran.entry(effect).or_default() += 1;
        if let Some(fault) = fault {
            *self.struck.entry((effect, way, fault)).or_default() += 1;
        }
    }

    /// Something that happened beside the calls.
    pub fn note_beside(&mut self, what: &'static str) {
        *self.beside.entry(what).or_default() += 1;
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: Self) {
        other.struck.into_iter().for_each(|(pair, count)| *self.struck.entry(pair).or_default() += count);
        other.ran.into_iter().for_each(|(effect, count)| *self.ran.entry(effect).or_default() += count);
        self.unlisted.extend(other.unlisted);
        other.beside.into_iter().for_each(|(what, count)| *self.beside.entry(what).or_default() += count);
    }

    /// How many faults struck, of each kind; beside them what happened outside of calls.
    pub fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let mut kinds = self.beside.clone();
        self.struck.iter().for_each(|((_, _, fault), count)| *kinds.entry(fault.word()).or_default() += count);
        kinds
    }

    /// The pairs of effect and fault that can be and were not.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let mut missing = BTreeSet::new();
        for (place, effect) in EFFECTS.iter().enumerate() {
            let can = |fault: Fault| effect.ways.iter().any(|way| way.faults().contains(&fault));
            let was = |fault: Fault| effect.ways.iter().any(|way| self.struck.contains_key(&(place, *way, fault)));
            missing.extend(Fault::ALL.into_iter().filter(|it| can(*it) && !was(*it)).map(|it| (effect.word, it.word())));
        }
        missing.into_iter().collect()
    }

    /// Calls that [`EFFECTS`] does not tell of, so that the pairs would be too few.
    pub fn unlisted(&self) -> Vec<(&'static str, Way)> {
        self.unlisted.iter().map(|(place, way)| (EFFECTS[*place].word, *way)).collect()
    }

    /// How many pairs there can be.
    pub fn possible() -> usize {
        let of = |effect: &Effect| Fault::ALL.iter().filter(|it| effect.ways.iter().any(|way| way.faults().contains(it))).count();
        EFFECTS.iter().map(of).sum()
    }
}

/// A row for each effect, a column for each fault; `-` where it cannot be.
impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:<20}{:>10}", "effect", "calls")?;
        Fault::ALL.iter().try_for_each(|fault| write!(formatter, "{:>13}", fault.word()))?;
        for (place, effect) in EFFECTS.iter().enumerate() {
            write!(formatter, "\n{:<20}{:>10}", effect.word, self.ran.get(&place).copied().unwrap_or(0))?;
            for fault in Fault::ALL {
                let ways = effect.ways.iter().filter(|way| way.faults().contains(&fault));
                let counts: Vec<u64> = ways.map(|way| self.struck.get(&(place, *way, fault)).copied().unwrap_or(0)).collect();
                match counts.as_slice() {
                    [] => write!(formatter, "{:>13}", "-")?,
                    counts => write!(formatter, "{:>13}", counts.iter().sum::<u64>())?,
                }
            }
        }
        Ok(())
    }
}
