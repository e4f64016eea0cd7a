//! All chance of one run. Every throw is made with dice of its own, which follow from the seed and from what the throw is
//! about, and not from how many were made before: what happens to one object does not change when another one is left out.

use std::hash::{Hash, Hasher};

/// Makes the dice of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The dice for everything about one subject; the same each time.
    pub fn about(self, subject: impl Hash) -> fastrand::Rng {
        let mut digest = Digest(self.0 ^ 0xcbf2_9ce4_8422_2325);
        subject.hash(&mut digest);
        fastrand::Rng::with_seed(digest.finish())
    }
}

/// FNV-1a: alike in every process, which the standard library's hasher is not.
struct Digest(u64);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// One of several.
pub fn pick<T: Copy>(dice: &mut fastrand::Rng, of: &[T]) -> T {
    of[dice.usize(..of.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_throw_gives_depends_on_its_subject_and_the_seed_alone() {
        let throw = |seed, subject: &str| Dice::new(seed).about(subject).u64(..);
        assert_eq!(throw(1, "a"), throw(1, "a"));
        assert_ne!(throw(1, "a"), throw(1, "b"));
        assert_ne!(throw(1, "a"), throw(2, "a"));
    }
}
