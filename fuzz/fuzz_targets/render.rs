//! Templates as they are rendered.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::cluster::fuzzing::render(input));
