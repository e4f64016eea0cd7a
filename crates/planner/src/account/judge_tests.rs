//! One table per group of reasons, and the order of the chain as a whole.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::super::testing::{info as known_info, known, list as token_list, now, observation, own, owner, settings};
use super::*;
use crate::account::observation::{Answer, OwnCredential, ProjectsFor};
use crate::grant::{GrantRow, GrantRows, Scope};
use crate::identity::{AccountId, Installation, PermissionSet, Serial, TokenUid};
use crate::report::{Condition, ConditionStatus};

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// One change to an account at rest, and how it is judged then.
fn check(change: impl FnOnce(&mut AccountObservation), standing: Standing, reason: &str, message: &str) {
    let mut observation = observation();
    change(&mut observation);
    let judgement = judge(&observation, now());
    assert_eq!((judgement.reason.word(), judgement.standing, judgement.message.as_str()), (reason, standing, message));
}

fn change_settings(observation: &mut AccountObservation, change: impl FnOnce(&mut AccountSettings)) {
    let mut settings = settings();
    change(&mut settings);
    observation.settings = Ok(settings);
}

fn stalled_before(reason: &str) -> Vec<(Condition, Timestamp)> {
    let condition = Condition {
        kind: ConditionType::Stalled,
        status: ConditionStatus::True,
        reason: reason.to_owned(),
        message: String::new(),
    };
    vec![(condition, ago(7200))]
}

fn failure(class: FailureClass, detail: &str) -> Failure {
    Failure { class, detail: detail.to_owned(), since: ago(300), retry_at: now() + SignedDuration::from_secs(60) }
}

#[test]
fn an_account_at_rest_is_connected() {
    check(|_| {}, Standing::Good, "Connected", "account Example answers; the credential may create tokens");
}

#[test]
fn what_is_declared_is_judged_first() {
    let invalid = AccountRefusal::Spec(Refusal::InvalidSpec {
        field: "accessUrl".to_owned(),
        why: "it has no host".to_owned(),
        remedy: "write https://ab123.us1.dbt.com".to_owned(),
    });
    check(
        |it| it.settings = Err(invalid),
        Standing::Stalled,
        "InvalidSpec",
        "accessUrl: it has no host; write https://ab123.us1.dbt.com",
    );
    check(
        |it| it.settings = Err(AccountRefusal::Spec(Refusal::NotImplemented { field: "credentialsRotation".to_owned() })),
        Standing::Stalled,
        "NotImplemented",
        "credentialsRotation is not available in this version; remove it, or upgrade",
    );
    check(
        |it| it.settings = Err(AccountRefusal::InsecureEndpoint { field: "accessUrl".to_owned() }),
        Standing::Stalled,
        "InsecureEndpoint",
        "accessUrl: http needs --allow-insecure-endpoints",
    );
    check(
        |it| it.senior = Some("older".to_owned()),
        Standing::Stalled,
        "DuplicateAccount",
        "DbtAccount older (older) names this account",
    );
}

#[test]
fn an_account_of_another_installation_waits_for_a_person() {
    check(
        |it| it.record.installation = Some(Installation::new("theirs")),
        Standing::Stalled,
        "OtherInstallation",
        "operator theirs bound this account first: this cluster may be a copy; nothing is created or revoked; if this \
         cluster shall take over, annotate tokens.dbt-operator.dev/confirm=take-over-ours",
    );
    let confirmed = |it: &mut AccountObservation| {
        it.record.installation = Some(Installation::new("theirs"));
        it.confirm = Some("take-over-ours".to_owned());
    };
    check(confirmed, Standing::Progressing, "Progressing", "the account is being taken over");
    check(
        |it| it.record.installation = None,
        Standing::Progressing,
        "Progressing",
        "the account is being bound to this installation",
    );
}

#[test]
fn a_missing_secret_is_waited_for_two_minutes() {
    let missing = |seconds| MissingSecret {
        namespace: "dbt-operator".to_owned(),
        name: "dbt-admin".to_owned(),
        key: "token".to_owned(),
        since: ago(seconds),
    };
    let text = "Secret dbt-operator/dbt-admin has no key token; create it";
    check(|it| it.credential = Credential::Missing(missing(0)), Standing::Expecting, "CredentialNotFound", text);
    check(|it| it.credential = Credential::Missing(missing(119)), Standing::Expecting, "CredentialNotFound", text);
    check(|it| it.credential = Credential::Missing(missing(120)), Standing::Stalled, "CredentialNotFound", text);
    let restarted = |it: &mut AccountObservation| {
        it.credential = Credential::Missing(missing(0));
        it.record.conditions = stalled_before("CredentialNotFound");
    };
    check(restarted, Standing::Stalled, "CredentialNotFound", text);
    check(
        |it| it.credential = Credential::BundleInvalid(missing(600)),
        Standing::Stalled,
        "CABundleInvalid",
        "Secret dbt-operator/dbt-admin has no PEM certificate under the key token; create it",
    );
    check(
        |it| it.credential = Credential::Unread,
        Standing::Progressing,
        "Progressing",
        "the Secret with the credential is being read",
    );
}

#[test]
fn each_class_of_failure_has_its_reason() {
    let text_401 = "ab123.us1.dbt.com answers 401: the token is wrong or revoked, or the host is not this account's any more \
                    (dbt answers both alike); compare accessUrl with dbt's account settings, then the token";
    let cases = [
        (FailureClass::CredentialRefused, Standing::Stalled, "CredentialRefused", text_401),
        (
            FailureClass::AccountLocked,
            Standing::Stalled,
            "AccountLocked",
            "the account is locked or unpaid (words); settle it in dbt",
        ),
        (FailureClass::IpRefused, Standing::Stalled, "IPRefused", "dbt refuses this address (words); allow the cluster's egress"),
        (
            FailureClass::Denied,
            Standing::Stalled,
            "CredentialInsufficient",
            "the credential may not list tokens; give it a service token with account_admin; personal tokens cannot",
        ),
        (
            FailureClass::Unavailable,
            Standing::Waiting,
            "Unreachable",
            "ab123.us1.dbt.com: words since 2026-11-24T07:55Z; next try 2026-11-24T08:01Z; see network policy, proxy and \
             caBundleSecretRef",
        ),
    ];
    for (class, standing, reason, message) in cases {
        check(|it| it.tokens = Answer::Failed(failure(class, "words")), standing, reason, message);
        if class != FailureClass::Denied {
            check(|it| it.info = Answer::Failed(failure(class, "words")), standing, reason, message);
        }
    }
}

#[test]
fn what_the_account_says_of_itself_counts() {
    let said = |info| move |it: &mut AccountObservation| it.info = Answer::Known { value: info, taken_at: now() };
    check(
        said(AccountInfo { account: Some(AccountId(71)), ..known_info() }),
        Standing::Stalled,
        "AccountMismatch",
        "the credential belongs to account 71; compare accountId with it",
    );
    check(
        said(AccountInfo { locked: Some("unpaid".to_owned()), ..known_info() }),
        Standing::Stalled,
        "AccountLocked",
        "the account is locked or unpaid (unpaid); settle it in dbt",
    );
    check(
        said(AccountInfo { plan: "cancelled_2025".to_owned(), ..known_info() }),
        Standing::Stalled,
        "AccountLocked",
        "the account is locked or unpaid (plan cancelled_2025); settle it in dbt",
    );
    check(
        said(AccountInfo { plan: "starter_2025".to_owned(), ..known_info() }),
        Standing::Good,
        "PlanLimited",
        "plan starter_2025 allows only semantic_layer_only",
    );
}

#[test]
fn a_list_without_the_own_credential_is_not_believed() {
    let text = "the credential works, but ab123.us1.dbt.com does not list the credential's own token ownuid0 for account 70, \
                so the list is not believed; compare accessUrl and accountId with dbt's account settings";
    check(|it| it.tokens = known(token_list([])), Standing::Expecting, "AccountMismatch", text);
    let for_long = |it: &mut AccountObservation| {
        it.tokens = known(token_list([]));
        it.unbelieved_since = Some(ago(120));
    };
    check(for_long, Standing::Stalled, "AccountMismatch", text);
    check(
        |it| it.credential = Credential::Present(OwnCredential::Candidates(BTreeSet::new())),
        Standing::Stalled,
        "CredentialInsufficient",
        "the credential is of an old form and fits 0 tokens of account 70 instead of one, so the list cannot be trusted; give \
         it a service token made today, with account_admin; personal tokens cannot",
    );
}

fn check_rights(sets: &[&str], expected: &str) {
    let rows = sets.iter().map(|set| GrantRow {
        permission_set: PermissionSet::new(*set),
        scope: Scope::All,
        writable: BTreeSet::new(),
    });
    let token = Token { rows: GrantRows::new(rows.collect()), ..own() };
    let mut observation = observation();
    observation.tokens = known(token_list([token]));
    assert_eq!(judge(&observation, now()).reason.word(), expected, "{sets:?}");
}

#[test]
fn a_credential_that_can_only_read_is_not_enough() {
    check_rights(&["account_admin"], "Connected");
    check_rights(&["owner", "job_admin"], "Connected");
    check_rights(&[], "Connected");
    check_rights(&["something_new"], "Connected");
    check_rights(&["security_admin"], "CredentialInsufficient");
    check_rights(&["account_viewer", "job_admin"], "CredentialInsufficient");
    check(
        |it| it.create_refused = Some("a personal token cannot create service tokens".to_owned()),
        Standing::Stalled,
        "CredentialInsufficient",
        "the credential may not create tokens (a personal token cannot create service tokens); give it a service token with \
         account_admin; personal tokens cannot",
    );
}

#[test]
fn alarms_say_what_a_person_confirms() {
    let three_lost = |it: &mut AccountObservation| {
        it.owners = (1..=3).map(|id| owner(&format!("o{id}"), "finance", Some(id))).collect();
    };
    check(
        three_lost,
        Standing::Stalled,
        "TokensVanished",
        "3 of 3 managed tokens are gone from dbt's list since 2026-11-24T08:00Z; nothing is minted; compare accessUrl; if they \
         are gone, annotate tokens.dbt-operator.dev/confirm=vanished-3-3",
    );
    let for_two_hours = |it: &mut AccountObservation| {
        three_lost(it);
        it.record.conditions = stalled_before("TokensVanished");
    };
    check(
        for_two_hours,
        Standing::Stalled,
        "TokensVanished",
        "3 of 3 managed tokens are gone from dbt's list since 2026-11-24T06:00Z; nothing is minted; compare accessUrl; if they \
         are gone, annotate tokens.dbt-operator.dev/confirm=vanished-3-3",
    );
    let confirmed = |it: &mut AccountObservation| {
        three_lost(it);
        it.confirm = Some("vanished-3-3".to_owned());
    };
    check(confirmed, Standing::Good, "Connected", "account Example answers; the credential may create tokens");
    let set_back = |it: &mut AccountObservation| {
        it.owners = vec![owner("o1", "finance", None)];
        it.owners[0].ledger.set_back = Some(Serial(12));
    };
    check(
        set_back,
        Standing::Good,
        "SetBack",
        "1 tokens carry serials that this cluster does not know: it was set back in time, or cloned; tokens are created, none \
         is revoked; if no other cluster uses them, annotate tokens.dbt-operator.dev/confirm=set-back-12",
    );
}

#[test]
fn names_of_projects_must_have_been_looked_up_once() {
    let wanted = |taken_at, failure| {
        move |it: &mut AccountObservation| it.projects = ProjectReading::Wanted { by: ProjectsFor::Grants, taken_at, failure }
    };
    check(wanted(None, None), Standing::Progressing, "Progressing", "the account's projects are being listed");
    check(
        wanted(None, Some(failure(FailureClass::IpRefused, "words"))),
        Standing::Stalled,
        "IPRefused",
        "dbt refuses this address (words); allow the cluster's egress",
    );
    let by_tokens = ProjectReading::Wanted { by: ProjectsFor::ServiceTokens, taken_at: None, failure: None };
    let connected = "account Example answers; the credential may create tokens";
    check(|it| it.projects = by_tokens, Standing::Good, "Connected", connected);
    let later = wanted(Some(ago(900)), Some(failure(FailureClass::Unavailable, "words")));
    check(later, Standing::Good, "Connected", connected);
}

#[test]
fn a_suspended_account_stays_connected() {
    check(|it| change_settings(it, |settings| settings.suspended = true), Standing::Good, "Suspended", "suspended");
}

/// Everything is wrong at once; each line mends what was said before it.
#[test]
fn the_order_of_the_chain_is_kept() {
    type Mend = fn(&mut AccountObservation);
    let mut observation = observation();
    observation.settings = Err(AccountRefusal::InsecureEndpoint { field: "accessUrl".to_owned() });
    observation.senior = Some("older".to_owned());
    observation.record.installation = Some(Installation::new("theirs"));
    observation.credential = Credential::Unread;
    observation.info = Answer::Failed(failure(FailureClass::IpRefused, "words"));
    observation.tokens = Answer::Failed(failure(FailureClass::Denied, "words"));
    observation.create_refused = Some("words".to_owned());
    observation.owners = (1..=3).map(|id| owner(&format!("o{id}"), "finance", Some(id))).collect();
    observation.owners[0].ledger.set_back = Some(Serial(12));
    observation.projects = ProjectReading::Wanted { by: ProjectsFor::Grants, taken_at: None, failure: None };
    let chain: [(&str, Mend); 11] = [
        ("InsecureEndpoint", |it| change_settings(it, |settings| settings.suspended = true)),
        ("DuplicateAccount", |it| it.senior = None),
        ("OtherInstallation", |it| it.record.installation = None),
        ("Progressing", |it| it.credential = Credential::Present(OwnCredential::Uid(TokenUid::new("ownuid0")))),
        ("IPRefused", |it| it.info = Answer::Known { value: known_info(), taken_at: now() }),
        ("CredentialInsufficient", |it| it.tokens = known(token_list([own()]))),
        ("CredentialInsufficient", |it| it.create_refused = None),
        ("TokensVanished", |it| it.confirm = Some("vanished-3-3".to_owned())),
        ("Progressing", |it| {
            it.projects = ProjectReading::NotWanted;
            it.record.installation = Some(Installation::new("ours"));
        }),
        ("SetBack", |it| it.owners[0].ledger.set_back = None),
        ("Suspended", |it| change_settings(it, |_| {})),
    ];
    for (reason, mend) in chain {
        assert_eq!(judge(&observation, now()).reason.word(), reason);
        mend(&mut observation);
    }
    assert_eq!(judge(&observation, now()).reason, AccountReason::Connected);
    let names: BTreeSet<&str> = QUESTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), QUESTIONS.len());
}

#[test]
fn a_deletion_names_the_first_five_that_stand_in_its_way() {
    let users: Vec<String> = (1..=7).map(|place| format!("finance/t{place}")).collect();
    let judgement = in_use(&users).expect("in use");
    assert_eq!(
        judgement.message,
        "7 ServiceTokens still name it: finance/t1, finance/t2, finance/t3, finance/t4, finance/t5; delete them first"
    );
    assert_eq!((judgement.standing, judgement.reason), (Standing::Waiting, AccountReason::InUse));
    assert_eq!(in_use(&[]), None);
}
