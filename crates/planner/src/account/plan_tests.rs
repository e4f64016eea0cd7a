//! The order of steps, what is read and when, and properties that hold for any observation at all.

use std::sync::Arc;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::observation::{
    AccountRecord, AccountRefusal, AccountSlot, Failure, FailureClass, MissingSecret, OwnCredential, OwnerLife, ProjectsFor,
    TokenList,
};
use super::testing::{
    OWN, empty_slot, filled_slot, info, known, list, marked, now, observation, own, owner, record_of, settings, token,
};
use super::*;
use crate::identity::TokenUid;
use crate::observation::Token;

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn shown(step: &AccountStep) -> String {
    match step {
        AccountStep::Wait => "wait".to_owned(),
        AccountStep::Settled => "settled".to_owned(),
        AccountStep::Act(AccountEffect::AddFinalizer) => "add finalizer".to_owned(),
        AccountStep::Act(AccountEffect::RemoveFinalizer) => "remove finalizer".to_owned(),
        AccountStep::Act(AccountEffect::BindInstallation(installation)) => format!("bind {installation}"),
        AccountStep::Act(AccountEffect::RevokeStray { token, .. }) => format!("revoke {token}"),
        AccountStep::Act(AccountEffect::CloseOrphanSlot { slot, .. }) => format!("close {}", slot.serial),
        AccountStep::Read(needs) => {
            let needs: Vec<&str> = needs
                .iter()
                .map(|need| match need {
                    AccountNeed::Info => "info",
                    AccountNeed::Tokens(_) => "tokens",
                    AccountNeed::Projects => "projects",
                    AccountNeed::OwnerLife(_) => "owner",
                    AccountNeed::Token(_) => "token",
                })
                .collect();
            format!("read {}", needs.join(" "))
        }
    }
}

/// One change to an account at rest, the step, and in how many seconds it is looked at again.
fn check(why: &str, change: impl FnOnce(&mut AccountObservation), step: &str, wake_in: Option<i64>) {
    let mut observation = observation();
    change(&mut observation);
    let plan = plan(&observation, now());
    let wake = plan.wake_at.map(|time| time.duration_since(now()).as_secs());
    assert_eq!((shown(&plan.step).as_str(), wake), (step, wake_in), "{why}");
}

fn taken(seconds: i64) -> Answer<Arc<TokenList>> {
    Answer::Known { value: Arc::new(list([own()])), taken_at: ago(seconds) }
}

fn failed<T>(retry_in: i64) -> Answer<T> {
    Answer::Failed(Failure {
        class: FailureClass::Unavailable,
        detail: "words".to_owned(),
        since: ago(60),
        retry_at: now() + SignedDuration::from_secs(retry_in),
    })
}

#[test]
fn at_rest_the_list_is_read_once_an_interval_and_nothing_else() {
    check("just read", |_| {}, "settled", Some(600));
    check("read a while ago", |it| it.tokens = taken(599), "settled", Some(1));
    check("due", |it| it.tokens = taken(600), "read tokens", None);
    check("older than the last change", |it| (it.tokens, it.fresh_after) = (taken(5), ago(1)), "read tokens", None);
    check("newer than the last change", |it| (it.tokens, it.fresh_after) = (taken(5), ago(5)), "settled", Some(595));
    check("old info", |it| it.info = Answer::Known { value: info(), taken_at: Timestamp::UNIX_EPOCH }, "settled", Some(600));
}

#[test]
fn a_connection_is_built_up_one_call_after_the_other() {
    check("no finalizer", |it| it.finalizer = false, "add finalizer", None);
    check("no credential", |it| it.credential = Credential::Unread, "wait", None);
    check("nothing known", |it| (it.info, it.tokens) = (Answer::Unread, Answer::Unread), "read info", None);
    check("info known", |it| it.tokens = Answer::Unread, "read tokens", None);
    let named = |it: &mut AccountObservation| {
        it.projects = ProjectReading::Wanted { by: ProjectsFor::Grants, taken_at: None, failure: None }
    };
    check("names in grants", named, "read projects", None);
    check("not bound", |it| it.record.installation = None, "bind ours", None);
    let other = |it: &mut AccountObservation| it.record.installation = Some(Installation::new("theirs"));
    check("bound by another", other, "wait", Some(600));
    let confirmed = |it: &mut AccountObservation| {
        other(it);
        it.confirm = Some("take-over-ours".to_owned());
    };
    check("taken over", confirmed, "bind ours", None);
}

#[test]
fn failures_are_retried_when_their_time_comes() {
    check("info, not yet", |it| (it.info, it.tokens) = (failed(60), Answer::Unread), "wait", Some(60));
    check("info, now", |it| (it.info, it.tokens) = (failed(0), Answer::Unread), "read info", None);
    check("list, not yet", |it| it.tokens = failed(60), "wait", Some(60));
    check("list, now", |it| it.tokens = failed(0), "read tokens", None);
    let missing = MissingSecret { namespace: "a".to_owned(), name: "b".to_owned(), key: "c".to_owned(), since: ago(20) };
    check("missing Secret", |it| it.credential = Credential::Missing(missing), "wait", Some(100));
    check("not believed", |it| it.tokens = known(list([])), "wait", Some(60));
    let locked = AccountInfo { locked: Some("words".to_owned()), ..info() };
    let old = Answer::Known { value: locked.clone(), taken_at: ago(600) };
    check(
        "locked",
        |it| (it.info, it.tokens) = (Answer::Known { value: locked, taken_at: now() }, Answer::Unread),
        "wait",
        Some(600),
    );
    check("locked for long", |it| (it.info, it.tokens) = (old, Answer::Unread), "read info", None);
    let limited = AccountInfo { plan: "starter_2025".to_owned(), ..info() };
    check("limited for long", |it| it.info = Answer::Known { value: limited, taken_at: ago(600) }, "read info", None);
}

#[test]
fn a_deletion_waits_for_the_last_user() {
    let deleting = |it: &mut AccountObservation| it.deleted_at = Some(now());
    check("unused", deleting, "remove finalizer", None);
    check("let go", |it| (it.deleted_at, it.finalizer) = (Some(now()), false), "settled", None);
    let used = |it: &mut AccountObservation| {
        deleting(it);
        it.users = vec!["finance/ci".to_owned()];
    };
    check("used", used, "settled", Some(600));
    let mut observation = observation();
    used(&mut observation);
    let plan = plan(&observation, now());
    assert_eq!((plan.state, plan.suspended), (AccountState::Ready, true), "its tokens can be revoked, none is made");
    assert_eq!(plan.report.conditions[0].reason, "InUse");
}

#[test]
fn nothing_is_revoked_while_an_alarm_is_on() {
    let stray = |it: &mut AccountObservation| {
        let old = Token { created_at: Some(ago(200_000)), ..marked(1, "o1", 5) };
        it.tokens = known(list([own(), old]));
        it.lives = [(OwnerUid::new("o1"), OwnerLife::Gone { since: ago(600) })].into();
    };
    check("no alarm", stray, "revoke 1", None);
    check(
        "set back",
        |it| {
            stray(it);
            it.owners = vec![owner("o2", "finance", None)];
            it.owners[0].ledger.set_back = Some(Serial(7));
        },
        "wait",
        Some(600),
    );
    check(
        "vanished",
        |it| {
            stray(it);
            it.owners = (11..14).map(|id| owner(&format!("p{id}"), "finance", Some(id))).collect();
        },
        "wait",
        Some(600),
    );
    check("not read", |it| (stray(it), it.lives.clear()).1, "read owner", Some(600));
    check("a duplicate", |it| (stray(it), it.senior = Some("older".to_owned())).1, "wait", Some(600));
}

#[test]
fn the_time_of_the_counts_moves_only_with_a_count() {
    let mut observation = observation();
    let first = plan(&observation, now()).report.tokens.expect("counted");
    assert_eq!((first.0.active, first.0.unmanaged, first.0.legacy, first.1), (1, 1, 1, now()));
    observation.record.tokens = Some((first.0, ago(5000)));
    assert_eq!(plan(&observation, now()).report.tokens, Some((first.0, ago(5000))));
    observation.tokens = known(list([own(), token(1, None)]));
    assert_eq!(plan(&observation, now()).report.tokens.map(|tokens| tokens.1), Some(now()));
    observation.tokens = known(list([]));
    assert_eq!(plan(&observation, now()).report.tokens, None, "a list that is not believed counts nothing");
}

#[test]
fn the_own_credential_is_reported() {
    let report = plan(&observation(), now()).report;
    let credential = report.credential.expect("found");
    assert_eq!((credential.token, credential.legacy), (TokenId(OWN), true));
}

#[test]
fn an_event_tells_of_a_revoked_stray_without_any_string() {
    let effect = AccountEffect::RevokeStray { token: TokenId(7), owner: OwnerUid::new("o1"), owner_name: None, slot: None };
    let event = effect.event().expect("an event");
    assert_eq!(
        (event.reason.as_str(), event.message.as_str()),
        ("StrayRevoked", "revoked token 7: its ServiceToken of uid o1 is gone")
    );
    assert_eq!(AccountEffect::AddFinalizer.event(), None);
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![8 => (-200_000_i64..400_000).prop_map(ago), 1 => Just(Timestamp::MIN), 1 => Just(Timestamp::MAX)]
}

fn any_token() -> impl Strategy<Value = Token> {
    let fields =
        (1_i64..8, 0_i64..4, 1_i64..4, any::<bool>(), proptest::option::of(any_time()), proptest::option::of(any_time()));
    fields.prop_map(|(id, owner, serial, active, created_at, last_used)| {
        let base = if owner == 0 { token(id, None) } else { marked(id, &format!("o{owner}"), serial) };
        Token { active, created_at, last_used, ..base }
    })
}

fn any_slot() -> impl Strategy<Value = AccountSlot> {
    (1_i64..4, 1_i64..4, 1_i64..8, 0..3).prop_map(|(owner, serial, token, kind)| {
        let owner = format!("o{owner}");
        match kind {
            0 => empty_slot(&owner, serial),
            1 => filled_slot(&owner, serial, token),
            _ => record_of(&owner, serial, token),
        }
    })
}

fn any_answer<T: Clone + std::fmt::Debug + 'static>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![
        1 => Just(Answer::Unread),
        8 => (value, any_time()).prop_map(|(value, taken_at)| Answer::Known { value, taken_at }),
        1 => any_failure().prop_map(Answer::Failed),
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let class = prop_oneof![
        Just(FailureClass::CredentialRefused),
        Just(FailureClass::AccountLocked),
        Just(FailureClass::IpRefused),
        Just(FailureClass::Denied),
        Just(FailureClass::Unavailable),
    ];
    (class, any_time(), any_time()).prop_map(|(class, since, retry_at)| Failure {
        class,
        detail: "words".to_owned(),
        since,
        retry_at,
    })
}

fn any_list() -> impl Strategy<Value = Arc<TokenList>> {
    (proptest::collection::vec(any_token(), 0..8), proptest::bool::weighted(0.9))
        .prop_map(|(tokens, with_own)| Arc::new(list(tokens.into_iter().chain(with_own.then(own)))))
}

fn any_life() -> impl Strategy<Value = Option<OwnerLife>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(OwnerLife::MayLive)),
        4 => any_time().prop_map(|since| Some(OwnerLife::Gone { since })),
    ]
}

/// Trouble is the exception, so that most observations get past the first questions.
fn rarely() -> impl Strategy<Value = bool> {
    proptest::bool::weighted(0.1)
}

prop_compose! {
    fn any_observation()(
        flags in (rarely(), rarely(), rarely(), rarely(), any::<bool>(), any::<bool>(), rarely(), any::<bool>()),
        confirm in prop_oneof![Just(None), "(vanished-[0-9]-[0-9]|set-back-[0-9]|take-over-ours|[a-z-]{0,9})".prop_map(Some)],
        bound in prop_oneof![1 => Just(None), 8 => Just(Some("ours")), 1 => Just(Some("theirs"))],
        uid in prop_oneof![9 => Just("ownuid0"), 1 => Just("another")],
        list_answer in any_answer(any_list()),
        info_answer in any_answer(Just(info())),
        projects in prop_oneof![
            Just(ProjectReading::NotWanted),
            (proptest::option::of(any_time()), proptest::option::of(any_failure()))
                .prop_map(|(taken_at, failure)| ProjectReading::Wanted { by: ProjectsFor::Grants, taken_at, failure }),
        ],
        slots in proptest::collection::vec(any_slot(), 0..5),
        lives in proptest::collection::vec(any_life(), 3),
        living in proptest::collection::btree_set(1_i64..4, 0..3),
        currents in proptest::collection::vec(proptest::option::of(1_i64..8), 0..4),
        held in proptest::collection::btree_set(1_i64..8, 0..3),
        times in (any_time(), any_time(), prop_oneof![4 => Just(Timestamp::MIN), 1 => any_time()]),
        set_back in proptest::option::weighted(0.1, 1_i64..9),
    ) -> AccountObservation {
        let (deleting, unfinished, suspended, senior, used, refused, owner_is_own, gone) = flags;
        let owners: Vec<_> = currents.into_iter().enumerate().map(|(place, current)| {
            let mut claim = owner(&format!("p{place}"), "finance", current);
            claim.ledger.set_back = set_back.map(Serial).filter(|_| place == 0);
            claim
        }).collect();
        let mut settings = settings();
        settings.suspended = suspended;
        AccountObservation {
            deleted_at: deleting.then_some(times.0),
            finalizer: !unfinished,
            confirm,
            settings: if refused && senior { Err(AccountRefusal::InsecureEndpoint { field: String::new() }) } else { Ok(settings) },
            senior: (senior && !refused).then(|| "older".to_owned()),
            users: used.then(|| "finance/ci".to_owned()).into_iter().collect(),
            record: AccountRecord {
                installation: bound.map(Installation::new),
                ..observation().record
            },
            credential: if owner_is_own {
                Credential::Present(OwnCredential::Candidates([TokenId(OWN)].into()))
            } else {
                Credential::Present(OwnCredential::Uid(TokenUid::new(uid)))
            },
            info: info_answer,
            tokens: list_answer,
            unbelieved_since: gone.then_some(times.1),
            projects,
            fresh_after: times.2,
            lives: lives.into_iter().enumerate()
                .filter_map(|(place, life)| Some((OwnerUid::new(format!("o{}", place + 1)), life?)))
                .collect(),
            living: living.into_iter().map(|place| OwnerUid::new(format!("o{place}"))).collect(),
            owners,
            slots,
            held: held.iter().map(|id| (TokenId(*id), "finance/dbt".to_owned())).collect(),
            gone: held.iter().filter(|_| gone).map(|id| (TokenId(*id), times.1)).collect(),
            ..observation()
        }
    }
}

/// What must hold whenever something is revoked or closed.
fn may_destroy(observation: &AccountObservation, effect: &AccountEffect) -> Result<(), &'static str> {
    let (owner, token) = match effect {
        AccountEffect::RevokeStray { owner, token, .. } => (owner, Some(*token)),
        AccountEffect::CloseOrphanSlot { slot, .. } => (&slot.owner, None),
        _ => return Ok(()),
    };
    let Some((list, own, _)) = believed(observation) else { return Err("the list is not believed") };
    if !observation.is_bound() {
        return Err("another installation's account");
    }
    if alarm(observation).is_some() || set_back(observation).is_some() {
        return Err("an alarm is on");
    }
    if !matches!(observation.lives.get(owner), Some(OwnerLife::Gone { .. })) || observation.living.contains(owner) {
        return Err("the owner may live");
    }
    let Some(token) = token else { return Ok(()) };
    if token == own.id || observation.held.contains_key(&token) {
        return Err("the token is in use");
    }
    if observation.slots.iter().any(|slot| slot.slot.retained && slot.slot.token() == Some(token)) {
        return Err("the token was let go");
    }
    let listed = list.tokens.get(&token).ok_or("the token is not listed")?;
    let marked = listed.mark.as_ref().is_some_and(|mark| mark.installation == observation.installation && mark.owner == *owner);
    let stored = observation.slots.iter().any(|slot| slot.owner == *owner && slot.slot.token() == Some(token));
    if marked || stored { Ok(()) } else { Err("the token is not ours") }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any observation gives the same plan twice, looks again only later, and destroys only what nobody can miss.
    #[test]
    fn any_observation_gives_a_harmless_plan(observation in any_observation()) {
        let first = plan(&observation, now());
        prop_assert_eq!(&first, &plan(&observation, now()));
        prop_assert!(first.wake_at.is_none_or(|time| time > now()));
        if let AccountStep::Act(effect) = &first.step {
            prop_assert_eq!(may_destroy(&observation, effect), Ok(()));
        }
        if let AccountStep::Read(needs) = &first.step {
            prop_assert!(!needs.is_empty());
        }
        let kinds: Vec<_> = first.report.conditions.iter().map(|condition| condition.kind).collect();
        prop_assert!(kinds.len() <= 2 && kinds[0] == crate::report::ConditionType::Ready);
        if let Some((counts, _)) = first.report.tokens {
            prop_assert_eq!(counts.active, counts.managed + counts.strays + counts.other_installations + counts.unmanaged);
        }
    }
}

#[test]
fn the_observations_of_the_property_reach_every_effect() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        let observation = any_observation().new_tree(&mut runner).expect("a tree").current();
        if let AccountStep::Act(effect) = plan(&observation, now()).step {
            let name = shown(&AccountStep::Act(effect));
            seen.insert(name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned());
        }
    }
    let expected = ["add finalizer", "bind ours", "close ", "remove finalizer", "revoke "];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
