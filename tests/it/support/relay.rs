//! A relay between an operator and its API server that spoils answers: each Secret that is read through it is none that the
//! client understands, and holds its data where an error message would quote it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::stage::client;

/// A running relay. Dropping it ends it.
pub struct Relay {
    /// By which an operator comes through it.
    pub kubeconfig: PathBuf,
    way: Arc<Way>,
    task: JoinHandle<()>,
}

struct Way {
    upstream: Client,
    spoils: AtomicBool,
    spoiled: AtomicBool,
}

impl Relay {
    /// Starts one for whoever the kubeconfig speaks of; it spoils nothing yet.
    pub async fn start(kubeconfig: &Path) -> Self {
        let upstream = client(kubeconfig).await;
        let way = Arc::new(Way { upstream, spoils: AtomicBool::new(false), spoiled: AtomicBool::new(false) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let path = kubeconfig.with_extension("relay");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "relay",
            "clusters": [{"name": "relay", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "relay", "user": {}}],
            "contexts": [{"name": "relay", "context": {"cluster": "relay", "user": "relay"}}],
        });
        std::fs::write(&path, config.to_string()).expect("a file");
        let task = tokio::spawn(accept(listener, Arc::clone(&way)));
        Self { kubeconfig: path, way, task }
    }

    /// From here on Secrets come through spoiled.
    pub fn spoil(&self) {
        self.way.spoils.store(true, Ordering::SeqCst);
    }

    /// From here on everything comes through as it is.
    pub fn spare(&self) {
        self.way.spoils.store(false, Ordering::SeqCst);
    }

    /// Whether a Secret came through spoiled.
    pub fn has_spoiled(&self) -> bool {
        self.way.spoiled.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, way: Arc<Way>) {
    while let Ok((stream, _)) = listener.accept().await {
        let way = Arc::clone(&way);
        let service = service_fn(move |request| {
            let way = Arc::clone(&way);
            async move { Ok::<_, Infallible>(way.pass(request).await) }
        });
        // A client that goes away is no failure.
        let connection = async move { Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await };
        drop(tokio::spawn(connection));
    }
}

impl Way {
    async fn pass(&self, request: Request<Incoming>) -> Response<Body> {
        let is_read = request.method() == Method::GET && request.uri().path().contains("/secrets/");
        let spoils = is_read && self.spoils.load(Ordering::SeqCst) && wants_the_data(request.headers());
        let (mut parts, body) = request.into_parts();
        for name in [header::HOST, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
        match self.upstream.send(Request::from_parts(parts, Body::from(body))).await {
            Ok(answer) if spoils && answer.status().is_success() => self.spoiled(answer).await,
            Ok(answer) => answer,
            Err(_) => Response::builder().status(502).body(Body::empty()).expect("plain parts"),
        }
    }

    /// The data as one text, which an error about its type would repeat.
    async fn spoiled(&self, answer: Response<Body>) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        let bytes = body.collect().await.expect("a whole answer").to_bytes();
        let mut secret: Value = serde_json::from_slice(&bytes).expect("JSON");
        secret["data"] = json!(secret["data"].to_string());
        parts.headers.remove(header::CONTENT_LENGTH);
        self.spoiled.store(true, Ordering::SeqCst);
        Response::from_parts(parts, Body::from(secret.to_string().into_bytes()))
    }
}

/// Metadata holds no data that could be spoiled.
fn wants_the_data(headers: &HeaderMap<HeaderValue>) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    !accepted.contains("PartialObjectMetadata")
}
