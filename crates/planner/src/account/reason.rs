//! The closed list of reasons of a `DbtAccount`, and how each turns into conditions. Chooses no reason; the judgement does.

use jiff::Timestamp;

use crate::report::{Condition, ConditionStatus, ConditionType, Event};

/// Longest message of a condition: the schema takes 4096, and a person reads far less.
const MAXIMUM_MESSAGE: usize = 1024;

/// Why an account can be worked with, or cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountReason {
    /// The account answers, and the credential may create tokens.
    Connected,
    /// The account answers; its plan allows only some permission sets.
    PlanLimited,
    /// Stopped by the spec.
    Suspended,
    /// The cluster was set back in time: tokens are created, none is revoked until a person confirms.
    SetBack,
    /// The account is being read for the first time.
    Progressing,
    /// dbt, or the API server, does not answer; a retry mends it.
    Unreachable,
    /// The Secret with the credential is missing, or its key.
    CredentialNotFound,
    /// The Secret with the private CA is missing, or holds no certificate.
    CaBundleInvalid,
    /// dbt answers 401.
    CredentialRefused,
    /// The credential may not list or create tokens.
    CredentialInsufficient,
    /// dbt refuses the address from which it is called.
    IpRefused,
    /// The account is locked, unpaid or cancelled.
    AccountLocked,
    /// Many managed tokens are gone at once.
    TokensVanished,
    /// Another installation of the operator bound the account first.
    OtherInstallation,
    /// The credential belongs to another account.
    AccountMismatch,
    /// An older `DbtAccount` names the same account.
    DuplicateAccount,
    /// http without `--allow-insecure-endpoints`.
    InsecureEndpoint,
    /// A value that makes no sense.
    InvalidSpec,
    /// A field that this version cannot serve.
    NotImplemented,
    /// The deletion waits for ServiceTokens.
    InUse,
}

impl AccountReason {
    /// Every reason, for reference pages and tests.
    pub const ALL: [Self; 20] = [
        Self::Connected,
        Self::PlanLimited,
        Self::Suspended,
        Self::SetBack,
        Self::Progressing,
        Self::Unreachable,
        Self::CredentialNotFound,
        Self::CaBundleInvalid,
        Self::CredentialRefused,
        Self::CredentialInsufficient,
        Self::IpRefused,
        Self::AccountLocked,
        Self::TokensVanished,
        Self::OtherInstallation,
        Self::AccountMismatch,
        Self::DuplicateAccount,
        Self::InsecureEndpoint,
        Self::InvalidSpec,
        Self::NotImplemented,
        Self::InUse,
    ];

    /// The word in the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connected => "Connected",
            Self::PlanLimited => "PlanLimited",
            Self::Suspended => "Suspended",
            Self::SetBack => "SetBack",
            Self::Progressing => "Progressing",
            Self::Unreachable => "Unreachable",
            Self::CredentialNotFound => "CredentialNotFound",
            Self::CaBundleInvalid => "CABundleInvalid",
            Self::CredentialRefused => "CredentialRefused",
            Self::CredentialInsufficient => "CredentialInsufficient",
            Self::IpRefused => "IPRefused",
            Self::AccountLocked => "AccountLocked",
            Self::TokensVanished => "TokensVanished",
            Self::OtherInstallation => "OtherInstallation",
            Self::AccountMismatch => "AccountMismatch",
            Self::DuplicateAccount => "DuplicateAccount",
            Self::InsecureEndpoint => "InsecureEndpoint",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotImplemented => "NotImplemented",
            Self::InUse => "InUse",
        }
    }
}

/// How an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It can be worked with: Ready is True.
    Good,
    /// It is being read for the first time: Ready is Unknown, Reconciling is True.
    Progressing,
    /// Something is missing that may come any moment: Ready is False, Reconciling is True.
    Expecting,
    /// Time or a retry mends it: Ready is False, and that is all.
    Waiting,
    /// A person must act: Ready is False, Stalled is True.
    Stalled,
}

/// The judgement on an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Judgement {
    /// How it stands.
    pub standing: Standing,
    /// Why.
    pub reason: AccountReason,
    /// What is so, and what to do.
    pub message: String,
    /// When the judgement may change by time alone.
    pub look_again_at: Option<Timestamp>,
}

impl Judgement {
    /// A judgement that time alone does not change.
    pub fn new(standing: Standing, reason: AccountReason, message: impl Into<String>) -> Self {
        Self { standing, reason, message: shorten(message.into()), look_again_at: None }
    }

    /// A person must act.
    pub fn stalled(reason: AccountReason, message: impl Into<String>) -> Self {
        Self::new(Standing::Stalled, reason, message)
    }

    /// The same, to be looked at again at a time.
    #[must_use]
    pub fn until(self, time: Timestamp) -> Self {
        Self { look_again_at: Some(time), ..self }
    }

    /// The conditions: always Ready; Reconciling and Stalled only while true, never both.
    pub fn conditions(&self) -> Vec<Condition> {
        let condition =
            |kind, status, reason: &str| Condition { kind, status, reason: reason.to_owned(), message: self.message.clone() };
        let ready = |status| condition(ConditionType::Ready, status, self.reason.word());
        let reconciling = |reason| condition(ConditionType::Reconciling, ConditionStatus::True, reason);
        match self.standing {
            Standing::Good => vec![ready(ConditionStatus::True)],
            Standing::Progressing => vec![ready(ConditionStatus::Unknown), reconciling("Progressing")],
            Standing::Expecting => vec![ready(ConditionStatus::False), reconciling("ProgressingWithRetry")],
            Standing::Waiting => vec![ready(ConditionStatus::False)],
            Standing::Stalled => {
                let stalled = condition(ConditionType::Stalled, ConditionStatus::True, self.reason.word());
                vec![ready(ConditionStatus::False), stalled]
            }
        }
    }

    /// The event for a reason that begins: each one for which a person must act, and the alarm about a set-back cluster.
    pub fn event(&self, earlier: &[(Condition, Timestamp)]) -> Option<Event> {
        let warns = self.standing == Standing::Stalled || self.reason == AccountReason::SetBack;
        let began = !earlier.iter().any(|(condition, _)| is_ready(condition) && condition.reason == self.reason.word());
        // While a Secret is waited for, Ready has the same reason already; the event is due when the waiting ends.
        let was_stalled = earlier.iter().any(|(condition, _)| condition.kind == ConditionType::Stalled);
        let newly_stalled = self.standing == Standing::Stalled && !was_stalled;
        (warns && (began || newly_stalled)).then(|| Event {
            warning: true,
            reason: self.reason.word().to_owned(),
            message: self.message.clone(),
        })
    }
}

fn is_ready(condition: &Condition) -> bool {
    condition.kind == ConditionType::Ready
}

/// dbt's own words may be of any length.
fn shorten(mut message: String) -> String {
    if message.len() > MAXIMUM_MESSAGE {
        let end = (0..=MAXIMUM_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

/// A time as messages show it, to the minute, so that a message does not change with every second.
pub fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::now;
    use super::*;

    fn check(standing: Standing, expected: &[(&str, &str, &str)]) {
        let judgement = Judgement::new(standing, AccountReason::AccountLocked, "text");
        let conditions = judgement.conditions();
        let found: Vec<_> =
            conditions.iter().map(|found| (found.kind.word(), found.status.word(), found.reason.as_str())).collect();
        assert_eq!(found, expected, "{standing:?}");
        assert!(conditions.iter().all(|condition| condition.message == "text"));
    }

    #[test]
    fn ready_is_always_there_and_never_are_reconciling_and_stalled_at_once() {
        check(Standing::Good, &[("Ready", "True", "AccountLocked")]);
        check(Standing::Progressing, &[("Ready", "Unknown", "AccountLocked"), ("Reconciling", "True", "Progressing")]);
        check(Standing::Expecting, &[("Ready", "False", "AccountLocked"), ("Reconciling", "True", "ProgressingWithRetry")]);
        check(Standing::Waiting, &[("Ready", "False", "AccountLocked")]);
        check(Standing::Stalled, &[("Ready", "False", "AccountLocked"), ("Stalled", "True", "AccountLocked")]);
    }

    #[test]
    fn an_event_says_that_a_person_is_needed_once() {
        let stalled = Judgement::stalled(AccountReason::IpRefused, "text");
        let waiting = Judgement::new(Standing::Expecting, AccountReason::IpRefused, "text");
        let other = Judgement::stalled(AccountReason::AccountLocked, "text");
        let earlier = |judgement: &Judgement| judgement.conditions().into_iter().map(|it| (it, now())).collect::<Vec<_>>();
        assert!(stalled.event(&[]).is_some());
        assert!(stalled.event(&earlier(&other)).is_some());
        assert!(stalled.event(&earlier(&waiting)).is_some());
        assert!(stalled.event(&earlier(&stalled)).is_none());
        assert!(waiting.event(&[]).is_none());
    }

    #[test]
    fn words_are_different() {
        let words: BTreeSet<&str> = AccountReason::ALL.into_iter().map(AccountReason::word).collect();
        assert_eq!(words.len(), AccountReason::ALL.len());
    }

    #[test]
    fn long_messages_are_cut_between_letters() {
        let judgement = Judgement::stalled(AccountReason::IpRefused, format!("a{}", "é".repeat(2000)));
        assert!(judgement.message.len() <= MAXIMUM_MESSAGE + '…'.len_utf8());
        assert!(judgement.message.ends_with("é…"));
    }

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(minute("2026-11-24T07:50:59.9Z".parse().expect("a time")), "2026-11-24T07:50Z");
    }
}
