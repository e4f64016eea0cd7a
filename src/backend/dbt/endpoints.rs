//! The addresses of one account: which are allowed, and how two of them follow from the third. Makes no call.

use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;

/// Whether addresses without TLS may be used. They may only ever be loopback addresses: the credential would be readable
/// on every other network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plaintext {
    /// Only `https`.
    Refused,
    /// `http` too, for loopback hosts.
    OnLoopback,
}

/// Why an address cannot be used. Never holds the address itself, since somebody may have put a password into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It cannot be read, or has a part that it must not have.
    Invalid(&'static str),
    /// It is `http` where it must not be.
    Insecure,
}

/// A checked address: scheme, host, port and path; no credentials, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    scheme: &'static str,
    authority: String,
    host: String,
    path: String,
}

impl Address {
    /// Reads an address that is only a scheme and a host (with or without port); a last slash is dropped.
    pub(super) fn origin(text: &str, plaintext: Plaintext) -> Result<Self, Unusable> {
        let address = Self::full(text, plaintext)?;
        if address.path.is_empty() { Ok(address) } else { Err(Unusable::Invalid("must not have a path")) }
    }

    /// Reads an address with a path.
    pub(super) fn full(text: &str, plaintext: Plaintext) -> Result<Self, Unusable> {
        if text.contains('#') {
            return Err(Unusable::Invalid("must not have a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| Unusable::Invalid("is not a URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Unusable::Invalid("must start with https:// and name a host"));
        };
        if authority.as_str().contains('@') {
            return Err(Unusable::Invalid("must not hold a user name or password"));
        }
        if uri.query().is_some() {
            return Err(Unusable::Invalid("must not have a query"));
        }
        if !is_host(authority.host()) {
            return Err(Unusable::Invalid("must name a host"));
        }
        // hyper would take its own default for a port that is none, and leave out what stands between the two.
        if !authority.as_str().strip_prefix(authority.host()).is_some_and(is_port) {
            return Err(Unusable::Invalid("has a port that is none"));
        }
        let scheme = match scheme {
            "https" => "https",
            "http" if plaintext == Plaintext::OnLoopback && is_loopback(authority.host()) => "http",
            "http" => return Err(Unusable::Insecure),
            _ => return Err(Unusable::Invalid("must start with https://")),
        };
        Ok(Self {
            scheme,
            authority: authority.as_str().to_ascii_lowercase(),
            host: authority.host().to_ascii_lowercase(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether calls to it are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    /// The host, without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The address with a path and query behind its own path; `None` if they hold what a URL cannot, or begin like
    /// something that would belong to the host.
    pub(super) fn join(&self, path_and_query: &str) -> Option<Uri> {
        if !(path_and_query.is_empty() || path_and_query.starts_with('/')) {
            return None;
        }
        format!("{}://{}{}{path_and_query}", self.scheme, self.authority, self.path).parse().ok()
    }
}

/// A name of letters, digits, dots, dashes and underscores, or an IPv6 address in brackets. The URI library takes far more, and
/// is not always of one mind about where a host ends.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
    }
}

/// What may stand behind a host: nothing, or a colon and a port.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The two GraphQL addresses that follow from an access URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedEndpoints {
    /// Discovery, for example `https://ab123.metadata.us1.dbt.com/graphql`.
    pub discovery: String,
    /// The Semantic Layer, for example `https://ab123.semantic-layer.us1.dbt.com/api/graphql`.
    pub semantic_layer: String,
}

/// Derives the addresses of Discovery and the Semantic Layer from an account's access URL.
///
/// The rule is the one of dbt's own MCP server: a prefix stays in front and the word comes second; without a prefix the
/// word comes first. It is applied to dbt's multi-tenant hosts alone (`cloud.getdbt.com`, `emea.dbt.com`, `au.dbt.com`,
/// `REGION.dbt.com`, `PREFIX.REGION.dbt.com`, where a region is two letters and a number). `None` for everything else:
/// a single tenant's routing subdomain does not follow from its access URL, so guessing would send a token to a host
/// that may be somebody else's.
pub fn derive_endpoints(access_url: &str) -> Option<DerivedEndpoints> {
    let address = Address::origin(access_url, Plaintext::Refused).ok()?;
    let is_default_port = address.authority == address.host || address.authority == format!("{}:443", address.host);
    if !is_default_port {
        return None;
    }
    let host = address.host.as_str();
    let labels: Vec<&str> = host.split('.').collect();
    let place = |word: &str| match labels.as_slice() {
        ["cloud", "getdbt", "com"] | ["emea" | "au", "dbt", "com"] => Some(format!("{word}.{host}")),
        [region, "dbt", "com"] if is_region(region) => Some(format!("{word}.{host}")),
        [prefix, region, "dbt", "com"] if !prefix.is_empty() && is_region(region) => {
            Some(format!("{prefix}.{word}.{region}.dbt.com"))
        }
        _ => None,
    };
    Some(DerivedEndpoints {
        discovery: format!("https://{}/graphql", place("metadata")?),
        semantic_layer: format!("https://{}/api/graphql", place("semantic-layer")?),
    })
}

/// `us1`, `eu3` and the like. Not a closed list: dbt opens regions.
fn is_region(label: &str) -> bool {
    let letters = label.bytes().take_while(u8::is_ascii_lowercase).count();
    let number = &label[letters..];
    letters == 2 && (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(access_url: &str) -> Option<(String, String)> {
        derive_endpoints(access_url).map(|endpoints| (endpoints.discovery, endpoints.semantic_layer))
    }

    #[test]
    fn endpoints_follow_from_every_multi_tenant_host() {
        let regions = ["us1", "eu1", "au1", "jp1", "us3", "eu3", "eu4", "us2", "eu2", "au2"];
        for region in regions {
            let expected = (
                format!("https://ab123.metadata.{region}.dbt.com/graphql"),
                format!("https://ab123.semantic-layer.{region}.dbt.com/api/graphql"),
            );
            assert_eq!(derived(&format!("https://ab123.{region}.dbt.com")), Some(expected), "{region}");
        }
        for host in ["cloud.getdbt.com", "emea.dbt.com", "au.dbt.com", "us1.dbt.com"] {
            let expected = (format!("https://metadata.{host}/graphql"), format!("https://semantic-layer.{host}/api/graphql"));
            assert_eq!(derived(&format!("https://{host}")), Some(expected.clone()), "{host}");
            assert_eq!(derived(&format!("https://{}:443/", host.to_uppercase())), Some(expected), "{host}");
        }
    }

    #[test]
    fn nothing_is_derived_from_other_hosts() {
        for access_url in [
            "https://acme.getdbt.com",
            "https://abc.acme.dbt.com",
            "https://abc.emea.dbt.com",
            "https://dbt.acme.example",
            "https://a.b.us1.dbt.com",
            "https://ab123.us1.dbt.com:8443",
            "https://ab123.us1.dbt.com.attacker.example",
            "https://us1.dbt.com.attacker.example",
            "https://ab123.us1.dbt.com/api",
            "https://ab123.usa1.dbt.com",
            "http://ab123.us1.dbt.com",
            "https://127.0.0.1:8443",
            "ab123.us1.dbt.com",
            "",
        ] {
            assert_eq!(derived(access_url), None, "{access_url}");
        }
    }

    #[test]
    fn addresses_without_tls_are_for_loopback_and_only_if_allowed() {
        for text in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:1", "http://127.8.9.1"] {
            assert_eq!(Address::origin(text, Plaintext::Refused), Err(Unusable::Insecure), "{text}");
            assert!(!Address::origin(text, Plaintext::OnLoopback).expect("allowed").is_encrypted());
        }
        for text in ["http://emulator:8080", "http://10.0.0.1", "http://127.0.0.1.attacker.example", "http://localhost.example"] {
            assert_eq!(Address::origin(text, Plaintext::OnLoopback), Err(Unusable::Insecure), "{text}");
        }
    }

    #[test]
    fn odd_addresses_are_refused() {
        for text in [
            "ftp://host",
            "host",
            "https://",
            "https://user:password@host",
            "https://host/path",
            "https://host/?query",
            "https://host/#fragment",
            "https://ho st",
            "https://host:",
            "https://host:65536",
            "https://host:0x1",
            "https://host:+443",
            "https://[::1]~:443",
            "https://[::1]elsewhere",
            "https://elsewhere[::1]:443",
            "https://a%40b",
            "https://a,b",
            "https://[::1",
            "https://[host]",
            "/path",
        ] {
            assert!(matches!(Address::origin(text, Plaintext::OnLoopback), Err(Unusable::Invalid(_))), "{text}");
        }
    }

    #[test]
    fn paths_are_joined_behind_the_host() {
        let address = Address::origin("https://AB123.us1.dbt.com/", Plaintext::Refused).expect("valid");
        let uri = address.join("/api/v2/accounts/1/?limit=1").expect("valid");
        assert_eq!(uri.to_string(), "https://ab123.us1.dbt.com/api/v2/accounts/1/?limit=1");
        let graphql = Address::full("https://host:8443/graphql/", Plaintext::Refused).expect("valid");
        assert_eq!(graphql.join("").expect("valid").to_string(), "https://host:8443/graphql");
    }
}
