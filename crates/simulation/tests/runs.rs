//! Whole runs: a calm one, those that once broke a promise, and plans that say what has to happen in them.

use dbt_token_simulation::cluster::Kind;
use dbt_token_simulation::fault::Weather;
use dbt_token_simulation::plan::{Action, Plan, Role, Subject, What};
use dbt_token_simulation::run::{Outcome, run};

const MINUTE: u64 = 60_000;

/// Objects of these roles, and nothing that goes wrong.
fn calm(roles: &[Role]) -> Plan {
    let plan = Plan::of(1, roles.len());
    let subject = |(place, role): (usize, &Role)| {
        let subject = plan.subjects[place].clone();
        Subject { role: *role, after: 60, quiet: 0, applied_at: 1, retains: false, ..subject }
    };
    Plan {
        subjects: roles.iter().enumerate().map(subject).collect(),
        actions: Vec::new(),
        weather: Weather { permille: 0, faults: Vec::new() },
        replicas: 1,
        mints_per_hour: 200,
        two_steps: false,
        lists_lie: false,
        ..plan
    }
}

fn kept(plan: &Plan) -> Outcome {
    let outcome = run(plan, false);
    assert_eq!(outcome.violation, None, "{plan:#?}");
    outcome
}

#[test]
fn a_calm_run_makes_one_token_an_object_and_comes_to_rest() {
    let outcome = kept(&calm(&[Role::Plain, Role::Remote, Role::Pods { restart: true }, Role::Foreign]));
    assert_eq!(outcome.created, 3, "none for the object whose Secret is somebody else's");
    assert!(outcome.coverage.by_kind().is_empty(), "{:?}", outcome.coverage.by_kind());
}

#[test]
fn a_rotation_makes_one_token_more_and_an_edit_of_the_template_none() {
    let plan = calm(&[Role::Plain, Role::Plain]);
    let actions =
        vec![Action { at: MINUTE, subject: 0, what: What::Rotate }, Action { at: MINUTE, subject: 1, what: What::EditTemplate }];
    assert_eq!(kept(&Plan { actions, ..plan }).created, 3);
}

#[test]
fn a_legacy_token_is_adopted_and_replaced() {
    assert_eq!(kept(&calm(&[Role::Adopts, Role::AdoptsInPlace])).created, 2);
}

/// Two processes that both lead, of which the second hears nothing new of a kind from then on.
fn with_a_deaf_leader(plan: Plan, kind: Kind, at: u64) -> Plan {
    let mut actions = plan.actions;
    actions.push(Action { at, subject: 0, what: What::Delay(1, kind, MINUTE) });
    actions.sort_by_key(|action| action.at);
    Plan { replicas: 2, actions, ..plan }
}

/// It sees that the token is published, and not that its slot is there.
#[test]
fn a_slot_that_a_watch_does_not_show_yet_is_not_lost() {
    let outcome = kept(&with_a_deaf_leader(calm(&[Role::Plain]), Kind::Secret, 0));
    assert_eq!(outcome.created, 1);
}

/// It sees that an object is deleted, and not that it is gone and was applied anew under its name. The moment at which it
/// hears nothing any more decides how far it goes, so that many are tried.
#[test]
fn the_secret_of_an_object_that_was_applied_anew_is_not_touched_for_the_sake_of_the_old_one() {
    for retains in [false, true] {
        for deaf_from in (0..100).step_by(4) {
            let plan = calm(&[Role::Plain]);
            let subjects = plan.subjects.iter().cloned().map(|subject| Subject { retains, ..subject }).collect();
            let action = |at, what| Action { at, subject: 0, what };
            let actions = vec![action(MINUTE, What::Delete), action(MINUTE + 1000, What::Recreate)];
            let plan = Plan { subjects, actions, ..plan };
            kept(&with_a_deaf_leader(plan, Kind::ServiceToken, MINUTE + deaf_from));
        }
    }
}

/// The list of the process that sweeps is older than the first use of the token, whose slot and ledger are lost.
#[test]
fn a_token_without_slot_and_ledger_is_not_called_unused_on_the_word_of_an_old_list() {
    let second = 1000;
    let actions = [
        (55 * second, What::Freeze(0, 40 * second)),
        (60 * second, What::DeleteSlot),
        (94 * second, What::Freeze(1, 60 * second)),
        (96 * second, What::WipeStatus),
    ];
    let actions = actions.map(|(at, what)| Action { at, subject: 0, what }).to_vec();
    kept(&Plan { actions, replicas: 2, ..calm(&[Role::Plain]) });
}

/// Each of these once broke a promise: an adoption that was held back by a failure went on as a creation (3, 10, 21); a
/// replaced token whose slot was never labelled waited for ever (736); two processes that both led wrote the same status in
/// turn, a hundred times a second (8); a creation that landed late was kept because of another token of its serial that had
/// been let go (235). Two processes that both lead may each make a token of one serial (253).
#[test]
fn what_was_mended_stays_mended() {
    for seed in [3, 8, 10, 21, 235, 253, 736] {
        kept(&Plan::of(seed, 10));
    }
}

/// Each of these broke a promise when twenty thousand were run: more tokens within an hour than the budget allows (1593, 2180,
/// 6377), a slot that was closed while its token lived (13210), a token that was revoked too early (14587) or was not the one
/// that works (15535, 16405).
#[test]
fn what_was_rare_stays_mended() {
    for seed in [1593, 2180, 6377, 13210, 14587, 15535, 16405] {
        kept(&Plan::of(seed, 10));
    }
}

/// Each of these broke a promise where somebody set a status back: while another process revoked the token that it names (8182,
/// 9573, 9652, 14534, 19641), or so that the end of an overlap was counted from a time of before (1062, 2774, 4467, 5658, 8423,
/// 8747, 9698, 17317). In 3928 an adopted token was to be condemned on the word of an old list.
#[test]
fn a_status_that_was_set_back_harms_nobody() {
    for seed in [8182, 9573, 9652, 14534, 19641, 1062, 2774, 4467, 5658, 8423, 8747, 9698, 17317, 3928] {
        kept(&Plan::of(seed, 10));
    }
}

#[test]
fn a_seed_decides_everything() {
    let told = |seed| run(&Plan::of(seed, 10), true).history;
    // One process that dies now and then, and two that both lead.
    for seed in [235, 253] {
        let (first, second) = (told(seed), told(seed));
        let differ = first.iter().zip(&second).find(|(one, other)| one != other);
        assert_eq!((differ, first.len()), (None, second.len()), "seed {seed}");
    }
}
