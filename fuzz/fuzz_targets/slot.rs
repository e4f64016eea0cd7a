//! Metadata of Secrets that carry the label of a slot.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dbt_token_operator::cluster::fuzzing::slot(input));
