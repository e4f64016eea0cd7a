//! A server on loopback that writes bytes as a test says: what no HTTP library would send, and TLS as no honest host speaks
//! it. Knows nothing of dbt.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What follows a request.
#[derive(Clone)]
pub(super) enum Bytes {
    /// These, and the connection stays open.
    Kept(String),
    /// These, and the connection is closed.
    Closed(Vec<u8>),
    /// The first, the second so many times, and the third; then the connection is closed.
    Repeated(String, &'static str, usize, &'static str),
    /// These, and then more of the second one by one, with a pause before each, for ever.
    Trickling(&'static str, &'static [u8], Duration),
}

/// Answers to the requests, by their number from 0 on.
type Script = dyn Fn(usize) -> Bytes + Send + Sync;

/// A running server; stopped when dropped.
pub(super) struct Raw {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Raw {
    pub(super) async fn start(script: impl Fn(usize) -> Bytes + Send + Sync + 'static) -> Self {
        Self::serve(None, script).await
    }

    /// The same behind TLS.
    pub(super) async fn start_tls(acceptor: TlsAcceptor, script: impl Fn(usize) -> Bytes + Send + Sync + 'static) -> Self {
        Self::serve(Some(acceptor), script).await
    }

    async fn serve(acceptor: Option<TlsAcceptor>, script: impl Fn(usize) -> Bytes + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (requests, written): (Arc<AtomicUsize>, Arc<AtomicUsize>) = (Arc::default(), Arc::default());
        let talk = Talk { script: Arc::new(script), requests: Arc::clone(&requests), written: Arc::clone(&written) };
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (talk, acceptor) = (talk.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => talk.with(stream).await,
                        // A client that does not trust the certificate goes away.
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => talk.with(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, requests, written, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn https_url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many requests came in.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many bytes the other side, and what lies between, took.
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Talk {
    script: Arc<Script>,
    requests: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Talk {
    /// `None` as soon as the other side is gone.
    async fn with<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> Option<()> {
        loop {
            read_request(&mut stream).await?;
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            match (self.script)(number) {
                Bytes::Kept(text) => self.write(&mut stream, text.as_bytes()).await?,
                Bytes::Closed(bytes) => {
                    self.write(&mut stream, &bytes).await?;
                    return stream.shutdown().await.ok();
                }
                Bytes::Repeated(first, again, times, last) => {
                    self.write(&mut stream, first.as_bytes()).await?;
                    // Many at once, since each write is a call of the system.
                    let many = again.repeat(1000);
                    for _ in 0..times / 1000 {
                        self.write(&mut stream, many.as_bytes()).await?;
                    }
                    self.write(&mut stream, again.repeat(times % 1000).as_bytes()).await?;
                    self.write(&mut stream, last.as_bytes()).await?;
                    return stream.shutdown().await.ok();
                }
                Bytes::Trickling(first, again, pause) => {
                    self.write(&mut stream, first.as_bytes()).await?;
                    let mut ticks = tokio::time::interval(pause);
                    for byte in again.iter().cycle() {
                        ticks.tick().await;
                        self.write(&mut stream, &[*byte]).await?;
                    }
                }
            }
        }
    }

    async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S, bytes: &[u8]) -> Option<()> {
        stream.write_all(bytes).await.ok()?;
        stream.flush().await.ok()?;
        self.written.fetch_add(bytes.len(), Ordering::SeqCst);
        Some(())
    }
}

/// All of it, since what is left unread when a connection is closed makes the system throw the answer away.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok().map(|_| ())
}
