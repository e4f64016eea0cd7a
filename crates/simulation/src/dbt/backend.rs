//! The backend as the operator calls it: the real limiter, then the account in memory, and faults on the way.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dbt_token_operator::account::Connector;
use dbt_token_operator::backend::dbt::{ConnectError, Connection, Limiter, credential_uid};
use dbt_token_operator::backend::{AccountInfo, Backend, BackendError, Created, ErrorClass, Lookup, Verdict};
use dbt_token_operator::token::TokenString;
use dbt_token_planner::grant::{GrantRows, Scope};
use dbt_token_planner::identity::{AccountId, EnvironmentId, ProjectId, TokenId, TokenUid};
use dbt_token_planner::link::Link;
use dbt_token_planner::mark::Mark;
use dbt_token_planner::observation::{Project, Token};
use dbt_token_planner::permission::Probe;
use tokio::sync::oneshot;

use super::{ACCOUNT, ADMIN, Dbt, Maker, PROJECTS, failure};
use crate::fault::{Fault, Way};
use crate::judge::Judge;
use crate::replica::Replica;
use crate::span;
use crate::world::{State, World};

/// How long dbt asks to wait after too many calls.
const PAUSE: Duration = Duration::from_secs(60);

/// Connects one process of the operator to the account.
pub struct SimulatedConnector {
    /// The world.
    pub world: World,
    /// Which process.
    pub replica: usize,
}

impl Connector for SimulatedConnector {
    fn connect(&self, _: &Connection, credential: &TokenString, limiter: Arc<Limiter>) -> Result<Arc<dyn Backend>, ConnectError> {
        let uid = credential_uid(credential).ok_or(ConnectError::CredentialUnusable)?;
        Ok(Arc::new(SimulatedBackend { world: self.world.clone(), replica: self.replica, limiter, uid }))
    }
}

struct SimulatedBackend {
    world: World,
    replica: usize,
    limiter: Arc<Limiter>,
    uid: TokenUid,
}

type Exchanged<T> = Result<T, BackendError>;

impl SimulatedBackend {
    /// One exchange: waits for the limiter, then sends what shall be done, and what comes back.
    fn exchange<T: Send + 'static>(
        &self,
        word: &'static str,
        subject: String,
        way: Way,
        work: impl FnOnce(&mut State) -> Exchanged<T> + Send + 'static,
    ) -> impl Future<Output = Exchanged<T>> + Send {
        let effect = span::effect();
        async move {
            if let Err(until) = self.limiter.acquire().await {
                return Err(failure(word, ErrorClass::Throttled { until }));
            }
            let (answer, answered) = oneshot::channel();
            let call = Call { word, subject, way, effect, uid: self.uid.clone(), replica: self.replica };
            self.world.with(|state| send(state, call, work, answer));
            match answered.await {
                Ok(Reply::Answer(result)) => result,
                Ok(Reply::Throttled) => {
                    let until = self.world.lock().time() + PAUSE;
                    self.limiter.cool_down(PAUSE, until);
                    Err(failure(word, ErrorClass::Throttled { until }))
                }
                Err(_) => std::future::pending().await,
            }
        }
    }
}

enum Reply<T> {
    Answer(Exchanged<T>),
    Throttled,
}

struct Call {
    word: &'static str,
    subject: String,
    way: Way,
    effect: Option<usize>,
    uid: TokenUid,
    replica: usize,
}

fn send<T: Send + 'static>(
    state: &mut State,
    call: Call,
    work: impl FnOnce(&mut State) -> Exchanged<T> + Send + 'static,
    answer: oneshot::Sender<Reply<T>>,
) {
    let now = state.now();
    let strike = state.storm.strike((call.replica, call.word, &call.subject, call.effect), call.way, now);
    state.coverage.note(call.effect, call.way, strike.fault);
    let incarnation = state.replicas[call.replica].incarnation;
    if strike.fault == Some(Fault::Slow) && call.way == Way::DbtChange {
        // Who sent it may be dead when it arrives.
        state.judge.note_late();
    }
    if strike.fault == Some(Fault::Late) {
        let lost = Reply::Answer(Err(unknown(&call)));
        let arrival = state.replicas[call.replica].arrival(now, now + strike.back);
        state.after(arrival - now, strike.turn, |_| drop(answer.send(lost)));
        state.judge.note_late();
        return state.after_travel(strike.there, strike.turn, move |state| {
            let outcome = arrive(state, &call, work).err().map_or("", |error| error.class.word());
            note(state, &call, strike.fault, outcome);
        });
    }
    state.after_travel(strike.there, strike.turn, move |state| {
        let reply = match strike.fault {
            Some(Fault::CrashBefore) => return Replica::crash(state, call.replica, incarnation),
            Some(Fault::Throttled) => Reply::Throttled,
            Some(Fault::Refused | Fault::Unreached) => Reply::Answer(Err(failure(call.word, ErrorClass::Unavailable))),
            Some(Fault::Denied) => Reply::Answer(Err(failure(call.word, ErrorClass::Denied))),
            _ if state.script.dbt_is_away(state.now()) => Reply::Answer(Err(failure(call.word, ErrorClass::Unavailable))),
            Some(Fault::Lost) => {
                drop(arrive(state, &call, work));
                Reply::Answer(Err(unknown(&call)))
            }
            _ => Reply::Answer(arrive(state, &call, work)),
        };
        let outcome = match &reply {
            Reply::Answer(Ok(_)) => "",
            Reply::Answer(Err(error)) => error.class.word(),
            Reply::Throttled => "throttled",
        };
        note(state, &call, strike.fault, outcome);
        if strike.fault == Some(Fault::CrashAfter) {
            return Replica::crash(state, call.replica, incarnation);
        }
        let now = state.now();
        let arrival = state.replicas[call.replica].arrival(now, now + strike.back);
        state.after(arrival - now, strike.turn, |_| drop(answer.send(reply)));
    });
}

fn note(state: &mut State, call: &Call, fault: Option<Fault>, outcome: &str) {
    state.history.note_exchange(state.now(), call.replica, call.effect, call.word, &call.subject, fault, outcome);
}

/// A lost answer to a change may mean anything; to a read it is a failed read.
fn unknown(call: &Call) -> BackendError {
    let class = if call.way == Way::DbtChange { ErrorClass::Ambiguous } else { ErrorClass::Unavailable };
    failure(call.word, class)
}

fn arrive<T>(state: &mut State, call: &Call, work: impl FnOnce(&mut State) -> Exchanged<T>) -> Exchanged<T> {
    let admin = state.dbt.tokens.get(&ADMIN);
    if !admin.is_some_and(|admin| admin.token.active && admin.token.uid == call.uid) || state.script.refuses_admin(state.now()) {
        return Err(failure(call.word, ErrorClass::CredentialRefused));
    }
    if call.way == Way::DbtChange {
        state.judge.note_write(|| format!("{} {} in dbt", call.word, call.subject));
    }
    work(state)
}

#[async_trait]
impl Backend for SimulatedBackend {
    async fn account(&self) -> Exchanged<AccountInfo> {
        let info =
            || AccountInfo { id: AccountId(ACCOUNT), name: "Example".into(), plan: "enterprise_2025".into(), locked: None };
        self.exchange("account", String::new(), Way::DbtRead, move |_| Ok(info())).await
    }

    async fn list(&self) -> Exchanged<Vec<Token>> {
        let replica = self.replica;
        self.exchange("list", String::new(), Way::DbtRead, move |state| {
            state.judge.note_list(&state.dbt, (replica, state.replicas[replica].incarnation));
            let mut tokens = state.dbt.list();
            let left_out = state.script.left_out_of_a_list(tokens.len(), state.now());
            if let Some(left_out) = left_out.filter(|left_out| tokens[left_out.place].id != ADMIN) {
                state.judge.note_late();
                state.coverage.note_beside("token left out of a list");
                let token = tokens.remove(left_out.place);
                state.dbt.hidden.insert(token.id, state.now() + left_out.hidden_for);
            }
            Ok(tokens)
        })
        .await
    }

    async fn get(&self, token: TokenId) -> Exchanged<Lookup> {
        self.exchange("get", token.to_string(), Way::DbtRead, move |state| {
            if state.dbt.hidden.get(&token).is_some_and(|until| state.now() < *until) {
                return Err(failure("get", ErrorClass::Denied));
            }
            let found = state.dbt.tokens.get(&token).filter(|stored| stored.token.active || !state.dbt.hides_deleted);
            Ok(found.map_or(Lookup::Absent, |stored| Lookup::Found(stored.token.clone())))
        })
        .await
    }

    async fn projects(&self) -> Exchanged<Vec<Project>> {
        self.exchange("projects", String::new(), Way::DbtRead, |_| Ok(Dbt::projects())).await
    }

    async fn environments(&self) -> Exchanged<BTreeMap<ProjectId, EnvironmentId>> {
        self.exchange("environments", String::new(), Way::DbtRead, |_| Ok(Dbt::environments())).await
    }

    async fn create(&self, name: &str, rows: &GrantRows) -> Exchanged<Created> {
        let (name, rows) = (name.to_owned(), rows.clone());
        self.exchange("create", name.clone(), Way::DbtChange, move |state| {
            let known = |scope| match scope {
                Scope::All => true,
                Scope::Project(id) => PROJECTS.iter().any(|(known, _)| *known == id.0),
            };
            if !rows.rows().iter().all(|row| known(row.scope)) {
                return Err(failure("create", ErrorClass::Denied));
            }
            let (time, maker) = (state.time(), Maker::Operator { at: state.now() });
            let granted = if state.dbt.two_steps { GrantRows::default() } else { rows };
            let made = state.dbt.make(&name, &granted, maker, time);
            let (id, uid, string) = (made.token.id, made.token.uid.clone(), TokenString::new(made.string.clone()));
            state.history.note(state.now(), || format!("    token {id} is made: {name}"));
            Judge::look_at_create(state, id);
            Ok(Created { id, uid, rows: granted, string })
        })
        .await
    }

    async fn grant(&self, token: TokenId, rows: &GrantRows) -> Exchanged<()> {
        let rows = rows.clone();
        self.exchange("grant", token.to_string(), Way::DbtChange, move |state| {
            let stored = state.dbt.tokens.get_mut(&token).filter(|stored| stored.token.active);
            let stored = stored.ok_or_else(|| failure("grant", ErrorClass::Denied))?;
            if !stored.token.rows.is_empty() {
                let message = "permissions cannot be updated after assignment".to_owned();
                return Err(failure("grant", ErrorClass::Rejected { message }));
            }
            stored.token.rows = rows;
            Ok(())
        })
        .await
    }

    async fn rename(&self, token: TokenId, name: &str) -> Exchanged<()> {
        let name = name.to_owned();
        self.exchange("rename", token.to_string(), Way::DbtChange, move |state| {
            if !state.dbt.is_active(token) {
                return Err(failure("rename", ErrorClass::Denied));
            }
            Judge::look_at_rename(state, token);
            let Some(stored) = state.dbt.tokens.get_mut(&token) else { return Err(failure("rename", ErrorClass::Denied)) };
            stored.token.mark = Mark::parse(&name);
            stored.token.name = name;
            Ok(())
        })
        .await
    }

    async fn verify(&self, probe: Probe, token: &TokenString) -> Verdict {
        let string = token.expose().to_owned();
        let subject = credential_uid(token).map(|uid| uid.to_string()).unwrap_or_default();
        let verdict = self.exchange("verify", format!("{subject} {probe:?}"), Way::DbtRead, move |state| {
            let Some(id) = state.dbt.opened_by(&string) else {
                return Ok(Verdict::Refused { detail: "401".to_owned() });
            };
            let now = state.time();
            if let Some(stored) = state.dbt.tokens.get_mut(&id) {
                stored.proved = true;
                stored.token.last_used = Some(now);
            }
            Ok(Verdict::Passed)
        });
        verdict.await.unwrap_or_else(|error| Verdict::Inconclusive { detail: error.to_string() })
    }

    async fn links(&self) -> Exchanged<Vec<Link>> {
        self.exchange("links", String::new(), Way::DbtRead, |_| Ok(Vec::new())).await
    }

    async fn link(&self, _: Link) -> Exchanged<()> {
        Err(failure("link", ErrorClass::Denied))
    }

    async fn revoke(&self, token: TokenId) -> Exchanged<()> {
        self.exchange("revoke", token.to_string(), Way::DbtChange, move |state| {
            Judge::look_at_revocation(state, token);
            state.dbt.revoke(token);
            Judge::look_at_readers_of(state, token);
            Ok(())
        })
        .await
    }
}
