//! Logging: one line an event to standard error, as text or JSON. Set up once, before anything is logged.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, FilterExt, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The most that is ever heard of a crate, whatever the filter says; the first row that fits counts. This one knows what it
/// logs. The client of Kubernetes logs the body of an answer that it cannot read, as a warning, and that may be a Secret.
/// Who elects a leader speaks of leases only.
const MOST: [(&str, LevelFilter); 3] =
    [(OWN, LevelFilter::TRACE), ("kube_client::client", LevelFilter::ERROR), ("kube_lease_manager", LevelFilter::DEBUG)];

/// The most that is heard of every other crate, also of one that comes with the next update of a dependency: HTTP libraries
/// log headers, and with them credentials, and some log bodies.
const MOST_OF_OTHERS: LevelFilter = LevelFilter::WARN;

/// This crate, as it names itself in what it logs.
const OWN: &str = "dbt_token_operator";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Text,
    /// For a collector.
    Json,
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Reading the filter.
    #[error("{filter} is not a log filter, such as info or info,dbt_token_operator=debug")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Setting it up a second time.
    #[error("logging is set up already")]
    SetUp(#[source] TryInitError),
}

/// Logs to standard error from here on.
///
/// # Errors
/// [`TelemetryError`].
pub fn set_up(format: Format, filter: &str) -> Result<(), TelemetryError> {
    subscriber(format, filter, io::stderr)?.try_init().map_err(TelemetryError::SetUp)
}

fn subscriber<Writer>(
    format: Format,
    filter: &str,
    writer: Writer,
) -> Result<impl Subscriber + Send + Sync + 'static, TelemetryError>
where
    Writer: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let layer = tracing_subscriber::fmt::layer::<Registry>().with_writer(writer);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => layer.with_ansi(false).boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(parsed.and(filter_fn(is_harmless)))))
}

fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let row = MOST.iter().find(|(target, _)| is_within(metadata.target(), target));
    *metadata.level() <= row.map_or(MOST_OF_OTHERS, |(_, most)| *most)
}

fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one writer").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, filter, move || writer.clone()).expect("a filter");
        with_default(subscriber, log);
        let bytes = buffer.0.lock().expect("one reader").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_line_holds_message_and_fields() {
        let log = || tracing::info!(serial = 9, "token minted");
        assert!(logged(Format::Text, "info", log).ends_with("token minted serial=9\n"));
        let line = logged(Format::Json, "info", log);
        let read: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!((&read["message"], &read["serial"], &read["level"]), (&"token minted".into(), &9.into(), &"INFO".into()));
        assert_eq!(logged(Format::Text, "warn", log), "");
    }

    #[test]
    fn no_filter_lets_bodies_and_headers_of_others_through() {
        for filter in [
            "trace",
            "kube_client=trace",
            "kube_client::client=trace",
            "kube_client::client::builder=trace",
            "[request]=trace",
            "hyper::proto=trace,h2=trace,info",
            "a_crate_that_nobody_knows_yet=trace",
        ] {
            let text = logged(Format::Text, filter, || {
                let _entered = tracing::error_span!("request").entered();
                let _headers = tracing::info_span!(target: "tower_http::trace", "canary", authorization = "canary").entered();
                tracing::warn!(target: "kube_client::client", "canary");
                tracing::debug!(target: "kube_client::client::builder", "canary");
                tracing::debug!(target: "hyper::proto::h1", "canary");
                tracing::trace!(target: "h2::codec", "canary");
                tracing::info!(target: "a_crate_that_nobody_knows_yet", "canary");
                tracing::trace!(target: "dbt_token_operator_of_another", "canary");
                tracing::trace!(target: "kube_lease_manager", "canary");
            });
            assert_eq!(text, "", "{filter}");
        }
    }

    #[test]
    fn what_is_harmless_is_let_through() {
        let text = logged(Format::Text, "info", || tracing::warn!(target: "kube_runtime::watcher", "watch ended"));
        assert!(text.contains("watch ended"));
        let text = logged(Format::Text, "trace", || {
            tracing::trace!("own");
            tracing::trace!(target: "dbt_token_operator::controller", "of a module");
            tracing::debug!(target: "kube_lease_manager::state", "of leases");
            tracing::error!(target: "kube_client::client", "of an end");
        });
        for expected in ["own", "of a module", "of leases", "of an end"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        let error = subscriber(Format::Text, "info,x=loud", io::sink).err().expect("no level");
        assert!(error.to_string().contains("info,x=loud is not a log filter"), "{error}");
    }
}
