//! What must hold of anything that dbt, or whoever answers in its place, may send, and of what people write where an address
//! or a string of a token belongs. The properties in `tests/properties.rs` and the fuzz targets in `fuzz/` call the same
//! checks. No part of what is shipped.

use std::collections::BTreeSet;

use dbt_token_planner::identity::{AccountId, TokenUid};
use dbt_token_planner::observation::Token;
use hyper::header::{HeaderMap, HeaderValue, LOCATION};
use hyper::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::classify::{Effect, MESSAGE_LIMIT, Problem, judge, withheld};
use super::credential::{LENGTH, PREFIX, Scheme, authorization, contains_uid, credential_uid, is_sendable};
use super::endpoints::{Address, Plaintext, derive_endpoints};
use super::held::{HeldString, find_string, holds};
use super::http::{Answer, location_host};
use super::list::{Gathered, Next};
use super::verify::{Form, Try, judge_graphql};
use super::wire::{self, AtMost, Envelope, Extra, Page, Pagination, WireProject};
use super::{convert, operations};
use crate::backend::ErrorClass;
use crate::token::TokenString;

/// The account that is asked.
const ACCOUNT: AccountId = AccountId(70_403_103_922_125);

/// What the request was authorised with, and what every answer is searched for.
const SECRET: &str = "dbtc_SECRET7secretsecretsecretsecretsecretsecretsecre7";

/// The most that is said about an answer: dbt's words, cut, with the status before them.
const LONGEST_DETAIL: usize = MESSAGE_LIMIT + 100;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_506_000).expect("a time in range")
}

/// A message that may be shown: bounded, in one line, without what it must not repeat.
fn fit(message: &str) {
    assert!(message.chars().count() <= LONGEST_DETAIL, "{} characters: {message:?}", message.len());
    assert!(!message.contains(char::is_control) && !message.contains(SECRET), "{message:?}");
    assert_eq!(withheld(message), message);
}

/// A body of a success, read as everything that it could be.
///
/// # Panics
/// If a promise is broken.
pub fn answer(input: &[u8]) {
    match wire::read::<Envelope<Page<wire::WireToken>>>(input) {
        Ok(Envelope { data: Some(page), .. }) => {
            for token in page.0 {
                convert::token(token, ACCOUNT).map_or_else(|reason| fit(&reason), |token| believed(&token));
            }
        }
        Ok(_) => {}
        Err(error) => fit(&error.to_string()),
    }
    if let Some(token) = data::<wire::WireToken>(input) {
        convert::token(token, ACCOUNT).map_or_else(|reason| fit(&reason), |token| believed(&token));
    }
    if let Some(created) = data::<wire::WireCreated>(input) {
        match convert::created(created, ACCOUNT) {
            Ok(created) => {
                assert!(created.id.0 > 0 && !created.uid.as_str().is_empty());
                assert!(is_sendable(created.string.expose()) && authorization(Scheme::Token, &created.string).is_some());
                assert!(credential_uid(&created.string).is_none_or(|uid| uid == created.uid));
            }
            Err(reason) => fit(&reason),
        }
    }
    if let Some(account) = data::<wire::WireAccount>(input) {
        let account = convert::account(account);
        [Some(account.name), Some(account.plan), account.locked].iter().flatten().for_each(|text| fit(text));
    }
    if let Some(page) = data::<Page<WireProject>>(input) {
        match convert::projects(page.0, ACCOUNT) {
            Ok(projects) => {
                let is_clean = |name: &str| !name.contains(char::is_control) && !name.contains(SECRET);
                assert!(projects.iter().all(|project| is_clean(&project.name)));
            }
            Err(reason) => fit(&reason),
        }
    }
    if let Some(page) = data::<Page<wire::WireEnvironment>>(input) {
        convert::environments(page.0, ACCOUNT).map_or_else(|reason| fit(&reason), drop);
    }
    if let Some(page) = data::<Page<wire::WireCredential>>(input) {
        convert::links(page.0, ACCOUNT).map_or_else(|reason| fit(&reason), drop);
    }
    for (form, field) in [(Form::Discovery, "environment"), (Form::SemanticLayer, "environmentInfo")] {
        let Ok(graphql) = wire::read::<wire::GraphqlAnswer>(input) else { continue };
        let (has_errors, shows) = (graphql.errors.is_some(), graphql.data.get(field).is_some_and(|value| !value.is_null()));
        match judge_graphql(form, graphql, SECRET) {
            Try::Passed => assert!(shows, "{field} is missing"),
            Try::Errors(detail) | Try::Failed(detail) => {
                assert!(has_errors || !shows);
                fit(&detail);
            }
            Try::Refused(_) | Try::Unclear(_) | Try::Stop(_) => unreachable!("not said of a 200"),
        }
    }
}

fn data<'a, T: serde::Deserialize<'a>>(input: &'a [u8]) -> Option<T> {
    wire::read::<Envelope<T>>(input).ok()?.data
}

/// A token that is believed can be shown and compared.
fn believed(token: &Token) {
    assert!(token.id.0 > 0);
    fit(&token.name);
    fit(token.uid.as_str());
    for row in token.rows.rows() {
        fit(row.permission_set.as_str());
        row.writable.iter().for_each(|category| fit(category.as_str()));
    }
    let times = [token.created_at, token.last_used];
    assert!(times.iter().flatten().all(|time| wire::read_time(&time.to_string()) == Some(*time)), "{times:?}");
}

/// An answer that is no success, or may be none: its class, and what is said about it. The first two bytes are the status,
/// the third says how many of the next go into headers; the rest is the body.
///
/// # Panics
/// If a promise is broken.
pub fn judgement(input: &[u8]) {
    let [first, second, headers, rest @ ..] = input else { return };
    let status = 100 + (u16::from(*first) * 256 + u16::from(*second)) % 900;
    let status = StatusCode::from_u16(status).expect("a number of three digits");
    let (header, body) = rest.split_at(usize::from(*headers).min(rest.len()));
    let header = HeaderValue::from_bytes(header).ok();
    let headers: HeaderMap = header.iter().map(|value| (LOCATION, value.clone())).collect();
    let answer = Answer {
        status,
        location_host: headers.contains_key(LOCATION).then(|| location_host(&headers)),
        retry_after: header.and_then(|value| value.to_str().ok().map(str::to_owned)),
        body: Zeroizing::new(body.to_vec()),
    };
    for effect in [Effect::None, Effect::Change] {
        match judge(&answer, effect, SECRET, now()) {
            Ok(()) => assert!(status.is_success(), "{status}"),
            Err(problem) => judged(&answer, effect, &problem),
        }
    }
}

fn judged(answer: &Answer, effect: Effect, problem: &Problem) {
    let status = answer.status;
    assert!(!status.is_success(), "{status} is {:?}", problem.class);
    fit(&problem.detail);
    match &problem.class {
        ErrorClass::Ambiguous => assert_eq!(effect, Effect::Change),
        ErrorClass::Malformed | ErrorClass::Unavailable => assert_eq!(effect, Effect::None),
        ErrorClass::Throttled { until } => {
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
            let soonest = now() + SignedDuration::from_secs(1);
            assert!((soonest..=now() + SignedDuration::from_hours(1)).contains(until), "{until}");
        }
        ErrorClass::Rejected { message } => {
            assert!(status.is_client_error());
            fit(message);
        }
        ErrorClass::CredentialRefused | ErrorClass::AccountLocked => assert_eq!(status, StatusCode::UNAUTHORIZED),
        ErrorClass::IpRefused => assert_eq!(status, StatusCode::FORBIDDEN),
        ErrorClass::Denied => assert!([StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status), "{status}"),
    }
    assert!(!problem.is_not_found || status == StatusCode::NOT_FOUND, "{status}");
    assert!(!problem.is_passing || status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT, "{status}");
}

/// A list in pages. Each 0 ends a page, whose first byte is the announced number (1 announces nothing); the other bytes are
/// ids.
///
/// # Panics
/// If a promise is broken.
pub fn list(input: &[u8]) {
    let (mut gathered, mut expected, mut seen) = (Gathered::new(), Vec::<i64>::new(), BTreeSet::new());
    for page in input.split(|byte| *byte == 0) {
        let [announced, ids @ ..] = page else { return };
        let fresh: Vec<i64> = ids.iter().map(|id| i64::from(*id)).filter(|id| seen.insert(*id)).collect();
        expected.extend(&fresh);
        let total = (*announced != 1).then(|| usize::from(*announced) - 2);
        let read = |item: WireProject| Ok(item.id);
        match gathered.add(pages_of(ids, total), read) {
            // Whoever sends nothing new is not asked for ever.
            Ok(Next::Page) => assert!(!fresh.is_empty()),
            Ok(Next::End) => {
                assert!(total.is_none_or(|total| expected.len() >= total), "half a list is believed");
                assert_eq!(gathered.items, expected);
                return;
            }
            Err(reason) => {
                fit(&reason);
                assert!(fresh.is_empty() && total.is_some_and(|total| expected.len() < total), "{reason}");
                return;
            }
        }
        assert_eq!(gathered.items, expected);
    }
}

fn pages_of(ids: &[u8], total: Option<usize>) -> Envelope<Page<WireProject>> {
    let item = |id: &u8| WireProject { id: i64::from(*id), account_id: None, name: None, state: None };
    let total_count = total.and_then(|total| u64::try_from(total).ok());
    Envelope {
        data: Some(AtMost(ids.iter().map(item).collect())),
        extra: Some(Extra { pagination: Some(Pagination { total_count }) }),
    }
}

/// An address as somebody wrote it into a spec.
///
/// # Panics
/// If a promise is broken.
pub fn address(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for plaintext in [Plaintext::Refused, Plaintext::OnLoopback] {
        let Ok(address) = Address::full(&text, plaintext) else { continue };
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://").expect("an address has a scheme");
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        assert_eq!(address.is_encrypted(), scheme == "https", "{text:?}");
        assert!(!authority.contains('@') && !text.contains(['?', '#', ' ']), "{text:?}");
        assert!(address.is_encrypted() || plaintext == Plaintext::OnLoopback && is_loopback(address.host()), "{text:?}");
        assert_eq!(address.host(), without_port(authority), "{text:?}");
        sent_there(&text, &address, authority);
    }
    if let Ok(origin) = Address::origin(&text, Plaintext::OnLoopback) {
        assert_eq!(origin.join("").map(|uri| uri.path().to_owned()).as_deref(), Some("/"), "{text:?}");
    }
    if let Some(derived) = derive_endpoints(&text) {
        for url in [derived.discovery, derived.semantic_layer] {
            let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).expect("a URL");
            let is_dbts = [".dbt.com", ".getdbt.com"].iter().any(|end| host.ends_with(end));
            assert!(url.starts_with("https://") && is_dbts, "{text:?} leads to {url}");
        }
    }
}

fn without_port(authority: &str) -> &str {
    let port = authority.len() - authority.bytes().rev().take_while(u8::is_ascii_digit).count();
    authority[..port].strip_suffix(':').unwrap_or(authority)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A request goes to the host and the port that were written, whatever path is joined.
fn sent_there(text: &str, address: &Address, authority: &str) {
    let path = operations::ACCOUNT.template;
    for path in [path, "", "//elsewhere.example/", "@elsewhere.example/", "?x=1", "\\elsewhere.example"] {
        let Some(uri) = address.join(path) else { continue };
        let expected = if address.is_encrypted() { "https" } else { "http" };
        assert_eq!((uri.scheme_str(), uri.host()), (Some(expected), Some(address.host())), "{text:?} and {path:?}");
        let found = uri.authority().map(|found| found.as_str().to_owned());
        assert_eq!(found.as_deref(), Some(authority), "{text:?} and {path:?}");
        let named = authority != address.host();
        assert_eq!(uri.port_u16().is_some(), named, "{text:?}");
    }
}

/// What a Secret holds, in which the string of a token is looked for. Up to the first 0 it is the text, then a uid.
///
/// # Panics
/// If a promise is broken.
pub fn held(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (text, uid) = text.split_once('\0').unwrap_or((&text, ""));
    let secret = TokenString::new(text.to_owned());
    match find_string(&secret) {
        HeldString::One(string) => {
            let found = string.expose();
            assert!(is_sendable(found) && holds(&secret, &string), "{text:?}");
            let is_of_today = found.len() == LENGTH && found.starts_with(PREFIX);
            assert!(is_of_today || found == text.trim() && !found.contains(PREFIX), "a part of {text:?} is taken: {found:?}");
            assert_eq!(is_of_today, credential_uid(&string).is_some(), "{text:?}");
            let again = find_string(&string);
            assert!(matches!(again, HeldString::One(again) if again.expose() == found), "{text:?}");
        }
        HeldString::Several(count) => assert!(count > 1 && text.len() > 2 * PREFIX.len()),
        HeldString::None => {}
    }
    let uid = TokenUid::new(uid);
    if contains_uid(&secret, &uid) {
        assert!(uid.as_str().len() >= 7 && text.contains(uid.as_str()), "{uid} in {text:?}");
    }
    assert_eq!(authorization(Scheme::Bearer, &secret).is_some(), is_sendable(text), "{text:?}");
}
