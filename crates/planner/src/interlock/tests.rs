//! Each objection once, and the observation beside it that raises none.

use super::*;
use crate::desired::{Deadline, DeletionPolicy};
use crate::effect::LetGo;
use crate::fixture::{at, object, rows};
use crate::grant::GrantRows;
use crate::identity::{Fingerprint, Installation, RenderRule};
use crate::ledger::{Attempt, Cause, Entry};
use crate::link::Inheritance;
use crate::observation::CondemnedReason::Superseded;
use crate::observation::{Condemnation, Observation};

#[track_caller]
fn allowed(observation: &Observation, effect: &Effect) {
    assert_eq!(check(observation, effect), Ok(()));
}

#[track_caller]
fn refused(observation: &Observation, effect: &Effect, objection: &str) {
    assert_eq!(check(observation, effect), Err(objection));
}

fn published() -> Observation {
    object().published(5, 2202)
}

fn deleted(observation: Observation) -> Observation {
    observation.deleted(1, DeletionPolicy::Revoke)
}

fn writing(entry: LedgerEntry, observation: &Observation, change: impl FnOnce(&mut Ledger)) -> Effect {
    let mut ledger = observation.ledger.clone();
    ledger.installation = Some(observation.installation.clone());
    change(&mut ledger);
    Effect::WriteLedger { entry, ledger: Box::new(ledger) }
}

fn next(serial: i64) -> Option<Attempt> {
    Some(Attempt { serial: Serial(serial), fingerprint: Fingerprint::new("wanted"), failures: 0, cause: Cause::First })
}

fn entry(serial: i64, token: i64) -> Entry {
    Entry { serial: Serial(serial), token: TokenId(token) }
}

#[test]
fn the_ledger_moves_forward_only() {
    let it = published();
    let open = |change: fn(&mut Ledger)| writing(LedgerEntry::Open, &it, change);
    allowed(&it, &open(|_| {}));
    allowed(&it, &open(|ledger| (ledger.serial, ledger.next) = (6, next(6))));
    refused(
        &it,
        &open(|ledger| ledger.installation = Some(Installation::new("there"))),
        "a ledger is written for another installation",
    );
    refused(&it, &open(|ledger| ledger.installation = None), "a ledger is written for another installation");
    refused(&it, &open(|ledger| ledger.serial = 4), "the ledger's serial goes back");
    refused(&it, &open(|ledger| ledger.retiring = vec![entry(1, 1); 4]), "too many tokens are retiring");
    refused(&it, &open(|ledger| ledger.next = next(5)), "a serial is opened twice");
    let under_way = published().attempt(6, Cause::First, 0);
    allowed(&under_way, &writing(LedgerEntry::SetBack, &under_way, |_| {}));
    refused(&it, &open(|ledger| ledger.current = None), "the published token changes without a proof");
    refused(&it, &open(|ledger| ledger.retiring = vec![entry(4, 2190)]), "the published token changes without a proof");
    let called = published().with(|it| it.ledger.compromised = Some(Serial(4)));
    let sound = "a compromised token is taken for a sound one";
    refused(&called, &writing(LedgerEntry::Open, &called, |ledger| ledger.compromised = None), sound);
    refused(&called, &writing(LedgerEntry::CallCompromised, &called, |ledger| ledger.compromised = Some(Serial(3))), sound);
    allowed(&called, &writing(LedgerEntry::CallCompromised, &called, |ledger| ledger.compromised = Some(Serial(5))));
    refused(&it, &writing(LedgerEntry::Rebuild, &it, |_| {}), "a ledger is rebuilt that is neither lost nor set back");
    allowed(&object(), &writing(LedgerEntry::Rebuild, &object(), |ledger| ledger.current = Some(entry(5, 2202))));
    let found = published().with(|it| it.ledger.set_back = Some(Serial(9)));
    let unsaid = "it is forgotten that the cluster may have been set back in time";
    refused(&found, &writing(LedgerEntry::Open, &found, |ledger| ledger.set_back = None), unsaid);
    allowed(&found, &writing(LedgerEntry::SetBackConfirmed, &found, |ledger| ledger.set_back = None));
    let behind = published().committed_slot(6, 2206).listed(6, 2206).holding(2206);
    allowed(
        &behind,
        &writing(LedgerEntry::Rebuild, &behind, |ledger| (ledger.serial, ledger.current) = (6, Some(entry(6, 2206)))),
    );
    let backward = writing(LedgerEntry::Rebuild, &behind, |ledger| ledger.current = Some(entry(4, 2190)));
    refused(&behind, &backward, "an older token is published again");
    refused(&it, &writing(LedgerEntry::Clear, &it, |ledger| ledger.current = None), "the ledger of a living object is cleared");
    allowed(&deleted(published()), &writing(LedgerEntry::Clear, &it, |ledger| ledger.current = None));
    let retiring = published().retiring(4, 2190, 9);
    let forget = |it: &Observation| writing(LedgerEntry::Forget(Serial(4)), it, |ledger| ledger.retiring.clear());
    let alive = "a retiring token is forgotten that was not seen inactive";
    refused(&retiring, &forget(&retiring), alive);
    refused(&retiring, &forget(&retiring.clone().unlisted(2190)), alive);
    refused(&it, &forget(&it), alive);
    let gone = retiring.inactive(2190);
    allowed(&gone, &forget(&gone));
    refused(&gone, &writing(LedgerEntry::Forget(Serial(4)), &gone, |ledger| ledger.current = None), alive);
}

#[test]
fn one_serial_makes_one_token() {
    let attempt = || object().claimed().attempt(6, Cause::First, 0);
    let mint = Effect::Mint { serial: Serial(6), name: String::new(), rows: GrantRows::default() };
    allowed(&attempt(), &Effect::Reserve(Serial(6)));
    let other = "a slot is reserved that is not that of the attempt under way";
    refused(&attempt(), &Effect::Reserve(Serial(7)), other);
    refused(&attempt().empty_slot(6), &Effect::Reserve(Serial(6)), other);
    refused(&published(), &Effect::Reserve(Serial(5)), other);
    allowed(&attempt().empty_slot(6), &mint);
    refused(&deleted(attempt().empty_slot(6)), &mint, "a token is made for an object under deletion");
    let second = "a second token is made for one serial";
    refused(&attempt(), &mint, second);
    refused(&attempt().filled_slot(6, 2206), &mint, second);
    refused(&attempt().empty_slot(6).listed(6, 2206), &mint, second);
    refused(&attempt().empty_slot(6).listed(6, 2206).inactive(2206), &mint, second);
    refused(&published().empty_slot(6), &mint, second);
}

#[test]
fn only_what_a_slot_holds_is_proved() {
    let attempt = || object().claimed().attempt(6, Cause::First, 0).filled_slot(6, 2206);
    let (serial, token) = (Serial(6), TokenId(2206));
    let grant = Effect::Grant { serial, token, rows: rows(&[]) };
    let inherit = |from: &[i64]| Effect::Prove {
        serial,
        token,
        probes: Vec::new(),
        inheritance: Inheritance { from: from.iter().copied().map(TokenId).collect(), ..Inheritance::default() },
        committed: Box::default(),
    };
    let prove = inherit(&[]);
    let objection = "a token is proved that its slot does not hold";
    for effect in [grant, prove] {
        allowed(&attempt(), &effect);
        refused(&attempt().slot_lost(6), &effect, objection);
        refused(&attempt().slot_lost(6).empty_slot(6), &effect, objection);
        refused(&attempt().slot_lost(6).filled_slot(6, 9), &effect, objection);
        refused(&attempt().with(|it| it.ledger.next = None), &effect, objection);
    }
    let second = || published().retiring(4, 2190, 9).attempt(6, Cause::Requested, 0).filled_slot(6, 2206);
    allowed(&second(), &inherit(&[2202, 2190]));
    for foreign in [17, 2206] {
        refused(&second(), &inherit(&[2202, foreign]), "links are taken over from a token that is not this object's");
    }
}

#[test]
fn the_labels_of_slots_do_not_contradict_each_other() {
    let condemn = |serial| Effect::Condemn { serial: Serial(serial), why: Condemnation::superseded() };
    allowed(&published().filled_slot(4, 2190), &condemn(4));
    refused(&published().committed_slot(4, 2190), &condemn(4), "a committed slot is condemned");
    refused(&published().slot_changed(5, |slot| slot.committed = false), &condemn(5), "a committed slot is condemned");
    refused(&published(), &condemn(4), "a committed slot is condemned");
    allowed(&published(), &Effect::LabelCommitted(Serial(5)));
    refused(&published(), &Effect::LabelCommitted(Serial(4)), "a slot is labelled that was not committed");
    let unlabelled = |it: Observation| it.slot_changed(4, |slot| slot.committed = false);
    let retiring = || unlabelled(published().retiring(4, 17, 3600));
    allowed(&unlabelled(published().retiring(4, 17, 3600).by_adoption(4)), &Effect::LabelCommitted(Serial(4)));
    refused(&retiring(), &Effect::LabelCommitted(Serial(4)), "a slot is labelled that was not committed");
}

#[test]
fn only_a_committed_and_living_token_is_published() {
    let project = Effect::Project { serial: Serial(5), token: TokenId(2202), rule: RenderRule::new("rule-1") };
    let uncommitted = "a token is published that is not committed";
    allowed(&published(), &project);
    refused(&published().with(|it| it.ledger.current = None), &project, uncommitted);
    refused(&published().slot_lost(5), &project, uncommitted);
    refused(&published().slot_lost(5).committed_slot(5, 9), &project, uncommitted);
    refused(&published().slot_changed(5, |slot| slot.committed = false), &project, uncommitted);
    refused(&published().slot_changed(5, |slot| slot.condemned = Some(Condemnation::superseded())), &project, uncommitted);
    refused(&published().inactive(2202), &project, "a token is published that dbt no longer has");
    let unseen = "a Secret is written that was not seen, or is not ours";
    refused(&published().with(|it| it.target = Target::Missing), &project, unseen);
    refused(&published().with(|it| it.target = Target::OtherOwner { name: "ci".into() }), &project, unseen);
    allowed(&object(), &Effect::ClaimTarget);
    refused(&published(), &Effect::ClaimTarget, "a Secret that exists is claimed");
}

#[test]
fn a_token_is_retired_only_after_its_successor_is_in_place() {
    let retire = |serial, token, successor| Effect::Retire {
        token: TokenId(token),
        serial: Serial(serial),
        successor: Serial(successor),
        probes: Vec::new(),
        rule: RenderRule::new("rule-1"),
    };
    let it = || published().retiring(4, 2190, 9);
    let this = retire(4, 2190, 5);
    allowed(&it(), &this);
    refused(&it().with(|it| it.ledger.current = None), &this, "a token is retired and nothing follows it");
    refused(&it(), &retire(5, 2202, 5), "the published token is retired");
    refused(&it(), &retire(4, 2190, 4), "the published token is retired");
    refused(&it(), &retire(6, 2190, 5), "the published token is retired");
    refused(&it().claimed(), &this, "a token is retired before its successor is published");
    refused(&it().holding(2190), &this, "a token is retired before its successor is published");
    refused(&it().inactive(2202), &this, "a token is retired and its successor does not work");
    refused(&it().attempt(6, Cause::TokenUnusable, 0), &this, "a token is retired and its successor does not work");
    destruction(&it, &this);
}

#[test]
fn a_token_that_somebody_holds_is_not_retired() {
    use crate::desired::Deadline;
    use crate::fixture::at;
    use crate::observation::Reading;
    use std::time::Duration;
    let retire = Effect::Retire {
        token: TokenId(2190),
        serial: Serial(4),
        successor: Serial(5),
        probes: Vec::new(),
        rule: RenderRule::new("rule-1"),
    };
    let it = || published().retiring(4, 2190, 100);
    let looked = |seconds, consumers| it().with(|it| it.consumers = Reading::Known { value: consumers, taken_at: at(seconds) });
    let unseen = "a token is retired and nobody looked for its consumers";
    refused(&it().with(|it| it.consumers = Reading::Unknown), &retire, unseen);
    refused(&looked(-101, Consumers::Seen(Vec::new())), &retire, unseen);
    refused(&looked(0, Consumers::Unreadable(crate::observation::Unreadable::Failed)), &retire, unseen);
    allowed(&looked(-100, Consumers::Seen(Vec::new())), &retire);
    let pod = |created, way, since: Option<i64>| {
        let consumer = Consumer { pod: "a".into(), created_at: at(created), way, running_since: since.map(at) };
        looked(0, Consumers::Seen(vec![consumer]))
    };
    let held = "a token is retired that a pod holds";
    refused(&pod(-200, Way::Environment, Some(-100)), &retire, held);
    refused(&pod(-200, Way::SubPath, Some(-150)), &retire, held);
    allowed(&pod(-200, Way::Environment, Some(-99)), &retire);
    allowed(&pod(-99, Way::Environment, Some(-150)), &retire);
    allowed(&pod(-200, Way::Environment, None), &retire);
    allowed(&pod(-200, Way::Volume, Some(-200)), &retire);
    let quiet = |used: Option<i64>| {
        it().token(2190, |token| token.last_used = used.map(at))
            .with_desired(|it| it.retirement.quiet_period = Duration::from_secs(50))
    };
    // The list was taken ten seconds ago.
    allowed(&quiet(None), &retire);
    allowed(&quiet(Some(-60)), &retire);
    refused(&quiet(Some(-59)), &retire, "a token is retired that dbt saw in use");
    allowed(&quiet(Some(-59)).with_desired(|it| it.retirement.quiet_period = Duration::ZERO), &retire);
    let ends = |then| {
        let deadline = Some(Deadline { after: Duration::from_secs(1), then });
        pod(-200, Way::Environment, Some(-200)).with_desired(|it| it.retirement.deadline = deadline)
    };
    refused(&ends(OnDeadline::Hold), &retire, held);
    allowed(&ends(OnDeadline::Delete), &retire);
    refused(&ends(OnDeadline::Delete).claimed(), &retire, "a token is retired before its successor is published");
    let unknown = it().with(|it| (it.record.published, it.record.retiring) = (None, Vec::new()));
    refused(&unknown, &retire, "a token is retired and nobody knows since when it is replaced");
}

/// What holds for every way to revoke token 2190 of serial 4.
fn destruction(observation: &dyn Fn() -> Observation, effect: &Effect) {
    let not_ours = "a token is revoked that is not ours";
    let unmarked = || observation().token(2190, |token| token.mark = None);
    allowed(&unmarked().slot_lost(4).condemned_slot(4, 2190, Superseded), effect);
    refused(&unmarked().slot_lost(4), effect, not_ours);
    refused(&unmarked().slot_lost(4).retained_record(4, 2190), effect, not_ours);
    let foreign = |change: fn(&mut crate::mark::Mark)| observation().token(2190, |token| token.mark.iter_mut().for_each(change));
    refused(&foreign(|mark| mark.installation = Installation::new("there")), effect, not_ours);
    refused(&foreign(|mark| mark.owner = crate::identity::OwnerUid::new("uid-2")), effect, not_ours);
    let doubt = "a token is revoked although the cluster may have been set back in time";
    refused(&observation().with(|it| it.ledger.set_back = Some(Serial(9))), effect, doubt);
    refused(&observation().stale(), effect, "a token is revoked on an old list");
}

#[test]
fn only_what_nobody_can_use_is_swept() {
    let sweep = Effect::Revoke { token: TokenId(2190), serial: Serial(4), because: RevokedBecause::Stray };
    let it = || published().listed(4, 2190);
    allowed(&it(), &sweep);
    allowed(&it().condemned_slot(4, 2190, Superseded), &sweep);
    allowed(&it().filled_slot(4, 2191), &sweep);
    refused(&published().retiring(4, 2190, 9), &sweep, "a token is swept that the ledger names");
    refused(&it().with(|it| it.ledger.serial = 3), &sweep, "a token is swept that the ledger may still come to name");
    let published_perhaps = "a token is swept whose string may still be published";
    refused(&it().filled_slot(4, 2190), &sweep, published_perhaps);
    refused(&it().committed_slot(4, 2190), &sweep, published_perhaps);
    let both = it().condemned_slot(4, 2190, Superseded).slot_changed(4, |slot| slot.committed = true);
    refused(&both, &sweep, published_perhaps);
    let blank = || object().listed(4, 2190);
    refused(&blank().with(|it| it.ledger.serial = 0), &sweep, "a token is swept that the ledger may still come to name");
    let negative = Effect::Revoke { token: TokenId(2190), serial: Serial(0), because: RevokedBecause::Stray };
    refused(&blank(), &negative, "a token is revoked with an empty ledger");
    destruction(&it, &sweep);
}

#[test]
fn a_deletion_is_recorded_before_it_revokes() {
    let revoke = Effect::Revoke { token: TokenId(2190), serial: Serial(4), because: RevokedBecause::Deletion };
    let it = || deleted(published().listed(4, 2190).with(|it| it.ledger = it.ledger.cleared()));
    let early = "a token is revoked before the deletion is recorded";
    allowed(&it(), &revoke);
    allowed(&it().with(|it| it.ledger = Ledger::default()), &revoke);
    refused(&it().with(|it| it.deleted_at = None), &revoke, early);
    refused(&deleted(published().listed(4, 2190)), &revoke, early);
    refused(&it().attempt(6, Cause::First, 0), &revoke, early);
    destruction(&it, &revoke);
}

#[test]
fn a_slot_is_closed_only_when_its_token_is_gone() {
    let close = |serial| Effect::CloseSlot(Serial(serial));
    allowed(&published().empty_slot(4), &close(4));
    allowed(&published().filled_slot(4, 2190).listed(4, 2190).inactive(2190), &close(4));
    allowed(&deleted(published()), &close(5));
    refused(&published(), &close(4), "a slot is closed that is not there");
    refused(&published().retained_record(4, 2190), &close(4), "a slot is closed that is not there");
    refused(&published().empty_slot(6), &close(6), "a slot is closed that the ledger may still come to name");
    refused(&published(), &close(5), "the slot of a token in use is closed");
    refused(&published().attempt(6, Cause::First, 0).empty_slot(6), &close(6), "the slot of a token in use is closed");
    let lives = "a slot is closed whose token still lives";
    refused(&published().filled_slot(4, 2190).listed(4, 2190), &close(4), lives);
    refused(&published().filled_slot(4, 2190), &close(4), lives);
    refused(&published().filled_slot(4, 2190).listless(), &close(4), lives);
}

#[test]
fn an_object_is_let_go_only_under_deletion() {
    let living = "an object that is not deleted is let go";
    for effect in [
        Effect::LeaveRecord { serial: Serial(5), token: TokenId(2202) },
        Effect::ReleaseTarget,
        Effect::DeleteTarget,
        Effect::RemoveFinalizer(LetGo::Clean),
    ] {
        refused(&published(), &effect, living);
        allowed(&deleted(published()), &effect);
    }
    allowed(&object(), &Effect::AddFinalizer);
    refused(&deleted(object()), &Effect::AddFinalizer, "a finalizer is added to an object under deletion");
}

/// Token 17 shall be adopted by the attempt of serial 6.
fn adopting() -> Observation {
    object().attempt(6, Cause::First, 0).unmarked(17)
}

fn marked(installation: &str) -> impl Fn(&mut crate::observation::Token) {
    let installation = Installation::new(installation);
    move |token| {
        let owner = crate::identity::OwnerUid::new("uid-2");
        let (serial, origin) = (Serial(3), crate::mark::Origin::Made);
        token.mark = Some(crate::mark::Mark { installation: installation.clone(), owner, serial, origin });
    }
}

fn source() -> crate::adoption::Source {
    crate::adoption::Source { secret: "old".into(), key: "token".into() }
}

#[test]
fn only_a_free_and_living_token_is_claimed_for_an_object_without_one() {
    let claim = Effect::ClaimAdoption { serial: Serial(6), token: TokenId(17), source: source(), probes: Vec::new() };
    allowed(&adopting(), &claim);
    allowed(&adopting().token(17, marked("here")), &claim);
    refused(&deleted(adopting()), &claim, "a token is adopted for an object that has one");
    refused(&published().attempt(6, Cause::First, 0).unmarked(17), &claim, "a token is adopted for an object that has one");
    refused(&object().unmarked(17), &claim, "a token is adopted outside the attempt under way");
    refused(&adopting().empty_slot(6), &claim, "a token is adopted outside the attempt under way");
    refused(&adopting().token(17, marked("there")), &claim, "a token of another installation is adopted");
    refused(&adopting().inactive(17), &claim, "a token is adopted that dbt does not list");
    refused(&adopting().stale(), &claim, "a token is adopted that dbt does not list");
    refused(&deleted(adopting()), &Effect::InspectSource(source()), "a token is adopted for an object under deletion");
}

#[test]
fn a_secret_is_taken_over_for_a_claim_that_holds() {
    let take_over = Effect::TakeOverTarget { serial: Serial(6), source: source() };
    let claimed = || adopting().adopted_slot(6, 17, |_| {});
    allowed(&claimed(), &take_over);
    refused(&adopting(), &take_over, "a Secret is taken over before its token is claimed");
    refused(&adopting().filled_slot(6, 17), &take_over, "a Secret is taken over before its token is claimed");
    refused(&claimed().claimed(), &take_over, "a Secret that is ours is taken over");
}

#[test]
fn only_a_committed_token_of_an_adoption_is_renamed() {
    let rename = Effect::Rename { serial: Serial(6), token: TokenId(17), name: "x".into() };
    let committed = || adopting().adopted_slot(6, 17, |_| {}).with(|it| it.ledger.current = Some(entry(6, 17)));
    allowed(&committed(), &rename);
    allowed(&committed().token(17, marked("here")), &rename);
    refused(
        &committed().slot_changed(6, |slot| slot.adopted = None),
        &rename,
        "a token is renamed that no slot of an adoption holds",
    );
    refused(&committed().slot_lost(6), &rename, "a token is renamed that no slot of an adoption holds");
    refused(&adopting().adopted_slot(6, 17, |_| {}), &rename, "a token is renamed that is not committed");
    refused(&committed().token(17, marked("there")), &rename, "a token is renamed that is not ours");
}

#[test]
fn an_adopted_token_is_condemned_before_it_is_revoked() {
    let condemn = Effect::CondemnAdopted { serial: Serial(4), token: TokenId(17), unless_held_in: Some(source()) };
    let revoke = Effect::Revoke { token: TokenId(17), serial: Serial(4), because: RevokedBecause::Deletion };
    let replaced = || published().retiring(4, 17, 3600).by_adoption(4);
    let condemned = |it: Observation| it.slot_changed(4, |slot| slot.condemned = Some(Condemnation::replaced()));
    allowed(&replaced(), &condemn);
    refused(&published().retiring(4, 17, 9), &condemn, "a slot is condemned as replaced that holds no adopted token");
    refused(
        &replaced().slot_changed(4, |slot| slot.committed = false),
        &condemn,
        "a slot is condemned as replaced that holds no adopted token",
    );
    refused(&replaced().with(|it| it.ledger.current = Some(entry(4, 17))), &condemn, "the published token is condemned");
    refused(&replaced().stale(), &condemn, "a token is revoked on an old list");
    let regardless = Effect::CondemnAdopted { serial: Serial(4), token: TokenId(17), unless_held_in: None };
    refused(&replaced(), &regardless, "an adopted token is condemned whoever holds it");
    allowed(&replaced().with(|it| it.ledger.compromised = Some(Serial(4))), &regardless);
    let ends = |it: Observation, then| {
        it.with_desired(|it| it.retirement.deadline = Some(Deadline { after: Duration::from_secs(3600), then }))
    };
    refused(&ends(replaced(), OnDeadline::Hold), &regardless, "an adopted token is condemned whoever holds it");
    allowed(&ends(replaced(), OnDeadline::Delete), &regardless);
    let retire = Effect::Retire {
        token: TokenId(17),
        serial: Serial(4),
        successor: Serial(5),
        probes: Vec::new(),
        rule: RenderRule::new("rule-1"),
    };
    let used = |it: Observation, seconds: i64| it.token(17, |token| token.last_used = Some(at(-seconds)));
    let in_use = "a token is retired that dbt saw in use";
    refused(&replaced(), &retire, "an adopted token is revoked that was not condemned");
    allowed(&condemned(replaced()), &retire);
    refused(&used(condemned(replaced()), 5), &retire, in_use);
    allowed(&used(condemned(replaced()), 3601), &retire);
    // No deadline excuses that.
    refused(&ends(used(condemned(replaced()), 5), OnDeadline::Delete), &retire, in_use);
    allowed(&used(condemned(replaced()), 5).with(|it| it.ledger.compromised = Some(Serial(4))), &retire);
    let cleared = |it: Observation| deleted(it).with(|it| it.ledger = it.ledger.cleared());
    allowed(&cleared(condemned(replaced())), &revoke);
    refused(&cleared(replaced()), &revoke, "an adopted token is revoked that was not condemned");
    refused(&cleared(replaced()).slot_lost(4), &revoke, "an adopted token is revoked that was not condemned");
}

#[test]
fn a_claim_is_given_back_and_a_secret_that_was_there_stays() {
    let close = Effect::CloseSlot(Serial(4));
    let claim = |committed| published().unmarked(17).adopted_slot(4, 17, |slot| slot.committed = committed);
    allowed(&claim(false), &close);
    refused(&claim(true), &close, "a slot is closed whose token still lives");
    let taken_over = deleted(published()).with(|it| {
        if let Target::Ours(state) = &mut it.target {
            state.taken_over = true;
        }
    });
    allowed(&taken_over, &Effect::StripTarget);
    refused(&taken_over, &Effect::DeleteTarget, "a Secret is deleted that was there before");
    refused(&published(), &Effect::DeleteTarget, "an object that is not deleted is let go");
}

#[test]
fn workloads_are_restarted_once_a_swap_and_never_against_a_pause() {
    use crate::desired::WorkloadKind::{Deployment, StatefulSet};
    use crate::fixture::restarting::workload;
    let web = |change: fn(&mut Workload)| {
        let mut web = workload("web", None);
        change(&mut web);
        object().swapped(600).restarting(&[Deployment]).working(0, &[web])
    };
    let restart = Effect::RestartWorkloads { serial: Serial(5), at: at(0), workloads: vec![workload("web", None).reference] };
    let at_swap = Effect::RestartWorkloads { serial: Serial(5), at: at(-600), workloads: Vec::new() };
    let swapped = || web(|_| {});
    allowed(&swapped(), &restart);
    allowed(&web(|it| it.restarted_at = Some(at(-600))), &restart);
    let must_not = "a workload is restarted that need not or must not be";
    refused(&web(|it| it.restarted_at = Some(at(-599))), &restart, must_not);
    refused(&web(|it| it.pace = Pace::Paused), &restart, must_not);
    refused(&web(|it| it.reference.version = "8".into()), &restart, must_not);
    refused(&swapped().restarting(&[StatefulSet]), &restart, must_not);
    refused(&swapped().working(-601, &[workload("web", None)]), &restart, "workloads are restarted that nobody looked at");
    refused(&swapped().restarted(5), &restart, "workloads are restarted twice for one swap");
    refused(&swapped(), &at_swap, "a restart cannot be told from one before the swap");
    refused(&swapped().holding(2190), &restart, "workloads are restarted and the new token is not published");
    refused(&deleted(swapped()), &restart, "workloads are restarted for an object under deletion");
    let noted = |before: &Observation, change: fn(&mut Ledger)| writing(LedgerEntry::Restarted, before, change);
    allowed(&swapped(), &noted(&swapped(), |it| it.restarted = Some(Serial(5))));
    let more = "more than a restart is written down";
    refused(&swapped(), &noted(&swapped(), |it| it.restarted = Some(Serial(4))), more);
    let retiring = |it: &mut Ledger| (it.restarted, it.retiring) = (Some(Serial(5)), Vec::new());
    refused(&swapped(), &noted(&swapped(), retiring), more);
    let forgetful = writing(LedgerEntry::SetBack, &swapped().restarted(4), |it| it.restarted = None);
    refused(&swapped().restarted(4), &forgetful, "a restart is forgotten");
}

#[test]
fn a_token_is_not_retired_before_those_who_hold_it_were_restarted() {
    let retire = Effect::Retire {
        token: TokenId(2190),
        serial: Serial(4),
        successor: Serial(5),
        probes: Vec::new(),
        rule: RenderRule::new("rule-1"),
    };
    let owed = || object().swapped(3600).restarting(&[crate::desired::WorkloadKind::Deployment]);
    refused(&owed(), &retire, "a token is retired before those who hold it were restarted");
    allowed(&owed().restarted(5), &retire);
    allowed(&owed().restarting(&[]), &retire);
    allowed(&owed().with(|it| it.ledger.compromised = Some(Serial(4))), &retire);
    let deadline = Deadline { after: Duration::from_secs(1), then: OnDeadline::Delete };
    allowed(&owed().with_desired(|it| it.retirement.deadline = Some(deadline)), &retire);
}

#[test]
fn a_dry_run_only_looks() {
    let dry = |it: Observation| it.with_desired(|desired| desired.dry_run = true);
    let look = Effect::InspectSource(source());
    let told = "something is done although only a plan was asked for";
    allowed(&dry(object()), &look);
    refused(&dry(object()), &Effect::AddFinalizer, told);
    let rule = RenderRule::new("rule-1");
    refused(&dry(published().claimed()), &Effect::Project { serial: Serial(5), token: TokenId(2202), rule }, told);
    refused(
        &dry(published()),
        &writing(LedgerEntry::Open, &published(), |ledger| (ledger.serial, ledger.next) = (6, next(6))),
        told,
    );
    // A deletion is a person's own act.
    allowed(&deleted(dry(published())), &writing(LedgerEntry::Clear, &published(), |ledger| ledger.current = None));
}
