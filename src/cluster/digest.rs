//! Digests as texts, by which things are compared that would be too long to write down. Pure.

use sha2::{Digest, Sha256};

/// The first hexadecimal digits of the SHA-256 of some bytes.
pub(super) fn digits(bytes: &[u8], count: usize) -> String {
    let half_bytes = Sha256::digest(bytes).into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    half_bytes.take(count).filter_map(|half| char::from_digit(u32::from(half), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard() {
        let whole = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for count in [0, 7, 8, 64, 65] {
            assert_eq!(digits(b"abc", count), whole[..count.min(64)]);
        }
    }
}
