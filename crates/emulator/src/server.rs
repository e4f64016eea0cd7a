//! Listeners and connections: plain and TLS, HTTP/1.1 and HTTP/2, on loopback addresses only.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::answer::Answer;
use crate::body::EmulatorBody;
use crate::carry_out::{self, Dropped, Reply};
use crate::control;
use crate::core::Shared;
use crate::routes::call::{Call, parse_query};

/// Requests to this API are small; what is larger is a mistake.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// What a listener serves.
#[derive(Clone)]
pub(crate) enum Service {
    /// The emulated API.
    Api(Arc<Shared>),
    /// The control API.
    Control(Arc<Shared>),
}

/// Binds a loopback address; any other is refused, since the emulator has no real authentication.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a loopback address"));
    }
    TcpListener::bind(address).await
}

/// Accepts connections until it is aborted; its connections end with it.
pub(crate) async fn run(listener: TcpListener, tls: Option<TlsAcceptor>, service: Service) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept is the peer's affair, and the listener stays usable.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, tls.clone(), service.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, service: Service) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(stream, service).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                talk(stream, service).await;
            }
        }
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, service: Service) {
    let answer = service_fn(move |request| respond(service.clone(), request));
    // An error is a broken connection, ours (a fault) or the peer's: nothing to do about either.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn respond(service: Service, request: Request<Incoming>) -> Result<Response<EmulatorBody>, Dropped> {
    let Some(call) = read(request).await else {
        return Ok(response(Answer::refused(serde_json::Value::Null).into()));
    };
    match service {
        Service::Api(shared) => carry_out::serve(&shared, &call).await.map(response),
        Service::Control(shared) => Ok(response(control::answer(&shared, &call).into())),
    }
}

/// Reads the whole request; none if its body is too large or breaks off.
async fn read(request: Request<Incoming>) -> Option<Call> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let text = |name| parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let host = text(HOST).map(str::to_owned);
    let host = host.or_else(|| parts.uri.authority().map(ToString::to_string)).unwrap_or_default();
    let authorization = text(AUTHORIZATION).map(str::to_owned);
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await.ok()?.to_bytes();
    let raw_query = parts.uri.query().unwrap_or_default().to_owned();
    Some(Call {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parse_query(&raw_query),
        raw_query,
        host,
        authorization,
        body: body.to_vec(),
        arrived,
    })
}

fn response(reply: Reply) -> Response<EmulatorBody> {
    let status = reply.answer.status;
    let headers = reply.answer.headers.clone();
    let (body, content_type) = reply.into_body();
    let mut builder = Response::builder().status(status);
    if let Some(content_type) = content_type {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(body).unwrap_or_else(|_| {
        // A fault with an impossible status or header is the test author's mistake: make it visible.
        let mut broken = Response::new(EmulatorBody::whole(b"the fault plan asks for impossible HTTP".to_vec()));
        *broken.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        broken
    })
}
