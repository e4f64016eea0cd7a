//! Reads what users wrote about the end of a replaced token, with the defaults filled in.

use std::time::Duration;

use dbt_token_planner::desired::{Deadline, OnDeadline, Refusal, Retirement, WorkloadKind};

use super::desired::{invalid, read_duration};
use super::duration;
use super::v1alpha1::{self as api, TokenEffective};

/// Both tokens live at least so long unless the spec says otherwise: longer than a kubelet takes to refresh a volume.
const AFTER: Duration = Duration::from_secs(10 * 60);

/// Longer than the kubelet's own period of a minute and the life of its cache together.
const VOLUME_SYNC: Duration = Duration::from_secs(3 * 60);

/// Longer than most consumers pause between two calls.
const QUIET_PERIOD: Duration = Duration::from_secs(15 * 60);

/// Bounds of the schema.
const HOUR: Duration = Duration::from_secs(60 * 60);
const QUARTER: Duration = Duration::from_secs(90 * 24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What is declared. The schema asks for most of it; an object may have been stored under an older one.
///
/// # Errors
/// [`Refusal::InvalidSpec`] for a length that is none or out of bounds, and for a deadline that makes no sense.
pub(super) fn retirement(declared: Option<&api::Retirement>) -> Result<Retirement, Refusal> {
    let none = api::Retirement::default();
    let declared = declared.unwrap_or(&none);
    let after = length("after", declared.after.as_deref(), AFTER, QUARTER)?;
    Ok(Retirement {
        after,
        volume_sync: length("volumeSync", declared.volume_sync.as_deref(), VOLUME_SYNC, HOUR)?,
        quiet_period: length("quietPeriod", declared.quiet_period.as_deref(), QUIET_PERIOD, QUARTER)?,
        restart: declared.restart.iter().flatten().copied().map(kind).collect(),
        deadline: deadline(declared, after)?,
    })
}

fn kind(kind: api::RestartKind) -> WorkloadKind {
    match kind {
        api::RestartKind::Deployment => WorkloadKind::Deployment,
        api::RestartKind::StatefulSet => WorkloadKind::StatefulSet,
        api::RestartKind::DaemonSet => WorkloadKind::DaemonSet,
    }
}

fn length(field: &str, text: Option<&str>, default: Duration, most: Duration) -> Result<Duration, Refusal> {
    let field = format!("rotation.retire.{field}");
    let length = read_duration(&field, text, default)?;
    if length <= most {
        return Ok(length);
    }
    let most = duration::format(most);
    Err(invalid(field, format!("{} is longer than {most}", duration::format(length)), format!("write at most {most}")))
}

fn deadline(declared: &api::Retirement, overlap: Duration) -> Result<Option<Deadline>, Refusal> {
    let Some(text) = declared.deadline.as_deref() else {
        return match declared.on_deadline {
            Some(_) => Err(invalid("rotation.retire.onDeadline", "there is no deadline", "write a deadline as well")),
            None => Ok(None),
        };
    };
    let after = length("deadline", Some(text), Duration::ZERO, YEAR)?;
    if after <= overlap {
        let overlap = duration::format(overlap);
        let why = format!("the deadline {text} has passed before the shortest overlap, {overlap}");
        return Err(invalid("rotation.retire.deadline", why, format!("write a deadline longer than {overlap}")));
    }
    let then = match declared.on_deadline {
        Some(api::OnDeadline::Delete) => OnDeadline::Delete,
        Some(api::OnDeadline::Hold) | None => OnDeadline::Hold,
    };
    Ok(Some(Deadline { after, then }))
}

/// The values in force, for the status.
pub(super) fn effective(retirement: &Retirement) -> TokenEffective {
    let text = |length: Duration| Some(duration::format(length));
    TokenEffective {
        retire_after: text(retirement.after),
        volume_sync: text(retirement.volume_sync),
        quiet_period: text(retirement.quiet_period),
        deadline: retirement.deadline.and_then(|deadline| text(deadline.after)),
        on_deadline: retirement.deadline.map(|deadline| {
            match deadline.then {
                OnDeadline::Hold => "Hold",
                OnDeadline::Delete => "Delete",
            }
            .to_owned()
        }),
        ..TokenEffective::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    fn read(declared: Value) -> Result<Retirement, Refusal> {
        let declared: api::Retirement = serde_json::from_value(declared).expect("a retirement");
        retirement(Some(&declared))
    }

    #[track_caller]
    fn refuses(declared: Value, expected_field: &str, expected_why: &str) {
        match read(declared) {
            Err(Refusal::InvalidSpec { field, why, remedy }) => {
                assert_eq!(field, format!("rotation.retire.{expected_field}"));
                assert!(why.contains(expected_why), "{why}");
                assert!(!remedy.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_gets_the_defaults() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let expected = Retirement {
            after: minutes(10),
            volume_sync: minutes(3),
            quiet_period: minutes(15),
            restart: BTreeSet::new(),
            deadline: None,
        };
        assert_eq!(retirement(None).as_ref(), Ok(&expected));
        assert_eq!(read(json!({})).as_ref(), Ok(&expected));
        let shown = effective(&expected);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            (shown.retire_after, shown.volume_sync, shown.quiet_period, shown.deadline, shown.on_deadline),
            (text("10m"), text("3m"), text("15m"), None, None)
        );
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let declared =
            read(json!({"after": "0s", "volumeSync": "1h", "quietPeriod": "1d", "deadline": "14d", "onDeadline": "Delete"}));
        let declared = declared.expect("valid");
        assert_eq!(
            (declared.after, declared.volume_sync, declared.quiet_period),
            (Duration::ZERO, Duration::from_secs(3600), Duration::from_secs(86_400))
        );
        let days = Duration::from_secs(14 * 86_400);
        assert_eq!(declared.deadline, Some(Deadline { after: days, then: OnDeadline::Delete }));
        let shown = effective(&declared);
        assert_eq!((shown.deadline.as_deref(), shown.on_deadline.as_deref()), (Some("14d"), Some("Delete")));
        assert_eq!(declared.restart, BTreeSet::new());
        let kinds = read(json!({"restart": ["StatefulSet", "DaemonSet", "Deployment"]})).expect("valid").restart;
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            [WorkloadKind::Deployment, WorkloadKind::StatefulSet, WorkloadKind::DaemonSet]
        );
        let holds = read(json!({"deadline": "14d"})).expect("valid");
        assert_eq!(holds.deadline, Some(Deadline { after: days, then: OnDeadline::Hold }));
        assert_eq!(effective(&holds).on_deadline.as_deref(), Some("Hold"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        refuses(json!({"after": "ten minutes"}), "after", "is not a duration");
        refuses(json!({"after": "91d"}), "after", "91d is longer than 90d");
        refuses(json!({"volumeSync": "61m"}), "volumeSync", "1h1m is longer than 1h");
        refuses(json!({"quietPeriod": "90d1s"}), "quietPeriod", "is longer than 90d");
        refuses(json!({"deadline": "366d"}), "deadline", "is longer than 365d");
        refuses(json!({"deadline": "soon"}), "deadline", "is not a duration");
        refuses(json!({"deadline": "10m"}), "deadline", "before the shortest overlap, 10m");
        refuses(json!({"after": "2h", "deadline": "1h"}), "deadline", "before the shortest overlap, 2h");
        refuses(json!({"onDeadline": "Delete"}), "onDeadline", "there is no deadline");
    }
}
