//! The certificates and keys of one control plane, made anew at each start.
//!
//! They are as real as a cluster's: one authority, a serving certificate for loopback, a client
//! certificate for each identity, and a key that signs service account tokens. Nothing is kept, so
//! no key ever has a chance to be trusted by anything else.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::files;

/// Why the certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate library refused.
    #[error("cannot make the certificate {name}")]
    Make {
        /// The name of the file.
        name: &'static str,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] files::Error),
}

/// A certificate and its key, both as PEM files.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Everything the servers and their clients need.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    /// The text of the authority's certificate.
    pub(crate) authority_pem: String,
    /// What the API server shows to its clients.
    pub(crate) serving: Pair,
    /// A member of `system:masters`, whom RBAC never refuses.
    pub(crate) admin: Pair,
    /// The user that the built-in RBAC rules know as the controller manager.
    pub(crate) controller_manager: Pair,
    /// The user that the built-in RBAC rules know as the scheduler.
    pub(crate) scheduler: Pair,
    /// Signs service account tokens; `certificate` is the bare public key.
    pub(crate) service_accounts: Pair,
}

impl Certificates {
    /// Makes everything and writes it into `directory`, readable for its owner only.
    pub(crate) fn write(directory: &Path) -> Result<Self, Error> {
        let make = |source| Error::Make { name: "ca", source };
        let authority = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name("dbt-token-operator test authority", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let authority_pem = params.self_signed(&authority).map_err(make)?.pem();
        let issuer = Issuer::new(params, authority);

        let service_accounts = KeyPair::generate().map_err(|source| Error::Make { name: "service-accounts", source })?;
        let mut serving =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "kubernetes.default.svc".to_owned()])
                .map_err(|source| Error::Make { name: "serving", source })?;
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];

        let authority = directory.join("ca.pem");
        files::write(&authority, &authority_pem)?;
        Ok(Self {
            authority,
            authority_pem,
            serving: issue(directory, "serving", &serving, &issuer)?,
            admin: issue(directory, "admin", &client("admin", Some("system:masters")), &issuer)?,
            controller_manager: issue(directory, "controller-manager", &client("system:kube-controller-manager", None), &issuer)?,
            scheduler: issue(directory, "scheduler", &client("system:kube-scheduler", None), &issuer)?,
            service_accounts: write(directory, "service-accounts", &service_accounts.public_key_pem(), &service_accounts)?,
        })
    }
}

fn client(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(user, group);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn name(common: &str, organization: Option<&str>) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

fn issue(directory: &Path, name: &'static str, params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Result<Pair, Error> {
    let make = |source| Error::Make { name, source };
    let key = KeyPair::generate().map_err(make)?;
    let certificate = params.signed_by(&key, issuer).map_err(make)?;
    write(directory, name, &certificate.pem(), &key)
}

fn write(directory: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<Pair, Error> {
    let pair = Pair { certificate: directory.join(format!("{name}.pem")), key: directory.join(format!("{name}-key.pem")) };
    files::write(&pair.certificate, certificate)?;
    files::write(&pair.key, &key.serialize_pem())?;
    Ok(pair)
}
