//! The seed: what the account holds at the start, as YAML or built in code. Every field is documented
//! here; `seeds/demo.yaml` shows them in use.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Deserialize;

use crate::account::{Account, Environment, Grant, Job, Mapping, Project, SemanticLayerCredential};
use crate::fault::Rule;
use crate::modes::Modes;
use crate::secret::StringFormat;
use crate::tokens::NewToken;

/// The seed of the demonstration, which is also the default of the library.
const DEMO: &str = include_str!("../seeds/demo.yaml");

/// Everything that is there at the start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// The account.
    pub account: SeedAccount,
    /// Where generated ids begin.
    pub ids: SeedIds,
    /// Projects.
    pub projects: Vec<SeedProject>,
    /// Environments.
    pub environments: Vec<Environment>,
    /// Jobs.
    pub jobs: Vec<Job>,
    /// Service tokens and personal tokens. The first one with `admin: true` is the one that
    /// `Emulator::admin_token` names; without any, an `account_admin` token is added.
    pub tokens: Vec<SeedToken>,
    /// Semantic Layer credentials.
    pub semantic_layer_credentials: Vec<SemanticLayerCredential>,
    /// Links from those credentials to service tokens.
    pub semantic_layer_mappings: Vec<Mapping>,
    /// Switches; see [`Modes`].
    pub modes: Modes,
    /// The fault plan; see [`Rule`].
    pub faults: Vec<Rule>,
}

/// The account of a seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedAccount {
    /// Its id; real ones need more than 32 bits.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its plan, as `enterprise_plus_2025`; it decides which permission sets may be granted.
    pub plan: String,
    /// The prefix of its access URL, if it has one.
    pub static_subdomain: Option<String>,
}

impl Default for SeedAccount {
    fn default() -> Self {
        Self {
            id: 70_403_103_922_125,
            name: "Example".to_owned(),
            plan: "enterprise_plus_2025".to_owned(),
            static_subdomain: None,
        }
    }
}

/// Where generated ids begin; they grow by one, so that a run can be repeated.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SeedIds {
    /// The first generated token id. Beyond 32 bits, so that a client that cuts it shows.
    pub first_token: i64,
    /// The first generated id of anything else.
    pub first_other: i64,
}

impl Default for SeedIds {
    fn default() -> Self {
        Self { first_token: 70_471_800_000_001, first_other: 900_001 }
    }
}

/// A project of a seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedProject {
    /// Its id.
    pub id: i64,
    /// Its name; two projects may have the same.
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Whether it is deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// A token of a seed. Seeded tokens are not checked against plan, sets or projects.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedToken {
    /// Its name.
    pub name: String,
    /// Its id; the next free one if absent.
    #[serde(default)]
    pub id: Option<i64>,
    /// Whether `Emulator::admin_token` names it.
    #[serde(default)]
    pub admin: bool,
    /// The format of a generated string: `current`, `legacy` or `personal`.
    #[serde(default)]
    pub format: StringFormat,
    /// Its uid; drawn, or taken out of `string`, if absent.
    #[serde(default)]
    pub uid: Option<String>,
    /// Its string; generated if absent.
    #[serde(default)]
    pub string: Option<String>,
    /// Its grants.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// When it was created: a time with offset, or a date in UTC. Now if absent.
    #[serde(default, deserialize_with = "crate::time_text::deserialize_option")]
    pub created_at: Option<Timestamp>,
    /// When it was last used, in the same forms.
    #[serde(default, deserialize_with = "crate::time_text::deserialize_option")]
    pub last_used: Option<Timestamp>,
    /// Whether it is deleted.
    #[serde(default)]
    pub deleted: bool,
    /// The deprecated flag.
    #[serde(default)]
    pub metadata_only: bool,
    /// The deprecated flag.
    #[serde(default)]
    pub webhooks_only: bool,
}

/// The string stays out of it.
impl std::fmt::Debug for SeedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SeedToken").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}

impl SeedToken {
    /// A token with these grants, created now, with a generated string.
    pub fn new(name: &str, grants: &[Grant]) -> Self {
        Self { name: name.to_owned(), grants: grants.to_vec(), ..Self::default() }
    }

    /// The same, created at `time`.
    #[must_use]
    pub fn created_at(mut self, time: Timestamp) -> Self {
        self.created_at = Some(time);
        self
    }

    /// The same with a string in the given format.
    #[must_use]
    pub fn in_format(mut self, format: StringFormat) -> Self {
        self.format = format;
        self
    }

    /// The same with the given string.
    #[must_use]
    pub fn with_string(mut self, string: &str) -> Self {
        self.string = Some(string.to_owned());
        self
    }

    pub(crate) fn into_new(self) -> NewToken {
        NewToken {
            id: self.id,
            grants: self.grants,
            format: self.format,
            uid: self.uid,
            string: self.string,
            metadata_only: self.metadata_only,
            webhooks_only: self.webhooks_only,
            created_at: self.created_at.unwrap_or_else(Timestamp::now),
            ..NewToken::named(&self.name)
        }
    }
}

impl Seed {
    /// Reads YAML.
    ///
    /// # Errors
    /// When the text is not YAML of this form; unknown fields are errors.
    pub fn from_yaml(text: &str) -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }

    /// The seed of the demonstration: account 70403103922125 with projects 700, 701, 702 and 812.
    ///
    /// # Panics
    /// Never: the text is part of the crate and covered by its tests.
    pub fn demo() -> Self {
        Self::from_yaml(DEMO).expect("the seed that comes with the crate is valid")
    }

    /// Builds the account; also returns the string of the admin token.
    pub(crate) fn build(&self, admin_string: Option<&str>) -> (Account, String) {
        let now = Timestamp::now();
        let mut account = self.empty_account(now);
        let mut seeds = self.tokens.clone();
        if !seeds.iter().any(|token| token.admin) {
            let mut admin = SeedToken::new("Emulator admin", &[Grant::new("account_admin")]);
            admin.admin = true;
            seeds.insert(0, admin);
        }
        let mut admin_token: Option<String> = None;
        for mut seed in seeds {
            let is_first_admin = seed.admin && admin_token.is_none();
            if is_first_admin && let Some(given) = admin_string {
                seed.string = Some(given.to_owned());
            }
            let string = add_seed_token(&mut account, seed);
            if is_first_admin {
                admin_token = Some(string);
            }
        }
        (account, admin_token.expect("an admin token was added if there was none"))
    }

    fn empty_account(&self, now: Timestamp) -> Account {
        let project = |seed: &SeedProject| Project {
            id: seed.id,
            name: seed.name.clone(),
            description: seed.description.clone(),
            kind: 0,
            active: !seed.deleted,
            created_at: now,
            updated_at: now,
        };
        let mappings: BTreeMap<_, _> = self.semantic_layer_mappings.iter().map(|one| (one.id, *one)).collect();
        Account {
            id: self.account.id,
            name: self.account.name.clone(),
            plan: self.account.plan.clone(),
            static_subdomain: self.account.static_subdomain.clone(),
            created_at: now,
            projects: self.projects.iter().map(|one| (one.id, project(one))).collect(),
            environments: self.environments.iter().map(|one| (one.id, one.clone())).collect(),
            jobs: self.jobs.iter().map(|one| (one.id, one.clone())).collect(),
            tokens: BTreeMap::new(),
            credentials: self.semantic_layer_credentials.iter().map(|one| (one.id, one.clone())).collect(),
            next_id: mappings.keys().max().map_or(0, |id| id + 1).max(self.ids.first_other),
            mappings,
            events: Vec::new(),
            strings: HashMap::new(),
            issued: Vec::new(),
            next_token_id: self.ids.first_token,
        }
    }
}

/// Adds a token of a seed and returns its string.
pub(crate) fn add_seed_token(account: &mut Account, seed: SeedToken) -> String {
    let (last_used, deleted) = (seed.last_used, seed.deleted);
    let (id, string) = account.insert_token(seed.into_new());
    if let Some(token) = account.tokens.get_mut(&id) {
        token.last_used = last_used;
        token.active = !deleted;
    }
    string
}
