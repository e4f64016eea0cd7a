//! From a request to an answer: who is calling, may they come in, and which route serves them.
//! All of it runs under the one lock of the core, so an answer is always of one moment.

mod admin;
pub(crate) mod call;
mod graphql;
mod graphql_query;
mod list;
mod semantic_layer;
mod service_tokens;

use std::time::Instant;

use jiff::Timestamp;

use crate::account::{Account, Grant, TokenId};
use crate::answer::Answer;
use crate::modes::{Modes, Refusal};
use crate::permission::{Area, Scope, is_graphql_only, scope};
use crate::secret::StringFormat;
use call::{Call, Surface};

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) id: TokenId,
    pub(crate) grants: Vec<Grant>,
    pub(crate) format: StringFormat,
}

impl Caller {
    fn scope(&self, area: Area) -> Scope {
        scope(&self.grants, area)
    }

    fn may(&self, area: Area) -> bool {
        self.scope(area) != Scope::Nothing
    }
}

/// What the routes work on.
pub(crate) struct Context<'a> {
    pub(crate) account: &'a mut Account,
    pub(crate) modes: &'a Modes,
}

/// Lets a caller in, or answers why not. It moves `last_used`, and nothing else.
pub(crate) fn admit(context: &mut Context<'_>, call: &Call) -> Result<Caller, Answer> {
    let surface = call.surface();
    let schemes: &[&str] = match surface {
        // The Semantic Layer documents `Bearer` alone; being strict here keeps clients honest.
        Surface::SemanticLayer => &["Bearer"],
        _ => &["Bearer", "Token"],
    };
    if surface == Surface::Nothing {
        // `[ASSUMED]`: the front page is the web application, whoever asks. A client that takes any
        // 200 for success (Airflow's connection test asks for this page) learns nothing from it.
        let is_front_page = call.method == "GET" && call.path == "/";
        return Err(if is_front_page { Answer::html(200) } else { Answer::not_found() });
    }
    let Some(caller) = authenticate(context, call.bearer(schemes), call.arrived) else {
        return Err(match surface {
            Surface::Discovery => graphql::discovery_unauthenticated(),
            Surface::SemanticLayer => graphql::semantic_layer_unauthorized(),
            _ => Answer::invalid_token(),
        });
    };
    if context.modes.account_locked {
        return Err(Answer::unpaid());
    }
    if context.modes.ip_restricted {
        return Err(Answer::access_denied(context.account.id));
    }
    if surface == Surface::Admin && is_graphql_only(&caller.grants) {
        // `[ASSUMED]`: which of the three the real service answers is unknown.
        return Err(match context.modes.graphql_token_on_admin {
            Refusal::NotFound => Answer::not_found(),
            Refusal::Unauthorized => Answer::invalid_token(),
            Refusal::Forbidden => Answer::error(403, "Forbidden", serde_json::Value::Null),
        });
    }
    Ok(caller)
}

/// Serves an admitted caller.
pub(crate) fn perform(context: &mut Context<'_>, call: &Call, caller: &Caller) -> Answer {
    match call.surface() {
        Surface::Admin => admin::answer(context, call, caller),
        Surface::Discovery => graphql::discovery(context, call, caller),
        Surface::SemanticLayer => graphql::semantic_layer(context, call, caller),
        Surface::Nothing => Answer::not_found(),
    }
}

fn authenticate(context: &mut Context<'_>, string: Option<&str>, now: Instant) -> Option<Caller> {
    let token = context.account.token_of(string?)?;
    if !token.is_usable(now) {
        return None;
    }
    let caller = Caller { id: token.id, grants: token.effective_grants(), format: token.format };
    if context.modes.tracks_last_used
        && let Some(used) = context.account.tokens.get_mut(&caller.id)
    {
        used.last_used = Some(Timestamp::now());
    }
    Some(caller)
}
