//! Model checking of the shipped planner, breadth first, within bounds: every configuration of `world::configurations` is
//! searched to its end, and every wrong planner of `world::wrong` is caught.
//!
//! `DBT_MODEL_DEEP=1 cargo test --release -p dbt-token-planner --test model` searches the same configurations with one more
//! edit, tick and token each. The smaller ones then take up to a minute; the largest were never run to their end.
//! `DBT_MODEL_THREADS` gives the number of threads of one search: 1 if absent, since `cargo test` runs several searches at
//! once; more may print a longer history than the shortest. A broken promise prints its history, state by state.
#![allow(missing_docs, reason = "a test is not read through its documentation")]
#![allow(clippy::disallowed_methods, reason = "how long and how deep a search goes is no judgement of the planner")]
#![allow(clippy::disallowed_types, reason = "what is looked up is never iterated over")]
#![allow(clippy::print_stderr, reason = "the states that were searched are the result")]

mod world;

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use world::configuration::Configuration;
use world::model::Checked;
use world::words::line;
use world::{census, configurations, settle, wrong};

fn is_deep() -> bool {
    std::env::var("DBT_MODEL_DEEP").is_ok_and(|value| value == "1")
}

fn threads() -> usize {
    std::env::var("DBT_MODEL_THREADS").ok().and_then(|value| value.parse().ok()).unwrap_or(1)
}

/// Searches a configuration, and returns the promises that it breaks and the witnesses that it misses.
fn search(configuration: Configuration) -> Vec<&'static str> {
    let (started, name, quiet) = (Instant::now(), configuration.name, configuration.mutation.is_some());
    let search = Checked::new(configuration).checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures);
    let checker = search.spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{name}: {states} states, {} transitions, depth {depth}, {:.1?}", checker.state_count(), started.elapsed());
    let model = checker.model();
    let mut failed = Vec::new();
    for property in model.properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            (Expectation::Always, Some(path)) => {
                failed.push(property.name);
                if !quiet {
                    tell(model, property.name, &path.into_vec());
                }
            }
            (Expectation::Sometimes, None) => failed.push(property.name),
            _ => {}
        }
    }
    failed
}

fn tell(model: &Checked, promise: &str, history: &[(world::World, Option<world::model::Action>)]) {
    eprintln!("  BROKEN {promise}");
    for (state, action) in history {
        eprintln!("    {}\n      {action:?}", line(state, &model.shared));
    }
    if promise == census::SETTLES
        && let Some((last, _)) = history.last()
    {
        for step in settle::story(last, &model.shared) {
            eprintln!("    alone: {step}");
        }
    }
}

macro_rules! holds {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let configuration = configurations::$name();
            let failed = search(if is_deep() { configuration.deeper() } else { configuration });
            assert!(failed.is_empty(), "broken or never witnessed: {failed:?}");
        }
    )*};
}

holds![
    adoption,
    adoption_alone,
    adoption_compromised,
    adoption_with_a_deadline,
    adoption_with_a_rival,
    adoption_with_a_wipe,
    adoption_with_lost_slots,
    compromised,
    compromised_when_full,
    compromised_with_old_caches,
    copied_cluster,
    deadline_deletes,
    deadline_holds,
    deletion,
    deletion_with_short_list,
    failed_attempts,
    first_token,
    late_create,
    legacy,
    ledger_set_back,
    ledger_set_back_far,
    ledger_set_back_without_dbt,
    lost_answer,
    many_edits,
    many_rotations,
    many_rotations_and_a_lost_slot,
    old_cluster,
    old_ledger,
    old_list,
    old_lists,
    outsiders,
    outsiders_alone,
    pods,
    pods_in_a_race,
    remote,
    renamed,
    renamed_in_a_race,
    retention,
    set_back_in_time,
    target_deleted,
    wipe_twice,
    wipe_with_old_caches,
    wipe_with_old_ledger,
    wipe_with_old_slots,
    wipe_with_short_list,
];

#[test]
fn every_wrong_planner_is_caught() {
    let mut missed = Vec::new();
    for wrong in wrong::all() {
        let broken = search(wrong.configuration);
        eprintln!("  {:?} breaks: {}", wrong.mutation, broken.join("; "));
        if !broken.contains(&wrong.breaks) {
            missed.push((wrong.mutation, wrong.breaks, broken));
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}
