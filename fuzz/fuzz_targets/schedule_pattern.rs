//! Schedules, by the schema and by the parser.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::api::fuzzing::schedule(input));
