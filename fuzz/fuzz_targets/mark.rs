//! The mark at the end of a token's name.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_planner::fuzzing::mark(input));
