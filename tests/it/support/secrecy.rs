//! The scan for leaked tokens. It never prints what it finds, only where.

use std::collections::{BTreeMap, HashSet};

/// The secret end of a string of today's form. What stands before it, prefix and uid, is no secret.
const TAIL: usize = 43;

/// What must be found nowhere, by length, so that a text is passed over once for each length and not for each string.
#[derive(Default)]
pub struct Needles(BTreeMap<usize, HashSet<String>>);

impl Needles {
    /// Adds strings, and their secret ends.
    pub fn add(&mut self, strings: &[String]) {
        for string in strings {
            let tail = string.get(string.len().saturating_sub(TAIL)..).unwrap_or(string);
            self.0.entry(tail.len()).or_default().insert(tail.to_owned());
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }

    /// Where any of them stands in the text, if one does: one message a line.
    pub fn find(&self, place: &str, text: &str) -> Vec<String> {
        let hits = text.lines().enumerate().filter(|(_, line)| self.is_in(line));
        hits.map(|(number, _)| format!("{place}, line {}: holds a token string", number + 1)).collect()
    }

    /// Strings are made of letters, digits, dashes and underscores only, so they lie within runs of these.
    fn is_in(&self, line: &str) -> bool {
        let shortest = self.0.keys().next().copied().unwrap_or(usize::MAX);
        let runs = line.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '-' || sign == '_'));
        runs.filter(|run| run.len() >= shortest).any(|run| self.is_in_run(run))
    }

    fn is_in_run(&self, run: &str) -> bool {
        let fits = self.0.range(..=run.len());
        fits.into_iter()
            .any(|(length, strings)| (0..=run.len() - length).any(|start| strings.contains(&run[start..start + length])))
    }
}
