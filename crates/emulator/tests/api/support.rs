//! A client for the tests: real HTTP and HTTPS, JSON bodies, nothing shared with the emulator.

use std::sync::Arc;
use std::time::Duration;

use dbt_cloud_emulator::{Emulator, Options, Seed};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Far more than anything here takes; a test that reaches it has failed.
pub const LIMIT: Duration = Duration::from_secs(20);

/// An answer as a client sees it.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn data(&self) -> Value {
        self.json()["data"].clone()
    }

    pub fn message(&self) -> String {
        self.json()["status"]["user_message"].as_str().unwrap_or_default().to_owned()
    }

    /// The ids of a list answer.
    pub fn ids(&self) -> Vec<i64> {
        let data = self.data();
        let items = data.as_array().expect("the answer is a list");
        items.iter().map(|item| item["id"].as_i64().expect("an item has an id")).collect()
    }
}

/// An emulator and a client with the admin token.
pub struct World {
    pub dbt: Emulator,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a call may add to method, path and body.
#[derive(Clone, Copy, Default)]
pub struct Extra<'a> {
    pub authorization: Option<&'a str>,
    pub host: Option<&'a str>,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: impl Into<Options>) -> Self {
        let dbt = Emulator::start(options).await.expect("the emulator starts");
        Self { dbt, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The demo account on another plan.
    pub async fn on_plan(plan: &str) -> Self {
        let mut seed = Seed::demo();
        plan.clone_into(&mut seed.account.plan);
        Self::with(seed).await
    }

    /// `/api/v3/accounts/{account}` and `rest`.
    pub fn v3(&self, rest: &str) -> String {
        format!("/api/v3/accounts/{}/{rest}", self.dbt.account_id())
    }

    /// `/api/v2/accounts/{account}` and `rest`.
    pub fn v2(&self, rest: &str) -> String {
        format!("/api/v2/accounts/{}/{rest}", self.dbt.account_id())
    }

    /// A call that may fail on the way.
    pub async fn try_call(&self, method: &str, path: &str, body: Option<&Value>, extra: Extra<'_>) -> Result<Reply, String> {
        let url = format!("{}{path}", self.dbt.http_url());
        let mut request = Request::builder().method(method).uri(url);
        if let Some(authorization) = extra.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(host) = extra.host {
            request = request.header("host", host);
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(bytes)).expect("the request is well formed");
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec();
            Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(LIMIT, exchange).await.expect("an answer within the limit")
    }

    /// A call with a token.
    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let authorization = format!("Token {token}");
        let extra = Extra { authorization: Some(&authorization), host: None };
        self.try_call(method, path, body, extra).await.expect("an answer")
    }

    /// A call with the admin token.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.call_as(self.dbt.admin_token(), method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    /// Creates a token and returns the `data` of the answer.
    pub async fn create(&self, body: Value) -> Value {
        let reply = self.call("POST", &self.v3("service-tokens/"), Some(&body)).await;
        assert_eq!(reply.status, 200, "{}", reply.message());
        reply.data()
    }

    /// A GraphQL call with `Bearer`.
    pub async fn graphql(&self, token: &str, path: &str, query: &str, variables: Value) -> Reply {
        let authorization = format!("Bearer {token}");
        let extra = Extra { authorization: Some(&authorization), host: None };
        let body = serde_json::json!({ "query": query, "variables": variables });
        self.try_call("POST", path, Some(&body), extra).await.expect("an answer")
    }
}

/// One GET over HTTPS that trusts the emulator's CA alone, for `name`.
pub async fn get_https(dbt: &Emulator, name: &str, path: &str, token: &str) -> Result<Reply, String> {
    let (stream, port) = connect(dbt, name, &[]).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", format!("{name}:{port}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    read(sender.send_request(request).await).await
}

/// The same over HTTP/2, where the host is in the URI.
pub async fn get_http2(dbt: &Emulator, path: &str, token: &str) -> Result<Reply, String> {
    let (stream, port) = connect(dbt, "localhost", &[b"h2"]).await?;
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get(format!("https://localhost:{port}{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    read(sender.send_request(request).await).await
}

async fn read(response: hyper::Result<http::Response<hyper::body::Incoming>>) -> Result<Reply, String> {
    let (parts, body) = response.map_err(|error| error.to_string())?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec();
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body })
}

async fn connect(dbt: &Emulator, name: &str, protocols: &[&[u8]]) -> Result<(TlsStream<TcpStream>, String), String> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(dbt.ca_pem().as_bytes()).map_err(|error| error.to_string())?;
    roots.add(ca).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let port = dbt.https_url().rsplit(':').next().expect("a URL with a port").to_owned();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.map_err(|error| error.to_string())?;
    let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(server, stream).await.map_err(|error| error.to_string())?;
    Ok((stream, port))
}
