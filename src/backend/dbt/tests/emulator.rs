//! The backend against the emulator, which was written from the same fact sheet by somebody else: over HTTP and HTTPS.

use std::io::Write;

use dbt_cloud_emulator::{
    DeletedGet, Emulator, Fault, Grant, ListPaging, Lost, Modes, Options, RateLimit, Rule, Seed, SeedToken, StringFormat,
};
use dbt_token_planner::grant::{GrantRow, GrantRows, Scope};
use dbt_token_planner::identity::{EnvironmentId, PermissionSet, ProjectId, TokenId, WriteCategory};
use dbt_token_planner::mark::Mark;
use dbt_token_planner::permission::{Probe, probes};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::backend::{Backend, Lookup, Verdict};

const NAME: &str = "finance/dagster [dbt-token-operator install owner 1764000000]";
/// A project of the emulator's seed, with a production environment.
const FINANCE: ProjectId = ProjectId(700);

async fn emulator() -> Emulator {
    Emulator::start(Options::default()).await.expect("started")
}

fn to(emulator: &Emulator, url: &str, timing: Timing) -> DbtCloud {
    let connection = Connection { ca_bundle: Some(emulator.ca_pem().as_bytes().to_vec()), ..connection(url) };
    DbtCloud::connect(&connection, &token(emulator.admin_token()), surroundings(timing)).expect("a valid connection")
}

fn plain_client(emulator: &Emulator) -> DbtCloud {
    to(emulator, &emulator.http_url(), timing())
}

fn row(set: &str, scope: Scope, writable: &[&str]) -> GrantRow {
    GrantRow {
        permission_set: PermissionSet::new(set),
        scope,
        writable: writable.iter().map(|kind| WriteCategory::new(*kind)).collect(),
    }
}

fn rows() -> GrantRows {
    GrantRows::new(vec![
        row("developer", Scope::Project(FINANCE), &["staging"]),
        row("job_admin", Scope::All, &[]),
        row("metadata_only", Scope::Project(FINANCE), &[]),
        row("semantic_layer_only", Scope::Project(FINANCE), &[]),
    ])
}

/// How often a create call arrived.
fn creates(emulator: &Emulator) -> usize {
    emulator.log().iter().filter(|entry| entry.method == "POST" && entry.path.ends_with("/service-tokens/")).count()
}

/// The life of one token: made, listed, read, tried by every probe that its rows ask for, revoked, and dead.
async fn round_trip(client: &DbtCloud) {
    assert_eq!(client.account().await.expect("answered").plan, "enterprise_plus_2025");
    assert!(client.projects().await.expect("answered").iter().any(|project| project.id == FINANCE && project.name == "Finance"));
    let environments = client.environments().await.expect("answered");
    assert_eq!(environments.get(&FINANCE), Some(&EnvironmentId(218_762)));

    let created = client.create(NAME, &rows()).await.expect("made");
    assert_eq!(created.rows, rows());
    assert!(contains_uid(&created.string, &created.uid));
    assert_eq!(credential_uid(&created.string), Some(created.uid.clone()));

    let tokens = client.list().await.expect("answered");
    let listed = tokens.iter().find(|token| token.id == created.id).expect("listed");
    assert_eq!((&listed.uid, &listed.rows, listed.active), (&created.uid, &rows(), true));
    assert_eq!(listed.mark, Mark::parse(NAME));
    assert!(listed.created_at.is_some() && listed.last_used.is_none());
    assert!(tokens.iter().any(|token| !token.active), "the seed has a deleted token");
    assert_eq!(client.get(created.id).await, Ok(Lookup::Found(listed.clone())));

    let (wanted, untried) = probes(&rows(), |project| environments.get(&project?).copied());
    assert!(untried.is_empty() && wanted.len() == 3, "{wanted:?}");
    for probe in wanted {
        assert_eq!(client.verify(probe, &created.string).await, Verdict::Passed, "{probe:?}");
    }
    let Ok(Lookup::Found(used)) = client.get(created.id).await else { panic!("not found") };
    assert!(used.last_used.is_some());

    client.revoke(created.id).await.expect("revoked");
    client.revoke(created.id).await.expect("still revoked");
    let Ok(Lookup::Found(revoked)) = client.get(created.id).await else { panic!("not found") };
    assert!(!revoked.active);
    let verdict = client.verify(Probe::Jobs(None), &created.string).await;
    assert!(matches!(verdict, Verdict::Refused { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_token_lives_and_dies_over_http() {
    let emulator = emulator().await;
    round_trip(&plain_client(&emulator)).await;
    assert_eq!(creates(&emulator), 1);
}

#[tokio::test]
async fn a_token_lives_and_dies_over_https() {
    let emulator = emulator().await;
    round_trip(&to(&emulator, &emulator.https_url(), timing())).await;
    assert_eq!(creates(&emulator), 1);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_stops_everything() {
    let (emulator, other) = (emulator().await, emulator().await);
    let client = to(&other, &emulator.https_url(), timing());
    let error = client.create(NAME, &rows()).await.map(|_| ()).expect_err("another CA");
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    assert!(error.detail.contains("certificate"), "{error}");
    assert!(emulator.log().is_empty());
}

#[tokio::test]
async fn a_lost_create_is_ambiguous_and_sent_once() {
    let faults = [
        Fault::DropBefore,
        Fault::DropAfter,
        Fault::HangBefore { ms: None },
        Fault::HangAfter { ms: None },
        Fault::LateEffect { after_ms: None, lost: Lost::GatewayTimeout },
        Fault::ErrorAfter { status: 500 },
        Fault::Html { status: 502 },
        Fault::HugeBody { bytes: 2 * 1024 * 1024 },
        Fault::InvalidUtf8,
        Fault::Truncated,
    ];
    let emulator = emulator().await;
    for (place, fault) in faults.into_iter().enumerate() {
        let hangs = matches!(fault, Fault::HangBefore { .. } | Fault::HangAfter { .. });
        let handle = emulator.add_fault(Rule::new(fault).on("POST", "service-tokens/"));
        let client = plain_client(&emulator);
        let call = tokio::spawn(async move { client.create(NAME, &rows()).await.map(|_| ()) });
        if hangs {
            assert!(emulator.wait_until(Duration::from_secs(20), |emulator| creates(emulator) > place).await);
            tokio::time::pause();
        }
        let error = call.await.expect("no panic").expect_err(&format!("{place}: no token"));
        if hangs {
            tokio::time::resume();
        }
        assert_eq!(error.class, ErrorClass::Ambiguous, "{place}: {error}");
        assert_eq!(creates(&emulator), place + 1, "{place}");
        emulator.remove_fault(handle);
    }
}

#[tokio::test]
async fn an_installation_that_ignores_the_grants_takes_them_in_a_second_call_and_once() {
    let emulator = emulator().await;
    emulator.set_modes(|modes| modes.create_ignores_grants = true);
    let client = plain_client(&emulator);
    let created = client.create(NAME, &rows()).await.expect("made");
    assert!(created.rows.is_empty());
    client.grant(created.id, &rows()).await.expect("granted");
    let Ok(Lookup::Found(found)) = client.get(created.id).await else { panic!("not found") };
    assert_eq!(found.rows, rows());
    let error = client.grant(created.id, &rows()).await.expect_err("once");
    assert!(matches!(error.class, ErrorClass::Rejected { .. }), "{error:?}");
}

#[tokio::test]
async fn what_dbt_refuses_is_told_to_the_user() {
    let emulator = emulator().await;
    let client = plain_client(&emulator);
    let refused = |set: &str, scope| GrantRows::new(vec![row(set, scope, &[])]);
    let error = client.create(NAME, &refused("no_such_set", Scope::All)).await.map(|_| ()).expect_err("unknown set");
    let ErrorClass::Rejected { message } = &error.class else { panic!("{error:?}") };
    assert!(message.starts_with("The request was invalid."), "{message}");
    let foreign = refused("job_admin", Scope::Project(ProjectId(999_999)));
    let error = client.create(NAME, &foreign).await.map(|_| ()).expect_err("no such project");
    assert_eq!(error.class, ErrorClass::Denied, "{error}");
}

#[tokio::test]
async fn only_an_absence_that_is_proved_is_one() {
    let emulator = emulator().await;
    let client = plain_client(&emulator);
    assert_eq!(client.get(TokenId(5)).await, Ok(Lookup::Absent));
    emulator.set_modes(|modes| modes.deleted_get = DeletedGet::NotFound);
    let created = client.create(NAME, &rows()).await.expect("made");
    client.revoke(created.id).await.expect("revoked");
    // The list still shows it, so with a list that shows everything the two answers contradict each other.
    emulator.set_modes(|modes| modes.list_paging = ListPaging::Everything);
    assert_eq!(client.get(created.id).await.expect_err("a contradiction").class, ErrorClass::Malformed);
    emulator.set_modes(|modes| modes.list_includes_deleted = false);
    assert_eq!(client.get(created.id).await, Ok(Lookup::Absent));
    emulator.add_fault(Rule::new(Fault::Unauthorized).on("GET", "service-tokens/"));
    assert_eq!(client.get(created.id).await.expect_err("a dead credential").class, ErrorClass::CredentialRefused);
}

#[tokio::test]
async fn a_long_list_comes_whole_or_not_at_all() {
    let emulator = emulator().await;
    for place in 0..250 {
        emulator.add_token(SeedToken::new(&format!("token {place}"), &[Grant::new("job_admin")]));
    }
    let everything = emulator.tokens().len();
    let client = plain_client(&emulator);
    for (paging, duplicates) in [(ListPaging::Honoured, false), (ListPaging::Everything, false), (ListPaging::Honoured, true)] {
        emulator.set_modes(|modes| modes.list_paging = paging);
        let rule = duplicates.then(|| emulator.add_fault(Rule::new(Fault::DuplicateIds).on("GET", "service-tokens/")));
        assert_eq!(client.list().await.map(|tokens| tokens.len()), Ok(everything), "{paging:?}, {duplicates}");
        if let Some(rule) = rule {
            emulator.remove_fault(rule);
        }
    }
    emulator.set_modes(|modes| modes.list_paging = ListPaging::FirstPage);
    assert_eq!(client.list().await.expect_err("the first page alone").class, ErrorClass::Malformed);
}

#[tokio::test]
async fn states_of_the_account_have_their_classes() {
    let check = async |change: fn(&mut Modes), expected: &str| {
        let emulator = emulator().await;
        emulator.set_modes(change);
        let client = plain_client(&emulator);
        assert_eq!(client.list().await.expect_err(expected).class.word(), expected);
        let verdict = client.verify(Probe::Jobs(None), &token(emulator.admin_token())).await;
        assert!(matches!(verdict, Verdict::Inconclusive { .. }), "{verdict:?}");
    };
    check(|modes| modes.account_locked = true, "account_locked").await;
    check(|modes| modes.ip_restricted = true, "ip_refused").await;
    let none = RateLimit { per_minute: 0, cooldown_ms: 60_000, retry_after: true };
    check(move |modes| modes.rate_limit = Some(RateLimit { per_minute: 0, cooldown_ms: 60_000, retry_after: true }), "throttled")
        .await;
    let emulator = emulator().await;
    emulator.set_modes(|modes| modes.rate_limit = Some(none));
    let ErrorClass::Throttled { until } = plain_client(&emulator).list().await.expect_err("throttled").class else {
        panic!("another class");
    };
    assert!((1..=60).contains(&until.duration_since(now()).as_secs()), "{until}");
}

#[tokio::test]
async fn a_wrong_credential_is_refused() {
    let emulator = emulator().await;
    let client = DbtCloud::connect(&connection(&emulator.http_url()), &token(NEW), surroundings(timing())).expect("valid");
    assert_eq!(client.list().await.expect_err("unknown").class, ErrorClass::CredentialRefused);
}

#[tokio::test]
async fn an_old_string_is_recognised_by_its_uid() {
    let emulator = emulator().await;
    let legacy = SeedToken::new("old", &[Grant::new("job_admin")]).in_format(StringFormat::Legacy);
    let issued = emulator.add_token(legacy);
    let string = token(&issued.string);
    assert_eq!(credential_uid(&string), None);
    let tokens = plain_client(&emulator).list().await.expect("answered");
    let matching: Vec<_> = tokens.iter().filter(|token| contains_uid(&string, &token.uid)).map(|token| token.id.0).collect();
    assert_eq!(matching, [issued.id.0]);
}

#[tokio::test]
async fn tokens_that_may_do_too_little_are_refused() {
    let emulator = emulator().await;
    let client = plain_client(&emulator);
    let jobs = emulator.add_token(SeedToken::new("jobs", &[Grant::new("job_admin").in_project(701)]));
    let security = emulator.add_token(SeedToken::new("security", &[Grant::new("security_admin")]));
    let table = [
        (Probe::Jobs(Some(FINANCE)), &jobs),
        (Probe::ServiceTokens, &jobs),
        (Probe::Discovery(EnvironmentId(218_762)), &security),
        (Probe::SemanticLayer(EnvironmentId(218_762)), &jobs),
    ];
    for (probe, issued) in table {
        let verdict = client.verify(probe, &token(&issued.string)).await;
        assert!(matches!(verdict, Verdict::Refused { .. }), "{probe:?}: {verdict:?}");
    }
    for (probe, issued) in
        [(Probe::Jobs(Some(ProjectId(701))), &jobs), (Probe::ServiceTokens, &security), (Probe::Accounts, &jobs)]
    {
        assert_eq!(client.verify(probe, &token(&issued.string)).await, Verdict::Passed, "{probe:?}");
    }
    let verdict = client.verify(Probe::Discovery(EnvironmentId(1)), &token(&jobs.string)).await;
    assert!(matches!(verdict, Verdict::Inconclusive { .. }), "nobody can see that environment: {verdict:?}");
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_string_is_in_the_log_at_any_level() {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(written.clone()).finish();
    // With only one subscriber alive, tracing asks the thread that comes to a line first, which may be another test's and
    // have none, and remembers that nobody listens. With two it asks both.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(Written::default()).finish());
    let guard = tracing::subscriber::set_default(subscriber);
    let emulator = Emulator::start(Seed::demo()).await.expect("started");
    let client = plain_client(&emulator);
    let created = client.create(NAME, &rows()).await.expect("made");
    client.verify(Probe::Jobs(None), &created.string).await;
    client.revoke(created.id).await.expect("revoked");
    client.verify(Probe::Jobs(None), &created.string).await;
    drop(guard);
    let log = String::from_utf8_lossy(&written.0.lock().expect("no panic")).into_owned();
    assert!(log.contains("create_token") && log.contains("/api/v3/accounts/{account}/service-tokens/"), "{log}");
    let strings = emulator.issued_token_strings();
    assert!(strings.len() > 1);
    for string in strings {
        assert!(!log.contains(&string) && !log.contains(&string[12..]), "a token is in the log");
    }
}
