//! The bare client: what anybody who wants tokens in Secrets has to do at least, and nothing else. No ledger, no slots, no
//! retries, no proof of ownership; one connection a worker, and the shortest code that a worker can have.
//!
//! It runs as a process of its own, since the tasks themselves are not built for speed.

use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Client, Request, Session};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to do, as JSON.
    work: PathBuf,
}

/// What there is to do. It holds tokens, so it travels in a file of its owner's.
#[derive(Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) kubernetes: Server,
    /// Without it, the ServiceTokens are created and left to the operator.
    pub(super) dbt: Option<Server>,
    pub(super) account_id: i64,
    pub(super) project_id: i64,
    pub(super) objects: usize,
    pub(super) workers: usize,
    pub(super) namespaces: Vec<String>,
}

/// Whom to speak to, and as whom.
#[derive(Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) url: String,
    pub(super) authority_pem: String,
    pub(super) token: String,
}

impl Server {
    fn open(&self) -> Result<Session> {
        let client = Client::trusting(&self.authority_pem).map_err(Error::other)?;
        Session::open(&client, &self.url)
    }
}

/// Does the work, and prints the seconds that it took.
///
/// # Errors
/// The first answer that was no success.
pub fn run(arguments: &Arguments) -> Result<()> {
    let work: Work = serde_json::from_slice(&std::fs::read(&arguments.work)?)?;
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..work.workers).map(|_| scope.spawn(|| worker(&work, &next))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(Error::other("a worker panicked"))))
    })?;
    println!("{}", started.elapsed().as_secs_f64());
    Ok(())
}

fn worker(work: &Work, next: &AtomicUsize) -> Result<()> {
    let mut kubernetes = work.kubernetes.open()?;
    let mut dbt = work.dbt.as_ref().map(|server| Ok::<_, Error>((server, server.open()?))).transpose()?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= work.objects {
            return Ok(());
        }
        let object = Object::new(work, number);
        object.declare(&mut kubernetes)?;
        if let Some((server, dbt)) = &mut dbt {
            let token = object.mint(server, dbt)?;
            object.publish(&mut kubernetes, &token)?;
        }
    }
}

struct Object<'a> {
    work: &'a Work,
    namespace: &'a str,
    name: String,
}

impl<'a> Object<'a> {
    fn new(work: &'a Work, number: usize) -> Self {
        Self { work, namespace: &work.namespaces[number % work.namespaces.len()], name: format!("token-{number}") }
    }

    fn objects_path(&self) -> String {
        format!("/apis/tokens.dbt-operator.dev/v1alpha1/namespaces/{}/servicetokens", self.namespace)
    }

    fn kubernetes(&self, session: &mut Session, method: &str, path: &str, content_type: &str, body: &Value) -> Result<()> {
        let token = &self.work.kubernetes.token;
        let request = Request { method, path, token, content_type, body: body.to_string() };
        expect(session.send(&request)?.status, method, path)
    }

    fn declare(&self, session: &mut Session) -> Result<()> {
        let body = json!({
            "apiVersion": "tokens.dbt-operator.dev/v1alpha1", "kind": "ServiceToken",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "accountRef": {"name": super::ACCOUNT},
                "permissions": [{"permissionSet": "job_runner", "projects": [{"id": self.work.project_id}]}],
                "secret": {"name": self.name},
            },
        });
        self.kubernetes(session, "POST", &self.objects_path(), JSON, &body)
    }

    /// Creates the token and tries it.
    fn mint(&self, server: &Server, session: &mut Session) -> Result<String> {
        let (account, project) = (self.work.account_id, self.work.project_id);
        let path = format!("/api/v3/accounts/{account}/service-tokens/");
        let body = json!({
            "name": format!("{}/{}", self.namespace, self.name),
            "permission_grants": [{"permission_set": "job_runner", "project_id": project}],
        });
        let create = Request { method: "POST", path: &path, token: &server.token, content_type: JSON, body: body.to_string() };
        let answer = session.send(&create)?;
        expect(answer.status, "POST", &path)?;
        let token = answer.json()["data"]["token_string"].as_str().unwrap_or_default().to_owned();
        let path = format!("/api/v2/accounts/{account}/jobs/?project_id={project}&limit=1");
        let probe = Request { method: "GET", path: &path, token: &token, content_type: JSON, body: String::new() };
        expect(session.send(&probe)?.status, "GET", &path)?;
        Ok(token)
    }

    /// Writes the Secret, and says so in the status.
    fn publish(&self, session: &mut Session, token: &str) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "stringData": {"token": token},
        });
        self.kubernetes(session, "POST", &format!("/api/v1/namespaces/{}/secrets", self.namespace), JSON, &secret)?;
        let status = json!({"status": {"observedGeneration": 1, "conditions": [{
            "type": "Ready", "status": "True", "reason": "Published", "message": "published",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }]}});
        let path = format!("{}/{}/status", self.objects_path(), self.name);
        self.kubernetes(session, "PATCH", &path, MERGE, &status)
    }
}

fn expect(status: u16, method: &str, path: &str) -> Result<()> {
    match status {
        200..300 => Ok(()),
        _ => Err(Error::other(format!("{method} {path} was answered with {status}"))),
    }
}
