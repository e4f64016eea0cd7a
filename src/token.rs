//! The one type in which a token's string may live. It cannot be printed, copied or serialised, and is wiped when dropped.
//!
//! What it cannot promise: buffers of the TLS and HTTP layers, and the allocator's copies made while a body is read, are
//! out of reach; they are freed, not wiped.

use zeroize::Zeroizing;

/// A token's string. Deliberately without `Debug`, `Display`, `Clone` and `Serialize`.
pub struct TokenString(Zeroizing<String>);

impl TokenString {
    /// Takes ownership of the string; it is wiped when this is dropped.
    pub fn new(string: String) -> Self {
        Self(Zeroizing::new(string))
    }

    /// Takes over a buffer that is wiped already.
    pub fn from_wiped(string: Zeroizing<String>) -> Self {
        Self(string)
    }

    /// Opens it. Only the files that write a Secret or a request header may do so; tidy checks that.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde::Serialize;
    use zeroize::{Zeroize, ZeroizeOnDrop};

    use super::*;

    /// Does not compile if the type has the trait: then two implementations fit.
    macro_rules! lacks {
        ($type:ty: $trait:path) => {{
            trait AmbiguousIfImplemented<Marker> {
                fn check() {}
            }
            impl<T: ?Sized> AmbiguousIfImplemented<()> for T {}
            struct Implemented;
            impl<T: ?Sized + $trait> AmbiguousIfImplemented<Implemented> for T {}
            <$type as AmbiguousIfImplemented<_>>::check();
        }};
    }

    #[test]
    fn a_string_cannot_be_printed_copied_or_serialised() {
        lacks!(TokenString: Debug);
        lacks!(TokenString: Display);
        lacks!(TokenString: Clone);
        lacks!(TokenString: Serialize);
        lacks!(TokenString: AsRef<str>);
        lacks!(TokenString: Into<String>);
    }

    /// Counts how often it is wiped.
    struct Spy(&'static AtomicU32);

    impl Zeroize for Spy {
        fn zeroize(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Freed memory cannot be looked at without `unsafe`, so this proves the two halves: that the type of the inner value
    /// is one that promises to wipe itself when dropped, and that the wrapper by which it does so calls the wiping, which
    /// empties a `String`. That the bytes are really overwritten is zeroize's own test.
    #[test]
    fn a_string_is_wiped_when_dropped() {
        fn promises_to_be_wiped<T: ZeroizeOnDrop>(_: &T) {}
        static WIPED: AtomicU32 = AtomicU32::new(0);
        let mut token = TokenString::new("secret".to_owned());
        promises_to_be_wiped(&token.0);
        drop(Zeroizing::new(Spy(&WIPED)));
        assert_eq!(WIPED.load(Ordering::SeqCst), 1);
        token.0.zeroize();
        assert_eq!(token.expose(), "");
    }

    #[test]
    fn a_wiped_buffer_is_taken_over_without_a_copy() {
        let buffer = Zeroizing::new("secret".to_owned());
        let place = buffer.as_ptr();
        assert_eq!(TokenString::from_wiped(buffer).expose().as_ptr(), place);
        let string = "secret".to_owned();
        let place = string.as_ptr();
        assert_eq!(TokenString::new(string).expose().as_ptr(), place);
    }
}
