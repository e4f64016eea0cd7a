//! The smallest HTTP client that can prove or measure something: one GET over real TLS or plain, or a [`Session`] of
//! requests over one connection. No pools, redirects or retries, so that what it reports is what a consumer would meet.
//!
//! It must never put a token anywhere but into the header of a request.

mod session;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

pub(crate) use session::{Request, Session};

/// Loopback answers within milliseconds; what takes longer than this hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// The emulator's answers are a few kilobytes; the metrics of the operator some more.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none that this client knows.
    #[error("{0} is no address of the form https://host:port/path")]
    Address(String),
    /// The certificates are none.
    #[error("the certificates to trust cannot be read")]
    Certificates(#[source] rustls::pki_types::pem::Error),
    /// TLS could not be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// Nobody answered, or not the one who should.
    #[error("{url} does not answer")]
    Exchange {
        /// What was asked.
        url: String,
        /// What happened.
        source: std::io::Error,
    },
    /// The answer is not HTTP.
    #[error("the answer of {0} is not HTTP")]
    Malformed(String),
}

/// A client that trusts one authority.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// An address in its parts.
struct Address<'a> {
    is_tls: bool,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Address<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        (!authority.is_empty()).then_some(Self { is_tls, authority, path })
    }

    fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(self.authority, |(host, _)| host)
    }

    fn socket(&self) -> String {
        match self.authority.contains(':') {
            true => self.authority.to_owned(),
            false => format!("{}:{}", self.authority, if self.is_tls { 443 } else { 80 }),
        }
    }
}

impl Client {
    /// A client that trusts the authorities in `pem` and nobody else.
    pub(crate) fn trusting(pem: &str) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.map_err(Error::Certificates)?).map_err(Error::Tls)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Asks once, with a token if there is one.
    pub(crate) fn get(&self, url: &str, token: Option<&str>) -> Result<Answer, Error> {
        let address = Address::parse(url).ok_or_else(|| Error::Address(url.to_owned()))?;
        let bytes = self.exchange(&address, token).map_err(|source| Error::Exchange { url: url.to_owned(), source })?;
        parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| Error::Malformed(url.to_owned()))
    }

    fn exchange(&self, address: &Address<'_>, token: Option<&str>) -> std::io::Result<Vec<u8>> {
        // In this version of HTTP the answer ends with the connection, and comes in one piece.
        let mut request = format!("GET {} HTTP/1.0\r\nHost: {}\r\nAccept: */*\r\n", address.path, address.authority);
        if let Some(token) = token {
            request.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        let mut stream = self.connect(address)?;
        converse(&mut stream, &request)
    }

    /// A connection, with TLS around it if the address asks for it.
    fn connect(&self, address: &Address<'_>) -> std::io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(address.socket())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        if !address.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(address.host().to_owned()).map_err(std::io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).map_err(std::io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }
}

/// What both kinds of connection can do.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

fn converse(stream: &mut dyn Stream, request: &str) -> std::io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MOST_BYTES).read_to_end(&mut answer) {
        // A server may close without saying so in TLS; whether all came is seen by the length.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !answer.is_empty() => Ok(answer),
        Err(error) => Err(error),
        Ok(_) => Ok(answer),
    }
}

/// Status and body; nothing if the answer is cut short.
fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let is_whole = length.is_none_or(|length| length == body.len());
    is_whole.then(|| Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let parts = |url| Address::parse(url).map(|a| (a.is_tls, a.host().to_owned(), a.socket(), a.path.to_owned()));
        let check = |url, tls, host: &str, socket: &str, path: &str| {
            assert_eq!(parts(url), Some((tls, host.to_owned(), socket.to_owned(), path.to_owned())), "{url}");
        };
        check("https://localhost:8543/api/v2/", true, "localhost", "localhost:8543", "/api/v2/");
        check("https://example.test", true, "example.test", "example.test:443", "/");
        check("http://127.0.0.1:80/metrics", false, "127.0.0.1", "127.0.0.1:80", "/metrics");
        assert!(parts("ftp://a").is_none() && parts("localhost").is_none() && parts("https:///a").is_none());
    }

    #[test]
    fn an_answer_that_was_cut_short_is_none() {
        let answer = parse("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (401, "no"));
        assert!(parse("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nno").is_none());
        assert!(parse("HTTP/1.1 200 OK\r\n").is_none());
    }
}
