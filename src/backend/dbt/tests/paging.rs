//! Lists from servers that page as documented, otherwise, or not at all.

use serde_json::json;

use super::*;
use crate::backend::Backend;

/// The number behind `name=` in a query.
fn number(path: &str, name: &str) -> usize {
    let (_, query) = path.split_once('?').expect("a query");
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.expect("the parameter").parse().expect("a number")
}

/// As documented: `total` tokens in pages.
fn documented(total: i64) -> impl Fn(&Seen) -> Reply + Send + Sync {
    move |seen| {
        let (limit, offset) = (number(&seen.path, "limit"), number(&seen.path, "offset"));
        list(&items((1..=total).skip(offset).take(limit)), usize::try_from(total).ok())
    }
}

async fn listed(answering: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Result<Vec<i64>, BackendError>, usize) {
    let server = Server::start(answering).await;
    let result = client(&server).list().await.map(|tokens| tokens.iter().map(|token| token.id.0).collect());
    (result, server.seen().len())
}

#[tokio::test]
async fn every_page_is_read_once() {
    for (total, requests) in [(0, 1), (1, 1), (99, 1), (100, 2), (101, 2), (250, 3)] {
        let (result, count) = listed(documented(total)).await;
        assert_eq!(result, Ok((1..=total).collect()), "{total}");
        assert_eq!(count, requests, "{total}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_paging_is_read_in_one_request() {
    let (result, count) = listed(|_| list(&items(1..=250), Some(250))).await;
    assert_eq!((result, count), (Ok((1..=250).collect()), 1));
}

#[tokio::test]
async fn a_server_that_announces_nothing_ends_with_a_page_that_is_not_new() {
    let (result, count) = listed(|_| list(&items(1..=250), None)).await;
    assert_eq!((result, count), (Ok((1..=250).collect()), 2));
}

#[tokio::test]
async fn a_server_that_ignores_the_offset_alone_is_not_believed() {
    let (result, count) = listed(|_| list(&items(1..=100), Some(250))).await;
    let error = result.expect_err("only the first hundred");
    assert_eq!((error.class, count), (ErrorClass::Malformed, 2));
}

#[tokio::test]
async fn repeated_and_deleted_tokens_are_listed_once() {
    let (result, _) = listed(|_| {
        let mut tokens = items([3, 1, 3, 2]);
        tokens[1]["state"] = json!(2);
        tokens[1]["permission_grants"] = json!([]);
        list(&tokens, Some(3))
    })
    .await;
    assert_eq!(result, Ok(vec![3, 1, 2]));
}

#[tokio::test]
async fn one_token_that_is_not_believed_spoils_the_list() {
    let (result, _) = listed(|_| {
        let mut tokens = items([1, 2]);
        tokens[1]["account_id"] = json!(5);
        list(&tokens, Some(2))
    })
    .await;
    assert_eq!(result.expect_err("another account's").class, ErrorClass::Malformed);
}

#[tokio::test]
async fn a_failing_page_fails_the_list() {
    let (result, count) =
        listed(|seen| if number(&seen.path, "offset") == 0 { list(&items(1..=100), Some(150)) } else { Reply::Text(502, HTML) })
            .await;
    assert_eq!((result.expect_err("half a list").class, count), (ErrorClass::Unavailable, 4));
}
