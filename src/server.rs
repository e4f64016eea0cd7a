//! The server for the cluster itself: `/livez` (the process), `/readyz` (kinds served, caches synced), `/metrics`. It
//! shows no object and takes no input.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::health::Health;
use crate::metrics::{self, Metrics};

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Listening on the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Taking connections.
    #[error("the server for probes and metrics has ended")]
    Serve(#[source] io::Error),
}

/// A server that listens already, so that a wrong address ends the process at once.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    /// Listens on an address; port 0 takes any free one.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub async fn listen(address: SocketAddr, health: Health, metrics: Metrics) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
        Ok(Self { listener, router: router(health, metrics) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`ServerError::Serve`] if the system does not know.
    pub fn address(&self) -> Result<SocketAddr, ServerError> {
        self.listener.local_addr().map_err(ServerError::Serve)
    }

    /// Answers until `shutdown` ends.
    ///
    /// # Errors
    /// [`ServerError::Serve`].
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), ServerError> {
        axum::serve(self.listener, self.router).with_graceful_shutdown(shutdown).await.map_err(ServerError::Serve)
    }
}

#[derive(Clone)]
struct Shown {
    health: Health,
    metrics: Metrics,
}

fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(Shown { health, metrics })
}

async fn livez(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.health.is_live() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the process has failed and must be started anew\n")
    }
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.health.not_ready_because() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], shown.metrics.encode()).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn probes_and_metrics_are_answered_until_the_shutdown() {
        let (health, metrics) = (Health::default(), Metrics::default());
        metrics.event_lost(2);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::listen(any, health.clone(), metrics).await.expect("a free port");
        let address = server.address().expect("an address");
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            let _ = ended.await;
        }));

        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("does not serve"), "{answer}");
        health.kinds_are_served();
        health.caches_are_synced();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = get(address, "/metrics").await;
        assert!(answer.contains("application/openmetrics-text"), "{answer}");
        assert!(answer.contains("dbt_token_operator_events_lost_total 2"), "{answer}");
        assert!(get(address, "/anything").await.starts_with("HTTP/1.1 404"));
        health.fail();
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 503"));

        end.send(()).expect("the server waits");
        serving.await.expect("no panic").expect("a clean end");
    }

    #[tokio::test]
    async fn a_taken_address_is_told() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = Server::listen(any, Health::default(), Metrics::default()).await.expect("a free port");
        let taken = first.address().expect("an address");
        let error = Server::listen(taken, Health::default(), Metrics::default()).await.expect_err("taken");
        assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    }
}
