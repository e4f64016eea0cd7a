//! The operations of the backend on dbt's Admin API: which path, which body, and what an answer proves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use dbt_token_planner::grant::GrantRows;
use dbt_token_planner::identity::{EnvironmentId, ProjectId, TokenId};
use dbt_token_planner::link::Link;
use dbt_token_planner::observation::{Project, Token};
use dbt_token_planner::permission::Probe;
use hyper::Method;
use serde::Serialize;

use super::call::Route;
use super::classify::{Effect, Problem, without};
use super::credential::secret_of;
use super::wire::{
    CreateRequest, Envelope, Page, RenameRequest, WireAccount, WireCreated, WireCredential, WireEnvironment, WireProject,
    WireToken,
};
use super::{DbtCloud, Failed, convert, wire};
use crate::backend::{AccountInfo, Backend, BackendError, Created, ErrorClass, Lookup, Verdict};
use crate::token::TokenString;

const fn read(operation: &'static str, template: &'static str) -> Route {
    Route { operation, method: Method::GET, template, effect: Effect::None, may_repeat: true }
}

pub(super) static ACCOUNT: Route = read("read_account", "/api/v2/accounts/{account}/");
static LIST: Route = read("list_tokens", "/api/v3/accounts/{account}/service-tokens/");
static GET: Route = read("read_token", "/api/v3/accounts/{account}/service-tokens/{token}/");
static PROVE: Route = read("prove_credential", "/api/v3/accounts/{account}/service-tokens/");
static PROJECTS: Route = read("list_projects", "/api/v3/accounts/{account}/projects/");
static ENVIRONMENTS: Route = read("list_environments", "/api/v3/accounts/{account}/environments/");
static CREATE: Route = Route {
    operation: "create_token",
    method: Method::POST,
    template: "/api/v3/accounts/{account}/service-tokens/",
    effect: Effect::Change,
    may_repeat: false,
};
static GRANT: Route = Route {
    operation: "grant_permissions",
    method: Method::POST,
    template: "/api/v3/accounts/{account}/service-tokens/{token}/permissions/",
    effect: Effect::Change,
    may_repeat: false,
};
static CREDENTIALS: Route = read("list_semantic_layer_credentials", "/api/v3/accounts/{account}/semantic-layer-credentials/");
static LINK: Route = Route {
    operation: "link_semantic_layer_credential",
    method: Method::POST,
    template: "/api/v3/accounts/{account}/semantic-layer-credential-to-service-token-mapping/",
    effect: Effect::Change,
    may_repeat: false,
};
static RENAME: Route = Route {
    operation: "rename_token",
    method: Method::PUT,
    template: "/api/v3/accounts/{account}/service-tokens/{token}/",
    effect: Effect::Change,
    may_repeat: true,
};
static REVOKE: Route = Route {
    operation: "revoke_token",
    method: Method::DELETE,
    template: "/api/v3/accounts/{account}/service-tokens/{token}/",
    effect: Effect::Change,
    may_repeat: true,
};

impl DbtCloud {
    fn tokens_path(&self) -> String {
        format!("/api/v3/accounts/{}/service-tokens/", self.account)
    }

    fn token_path(&self, token: TokenId) -> String {
        format!("/api/v3/accounts/{}/service-tokens/{token}/", self.account)
    }

    /// Reads `data` of an answer.
    fn data<T: for<'de> serde::Deserialize<'de>>(&self, body: &[u8], effect: Effect, what: &str) -> Result<T, Failed> {
        let envelope: Envelope<T> =
            wire::read(body).map_err(|error| self.failed(what, Problem::senseless(effect, error.to_string())))?;
        envelope.data.ok_or_else(|| self.failed(what, Problem::senseless(effect, "the answer has no data")))
    }

    fn unbelieved(&self, what: &str) -> impl Fn(String) -> Failed {
        move |reason| self.failed(what, Problem::senseless(Effect::None, reason))
    }

    /// Refuses a request before it is sent.
    fn refused(&self, what: &str, message: String) -> Failed {
        self.failed(what, Problem::new(ErrorClass::Rejected { message: message.clone() }, message))
    }

    fn json(&self, body: &impl Serialize, what: &str) -> Result<Vec<u8>, Failed> {
        serde_json::to_vec(body).map_err(|_| self.refused(what, "the request cannot be written as JSON".to_owned()))
    }

    pub(super) async fn read_account(&self) -> Result<AccountInfo, Failed> {
        let what = "read the state";
        let answer = self.admin(&ACCOUNT, &format!("/api/v2/accounts/{}/", self.account), None, what).await?;
        let account: WireAccount = self.data(&answer.body, Effect::None, what)?;
        let AccountInfo { id, name, plan, locked } = convert::account(account);
        let shown = |text: String| without(&text, secret_of(&self.token_header));
        Ok(AccountInfo { id, name: shown(name), plan: shown(plan), locked: locked.map(shown) })
    }

    /// A token whose name does not repeat the account's own credential.
    fn believed(&self, token: WireToken) -> Result<Token, String> {
        let token = convert::token(token, self.account)?;
        let name = without(&token.name, secret_of(&self.token_header));
        Ok(Token { name, ..token })
    }

    async fn read_token(&self, token: TokenId) -> Result<Lookup, Failed> {
        let what = format!("read token {token}");
        let call = self.admin_call(&GET, &self.token_path(token), None).map_err(|problem| self.failed(&what, problem))?;
        let answer = match self.caller.call(&call, &self.token_header).await {
            Ok(answer) => answer,
            Err(problem) if problem.is_not_found => {
                self.prove_absence(token, &what).await?;
                return Ok(Lookup::Absent);
            }
            Err(problem) => return Err(self.failed(&what, problem)),
        };
        let found = self.believed(self.data(&answer.body, Effect::None, &what)?).map_err(self.unbelieved(&what))?;
        if found.id != token {
            let reason = format!("the answer is about token {}", found.id);
            return Err(self.failed(&what, Problem::senseless(Effect::None, reason)));
        }
        Ok(Lookup::Found(found))
    }

    /// dbt answers 404 for what is not there and for what the credential may not see. So the credential has to show, on
    /// the list, that it may see tokens; the account's own state would not do, since lesser roles may read that too.
    async fn prove_absence(&self, token: TokenId, what: &str) -> Result<(), Failed> {
        let answer = self.admin(&PROVE, &format!("{}?limit=1", self.tokens_path()), None, what).await?;
        let tokens: Page<WireToken> = self.data(&answer.body, Effect::None, what)?;
        let reason = if tokens.0.is_empty() {
            "404, and a token list without even the credential's own token".to_owned()
        } else if tokens.0.iter().any(|found| found.id == token.0) {
            "404, although the token is in the list".to_owned()
        } else {
            return Ok(());
        };
        Err(self.failed(what, Problem::senseless(Effect::None, reason)))
    }

    async fn create_token(&self, name: &str, rows: &GrantRows) -> Result<Created, Failed> {
        let what = "create a token";
        let permission_grants = convert::requested(rows).map_err(|message| self.refused(what, message))?;
        let body = self.json(&CreateRequest { name, permission_grants }, what)?;
        let answer = self.admin(&CREATE, &self.tokens_path(), Some(body), what).await?;
        let created: WireCreated = self.data(&answer.body, Effect::Change, what)?;
        convert::created(created, self.account).map_err(|reason| self.failed(what, Problem::senseless(Effect::Change, reason)))
    }

    async fn post_permissions(&self, token: TokenId, rows: &GrantRows) -> Result<(), Failed> {
        let what = format!("grant permissions to token {token}");
        let permissions = convert::older(rows, token, self.account).map_err(|message| self.refused(&what, message))?;
        let body = self.json(&permissions, &what)?;
        self.admin(&GRANT, &format!("{}permissions/", self.token_path(token)), Some(body), &what).await?;
        Ok(())
    }

    /// The list is documented with a filter by project; that it shows every project without one is [ASSUMED].
    async fn list_links(&self) -> Result<Vec<Link>, Failed> {
        let what = "list the Semantic Layer credentials";
        let path = format!("/api/v3/accounts/{}/semantic-layer-credentials/", self.account);
        let wire: Vec<WireCredential> = self.pages(&CREDENTIALS, &path, what, Ok).await?;
        convert::links(wire, self.account).map_err(self.unbelieved(what))
    }

    /// The call is not documented; dbt's own Terraform provider makes it [TF].
    async fn post_link(&self, link: Link) -> Result<(), Failed> {
        let what = format!("link Semantic Layer credential {} to token {}", link.credential, link.token);
        let body = self.json(&convert::mapping(link, self.account), &what)?;
        let path = format!("/api/v3/accounts/{}/semantic-layer-credential-to-service-token-mapping/", self.account);
        self.admin(&LINK, &path, Some(body), &what).await?;
        Ok(())
    }

    /// What dbt made of it is read back with the list, like every change.
    async fn put_name(&self, token: TokenId, name: &str) -> Result<(), Failed> {
        let what = format!("rename token {token}");
        let body = self.json(&RenameRequest { name }, &what)?;
        self.admin(&RENAME, &self.token_path(token), Some(body), &what).await?;
        Ok(())
    }

    async fn delete_token(&self, token: TokenId) -> Result<(), Failed> {
        let what = format!("revoke token {token}");
        let call = self.admin_call(&REVOKE, &self.token_path(token), None).map_err(|problem| self.failed(&what, problem))?;
        match self.caller.call(&call, &self.token_header).await {
            Ok(_) => Ok(()),
            // A second DELETE may be answered so [ASSUMED]; what became of the token is observed afterwards in any case.
            Err(problem) if problem.is_not_found => Ok(()),
            Err(problem) => Err(self.failed(&what, problem)),
        }
    }
}

#[async_trait]
impl Backend for DbtCloud {
    async fn account(&self) -> Result<AccountInfo, BackendError> {
        self.read_account().await.map_err(|error| *error)
    }

    async fn list(&self) -> Result<Vec<Token>, BackendError> {
        let read = |token| self.believed(token);
        self.pages(&LIST, &self.tokens_path(), "list the tokens", read).await.map_err(|error| *error)
    }

    async fn get(&self, token: TokenId) -> Result<Lookup, BackendError> {
        self.read_token(token).await.map_err(|error| *error)
    }

    async fn projects(&self) -> Result<Vec<Project>, BackendError> {
        let what = "list the projects";
        let path = format!("/api/v3/accounts/{}/projects/", self.account);
        let wire: Vec<WireProject> = self.pages(&PROJECTS, &path, what, Ok).await.map_err(|error| *error)?;
        convert::projects(wire, self.account).map_err(|reason| *self.unbelieved(what)(reason))
    }

    async fn environments(&self) -> Result<BTreeMap<ProjectId, EnvironmentId>, BackendError> {
        let what = "list the environments";
        let path = format!("/api/v3/accounts/{}/environments/", self.account);
        let wire: Vec<WireEnvironment> = self.pages(&ENVIRONMENTS, &path, what, Ok).await.map_err(|error| *error)?;
        convert::environments(wire, self.account).map_err(|reason| *self.unbelieved(what)(reason))
    }

    async fn create(&self, name: &str, rows: &GrantRows) -> Result<Created, BackendError> {
        self.create_token(name, rows).await.map_err(|error| *error)
    }

    async fn grant(&self, token: TokenId, rows: &GrantRows) -> Result<(), BackendError> {
        self.post_permissions(token, rows).await.map_err(|error| *error)
    }

    async fn rename(&self, token: TokenId, name: &str) -> Result<(), BackendError> {
        self.put_name(token, name).await.map_err(|error| *error)
    }

    async fn verify(&self, probe: Probe, token: &TokenString) -> Verdict {
        self.try_token(probe, token).await
    }

    async fn links(&self) -> Result<Vec<Link>, BackendError> {
        self.list_links().await.map_err(|error| *error)
    }

    async fn link(&self, link: Link) -> Result<(), BackendError> {
        self.post_link(link).await.map_err(|error| *error)
    }

    async fn revoke(&self, token: TokenId) -> Result<(), BackendError> {
        self.delete_token(token).await.map_err(|error| *error)
    }
}
