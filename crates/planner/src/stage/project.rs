//! Publishing: the slot of `current` is labelled for good, and the target is written from it.
//! Needs nothing of dbt, so that a Secret that was deleted or edited is mended while dbt is away.

use jiff::Timestamp;

use crate::effect::Effect;
use crate::observation::{Life, Observation, Target};
use crate::plan::Turn;
use crate::stage::adopt::mark;
use crate::stage::rebuild::is_behind;

/// Labels, claims and writes, one a pass. A token that was seen inactive is never published, and none takes the place of one
/// that came after it.
pub fn project(observation: &Observation, _now: Timestamp) -> Turn {
    let Some(current) = observation.ledger.current else { return Turn::Pass(None) };
    let Some(slot) = observation.slot(current.serial) else { return Turn::Pass(None) };
    let publishable = slot.token() == Some(current.token) && slot.condemned.is_none();
    if !publishable || observation.life(current.token) == Life::Inactive {
        return Turn::Pass(None);
    }
    if !slot.committed {
        if let Some(turn) = mark(observation, current, slot) {
            return turn;
        }
        return Turn::act(Effect::LabelCommitted(current.serial));
    }
    let Some(rule) = observation.rule.clone() else { return Turn::Pass(None) };
    match observation.target {
        Target::Missing => Turn::act(Effect::ClaimTarget),
        // The ledger is written again first, for which dbt has to answer.
        Target::Ours(_) if is_behind(observation) => Turn::Pass(None),
        Target::Ours(_) if !observation.target_shows(current.token) => {
            Turn::act(Effect::Project { serial: current.serial, token: current.token, rule })
        }
        _ => Turn::Pass(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{now, object, turn};
    use crate::identity::RenderRule;
    use crate::observation::CondemnedReason::Superseded;

    fn check(observation: &Observation, expected: &str) {
        assert_eq!(turn(&project(observation, now())), expected);
    }

    #[test]
    fn the_target_is_written_from_a_labelled_slot() {
        let published = || object().published(5, 2202);
        check(&object(), "pass");
        check(&object().attempt(5, crate::ledger::Cause::First, 0).filled_slot(5, 2202), "pass");
        check(&published(), "pass");
        check(&published().slot_changed(5, |slot| slot.committed = false), "label_committed 5");
        check(&published().with(|it| it.target = Target::Missing), "claim_target");
        check(&published().claimed(), "project 5:2202");
        check(&published().holding(2190), "project 5:2202");
        check(&published().with(|it| it.rule = Some(RenderRule::new("rule-2"))), "project 5:2202");
        check(
            &published().with(|it| {
                if let Target::Ours(state) = &mut it.target {
                    state.intact = false;
                }
            }),
            "project 5:2202",
        );
        check(&published().with(|it| it.rule = None), "pass");
        check(&published().with(|it| it.target = Target::Foreign { manager: "helm".into() }), "pass");
    }

    #[test]
    fn dbt_is_not_needed_to_mend_the_target() {
        check(&object().published(5, 2202).claimed().not_ready(), "project 5:2202");
        check(&object().published(5, 2202).claimed().listless(), "project 5:2202");
        check(&object().published(5, 2202).claimed().unlisted(2202), "project 5:2202");
    }

    /// Whoever sets a status back must not bring a replaced token back.
    #[test]
    fn what_was_committed_after_the_ledger_stays_in_the_target() {
        let behind = |serial: i64| object().published(5, 2202).committed_slot(serial, 2206).listed(serial, 2206).holding(2206);
        let attempt = || behind(6).attempt(6, crate::ledger::Cause::Requested, 0);
        for observation in [behind(6), behind(9), behind(9).not_ready(), attempt(), attempt().not_ready()] {
            check(&observation, "pass");
        }
        check(&behind(9).inactive(2206), "project 5:2202");
        check(&behind(9).slot_changed(9, |slot| slot.committed = false), "project 5:2202");
        check(&behind(9).holding(2190), "project 5:2202");
        check(&behind(4), "project 5:2202");
    }

    #[test]
    fn nothing_but_a_stored_and_living_token_is_published() {
        let published = || object().published(5, 2202).claimed();
        check(&published().inactive(2202), "pass");
        check(&published().gone(2202), "pass");
        check(&published().slot_lost(5), "pass");
        check(&published().slot_lost(5).empty_slot(5), "pass");
        check(&published().slot_lost(5).committed_slot(5, 2203), "pass");
        check(&published().slot_lost(5).condemned_slot(5, 2202, Superseded), "pass");
        check(&published().slot_lost(5).retained_record(5, 2202), "pass");
    }
}
