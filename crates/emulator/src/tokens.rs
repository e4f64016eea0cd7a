//! What can be done to service tokens: create, set permissions once, rename, delete. Every operation
//! checks everything before it changes anything, so that nothing is ever half-created.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::account::{Account, Grant, Mapping, PermissionRow, Token, TokenId};
use crate::modes::{GrantChange, Modes};
use crate::permission::{PERMISSION_SETS, WRITE_CATEGORIES, plan_allows};
use crate::secret::{self, StringFormat};

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// No such token, or it is deleted.
    NoToken,
    /// A grant names a project that is not in the account.
    NoProject,
    /// A field is missing or wrong.
    Invalid { field: &'static str, reason: String },
    /// The plan has no such permission set.
    Plan { permission_set: String },
    /// Permissions were set before.
    AlreadyAssigned,
}

/// A token to be made.
pub(crate) struct NewToken {
    pub(crate) id: Option<i64>,
    pub(crate) name: String,
    pub(crate) grants: Vec<Grant>,
    pub(crate) format: StringFormat,
    pub(crate) uid: Option<String>,
    pub(crate) string: Option<String>,
    pub(crate) metadata_only: bool,
    pub(crate) webhooks_only: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: Option<TokenId>,
}

impl NewToken {
    /// A token with current string format, created now by nobody.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            id: None,
            name: name.to_owned(),
            grants: Vec::new(),
            format: StringFormat::Current,
            uid: None,
            string: None,
            metadata_only: false,
            webhooks_only: false,
            created_at: Timestamp::now(),
            created_by: None,
        }
    }
}

impl Account {
    /// Checks grants against the known sets, the plan, the projects and the write categories.
    pub(crate) fn check_grants(&self, grants: &[Grant]) -> Result<(), TokenError> {
        for grant in grants {
            let set = grant.permission_set.as_str();
            if !PERMISSION_SETS.contains(&set) {
                let reason = format!("\"{set}\" is not a valid choice.");
                return Err(TokenError::Invalid { field: "permission_set", reason });
            }
            if !plan_allows(&self.plan, set) {
                return Err(TokenError::Plan { permission_set: set.to_owned() });
            }
            for category in &grant.writable_environment_categories {
                if !WRITE_CATEGORIES.contains(&category.as_str()) {
                    let reason = format!("\"{category}\" is not a valid choice.");
                    return Err(TokenError::Invalid { field: "writable_environment_categories", reason });
                }
            }
            if grant.project_id.is_some_and(|project_id| !self.has_project(project_id)) {
                return Err(TokenError::NoProject);
            }
        }
        Ok(())
    }

    /// Creates a token on behalf of a caller. The string is returned here and never again.
    pub(crate) fn create_token(&mut self, mut new: NewToken, modes: &Modes) -> Result<(TokenId, String), TokenError> {
        self.check_grants(&new.grants)?;
        let taken = || self.tokens.values().any(|token| token.active && token.name == new.name);
        if modes.unique_names && taken() {
            let reason = "A service token with this name already exists.".to_owned();
            return Err(TokenError::Invalid { field: "name", reason });
        }
        if modes.create_ignores_grants {
            new.grants.clear();
        }
        if let Some(change) = &modes.create_alters_grants {
            alter(&mut new.grants, change);
        }
        let actor = new.created_by;
        let (id, string) = self.insert_token(new);
        if modes.new_token_delay_ms > 0
            && let Some(token) = self.tokens.get_mut(&id)
        {
            token.usable_from = Some(Instant::now() + Duration::from_millis(modes.new_token_delay_ms));
        }
        self.record("service_token.created", id, actor);
        Ok((id, string))
    }

    /// Puts a token into the account without any check: for the seed, the library and `create_token`.
    pub(crate) fn insert_token(&mut self, new: NewToken) -> (TokenId, String) {
        let id = TokenId(new.id.unwrap_or(self.next_token_id));
        self.next_token_id = self.next_token_id.max(id.0 + 1);
        let (uid, string) = self.choose_string(&new);
        let assigned = !new.grants.is_empty();
        let mut token = Token {
            id,
            uid,
            name: new.name,
            format: new.format,
            active: true,
            permissions: Vec::new(),
            assigned,
            metadata_only: new.metadata_only,
            webhooks_only: new.webhooks_only,
            created_at: new.created_at,
            updated_at: new.created_at,
            last_used: None,
            created_by: new.created_by,
            usable_from: None,
            usable_until: None,
        };
        token.permissions = self.rows(new.grants, new.created_at);
        self.tokens.insert(id, token);
        self.strings.insert(string.clone(), id);
        self.issued.push(string.clone());
        (id, string)
    }

    /// Sets the permissions of a token; works once.
    pub(crate) fn assign(&mut self, id: TokenId, grants: Vec<Grant>, modes: &Modes) -> Result<(), TokenError> {
        let token = self.tokens.get(&id).filter(|token| token.active).ok_or(TokenError::NoToken)?;
        if token.assigned {
            return Err(TokenError::AlreadyAssigned);
        }
        self.check_grants(&grants)?;
        let assigned = !grants.is_empty() || modes.empty_permissions_assign;
        let rows = self.rows(grants, Timestamp::now());
        let token = self.tokens.get_mut(&id).ok_or(TokenError::NoToken)?;
        token.permissions = rows;
        token.assigned = assigned;
        token.updated_at = Timestamp::now();
        Ok(())
    }

    /// Renames an active token. `[ASSUMED]`: a deleted one cannot be renamed.
    pub(crate) fn rename(&mut self, id: TokenId, name: &str, modes: &Modes) -> Result<(), TokenError> {
        let token = self.tokens.get_mut(&id).filter(|token| token.active).ok_or(TokenError::NoToken)?;
        if modes.rename_refused {
            let reason = "Service tokens cannot be renamed.".to_owned();
            return Err(TokenError::Invalid { field: "name", reason });
        }
        name.clone_into(&mut token.name);
        token.updated_at = Timestamp::now();
        Ok(())
    }

    /// Deletes a token softly. A second deletion changes nothing and says so by `NoToken` only if
    /// the modes want it.
    pub(crate) fn delete_token(&mut self, id: TokenId, actor: Option<TokenId>, modes: &Modes) -> Result<(), TokenError> {
        let token = self.tokens.get_mut(&id).ok_or(TokenError::NoToken)?;
        if !token.active {
            let refused = modes.repeat_delete_not_found;
            return if refused { Err(TokenError::NoToken) } else { Ok(()) };
        }
        let grace = Duration::from_millis(modes.deleted_token_grace_ms);
        token.active = false;
        token.updated_at = Timestamp::now();
        token.usable_until = (!grace.is_zero()).then(|| Instant::now() + grace);
        // `[ASSUMED]`: links to Semantic Layer credentials go with the token.
        self.mappings.retain(|_, mapping| mapping.service_token_id != id);
        self.record("service_token.revoked", id, actor);
        Ok(())
    }

    /// Links a credential to an active token, in place of another one of its project.
    pub(crate) fn link_credential(&mut self, credential: i64, id: TokenId) -> bool {
        let Some(project_id) = self.credentials.get(&credential).map(|one| one.project_id) else { return false };
        if !self.tokens.get(&id).is_some_and(|token| token.active) {
            return false;
        }
        self.mappings.retain(|_, one| one.project_id != project_id || one.service_token_id != id);
        let link = Mapping { id: self.take_id(), project_id, semantic_layer_credentials_id: credential, service_token_id: id };
        self.mappings.insert(link.id, link);
        true
    }

    fn rows(&mut self, grants: Vec<Grant>, created_at: Timestamp) -> Vec<PermissionRow> {
        grants.into_iter().map(|grant| PermissionRow { id: self.take_id(), grant, created_at }).collect()
    }

    /// The uid and string of a new token: as given, else drawn until the uid is new to the account.
    fn choose_string(&self, new: &NewToken) -> (String, String) {
        if let Some(string) = &new.string {
            let uid = new.uid.clone().unwrap_or_else(|| uid_within(string));
            return (uid, string.clone());
        }
        loop {
            let minted = secret::mint(new.format, new.uid.as_deref());
            let fresh = self.tokens.values().all(|token| token.uid != minted.uid);
            if fresh || new.uid.is_some() {
                return (minted.uid, minted.string);
            }
        }
    }
}

/// The uid inside a given current string; for any other string a uid is drawn.
fn uid_within(string: &str) -> String {
    string
        .strip_prefix("dbtc_")
        .and_then(|rest| rest.get(..7))
        .map_or_else(|| secret::mint(StringFormat::Current, None).uid, str::to_owned)
}

fn alter(grants: &mut Vec<Grant>, change: &GrantChange) {
    match change {
        GrantChange::WidenProjects => grants.iter_mut().for_each(|grant| grant.project_id = None),
        GrantChange::DropWriteCategories => {
            grants.iter_mut().for_each(|grant| grant.writable_environment_categories.clear());
        }
        GrantChange::DropLast => {
            grants.pop();
        }
        GrantChange::ReplaceSet(set) => {
            grants.iter_mut().for_each(|grant| grant.permission_set.clone_from(set));
        }
    }
}
