//! When a token is due because of its age, and in which window it is replaced.

use std::time::Duration;

use jiff::Timestamp;

use crate::identity::OwnerUid;
use crate::stage::retire::later;
use crate::window::{self, Window};

/// What is declared about the time of a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RotationPolicy {
    /// What happens to a legacy token.
    pub legacy: LegacyPolicy,
    /// The age that no token shall reach; `None` is no limit. From an hour up, so that a token is not replaced by one that is
    /// about to be replaced.
    pub maximum_age: Option<Duration>,
    /// The times in which legacy and aged tokens may be replaced; none means any time.
    pub windows: Vec<Window>,
}

/// What happens to a legacy token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegacyPolicy {
    /// It is replaced.
    Rotate,
    /// It is only reported.
    Report,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self { legacy: LegacyPolicy::Rotate, maximum_age: None, windows: Vec::new() }
    }
}

impl RotationPolicy {
    /// From when on a token that was born at this time is replaced for its age; `None` without a limit.
    ///
    /// It is the due time where a window is open then, and otherwise the first opening after it, if that comes before the age
    /// is reached. Else it is the last opening before the due time, if the token was there by then; one that was made in the
    /// very window that opened before it would be replaced again and again. Else it is the first opening after all.
    pub fn starts_at(&self, born: Timestamp, owner: &OwnerUid) -> Option<Timestamp> {
        let maximum_age = self.maximum_age?;
        let due = due(born, maximum_age, owner);
        if self.windows.is_empty() || window::open_until(&self.windows, due).is_some() {
            return Some(due);
        }
        let next = window::next_opening(&self.windows, due).unwrap_or(Timestamp::MAX);
        if next < later(born, maximum_age) {
            return Some(next);
        }
        Some(window::last_opening(&self.windows, due).filter(|last| *last > born).unwrap_or(next))
    }
}

/// When a token is due: at a point in the last tenth of its age that is fixed by the uid of its object, so that tokens which
/// were made together are not replaced together. In whole seconds, as a status shows it.
fn due(born: Timestamp, maximum_age: Duration, owner: &OwnerUid) -> Timestamp {
    let tenth = maximum_age.as_secs() / 10;
    let point = u64::try_from((u128::from(digest(owner)) * u128::from(tenth)) >> 64).unwrap_or(tenth);
    let born = Timestamp::from_second(born.as_second()).unwrap_or(born);
    later(born, Duration::from_secs(maximum_age.as_secs() - tenth + point))
}

/// A digest of 64 bits, every one of which depends on every byte: FNV-1a, whose highest bits hardly depend on the last bytes,
/// and after it the last step of MurmurHash3. Stable across versions, since due times rest on it.
fn digest(owner: &OwnerUid) -> u64 {
    let step = |digest: u64, byte: u8| (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut digest = owner.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        digest = (digest ^ (digest >> 33)).wrapping_mul(factor);
    }
    digest ^ (digest >> 33)
}

#[cfg(test)]
mod tests;
