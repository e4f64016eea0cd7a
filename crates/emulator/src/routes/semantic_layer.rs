//! Semantic Layer credentials and their links to service tokens, which a rotation loses unless they
//! are made again.

use serde_json::{Value, json};

use super::admin::{method_not_allowed, number, rules};
use super::call::Call;
use super::{Caller, Context, list};
use crate::account::{Mapping, TokenId};
use crate::answer::Answer;
use crate::permission::Area;
use crate::wire;

/// Routes below `/semantic-layer-credentials`: reading only.
pub(crate) fn credentials(context: &Context<'_>, call: &Call, caller: &Caller, method: &str, rest: &[&str]) -> Answer {
    let scope = caller.scope(Area::SemanticLayerCredentials);
    if context.modes.semantic_layer_credentials_hidden {
        return Answer::not_found();
    }
    let account = &context.account;
    match (method, rest) {
        ("GET", []) if caller.may(Area::SemanticLayerCredentials) => {
            let seen = account.credentials.values().filter(|one| scope.admits(one.project_id));
            list::answer(call, seen.map(|one| wire::credential(account, one)).collect(), rules(context))
        }
        ("GET", [id]) => match account.credentials.get(&number(id)) {
            Some(one) if scope.admits(one.project_id) => Answer::object(wire::credential(account, one)),
            _ => Answer::not_found(),
        },
        ("GET", _) => Answer::not_found(),
        (method, _) => method_not_allowed(method),
    }
}

/// Routes below `/semantic-layer-credential-to-service-token-mapping`.
pub(crate) fn mappings(context: &mut Context<'_>, call: &Call, caller: &Caller, method: &str, rest: &[&str]) -> Answer {
    if context.modes.semantic_layer_credentials_hidden {
        return Answer::not_found();
    }
    let area = if method == "GET" { Area::SemanticLayerCredentials } else { Area::SemanticLayerCredentialsWrite };
    let scope = caller.scope(area);
    if !caller.may(area) {
        return Answer::not_found();
    }
    match (method, rest) {
        ("GET", []) => {
            let account = &context.account;
            let seen = account.mappings.values().filter(|one| scope.admits(one.project_id));
            list::answer(call, seen.map(|one| wire::mapping(account.id, one)).collect(), rules(context))
        }
        ("POST", []) => create(context, call),
        ("DELETE", [id]) => {
            let id = number(id);
            let known = context.account.mappings.get(&id).is_some_and(|one| scope.admits(one.project_id));
            if !known {
                return Answer::not_found();
            }
            context.account.mappings.remove(&id);
            Answer::no_content()
        }
        (method, [] | [_]) => method_not_allowed(method),
        _ => Answer::not_found(),
    }
}

fn create(context: &mut Context<'_>, call: &Call) -> Answer {
    let body = call.json().unwrap_or(Value::Null);
    let field = |name: &str| body[name].as_i64().unwrap_or(-1);
    let project_id = field("project_id");
    let credential_id = field("semantic_layer_credentials_id");
    let service_token_id = TokenId(field("service_token_id"));
    let account = &mut context.account;
    let credential = account.credentials.get(&credential_id);
    let credential_fits = credential.is_some_and(|one| one.project_id == project_id);
    let token_lives = account.tokens.get(&service_token_id).is_some_and(|token| token.active);
    if field("account_id") != account.id || !credential_fits || !token_lives {
        return Answer::not_found();
    }
    // One token maps to one credential per project. `[ASSUMED]`: a second link is a 400.
    let is_linked = account.mappings.values().any(|one| one.project_id == project_id && one.service_token_id == service_token_id);
    if is_linked {
        let reason = "The service token already has a credential in this project.";
        return Answer::refused(json!({ "reason": reason }));
    }
    let mapping = Mapping { id: account.take_id(), project_id, semantic_layer_credentials_id: credential_id, service_token_id };
    let shown = wire::mapping(account.id, &mapping);
    account.mappings.insert(mapping.id, mapping);
    Answer::object(shown)
}
