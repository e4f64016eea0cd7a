//! One fault after the other, what is undone later, and what people do meanwhile: they restart what holds an old token.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::cast::{self, Member};
use super::fault::{ALL, Fault, Undo};
use super::{Error, NAMESPACE, Stage};
use crate::story::Story;
use crate::wait;

/// The pause between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..1500;

/// How often people look at what waits for them.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the story is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(20);

/// When a person tries again, if the status still names the pods: a status that was wiped counts the swap anew.
const RESTART_AGAIN: Duration = Duration::from_secs(20);

/// A run of faults.
#[derive(Debug)]
pub(super) struct Storm {
    rng: Rng,
    /// How often each fault came.
    pub(super) counts: BTreeMap<Fault, u32>,
    /// Faults that could not be brought about, since another one was in the way.
    pub(super) in_vain: u32,
    undo: Vec<(Instant, Undo)>,
    down: BTreeSet<usize>,
    /// Objects that do not exist now.
    away: BTreeSet<String>,
    turns: BTreeMap<String, usize>,
    /// When somebody last restarted the consumer of an object for what its status said.
    restarted: BTreeMap<(String, String), Instant>,
    looked: Option<Instant>,
    /// The uids of tokens that somebody else deleted in dbt.
    pub(super) revoked: BTreeSet<String>,
    /// Secrets whose object was deleted: each time from when, and until when it was declared anew.
    deleted: BTreeMap<String, Vec<(Instant, Option<Instant>)>>,
    /// How often somebody confirmed what an account asked.
    pub(super) confirmed: u32,
}

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            counts: BTreeMap::new(),
            in_vain: 0,
            undo: Vec::new(),
            down: BTreeSet::new(),
            away: BTreeSet::new(),
            turns: BTreeMap::new(),
            restarted: BTreeMap::new(),
            looked: None,
            revoked: BTreeSet::new(),
            deleted: BTreeMap::new(),
            confirmed: 0,
        }
    }

    /// Lets things go wrong for a while.
    pub(super) fn rage(&mut self, story: &mut Story, stage: &mut Stage, length: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let mut told = Instant::now();
        while started.elapsed() < length {
            let fault = self.draw();
            match fault.strike(self, stage) {
                Ok(()) => *self.counts.entry(fault).or_default() += 1,
                // Another fault is in the way.
                Err(Error::Site(_)) => self.in_vain += 1,
                Err(error) => return Err(error),
            }
            let until = Instant::now() + Duration::from_millis(self.rng.u64(PAUSE));
            while Instant::now() < until {
                self.tend(stage)?;
                let _time_passes = wait::until(LOOK_EVERY / 20, LOOK_EVERY / 20, || None::<()>);
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                story.say(&format!("{} faults so far", self.counts.values().sum::<u32>()));
            }
        }
        Ok(())
    }

    /// Undoes everything, and waits until nothing is under way; how long that took.
    pub(super) fn calm(&mut self, story: &mut Story, stage: &mut Stage, limit: Duration) -> Result<Duration, Error> {
        for (due, _) in &mut self.undo {
            *due = Instant::now();
        }
        let started = Instant::now();
        story.wait("everything to come to rest", limit, |_| {
            self.tend(stage)?;
            let is_whole = self.undo.is_empty() && self.down.is_empty();
            // An API server that is starting answers nobody yet.
            let rests = is_whole
                && unsettled(stage).is_ok_and(|left| left.is_empty())
                && unreported(stage).is_ok_and(|left| left.is_none());
            Ok(rests.then_some(()))
        })?;
        Ok(started.elapsed())
    }

    fn draw(&mut self) -> Fault {
        let total: u32 = ALL.iter().map(|fault| fault.weight()).sum();
        let mut place = self.rng.u32(0..total);
        for fault in ALL {
            match place.checked_sub(fault.weight()) {
                None => return fault,
                Some(rest) => place = rest,
            }
        }
        ALL[0]
    }

    /// What goes on beside the faults.
    fn tend(&mut self, stage: &mut Stage) -> Result<(), Error> {
        self.undo_what_is_due(stage)?;
        self.start_what_ended(stage)?;
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            // Nothing can be seen while the API server is away.
            if let Ok(objects) = stage.site.kubectl.json(&["get", "servicetokens", "-n", NAMESPACE]) {
                self.restart_consumers(stage, &objects);
            }
            self.confirm(stage);
        }
        Ok(())
    }

    fn undo_what_is_due(&mut self, stage: &mut Stage) -> Result<(), Error> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo).into_iter().partition(|(time, _)| *time <= now);
        self.undo = later;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            undo.run(self, stage)?;
        }
        Ok(())
    }

    /// As a kubelet does.
    fn start_what_ended(&mut self, stage: &mut Stage) -> Result<(), Error> {
        let ended = stage.site.supervised.ended_servers().map_err(crate::site::Error::from)?;
        for number in 0..stage.operators.len() {
            if ended.contains_key(stage.operators[number].name()) && !self.is_down(number) {
                stage.operators[number].start_again(&mut stage.site.supervised)?;
            }
        }
        Ok(())
    }

    /// The owner of a Deployment restarts it when the status says that nothing else is waited for.
    fn restart_consumers(&mut self, stage: &Stage, objects: &Value) {
        for object in objects["items"].as_array().into_iter().flatten() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let Some(member) = stage.cast.members.iter().find(|member| member.name == name && member.has_consumer()) else {
                continue;
            };
            let Some(message) = held_by_a_pod(object) else { continue };
            let wanted = (name.to_owned(), message.to_owned());
            if self.restarted.get(&wanted).is_some_and(|at| at.elapsed() < RESTART_AGAIN) {
                continue;
            }
            if stage.site.kubectl.run(&["rollout", "restart", &member.deployment(), "-n", NAMESPACE]).is_ok() {
                self.restarted.insert(wanted, Instant::now());
            }
        }
    }

    /// A person confirms what an account asks, once it does: in this cluster everything that is missing is really gone.
    fn confirm(&mut self, stage: &Stage) {
        let Ok(account) = stage.site.kubectl.json(&["get", "dbtaccount", cast::ACCOUNT]) else { return };
        let conditions = account["status"]["conditions"].as_array();
        let messages = conditions.into_iter().flatten().filter_map(|condition| condition["message"].as_str());
        let Some(value) = messages.filter_map(|message| message.split("confirm=").nth(1)).next() else { return };
        let value = value.split(|sign: char| sign.is_whitespace() || sign == ',' || sign == ';').next().unwrap_or_default();
        let annotation = format!("tokens.dbt-operator.dev/confirm={value}");
        if account["metadata"]["annotations"]["tokens.dbt-operator.dev/confirm"] == value {
            return;
        }
        if stage.site.kubectl.run(&["annotate", "dbtaccount", cast::ACCOUNT, "--overwrite", &annotation]).is_ok() {
            self.confirmed += 1;
        }
    }

    /// Remembers what has to be undone.
    pub(super) fn undo_later(&mut self, undo: Undo, after: Duration) {
        if let Undo::StartReplica(number) | Undo::ResumeReplica(number) = undo {
            self.down.insert(number);
        }
        self.undo.push((Instant::now() + after, undo));
    }

    pub(super) fn is_down(&self, replica: usize) -> bool {
        self.down.contains(&replica)
    }

    pub(super) fn up(&mut self, replica: usize) {
        self.down.remove(&replica);
    }

    pub(super) fn choose(&mut self, of: usize) -> usize {
        self.rng.usize(0..of)
    }

    pub(super) fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from * 1000..to * 1000))
    }

    pub(super) fn seed(&mut self) -> u64 {
        // The emulator reads numbers as JSON has them.
        self.rng.u64(0..1 << 53)
    }

    /// Somebody who is there; only who has no consumer, if that would be left behind.
    pub(super) fn choose_member(&mut self, stage: &Stage, without_consumer: bool) -> Option<Member> {
        let there = stage.cast.members.iter().filter(|member| !self.away.contains(&member.name));
        let there: Vec<&Member> = there.filter(|member| !without_consumer || !member.has_consumer()).collect();
        if there.is_empty() {
            return None;
        }
        Some(there[self.rng.usize(0..there.len())].clone())
    }

    /// The next of the declarations of an object.
    pub(super) fn turn(&mut self, name: &str) -> usize {
        let turn = self.turns.entry(name.to_owned()).or_default();
        *turn += 1;
        *turn
    }

    pub(super) fn note_revoked(&mut self, uid: &str) {
        self.revoked.insert(uid.to_owned());
    }

    pub(super) fn note_deleted(&mut self, secret: &str, at: Instant) {
        self.deleted.entry(secret.to_owned()).or_default().push((at, None));
        self.away.insert(secret.trim_end_matches("-dbt").to_owned());
    }

    pub(super) fn declared(&mut self, member: &Member, at: Instant) {
        self.away.remove(&member.name);
        let last = self.deleted.get_mut(&member.secret()).and_then(|times| times.last_mut());
        last.into_iter().for_each(|(_, until)| *until = Some(at));
    }

    /// Whether the object of a Secret was deleted then, and not declared anew.
    pub(super) fn is_deleted(&self, secret: &str, at: Instant) -> bool {
        let is_between = |(from, until): &(Instant, Option<Instant>)| *from <= at && until.is_none_or(|until| at < until);
        self.deleted.get(secret).into_iter().flatten().any(is_between)
    }
}

/// What a status says of an old token if a pod that has to be restarted is the first thing that it waits for.
fn held_by_a_pod(object: &Value) -> Option<&str> {
    let status = &object["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let rotating = conditions.filter(|condition| condition["type"] == "Rotating").map(|condition| &condition["message"]);
    let retiring = status["retiringTokens"].as_array().into_iter().flatten();
    let messages = rotating.chain(retiring.map(|token| &token["waitingFor"][0]["message"]));
    messages.filter_map(Value::as_str).find(|message| message.contains("started before the swap"))
}

/// Objects that are not at rest, each with what its conditions say.
pub(super) fn unsettled(stage: &Stage) -> Result<Vec<String>, Error> {
    let objects = stage.site.kubectl.json(&["get", "servicetokens", "-n", NAMESPACE])?;
    let objects: Vec<&Value> = objects["items"].as_array().into_iter().flatten().collect();
    let mut left: Vec<String> = objects.iter().filter_map(|object| restless(object)).collect();
    let missing = stage.cast.members.len().saturating_sub(objects.len());
    if missing > 0 {
        left.push(format!("{missing} ServiceTokens are missing"));
    }
    Ok(left)
}

/// What keeps the account from rest: its status is written once more when a list shows what became of the last tokens, which
/// may be an interval of its inventory later.
fn unreported(stage: &Stage) -> Result<Option<String>, Error> {
    let account = stage.site.kubectl.json(&["get", "dbtaccount", cast::ACCOUNT])?;
    let living = stage.emulator.tokens()?.iter().filter(|token| token["state"] == 1).count();
    Ok(uncounted(&account, living, stage.cast.members.len()))
}

fn uncounted(account: &Value, living: usize, managed: usize) -> Option<String> {
    let status = &account["status"];
    let ready = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let is_ready = ready.is_some_and(|ready| ready["status"] == "True" && ready["reason"] == "Connected");
    let counts = &status["tokens"];
    let is_counted = counts["active"] == living && counts["managed"] == managed;
    (!is_ready || !is_counted)
        .then(|| format!("the account counts {counts}, and {living} live; Ready {}", ready.unwrap_or(&Value::Null)))
}

/// What keeps an object from rest.
fn restless(object: &Value) -> Option<String> {
    let status = &object["status"];
    let conditions = status["conditions"].as_array();
    let find = |kind: &str| conditions.into_iter().flatten().find(|condition| condition["type"] == kind).cloned();
    let ready = find("Ready").unwrap_or_default();
    let rotating = find("Rotating").unwrap_or_default();
    let is_applied = status["observedGeneration"] == object["metadata"]["generation"];
    let is_ready = ready["status"] == "True" && ready["reason"] == "Published";
    let asked = &object["metadata"]["annotations"]["tokens.dbt-operator.dev/rotate-at"];
    let is_handled = asked.is_null() || *asked == status["lastHandledRotateAt"];
    let rests = is_applied
        && is_ready
        && is_handled
        && find("TokenUsable").is_some_and(|usable| usable["status"] == "True")
        && rotating["status"] == "False"
        && status["ledger"]["next"].is_null()
        && status["retiringTokens"].is_null()
        && object["metadata"]["deletionTimestamp"].is_null();
    (!rests).then(|| format!("{}: Ready {}; Rotating {}", object["metadata"]["name"], ready["message"], rotating["message"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cast::Cast;
    use super::*;

    #[test]
    fn one_seed_gives_one_order_of_faults_and_all_of_them_come() {
        let draw = |seed| {
            let mut storm = Storm::new(seed);
            (0..500).map(|_| storm.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let drawn: BTreeSet<Fault> = draw(7).into_iter().collect();
        assert_eq!(drawn, BTreeSet::from(ALL));
    }

    #[test]
    fn an_object_may_be_deleted_again_and_again() {
        let cast = Cast::new(1);
        let [member] = &cast.members[..] else { panic!("one member") };
        let (start, mut storm) = (Instant::now(), Storm::new(7));
        let at = |second| start + Duration::from_secs(second);
        storm.note_deleted(&member.secret(), at(1));
        storm.declared(member, at(3));
        storm.note_deleted(&member.secret(), at(5));
        let deleted: Vec<bool> = (0..8).map(|second| storm.is_deleted(&member.secret(), at(second))).collect();
        assert_eq!(deleted, [false, true, true, false, false, true, true, true]);
        assert!(!storm.is_deleted("another", at(2)));
    }

    fn at_rest() -> Value {
        let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason});
        json!({
            "metadata": {"name": "a", "generation": 2, "annotations": {"tokens.dbt-operator.dev/rotate-at": "noon"}},
            "status": {
                "observedGeneration": 2, "lastHandledRotateAt": "noon", "ledger": {"current": {}},
                "conditions": [
                    condition("Ready", "True", "Published"),
                    condition("TokenUsable", "True", "VerificationPassed"),
                    condition("Rotating", "False", "UpToDate"),
                ],
            },
        })
    }

    #[test]
    fn a_consumer_is_restarted_when_its_pod_is_what_a_token_waits_for() {
        let said = |kind: &str, message: &str| json!({"status": {"conditions": [{"type": kind, "message": message}]}});
        let held = "token 17 waits: pod reader-0 started before the swap";
        assert_eq!(held_by_a_pod(&said("Rotating", held)), Some(held));
        assert_eq!(held_by_a_pod(&said("Ready", held)), None);
        let mut replacing = said("Rotating", "token 18 is being replaced (Requested)");
        replacing["status"]["retiringTokens"] = json!([{"id": 17, "waitingFor": [{"rule": "Pods", "message": held}]}]);
        assert_eq!(held_by_a_pod(&replacing), Some(held));
        assert_eq!(held_by_a_pod(&said("Rotating", "token 17 waits: minimum overlap until noon")), None);
        assert_eq!(held_by_a_pod(&at_rest()), None);
    }

    #[test]
    fn an_account_rests_when_it_counted_what_lives() {
        let account = |status: &str, active: u32, managed: u32| {
            let ready = json!({"type": "Ready", "status": status, "reason": "Connected"});
            json!({"status": {"conditions": [ready], "tokens": {"active": active, "managed": managed}}})
        };
        assert_eq!(uncounted(&account("True", 9, 4), 9, 4), None);
        for restless in [account("True", 10, 4), account("True", 9, 5), account("False", 9, 4), json!({})] {
            assert!(uncounted(&restless, 9, 4).is_some(), "{restless}");
        }
    }

    #[test]
    fn an_object_rests_when_nothing_of_it_is_under_way() {
        assert_eq!(restless(&at_rest()), None);
        let changes: [fn(&mut Value); 8] = [
            |it| it["metadata"]["generation"] = json!(3),
            |it| it["metadata"]["annotations"]["tokens.dbt-operator.dev/rotate-at"] = json!("later"),
            |it| it["metadata"]["deletionTimestamp"] = json!("now"),
            |it| it["status"]["ledger"]["next"] = json!({}),
            |it| it["status"]["retiringTokens"] = json!([{}]),
            |it| it["status"]["conditions"][0]["status"] = json!("Unknown"),
            |it| it["status"]["conditions"][1]["status"] = json!("False"),
            |it| it["status"]["conditions"][2]["status"] = json!("True"),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut object = at_rest();
            change(&mut object);
            assert!(restless(&object).is_some(), "change {number}");
        }
    }
}
