//! Any status, in front of the planner.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::cluster::fuzzing::status(input));
