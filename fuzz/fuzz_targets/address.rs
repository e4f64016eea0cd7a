//! Addresses of dbt as people write them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::backend::dbt::fuzzing::address(input));
