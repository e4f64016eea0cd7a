//! The status of a `DbtAccount`: what its planner reports, as users read it, and read back. Pure; [`super::account_status`]
//! writes it. What a report does not say stays as it was.

use dbt_token_planner::account::census::TokenCounts as Counts;
use dbt_token_planner::account::observation::AccountRecord;
use dbt_token_planner::account::{AccountReport, CredentialReport};
use dbt_token_planner::identity::Installation;
use dbt_token_planner::report::{Condition, ConditionStatus, ConditionType};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::status::conditions;
use crate::api::v1alpha1::{AccountEffective, AccountFacts, CredentialStatus, DbtAccountStatus, TokenCounts};

/// How many names of projects the schema takes.
const MOST_UNRESOLVED: usize = 64;

/// What goes into the status beside the report.
#[derive(Clone, Debug, Default)]
pub struct Additions {
    /// The values in force; `None` if the spec is refused, and then the earlier ones stay.
    pub effective: Option<AccountEffective>,
    /// The installation, if the account is bound with this write.
    pub bind: Option<Installation>,
    /// Names in grants that cover nothing; `None` if the projects were not read.
    pub unresolved_projects: Option<Vec<String>>,
}

/// The status as it shall be; `None` if that is what is there.
pub fn changed(
    previous: Option<&DbtAccountStatus>,
    report: &AccountReport,
    additions: Additions,
    now: Timestamp,
) -> Option<DbtAccountStatus> {
    let before = previous.cloned().unwrap_or_default();
    let facts = report.info.as_ref().map(|info| AccountFacts { name: Some(info.name.clone()), plan: Some(info.plan.clone()) });
    let unresolved = additions.unresolved_projects.map(|names| names.into_iter().take(MOST_UNRESOLVED).collect());
    let after = DbtAccountStatus {
        observed_generation: Some(report.observed_generation),
        conditions: conditions(&report.conditions, report.observed_generation, &before.conditions, now),
        account: facts.or_else(|| before.account.clone()),
        installation: additions.bind.map(|installation| installation.to_string()).or_else(|| before.installation.clone()),
        credential: report.credential.as_ref().map(credential).or_else(|| before.credential.clone()),
        tokens: report.tokens.as_ref().map(token_counts).or_else(|| before.tokens.clone()),
        findings: before.findings.clone(),
        unresolved_projects: unresolved.unwrap_or_else(|| before.unresolved_projects.clone()),
        effective: additions.effective.or_else(|| before.effective.clone()),
    };
    (after != before).then_some(after)
}

fn credential(report: &CredentialReport) -> CredentialStatus {
    CredentialStatus { token_id: Some(report.token.0), creation_time: report.created_at.map(time), legacy: Some(report.legacy) }
}

fn token_counts((counts, changed_at): &(Counts, Timestamp)) -> TokenCounts {
    let number = |count: u32| Some(i32::try_from(count).unwrap_or(i32::MAX));
    TokenCounts {
        active: number(counts.active),
        managed: number(counts.managed),
        legacy: number(counts.legacy),
        aged: number(counts.aged),
        unused: number(counts.unused),
        strays: number(counts.strays),
        other_installations: number(counts.other_installations),
        unmanaged: number(counts.unmanaged),
        change_time: Some(time(*changed_at)),
    }
}

/// Kubernetes writes whole seconds; a fraction would differ from what is read back.
fn time(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// What a status says, for the planner.
pub fn record(status: Option<&DbtAccountStatus>) -> AccountRecord {
    let Some(status) = status else { return AccountRecord::default() };
    let conditions = status.conditions.iter().filter_map(|written| {
        let condition = Condition {
            kind: ConditionType::from_word(&written.type_)?,
            status: ConditionStatus::from_word(&written.status),
            reason: written.reason.clone(),
            message: written.message.clone(),
        };
        Some((condition, written.last_transition_time.0))
    });
    AccountRecord {
        installation: status.installation.as_deref().filter(|text| !text.is_empty()).map(Installation::new),
        conditions: conditions.collect(),
        tokens: status.tokens.as_ref().and_then(recorded_counts),
    }
}

fn recorded_counts(tokens: &TokenCounts) -> Option<(Counts, Timestamp)> {
    let count = |number: Option<i32>| u32::try_from(number.unwrap_or_default()).unwrap_or_default();
    let counts = Counts {
        active: count(tokens.active),
        managed: count(tokens.managed),
        legacy: count(tokens.legacy),
        aged: count(tokens.aged),
        unused: count(tokens.unused),
        strays: count(tokens.strays),
        other_installations: count(tokens.other_installations),
        unmanaged: count(tokens.unmanaged),
    };
    Some((counts, tokens.change_time.as_ref()?.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dbt_token_planner::account::observation::AccountInfo;
    use dbt_token_planner::identity::TokenId;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T08:00:00.25Z".parse().expect("a time")
    }

    fn whole(time: Timestamp) -> Timestamp {
        Timestamp::from_second(time.as_second()).expect("a time")
    }

    fn report(status: ConditionStatus, message: &str) -> AccountReport {
        let ready = Condition { kind: ConditionType::Ready, status, reason: "Connected".to_owned(), message: message.to_owned() };
        AccountReport {
            observed_generation: 3,
            conditions: vec![ready],
            info: Some(AccountInfo { account: None, name: "Example".to_owned(), plan: "team".to_owned(), locked: None }),
            credential: Some(CredentialReport { token: TokenId(9), created_at: Some(now()), legacy: false }),
            tokens: Some((Counts { active: 2, unmanaged: 2, ..Counts::default() }, now())),
            events: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let first = changed(None, &report(ConditionStatus::True, "a"), Additions::default(), now()).expect("new");
        let stored: DbtAccountStatus = serde_json::from_str(&serde_json::to_string(&first).expect("JSON")).expect("a status");
        let later = now() + Duration::from_secs(60);
        assert_eq!(changed(Some(&stored), &report(ConditionStatus::True, "a"), Additions::default(), later), None);
    }

    #[test]
    fn a_transition_is_a_change_of_the_status_alone() {
        let first = changed(None, &report(ConditionStatus::True, "a"), Additions::default(), now()).expect("new");
        let later = now() + Duration::from_secs(60);
        for (status, message, expected) in
            [(ConditionStatus::True, "b", whole(now())), (ConditionStatus::False, "a", whole(later))]
        {
            let second = changed(Some(&first), &report(status, message), Additions::default(), later).expect("new");
            assert_eq!(second.conditions[0].last_transition_time.0, expected, "{message}");
        }
    }

    #[test]
    fn what_is_not_reported_stays() {
        let additions = Additions {
            bind: Some(Installation::new("ours")),
            unresolved_projects: Some(vec!["Shop".to_owned()]),
            effective: Some(AccountEffective { mints_per_hour: Some(5), ..AccountEffective::default() }),
        };
        let first = changed(None, &report(ConditionStatus::True, "a"), additions, now()).expect("new");
        let silent = AccountReport { info: None, credential: None, tokens: None, ..report(ConditionStatus::False, "b") };
        let second = changed(Some(&first), &silent, Additions::default(), now()).expect("new");
        let conditions = second.conditions.clone();
        assert_eq!(second, DbtAccountStatus { conditions, ..first });
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(record(None), AccountRecord::default());
        let additions = Additions { bind: Some(Installation::new("ours")), ..Additions::default() };
        let report = report(ConditionStatus::True, "a");
        let record = record(changed(None, &report, additions, now()).as_ref());
        assert_eq!(record.installation, Some(Installation::new("ours")));
        assert_eq!(record.conditions, [(report.conditions[0].clone(), whole(now()))]);
        assert_eq!(record.tokens, report.tokens.map(|(counts, changed_at)| (counts, whole(changed_at))));
    }
}
