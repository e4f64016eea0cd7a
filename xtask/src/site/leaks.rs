//! What anybody emitted, to be searched for every token that the emulator ever knew.

use std::path::Path;

use crate::leaks::Needles;

/// One place that is searched.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) place: String,
    text: String,
}

impl Emitted {
    pub(crate) fn new(place: &str, text: String) -> Self {
        Self { place: place.to_owned(), text }
    }

    /// A log file; one that was never written holds nothing.
    pub(crate) fn file(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::new(&name, String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn length(&self) -> usize {
        self.text.len()
    }

    /// Whether one of the tokens is in it.
    pub(crate) fn holds_any(&self, needles: &Needles) -> bool {
        needles.are_in(&self.text)
    }
}
