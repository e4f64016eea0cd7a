//! The truth about tokens for tests and for the control API, without any string.

use jiff::Timestamp;
use serde::Serialize;

use crate::account::{Grant, TokenId};
use crate::core::Core;
use crate::secret::StringFormat;

/// A token as it truly is, whatever the API shows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenState {
    /// Its id.
    pub id: TokenId,
    /// Its uid.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// 1 active, 2 deleted.
    pub state: u8,
    /// Its grants; those of a deleted token are kept here.
    pub grants: Vec<Grant>,
    /// Whether permissions were set, so that they cannot be set again.
    pub assigned: bool,
    /// The format of its string.
    pub format: StringFormat,
    /// When it was created.
    #[serde(serialize_with = "crate::time_text::serialize")]
    pub created_at: Timestamp,
    /// When it last changed.
    #[serde(serialize_with = "crate::time_text::serialize")]
    pub updated_at: Timestamp,
    /// When it was last used.
    #[serde(serialize_with = "crate::time_text::serialize_option")]
    pub last_used: Option<Timestamp>,
    /// The token that created it; none for the seed, the library and the control API.
    pub created_by: Option<TokenId>,
    /// Semantic Layer credentials that are linked to it.
    pub semantic_layer_credentials: Vec<i64>,
}

impl TokenState {
    /// Whether it is not deleted.
    pub fn is_active(&self) -> bool {
        self.state == 1
    }
}

/// All tokens by id.
pub(crate) fn tokens(core: &Core) -> Vec<TokenState> {
    let account = &core.account;
    let linked = |id: TokenId| {
        let of_token = account.mappings.values().filter(move |one| one.service_token_id == id);
        of_token.map(|one| one.semantic_layer_credentials_id).collect()
    };
    account
        .tokens
        .values()
        .map(|token| TokenState {
            id: token.id,
            uid: token.uid.clone(),
            name: token.name.clone(),
            state: if token.active { 1 } else { 2 },
            grants: token.permissions.iter().map(|row| row.grant.clone()).collect(),
            assigned: token.assigned,
            format: token.format,
            created_at: token.created_at,
            updated_at: token.updated_at,
            last_used: token.last_used,
            created_by: token.created_by,
            semantic_layer_credentials: linked(token.id),
        })
        .collect()
}
