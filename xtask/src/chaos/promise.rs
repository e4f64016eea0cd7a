//! The promises, as far as they can be seen from outside, and the table at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::cast::{MINTS_PER_HOUR, STRANGERS};
use super::creations;
use super::storm::Storm;
use super::{Error, NAMESPACE, Stage};
use crate::consumers::{Consumers, Refusal, Report};
use crate::leaks::Needles;
use crate::site;
use crate::site::leaks::Emitted;
use crate::story::Story;
use crate::wait;

/// How long nothing may be written once everything is at rest.
const REST: Duration = Duration::from_secs(15);

/// What an operator logs when it gives up work that does not end.
const UNENDING: &str = "work did not end and is begun anew";

/// Judges every promise, and prints the table.
pub(super) fn judge(
    story: &mut Story,
    stage: &mut Stage,
    storm: &Storm,
    consumers: Consumers,
    converged: Duration,
) -> Result<(), Error> {
    let writes = writes_at_rest(stage)?;
    let report = consumers.stop();
    let tokens = stage.emulator.tokens()?;
    let requests = stage.emulator.writes()?;
    let mut broken = Vec::new();
    let mut note = |promise: &str, found: Vec<String>| broken.extend(found.into_iter().map(|one| format!("{promise}: {one}")));

    let refused: Vec<&Refusal> = report.refused.iter().filter(|refusal| !is_excused(refusal, storm)).collect();
    note("P1", refused.iter().map(ToString::to_string).collect());
    let owned = Owned::of(stage, &tokens)?;
    note("P3", owned.findings());
    note("P4", strangers(stage, &tokens, &requests)?);
    let leaks = leaking(story, stage)?;
    note("P5", leaks);
    let created = tokens.iter().filter(|token| !token["created_by"].is_null()).count();
    let too_many = created > usize::try_from(MINTS_PER_HOUR).unwrap_or(usize::MAX);
    note("P6", too_many.then(|| format!("{created} creations")).into_iter().collect());
    let repeated = creations::repeated(&tokens, &requests);
    note("P6", repeated.clone());
    note("P7", unending(stage));
    note("P8", writes);
    let figures = Figures {
        created,
        leaked: owned.leaked().count(),
        repeated: repeated.len(),
        refused: refused.len(),
        converged,
        rotations: rotations(stage)?,
    };
    tell(story, storm, &report, &figures);
    if broken.is_empty() {
        story.say("every promise was kept");
        return Ok(());
    }
    for one in &broken {
        story.say(&format!("BROKEN {one}"));
    }
    Err(Error::NotTrue(format!("every promise is kept: {} findings, see above", broken.len())))
}

struct Figures {
    created: usize,
    leaked: usize,
    repeated: usize,
    refused: usize,
    converged: Duration,
    rotations: usize,
}

fn tell(story: &mut Story, storm: &Storm, report: &Report, figures: &Figures) {
    story.chapter("What happened");
    for (fault, count) in &storm.counts {
        story.show(&format!("{:<24}{count:>6}", format!("{fault:?}")));
    }
    let rows = [
        ("faults that came to nothing", storm.in_vain.to_string()),
        ("confirmed by a person", storm.confirmed.to_string()),
        ("calls by consumers", report.total().to_string()),
        ("of them with an old token", report.outdated.values().sum::<u64>().to_string()),
        ("refused, by an outsider's act", (report.refused.len() - figures.refused).to_string()),
        ("refused otherwise", figures.refused.to_string()),
        ("longest pause of a consumer", wait::spoken(report.longest_pause)),
        ("tokens created", figures.created.to_string()),
        ("tokens leaked", figures.leaked.to_string()),
        ("double mints", figures.repeated.to_string()),
        ("rotations in the histories", figures.rotations.to_string()),
        ("time to rest", wait::spoken(figures.converged)),
    ];
    for (name, value) in rows {
        story.show(&format!("{name:<32}{value:>12}"));
    }
}

/// P1 does not speak of what somebody outside broke: a token that was deleted in dbt, a Secret that was overwritten, or one
/// whose object was deleted.
fn is_excused(refusal: &Refusal, storm: &Storm) -> bool {
    storm.is_deleted(&refusal.secret, refusal.at) || refusal.uid.as_ref().is_none_or(|uid| storm.revoked.contains(uid))
}

/// What P3 is about: at rest each object has exactly one live token, the one that its status names; and none of ours lives
/// beside them.
struct Owned {
    objects: usize,
    named: BTreeSet<i64>,
    live: BTreeSet<i64>,
}

impl Owned {
    fn of(stage: &Stage, tokens: &[Value]) -> Result<Self, Error> {
        let objects = stage.site.kubectl.json(&["get", "servicetokens", "-n", NAMESPACE])?;
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        let named = items.iter().filter_map(|object| object["status"]["token"]["id"].as_i64()).collect();
        let mine = tokens.iter().filter(|token| token["state"] == 1 && !token["created_by"].is_null());
        Ok(Self { objects: items.len(), named, live: mine.filter_map(|token| token["id"].as_i64()).collect() })
    }

    /// Live tokens of ours that no object names.
    fn leaked(&self) -> impl Iterator<Item = &i64> {
        self.live.difference(&self.named)
    }

    fn findings(&self) -> Vec<String> {
        let Self { objects, named, live } = self;
        let alike = (named.len() != *objects).then(|| format!("{objects} objects name {} tokens", named.len()));
        let leaked = self.leaked().map(|id| format!("token {id} lives, and no object names it"));
        let dead = named.difference(live).map(|id| format!("token {id} is named, and does not live"));
        alike.into_iter().chain(leaked).chain(dead).collect()
    }
}

/// P4: nobody touched what is not ours, and no account's credential.
fn strangers(stage: &Stage, tokens: &[Value], requests: &[Value]) -> Result<Vec<String>, Error> {
    let strangers = tokens.iter().filter(|token| STRANGERS.iter().any(|name| token["name"] == *name));
    let strangers: BTreeMap<i64, bool> =
        strangers.filter_map(|token| Some((token["id"].as_i64()?, token["state"] == 1))).collect();
    let mut found: Vec<String> = Vec::new();
    if strangers.len() != STRANGERS.len() {
        found.push(format!("of {} tokens that are not ours {} have their names", STRANGERS.len(), strangers.len()));
    }
    found.extend(strangers.iter().filter(|(_, lives)| !**lives).map(|(id, _)| format!("token {id} is not ours, and is deleted")));
    let admin = stage.admin()?;
    for request in requests.iter().filter(|request| request["method"] != "GET") {
        let path = request["path"].as_str().unwrap_or_default();
        let touches = strangers.keys().chain([&admin]).any(|id| path.contains(&format!("/{id}/")));
        if touches {
            found.push(format!("{} {path}", request["method"]));
        }
    }
    Ok(found)
}

/// P5: nothing that anybody emitted holds a token.
fn leaking(story: &Story, stage: &Stage) -> Result<Vec<String>, Error> {
    let needles = Needles::of(&stage.emulator.issued_tokens()?);
    let mut emitted = vec![
        Emitted::new("this output", story.told().to_owned()),
        Emitted::file(&stage.emulator.log),
        Emitted::new("the emulator's request log", json!(stage.emulator.writes()?).to_string()),
    ];
    for operator in &stage.operators {
        emitted.push(Emitted::file(&operator.log));
        emitted.push(Emitted::new(operator.name(), operator.metrics()?));
    }
    for kinds in ["dbtaccounts,servicetokens", "events", "events.events.k8s.io", "leases"] {
        emitted.push(Emitted::new(kinds, stage.site.kubectl.run(&["get", kinds, "-A", "-o", "json", "--show-managed-fields"])?));
    }
    if let Some(plane) = &stage.site.plane {
        emitted.push(Emitted::file(plane.audit_log()));
    }
    let held = stage.site.kubectl.run(&["get", "secrets", "-n", NAMESPACE, "-o", "json"])?;
    if !Emitted::new("Secrets", held).holds_any(&needles) {
        return Err(Error::NotTrue("the search finds tokens where they are: in Secrets".to_owned()));
    }
    Ok(emitted.iter().filter(|emitted| emitted.holds_any(&needles)).map(|it| format!("a token is in {}", it.place)).collect())
}

/// P7: work that never ended by itself. The operators give it up after minutes, and would go on without being noticed.
fn unending(stage: &Stage) -> Vec<String> {
    let logs = stage.operators.iter().map(|operator| std::fs::read_to_string(&operator.log).unwrap_or_default());
    let lines = logs.flat_map(|log| log.lines().filter(|line| line.contains(UNENDING)).map(str::to_owned).collect::<Vec<_>>());
    lines.collect()
}

/// P8: what the operators write in a while of rest. The lease is renewed all the time.
fn writes_at_rest(stage: &Stage) -> Result<Vec<String>, Error> {
    let Some(plane) = &stage.site.plane else { return Ok(Vec::new()) };
    let before = std::fs::metadata(plane.audit_log()).map(|metadata| metadata.len()).unwrap_or_default();
    let _time_passes = wait::until(REST, REST, || None::<()>);
    let text = site::read(plane.audit_log())?;
    let since = text.get(usize::try_from(before).unwrap_or(usize::MAX)..).unwrap_or_default();
    let user = format!("system:serviceaccount:{}:{}", site::install::NAMESPACE, site::install::NAME);
    let events = since.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let writes = events.filter(|event| event["user"]["username"] == user.as_str()).filter(|event| {
        let verb = event["verb"].as_str().unwrap_or_default();
        !["get", "list", "watch"].contains(&verb) && event["objectRef"]["resource"] != "leases"
    });
    Ok(writes.map(|event| format!("at rest: {} {}", event["verb"], event["objectRef"])).collect())
}

/// The rotations that the histories show, five an object at most.
fn rotations(stage: &Stage) -> Result<usize, Error> {
    let objects = stage.site.kubectl.json(&["get", "servicetokens", "-n", NAMESPACE])?;
    let items = objects["items"].as_array().into_iter().flatten();
    Ok(items.map(|object| object["status"]["history"].as_array().map_or(0, Vec::len)).sum())
}

impl Stage {
    /// The id of the operator's own credential.
    pub(super) fn admin(&self) -> Result<i64, Error> {
        let tokens = self.emulator.tokens()?;
        let admin = tokens.iter().find(|token| token["name"] == "Token operator").and_then(|token| token["id"].as_i64());
        admin.ok_or_else(|| Error::NotTrue("the emulator has the operator's credential".to_owned()))
    }
}
