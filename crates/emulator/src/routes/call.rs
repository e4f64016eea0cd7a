//! One request as the routes see it: parsed once, with nothing of HTTP left but the words.

use std::time::Instant;

use serde_json::Value;

/// Which of the service's hosts a request is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Admin,
    Discovery,
    SemanticLayer,
    /// A host that serves nothing at this path.
    Nothing,
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) raw_query: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) host: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) arrived: Instant,
}

impl Call {
    /// The first value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that must be a number, if it is there.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, String> {
        self.parameter(name).map(|text| text.parse().map_err(|_| format!("\"{text}\" is not a number."))).transpose()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The path with its query, as the request log stores it.
    pub(crate) fn path_with_query(&self) -> String {
        if self.raw_query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.raw_query) }
    }

    /// The path with every number replaced, for counting.
    pub(crate) fn template(&self) -> String {
        let named = |segment: &str| {
            let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { "{id}".to_owned() } else { crate::secret::redact(segment) }
        };
        self.path.split('/').map(named).collect::<Vec<_>>().join("/")
    }

    /// Where the request belongs: by the host's labels where they say so, else by the path.
    pub(crate) fn surface(&self) -> Surface {
        let labels: Vec<&str> = self.host.split('.').take(2).collect();
        let is_discovery_path = matches!(self.path.as_str(), "/graphql" | "/graphql/" | "/beta/graphql");
        let is_semantic_layer_path = matches!(self.path.as_str(), "/api/graphql" | "/api/graphql/");
        let choose = |right: bool, surface| if right { surface } else { Surface::Nothing };
        if labels.contains(&"metadata") {
            choose(is_discovery_path, Surface::Discovery)
        } else if labels.contains(&"semantic-layer") {
            choose(is_semantic_layer_path, Surface::SemanticLayer)
        } else if is_discovery_path {
            Surface::Discovery
        } else if is_semantic_layer_path {
            Surface::SemanticLayer
        } else {
            choose(self.path.starts_with("/api/v"), Surface::Admin)
        }
    }

    /// The token in the `Authorization` header: scheme word in any case, then the token.
    pub(crate) fn bearer(&self, schemes: &[&str]) -> Option<&str> {
        let (scheme, token) = self.authorization.as_deref()?.split_once(' ')?;
        let known = schemes.iter().any(|word| scheme.eq_ignore_ascii_case(word));
        (known && !token.trim().is_empty()).then(|| token.trim())
    }
}

/// Splits and decodes a query string.
pub(crate) fn parse_query(raw: &str) -> Vec<(String, String)> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// Undoes percent encoding and `+`; a broken escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let escape = (bytes[position] == b'%')
            .then(|| text.get(position + 1..position + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, width) = match (escape, bytes[position]) {
            (Some(byte), _) => (byte, 3),
            (None, b'+') => (b' ', 1),
            (None, byte) => (byte, 1),
        };
        decoded.push(byte);
        position += width;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Call, Surface, parse_query};
    use std::time::Instant;

    fn call(host: &str, path: &str) -> Call {
        Call {
            method: "GET".to_owned(),
            path: path.to_owned(),
            raw_query: String::new(),
            query: Vec::new(),
            host: host.to_owned(),
            authorization: Some("bearer  abc".to_owned()),
            body: Vec::new(),
            arrived: Instant::now(),
        }
    }

    #[test]
    fn a_query_is_decoded() {
        let pairs = parse_query("a=%5B1%5D&b=x+y&c&d=%zz");
        let expected = [("a", "[1]"), ("b", "x y"), ("c", ""), ("d", "%zz")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn host_and_path_choose_the_surface() {
        for (host, path, surface) in [
            ("localhost:1", "/api/v3/accounts/", Surface::Admin),
            ("localhost:1", "/graphql", Surface::Discovery),
            ("localhost:1", "/api/graphql", Surface::SemanticLayer),
            ("localhost:1", "/elsewhere", Surface::Nothing),
            ("metadata.localhost", "/graphql", Surface::Discovery),
            ("ab1.metadata.us1.localhost", "/graphql", Surface::Discovery),
            ("metadata.localhost", "/api/v2/accounts/", Surface::Nothing),
            ("ab1.semantic-layer.us1.localhost", "/api/graphql", Surface::SemanticLayer),
            ("semantic-layer.localhost", "/graphql", Surface::Nothing),
        ] {
            assert_eq!(call(host, path).surface(), surface, "{host}{path}");
        }
    }

    #[test]
    fn a_scheme_word_is_needed() {
        let mut request = call("localhost", "/");
        assert_eq!(request.bearer(&["Bearer"]), Some("abc"));
        assert_eq!(request.bearer(&["Token"]), None);
        request.authorization = Some("abc".to_owned());
        assert_eq!(request.bearer(&["Bearer", "Token"]), None);
    }

    #[test]
    fn templates_replace_numbers() {
        assert_eq!(call("h", "/api/v3/accounts/1/x/22/").template(), "/api/v3/accounts/{id}/x/{id}/");
    }
}
