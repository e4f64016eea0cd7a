//! Whom an encrypted call trusts: the machine's roots and the account's own. Makes no call.

use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{RootCertStore, version};
use rustls_platform_verifier::Verifier;

/// What is wrong with the trust that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// The bundle is not PEM, holds no certificate, or one that is none.
    Bundle(String),
    /// Neither the machine nor the bundle has a single root.
    NoRoots(String),
}

/// The configuration of TLS 1.2 and 1.3 with the account's bundle **added to** the machine's roots. Added, since behind a
/// proxy that breaks TLS open some of dbt's hosts may still be reached directly.
///
/// The machine's roots come by the same crate by which the Kubernetes client finds them (`rustls-platform-verifier`, which
/// on Linux reads the system's store, or `SSL_CERT_FILE` and `SSL_CERT_DIR`). The provider is named here instead of being
/// the process's default: with two providers linked in, a default is a panic at the first call.
pub(super) fn client_config(bundle: Option<&[u8]>) -> Result<ClientConfig, Untrusted> {
    let provider = provider();
    let own = bundle.map(certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(own, Arc::clone(&provider)).map_err(|error| match bundle {
        Some(_) => Untrusted::Bundle(error.to_string()),
        None => Untrusted::NoRoots(error.to_string()),
    })?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| Untrusted::NoRoots(error.to_string()))?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// A configuration that trusts nobody, for an account that is reached without TLS (loopback): it spares the reading of
/// the machine's roots, and works where there are none.
pub(super) fn distrustful_config() -> Result<ClientConfig, Untrusted> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| Untrusted::NoRoots(error.to_string()))?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn certificates(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, Untrusted> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(bundle)
        .collect::<Result<_, _>>()
        .map_err(|error| Untrusted::Bundle(format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(Untrusted::Bundle("holds no certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bundle: &[u8]) -> String {
        match client_config(Some(bundle)) {
            Err(Untrusted::Bundle(reason)) => reason,
            Err(Untrusted::NoRoots(reason)) => panic!("blamed on the machine: {reason}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        assert_eq!(refusal(b""), "holds no certificate");
        assert_eq!(refusal(b"no PEM at all"), "holds no certificate");
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(refusal(key), "holds no certificate");
        assert!(refusal(b"-----BEGIN CERTIFICATE-----\nAAAA\n").starts_with("is not PEM"));
        assert!(!refusal(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_empty());
    }

    #[test]
    fn no_process_wide_provider_is_needed() {
        assert!(distrustful_config().is_ok());
    }
}
