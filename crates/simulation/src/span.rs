//! Which effect the operator is running, told by the span that it opens around each; and its log lines, for a history.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Write};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::coverage::EFFECTS;

const SPAN: &str = "effect";
const OPERATOR: &str = "dbt_token_operator";

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static METADATA: OnceLock<&'static Metadata<'static>> = OnceLock::new();

/// The effect that runs on this thread, by its place in [`EFFECTS`].
pub fn effect() -> Option<usize> {
    let id = ENTERED.with_borrow(|entered| entered.last().copied())?;
    usize::try_from(id).ok()?.checked_sub(1).filter(|place| *place < EFFECTS.len())
}

/// Takes over everything that is told on all threads of the process. Once.
pub fn install() {
    // A second time it is installed already.
    let _again = tracing::subscriber::set_global_default(Listener);
}

/// Whether log lines of this thread are kept from now on.
pub fn listen(listens: bool) {
    LISTENS.set(listens);
    LINES.with_borrow_mut(Vec::clear);
}

/// The lines since the last time.
pub fn take_lines() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}

struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() && metadata.name() == SPAN {
            let _known = METADATA.set(metadata);
            return Interest::always();
        }
        if metadata.is_event() && metadata.target().starts_with(OPERATOR) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || (LISTENS.get() && *metadata.level() <= Level::DEBUG)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut word = Word(None);
        attributes.record(&mut word);
        let place = word.0.and_then(|word| EFFECTS.iter().position(|effect| effect.word == word));
        // An effect that the table does not know counts as none.
        Id::from_u64(place.map_or(u64::MAX, |place| place as u64 + 1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{:<5}", event.metadata().level()));
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line.0));
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            entered.pop();
        });
    }

    fn current_span(&self) -> Current {
        let id = ENTERED.with_borrow(|entered| entered.last().copied());
        match (id, METADATA.get()) {
            (Some(id), Some(metadata)) => Current::new(Id::from_u64(id), metadata),
            _ => Current::none(),
        }
    }
}

struct Word(Option<String>);

impl Visit for Word {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "word" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        written.expect("a String takes everything");
    }
}
