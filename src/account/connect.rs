//! From Secrets to a connection: reads the credential and the CA bundle when something says that they changed, and opens
//! a new connection only if what it rests on is really different. At rest nothing is read.

use std::sync::Arc;
use std::time::Duration;

use dbt_token_planner::account::observation::{AccountRefusal, Credential, MissingSecret, OwnCredential};
use dbt_token_planner::desired::Refusal;
use dbt_token_planner::identity::AccountId;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::handle::{AccountHandle, State};
use super::lock;
use super::readings::{Connected, Readings, later, retry_at};
use crate::api::desired_account::{AccountSettings, SecretKey};
use crate::backend::dbt::{ConnectError, Connection, DbtCloud, Limiter, Meter, Now, Surroundings, Timing, credential_uid};
use crate::backend::{Backend, ErrorClass};
use crate::cluster::account_access::SecretValue;
use crate::cluster::failure::Failure;
use crate::token::TokenString;

/// How soon a Secret that did not hold what it should is read again, should the watch say nothing.
const REREAD: Duration = Duration::from_secs(60);

/// Opens connections to dbt.
pub trait Connector: Send + Sync {
    /// Opens one; makes no call.
    ///
    /// # Errors
    /// [`ConnectError`], for a person to mend.
    fn connect(
        &self,
        connection: &Connection,
        credential: &TokenString,
        limiter: Arc<Limiter>,
    ) -> Result<Arc<dyn Backend>, ConnectError>;
}

/// The real one.
#[derive(Clone)]
pub struct DbtConnector {
    /// Is told of every exchange.
    pub meter: Arc<dyn Meter>,
    /// Tells the time.
    pub now: Now,
    /// Waiting times.
    pub timing: Timing,
}

impl Connector for DbtConnector {
    fn connect(
        &self,
        connection: &Connection,
        credential: &TokenString,
        limiter: Arc<Limiter>,
    ) -> Result<Arc<dyn Backend>, ConnectError> {
        let DbtConnector { meter, now, timing } = self.clone();
        let surroundings = Surroundings { limiter, meter, now, timing };
        Ok(Arc::new(DbtCloud::connect(connection, credential, surroundings)?))
    }
}

/// The connection, and what it was made of.
#[derive(Default)]
pub(super) struct Link {
    connected: Option<Connected>,
    /// Why there is none, as far as Secrets are concerned.
    trouble: Option<Credential>,
    /// Why there is none, as far as the declaration is concerned.
    pub(super) refusal: Option<AccountRefusal>,
    /// Digest of everything that the connection rests on, the credential included.
    basis: Option<[u8; 32]>,
    /// The declaration at the last reading of the Secrets.
    settings: Option<AccountSettings>,
    /// The versions that the watch showed at the last reading, and those that were read.
    versions: Versions,
    /// When the Secrets are read again whatever the watch says.
    again_at: Option<Timestamp>,
    failures: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Versions {
    watched: [Option<String>; 2],
    read: [Option<String>; 2],
}

impl Versions {
    /// A version that the watch shows later, and that was the one read, is no change.
    fn show_change(&self, watched: &[Option<String>; 2]) -> bool {
        (0..2).any(|place| watched[place] != self.watched[place] && watched[place] != self.read[place])
    }
}

impl Link {
    pub(super) fn connected(&self) -> Option<&Connected> {
        self.connected.as_ref()
    }

    /// When the Secrets are read again whatever the watch says.
    pub(super) fn again_at(&self) -> Option<Timestamp> {
        self.again_at
    }

    /// For the planner; `own` is how the credential is found in the last list.
    pub(super) fn credential(&self, own: Option<OwnCredential>) -> Credential {
        match (&self.trouble, &self.connected) {
            (Some(trouble), _) => trouble.clone(),
            (None, None) => Credential::Unread,
            (None, Some(connected)) => {
                let unlisted = || connected.uid.clone().map_or(OwnCredential::Candidates([].into()), OwnCredential::Uid);
                Credential::Present(own.unwrap_or_else(unlisted))
            }
        }
    }

    fn is_due(&self, settings: &AccountSettings, watched: &[Option<String>; 2], now: Timestamp) -> bool {
        let changed = self.settings.as_ref() != Some(settings) || self.versions.show_change(watched);
        changed || self.again_at.is_some_and(|time| time <= now)
    }
}

/// What the Secrets hold.
struct Material {
    credential: Zeroizing<Vec<u8>>,
    bundle: Option<Zeroizing<Vec<u8>>>,
    versions: [Option<String>; 2],
}

/// Why there is no material.
enum Lacking {
    Credential,
    Bundle,
    Cluster(Failure),
}

impl AccountHandle {
    /// Sees to it that the connection is the one that is declared.
    pub(super) async fn connect(&self, settings: &AccountSettings) {
        let now = self.shared.now();
        let watched = self.watched_versions(settings);
        if !lock(&self.state).link.is_due(settings, &watched, now) {
            return;
        }
        let material = self.material(settings).await;
        let mut state = lock(&self.state);
        state.link.settings = Some(settings.clone());
        state.link.versions.watched = watched;
        match material {
            Ok(material) => self.open_connection(&mut state, settings, material, now),
            Err(lacking) => self.note_lacking(&mut state, settings, lacking, now),
        }
    }

    fn watched_versions(&self, settings: &AccountSettings) -> [Option<String>; 2] {
        let version = |secret: &SecretKey| self.shared.surroundings.watched.secret_version(&secret.name);
        [version(&settings.credential), settings.ca_bundle.as_ref().and_then(version)]
    }

    async fn material(&self, settings: &AccountSettings) -> Result<Material, Lacking> {
        let cluster = &self.shared.surroundings.cluster;
        let read = async |secret: &SecretKey| cluster.secret_value(&secret.name, &secret.key).await.map_err(Lacking::Cluster);
        let SecretValue { bytes, version } = read(&settings.credential).await?.ok_or(Lacking::Credential)?;
        let bundle = match &settings.ca_bundle {
            Some(secret) => Some(read(secret).await?.ok_or(Lacking::Bundle)?),
            None => None,
        };
        let (bundle, bundle_version) = bundle.map(|value| (value.bytes, value.version)).unzip();
        Ok(Material { credential: bytes, bundle, versions: [version, bundle_version.flatten()] })
    }

    fn note_lacking(&self, state: &mut State, settings: &AccountSettings, lacking: Lacking, now: Timestamp) {
        let link = &mut state.link;
        let trouble = match lacking {
            Lacking::Credential => Credential::Missing(self.missing(link, &settings.credential, now)),
            Lacking::Bundle => {
                let secret = settings.ca_bundle.as_ref().unwrap_or(&settings.credential);
                Credential::BundleInvalid(self.missing(link, secret, now))
            }
            Lacking::Cluster(failure) => {
                link.failures = link.failures.saturating_add(1);
                let since = match &link.trouble {
                    Some(Credential::ClusterUnavailable { since, .. }) => *since,
                    _ => now,
                };
                let retry_at = retry_at(&ErrorClass::Unavailable, link.failures, now);
                Credential::ClusterUnavailable { detail: failure.detail, since, retry_at }
            }
        };
        link.again_at = Some(match &trouble {
            Credential::ClusterUnavailable { retry_at, .. } => *retry_at,
            _ => later(now, REREAD),
        });
        // A connection that works is kept while the API server is away; one whose Secret was removed is not.
        if !matches!(trouble, Credential::ClusterUnavailable { .. }) || link.connected.is_none() {
            (link.connected, link.basis, link.trouble) = (None, None, Some(trouble));
            state.readings = Readings::default();
        }
    }

    fn missing(&self, link: &Link, secret: &SecretKey, now: Timestamp) -> MissingSecret {
        let namespace = self.shared.surroundings.namespace.clone();
        let missing = MissingSecret { namespace, name: secret.name.clone(), key: secret.key.clone(), since: now };
        let since = match &link.trouble {
            Some(Credential::Missing(earlier) | Credential::BundleInvalid(earlier))
                if (&earlier.name, &earlier.key) == (&missing.name, &missing.key) =>
            {
                earlier.since
            }
            _ => now,
        };
        MissingSecret { since, ..missing }
    }

    fn open_connection(&self, state: &mut State, settings: &AccountSettings, material: Material, now: Timestamp) {
        let link = &mut state.link;
        link.failures = 0;
        link.again_at = None;
        link.versions.read = material.versions.clone();
        self.limiter.set_requests_per_minute(settings.requests_per_minute);
        let basis = basis(settings, &material);
        if link.basis == Some(basis) && (link.connected.is_some() || link.refusal.is_some()) {
            return;
        }
        let bundle = material.bundle.map(|mut bytes| std::mem::take(&mut *bytes));
        let connection = Connection {
            access_url: settings.access_url.clone(),
            account_id: AccountId(settings.account_id),
            discovery_url: settings.discovery_url.clone(),
            semantic_layer_url: settings.semantic_layer_url.clone(),
            ca_bundle: bundle,
            allow_insecure: self.shared.surroundings.allow_insecure,
            requests_per_minute: settings.requests_per_minute,
        };
        let opened = credential_string(material.credential).ok_or(ConnectError::CredentialUnusable).and_then(|credential| {
            let backend = self.shared.surroundings.connector.connect(&connection, &credential, Arc::clone(&self.limiter))?;
            Ok(Connected { backend, uid: credential_uid(&credential), credential: Arc::new(credential) })
        });
        link.basis = Some(basis);
        (link.connected, link.trouble, link.refusal) = match opened {
            Ok(connected) => (Some(connected), None, None),
            Err(error) => {
                let (trouble, refusal) = self.unopened(link, settings, error, now);
                (None, trouble, refusal)
            }
        };
        link.again_at = link.trouble.is_some().then(|| later(now, REREAD));
        state.readings = Readings::default();
        state.create_refused = None;
    }

    fn unopened(
        &self,
        link: &Link,
        settings: &AccountSettings,
        error: ConnectError,
        now: Timestamp,
    ) -> (Option<Credential>, Option<AccountRefusal>) {
        let invalid = |field: &str, why: String, remedy: &str| {
            let refusal = Refusal::InvalidSpec { field: field.to_owned(), why, remedy: remedy.to_owned() };
            (None, Some(AccountRefusal::Spec(refusal)))
        };
        match error {
            ConnectError::InsecureEndpoint { field } => {
                (None, Some(AccountRefusal::InsecureEndpoint { field: field.to_owned() }))
            }
            ConnectError::InvalidUrl { field, reason } => invalid(field, reason.to_owned(), "write a URL as dbt shows it"),
            ConnectError::CaBundleInvalid { .. } => {
                let secret = settings.ca_bundle.as_ref().unwrap_or(&settings.credential);
                (Some(Credential::BundleInvalid(self.missing(link, secret, now))), None)
            }
            ConnectError::NoRoots { reason } => {
                let retry_at = later(now, REREAD);
                (Some(Credential::ClusterUnavailable { detail: reason, since: now, retry_at }), None)
            }
            ConnectError::CredentialUnusable => invalid(
                "credentialsSecretRef",
                "the key holds no token: it is empty, or has characters that a token cannot have".to_owned(),
                "write the bare token under the key",
            ),
            ConnectError::AccountIdInvalid => {
                invalid("accountId", "it is below 1".to_owned(), "write the id that dbt shows in the account's settings")
            }
        }
    }
}

/// The string of the credential without the line break that editors and `echo` leave at its end.
fn credential_string(mut bytes: Zeroizing<Vec<u8>>) -> Option<TokenString> {
    let end = bytes.trim_ascii_end().len();
    bytes.truncate(end);
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| drop(Zeroizing::new(error.into_bytes()))).ok()?;
    Some(TokenString::new(text))
}

/// A digest, so that the credential itself need not be kept to be compared. The rate is not a part: the limiter is told.
fn basis(settings: &AccountSettings, material: &Material) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| {
        digest.update([u8::from(bytes.is_some())]);
        let bytes = bytes.unwrap_or_default();
        digest.update(bytes.len().to_le_bytes());
        digest.update(bytes);
    };
    part(Some(settings.access_url.as_bytes()));
    part(Some(&settings.account_id.to_le_bytes()));
    part(settings.discovery_url.as_deref().map(str::as_bytes));
    part(settings.semantic_layer_url.as_deref().map(str::as_bytes));
    part(Some(material.credential.trim_ascii_end()));
    part(material.bundle.as_ref().map(|bytes| bytes.as_slice()));
    digest.finalize().into()
}
