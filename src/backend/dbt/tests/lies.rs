//! A dbt that lies: whatever stands in its place, each call ends in a class, within bounded time and after a bounded number
//! of bytes, and no credential goes anywhere else. What a lie may cost in memory is measured in `memory.rs`.

use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::PermissionSet;
use dbt_token_planner::permission::Probe;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::raw::{Bytes, Raw};
use super::*;
use crate::backend::{Backend, Verdict};

/// An honest answer to a read of the account.
const ACCOUNT_BODY: &str = r#"{"data":{"id":70403103922125,"name":"Example"}}"#;

fn rows() -> GrantRows {
    let set = PermissionSet::new("metadata_only");
    GrantRows::new(vec![GrantRow { permission_set: set, scope: Scope::All, writable: std::collections::BTreeSet::new() }])
}

fn raw_client(server: &Raw, timing: Timing) -> DbtCloud {
    DbtCloud::connect(&connection(&server.url()), &token(OWN), surroundings(timing)).expect("a valid connection")
}

/// Words for a read, a creation and a check, in this order.
async fn outcomes(client: &DbtCloud) -> [String; 3] {
    let read = client.account().await.map_or_else(|error| error.class.word(), |_| "read");
    let created = client.create("name", &rows()).await.map_or_else(|error| error.class.word(), |_| "created");
    let verdict = match client.verify(Probe::Accounts, &token(NEW)).await {
        Verdict::Passed => "passed",
        Verdict::Refused { .. } => "refused",
        Verdict::Inconclusive { .. } => "inconclusive",
    };
    [read, created, verdict].map(str::to_owned)
}

/// What each of the three comes to when a server answers everything so. Nothing may ever be believed of it.
async fn told(bytes: impl Fn() -> Bytes + Send + Sync + 'static) -> [String; 3] {
    let server = Raw::start(move |_| bytes()).await;
    outcomes(&raw_client(&server, timing())).await
}

fn response(head: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}")
}

fn with_length(head: &str, body: &str) -> String {
    response(&format!("{head}content-length: {}\r\n", body.len()), body)
}

const LOST: [&str; 3] = ["unavailable", "ambiguous", "inconclusive"];
const SENSELESS: [&str; 3] = ["malformed", "ambiguous", "inconclusive"];

#[tokio::test]
async fn an_answer_that_is_no_http_is_lost() {
    let lies: [(&str, String); 9] = [
        ("two lengths", response("content-length: 47\r\ncontent-length: 4\r\n", ACCOUNT_BODY)),
        ("two lengths in one", response("content-length: 47, 4\r\n", ACCOUNT_BODY)),
        ("a length below nothing", response("content-length: -1\r\n", ACCOUNT_BODY)),
        ("a length that no number holds", response("content-length: 99999999999999999999999\r\n", ACCOUNT_BODY)),
        ("a chunk of no size", response("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("a chunk beyond all sizes", response("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n".to_owned()),
        ("a status that is none", "HTTP/1.1 20x OK\r\n\r\n".to_owned()),
        ("a body that ends early", response("content-length: 470\r\n", ACCOUNT_BODY)),
    ];
    for (lie, text) in lies {
        assert_eq!(told(move || Bytes::Closed(text.clone().into_bytes())).await, LOST, "{lie}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let many = |name: &'static str, times| move || Bytes::Repeated("HTTP/1.1 200 OK\r\n".to_owned(), name, times, "\r\n\r\n");
    let long = || Bytes::Repeated("HTTP/1.1 200 OK\r\nx: ".to_owned(), "aaaaaaaaaa", 10_000_000, "\r\n\r\n");
    assert_eq!(told(many("x-a: b\r\n", 1000)).await, LOST, "a thousand headers");
    assert_eq!(told(many("x-a: b\r\n", 10_000_000)).await, LOST, "headers without end");
    assert_eq!(told(long).await, LOST, "one header without end");
    let server = Raw::start(move |_| long()).await;
    raw_client(&server, timing()).create("name", &rows()).await.map(|_| ()).expect_err("no head");
    assert!(server.written() < 32 * 1024 * 1024, "{} bytes were taken", server.written());
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_not_believed() {
    let nested = format!(r#"{{"data":{}}}"#, "[".repeat(100_000));
    let lies: [(&str, Vec<u8>); 7] = [
        ("not UTF-8", b"{\"data\":{\"id\":70403103922125,\"name\":\"\xff\xfe\"}}".to_vec()),
        ("nothing", Vec::new()),
        ("HTML", HTML.into()),
        ("depth", nested.into()),
        ("a number that no number holds", br#"{"data":{"id":1e999,"uid":"k0PqL-2"}}"#.to_vec()),
        ("two answers in one", [ACCOUNT_BODY, ACCOUNT_BODY].concat().into()),
        ("another type", br#"{"data":"dbtc_x"}"#.to_vec()),
    ];
    for (lie, body) in lies {
        let told = told(move || {
            let head = response(&format!("content-length: {}\r\n", body.len()), "");
            Bytes::Closed([head.as_bytes(), &body].concat())
        });
        assert_eq!(told.await, SENSELESS, "{lie}");
    }
}

/// A name that is given twice counts once, as serde has it: it is refused.
#[tokio::test]
async fn a_field_that_stands_twice_is_refused() {
    let body = r#"{"data":{"id":70403103922125,"id":5}}"#;
    assert_eq!(told(move || Bytes::Kept(with_length("", body))).await, SENSELESS);
}

/// Nothing was asked to be compressed, and nothing is taken apart: a few bytes cannot become many.
#[tokio::test]
async fn a_compressed_body_stays_as_it_is() {
    // A valid gzip file with the honest answer in it, uncompressed.
    let length = u16::try_from(ACCOUNT_BODY.len()).expect("a short body");
    let head: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x01";
    let gzip = [head, &length.to_le_bytes(), &(!length).to_le_bytes(), ACCOUNT_BODY.as_bytes(), &[0; 8]].concat();
    for encoding in ["gzip", "deflate", "br", "identity, gzip"] {
        let gzip = gzip.clone();
        let told = told(move || {
            let head = response(&format!("content-encoding: {encoding}\r\ncontent-length: {}\r\n", gzip.len()), "");
            Bytes::Closed([head.as_bytes(), &gzip].concat())
        });
        assert_eq!(told.await, SENSELESS, "{encoding}");
    }
    let server = Server::start(|_| account()).await;
    client(&server).account().await.expect("answered");
    assert!(!server.seen()[0].headers.contains_key("accept-encoding"));
}

#[tokio::test]
async fn five_gigabytes_are_left_unread() {
    const GIGABYTES: usize = 5_000_000_000 / 10;
    let announced = || Bytes::Repeated(response("content-length: 5000000000\r\n", ""), "          ", GIGABYTES, "");
    let unannounced = || Bytes::Repeated(response("connection: close\r\n", "{\"data\":["), "{\"id\":1}, ", GIGABYTES, "");
    let chunk = || Bytes::Repeated(response("transfer-encoding: chunked\r\n", "12A05F200\r\n"), "          ", GIGABYTES, "");
    for (lie, bytes) in [("announced", announced as fn() -> Bytes), ("unannounced", unannounced), ("in one chunk", chunk)] {
        let server = Raw::start(move |_| bytes()).await;
        assert_eq!(outcomes(&raw_client(&server, timing())).await, SENSELESS, "{lie}");
        // What the system holds for each of the connections comes on top of the limit of one MiB.
        assert!(server.written() < 64 * 1024 * 1024, "{lie}: {} bytes were taken", server.written());
    }
}

#[tokio::test]
async fn an_answer_byte_by_byte_ends_with_the_time_of_the_call() {
    const PAUSE: Duration = Duration::from_millis(2);
    let lies = [
        ("in the head", Bytes::Trickling("HTTP/1.1 200 OK\r\nx: ", b"a", PAUSE)),
        ("between headers", Bytes::Trickling("HTTP/1.1 200 OK\r\n", b"x: y\r\n", PAUSE)),
        ("in the body", Bytes::Trickling("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" ", PAUSE)),
        ("in chunks", Bytes::Trickling("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n", PAUSE)),
        ("in words of encouragement", Bytes::Trickling("", b"HTTP/1.1 100 Continue\r\n\r\n", PAUSE)),
    ];
    let timing = Timing { call: Duration::from_millis(60), ..timing() };
    for (lie, bytes) in lies {
        let server = Raw::start(move |_| bytes.clone()).await;
        let client = raw_client(&server, timing.clone());
        assert_eq!(outcomes(&client).await, LOST, "{lie}");
        let error = client.account().await.expect_err("too slow");
        assert_eq!(error.detail, "no complete answer within 60 ms", "{lie}");
    }
}

/// An answer that nobody asked for, sent along with another, is not taken for that to the next request.
#[tokio::test]
async fn an_answer_belongs_to_its_own_request() {
    let forged = with_length("", r#"{"data":{"id":5}}"#);
    let server = Raw::start(move |_| Bytes::Kept(with_length("", ACCOUNT_BODY) + &forged)).await;
    let client = raw_client(&server, timing());
    for _ in 0..5 {
        assert_eq!(client.account().await.expect("answered").id, ACCOUNT);
    }
    assert_eq!(server.requests(), 5);
}

#[tokio::test]
async fn no_call_of_any_kind_follows_a_redirect() {
    let other = Server::start(|_| account()).await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/api/v2/accounts/", other.url());
        let server = Server::start(move |_| Reply::Header(status, "location", target.clone())).await;
        let client = client(&server);
        assert_eq!(outcomes(&client).await, SENSELESS, "{status}");
        let revoked = client.revoke(dbt_token_planner::identity::TokenId(17)).await.expect_err("a redirect");
        assert_eq!(revoked.class, ErrorClass::Ambiguous, "{status}");
    }
    assert!(other.seen().is_empty() && other.connections() == 0, "a credential went to another server");
}

#[tokio::test]
async fn pages_without_end_have_an_end() {
    let number = |path: &str| path.rsplit_once("offset=").map_or(0, |(_, offset)| offset.parse().expect("a number"));
    let server = Server::start(move |seen| {
        let offset: i64 = number(&seen.path);
        list(&(offset..offset + 100).map(|id| json!({"id": id})).collect(), Some(10_000_000))
    })
    .await;
    let error = client(&server).projects().await.expect_err("ten million projects");
    assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Malformed, "the list has more than 1000 pages"));
    assert_eq!(server.seen().len(), 1000);
    // Few items, and each as large as an answer may be.
    let server = Server::start(move |seen| {
        let mut item = item(number(&seen.path) + 1);
        item["name"] = json!("x".repeat(1_000_000));
        list(&json!([item]), Some(10_000_000))
    })
    .await;
    let error = client(&server).list().await.expect_err("ten terabytes");
    assert_eq!((error.class, error.detail.as_str()), (ErrorClass::Malformed, "the list has more than 16777216 bytes"));
    assert_eq!(server.seen().len(), 17);
    // All of them at once, as many as an answer may hold.
    let many = json!({"data": vec![json!({"id": 1}); 100_001]});
    let server = Server::start(move |_| Reply::Json(200, many.clone())).await;
    let client = client_with(&server, Timing { body_limit: BODY_LIMIT, ..timing() });
    assert_eq!(client.list().await.expect_err("too many").class, ErrorClass::Malformed);
    assert_eq!(server.seen().len(), 1);
}

/// Whoever is vouched for in a test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

/// A certificate of the address on which tests listen, changed; signed by the authority, or by itself.
fn acceptor(authority: Option<&Authority>, change: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, &authority.issuer),
        None => params.self_signed(&key),
    };
    let certificate = certificate.expect("a certificate").der().clone();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of the provider")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], private)
        .expect("a key that fits");
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn nothing_is_sent_to_a_host_that_nobody_vouches_for() {
    let authority = authority();
    let elsewhere = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::DnsName("elsewhere.example".try_into().expect("a name"))];
    };
    let lies: [(&str, TlsAcceptor, bool); 6] = [
        ("an honest one", acceptor(Some(&authority), |_| {}), true),
        ("another host's", acceptor(Some(&authority), elsewhere), false),
        ("nobody's", acceptor(Some(&authority), |params| params.subject_alt_names.clear()), false),
        ("an expired one", acceptor(Some(&authority), |params| params.not_after = date_time_ymd(2021, 1, 1)), false),
        ("a later one", acceptor(Some(&authority), |params| params.not_before = date_time_ymd(2120, 1, 1)), false),
        ("its own", acceptor(None, |_| {}), false),
    ];
    for (lie, acceptor, is_trusted) in lies {
        let server = Raw::start_tls(acceptor, |_| Bytes::Kept(with_length("", ACCOUNT_BODY))).await;
        let connection = Connection { ca_bundle: Some(authority.pem.clone().into_bytes()), ..connection(&server.https_url()) };
        let client = DbtCloud::connect(&connection, &token(OWN), surroundings(timing())).expect("a valid connection");
        if is_trusted {
            assert_eq!(client.account().await.expect(lie).id, ACCOUNT);
            continue;
        }
        // Nothing was sent, so that even a creation is known not to have happened.
        assert_eq!(outcomes(&client).await, ["unavailable", "unavailable", "inconclusive"], "{lie}");
        let error = client.account().await.expect_err(lie);
        assert!(error.detail.contains("certificate"), "{lie}: {error}");
        assert_eq!(server.requests(), 0, "{lie}");
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let connection = Connection { ca_bundle: Some(authority().pem.into_bytes()), ..connection(&url) };
    let timing = Timing { call: Duration::from_millis(60), ..timing() };
    let client = DbtCloud::connect(&connection, &token(OWN), surroundings(timing)).expect("a valid connection");
    assert_eq!(outcomes(&client).await, LOST);
}

/// Whatever a liar repeats of the credential, nobody is shown it. Of an older one nothing tells but that it is ours.
#[tokio::test]
async fn the_credential_is_in_nothing_that_is_shown() {
    for own in [OWN, "0ld5tyle0ld5tyle0ld5tyle"] {
        let server = Server::start(move |seen| match seen.path.as_str() {
            path if path.contains("/service-tokens/") => {
                let mut token = item(17);
                token["name"] = json!(format!("x{own}x"));
                if path.ends_with("/17/") { success(&token) } else { list(&json!([token]), Some(1)) }
            }
            _ => success(&json!({"id": ACCOUNT.0, "name": own, "plan": own, "locked": true, "lock_reason": format!("x{own}")})),
        })
        .await;
        let client = DbtCloud::connect(&connection(&server.url()), &token(own), surroundings(timing())).expect("valid");
        let shown = format!(
            "{:?} {:?} {:?}",
            client.account().await.expect("answered"),
            client.list().await.expect("answered"),
            client.get(dbt_token_planner::identity::TokenId(17)).await.expect("answered"),
        );
        assert!(!shown.contains(&own[8..]) && shown.matches("[withheld]").count() == 5, "{shown}");
    }
}

/// The string of one token under the uid of another: what it opens is not what would be published.
#[tokio::test]
async fn a_string_of_another_token_is_not_taken() {
    let server = Server::start(|_| success(&json!({"id": 17, "uid": "zzzzzzz", "token_string": NEW}))).await;
    let error = client(&server).create("name", &rows()).await.map(|_| ()).expect_err("not that one's");
    assert_eq!(error.class, ErrorClass::Ambiguous);
    assert_eq!(error.detail, "the token string in the answer is that of another token");
}
