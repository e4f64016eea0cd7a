//! Templates as they are checked.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::api::fuzzing::template(input));
