//! Schedules, and when they open.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_planner::fuzzing::schedule(input));
