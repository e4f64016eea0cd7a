//! One exchange when the other side misbehaves.

use serde_json::json;

use super::*;
use crate::backend::Backend;

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_credential_stays_here() {
    let other = Server::start(|_| account()).await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/login?next=x", other.url());
        let server = Server::start(move |_| Reply::Header(status, "location", target.clone())).await;
        let error = client(&server).account().await.expect_err("a redirect");
        assert_eq!(error.class, ErrorClass::Malformed, "{status}");
        assert!(error.detail.contains("redirected to 127.0.0.1"), "{}", error.detail);
        assert!(!error.detail.contains("login"), "{}", error.detail);
        assert_eq!(server.seen().len(), 1, "{status}");
    }
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_cut_off() {
    for reply in [|| Reply::Endless, || Reply::Announced(1 << 40)] {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).account().await.expect_err("too large");
        assert_eq!((error.class, server.seen().len()), (ErrorClass::Malformed, 1));
        assert_eq!(error.detail, "the answer is larger than the limit");
    }
}

#[tokio::test]
async fn a_body_at_the_limit_is_read() {
    let body = r#"{"data":{"id":70403103922125}}"#;
    for (limit, fits) in [(body.len(), true), (body.len() - 1, false)] {
        let server = Server::start(move |_| Reply::Text(200, body)).await;
        let client = client_with(&server, Timing { body_limit: limit, ..timing() });
        assert_eq!(client.account().await.is_ok(), fits, "{limit}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_cut_off_by_the_time_out() {
    for reply in [|| Reply::Hang, || Reply::HangInBody] {
        let server = Server::start(move |_| reply()).await;
        // How many tries arrive depends on how busy the machine is; that each ends does not.
        let client = client_with(&server, Timing { call: Duration::from_millis(60), ..timing() });
        let error = client.account().await.expect_err("too slow");
        assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Unavailable, "no complete answer within 60 ms"));
    }
}

#[tokio::test]
async fn a_truncated_answer_makes_no_sense() {
    let server = Server::start(|_| Reply::Text(200, r#"{"data":{"id":70403103922125,"na"#)).await;
    let error = client(&server).account().await.expect_err("half an answer");
    assert_eq!(error.class, ErrorClass::Malformed);
    assert!(error.detail.starts_with("the answer is not the expected JSON (line 1"), "{}", error.detail);
}

#[tokio::test]
async fn plain_text_where_tls_is_spoken_is_unavailable_and_sends_nothing() {
    let server = Server::start(|_| account()).await;
    let mut connection = connection(&server.url());
    connection.access_url = connection.access_url.replace("http://", "https://");
    let Ok(client) = DbtCloud::connect(&connection, &token(OWN), surroundings(timing())) else {
        // No roots on this machine; then there is no TLS to be tried.
        return;
    };
    let error = client.account().await.expect_err("no TLS there");
    assert_eq!((error.class, server.seen().len()), (ErrorClass::Unavailable, 0));
}

#[tokio::test]
async fn one_connection_serves_several_reads_but_not_a_change() {
    let server = Server::start(|_| success(&json!({"id": ACCOUNT.0}))).await;
    let client = client(&server);
    for _ in 0..3 {
        client.account().await.expect("answered");
    }
    assert_eq!(server.connections(), 1);
    let rows = dbt_token_planner::grant::GrantRows::default();
    client.grant(dbt_token_planner::identity::TokenId(1), &rows).await.expect_err("nothing to grant");
    assert_eq!(server.connections(), 1);
    client.caller.once(&change(&client), &client.token_header).await.map(|_| ()).expect("answered");
    assert_eq!(server.connections(), 2);
}

/// A call of a kind that must not be repeated.
fn change(client: &DbtCloud) -> Call {
    static CHANGE: Route = Route {
        operation: "change",
        method: hyper::Method::POST,
        template: "/",
        effect: classify::Effect::Change,
        may_repeat: false,
    };
    client.admin_call(&CHANGE, "/", None).map_err(|problem| problem.detail).expect("sayable")
}
