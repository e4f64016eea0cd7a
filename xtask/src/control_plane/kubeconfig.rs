//! Kubeconfig files. They name the certificates by path, so they are worth nothing once the plane's
//! folder is gone.

use std::path::Path;

use serde_json::{Value, json};

use super::certificates::Pair;
use super::files;

/// Who the file's user is.
pub(crate) enum Identity<'a> {
    /// A client certificate.
    Certificate(&'a Pair),
    /// A bearer token, as service accounts have.
    Token(&'a str),
}

/// Writes a kubeconfig with one cluster, one user and one context, which is the current one.
pub(crate) fn write(path: &Path, server: &str, authority: &Path, identity: &Identity<'_>) -> Result<(), files::Error> {
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "plane",
            "cluster": {"server": server, "certificate-authority": authority},
        }],
        "users": [{"name": "user", "user": user(identity)}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
        "current-context": "plane",
    });
    let text = serde_yaml::to_string(&document).expect("a JSON document is a YAML document");
    files::write(path, &text)
}

fn user(identity: &Identity<'_>) -> Value {
    match identity {
        Identity::Certificate(pair) => json!({
            "client-certificate": pair.certificate,
            "client-key": pair.key,
        }),
        Identity::Token(token) => json!({"token": token}),
    }
}
