//! The request log: what was asked, by whom, and what was answered. It never holds a header value
//! or a body, and paths are freed of anything that looks like a token string.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::account::TokenId;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// The order of arrival, from 1.
    pub sequence: u64,
    /// When it arrived.
    #[serde(serialize_with = "crate::time_text::serialize")]
    pub time: Timestamp,
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The path without its query, numbers replaced by `{id}`.
    pub template: String,
    /// The token that called; none if it did not authenticate.
    pub token_id: Option<TokenId>,
    /// The status that was answered; none while the answer is under way and for a dropped
    /// connection.
    pub status: Option<u16>,
    /// The fault that was applied.
    pub fault: Option<String>,
}

/// How often a path was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// The method.
    pub method: String,
    /// The path without its query, numbers replaced by `{id}`.
    pub template: String,
    /// How often it was called.
    pub calls: u64,
}

/// All entries, oldest first.
#[derive(Default)]
pub(crate) struct Log {
    entries: Vec<LogEntry>,
}

impl Log {
    /// Starts an entry and returns its sequence number.
    pub(crate) fn begin(&mut self, method: &str, path: String, template: String) -> u64 {
        let sequence = self.entries.len() as u64 + 1;
        self.entries.push(LogEntry {
            sequence,
            time: Timestamp::now(),
            method: method.to_owned(),
            path,
            template,
            token_id: None,
            status: None,
            fault: None,
        });
        sequence
    }

    /// Completes an entry.
    pub(crate) fn amend(&mut self, sequence: u64, change: impl FnOnce(&mut LogEntry)) {
        let index = usize::try_from(sequence).unwrap_or(0).wrapping_sub(1);
        if let Some(entry) = self.entries.get_mut(index) {
            change(entry);
        }
    }

    /// The entries after `sequence`.
    pub(crate) fn since(&self, sequence: u64) -> &[LogEntry] {
        let index = usize::try_from(sequence).unwrap_or(usize::MAX).min(self.entries.len());
        &self.entries[index..]
    }

    /// Calls by method and path template.
    pub(crate) fn counters(&self) -> Vec<Counter> {
        let mut calls: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for entry in &self.entries {
            *calls.entry((&entry.method, &entry.template)).or_default() += 1;
        }
        calls
            .into_iter()
            .map(|((method, template), calls)| Counter { method: method.to_owned(), template: template.to_owned(), calls })
            .collect()
    }
}
