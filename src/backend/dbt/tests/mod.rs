//! The backend against a server on loopback that answers as each test says.

mod contract;
mod emulator;
mod lies;
mod memory;
mod operations;
mod paging;
mod properties;
mod raw;
mod server;
mod transport;
mod verification;

use std::sync::Mutex;

use serde_json::{Value, json};

use self::server::{Reply, Seen, Server};
use super::*;

const ACCOUNT: AccountId = AccountId(70_403_103_922_125);
/// The account's own credential, of today's form.
const OWN: &str = "dbtc_ADMIN-1ownownownownownownownownownownownownownown1";
/// A new token, of today's form.
const NEW: &str = "dbtc_k0PqL-2newnewnewnewnewnewnewnewnewnewnewnewnewnew2";
const HTML: &str = "<html><body>502 Bad Gateway</body></html>";

/// Makes one answer.
type Script = fn() -> Reply;

fn token(text: &str) -> TokenString {
    TokenString::new(text.to_owned())
}

fn now() -> jiff::Timestamp {
    "2026-11-24T08:00:00Z".parse().expect("valid")
}

/// Long enough for a busy machine.
fn timing() -> Timing {
    Timing {
        connect: Duration::from_secs(20),
        call: Duration::from_secs(20),
        repetition_delay: Duration::ZERO,
        verification_pauses: vec![Duration::ZERO; 2],
        body_limit: 1024 * 1024,
    }
}

/// Remembers what was counted.
#[derive(Default)]
struct Counted(Mutex<Vec<(&'static str, &'static str)>>);

impl Meter for Counted {
    fn exchange(&self, operation: &'static str, outcome: &'static str, _: Duration) {
        self.0.lock().expect("no panic").push((operation, outcome));
    }
}

fn connection(url: &str) -> Connection {
    Connection {
        access_url: url.to_owned(),
        account_id: ACCOUNT,
        discovery_url: Some(format!("{url}/graphql")),
        semantic_layer_url: Some(format!("{url}/api/graphql")),
        ca_bundle: None,
        allow_insecure: true,
        requests_per_minute: DEFAULT_REQUESTS_PER_MINUTE,
    }
}

fn surroundings(timing: Timing) -> Surroundings {
    Surroundings {
        limiter: Arc::new(Limiter::new(DEFAULT_REQUESTS_PER_MINUTE)),
        meter: Arc::new(Unmetered),
        now: Arc::new(now),
        timing,
    }
}

fn client_with(server: &Server, timing: Timing) -> DbtCloud {
    DbtCloud::connect(&connection(&server.url()), &token(OWN), surroundings(timing)).expect("a valid connection")
}

fn client(server: &Server) -> DbtCloud {
    client_with(server, timing())
}

fn success(data: &Value) -> Reply {
    Reply::Json(200, json!({"status": {"code": 200, "is_success": true, "user_message": "Success!"}, "data": data}))
}

fn list(items: &Value, total: Option<usize>) -> Reply {
    let count = items.as_array().map_or(0, Vec::len);
    let pagination = json!({"count": count, "total_count": total});
    Reply::Json(200, json!({"status": {"code": 200}, "data": items, "extra": {"pagination": pagination}}))
}

fn refusal(status: u16, message: &str) -> Reply {
    Reply::Json(status, json!({"status": {"code": status, "is_success": false, "user_message": message}, "data": null}))
}

fn invalid_token() -> Reply {
    refusal(401, "Invalid token.")
}

fn not_found() -> Reply {
    refusal(404, "The requested resource was not found. Please check that you have the proper permissions.")
}

fn account() -> Reply {
    success(&json!({"id": ACCOUNT.0, "name": "Example", "plan": "enterprise", "locked": false}))
}

/// A token as lists have it.
fn item(id: i64) -> Value {
    json!({
        "id": id, "account_id": ACCOUNT.0, "uid": format!("uid{id:04}"), "name": format!("token {id}"), "state": 1,
        "permission_grants": [{"permission_set": "job_admin", "project_id": null, "writable_environment_categories": []}],
        "last_used": null, "created_at": "2025-10-01 08:15:30.123456+00:00", "updated_at": "2025-10-01 08:15:30.123456+00:00",
    })
}

fn items(ids: impl IntoIterator<Item = i64>) -> Value {
    ids.into_iter().map(item).collect()
}

fn connect_error(change: impl FnOnce(&mut Connection)) -> ConnectError {
    let mut connection = connection("https://ab123.us1.dbt.com");
    change(&mut connection);
    DbtCloud::connect(&connection, &token(OWN), surroundings(timing())).expect_err("a bad connection")
}

#[test]
fn a_bad_connection_is_refused_with_the_field_that_is_wrong() {
    assert_eq!(connect_error(|one| one.account_id = AccountId(0)), ConnectError::AccountIdInvalid);
    let error = connect_error(|one| one.access_url = "https://host/path".to_owned());
    assert_eq!(error.to_string(), "accessUrl must not have a path");
    let error = connect_error(|one| one.discovery_url = Some("http://host/graphql".to_owned()));
    assert_eq!(error, ConnectError::InsecureEndpoint { field: "endpoints.discovery" });
    let error = connect_error(|one| one.semantic_layer_url = Some("https://me:password@host/".to_owned()));
    assert_eq!(error.to_string(), "endpoints.semanticLayer must not hold a user name or password");
    let error = connect_error(|one| one.ca_bundle = Some(b"x".to_vec()));
    assert_eq!(error.to_string(), "the CA bundle holds no certificate");
    for bad in ["", "two words", "line\n"] {
        let result = DbtCloud::connect(&connection("http://127.0.0.1:1"), &token(bad), surroundings(timing()));
        assert_eq!(result.err(), Some(ConnectError::CredentialUnusable), "{bad:?}");
    }
}

#[tokio::test]
async fn no_secret_is_in_any_debug_output() {
    let server = Server::start(|_| invalid_token()).await;
    let client = client(&server);
    let shown = format!("{client:?} {:?}", client.caller);
    assert!(shown.contains("127.0.0.1"), "{shown}");
    assert!(!shown.contains("own"), "{shown}");
}
