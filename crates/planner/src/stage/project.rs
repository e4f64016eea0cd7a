//! Publishing: the slot of `current` is labelled for good, and the target is written from it.
//! Needs nothing of dbt, so that a Secret that was deleted or edited is mended while dbt is away.

use jiff::Timestamp;

use crate::effect::Effect;
use crate::observation::{Life, Observation, Target};
use crate::plan::Turn;

/// Labels, claims and writes, one a pass. A token that was seen inactive is never published.
pub fn project(observation: &Observation, _now: Timestamp) -> Turn {
    let Some(current) = observation.ledger.current else { return Turn::Pass(None) };
    let Some(slot) = observation.slot(current.serial) else { return Turn::Pass(None) };
    let publishable = slot.token() == Some(current.token) && slot.condemned.is_none();
    if !publishable || observation.life(current.token) == Life::Inactive {
        return Turn::Pass(None);
    }
    if !slot.committed {
        return Turn::act(Effect::LabelCommitted(current.serial));
    }
    let Some(rule) = observation.rule.clone() else { return Turn::Pass(None) };
    match observation.target {
        Target::Missing => Turn::act(Effect::ClaimTarget),
        Target::Ours(_) if !observation.target_shows(current.token) => {
            Turn::act(Effect::Project { serial: current.serial, token: current.token, rule })
        }
        _ => Turn::Pass(None),
    }
}
