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
