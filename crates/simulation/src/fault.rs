//! What goes wrong on the way to a server and back: which faults there are, and when one strikes.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::dice::{Dice, pick};

/// A fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The server answers that it cannot, and does nothing.
    Refused,
    /// The call never arrives.
    Unreached,
    /// It is done, and the answer is lost.
    Lost,
    /// It is done long after the answer was given up.
    Late,
    /// It takes long, there and back.
    Slow,
    /// The API server says that the object has changed.
    Conflict,
    /// 429, with a pause.
    Throttled,
    /// dbt answers that it is not permitted, or not there.
    Denied,
    /// The process ends before the call arrives.
    CrashBefore,
    /// The process ends after the call was done.
    CrashAfter,
}

/// Which server a call goes to, and whether it changes something there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A read of the cluster.
    ClusterRead,
    /// A write to the cluster.
    ClusterWrite,
    /// A read of dbt.
    DbtRead,
    /// A change in dbt.
    DbtChange,
}

impl Way {
    /// The faults that can strike on it.
    pub fn faults(self) -> &'static [Fault] {
        use Fault::{Conflict, CrashAfter, CrashBefore, Denied, Late, Lost, Refused, Slow, Throttled, Unreached};
        match self {
            Self::ClusterRead => &[Refused, Unreached, Slow, CrashBefore, CrashAfter],
            Self::ClusterWrite => &[Refused, Unreached, Lost, Late, Slow, Conflict, CrashBefore, CrashAfter],
            Self::DbtRead => &[Refused, Unreached, Slow, Throttled, Denied, CrashBefore, CrashAfter],
            Self::DbtChange => &[Refused, Unreached, Lost, Late, Slow, Throttled, Denied, CrashBefore, CrashAfter],
        }
    }
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Unreached,
        Self::Lost,
        Self::Late,
        Self::Slow,
        Self::Conflict,
        Self::Throttled,
        Self::Denied,
        Self::CrashBefore,
        Self::CrashAfter,
    ];

    /// In tables and histories.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreached => "unreached",
            Self::Lost => "lost",
            Self::Late => "late",
            Self::Slow => "slow",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::CrashBefore => "crash before",
            Self::CrashAfter => "crash after",
        }
    }
}

/// What one call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// The fault, if any.
    pub fault: Option<Fault>,
    /// Milliseconds until the call arrives.
    pub there: u64,
    /// Milliseconds until the answer does.
    pub back: u64,
    /// Decides between calls that arrive in one moment.
    pub turn: u64,
}

/// How bad the weather is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand calls of an effect, how many meet a fault.
    pub permille: u32,
    /// Which faults there are at all.
    pub faults: Vec<Fault>,
}

/// Lets faults strike.
#[derive(Debug)]
pub struct Storm {
    dice: Dice,
    weather: Weather,
    /// Milliseconds after which the sky is clear.
    pub until: u64,
    calls: BTreeMap<u64, u32>,
}

/// A process that dies too often shows nothing but starts.
const CRASHES_OF_A_HUNDRED: u32 = 40;

impl Storm {
    /// The storm of one run.
    pub fn new(dice: Dice, weather: Weather, until: u64) -> Self {
        Self { dice, weather, until, calls: BTreeMap::new() }
    }

    /// Whether anything goes wrong now.
    pub fn is_raging(&self, now: u64) -> bool {
        now < self.until && self.weather.permille > 0
    }

    /// What the next call of this subject meets.
    pub fn strike(&mut self, subject: impl Hash, way: Way, now: u64) -> Strike {
        let subject = self.dice.about(subject).u64(..);
        let count = self.calls.entry(subject).or_insert(0);
        *count += 1;
        let mut dice = self.dice.about((subject, *count));
        let turn = dice.u64(..);
        let (mut there, mut back) = (dice.u64(1..=8), dice.u64(1..=8));
        if now >= self.until {
            return Strike { fault: None, there, back, turn };
        }
        let fault = self.fault(&mut dice, way);
        match fault {
            Some(Fault::Slow) => {
                there = dice.u64(500..20_000);
                back = dice.u64(500..20_000);
            }
            Some(Fault::Late) => there = dice.u64(5_000..400_000),
            _ => {}
        }
        Strike { fault, there, back, turn }
    }

    fn fault(&self, dice: &mut fastrand::Rng, way: Way) -> Option<Fault> {
        if dice.u32(..1000) >= self.weather.permille {
            return None;
        }
        let fault = pick(dice, way.faults());
        let is_crash = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
        let spared = is_crash && dice.u32(..100) >= CRASHES_OF_A_HUNDRED;
        Some(fault).filter(|fault| self.weather.faults.contains(fault) && !spared)
    }
}
