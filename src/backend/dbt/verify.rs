//! Tries a token's own string with one call, and says what that proves. A refusal condemns the token for good, so it is
//! given only when nothing else can explain the answer.
//!
//! | answer to the new token | verdict |
//! |---|---|
//! | 200 in the expected form | passed |
//! | 401, to the last try | refused, if the account's own credential gets a 200 on the same host; else inconclusive: a wrong host and a locked account answer 401 too |
//! | 403 (no IP restriction) or 404, to the last try | refused, on the same condition |
//! | Discovery: `errors`, or no environment, to the last try | refused, if the same question with the account's own credential is answered without errors; else inconclusive: the environment may be gone, or the field renamed |
//! | Semantic Layer: `errors` that speak of authorisation, to the last try | refused, if its host answers 200 to the account's own credential |
//! | Semantic Layer: other `errors` | inconclusive |
//! | the list of accounts without ours | refused, on the condition of a 401 |
//! | 403 of an IP restriction, 401 of a locked account, 429, another 4xx, 5xx, HTML, a redirect, no answer | inconclusive |
//!
//! The Semantic Layer says `User is not authorized` to good credentials as well while no metrics are deployed `[OBS]`. It is
//! a refusal here all the same, since nothing tells the two apart, and to publish a token on an answer that a dead one gets
//! too would be worse. Who has no metrics yet sets `allowUnproven` or deploys some first.

use std::time::Duration;

use dbt_token_planner::identity::EnvironmentId;
use dbt_token_planner::permission::Probe;
use hyper::Method;
use hyper::header::HeaderValue;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::call::{Call, Route};
use super::classify::{Effect, Problem, plain, without};
use super::credential::{Scheme, authorization, secret_of};
use super::endpoints::Address;
use super::http::Answer;
use super::operations::ACCOUNT;
use super::wire::{self, AtMost, Envelope, GraphqlAnswer, GraphqlRequest, GraphqlVariables, WireAccount};
use super::{DbtCloud, convert};
use crate::backend::{ErrorClass, Verdict};
use crate::token::TokenString;

/// Pauses between the tries of one probe. Thirty seconds in all: nobody has documented how long a new token needs until
/// every dbt server knows it `[ASSUMED]`, and the fact sheet asks for a few tries over 30 to 60 s before a 401 counts.
pub const VERIFICATION_PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16)];

/// The question to Discovery: by it another vendor's client tests its connection (Lightdash) `[OBS]`.
const DISCOVERY_QUERY: &str = "query ($environmentId: BigInt!) { environment(id: $environmentId) { dbtProjectName } }";
/// The question to the Semantic Layer, as dbt's own SDK asks it, with one of its fields `[OBS]`.
const SEMANTIC_LAYER_QUERY: &str =
    "query ($environmentId: BigInt!) { environmentInfo(environmentId: $environmentId) { dialect } }";

/// Bytes of an answer to one of these questions: it has some hundred.
const GRAPHQL_LIMIT: usize = 64 * 1024;
/// Accounts that one token can belong to, with much to spare: it belongs to one.
const ACCOUNT_LIMIT: usize = 1000;

const fn probe(method: Method, template: &'static str) -> Route {
    // Sent by `once`: the tries of this file are the repetitions.
    Route { operation: "verify_token", method, template, effect: Effect::None, may_repeat: true }
}

static JOBS: Route = probe(Method::GET, "/api/v2/accounts/{account}/jobs/");
static PROJECTS: Route = probe(Method::GET, "/api/v3/accounts/{account}/projects/");
static SERVICE_TOKENS: Route = probe(Method::GET, "/api/v3/accounts/{account}/service-tokens/");
static NOTIFICATIONS: Route = probe(Method::GET, "/api/v2/accounts/{account}/notifications/");
static ACCOUNTS: Route = probe(Method::GET, "/api/v2/accounts/");
static WEBHOOKS: Route = probe(Method::GET, "/api/v3/accounts/{account}/webhooks/subscriptions");
static DISCOVERY: Route = probe(Method::POST, "/graphql");
static SEMANTIC_LAYER: Route = probe(Method::POST, "/api/graphql");

/// What one try says.
pub(super) enum Try {
    Passed,
    /// Refused by the host as a whole: the credential, or what it may do.
    Refused(String),
    /// The GraphQL host took the credential and refused the question.
    Errors(String),
    /// The GraphQL host took the credential and failed on the question for another reason.
    Failed(String),
    /// Says nothing; another try may say more.
    Unclear(String),
    /// Says nothing, and another try now will not either.
    Stop(String),
}

/// How an answer has to look.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// The envelope with a list.
    List,
    /// The envelope with a list of accounts that holds ours.
    AccountList,
    /// `data.environment` without errors.
    Discovery,
    /// `data.environmentInfo` without errors.
    SemanticLayer,
}

/// A probe, ready to be sent.
struct Prepared {
    call: Call,
    form: Form,
    scheme: Scheme,
}

impl DbtCloud {
    pub(super) async fn try_token(&self, probe: Probe, token: &TokenString) -> Verdict {
        let prepared = match self.prepare(probe) {
            Ok(prepared) => prepared,
            Err(detail) => return Verdict::Inconclusive { detail },
        };
        let Some(header) = authorization(prepared.scheme, token) else {
            return Verdict::Refused { detail: "the string is empty or holds characters that a token cannot have".to_owned() };
        };
        let mut last = self.one_try(&prepared, &header).await;
        for pause in &self.verification_pauses {
            if matches!(last, Try::Passed | Try::Stop(_)) {
                break;
            }
            tokio::time::sleep(*pause).await;
            last = self.one_try(&prepared, &header).await;
        }
        match last {
            Try::Passed => Verdict::Passed,
            Try::Unclear(detail) | Try::Failed(detail) | Try::Stop(detail) => Verdict::Inconclusive { detail },
            Try::Refused(detail) => self.confirm(&prepared, detail, false).await,
            Try::Errors(detail) => self.confirm(&prepared, detail, true).await,
        }
    }

    /// Makes sure that it is the token that is refused, and not everybody. `same_question`: the host must answer the very
    /// question to the account's own credential; else it only has to accept that credential.
    async fn confirm(&self, prepared: &Prepared, detail: String, same_question: bool) -> Verdict {
        let doubt = match prepared.form {
            Form::List | Form::AccountList => self.own_account_doubt().await,
            Form::Discovery | Form::SemanticLayer => self.own_question_doubt(prepared, same_question).await,
        };
        match doubt {
            None => Verdict::Refused { detail },
            Some(doubt) => {
                Verdict::Inconclusive { detail: plain(&format!("{detail}, but the account's own credential: {doubt}")) }
            }
        }
    }

    async fn own_account_doubt(&self) -> Option<String> {
        let path = format!("/api/v2/accounts/{}/", self.account);
        let call = match self.admin_call(&ACCOUNT, &path, None) {
            Ok(call) => call,
            Err(problem) => return Some(problem.detail),
        };
        let answer = match self.caller.call(&call, &self.token_header).await {
            Ok(answer) => answer,
            Err(problem) => return Some(problem.detail),
        };
        let account = wire::read::<Envelope<WireAccount>>(&answer.body).ok().and_then(|envelope| envelope.data);
        let Some(account) = account else { return Some("the answer is not the expected JSON".to_owned()) };
        convert::same_account(Some(account.id), self.account).err()
    }

    async fn own_question_doubt(&self, prepared: &Prepared, same_question: bool) -> Option<String> {
        let header = match prepared.scheme {
            Scheme::Token => &self.token_header,
            Scheme::Bearer => &self.bearer_header,
        };
        // What the Semantic Layer thinks of the question itself says nothing: an administrator's credential is not meant
        // for it and gets the same words as a dead one.
        let must_pass = same_question && matches!(prepared.form, Form::Discovery);
        match self.one_try(prepared, header).await {
            Try::Passed => None,
            Try::Errors(_) | Try::Failed(_) if !must_pass => None,
            Try::Errors(detail) | Try::Failed(detail) | Try::Refused(detail) | Try::Unclear(detail) | Try::Stop(detail) => {
                Some(detail)
            }
        }
    }

    async fn one_try(&self, prepared: &Prepared, header: &HeaderValue) -> Try {
        match self.caller.once(&prepared.call, header).await {
            Ok(answer) => self.judge_success(prepared.form, &answer, secret_of(header)),
            Err(problem) => judge_problem(problem),
        }
    }

    fn judge_success(&self, form: Form, answer: &Answer, secret: &str) -> Try {
        let unreadable = || Try::Unclear("200, but the answer is not the expected JSON".to_owned());
        match form {
            Form::List => match wire::read::<Envelope<Vec<IgnoredAny>>>(&answer.body) {
                Ok(Envelope { data: Some(_), .. }) => Try::Passed,
                _ => unreadable(),
            },
            Form::AccountList => match wire::read::<Envelope<AtMost<ACCOUNT_LIMIT, WireAccount>>>(&answer.body) {
                Ok(Envelope { data: Some(accounts), .. }) if accounts.0.iter().any(|found| found.id == self.account.0) => {
                    Try::Passed
                }
                Ok(Envelope { data: Some(_), .. }) => {
                    Try::Refused(format!("the token does not belong to account {}", self.account))
                }
                _ => unreadable(),
            },
            Form::Discovery | Form::SemanticLayer if answer.body.len() > GRAPHQL_LIMIT => unreadable(),
            Form::Discovery | Form::SemanticLayer => match wire::read::<GraphqlAnswer>(&answer.body) {
                Ok(graphql) => judge_graphql(form, graphql, secret),
                Err(_) => unreadable(),
            },
        }
    }

    fn prepare(&self, probe: Probe) -> Result<Prepared, String> {
        let account = self.account;
        match probe {
            Probe::Jobs(None) => self.admin_probe(&JOBS, &format!("/api/v2/accounts/{account}/jobs/?limit=1")),
            Probe::Jobs(Some(project)) => {
                self.admin_probe(&JOBS, &format!("/api/v2/accounts/{account}/jobs/?limit=1&project_id={project}"))
            }
            Probe::Projects => self.admin_probe(&PROJECTS, &format!("/api/v3/accounts/{account}/projects/?limit=1")),
            Probe::ServiceTokens => {
                self.admin_probe(&SERVICE_TOKENS, &format!("/api/v3/accounts/{account}/service-tokens/?limit=1"))
            }
            Probe::Notifications => {
                self.admin_probe(&NOTIFICATIONS, &format!("/api/v2/accounts/{account}/notifications/?limit=1"))
            }
            Probe::Accounts => {
                let probe = self.admin_probe(&ACCOUNTS, "/api/v2/accounts/")?;
                Ok(Prepared { form: Form::AccountList, ..probe })
            }
            // Documented without a last slash, unlike everything else here.
            Probe::Webhooks => self.admin_probe(&WEBHOOKS, &format!("/api/v3/accounts/{account}/webhooks/subscriptions?limit=1")),
            Probe::Discovery(environment) => {
                let address = self.discovery.as_ref().ok_or("no address of Discovery is known; set endpoints.discovery")?;
                graphql_probe(&DISCOVERY, address, DISCOVERY_QUERY, environment, Form::Discovery, Scheme::Token)
            }
            Probe::SemanticLayer(environment) => {
                let address = self
                    .semantic_layer
                    .as_ref()
                    .ok_or("no address of the Semantic Layer is known; set endpoints.semanticLayer")?;
                let query = SEMANTIC_LAYER_QUERY;
                graphql_probe(&SEMANTIC_LAYER, address, query, environment, Form::SemanticLayer, Scheme::Bearer)
            }
        }
    }

    fn admin_probe(&self, route: &'static Route, path_and_query: &str) -> Result<Prepared, String> {
        let call = self.admin_call(route, path_and_query, None).map_err(|problem| problem.detail)?;
        Ok(Prepared { call, form: Form::List, scheme: Scheme::Token })
    }
}

fn graphql_probe(
    route: &'static Route,
    address: &Address,
    query: &'static str,
    environment: EnvironmentId,
    form: Form,
    scheme: Scheme,
) -> Result<Prepared, String> {
    let request = GraphqlRequest { query, variables: GraphqlVariables { environment_id: environment.0 } };
    let body = serde_json::to_vec(&request).map_err(|_| "the question cannot be written as JSON")?;
    let uri = address.join("").ok_or("the address cannot be put together")?;
    Ok(Prepared { call: Call { route, uri, body: Some(body) }, form, scheme })
}

fn judge_problem(problem: Problem) -> Try {
    match problem.class {
        ErrorClass::CredentialRefused | ErrorClass::Denied => Try::Refused(problem.detail),
        ErrorClass::Unavailable => Try::Unclear(problem.detail),
        _ => Try::Stop(problem.detail),
    }
}

pub(super) fn judge_graphql(form: Form, graphql: GraphqlAnswer, secret: &str) -> Try {
    let (field, only_authorisation) = match form {
        Form::Discovery => ("environment", false),
        _ => ("environmentInfo", true),
    };
    let errors = graphql.errors.unwrap_or_default();
    if errors.is_empty() {
        return match graphql.data.get(field) {
            None | Some(Value::Null) => Try::Errors(format!("200 without {field}")),
            Some(_) => Try::Passed,
        };
    }
    let messages: Vec<String> = errors.into_iter().filter_map(|error| error.message).collect();
    let detail = plain(&format!("200 with errors: {}", without(&messages.join("; "), secret)));
    let is_about_authorisation = messages.iter().any(|message| speaks_of_authorisation(message));
    if only_authorisation && !is_about_authorisation { Try::Failed(detail) } else { Try::Errors(detail) }
}

/// `User is not authorized` was seen `[OBS]`; the other words are `[ASSUMED]`.
fn speaks_of_authorisation(message: &str) -> bool {
    let message = message.to_lowercase();
    let words = [
        "not authorized",
        "not authorised",
        "unauthorized",
        "unauthenticated",
        "not permitted",
        "permission",
        "forbidden",
        "access denied",
    ];
    words.iter().any(|word| message.contains(word))
}
