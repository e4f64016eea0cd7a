//! The end of a replaced token: it dies only when its successor is published, nobody needs it any more (the rules are those
//! of [`crate::retirement`]), and the successor has proved itself once more.

use jiff::Timestamp;

use crate::effect::{Effect, LedgerEntry, Need};
use crate::gate;
use crate::identity::{Serial, TokenId};
use crate::ledger::Entry;
use crate::observation::{Life, Observation};
use crate::plan::Turn;
use crate::report::RetiringRecord;
use crate::retirement::{self, Case};
use crate::stage::write;

/// Retires the oldest replaced token that may go.
pub fn retire(observation: &Observation, now: Timestamp) -> Turn {
    if observation.account.open().is_none() {
        return Turn::Pass(None);
    }
    let mut earliest = None;
    for entry in &observation.ledger.retiring {
        match retire_one(observation, *entry, now) {
            Turn::Pass(time) => earliest = [earliest, time].into_iter().flatten().min(),
            turn => return turn,
        }
    }
    Turn::Pass(earliest)
}

/// What is to be done about one of them.
pub(crate) fn retire_one(observation: &Observation, entry: Entry, now: Timestamp) -> Turn {
    match observation.life(entry.token) {
        Life::Inactive if has_slot(observation, entry) => Turn::act(Effect::CloseSlot(entry.serial)),
        Life::Inactive => write(observation, LedgerEntry::Forget(entry.serial), observation.ledger.forgotten(entry.serial)),
        Life::Unlisted => Turn::read(Need::Token(entry.token)),
        Life::Unknown if observation.fresh_tokens().is_none() => Turn::read(Need::Tokens(observation.fresh_after)),
        Life::Unknown => Turn::Pass(None),
        Life::Active => retirement(observation, entry.token, entry.serial, replaced_at(observation, entry.token), now),
    }
}

/// A slot that holds another token is none of this one: it goes by itself, once nothing names its serial.
pub(crate) fn has_slot(observation: &Observation, entry: Entry) -> bool {
    observation.slot(entry.serial).is_some_and(|slot| slot.token().is_none_or(|token| token == entry.token))
}

/// When the target was first seen without the token.
pub(crate) fn replaced_at(observation: &Observation, token: TokenId) -> Option<Timestamp> {
    let known = observation.record.retiring.iter().find(|record| record.token == token);
    known.map(|RetiringRecord { replaced_at, .. }| *replaced_at)
}

/// Retires a token that consumers may hold, when all rules hold; otherwise says what to read, or when to look again. A token
/// whose replacement was not recorded counts as replaced when the published one was.
pub(crate) fn retirement(
    observation: &Observation,
    token: TokenId,
    serial: Serial,
    replaced: Option<Timestamp>,
    now: Timestamp,
) -> Turn {
    let replaced_at = replaced.or(observation.record.published.as_ref().map(|published| published.at));
    let Some(case) = Case::of(observation, Entry { serial, token }, replaced_at, now) else { return Turn::Pass(None) };
    if let Some(turn) = retirement::obstacle(&case) {
        return turn;
    }
    let Some(tokens) = observation.fresh_tokens() else { return Turn::read(Need::Tokens(observation.fresh_after)) };
    if let Some(turn) = retirement::adopted::condemnation(&case) {
        return turn;
    }
    let (current, Some(rule)) = (case.current, observation.rule.clone()) else { return Turn::Pass(None) };
    let Some(successor) = tokens.get(&current.token) else { return Turn::read(Need::Token(current.token)) };
    match gate::probes(observation, &successor.rows) {
        Err(turn) => turn,
        Ok((probes, _)) => Turn::act(Effect::Retire { token, serial, successor: current.serial, probes, rule }),
    }
}

/// A time plus a length, at the end of time at the latest.
pub(crate) fn later(time: Timestamp, length: std::time::Duration) -> Timestamp {
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// A time as messages show it: to the minute, so that a message does not change with each look. Rounded up, so that it
/// is not earlier than what it speaks of.
pub(crate) fn minute(time: Timestamp) -> String {
    // Before 1970 a fraction of a second counts down from the second above, so that one is not rounded again.
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    let rounded = Timestamp::from_second(seconds + (60 - seconds.rem_euclid(60)) % 60).unwrap_or(time);
    rounded.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{at, now, object, permission, turn};
    use crate::identity::RenderRule;
    use crate::observation::{Reading, Target};

    fn check(observation: &Observation, expected: &str) {
        assert_eq!(turn(&retire(observation, now())), expected);
    }

    /// 2202 is published, 2190 left the target an hour ago.
    fn replaced() -> Observation {
        object().published(5, 2202).retiring(4, 2190, 3600)
    }

    #[test]
    fn a_replaced_token_goes_after_the_overlap() {
        check(&object().published(5, 2202), "pass");
        check(&replaced(), "retire 4:2190 after 5");
        check(&object().published(5, 2202).retiring(4, 2190, 600), "retire 4:2190 after 5");
        check(&object().published(5, 2202).retiring(4, 2190, 599), "pass until +1");
        check(&object().published(5, 2202).retiring(4, 2190, 0), "pass until +600");
        check(&replaced().with_desired(|it| it.retirement.after = std::time::Duration::from_secs(7200)), "pass until +3600");
        check(&replaced().with_desired(|it| it.retirement.after = std::time::Duration::MAX), "pass until +251606701200");
        check(&replaced().with(|it| it.record.retiring.clear()), "retire 4:2190 after 5");
    }

    #[test]
    fn a_compromised_token_goes_without_an_overlap_but_not_before_its_successor_is_in_place() {
        let compromised = |highest| {
            let it = object().published(5, 2202).retiring(4, 2190, 1);
            it.with(|it| it.ledger.compromised = Some(Serial(highest)))
        };
        check(&compromised(4), "retire 4:2190 after 5");
        check(&compromised(5), "retire 4:2190 after 5");
        check(&compromised(3), "pass until +599");
        check(&compromised(4).with(|it| it.record.retiring[0].replaced_at = at(9)), "retire 4:2190 after 5");
        check(&compromised(4).claimed(), "pass");
        check(&compromised(4).holding(2190), "pass");
        check(&compromised(4).with(|it| it.record.published = None), "pass until +599");
        check(&compromised(4).with(|it| it.ledger.set_back = Some(Serial(9))), "pass");
        check(&compromised(4).not_ready(), "pass");
        check(&compromised(4).stale(), "read tokens");
        // With the published token compromised, the ones before it make room for its successor.
        let full = object().published(5, 2202).retiring(2, 2182, 9).retiring(3, 2183, 9).retiring(4, 2184, 9);
        check(&full.with(|it| it.ledger.compromised = Some(Serial(5))), "retire 2:2182 after 5");
    }

    #[test]
    fn what_was_revoked_is_seen_inactive_closed_and_forgotten() {
        check(&replaced().inactive(2190), "close_slot 4");
        check(&replaced().inactive(2190).slot_lost(4), "forget; serial 5, current 5:2202");
        check(&replaced().gone(2190).slot_lost(4), "forget; serial 5, current 5:2202");
        let another = replaced().inactive(2190).slot_lost(4).committed_slot(4, 2191);
        check(&another, "forget; serial 5, current 5:2202");
        check(&replaced().unlisted(2190), "read token 2190");
        check(&replaced().inactive(2190).slot_lost(4).with(|it| it.finalizer = false), "add_finalizer");
    }

    #[test]
    fn the_successor_must_be_in_place() {
        check(&replaced().claimed(), "pass");
        check(&replaced().holding(2190), "pass");
        check(&replaced().with(|it| it.target = Target::Missing), "pass");
        check(&replaced().with(|it| it.rule = Some(RenderRule::new("rule-2"))), "pass");
        check(&replaced().with(|it| it.rule = None), "pass");
        check(&replaced().inactive(2202), "pass");
        // The target holds it, but nothing is left to try it with.
        check(&replaced().slot_lost(5), "pass");
        check(&replaced().with(|it| it.ledger.current = None), "pass");
        check(&replaced().with(|it| it.record.published = None), "pass");
        check(&replaced().with(|it| it.ledger.set_back = Some(Serial(9))), "pass");
        check(&object().published(5, 2202).retiring(6, 2206, 3600), "pass");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let changed = |change: fn(&mut crate::observation::Token)| replaced().token(2190, change);
        check(&changed(|token| token.mark = None), "retire 4:2190 after 5");
        check(&changed(|token| token.mark = None).slot_lost(4), "pass");
        check(&changed(|token| token.mark.as_mut().expect("a mark").owner = crate::identity::OwnerUid::new("x")), "pass");
    }

    #[test]
    fn nothing_is_retired_on_an_old_list() {
        check(&replaced().not_ready(), "pass");
        check(&replaced().stale(), "read tokens");
        check(&replaced().listless(), "read tokens");
        let graphql = || object().with_desired(|it| it.permissions = vec![permission("metadata_only", &[])]);
        let unread = graphql().published(5, 2202).retiring(4, 2190, 3600).with_account(|it| it.environments = Reading::Unknown);
        check(&unread, "read environments");
    }

    #[test]
    fn the_oldest_that_may_go_goes_first() {
        let two = |oldest| object().published(5, 2202).retiring(3, 2183, oldest).retiring(4, 2190, 3600);
        check(&two(3600), "retire 3:2183 after 5");
        check(&two(10), "retire 4:2190 after 5");
        check(&two(10).with(|it| it.record.retiring[1].replaced_at = at(-100)), "pass until +500");
    }

    #[test]
    fn times_are_rounded_up_to_minutes() {
        for (time, expected) in [
            ("2026-11-24T07:40:00Z", "2026-11-24T07:40Z"),
            ("2026-11-24T07:40:01Z", "2026-11-24T07:41Z"),
            ("2026-11-24T07:39:59.5Z", "2026-11-24T07:40Z"),
            ("2026-11-24T07:40:00.000000001Z", "2026-11-24T07:41Z"),
            ("2026-12-31T23:59:30Z", "2027-01-01T00:00Z"),
            ("1969-12-31T23:59:30.5Z", "1970-01-01T00:00Z"),
        ] {
            assert_eq!(minute(time.parse().expect("a time")), expected, "{time}");
        }
        assert_eq!(minute(Timestamp::MAX), "9999-12-30T22:00Z");
        assert_eq!(minute(Timestamp::MIN), "-9999-01-02T02:00Z");
    }

    #[test]
    fn the_successor_is_read_by_itself_if_the_list_lacks_it() {
        check(&replaced().unlisted(2202), "read token 2202");
    }
}
