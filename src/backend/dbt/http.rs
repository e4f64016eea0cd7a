//! One exchange over HTTP: time-outs, size limit, no redirect, and what is known about a request that got no answer.
//! Judges no status, knows no JSON, and never writes a header or a body to a log.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::ClientConfig;
use zeroize::Zeroizing;

/// Time to open a TCP connection. dbt answers a SYN within a second from anywhere; a firewall that drops packets would
/// otherwise eat the whole call's time and make it look as if dbt were slow.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a whole exchange, from resolving the name to the last byte of the body. The same as dbt's own provider uses.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one answer: a page of 100 tokens has about 60 kB, so this leaves room for a server that ignores the page size
/// (some 13,000 tokens) and still bounds what a broken one can make us hold.
pub const BODY_LIMIT: usize = 8 * 1024 * 1024;
/// How long an idle connection is kept. Below the 60 s after which load balancers commonly drop theirs, so that we seldom
/// write into a connection that is already gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections to one host. Calls of one account overlap little.
const IDLE_CONNECTIONS: usize = 4;
/// First size of the buffer for a body whose length was not announced, in bytes.
const FIRST_BUFFER: usize = 16 * 1024;
/// What dbt sees as our name.
const AGENT: &str = concat!("dbt-token-operator/", env!("CARGO_PKG_VERSION"));

/// A request as this file sees it.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) authorization: &'a HeaderValue,
    /// JSON, already written.
    pub(super) body: Option<Vec<u8>>,
    pub(super) connection: Connection,
}

/// Which connection a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// One that is open, if there is any.
    Shared,
    /// One of its own. On a connection that the other side just closed, nobody can tell whether a request was read, and
    /// the client below would send it again; on a new one neither can happen.
    Fresh,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The host of `Location`, if there is one.
    pub(super) location_host: Option<String>,
    /// `Retry-After` as it was sent.
    pub(super) retry_after: Option<String>,
    /// Wiped when dropped: it may hold a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection came about, so no byte of the request was sent.
    NotSent(String),
    /// The request may have been read and carried out.
    Lost(String),
    /// The answer is larger than the limit. The request was carried out as far as anyone can tell.
    TooLarge,
}

/// Limits of one exchange; parameters so that tests need not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) call: Duration,
    pub(super) body: usize,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The client of one account: HTTP/1.1 over the stack that the Kubernetes client brings along.
///
/// What it cannot promise about secrets: the header of a request and the body of an answer pass through buffers of hyper
/// (plain text) and rustls (records), which are freed but not wiped. What this file allocates is wiped.
pub(super) struct Transport {
    shared: HttpClient,
    fresh: HttpClient,
    limits: Limits,
}

impl fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transport").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Transport {
    /// `insecure` allows `http` addresses; which ones is judged in `endpoints.rs`.
    pub(super) fn new(tls: ClientConfig, insecure: bool, limits: Limits) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(limits.connect));
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = if insecure { builder.https_or_http() } else { builder.https_only() };
        // HTTP/1.1 alone: one exchange at a time on a connection keeps the answer to "was it sent?" simple.
        let connector = builder.enable_http1().wrap_connector(tcp);
        let shared = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector.clone());
        let fresh =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).retry_canceled_requests(false).build(connector);
        Self { shared, fresh, limits }
    }

    /// Sends one request, once, and reads the whole answer. A redirect is an answer like any other: it is never followed,
    /// since the credential would go with it.
    pub(super) async fn exchange(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let client = match request.connection {
            Connection::Shared => &self.shared,
            Connection::Fresh => &self.fresh,
        };
        let request = build(request)?;
        let exchange = async {
            let response = client.request(request).await.map_err(|error| {
                let words = chain(&error);
                if error.is_connect() { Failure::NotSent(words) } else { Failure::Lost(words) }
            })?;
            self.read(response).await
        };
        match tokio::time::timeout(self.limits.call, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Lost(format!("no complete answer within {} ms", self.limits.call.as_millis()))),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = response.into_parts();
        let body = self.read_body(body).await?;
        Ok(Answer {
            status: head.status,
            location_host: head.headers.contains_key(LOCATION).then(|| location_host(&head.headers)),
            retry_after: head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned),
            body,
        })
    }

    async fn read_body(&self, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let limit = self.limits.body;
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(Failure::TooLarge);
        }
        let mut buffer = Zeroizing::new(Vec::with_capacity(announced.max(FIRST_BUFFER).min(limit)));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::Lost(chain(&error)))?;
            let Some(chunk) = frame.data_ref() else { continue };
            if chunk.len() > limit - buffer.len() {
                return Err(Failure::TooLarge);
            }
            append(&mut buffer, chunk);
        }
        Ok(buffer)
    }
}

/// Grows by hand: a `Vec` that grows by itself frees its old memory without wiping it.
fn append(buffer: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = buffer.len() + chunk.len();
    if length > buffer.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two()));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(chunk);
}

fn build(request: Request<'_>) -> Result<HttpRequest<Full<Bytes>>, Failure> {
    let mut builder = HttpRequest::builder()
        .method(request.method)
        .uri(request.uri)
        .header(AUTHORIZATION, request.authorization)
        .header(ACCEPT, HeaderValue::from_static("application/json"))
        .header(USER_AGENT, HeaderValue::from_static(AGENT));
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let body = Full::new(Bytes::from(request.body.unwrap_or_default()));
    builder.body(body).map_err(|error| Failure::NotSent(error.to_string()))
}

/// Only the host of a redirect's target is kept: path and query might repeat what was sent.
pub(super) fn location_host(headers: &HeaderMap) -> String {
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<Uri>().ok());
    match target {
        Some(target) => target.host().map_or_else(|| "the same host".to_owned(), str::to_owned),
        None => "an address that cannot be read".to_owned(),
    }
}

/// An error with its causes. None of hyper's or rustls's errors repeats a header or a body.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_buffer_keeps_what_it_has() {
        let mut buffer = Zeroizing::new(Vec::with_capacity(2));
        for chunk in [&b"ab"[..], b"c", b"", b"defghijklmnop"] {
            append(&mut buffer, chunk);
        }
        assert_eq!(buffer.as_slice(), b"abcdefghijklmnop");
    }

    #[test]
    fn only_the_host_of_a_redirect_is_kept() {
        let check = |location: &str, expected: &str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).expect("valid"))]);
            assert_eq!(location_host(&headers), expected, "{location}");
        };
        check("https://elsewhere.example/path?token=x", "elsewhere.example");
        check("/login?next=x", "the same host");
        check("https://", "an address that cannot be read");
    }
}
