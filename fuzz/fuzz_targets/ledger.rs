//! The ledger of any status.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::cluster::fuzzing::ledger(input));
