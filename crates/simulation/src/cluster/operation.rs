//! A request as the API server reads it: from method, path, query and body to what is wanted.

use std::borrow::Cow;

use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::kind::{Key, Kind};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// All of a kind.
    List,
    /// All changes of a kind.
    Watch,
    /// A new object.
    Create,
    /// A merge patch.
    Merge,
    /// A server-side apply.
    Apply,
    /// A deletion.
    Delete,
}

impl Verb {
    /// Whether it changes something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }

    /// In a history.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Merge => "patch",
            Self::Apply => "apply",
            Self::Delete => "delete",
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Operation {
    /// What is wanted.
    pub verb: Verb,
    /// Of which object; without a name for all of a kind.
    pub key: Key,
    /// Whether it is about the status.
    pub status: bool,
    /// Which labels are wanted.
    pub selector: Selector,
    /// From which version on changes are wanted.
    pub from: u64,
    /// For how many seconds.
    pub seconds: u64,
    /// Whether nothing shall be kept.
    pub dry_run: bool,
    /// Whether only metadata shall come back.
    pub metadata_only: bool,
    /// Who writes.
    pub manager: String,
    /// What is sent.
    pub body: Value,
}

impl Operation {
    /// What somebody else than the operator does.
    pub fn by_hand(verb: Verb, key: &Key, body: Value) -> Self {
        Self {
            verb,
            key: key.clone(),
            status: false,
            selector: Selector::default(),
            from: 0,
            seconds: 0,
            dry_run: false,
            metadata_only: false,
            manager: "kubectl".to_owned(),
            body,
        }
    }

    /// Reads a request; none if the operator has no business with what it asks for.
    pub fn read(parts: &Parts, body: &[u8]) -> Option<Self> {
        let (key, status) = read_path(parts.uri.path())?;
        let query = read_query(parts.uri.query().unwrap_or_default());
        let value = |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_ref());
        let number = |name: &str| value(name).and_then(|text| text.parse().ok());
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let verb = match (parts.method.as_str(), key.name.is_empty()) {
            ("GET", false) => Verb::Get,
            ("GET", true) if value("watch") == Some("true") => Verb::Watch,
            ("GET", true) => Verb::List,
            ("POST", true) => Verb::Create,
            ("PATCH", false) if header("content-type").contains("apply-patch") => Verb::Apply,
            ("PATCH", false) => Verb::Merge,
            ("DELETE", false) => Verb::Delete,
            _ => return None,
        };
        Some(Self {
            verb,
            key,
            status,
            selector: Selector::read(value("labelSelector").unwrap_or_default()),
            from: number("resourceVersion").unwrap_or(0),
            seconds: number("timeoutSeconds").unwrap_or(290),
            dry_run: value("dryRun").is_some(),
            metadata_only: header("accept").contains("PartialObjectMetadata"),
            manager: value("fieldManager").unwrap_or_default().to_owned(),
            body: if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or(Value::Null) },
        })
    }
}

fn read_path(path: &str) -> Option<(Key, bool)> {
    let mut words = path.split('/').filter(|word| !word.is_empty());
    let skipped = if words.next()? == "api" { 1 } else { 2 };
    let words: Vec<&str> = words.skip(skipped).collect();
    let (namespace, words) = match words.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        words => ("", words),
    };
    let kind = Kind::of_path(words.first()?)?;
    let name = words.get(1).copied().unwrap_or_default();
    Some((Key::new(kind, namespace, name), words.get(2) == Some(&"status")))
}

fn read_query(query: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    fn decoded(text: &str) -> Cow<'_, str> {
        percent_decode_str(text).decode_utf8_lossy()
    }
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// Which labels an object must have, or must not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<(String, Option<String>)>);

impl Selector {
    fn read(text: &str) -> Self {
        let terms = text.split(',').filter(|term| !term.is_empty());
        Self(
            terms
                .map(|term| match term.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (term.trim_start_matches('!').to_owned(), None),
                })
                .collect(),
        )
    }

    /// Whether an object fits.
    pub fn fits(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|(name, value)| labels.get(name).and_then(Value::as_str) == value.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(method: &str, uri: &str) -> Option<Operation> {
        let request = http::Request::builder().method(method).uri(uri).body(()).expect("a request");
        Operation::read(&request.into_parts().0, b"")
    }

    #[test]
    fn paths_name_objects() {
        let group = "/apis/tokens.dbt-operator.dev/v1alpha1";
        for (method, uri, verb, key) in [
            ("GET", "/api/v1/namespaces/a/secrets/s?".to_owned(), Verb::Get, Key::new(Kind::Secret, "a", "s")),
            ("GET", "/api/v1/namespaces/a".to_owned(), Verb::Get, Key::new(Kind::Namespace, "", "a")),
            ("GET", format!("{group}/servicetokens?limit=5"), Verb::List, Key::new(Kind::ServiceToken, "", "")),
            ("GET", "/api/v1/secrets?watch=true".to_owned(), Verb::Watch, Key::new(Kind::Secret, "", "")),
            ("POST", "/api/v1/namespaces/a/secrets".to_owned(), Verb::Create, Key::new(Kind::Secret, "a", "")),
            (
                "PATCH",
                format!("{group}/namespaces/a/servicetokens/t/status"),
                Verb::Merge,
                Key::new(Kind::ServiceToken, "a", "t"),
            ),
        ] {
            let found = read(method, &uri).expect(&uri);
            assert_eq!((found.verb, found.key, found.status), (verb, key, uri.ends_with("/status")), "{uri}");
        }
        assert!(read("GET", "/version").is_none());
        assert!(read("GET", "/api/v1/nodes").is_none());
    }

    #[test]
    fn a_selector_asks_for_labels_and_for_their_absence() {
        let object = json!({"metadata": {"labels": {"a/b": "true"}}});
        for (text, fits) in [("", true), ("a/b=true", true), ("a/b=false", false), ("!c", true), ("!a/b", false)] {
            assert_eq!(Selector::read(text).fits(&object), fits, "{text}");
        }
    }
}
