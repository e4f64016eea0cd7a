//! What people and other programs do: the actions of the plan, pods that come and go, programs outside the cluster, and a
//! person who reads conditions and confirms what they ask.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{Key, Kind, Operation, Verb};
use crate::dice::Dice;
use crate::forgery;
use crate::judge::Truth;
use crate::plan::{Action, Plan, Role, What};
use crate::replica::{INSTALLATION, NAMESPACE, Replica};
use crate::scene::{self, ACCOUNT_NAME, PREFIX};
use crate::world::State;

/// How often a program outside the cluster uses its token, and a person looks, in milliseconds.
const MINUTE: u64 = 60_000;

/// How often a person reads what the account asks.
const READING: u64 = 10_000;

/// How long dbt does not show a token that a list left out, if it does not.
const HIDDEN: u64 = MINUTE / 2;

/// What is away, and until when, in milliseconds.
#[derive(Debug)]
pub struct Script {
    dice: Dice,
    api_server: u64,
    dbt: u64,
    admin: u64,
    delays: BTreeMap<(usize, Kind), u64>,
    lists_lie_until: u64,
    lists: u64,
    /// When all of it is over.
    end: u64,
}

impl Script {
    /// The script of a plan.
    pub fn new(plan: &Plan) -> Self {
        let lists_lie_until = if plan.lists_lie { plan.storm } else { 0 };
        let dice = Dice::new(plan.seed);
        Self { dice, api_server: 0, dbt: 0, admin: 0, delays: BTreeMap::new(), lists_lie_until, lists: 0, end: plan.storm }
    }

    /// Whether the API server cannot be reached.
    pub fn api_server_is_away(&self, now: u64) -> bool {
        now < self.api_server
    }

    /// Whether dbt cannot be reached.
    pub fn dbt_is_away(&self, now: u64) -> bool {
        now < self.dbt
    }

    /// Whether dbt refuses the operator's credential.
    pub fn refuses_admin(&self, now: u64) -> bool {
        now < self.admin
    }

    /// Until when a process hears nothing new of a kind.
    pub fn delayed_until(&self, replica: usize, kind: Kind) -> u64 {
        self.delays.get(&(replica, kind)).copied().unwrap_or_default()
    }

    /// What is left out of a list, if anything is.
    pub fn left_out_of_a_list(&mut self, length: usize, now: u64) -> Option<LeftOut> {
        if now >= self.lists_lie_until || length == 0 {
            return None;
        }
        self.lists += 1;
        let mut dice = self.dice.about(("list", self.lists));
        (dice.u32(..50) == 0).then(|| LeftOut { place: dice.usize(..length), hidden_for: dice.u64(0..2) * HIDDEN })
    }
}

/// A token that a list leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its place in the whole list.
    pub place: usize,
    /// For how many milliseconds dbt does not show it by itself either.
    pub hidden_for: u64,
}

/// Puts everything that the plan says into the queue.
pub fn begin(state: &mut State, plan: &Plan) {
    for (place, subject) in plan.subjects.iter().enumerate() {
        state.after(subject.applied_at, place as u64, move |state| apply(state, place));
    }
    for action in plan.actions.iter().copied() {
        state.after(action.at, 0, move |state| act(state, action));
    }
    let (end, replicas) = (plan.storm, plan.replicas);
    // No lease is held twice for long.
    state.after(end, 0, move |state| (1..replicas).for_each(|place| Replica::depose(state, place)));
    state.after(end, 0, move |state| state.history.note(end, || "--- faults end ---".to_owned()));
    state.after(MINUTE / 2, 1, person);
}

fn apply(state: &mut State, place: usize) {
    let truth = &state.judge.truths[place];
    let (key, subject) = (truth.key.clone(), truth.subject.clone());
    state.history.note(state.now(), || format!("somebody applies {key}"));
    scene::create(state, &key, scene::manifest(&subject));
    forgery::of_the_original(state, &key);
    match subject.role {
        Role::Remote => remote(state, place),
        Role::Pods { .. } => pod(state, place, 0, String::new()),
        Role::Adopts => {
            let wait = state.dice.about(("move", place)).u64(60_000..state.script.end * 4 / 5);
            state.after(wait, 0, move |state| move_readers(state, place));
        }
        _ => {}
    }
}

/// The readers of an adopted token move from the Secret that it came from to ours.
fn move_readers(state: &mut State, place: usize) {
    let truth = &state.judge.truths[place];
    if truth.holds.is_none() {
        return state.after(MINUTE, 0, move |state| move_readers(state, place));
    }
    let old = Key::new(Kind::Secret, truth.subject.namespace, &format!("{}-old", truth.subject.name));
    by_hand(state, Verb::Delete, &old, json!({}));
}

fn act(state: &mut State, action: Action) {
    let Action { subject: place, what, .. } = action;
    let now = state.now();
    let truth = &state.judge.truths[place];
    let (key, secret) = (truth.key.clone(), truth.secret.clone());
    state.history.note(now, || format!("somebody: {what:?} {}", key.name));
    match what {
        What::TakeApiServerAway(time) => state.script.api_server = state.script.end.min(now + time),
        What::TakeDbtAway(time) => state.script.dbt = state.script.end.min(now + time),
        What::RefuseAdmin(time) => state.script.admin = state.script.end.min(now + time),
        What::ExpireWatches => {
            state.store.compacted = state.store.version();
            (0..state.replicas.len()).for_each(|replica| state.watches.close_all_of(replica));
        }
        What::Kill(replica) => Replica::crash(state, replica, state.replicas[replica].incarnation),
        What::Freeze(replica, time) => Replica::freeze(state, replica, time),
        What::Delay(replica, kind, time) => {
            state.coverage.note_beside("watch silent");
            state.script.delays.insert((replica, kind), state.script.end.min(now + time));
        }
        // What was never applied will be, when its time comes.
        What::Recreate if truth.deleting && state.store.get(&key).is_none() => recreate(state, place),
        _ if state.store.get(&key).is_none() || truth.deleting => {}
        // Other permissions than those of a token that is to be taken over are refused, as they should be.
        What::Permit(_) if !is_taken_over(state, truth) => {}
        What::Permit(permissions) => {
            state.judge.truths[place].rows.push(scene::rows(permissions));
            by_hand(state, Verb::Merge, &key, json!({"spec": {"permissions": scene::permissions(permissions)}}));
        }
        What::EditTemplate => {
            let template = json!({"data": {"token": "{{ token }}", "account": "{{ accountId }}"}});
            by_hand(state, Verb::Merge, &key, json!({"spec": {"secret": {"template": template}}}));
        }
        What::Rotate => annotate(state, &key, &[("rotate-at", now)]),
        What::CallCompromised => {
            state.judge.truths[place].compromised = true;
            annotate(state, &key, &[("rotate-at", now), ("compromised", now)]);
        }
        What::Suspend(time) => {
            by_hand(state, Verb::Merge, &key, json!({"spec": {"suspend": true}}));
            state.after(time, 0, move |state| by_hand(state, Verb::Merge, &key, json!({"spec": {"suspend": null}})));
        }
        What::Delete => {
            state.judge.truths[place].deleting = true;
            by_hand(state, Verb::Delete, &key, json!({}));
        }
        What::DeleteSecret | What::EditSecret | What::Revoke | What::DeleteSlot => meddle(state, place, what, &secret),
        What::WipeStatus | What::SetStatusBack => tamper(state, place, what, &key),
        What::Recreate => {}
    }
}

/// Whether nothing is left to be adopted.
fn is_taken_over(state: &State, truth: &Truth) -> bool {
    let adopts = matches!(truth.subject.role, Role::Adopts | Role::AdoptsInPlace);
    !adopts || state.store.get(&truth.key).is_some_and(|object| object["status"]["ledger"]["current"].is_object())
}

fn recreate(state: &mut State, place: usize) {
    let now = state.now();
    let truth = &mut state.judge.truths[place];
    if matches!(truth.subject.role, Role::Adopts | Role::AdoptsInPlace | Role::Foreign) {
        return;
    }
    let (subject, key, secret) = (truth.subject.clone(), truth.key.clone(), truth.secret.clone());
    *truth = Truth::new(subject);
    state.history.note(now, || format!("somebody applies {key} again"));
    // A Secret that was kept is somebody else's now.
    by_hand(state, Verb::Delete, &secret, json!({}));
    apply(state, place);
}

/// Something is done to what is published; until the operator has mended it, readers may find nothing.
fn meddle(state: &mut State, place: usize, what: What, secret: &Key) {
    let truth = &state.judge.truths[place];
    // A token that is gone before it was taken over is refused, as it should be.
    if truth.subject.role == Role::Foreign || !truth.published || !is_taken_over(state, truth) {
        return;
    }
    let truth = &mut state.judge.truths[place];
    // An adopted token without its slot waits for ever, as documented.
    let adopts = matches!(truth.subject.role, Role::Adopts | Role::AdoptsInPlace);
    if what == What::DeleteSlot {
        let slots = slots_of(state, place);
        if let Some(slot) = slots.into_iter().find(|_| !adopts) {
            by_hand(state, Verb::Delete, &slot, json!({}));
        }
        return;
    }
    truth.meddled = true;
    match what {
        What::DeleteSecret => by_hand(state, Verb::Delete, secret, json!({})),
        What::EditSecret => by_hand(state, Verb::Merge, secret, json!({"data": {"token": "bm9uc2Vuc2U="}})),
        _ => {
            if let Some(token) = truth.holds {
                state.dbt.revoke(token);
            }
        }
    }
}

fn slots_of(state: &State, place: usize) -> Vec<Key> {
    let uid = crate::judge::uid_of(state, &state.judge.truths[place]);
    let slots = state.store.of_kind(Kind::Secret).filter(|(key, _)| key.namespace == NAMESPACE);
    let label = |slot: &Value, name: &str| slot["metadata"]["labels"][format!("{PREFIX}/{name}")].as_str().map(str::to_owned);
    let ours =
        slots.filter(|(_, slot)| label(slot, "owner-uid") == uid && label(slot, "installation").as_deref() == Some(INSTALLATION));
    ours.map(|(key, _)| key.clone()).collect()
}

fn tamper(state: &mut State, place: usize, what: What, key: &Key) {
    let truth = &mut state.judge.truths[place];
    if matches!(truth.subject.role, Role::Adopts | Role::AdoptsInPlace) {
        return;
    }
    truth.tampered = true;
    if what == What::WipeStatus {
        return status_by_hand(state, key, Value::Null);
    }
    let Some(object) = state.store.get(key) else { return };
    let earlier = object["status"].clone();
    let mut dice = state.dice.about(("set back", place, state.now()));
    // As long as faults last.
    let (latest, end) = (state.script.end - state.now(), state.script.end);
    let (key, wait) = (key.clone(), dice.u64(20_000..latest.min(end / 3)));
    // What is set back has to be older than what is there, or nothing comes of it.
    let (rotates, at_once) = (dice.u8(..3) > 0, dice.bool());
    let rotation = if rotates { wait / 4 } else { wait };
    state.after(rotation, 0, move |state| {
        let (now, made) = (state.now(), made_for(state, place));
        if rotates {
            annotate(state, &key, &[("rotate-at", now)]);
        }
        match rotates && at_once {
            true => set_back_when_made(state, place, made, earlier),
            false => state.after(wait - rotation, 0, move |state| set_back(state, place, earlier)),
        }
    });
}

/// As soon as there is one more token than so many, and before it is published: a ledger that does not know it.
fn set_back_when_made(state: &mut State, place: usize, made: usize, earlier: Value) {
    if made_for(state, place) > made {
        return set_back(state, place, earlier);
    }
    if state.now() < state.script.end {
        state.after(10, 1, move |state| set_back_when_made(state, place, made, earlier));
    }
}

/// How many tokens were ever made for an object.
fn made_for(state: &State, place: usize) -> usize {
    let uid = crate::judge::uid_of(state, &state.judge.truths[place]);
    let marks = state.dbt.tokens.values().filter_map(|stored| stored.token.mark.as_ref());
    marks.filter(|mark| Some(mark.owner.as_str()) == uid.as_deref()).count()
}

fn set_back(state: &mut State, place: usize, earlier: Value) {
    let key = state.judge.truths[place].key.clone();
    state.history.note(state.now(), || format!("somebody sets the status of {} back", key.name));
    status_by_hand(state, &key, earlier);
}

fn status_by_hand(state: &mut State, key: &Key, status: Value) {
    for status in [Value::Null, status] {
        let operation = Operation { status: true, ..Operation::by_hand(Verb::Merge, key, json!({"status": status})) };
        state.in_cluster(&operation);
    }
}

fn by_hand(state: &mut State, verb: Verb, key: &Key, body: Value) {
    state.in_cluster(&Operation::by_hand(verb, key, body));
}

fn annotate(state: &mut State, key: &Key, annotations: &[(&str, u64)]) {
    let annotations: Value = annotations.iter().map(|(name, now)| (format!("{PREFIX}/{name}"), json!(now.to_string()))).collect();
    by_hand(state, Verb::Merge, key, json!({"metadata": {"annotations": annotations}}));
}

/// A program outside the cluster: uses the token that it knows each minute, and looks into the Secret now and then.
fn remote(state: &mut State, place: usize) {
    let now = state.now();
    let truth = &mut state.judge.truths[place];
    if truth.deleting {
        truth.remote = None;
        return;
    }
    let mut dice = state.dice.about(("remote", place, now));
    if truth.remote.is_none_or(|token| dice.u32(..8) == 0 || !state.dbt.is_active(token)) {
        truth.remote = truth.holds;
    }
    if let Some(token) = truth.remote {
        let time = state.time();
        state.dbt.use_token(token, time);
    }
    state.after(MINUTE, 0, move |state| remote(state, place));
}

/// Pods of a Deployment, one at a time: each takes what the Secret holds when it starts. It is replaced when the template
/// says so, and by itself now and then.
fn pod(state: &mut State, place: usize, number: u32, template: String) {
    let truth = &state.judge.truths[place];
    let Truth { subject, holds, .. } = truth;
    if truth.deleting {
        return;
    }
    let (namespace, name) = (subject.namespace, subject.name.clone());
    let deployment = Key::new(Kind::Deployment, namespace, &name);
    let wanted = state.store.get(&deployment).map(|it| it["spec"]["template"]["metadata"].to_string()).unwrap_or_default();
    let mut dice = state.dice.about(("pod", place, state.now()));
    let is_new = wanted != template || dice.u32(..60) == 0 || truth.pod.is_none();
    let (holds, spec) = (*holds, if is_new { scene::pod_spec(subject) } else { Value::Null });
    // The kubelet does not start it before the Secret has what it wants.
    if let Some(token) = holds.filter(|_| is_new) {
        let old = Key::new(Kind::Pod, namespace, &format!("{name}-{number}"));
        by_hand(state, Verb::Delete, &old, json!({}));
        let started = crate::cluster::seconds(state.time());
        let status =
            json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {"startedAt": started}}}]});
        let key = Key::new(Kind::Pod, namespace, &format!("{name}-{}", number + 1));
        scene::create(state, &key, json!({"spec": spec, "status": status}));
        let generation = state.store.get(&deployment).map(|it| it["metadata"]["generation"].clone()).unwrap_or_default();
        by_hand(state, Verb::Merge, &deployment, json!({"status": {"observedGeneration": generation}}));
        state.judge.truths[place].pod = Some(token);
    }
    let (number, template) = if holds.is_some() && is_new { (number + 1, wanted) } else { (number, template) };
    state.after(10_000, 0, move |state| pod(state, place, number, template));
}

/// A person who does what a condition asks.
fn person(state: &mut State) {
    let key = Key::new(Kind::DbtAccount, "", ACCOUNT_NAME);
    let account = state.store.get(&key).cloned().unwrap_or_default();
    let messages = account["status"]["conditions"].as_array().into_iter().flatten().filter_map(|it| it["message"].as_str());
    let asked = messages.filter_map(|message| message.split(&format!("{PREFIX}/confirm=")).nth(1));
    let asked = asked.map(|rest| rest.split_whitespace().next().unwrap_or_default().to_owned()).next();
    if let Some(value) = asked.filter(|value| account["metadata"]["annotations"][format!("{PREFIX}/confirm")] != json!(value)) {
        state.history.note(state.now(), || format!("a person confirms {value}"));
        by_hand(state, Verb::Merge, &key, json!({"metadata": {"annotations": {format!("{PREFIX}/confirm"): value}}}));
    }
    state.after(READING, 1, person);
}
