//! Parses arguments, runs, and turns an error into an exit code; nothing else.

fn main() {}
