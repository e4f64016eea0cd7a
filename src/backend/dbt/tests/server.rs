//! A server on loopback that answers as a test says and remembers what it was asked. Knows nothing of dbt.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A request as it came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    /// With the query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn authorization(&self) -> &str {
        self.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Method and path, as in `GET /a/?b=c`.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How a request is answered.
pub(super) enum Reply {
    Json(u16, Value),
    Text(u16, &'static str),
    Header(u16, &'static str, String),
    /// Never.
    Hang,
    /// With the head and the beginning of the body, and then nothing more, ever.
    HangInBody,
    /// By closing the connection.
    Drop,
    /// With a body that has no end.
    Endless,
    /// With a head that announces so many bytes, and none of them.
    Announced(u64),
}

type Answering = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A running server; stopped when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (seen, connections, arrived) = (Arc::default(), Arc::default(), Arc::<Notify>::default());
        let signal = Arc::clone(&arrived);
        let answering: Arc<Answering> = Arc::new(move |request| {
            signal.notify_one();
            answering(request)
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&seen), Arc::clone(&connections), answering));
        Self { address, seen, connections, arrived, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Ends when a request has arrived since the last time.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// How many connections were accepted.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Method and path of each request.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>, connections: Arc<AtomicUsize>, answering: Arc<Answering>) {
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let (seen, answering) = (Arc::clone(&seen), Arc::clone(&answering));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&seen), Arc::clone(&answering)));
            // An error here is a client that went away, or a connection that a test wanted closed.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    answering: Arc<Answering>,
) -> Result<Response<Scripted>, Closed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes().to_vec();
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let request = Seen { method: head.method.to_string(), path, headers: head.headers, body };
    seen.lock().expect("no panic").push(request.clone());
    let response = |status: u16| Response::builder().status(status);
    let built = match answering(&request) {
        Reply::Json(status, value) => {
            response(status).header("content-type", "application/json").body(Scripted::whole(value.to_string()))
        }
        Reply::Text(status, text) => response(status).header("content-type", "text/html").body(Scripted::whole(text)),
        Reply::Header(status, name, value) => response(status).header(name, value).body(Scripted::whole("")),
        Reply::Hang => std::future::pending().await,
        Reply::HangInBody => response(200).body(Scripted { first: Some(Bytes::from("{\"data\":")), then: Then::Hang }),
        Reply::Drop => return Err(Closed),
        Reply::Endless => response(200).body(Scripted { first: None, then: Then::Repeat }),
        Reply::Announced(length) => {
            response(200).header("content-length", length).body(Scripted { first: None, then: Then::Hang })
        }
    };
    Ok(built.expect("a valid answer"))
}

/// Makes hyper close the connection.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("closed by the test")
    }
}

impl std::error::Error for Closed {}

enum Then {
    End,
    Hang,
    Repeat,
}

struct Scripted {
    first: Option<Bytes>,
    then: Then,
}

impl Scripted {
    fn whole(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { first: (!text.is_empty()).then(|| Bytes::from(text)), then: Then::End }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match self.then {
            Then::End => Poll::Ready(None),
            Then::Hang => Poll::Pending,
            Then::Repeat => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 4096]))))),
        }
    }
}
