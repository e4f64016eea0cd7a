//! Requests one after the other over one connection, with the least that a client can do for them.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};

use super::{Address, Answer, Client, Stream};

/// One request.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: String,
}

/// An open connection.
pub(crate) struct Session {
    stream: BufReader<Box<dyn Stream>>,
    authority: String,
}

impl Session {
    /// Opens a connection to the host of `url`.
    pub(crate) fn open(client: &Client, url: &str) -> Result<Self> {
        let address = Address::parse(url).ok_or_else(|| malformed("the address"))?;
        let stream = client.connect(&address)?;
        Ok(Self { stream: BufReader::new(stream), authority: address.authority.to_owned() })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn send(&mut self, request: &Request<'_>) -> Result<Answer> {
        let Request { method, path, token, content_type, body } = request;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| malformed("the status"))?;
        let mut length = 0;
        let mut is_chunked = false;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(|_| malformed("the length"))?,
                "transfer-encoding" => is_chunked = value.contains("chunked"),
                _ => {}
            }
        }
        let body = if is_chunked { self.chunks()? } else { self.bytes(length)? };
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| malformed("a length"))?;
            body.extend(self.bytes(size)?);
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what} is not HTTP"))
}
