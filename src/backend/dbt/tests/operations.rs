//! The operations: what is sent, what an answer proves, and what is never repeated.

use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{
    AccountId, CredentialId, EnvironmentId, PermissionSet, ProjectId, TokenId, TokenUid, WriteCategory,
};
use dbt_token_planner::link::Link;
use serde_json::json;

use super::*;
use crate::backend::{Backend, Lookup};

fn rows() -> GrantRows {
    let row = |set: &str, scope, writable: &[&str]| GrantRow {
        permission_set: PermissionSet::new(set),
        scope,
        writable: writable.iter().map(|kind| WriteCategory::new(*kind)).collect(),
    };
    GrantRows::new(vec![row("developer", Scope::Project(ProjectId(812)), &["staging"]), row("metadata_only", Scope::All, &[])])
}

fn tokens_path() -> String {
    format!("/api/v3/accounts/{}/service-tokens/", ACCOUNT.0)
}

fn created() -> Reply {
    success(&json!({
        "id": 2202, "account_id": ACCOUNT.0, "uid": "k0PqL-2", "token": "tail", "token_string": NEW, "expires_at": null,
        "permission_grants": [{"permission_set": "metadata_only", "project_id": null, "writable_environment_categories": []}],
    }))
}

#[tokio::test]
async fn the_account_is_read() {
    let server = Server::start(|_| account()).await;
    let info = client(&server).account().await.expect("answered");
    assert_eq!((info.name.as_str(), info.plan.as_str(), info.locked), ("Example", "enterprise", None));
    assert_eq!(server.lines(), [format!("GET /api/v2/accounts/{}/", ACCOUNT.0)]);
    let seen = &server.seen()[0];
    assert_eq!(seen.authorization(), format!("Token {OWN}"));
    assert_eq!(seen.headers["user-agent"], concat!("dbt-token-operator/", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen.headers["accept"], "application/json");
    assert!(!seen.headers.contains_key("content-type"));
}

#[tokio::test]
async fn another_account_that_answers_says_so() {
    let server = Server::start(|_| success(&json!({"id": 5, "name": "Other"}))).await;
    assert_eq!(client(&server).account().await.expect("answered").id, AccountId(5));
}

#[tokio::test]
async fn a_token_is_created_with_its_grants_in_one_call() {
    let server = Server::start(|_| created()).await;
    let made = client(&server).create("finance/dagster [mark]", &rows()).await.expect("made");
    assert_eq!((made.id, made.uid, made.string.expose()), (TokenId(2202), TokenUid::new("k0PqL-2"), NEW));
    assert_eq!(made.rows.to_string(), "metadata_only on all projects");
    assert_eq!(server.lines(), [format!("POST {}", tokens_path())]);
    let expected = json!({"name": "finance/dagster [mark]", "permission_grants": [
        {"permission_set": "developer", "project_id": 812, "writable_environment_categories": ["staging"]},
        {"permission_set": "metadata_only"},
    ]});
    assert_eq!(server.seen()[0].json(), expected);
    assert_eq!(server.seen()[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn nothing_is_sent_for_grants_that_cannot_be_said() {
    let server = Server::start(|_| created()).await;
    let error = client(&server).create("name", &GrantRows::default()).await.map(|_| ()).expect_err("refused");
    assert!(matches!(error.class, ErrorClass::Rejected { .. }), "{error:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_create_is_never_sent_twice() {
    let replies: [Script; 7] = [
        || Reply::Drop,
        || Reply::Endless,
        || Reply::Text(502, HTML),
        || Reply::Text(200, HTML),
        || Reply::Text(403, HTML),
        || Reply::Header(307, "location", "/elsewhere/".to_owned()),
        || success(&json!({"id": 5, "uid": "k0PqL-2", "token_string": null})),
    ];
    for (place, reply) in replies.into_iter().enumerate() {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).create("name", &rows()).await.map(|_| ()).expect_err("no token");
        assert_eq!(error.class, ErrorClass::Ambiguous, "{place}: {error}");
        assert_eq!(server.lines(), [format!("POST {}", tokens_path())], "{place}");
    }
}

#[tokio::test]
async fn a_create_is_never_sent_twice_after_a_time_out() {
    for reply in [|| Reply::Hang, || Reply::HangInBody] {
        let server = Server::start(move |_| reply()).await;
        let client = client(&server);
        let call = tokio::spawn(async move { client.create("name", &rows()).await.map(|_| ()) });
        server.arrival().await;
        // From here on time passes by itself whenever everybody waits.
        tokio::time::pause();
        let error = call.await.expect("no panic").expect_err("no token");
        assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Ambiguous, "no complete answer within 20000 ms"));
        assert_eq!(server.lines(), [format!("POST {}", tokens_path())]);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_clear_refusal_of_a_create_is_not_ambiguous() {
    let replies: [(Script, &str); 6] = [
        (invalid_token, "credential_refused"),
        (|| refusal(400, "The request was invalid."), "rejected"),
        (|| refusal(403, "Forbidden: Access denied"), "ip_refused"),
        (|| refusal(403, "Forbidden"), "denied"),
        (not_found, "denied"),
        (|| refusal(429, "Too many requests."), "throttled"),
    ];
    for (reply, expected) in replies {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).create("name", &rows()).await.map(|_| ()).expect_err("no token");
        assert_eq!(error.class.word(), expected);
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_create_without_a_connection_made_nothing() {
    // Bound, so that nobody else gets the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("bound"));
    let client = DbtCloud::connect(&connection(&url), &token(OWN), surroundings(timing())).expect("valid");
    let error = client.create("name", &rows()).await.map(|_| ()).expect_err("nobody listens");
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
}

#[tokio::test]
async fn the_older_call_posts_the_rows_once() {
    let server = Server::start(|_| success(&json!([]))).await;
    client(&server).grant(TokenId(2202), &rows()).await.expect("granted");
    assert_eq!(server.lines(), [format!("POST {}2202/permissions/", tokens_path())]);
    assert_eq!(server.seen()[0].json()[1]["all_projects"], json!(true));
    let server = Server::start(|_| Reply::Text(500, HTML)).await;
    let error = client(&server).grant(TokenId(2202), &rows()).await.expect_err("lost");
    assert_eq!((error.class, server.seen().len()), (ErrorClass::Ambiguous, 1));
    let words = "Service token permissions cannot be updated after assigment. Please create a new service token.";
    let server = Server::start(move |_| refusal(400, words)).await;
    let error = client(&server).grant(TokenId(2202), &rows()).await.expect_err("refused");
    assert_eq!(error.class, ErrorClass::Rejected { message: words.to_owned() });
}

#[tokio::test]
async fn a_token_is_read_even_when_it_is_deleted() {
    let server = Server::start(|_| {
        let mut deleted = item(17);
        deleted["state"] = json!(2);
        deleted["permission_grants"] = json!([]);
        success(&deleted)
    })
    .await;
    let Lookup::Found(found) = client(&server).get(TokenId(17)).await.expect("answered") else { panic!("absent") };
    assert!(!found.active);
    assert_eq!(server.lines(), [format!("GET {}17/", tokens_path())]);
}

#[tokio::test]
async fn another_token_in_the_answer_is_refused() {
    let server = Server::start(|_| success(&item(18))).await;
    let error = client(&server).get(TokenId(17)).await.expect_err("not that one");
    assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Malformed, "the answer is about token 18"));
}

/// A server on which token 17 gets a 404, and the list is what the test says.
async fn after_a_404(reply: Script) -> (Result<Lookup, BackendError>, Server) {
    let server = Server::start(move |seen| if seen.path.ends_with("/17/") { not_found() } else { reply() }).await;
    let result = client(&server).get(TokenId(17)).await;
    (result, server)
}

#[tokio::test]
async fn a_404_is_absence_only_if_the_credential_may_see_tokens() {
    let (result, server) = after_a_404(|| list(&items([9]), Some(40))).await;
    assert_eq!(result, Ok(Lookup::Absent));
    assert_eq!(server.lines(), [format!("GET {}17/", tokens_path()), format!("GET {}?limit=1", tokens_path())]);
    let others: [(Script, &str); 6] = [
        (invalid_token, "credential_refused"),
        (not_found, "denied"),
        (|| Reply::Text(200, HTML), "malformed"),
        (|| list(&json!([]), Some(0)), "malformed"),
        (|| list(&items([9, 17]), Some(2)), "malformed"),
        (|| Reply::Text(502, HTML), "unavailable"),
    ];
    for (reply, expected) in others {
        let (result, _) = after_a_404(reply).await;
        assert_eq!(result.expect_err("no proof").class.word(), expected);
    }
}

#[tokio::test]
async fn a_404_of_a_gateway_is_no_absence() {
    let server = Server::start(|_| Reply::Text(404, "<html>nothing here</html>")).await;
    let error = client(&server).get(TokenId(17)).await.expect_err("no answer of dbt");
    assert_eq!((error.class, server.seen().len()), (ErrorClass::Unavailable, 1));
}

#[tokio::test]
async fn revoking_is_done_with_any_success_and_with_dbts_404() {
    for reply in [|| Reply::Text(204, ""), || success(&json!({})), not_found] {
        let server = Server::start(move |_| reply()).await;
        client(&server).revoke(TokenId(17)).await.expect("done");
        assert_eq!(server.lines(), [format!("DELETE {}17/", tokens_path())]);
    }
    let server = Server::start(|_| Reply::Text(404, HTML)).await;
    assert_eq!(client(&server).revoke(TokenId(17)).await.expect_err("a gateway").class, ErrorClass::Ambiguous);
    let server = Server::start(|_| invalid_token()).await;
    assert_eq!(client(&server).revoke(TokenId(17)).await.expect_err("refused").class, ErrorClass::CredentialRefused);
}

#[tokio::test]
async fn a_lost_revocation_is_repeated_twice_and_then_ambiguous() {
    let server = Server::start(|_| Reply::Drop).await;
    let error = client(&server).revoke(TokenId(17)).await.expect_err("lost");
    assert_eq!((error.class, server.seen().len()), (ErrorClass::Ambiguous, 3));
    let tries = Mutex::new(0);
    let server = Server::start(move |_| {
        let mut tries = tries.lock().expect("no panic");
        *tries += 1;
        if *tries == 1 { Reply::Drop } else { not_found() }
    })
    .await;
    client(&server).revoke(TokenId(17)).await.expect("the first one landed");
}

#[tokio::test]
async fn projects_and_environments_are_read() {
    let server = Server::start(|seen| {
        if seen.path.contains("/projects/") {
            list(&json!([{"id": 1, "name": "Finance", "state": 1}, {"id": 2, "name": "Old", "state": 2}]), Some(2))
        } else {
            list(&json!([{"id": 5, "project_id": 1, "type": "deployment", "deployment_type": "production"}]), Some(1))
        }
    })
    .await;
    let client = client(&server);
    let projects = client.projects().await.expect("answered");
    assert_eq!(projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["Finance"]);
    let environments = client.environments().await.expect("answered");
    assert_eq!(environments.get(&ProjectId(1)), Some(&EnvironmentId(5)));
    let account = ACCOUNT.0;
    assert_eq!(
        server.lines(),
        [
            format!("GET /api/v3/accounts/{account}/projects/?limit=100&offset=0"),
            format!("GET /api/v3/accounts/{account}/environments/?limit=100&offset=0"),
        ]
    );
}

#[tokio::test]
async fn a_link_is_made_once_and_never_repeated() {
    let link = Link { project: ProjectId(7), credential: CredentialId(51), token: TokenId(17) };
    let others: [(Script, &str); 5] = [
        (|| Reply::Drop, "ambiguous"),
        (|| Reply::Text(502, HTML), "ambiguous"),
        (|| refusal(400, "There is one already."), "rejected"),
        (not_found, "denied"),
        (invalid_token, "credential_refused"),
    ];
    for (reply, expected) in others {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).link(link).await.expect_err(expected);
        assert_eq!((error.class.word(), server.seen().len()), (expected, 1));
        assert_eq!(error.operation, format!("link Semantic Layer credential 51 to token 17 of account {}", ACCOUNT.0));
    }
}

#[tokio::test]
async fn links_are_read_again_and_never_guessed() {
    let others: [(Script, &str, usize); 3] = [
        (not_found, "denied", 1),
        (|| Reply::Text(503, HTML), "unavailable", 3),
        (|| list(&json!([{"id": 51, "project_id": 7}]), Some(1)), "malformed", 1),
    ];
    for (reply, expected, tries) in others {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).links().await.expect_err(expected);
        assert_eq!((error.class.word(), server.seen().len()), (expected, tries));
    }
}

#[tokio::test]
async fn a_429_stops_every_caller_without_another_request() {
    let server = Server::start(|_| refusal(429, "Too many requests.")).await;
    let client = client(&server);
    let until = now() + jiff::SignedDuration::from_secs(300);
    for _ in 0..3 {
        let error = client.list().await.expect_err("throttled");
        assert_eq!(error.class, ErrorClass::Throttled { until });
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_read_is_repeated_twice_and_then_unavailable() {
    let counted = Arc::new(Counted::default());
    let server = Server::start(|_| Reply::Text(503, HTML)).await;
    let surroundings = Surroundings { meter: Arc::<Counted>::clone(&counted), ..surroundings(timing()) };
    let client = DbtCloud::connect(&connection(&server.url()), &token(OWN), surroundings).expect("valid");
    let error = client.account().await.expect_err("unavailable");
    assert_eq!((error.class, server.seen().len()), (ErrorClass::Unavailable, 3));
    assert_eq!(error.operation, format!("read the state of account {}", ACCOUNT.0));
    assert_eq!(*counted.0.lock().expect("no panic"), [("read_account", "unavailable"); 3]);
}

#[tokio::test]
async fn errors_never_show_a_secret() {
    let replies: [Script; 5] = [
        || success(&json!({"id": "x", "uid": 5, "token_string": NEW})),
        || success(&json!({"id": 5, "uid": "k0PqL-2", "account_id": 1, "token_string": NEW})),
        || success(&json!({"id": 5, "uid": "k0PqL-2", "token_string": [NEW]})),
        || success(&json!(NEW)),
        || refusal(400, &format!("Token {OWN} may not")),
    ];
    for reply in replies {
        let server = Server::start(move |_| reply()).await;
        let error = client(&server).create("name", &rows()).await.map(|_| ()).expect_err("no token");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("newnew") && !shown.contains("ownown"), "{shown}");
    }
}
