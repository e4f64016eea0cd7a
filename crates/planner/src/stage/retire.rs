//! The end of a replaced token: it dies only when its successor is published, the overlap has passed, and the successor
//! has proved itself once more.

use jiff::Timestamp;

use crate::desired::Desired;
use crate::effect::{Effect, LedgerEntry, Need};
use crate::gate;
use crate::identity::{Serial, TokenId};
use crate::ledger::Entry;
use crate::observation::{Life, Observation};
use crate::plan::Turn;
use crate::report::{RetiringRecord, Waiting};
use crate::stage::admit::admit;
use crate::stage::set_back::set_back;
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

fn retire_one(observation: &Observation, entry: Entry, now: Timestamp) -> Turn {
    match observation.life(entry.token) {
        Life::Inactive if has_slot(observation, entry) => Turn::act(Effect::CloseSlot(entry.serial)),
        Life::Inactive => write(observation, LedgerEntry::Forget(entry.serial), observation.ledger.forgotten(entry.serial)),
        Life::Unlisted => Turn::read(Need::Token(entry.token)),
        Life::Unknown if observation.fresh_tokens().is_none() => Turn::read(Need::Tokens(observation.fresh_after)),
        Life::Unknown => Turn::Pass(None),
        Life::Active => retirement(observation, entry.token, entry.serial, replaced_at(observation, entry.token), now),
    }
}

/// A slot that holds another token is none of this one: it is swept by itself once nothing names its serial.
fn has_slot(observation: &Observation, entry: Entry) -> bool {
    observation.slot(entry.serial).is_some_and(|slot| slot.token().is_none_or(|token| token == entry.token))
}

/// When the target was first seen without the token.
pub(crate) fn replaced_at(observation: &Observation, token: TokenId) -> Option<Timestamp> {
    let known = observation.record.retiring.iter().find(|record| record.token == token);
    known.map(|RetiringRecord { replaced_at, .. }| *replaced_at)
}

/// Retires a token that consumers may hold, when all rules hold; otherwise says when to look again. A token whose
/// replacement was not recorded counts as replaced when the published one was.
pub(crate) fn retirement(
    observation: &Observation,
    token: TokenId,
    serial: Serial,
    replaced: Option<Timestamp>,
    now: Timestamp,
) -> Turn {
    let (Some(current), Ok(desired)) = (observation.ledger.current, &observation.desired) else { return Turn::Pass(None) };
    let newer = current.serial > serial && observation.current_is_usable();
    let (Some(rule), true) = (observation.rule.clone(), newer && observation.target_shows(current.token)) else {
        return Turn::Pass(None);
    };
    if !observation.is_ours(token) || observation.ledger.set_back.is_some() {
        return Turn::Pass(None);
    }
    if observation.record.published.as_ref().map(|p| p.token) != Some(current.token) {
        return Turn::Pass(None);
    }
    let Some(replaced) = replaced.or(observation.record.published.as_ref().map(|published| published.at)) else {
        return Turn::Pass(None);
    };
    let due = later(replaced, desired.retire_after);
    if now < due {
        return Turn::Pass(Some(due));
    }
    let Some(tokens) = observation.fresh_tokens() else { return Turn::read(Need::Tokens(observation.fresh_after)) };
    let Some(successor) = tokens.get(&current.token) else { return Turn::read(Need::Token(current.token)) };
    match gate::probes(observation, &successor.rows) {
        Err(turn) => turn,
        Ok((probes, _)) => Turn::act(Effect::Retire { token, serial, successor: current.serial, probes, rule }),
    }
}

/// The rules that do not hold yet for a retiring token, for the status.
pub(crate) fn waiting_for(observation: &Observation, entry: Entry, replaced: Option<Timestamp>, now: Timestamp) -> Vec<Waiting> {
    let (Some(current), Ok(desired)) = (observation.ledger.current, &observation.desired) else { return Vec::new() };
    if observation.deleted_at.is_some() {
        return Vec::new();
    }
    if let Some(message) = hindrance(observation, desired, entry, now) {
        return vec![Waiting { rule: "Verification", message }];
    }
    if !observation.target_shows(current.token) {
        let message = format!("Secret {} does not hold token {} yet", desired.secret_name, current.token);
        return vec![Waiting { rule: "Secret", message }];
    }
    let Some(replaced) = replaced else {
        return vec![Waiting { rule: "Overlap", message: "its replacement was not seen yet".into() }];
    };
    let due = later(replaced, desired.retire_after);
    if now < due && observation.life(entry.token) != Life::Inactive {
        return vec![Waiting { rule: "Overlap", message: format!("minimum overlap until {}", minute(due)) }];
    }
    Vec::new()
}

/// Why nothing is revoked at all, however long the overlap has been.
fn hindrance(observation: &Observation, desired: &Desired, entry: Entry, now: Timestamp) -> Option<String> {
    if observation.life(entry.token) == Life::Inactive {
        return None;
    }
    if matches!(admit(observation, now), Turn::Take(..)) {
        return Some("nothing is revoked while the object is suspended or stalled".into());
    }
    if observation.ledger.set_back.is_some() || matches!(set_back(observation, now), Turn::Take(..)) {
        return Some("nothing is revoked until a person confirms what DbtAccount tells of (SetBack)".into());
    }
    if observation.account.open().is_none() {
        return Some(format!("DbtAccount {} is not ready", desired.account));
    }
    if let Some(current) = observation.ledger.current.filter(|_| !observation.current_is_usable()) {
        return Some(format!("token {} does not work any more; what follows it comes first", current.token));
    }
    if observation.ledger.current.is_some_and(|current| current.serial < entry.serial) {
        return Some(format!("token {} is newer than the published one; it goes after the next rotation", entry.token));
    }
    let known = observation.life(entry.token) == Life::Active && !observation.is_ours(entry.token);
    known.then(|| format!("token {} carries no mark of this object; revoke it in dbt", entry.token))
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
        check(&replaced().with_desired(|it| it.retire_after = std::time::Duration::from_secs(7200)), "pass until +3600");
        check(&replaced().with_desired(|it| it.retire_after = std::time::Duration::MAX), "pass until +251606701200");
        check(&replaced().with(|it| it.record.retiring.clear()), "retire 4:2190 after 5");
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

    fn waits(observation: &Observation, expected: &[(&str, &str)]) {
        let entry = observation.ledger.retiring[0];
        let found = waiting_for(observation, entry, replaced_at(observation, entry.token), now());
        let found: Vec<_> = found.iter().map(|rule| (rule.rule, rule.message.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_rules_that_do_not_hold_yet() {
        let recent = || object().published(5, 2202).retiring(4, 2190, 100);
        waits(&replaced(), &[]);
        waits(&recent(), &[("Overlap", "minimum overlap until 2026-11-24T07:49Z")]);
        waits(&recent().inactive(2190), &[]);
        waits(&recent().claimed(), &[("Secret", "Secret dagster-dbt does not hold token 2202 yet")]);
        let suspended = "nothing is revoked while the object is suspended or stalled";
        waits(&replaced().with_desired(|it| it.suspended = true), &[("Verification", suspended)]);
        waits(&replaced().with(|it| it.senior = Some("airflow".into())), &[("Verification", suspended)]);
        let set_back = "nothing is revoked until a person confirms what DbtAccount tells of (SetBack)";
        waits(&replaced().with(|it| it.ledger.set_back = Some(Serial(9))), &[("Verification", set_back)]);
        waits(&replaced().listed(9, 2209), &[("Verification", set_back)]);
        waits(&replaced().not_ready(), &[("Verification", "DbtAccount analytics is not ready")]);
        let lost = "token 2202 does not work any more; what follows it comes first";
        waits(&recent().inactive(2202), &[("Verification", lost)]);
        waits(&recent().attempt(6, crate::ledger::Cause::TokenUnusable, 0), &[("Verification", lost)]);
        let newer = "token 2206 is newer than the published one; it goes after the next rotation";
        waits(&object().published(5, 2202).retiring(6, 2206, 3600), &[("Verification", newer)]);
        let renamed = replaced().token(2190, |token| token.mark = None);
        waits(&renamed, &[]);
        let stray = "token 2190 carries no mark of this object; revoke it in dbt";
        waits(&renamed.slot_lost(4), &[("Verification", stray)]);
        waits(&replaced().deleted(1, crate::desired::DeletionPolicy::Revoke), &[]);
    }

    #[test]
    fn a_rule_does_not_move_with_the_time() {
        let current = Entry { serial: Serial(5), token: TokenId(2202) };
        let told = |now| waiting_for(&object().published(5, 2202), current, None, now);
        assert_eq!(told(now()), told(at(3600)));
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
