//! Every rule, alone and in the chain: what is told, what is done, and when it is looked at again.

use super::*;
use crate::desired::{Deadline, OnDeadline};
use crate::fixture::{at, now, object, turn};
use crate::identity::{Serial, TokenId};
use crate::observation::{Consumer, Consumers, Reading, Unreadable, Way};
use crate::stage::retire::{replaced_at, retire};

/// 2202 is published, 2190 left the target an hour ago; nobody takes the target, and last uses do not count.
fn replaced() -> Observation {
    object().published(5, 2202).retiring(4, 2190, 3600)
}

/// So many seconds before the moment at which tables look.
const SWAP: i64 = -3600;

fn told(observation: &Observation, now: Timestamp) -> Vec<(&'static str, String)> {
    let entry = observation.ledger.retiring[0];
    let case = Case::of(observation, entry, replaced_at(observation, entry.token), now).expect("something is published");
    waiting_for(&case).into_iter().map(|rule| (rule.rule, rule.message)).collect()
}

/// What is told, and what is done.
#[track_caller]
fn check(observation: &Observation, expected_rules: &[(&str, &str)], expected_turn: &str) {
    let rules = told(observation, now());
    let rules: Vec<_> = rules.iter().map(|(rule, message)| (*rule, message.as_str())).collect();
    assert_eq!(rules, expected_rules);
    assert_eq!(turn(&retire(observation, now())), expected_turn);
}

const GOES: &str = "retire 4:2190 after 5";

impl Observation {
    /// What a look at the pods, so many seconds from the tables' moment, came to.
    fn looked(self, seconds: i64, consumers: Consumers) -> Self {
        self.with(|it| it.consumers = Reading::Known { value: consumers, taken_at: at(seconds) })
    }

    fn pods(self, consumers: &[Consumer]) -> Self {
        self.looked(0, Consumers::Seen(consumers.to_vec()))
    }

    fn quiet_for(self, seconds: u64) -> Self {
        self.with_desired(|it| it.retirement.quiet_period = Duration::from_secs(seconds))
    }

    fn used(self, seconds: Option<i64>) -> Self {
        self.token(2190, |token| token.last_used = seconds.map(at))
    }

    fn listed_at(self, seconds: i64) -> Self {
        self.with(|it| it.fresh_after = at(-90_000)).with_account(|account| {
            if let Reading::Known { taken_at, .. } = &mut account.tokens {
                *taken_at = at(seconds);
            }
        })
    }

    fn ends(self, seconds: u64, then: OnDeadline) -> Self {
        self.with_desired(|it| it.retirement.deadline = Some(Deadline { after: Duration::from_secs(seconds), then }))
    }
}

/// A container of pod `name`: created and running since so many seconds after the swap.
fn container(name: &str, created: i64, way: Way, since: Option<i64>) -> Consumer {
    let after_swap = |seconds| at(SWAP + seconds);
    Consumer { pod: name.into(), created_at: after_swap(created), way, running_since: since.map(after_swap) }
}

fn old(name: &str) -> Consumer {
    container(name, -9000, Way::Environment, Some(-9000))
}

#[test]
fn a_token_that_nobody_needs_goes() {
    check(&replaced(), &[], GOES);
    check(&replaced().quiet_for(900).listed_at(-1), &[], GOES);
}

#[test]
fn what_cannot_be_revoked_at_all_is_told_alone() {
    let suspended = "nothing is revoked while the object is suspended or stalled";
    let alone = |observation: &Observation, message: &str| {
        assert_eq!(told(observation, now()), [("Verification", message.to_owned())]);
    };
    alone(&replaced().with_desired(|it| it.suspended = true), suspended);
    alone(&replaced().with(|it| it.senior = Some("airflow".into())), suspended);
    let set_back = "nothing is revoked until a person confirms what DbtAccount tells of (SetBack)";
    alone(&replaced().with(|it| it.ledger.set_back = Some(Serial(9))), set_back);
    alone(&replaced().listed(9, 2209), set_back);
    alone(&replaced().not_ready(), "DbtAccount analytics is not ready");
    let recent = || object().published(5, 2202).retiring(4, 2190, 100);
    let lost = "token 2202 does not work any more; what follows it comes first";
    alone(&recent().inactive(2202), lost);
    alone(&recent().attempt(6, crate::ledger::Cause::TokenUnusable, 0), lost);
    let newer = "token 2206 is newer than the published one; it goes after the next rotation";
    alone(&object().published(5, 2202).retiring(6, 2206, 3600), newer);
    let renamed = replaced().token(2190, |token| token.mark = None);
    check(&renamed, &[], GOES);
    alone(&renamed.slot_lost(4), "token 2190 carries no mark of this object; revoke it in dbt");
    let unpublished = [("Secret", "Secret dagster-dbt does not hold token 2202 yet")];
    check(&recent().claimed(), &unpublished, "pass");
    check(&replaced().with(|it| it.rule = None), &unpublished, "pass");
    for done in [recent().inactive(2190), replaced().deleted(1, crate::desired::DeletionPolicy::Revoke)] {
        assert_eq!(told(&done, now()), []);
    }
}

#[test]
fn the_overlap_is_waited_for_with_all_that_is_not_known_before_it_ends() {
    let recent = object().published(5, 2202).retiring(4, 2190, 100);
    check(&recent, &[("Overlap", "minimum overlap until 2026-11-24T07:49Z")], "pass until +500");
    let unread = recent.with(|it| it.consumers = Reading::Unknown).quiet_for(900);
    check(
        &unread,
        &[
            ("Overlap", "minimum overlap until 2026-11-24T07:49Z"),
            ("Pods", "the pods of namespace finance were not looked at yet"),
            ("LastUsed", "dbt must see no use of token 2190 until 2026-11-24T07:54Z"),
        ],
        "pass until +500",
    );
}

/// A status that was lost says so before it says when the overlap ends.
#[test]
fn nothing_goes_before_the_swap_is_written_down() {
    let unwritten = || replaced().with(|it| it.record.published = None);
    check(&unwritten(), &[("Overlap", "its replacement was not seen yet")], "pass");
    let late = unwritten().ends(1200, OnDeadline::Delete).pods(&[old("dagster-0")]);
    assert_eq!(turn(&retire(&late, now())), "pass until +300");
    let told = told(&replaced().with(|it| it.record.retiring.clear()).quiet_for(900), now());
    let rules: Vec<_> = told.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["Overlap", "Pods", "LastUsed"]);
}

#[test]
fn pods_are_read_after_all_that_costs_nothing() {
    let unread = || replaced().with(|it| it.consumers = Reading::Unknown);
    let message = [("Pods", "the pods of namespace finance were not looked at yet")];
    check(&unread(), &message, "read consumers");
    // Within the second of the swap it may have come before it.
    check(&replaced().looked(SWAP, Consumers::Seen(Vec::new())), &message, "read consumers");
    check(&replaced().looked(SWAP + 1, Consumers::Seen(Vec::new())), &[], GOES);
    let at_once = |ago| {
        let unread = object().published(5, 2202).retiring(4, 2190, ago).with(|it| it.consumers = Reading::Unknown);
        turn(&retire(&unread.with_desired(|it| it.retirement.after = Duration::ZERO), now()))
    };
    assert_eq!([at_once(0), at_once(1)], ["pass until +1", "read consumers"]);
    let used = ("LastUsed", "dbt saw token 2190 in use after 2026-11-24T07:30Z; it goes after 15m without use");
    check(&unread().quiet_for(900).used(Some(-60)), &[message[0], used], "read consumers");
    check(&unread().not_ready(), &[("Verification", "DbtAccount analytics is not ready")], "pass");
    assert_eq!(turn(&retire(&unread().claimed(), now())), "pass");
}

#[test]
fn a_look_that_fails_holds_back_and_says_so() {
    let forbidden = "the operator may not list the pods of namespace finance; allow it, as the chart does, or set a deadline with onDeadline: Delete";
    let failed = "the pods of namespace finance could not be read; it is tried again";
    // An eighth of the hour since the swap would be longer than the longest pause.
    check(&replaced().looked(0, Consumers::Unreadable(Unreadable::Forbidden)), &[("Pods", forbidden)], "pass until +300");
    check(&replaced().looked(0, Consumers::Unreadable(Unreadable::Failed)), &[("Pods", failed)], "pass until +300");
    check(&replaced().looked(-299, Consumers::Unreadable(Unreadable::Failed)), &[("Pods", failed)], "pass until +1");
    check(&replaced().looked(-300, Consumers::Unreadable(Unreadable::Failed)), &[("Pods", failed)], "read consumers");
}

/// Where one container stands, an hour after the swap.
#[track_caller]
fn stands(consumer: &Consumer, expected: &str) {
    let told = told(&replaced().pods(std::slice::from_ref(consumer)), now());
    let message = told.first().map_or("moved", |(_, message)| message.as_str());
    assert_eq!(message, expected, "{consumer:?}");
}

#[test]
fn a_container_that_read_the_secret_before_the_swap_is_waited_for() {
    use Way::{Environment, SubPath, Volume};
    let left = "pod a started before the swap";
    let long_ago = |way, since| container("a", -9000, way, since);
    for way in [Environment, SubPath] {
        stands(&long_ago(way, Some(-9000)), left);
        stands(&long_ago(way, Some(0)), left);
        // A container may be made for seconds before it runs.
        stands(&long_ago(way, Some(59)), left);
        // It does not run now, so it reads anew; it was finished, or it is a Job that has not begun.
        stands(&long_ago(way, None), "moved");
        // Whatever its node's clock says of the start: the pod did not exist at the swap.
        stands(&container("a", 1, way, Some(1)), "moved");
        stands(&container("a", 1, way, Some(-30)), "moved");
        stands(&container("a", 1, way, None), "moved");
    }
    stands(&long_ago(Environment, Some(60)), "moved");
    stands(&long_ago(SubPath, Some(60)), left);
    stands(&long_ago(SubPath, Some(179)), left);
    stands(&long_ago(SubPath, Some(180)), "moved");
    // A kubelet has refreshed the volume long since.
    for since in [Some(-9000), Some(0), None] {
        stands(&long_ago(Volume, since), "moved");
    }
    // Created within the second of the swap, as by something that rolls pods over when a Secret changes.
    stands(&container("a", 0, Environment, Some(1)), left);
    stands(&container("a", 0, Environment, Some(2)), "moved");
    stands(&container("a", 0, SubPath, Some(2)), left);
}

#[test]
fn the_volume_sync_is_waited_for_and_needs_no_other_look() {
    let recent = |ago, consumer: &Consumer| {
        object()
            .published(5, 2202)
            .retiring(4, 2190, ago)
            .with_desired(|it| it.retirement.after = Duration::ZERO)
            .pods(std::slice::from_ref(consumer))
    };
    let volume =
        |created| Consumer { pod: "a".into(), created_at: at(created), way: Way::Volume, running_since: Some(at(created)) };
    let message = "the volume of pod a may hold the old token until 2026-11-24T07:43Z";
    check(&recent(10, &volume(-100)), &[("Pods", message)], "pass until +170");
    check(&recent(10, &volume(-9)), &[], GOES);
    check(&recent(180, &volume(-200)), &[], GOES);
    check(
        &recent(179, &volume(-200)),
        &[("Pods", "the volume of pod a may hold the old token until 2026-11-24T07:41Z")],
        "pass until +1",
    );
    let at_once = |it: Observation| it.with_desired(|it| it.retirement.volume_sync = Duration::ZERO);
    check(&at_once(recent(10, &volume(-100))), &[], GOES);
}

/// The race of a look with a start: a container that does not run may have been made from the old value a moment ago.
#[test]
fn a_container_that_is_about_to_start_is_looked_at_once_more() {
    let starting = |ago: i64, looked| {
        let consumer = Consumer { pod: "a".into(), created_at: at(-100), way: Way::Environment, running_since: None };
        object()
            .published(5, 2202)
            .retiring(4, 2190, ago)
            .with_desired(|it| it.retirement.after = Duration::ZERO)
            .looked(looked, Consumers::Seen(vec![consumer]))
    };
    let message = [("Pods", "pod a may be starting with the old token")];
    check(&starting(10, 0), &message, "pass until +10");
    check(&starting(55, 0), &message, "pass until +5");
    check(&starting(59, 0), &message, "pass until +1");
    check(&starting(60, 0), &[], GOES);
    // An older look does not tell, however late it is.
    check(&starting(70, -11), &message, "read consumers");
    check(&starting(70, -10), &[], GOES);
}

#[test]
fn who_is_waited_for_is_told_by_name() {
    let some = |names: &[&str]| {
        let consumers: Vec<_> = names.iter().map(|name| old(name)).collect();
        replaced().pods(&consumers)
    };
    check(&some(&["dagster-daemon-0"]), &[("Pods", "pod dagster-daemon-0 started before the swap")], "pass until +300");
    check(&some(&["b", "a", "a"]), &[("Pods", "pods a and b started before the swap")], "pass until +300");
    let many = some(&["h", "g", "f", "e", "d", "c", "b", "a"]);
    check(&many, &[("Pods", "pods a, b, c, d, e and 3 more started before the swap")], "pass until +300");
    let mixed =
        object().published(5, 2202).retiring(4, 2190, 30).with_desired(|it| it.retirement.after = Duration::ZERO).pods(&[
            Consumer { pod: "a".into(), created_at: at(-90), way: Way::Environment, running_since: Some(at(-90)) },
            Consumer { pod: "b".into(), created_at: at(-90), way: Way::SubPath, running_since: None },
            Consumer { pod: "c".into(), created_at: at(-90), way: Way::Volume, running_since: Some(at(-90)) },
        ]);
    let message = "pod a started before the swap; pod b may be starting with the old token; the volume of pod c may hold the old token until 2026-11-24T07:43Z";
    check(&mixed, &[("Pods", message)], "pass until +10");
}

#[test]
fn pods_are_looked_at_less_and_less_often() {
    let waits = |ago, looked, expected| {
        let before = Consumer { created_at: at(-900_000), running_since: Some(at(-900_000)), ..old("a") };
        let observation = object()
            .published(5, 2202)
            .retiring(4, 2190, ago)
            .with_desired(|it| it.retirement.after = Duration::ZERO)
            .looked(looked, Consumers::Seen(vec![before]));
        assert_eq!(turn(&retire(&observation, now())), expected, "{ago} {looked}");
    };
    waits(1, 0, "pass until +10");
    waits(80, 0, "pass until +10");
    waits(800, 0, "pass until +100");
    waits(2400, 0, "pass until +300");
    waits(800_000, 0, "pass until +300");
    waits(800, -40, "pass until +55");
    waits(800, -95, "read consumers");
}

#[test]
fn dbt_must_have_seen_no_use_for_the_quiet_period() {
    let quiet = || replaced().quiet_for(900);
    // 2190 left the target at -3600; its quiet period since the swap ended at -2700.
    check(&quiet().used(None).listed_at(-2700), &[], GOES);
    let until = [("LastUsed", "dbt must see no use of token 2190 until 2026-11-24T06:55Z")];
    check(&quiet().used(None).listed_at(-2701), &until, "read tokens");
    check(&quiet().used(Some(-4000)).listed_at(-2700), &[], GOES);
    check(&quiet().used(Some(-4000)).listed_at(-2701), &until, "read tokens");
    // A use at the time of the swap is one minute of difference of the clocks longer ago.
    check(&quiet().used(Some(-3660)).listed_at(-2700), &[], GOES);
    let at_swap = [("LastUsed", "dbt saw token 2190 in use after 2026-11-24T06:30Z; it goes after 15m without use")];
    check(&quiet().used(Some(-3601)).listed_at(-2700), &at_swap, "read tokens");
    let recently = [("LastUsed", "dbt saw token 2190 in use after 2026-11-24T07:30Z; it goes after 15m without use")];
    check(&quiet().used(Some(-100)), &recently, "pass until +860");
    check(&quiet().used(Some(-960)).listed_at(-1), &[("LastUsed", &at_quarter("07:15"))], "read tokens");
    check(&quiet().used(Some(-960)).listed_at(0), &[], GOES);
    // Its clock is ahead of ours.
    check(&quiet().used(Some(50)), &recently, "pass until +1010");
    // 0s does not look.
    check(&replaced().used(Some(-1)), &[], GOES);
}

fn at_quarter(time: &str) -> String {
    format!("dbt saw token 2190 in use after 2026-11-24T{time}Z; it goes after 15m without use")
}

/// A consumer in another cluster uses the token every half minute: what is told changes once in a quarter of an hour.
#[test]
fn a_token_in_steady_use_is_told_of_every_quarter_of_an_hour() {
    let mut messages: Vec<String> = Vec::new();
    for second in (0..7200).step_by(30) {
        let observation = replaced().quiet_for(900).used(Some(second)).listed_at(second);
        let told = told(&observation, at(second));
        messages.extend(told.into_iter().map(|(_, message)| message));
    }
    messages.dedup();
    // 07:40 to 09:40.
    assert_eq!(messages.len(), 9);
}

#[test]
fn a_deadline_lets_go_or_raises_an_alarm() {
    let waiting = || replaced().pods(&[old("a")]).quiet_for(900).used(Some(-100));
    let rules = [("Pods", "pod a started before the swap"), ("LastUsed", at_quarter("07:30").leak())];
    check(&waiting().ends(3601, OnDeadline::Delete), &rules, "pass until +1");
    check(&waiting().ends(3600, OnDeadline::Delete), &[], GOES);
    check(&waiting().ends(3601, OnDeadline::Hold), &rules, "pass until +1");
    check(&waiting().ends(3600, OnDeadline::Hold), &rules, "pass until +300");
    let forbidden = || replaced().looked(0, Consumers::Unreadable(Unreadable::Forbidden));
    assert_eq!(turn(&retire(&forbidden().ends(3600, OnDeadline::Delete), now())), GOES);
    // Whatever it says, the new token has to be in place.
    let late = || waiting().ends(3600, OnDeadline::Delete);
    check(&late().claimed(), &[("Secret", "Secret dagster-dbt does not hold token 2202 yet")], "pass");
    check(&late().stale(), &[], "read tokens");
    assert_eq!(turn(&retire(&late().inactive(2202), now())), "pass");
    assert_eq!(turn(&retire(&late().not_ready(), now())), "pass");
    let blocked = |observation: &Observation| {
        let entry = observation.ledger.retiring[0];
        is_blocked(&Case::of(observation, entry, replaced_at(observation, entry.token), now()).expect("published"))
    };
    assert!(blocked(&waiting().ends(3600, OnDeadline::Hold)));
    assert!(!blocked(&waiting().ends(3601, OnDeadline::Hold)));
    assert!(!blocked(&waiting().ends(3600, OnDeadline::Delete)));
    assert!(!blocked(&replaced().ends(3600, OnDeadline::Hold)), "nobody needs it");
    assert!(!blocked(&waiting().ends(3600, OnDeadline::Hold).not_ready()), "not because of its consumers");
    assert!(!blocked(&waiting().ends(3600, OnDeadline::Hold).inactive(2190)));
    let deleted = waiting().ends(3600, OnDeadline::Hold).deleted(1, crate::desired::DeletionPolicy::Revoke);
    assert!(!blocked(&deleted), "a deletion does not wait for consumers");
}

/// What is told is also why it waits, and what waits for nothing goes.
#[test]
fn what_is_told_and_what_is_done_agree() {
    let mut seen = 0;
    let looks = [
        Reading::Unknown,
        Reading::Known { value: Consumers::Seen(Vec::new()), taken_at: now() },
        Reading::Known { value: Consumers::Seen(vec![old("a")]), taken_at: now() },
        Reading::Known { value: Consumers::Unreadable(Unreadable::Failed), taken_at: now() },
    ];
    for look in &looks {
        for ago in [1, 599, 600, 3600] {
            for used in [None, Some(-1), Some(-50_000)] {
                for quiet in [0, 900] {
                    for then in [None, Some(OnDeadline::Hold), Some(OnDeadline::Delete)] {
                        let mut it = object().published(5, 2202).retiring(4, 2190, ago).quiet_for(quiet).used(used);
                        it.consumers = look.clone();
                        let it = then.map_or(it.clone(), |then| it.ends(700, then));
                        let goes = turn(&retire(&it, now())) == GOES;
                        assert_eq!(told(&it, now()).is_empty(), goes, "{it:?}");
                        seen += u32::from(goes);
                    }
                }
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_rule_does_not_move_with_the_time() {
    let waiting = || replaced().pods(&[old("a")]).quiet_for(900).used(Some(-100));
    assert_eq!(told(&waiting(), now()), told(&waiting(), at(859)));
    let newest = Entry { serial: Serial(5), token: TokenId(2202) };
    let told = |now| {
        let observation = object().published(5, 2202);
        waiting_for(&Case::of(&observation, newest, None, now).expect("published"))
    };
    assert_eq!(told(now()), told(at(3600)));
}

#[test]
fn a_compromised_token_waits_for_no_consumer() {
    let compromised = |highest| {
        let it = object().published(5, 2202).retiring(4, 2190, 1);
        it.with(|it| it.ledger.compromised = Some(Serial(highest)))
    };
    assert_eq!(told(&compromised(4), now()), []);
    let secret = ("Secret", "Secret dagster-dbt does not hold token 2202 yet".to_owned());
    assert_eq!(told(&compromised(4).claimed(), now()), [secret]);
    assert_eq!(told(&compromised(3), now())[0], ("Overlap", "minimum overlap until 2026-11-24T07:50Z".to_owned()));
}
