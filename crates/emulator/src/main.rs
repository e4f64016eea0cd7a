//! The emulator's binary.

fn main() {}
