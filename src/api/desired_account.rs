//! Reads what a `DbtAccount` declares, with the defaults filled in. Its grants are matched with namespaces elsewhere.

use std::time::Duration;

use dbt_token_planner::desired::Refusal;

use super::desired::{invalid, read_duration};
use super::duration;
use super::v1alpha1::{AccountEffective, DbtAccount, GrantEnforcement};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Half of what dbt allows all clients of an account together.
const REQUESTS_PER_MINUTE: u32 = 2500;
/// Enough for a hundred namespaces that deploy at once, and too little for a loop of edits to fill the account.
const MINTS_PER_HOUR: u32 = 200;

/// A `DbtAccount` as declared, with the code's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSettings {
    /// The access URL without a last slash.
    pub access_url: String,
    /// dbt's id of the account.
    pub account_id: i64,
    /// The Secret and the key, in the operator's namespace, of the operator's credential.
    pub credential: SecretKey,
    /// The Secret and the key, in the operator's namespace, of a private CA's certificates.
    pub ca_bundle: Option<SecretKey>,
    /// URL of the Discovery API, if it is not to be derived from the access URL.
    pub discovery_url: Option<String>,
    /// URL of the Semantic Layer, if it is not to be derived from the access URL.
    pub semantic_layer_url: Option<String>,
    /// What happens to a published token whose grant was withdrawn.
    pub grant_enforcement: GrantEnforcement,
    /// Calls to dbt per minute.
    pub requests_per_minute: u32,
    /// Tokens that may be created per hour.
    pub mints_per_hour: u32,
    /// ServiceTokens that may use the account; `None` is no limit.
    pub maximum_tokens: Option<u32>,
    /// How often the token list is read.
    pub inventory_interval: Duration,
    /// Age from which a token is reported as aged.
    pub aged_after: Duration,
    /// Time without use from which a token is reported as unused.
    pub unused_after: Duration,
    /// Age at which a token with this installation's mark that no object owns is revoked.
    pub revoke_strays_after: Duration,
    /// Whether everything but deletion is stopped for all ServiceTokens of the account.
    pub suspended: bool,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// The key.
    pub key: String,
}

/// What a `DbtAccount` declares.
///
/// # Errors
/// [`Refusal::NotImplemented`] for a field that this version cannot serve, [`Refusal::InvalidSpec`] for a value that the
/// schema let through and that makes no sense.
pub fn account_settings(account: &DbtAccount) -> Result<AccountSettings, Refusal> {
    let spec = &account.spec;
    if spec.credentials_rotation.is_some() {
        return Err(Refusal::NotImplemented { field: "credentialsRotation".to_owned() });
    }
    if spec.grant_enforcement == Some(GrantEnforcement::Revoke) {
        return Err(Refusal::NotImplemented { field: "grantEnforcement: Revoke".to_owned() });
    }
    let endpoints = spec.endpoints.clone().unwrap_or_default();
    let limits = spec.limits.clone().unwrap_or_default();
    let inventory = spec.inventory.clone().unwrap_or_default();
    let secret_key = |name: &str, key: Option<&str>, default: &str| SecretKey {
        name: name.to_owned(),
        key: key.unwrap_or(default).to_owned(),
    };
    let days = |field: &str, text: Option<&str>, default: u32| read_duration(field, text, DAY * default);
    let credential = &spec.credentials_secret_ref;
    Ok(AccountSettings {
        access_url: spec.access_url.trim_end_matches('/').to_owned(),
        account_id: spec.account_id,
        credential: secret_key(&credential.name, credential.key.as_deref(), "token"),
        ca_bundle: spec.ca_bundle_secret_ref.as_ref().map(|ca| secret_key(&ca.name, ca.key.as_deref(), "ca.crt")),
        discovery_url: endpoints.discovery,
        semantic_layer_url: endpoints.semantic_layer,
        grant_enforcement: spec.grant_enforcement.unwrap_or(GrantEnforcement::Report),
        requests_per_minute: limit("limits.requestsPerMinute", limits.requests_per_minute)?.unwrap_or(REQUESTS_PER_MINUTE),
        mints_per_hour: limit("limits.mintsPerHour", limits.mints_per_hour)?.unwrap_or(MINTS_PER_HOUR),
        maximum_tokens: limit("limits.maxTokens", limits.max_tokens)?,
        inventory_interval: read_duration("inventory.interval", inventory.interval.as_deref(), MINUTE * 10)?,
        aged_after: days("inventory.agedAfter", inventory.aged_after.as_deref(), 365)?,
        unused_after: days("inventory.unusedAfter", inventory.unused_after.as_deref(), 90)?,
        revoke_strays_after: days("inventory.revokeStraysAfter", inventory.revoke_strays_after.as_deref(), 1)?,
        suspended: spec.suspend.unwrap_or(false),
    })
}

impl AccountSettings {
    /// The values in force, for the status; the two URLs are those that are really used.
    pub fn effective(&self, discovery_url: Option<String>, semantic_layer_url: Option<String>) -> AccountEffective {
        let number = |value: u32| i32::try_from(value).ok();
        AccountEffective {
            discovery_url,
            semantic_layer_url,
            requests_per_minute: number(self.requests_per_minute),
            mints_per_hour: number(self.mints_per_hour),
            inventory_interval: Some(duration::format(self.inventory_interval)),
            grant_enforcement: Some(
                match self.grant_enforcement {
                    GrantEnforcement::Report => "Report",
                    GrantEnforcement::Revoke => "Revoke",
                }
                .to_owned(),
            ),
        }
    }
}

fn limit(field: &str, value: Option<i32>) -> Result<Option<u32>, Refusal> {
    value
        .map(|value| u32::try_from(value).map_err(|_| invalid(field, format!("{value} is negative"), "write a number from 1")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn account(spec: Value) -> DbtAccount {
        let mut object = json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1",
            "kind": "DbtAccount",
            "metadata": {"name": "analytics"},
            "spec": {
                "accessUrl": "https://ab123.us1.dbt.com/",
                "accountId": 70_403_103_922_125_i64,
                "credentialsSecretRef": {"name": "dbt-admin"},
            },
        });
        let Value::Object(fields) = spec else { panic!("{spec} is no object") };
        for (name, value) in fields {
            object["spec"][name] = value;
        }
        serde_json::from_value(object).expect("a DbtAccount")
    }

    #[test]
    fn what_is_left_out_gets_the_defaults() {
        let settings = account_settings(&account(json!({"caBundleSecretRef": {"name": "ca"}}))).expect("valid");
        assert_eq!(settings.access_url, "https://ab123.us1.dbt.com");
        assert_eq!(settings.credential, SecretKey { name: "dbt-admin".into(), key: "token".into() });
        assert_eq!(settings.ca_bundle, Some(SecretKey { name: "ca".into(), key: "ca.crt".into() }));
        assert_eq!((settings.requests_per_minute, settings.mints_per_hour, settings.maximum_tokens), (2500, 200, None));
        assert_eq!(settings.inventory_interval, Duration::from_secs(600));
        assert_eq!(settings.aged_after, DAY * 365);
        assert_eq!((settings.unused_after, settings.revoke_strays_after), (DAY * 90, DAY));
        assert!(!settings.suspended);
        let values = settings.effective(None, None);
        assert_eq!(values.inventory_interval.as_deref(), Some("10m"));
        assert_eq!(values.grant_enforcement.as_deref(), Some("Report"));
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let settings = account_settings(&account(json!({
            "credentialsSecretRef": {"name": "dbt-admin", "key": "api"},
            "grantEnforcement": "Report",
            "limits": {"requestsPerMinute": 10, "maxTokens": 3},
            "inventory": {"interval": "1m", "revokeStraysAfter": "1h"},
        })))
        .expect("valid");
        assert_eq!(settings.credential.key, "api");
        assert_eq!((settings.requests_per_minute, settings.maximum_tokens), (10, Some(3)));
        assert_eq!((settings.inventory_interval, settings.revoke_strays_after), (MINUTE, Duration::from_secs(3600)));
        assert_eq!(settings.grant_enforcement, GrantEnforcement::Report);
    }

    #[test]
    fn what_is_not_served_or_makes_no_sense_is_refused() {
        for (spec, field) in [
            (json!({"credentialsRotation": {}}), "credentialsRotation"),
            (json!({"grantEnforcement": "Revoke"}), "grantEnforcement: Revoke"),
        ] {
            assert_eq!(account_settings(&account(spec)), Err(Refusal::NotImplemented { field: field.into() }));
        }
        for (spec, wrong) in [
            (json!({"limits": {"maxTokens": -1}}), "limits.maxTokens"),
            (json!({"inventory": {"interval": "soon"}}), "inventory.interval"),
        ] {
            let refusal = account_settings(&account(spec));
            assert!(matches!(&refusal, Err(Refusal::InvalidSpec { field, .. }) if field == wrong), "{refusal:?}");
        }
    }
}
