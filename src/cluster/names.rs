//! The names by which the operator knows its own things in Kubernetes: labels, annotations, and who it is to the API
//! server. Names that users read or write are those of [`crate::api::names`]; they are only passed on here.

pub use crate::api::names::{ADOPT_BY, FINALIZER, MANAGED, PUBLISHED_AT, SERVICE_TOKEN, TOKEN_ID, TOKEN_UID};

/// The field manager of every write, and the value of the label [`MANAGED_BY`].
pub const OPERATOR: &str = "dbt-token-operator";

/// The standard label that says which tool an object belongs to.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of a label that only says yes.
pub const TRUE: &str = "true";

/// On a target: the digest of the rule by which it was rendered.
pub const RULE: &str = "tokens.dbt-operator.dev/rule";
/// On a target: the keys that the operator wrote, in order, with a comma between them.
pub const DATA_KEYS: &str = "tokens.dbt-operator.dev/data-keys";

/// Label of every slot, and of every record of a token that was let go. Its value is [`TRUE`].
pub const SLOT: &str = "tokens.dbt-operator.dev/slot";
/// Label on a slot: uid of the ServiceToken.
pub const OWNER_UID: &str = "tokens.dbt-operator.dev/owner-uid";
/// Label on a slot: its serial.
pub const SERIAL: &str = "tokens.dbt-operator.dev/serial";
/// Label on a slot: which installation of the operator made it.
pub const INSTALLATION: &str = "tokens.dbt-operator.dev/installation";
/// Label on a slot: its token was once the ledger's `current`. Never taken back.
pub const COMMITTED: &str = "tokens.dbt-operator.dev/committed";
/// Label on a slot: it is only the record of a token that was let go. Never taken back.
pub const RETAINED: &str = "tokens.dbt-operator.dev/retained";
/// Label on a slot: why its token will never be published. Never taken back.
pub const CONDEMNED: &str = "tokens.dbt-operator.dev/condemned";
/// Annotation on a condemned slot: what dbt answered.
pub const CONDEMNED_DETAIL: &str = "tokens.dbt-operator.dev/condemned-detail";
/// Annotation on a slot: namespace of the ServiceToken, for people and for tokens whose owner is gone.
pub const OWNER_NAMESPACE: &str = "tokens.dbt-operator.dev/owner-namespace";
/// Annotation on a slot: name of the ServiceToken.
pub const OWNER_NAME: &str = "tokens.dbt-operator.dev/owner-name";
/// Annotation on a slot: name of the DbtAccount.
pub const ACCOUNT: &str = "tokens.dbt-operator.dev/account";
/// Annotation on a slot: dbt's id of the account.
pub const ACCOUNT_ID: &str = "tokens.dbt-operator.dev/account-id";
/// Annotation on a filled slot: fingerprint of what dbt said that it granted.
pub const GRANTED: &str = "tokens.dbt-operator.dev/granted";

/// Label on a slot: its token was made by somebody else and taken over. Such a slot is named after the token.
pub const ADOPTED: &str = "tokens.dbt-operator.dev/adopted";
/// Annotation on such a slot: the Secret that its token was taken over from, in the namespace of the ServiceToken.
pub const ADOPTED_FROM_SECRET: &str = "tokens.dbt-operator.dev/adopted-from-secret";
/// Annotation on such a slot: the key of that Secret.
pub const ADOPTED_FROM_KEY: &str = "tokens.dbt-operator.dev/adopted-from-key";
/// Annotation on a target: it was there before the operator took it over, so it is never deleted.
pub const TAKEN_OVER: &str = "tokens.dbt-operator.dev/taken-over";

/// The type of slots, so that nobody takes them for Secrets to mount.
pub const SLOT_TYPE: &str = "tokens.dbt-operator.dev/slot";

/// The longest value of a label.
const LONGEST_LABEL_VALUE: usize = 63;

/// Whether the text can be the value of a label. An installation has to be one (`--installation-id` is checked with
/// this): a shortened or hashed form on the slots could make two installations look alike.
pub fn is_label_value(text: &str) -> bool {
    let at_an_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LONGEST_LABEL_VALUE
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && at_an_end(text.bytes().next())
        && at_an_end(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_must_fit_a_label() {
        let longest = "a".repeat(LONGEST_LABEL_VALUE);
        for (text, expected) in [
            ("9bd5a1f4-1f0c-4a60-8f3e-7f6e6c1c2a55", true),
            ("prod.eu_1", true),
            (longest.as_str(), true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a b", false),
            ("a]", false),
            ("é", false),
            (&format!("{longest}a"), false),
        ] {
            assert_eq!(is_label_value(text), expected, "{text}");
        }
    }
}
