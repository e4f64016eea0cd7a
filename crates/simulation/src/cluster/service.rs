//! What stands below kube's client: takes its requests, lets faults strike, and answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use tokio::sync::oneshot;

use super::kind::Kind;
use super::operation::{Operation, Verb};
use super::store::Answer;
use super::watches::Watches;
use crate::fault::{Fault, Strike, Way};
use crate::replica::Replica;
use crate::span;
use crate::world::{State, World};

/// Room for an object of usual size.
pub(super) const USUAL_LENGTH: usize = 4096;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = Pin<Box<dyn futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// The way of one process to the API server.
#[derive(Clone)]
pub struct ClusterService {
    /// The world.
    pub world: World,
    /// Which process.
    pub replica: usize,
}

/// What comes back.
enum Reply {
    Answer(Answer),
    Changes(futures::channel::mpsc::UnboundedReceiver<Bytes>),
}

impl tower_service::Service<Request<Body>> for ClusterService {
    type Response = Response<StreamBody<Stream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let effect = span::effect();
        let Self { world, replica } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let operation = Operation::read(&parts, &body);
            let operation = operation.ok_or_else(|| format!("{} {} is not known here", parts.method, parts.uri))?;
            let (answer, answered) = oneshot::channel();
            world.with(|state| send(state, replica, effect, operation, answer));
            match answered.await {
                Ok(reply) => reply.map(respond),
                // The world ended, or the process did.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

type Answering = oneshot::Sender<Result<Reply, BoxError>>;

/// Sends a request on its way.
fn send(state: &mut State, replica: usize, effect: Option<usize>, operation: Operation, answer: Answering) {
    let way = if operation.verb.writes() { Way::ClusterWrite } else { Way::ClusterRead };
    // The client names events by the time of the day, which is not that of the run.
    let named = if operation.key.kind == Kind::Event { &operation.body["regarding"] } else { &operation.body["metadata"] };
    let subject = (replica, effect, operation.verb, &operation.key, operation.status, named["name"].as_str());
    let now = state.now();
    let strike = state.storm.strike(subject, way, now);
    let strike = if operation.verb == Verb::Watch { Strike { fault: None, ..strike } } else { strike };
    state.coverage.note(effect, way, strike.fault);
    let incarnation = state.replicas[replica].incarnation;
    if strike.fault == Some(Fault::Late) {
        let arrival = state.replicas[replica].arrival(now, now + strike.back);
        state.after(arrival - now, strike.turn, |_| drop(answer.send(Err(lost()))));
        return state.after_travel(strike.there, strike.turn, move |state| {
            drop(arrive(state, replica, &operation));
            state.history.note_call(state.now(), replica, effect, &operation, strike.fault);
        });
    }
    state.after_travel(strike.there, strike.turn, move |state| {
        let reply = match strike.fault {
            Some(Fault::CrashBefore) => return Replica::crash(state, replica, incarnation),
            Some(Fault::Unreached) => Err(lost()),
            Some(Fault::Refused) => Ok(Reply::Answer(refused(strike.turn))),
            Some(Fault::Conflict) => Ok(Reply::Answer(Answer::refusal(409, "Conflict", "the object has been modified"))),
            _ if state.script.api_server_is_away(state.now()) => Err(lost()),
            Some(Fault::Lost) => {
                drop(arrive(state, replica, &operation));
                Err(lost())
            }
            _ => Ok(arrive(state, replica, &operation)),
        };
        state.history.note_call(state.now(), replica, effect, &operation, strike.fault);
        if strike.fault == Some(Fault::CrashAfter) {
            return Replica::crash(state, replica, incarnation);
        }
        let now = state.now();
        let arrival = state.replicas[replica].arrival(now, now + strike.back);
        state.after(arrival - now, strike.turn, |_| drop(answer.send(reply)));
    });
}

fn arrive(state: &mut State, replica: usize, operation: &Operation) -> Reply {
    if operation.verb == Verb::Watch {
        return Reply::Changes(Watches::open(state, replica, operation));
    }
    let meddling = state.judge.before_write(&state.store, &state.dbt, operation);
    let before = state.store.version();
    let answer = state.in_cluster(operation);
    if state.store.version() != before {
        state.judge.violations.extend(meddling);
        state.judge.note_write(|| format!("{} {}", operation.verb.word(), operation.key));
    }
    Reply::Answer(answer)
}

fn lost() -> BoxError {
    "the connection broke".into()
}

fn refused(turn: u64) -> Answer {
    match turn % 3 {
        0 => Answer::refusal(500, "InternalError", "etcdserver: request timed out"),
        1 => Answer::refusal(429, "TooManyRequests", "too many requests"),
        _ => Answer::refusal(503, "ServiceUnavailable", "the server is shutting down"),
    }
}

fn respond(reply: Reply) -> Response<StreamBody<Stream>> {
    let (code, stream): (u16, Stream) = match reply {
        Reply::Answer(answer) => {
            let mut bytes = Vec::with_capacity(USUAL_LENGTH);
            answer.write(&mut bytes);
            (answer.code, Box::pin(futures::stream::once(async { Ok(Frame::data(Bytes::from(bytes))) })))
        }
        Reply::Changes(changes) => (200, Box::pin(changes.map(|line| Ok(Frame::data(line))))),
    };
    let mut response = Response::new(StreamBody::new(stream));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("a status of ours");
    response
}
