//! Contents of Secrets in which a token is looked for.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::backend::dbt::fuzzing::held(input));
