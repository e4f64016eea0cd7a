//! Serves one call, and carries out the fault that the plan chose for it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::answer::{Answer, Content};
use crate::body::EmulatorBody;
use crate::core::Shared;
use crate::fault::{Fault, Lost};
use crate::fault_plan::{Applied, FaultHandle};
use crate::routes::Caller;
use crate::routes::call::Call;

/// The connection is to be closed without an answer.
#[derive(Debug)]
pub(crate) struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("connection dropped by the fault plan")
    }
}

impl std::error::Error for Dropped {}

/// An answer and the way in which its body is sent.
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) delivery: Delivery,
}

/// How a body is sent.
#[derive(Clone, Copy)]
pub(crate) enum Delivery {
    Whole,
    Slow { chunk_bytes: usize, pause_ms: u64 },
    Huge { bytes: u64 },
}

impl Reply {
    /// The body and its content type.
    pub(crate) fn into_body(self) -> (EmulatorBody, Option<&'static str>) {
        let (bytes, kind) = match self.answer.content {
            Content::Empty => (Vec::new(), None),
            Content::Json(value) => (value.to_string().into_bytes(), Some("application/json")),
            Content::Html(page) => (page.into_bytes(), Some("text/html")),
            Content::Bytes(bytes) => (bytes, Some("application/json")),
        };
        let body = match self.delivery {
            Delivery::Whole => EmulatorBody::whole(bytes),
            Delivery::Slow { chunk_bytes, pause_ms } => EmulatorBody::slow(bytes, chunk_bytes, Duration::from_millis(pause_ms)),
            Delivery::Huge { bytes } => EmulatorBody::huge(bytes),
        };
        (body, kind)
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, delivery: Delivery::Whole }
    }
}

enum Decision {
    Refuse(Answer),
    Fault(Applied),
    Plain,
}

/// Serves a call from its entry in the log to the answer's status there.
pub(crate) async fn serve(shared: &Arc<Shared>, call: &Call) -> Result<Reply, Dropped> {
    let (sequence, latency, decision) = decide(shared, call);
    shared.notify();
    if latency > 0 {
        sleep(Duration::from_millis(latency)).await;
    }
    let result = match decision {
        Decision::Refuse(answer) => Ok(answer.into()),
        Decision::Plain => Ok(shared.lock().serve(call).into()),
        Decision::Fault(applied) => carry_out(shared, call, applied).await,
    };
    let status = result.as_ref().ok().map(|reply| reply.answer.status);
    shared.lock().log.amend(sequence, |entry| entry.status = status);
    shared.notify();
    result
}

fn decide(shared: &Shared, call: &Call) -> (u64, u64, Decision) {
    let mut core = shared.lock();
    let caller = core.peek(call);
    let path = crate::secret::redact(&call.path_with_query());
    let path = core.account.issued.iter().fold(path, |path, string| path.replace(string, "[redacted]"));
    let sequence = core.log.begin(&call.method, path, call.template());
    let decision = match core.throttle(call) {
        Some(answer) => Decision::Refuse(answer),
        None => core.choose_fault(call, caller).map_or(Decision::Plain, Decision::Fault),
    };
    let fault = match &decision {
        Decision::Fault(applied) => Some(applied.fault.name().to_owned()),
        _ => None,
    };
    core.log.amend(sequence, |entry| {
        entry.token_id = caller;
        entry.fault = fault;
    });
    (sequence, core.modes.latency_ms, decision)
}

async fn carry_out(shared: &Arc<Shared>, call: &Call, mut applied: Applied) -> Result<Reply, Dropped> {
    let serve = || shared.lock().serve(call);
    let mut delivery = Delivery::Whole;
    let answer = match applied.fault.clone() {
        Fault::ErrorAfter { status } => {
            serve();
            failure(status)
        }
        Fault::DropBefore => return Err(Dropped),
        Fault::DropAfter => {
            serve();
            return Err(Dropped);
        }
        Fault::HangBefore { ms } => {
            hold(shared, &mut applied, ms).await;
            serve()
        }
        Fault::HangAfter { ms } => {
            let answer = serve();
            hold(shared, &mut applied, ms).await;
            answer
        }
        Fault::LateEffect { after_ms, lost } => {
            return late(shared, call, applied, after_ms, lost).await;
        }
        Fault::StaleList => shared.lock().serve_stale(call, applied.handle),
        Fault::SlowBody { chunk_bytes, pause_ms } => {
            delivery = Delivery::Slow { chunk_bytes, pause_ms };
            serve()
        }
        Fault::HugeBody { bytes } => {
            delivery = Delivery::Huge { bytes };
            // A body needs a status that has one.
            Answer { status: 200, ..serve() }
        }
        fault => {
            // Bound first: a lock taken in the scrutinee of a match lasts to the end of the match.
            let account_id = shared.lock().account.id;
            match instead(&fault, account_id) {
                Some(answer) => answer,
                None => distort(&fault, serve()),
            }
        }
    };
    Ok(Reply { answer, delivery })
}

/// The answers that are given instead of serving the call.
fn instead(fault: &Fault, account_id: i64) -> Option<Answer> {
    Some(match fault {
        Fault::ErrorBefore { status } => failure(*status),
        Fault::TooManyRequests { retry_after_seconds } => Answer::too_many(*retry_after_seconds),
        Fault::Html { status } => Answer::html(*status),
        Fault::Unauthorized => Answer::invalid_token(),
        Fault::AddressDenied => Answer::access_denied(account_id),
        Fault::Redirect { location } => {
            let mut answer = Answer::no_content();
            answer.status = 302;
            answer.headers.push(("location", location.clone()));
            answer
        }
        _ => return None,
    })
}

/// What becomes of the true answer.
fn distort(fault: &Fault, answer: Answer) -> Answer {
    match fault {
        Fault::EmptyList => changed_list(answer, Vec::clear),
        Fault::DuplicateIds => changed_list(answer, |items| {
            *items = items.iter().flat_map(|item| [item.clone(), item.clone()]).collect();
        }),
        Fault::OtherToken { id, uid } => renamed(answer, *id, uid.as_deref()),
        Fault::Truncated => with_bytes(answer, |bytes| bytes.truncate(bytes.len() / 2)),
        Fault::InvalidUtf8 => with_bytes(answer, |bytes| {
            // Inside the first string, so that nothing but the encoding is wrong.
            let string = bytes.windows(2).position(|window| window == b":\"");
            let at = string.map_or(0, |position| position + 2);
            bytes.splice(at..at, [0xff, 0xfe]);
        }),
        _ => answer,
    }
}

/// A server error in the envelope; its body is `[ASSUMED]`.
fn failure(status: u16) -> Answer {
    Answer::error(status, "There was an error processing your request.", Value::Null)
}

/// Changes the items of a list answer and its counts; other answers stay as they are.
fn changed_list(mut answer: Answer, change: impl FnOnce(&mut Vec<Value>)) -> Answer {
    if let Content::Json(value) = &mut answer.content
        && let Some(items) = value["data"].as_array_mut()
    {
        change(items);
        let count = items.len();
        if value["extra"].is_object() {
            value["extra"]["pagination"] = serde_json::json!({ "count": count, "total_count": count });
        }
    }
    answer
}

/// Changes what an answer with a single token says of its identity; other answers stay as they are.
fn renamed(mut answer: Answer, id: i64, uid: Option<&str>) -> Answer {
    if let Content::Json(value) = &mut answer.content
        && let Some(token) = value["data"].as_object_mut()
    {
        token.insert("id".to_owned(), id.into());
        uid.into_iter().for_each(|uid| drop(token.insert("uid".to_owned(), uid.into())));
    }
    answer
}

fn with_bytes(mut answer: Answer, change: impl FnOnce(&mut Vec<u8>)) -> Answer {
    if let Content::Json(value) = &answer.content {
        let mut bytes = value.to_string().into_bytes();
        change(&mut bytes);
        answer.content = Content::Bytes(bytes);
    }
    answer
}

/// Counts a call among those held back for as long as it lives.
struct Waiting<'a> {
    shared: &'a Shared,
    handle: FaultHandle,
}

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared, handle: FaultHandle) -> Self {
        shared.lock().faults.count_waiting(handle, true);
        shared.notify();
        Self { shared, handle }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().faults.count_waiting(self.handle, false);
        self.shared.notify();
    }
}

/// Waits for the release of the rule, or for the time.
async fn hold(shared: &Shared, applied: &mut Applied, ms: Option<u64>) {
    let _waiting = Waiting::enter(shared, applied.handle);
    released(applied, ms).await;
}

async fn released(applied: &mut Applied, ms: Option<u64>) {
    // An error means that the rule is gone, which releases as well.
    let release = applied.release.wait_for(|released| *released);
    match ms {
        Some(ms) => drop(timeout(Duration::from_millis(ms), release).await),
        None => drop(release.await),
    }
}

async fn late(shared: &Arc<Shared>, call: &Call, applied: Applied, after_ms: Option<u64>, lost: Lost) -> Result<Reply, Dropped> {
    let caller = match shared.lock().admit(call) {
        Ok(caller) => caller,
        Err(answer) => return Ok(answer.into()),
    };
    shared.lock().faults.count_waiting(applied.handle, true);
    tokio::spawn(land(Arc::downgrade(shared), call.clone(), caller, applied, after_ms));
    shared.notify();
    match lost {
        Lost::Drop => Err(Dropped),
        Lost::GatewayTimeout => Ok(Answer::html(504).into()),
        Lost::Hang => std::future::pending().await,
    }
}

/// The effect that comes late. It holds the emulator weakly: after its end nothing lands.
async fn land(shared: Weak<Shared>, call: Call, caller: Caller, mut applied: Applied, after_ms: Option<u64>) {
    released(&mut applied, after_ms).await;
    let Some(shared) = shared.upgrade() else {
        return;
    };
    let mut core = shared.lock();
    core.perform(&call, &caller);
    core.faults.count_waiting(applied.handle, false);
    drop(core);
    shared.notify();
}
