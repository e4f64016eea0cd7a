//! Answers that are no success.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::backend::dbt::fuzzing::judgement(input));
