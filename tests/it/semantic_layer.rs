//! Links of Semantic Layer credentials: whoever queries with the Secret's token does not notice a rotation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dbt_cloud_emulator::{Emulator, Fault, Rule, TokenId};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::case::{Case, cases};
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, for_ever, until};

pub fn cases() -> Vec<Case> {
    cases!(Shared:
        a_link_that_dbt_refuses_stops_the_rotation_until_it_is_mended,
        links_that_cannot_be_read_stop_only_tokens_that_may_have_some,
        a_link_that_a_person_makes_lets_the_rotation_go_on,
        a_rotation_carries_links_over_before_anything_is_published,
        a_lost_answer_to_a_link_is_read_back,
    )
}

/// The emulator's Semantic Layer credential, of project 700.
const CREDENTIAL: i64 = 5001;
const LINK: &str = "semantic-layer-credential-to-service-token-mapping/";
const REASON: &str = "SemanticLayerLinkFailed";

/// How often the Secret's token is queried with.
const EVERY: Duration = Duration::from_millis(50);

/// A set for queries, and one that an edit replaces.
fn with(set: &str) -> Value {
    json!([{"permissionSet": "semantic_layer_only", "projects": [{"id": 700}]},
           {"permissionSet": set, "projects": [{"id": 700}]}])
}

/// A token that may query, published and linked.
async fn linked(scene: &Scene, name: &str) -> String {
    let mut token = scene.token(name, with("job_runner"));
    token["spec"]["rotation"]["retire"]["after"] = json!("2s");
    scene.apply(&token).await;
    let string = scene.published(name).await;
    assert!(scene.dbt.link_credential(CREDENTIAL, TokenId(scene.id_of(&string))));
    string
}

/// The requests about credentials and links so far.
fn requests(scene: &Scene) -> Vec<String> {
    let log = scene.dbt.log().into_iter().filter(|entry| entry.template.contains("/semantic-layer-credential"));
    log.map(|entry| format!("{} {}", entry.method, entry.template.rsplit('/').nth(1).unwrap_or_default())).collect()
}

const READ: &str = "GET semantic-layer-credentials";
const MAKE: &str = "POST semantic-layer-credential-to-service-token-mapping";

/// The credentials that are linked to the token with this string.
fn links_of(scene: &Scene, id: i64) -> Vec<i64> {
    let token = scene.dbt.tokens().into_iter().find(|token| token.id.0 == id);
    token.map(|token| token.semantic_layer_credentials).unwrap_or_default()
}

async fn a_rotation_carries_links_over_before_anything_is_published(scene: &Scene) {
    scene.connect(|_| {}).await;
    let first = linked(scene, "ci").await;
    assert_eq!(requests(scene), [""; 0], "a first token can have no links");
    let reader = Reader::start(scene, "ci-dbt");
    scene.permit("ci", with("job_admin")).await;
    let second = scene.replaced("ci", &first).await;
    assert_eq!(requests(scene), [READ, MAKE]);
    let log = scene.dbt.log();
    let new = scene.id_of(&second);
    let place = |wanted: &dyn Fn(&dbt_cloud_emulator::LogEntry) -> bool| log.iter().position(wanted);
    let made = place(&|entry| entry.method == "POST" && entry.template.ends_with(LINK)).expect("a link was made");
    let used = place(&|entry| entry.path.starts_with("/api/graphql") && entry.token_id.is_some_and(|id| id.0 == new));
    assert!(used.expect("it was tried") < made, "it is tried before it is linked");
    reader.queried_with(new).await;
    scene.only_live(&[new]).await;
    assert_eq!(links_of(scene, new), [CREDENTIAL]);
    reader.end();
    // What cannot have a link costs nothing more.
    scene.apply(&scene.token("jobs", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]))).await;
    let jobs = scene.published("jobs").await;
    scene.permit("jobs", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    scene.replaced("jobs", &jobs).await;
    assert_eq!(requests(scene), [READ, MAKE]);
    // Nor has one that may not query any more a use for it.
    scene.permit("ci", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    let third = scene.replaced("ci", &second).await;
    assert_eq!((requests(scene).len(), links_of(scene, scene.id_of(&third))), (2, vec![]));
}

async fn a_link_that_dbt_refuses_stops_the_rotation_until_it_is_mended(scene: &Scene) {
    scene.connect(|_| {}).await;
    let first = linked(scene, "ci").await;
    let reader = Reader::start(scene, "ci-dbt");
    let fault = scene.dbt.add_fault(Rule::new(Fault::ErrorBefore { status: 400 }).on("POST", LINK));
    scene.permit("ci", with("job_admin")).await;
    let stalled = scene.expect("ci", "Stalled", "True", REASON).await;
    let (old, new) = (scene.id_of(&first), scene.id_of(&first) + 1);
    let wanted = format!("credential {CREDENTIAL} of project 700 cannot be linked to token {new}: ");
    assert!(stalled.message.starts_with(&wanted), "{}", stalled.message);
    let rest = format!("; token {old} stays published; link it in dbt, or mend the credential's rights");
    assert!(stalled.message.ends_with(&rest), "{}", stalled.message);
    assert_eq!(scene.event("ci", REASON).await, stalled.message);
    until(LIMIT, "it is tried again", async || {
        let tries = requests(scene).iter().filter(|request| *request == MAKE).count();
        if tries >= 2 { Ok(()) } else { Err(tries.to_string()) }
    })
    .await;
    scene.check().await;
    assert_eq!((scene.string_of("ci").await, scene.created()), (first.clone(), 2), "the new token waits, and no third is made");
    scene.dbt.remove_fault(fault);
    let second = scene.replaced("ci", &first).await;
    assert_eq!((scene.id_of(&second), scene.created()), (new, 2));
    reader.queried_with(new).await;
    scene.only_live(&[new]).await;
    reader.end();
}

async fn links_that_cannot_be_read_stop_only_tokens_that_may_have_some(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.dbt.set_modes(|modes| modes.semantic_layer_credentials_hidden = true);
    // As in an account without a Semantic Layer.
    scene.apply(&scene.token("jobs", json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}]))).await;
    let jobs = scene.published("jobs").await;
    let first = linked(scene, "ci").await;
    scene.permit("jobs", json!([{"permissionSet": "job_admin", "projects": [{"id": 700}]}])).await;
    scene.replaced("jobs", &jobs).await;
    let reader = Reader::start(scene, "ci-dbt");
    // A rotation in the background says so as loudly as an edit.
    scene.annotate_token("ci", "rotate-at", "noon").await;
    let stalled = scene.expect("ci", "Stalled", "True", REASON).await;
    let old = scene.id_of(&first);
    let wanted = format!("the Semantic Layer credentials that are linked to token {old} cannot be read: 404 Not Found: ");
    assert!(stalled.message.starts_with(&wanted), "{}", stalled.message);
    assert!(stalled.message.contains(&format!("token {old} stays published")), "{}", stalled.message);
    scene.check().await;
    assert_eq!(scene.string_of("ci").await, first);
    scene.dbt.set_modes(|modes| modes.semantic_layer_credentials_hidden = false);
    let second = scene.replaced("ci", &first).await;
    reader.queried_with(scene.id_of(&second)).await;
    reader.end();
    assert!(!requests(scene).iter().any(|request| request == "GET semantic-layer-credential-to-service-token-mapping"));
}

async fn a_link_that_a_person_makes_lets_the_rotation_go_on(scene: &Scene) {
    scene.connect(|_| {}).await;
    let first = linked(scene, "ci").await;
    scene.dbt.add_fault(Rule::new(Fault::ErrorBefore { status: 404 }).on("POST", LINK));
    scene.permit("ci", with("job_admin")).await;
    scene.expect("ci", "Stalled", "True", REASON).await;
    assert!(scene.dbt.link_credential(CREDENTIAL, TokenId(scene.id_of(&first) + 1)));
    let second = scene.replaced("ci", &first).await;
    assert_eq!(links_of(scene, scene.id_of(&second)), [CREDENTIAL]);
}

async fn a_lost_answer_to_a_link_is_read_back(scene: &Scene) {
    scene.connect(|_| {}).await;
    let first = linked(scene, "ci").await;
    let reader = Reader::start(scene, "ci-dbt");
    scene.dbt.add_fault(Rule::new(Fault::DropAfter).on("POST", LINK).nth(1));
    scene.permit("ci", with("job_admin")).await;
    let second = scene.replaced("ci", &first).await;
    reader.queried_with(scene.id_of(&second)).await;
    reader.end();
    assert_eq!((requests(scene), scene.created()), ([READ, MAKE, READ].map(str::to_owned).to_vec(), 2));
}

/// A consumer that takes the token out of the Secret for each query.
struct Reader {
    asked: Arc<Asked>,
    task: JoinHandle<()>,
}

struct Asked {
    secrets: Api<Secret>,
    secret: String,
    dbt: Arc<Emulator>,
    answered: AtomicUsize,
    /// The token of the last query that was answered.
    last: Mutex<Option<i64>>,
    refused: Mutex<Vec<String>>,
}

impl Reader {
    fn start(scene: &Scene, secret: &str) -> Self {
        let asked = Arc::new(Asked {
            secrets: scene.secrets(),
            secret: secret.to_owned(),
            dbt: Arc::clone(&scene.dbt),
            answered: AtomicUsize::new(0),
            last: Mutex::default(),
            refused: Mutex::default(),
        });
        let inner = Arc::clone(&asked);
        Self { asked, task: tokio::spawn(for_ever(EVERY, move || Arc::clone(&inner).ask())) }
    }

    /// Waits until a query with this token was answered.
    async fn queried_with(&self, token: i64) {
        until(LIMIT, &format!("a query with token {token} is answered"), async || {
            let last = *self.asked.last.lock().expect("no holder panics");
            if last == Some(token) { Ok(()) } else { Err(format!("{last:?}")) }
        })
        .await;
    }

    /// Every query was answered.
    fn end(self) {
        self.task.abort();
        let refused = self.asked.refused.lock().expect("no holder panics").clone();
        assert!(refused.is_empty(), "queries were refused: {refused:#?}");
        assert!(self.asked.answered.load(Ordering::SeqCst) > 0, "nothing was queried");
    }
}

impl Asked {
    /// A refusal counts if the Secret has not changed meanwhile.
    async fn ask(self: Arc<Self>) {
        let Some((string, version)) = self.held().await else { return };
        let Some(token) = self.dbt.authenticates(&string) else { return };
        let answer = query(&self.dbt, &string).await;
        if answer["data"]["createQuery"]["queryId"].is_string() {
            self.answered.fetch_add(1, Ordering::SeqCst);
            *self.last.lock().expect("no holder panics") = Some(token.0);
        } else if self.held().await.is_some_and(|(_, now)| now == version) {
            self.refused.lock().expect("no holder panics").push(format!("token {token}: {}", answer["errors"][0]["message"]));
        }
    }

    async fn held(&self) -> Option<(String, Option<String>)> {
        let secret = self.secrets.get_opt(&self.secret).await.ok()??;
        let string = String::from_utf8(secret.data?.remove("token")?.0).expect("the operator writes text");
        Some((string, secret.metadata.resource_version))
    }
}

/// A real query, as opposed to a look at metadata.
async fn query(dbt: &Emulator, string: &str) -> Value {
    let query = r#"mutation { createQuery(environmentId: 218762, metrics: [{name: "revenue"}]) { queryId } }"#;
    let request = http::Request::post(format!("{}/api/graphql", dbt.http_url()))
        .header("authorization", format!("Bearer {string}"))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(json!({"query": query}).to_string()));
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let answer = client.request(request.expect("a request")).await.expect("the emulator answers");
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    serde_json::from_slice(&body).expect("JSON")
}
