//! What happened, line by line, for a person: who did what, what the operator believed (its own log lines), and what was
//! true. Kept only when a run is told; a run that is only judged keeps nothing.

use serde_json::Value;

use crate::cluster::{Change, Kind, Operation};
use crate::coverage::EFFECTS;
use crate::fault::Fault;
use crate::span;

/// The lines of one run.
#[derive(Debug, Default)]
pub struct History {
    told: bool,
    lines: Vec<(u64, String)>,
}

impl History {
    /// One that keeps everything, or nothing.
    pub fn new(told: bool) -> Self {
        span::listen(told);
        Self { told, lines: Vec::new() }
    }

    /// Something happened.
    pub fn note(&mut self, now: u64, what: impl FnOnce() -> String) {
        if self.told {
            self.take_logs(now);
            self.lines.push((now, what()));
        }
    }

    /// A request to the API server came to its end.
    pub fn note_call(&mut self, now: u64, replica: usize, effect: Option<usize>, operation: &Operation, fault: Option<Fault>) {
        // Reads that go well and have no effect behind them would hide everything else.
        if operation.verb.writes() || fault.is_some() {
            self.note(now, || {
                let Operation { verb, key, body, .. } = operation;
                let what = match key.kind {
                    // Its name holds the time of the machine.
                    Kind::Event => format!("{}: {}", body["reason"].as_str().unwrap_or_default(), body["note"]),
                    _ if key.name.is_empty() => body["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    _ => String::new(),
                };
                format!("replica {replica} {}: {} {key}{what}{}", word(effect), verb.word(), suffix(fault))
            });
        }
    }

    /// A call of dbt came to its end.
    #[expect(clippy::too_many_arguments, reason = "a line has as many parts")]
    pub fn note_exchange(
        &mut self,
        now: u64,
        replica: usize,
        effect: Option<usize>,
        what: &str,
        subject: &str,
        fault: Option<Fault>,
        outcome: &str,
    ) {
        self.note(now, || {
            let outcome = if outcome.is_empty() { String::new() } else { format!(" -> {outcome}") };
            format!("replica {replica} {}: dbt {what} {subject}{outcome}{}", word(effect), suffix(fault))
        });
    }

    /// An object changed.
    pub fn note_change(&mut self, now: u64, change: &Change) {
        if change.key.kind == Kind::Event {
            return;
        }
        self.note(now, || {
            let state = match &change.after {
                None => "is gone".to_owned(),
                Some(after) if change.key.kind == Kind::ServiceToken => {
                    format!("has the ledger {} and says {}", after["status"]["ledger"], said(after))
                }
                Some(after) => format!("holds token {}", after["metadata"]["annotations"]["tokens.dbt-operator.dev/token-id"]),
            };
            format!("    {} {state} (version {})", change.key, change.version)
        });
    }

    /// Takes over what the operator has logged since the last time.
    pub fn note_logs(&mut self, now: u64) {
        if self.told {
            self.take_logs(now);
        }
    }

    fn take_logs(&mut self, now: u64) {
        self.lines.extend(span::take_lines().into_iter().map(|line| (now, format!("        {line}"))));
    }

    /// All lines, with their times.
    pub fn lines(&self) -> Vec<String> {
        let written = |(at, line): &(u64, String)| {
            let (minutes, seconds, rest) = (at / 60_000, at / 1000 % 60, at % 1000);
            format!("{minutes:>3}:{seconds:02}.{rest:03}  {line}")
        };
        self.lines.iter().map(written).collect()
    }
}

/// The reasons of its conditions.
fn said(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let reasons = conditions.map(|it| it["reason"].as_str().unwrap_or_default());
    reasons.collect::<Vec<_>>().join(", ")
}

fn word(effect: Option<usize>) -> &'static str {
    effect.map_or("-", |place| EFFECTS[place].word)
}

fn suffix(fault: Option<Fault>) -> String {
    fault.map(|fault| format!("  [{}]", fault.word())).unwrap_or_default()
}
