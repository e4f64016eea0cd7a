//! `cargo xtask chaos`: two replicas of the operator, a real control plane and the emulator, and everything that can go wrong
//! at once, while consumers use whatever they hold. Afterwards everything must come to rest, and every promise is judged.
//!
//! | file | its job |
//! |---|---|
//! | `cast` | the objects and their consumers |
//! | `creations` | whether a creation was sent twice |
//! | `fault` | what goes wrong |
//! | `storm` | one fault after the other, and what people do meanwhile |
//! | `promise` | what must hold all the time, and at the end |
//!
//! One seed decides which faults come in which order, and of whom they are; when exactly each hits is up to the machine.

mod cast;
mod creations;
mod fault;
mod promise;
mod storm;

use std::time::Duration;

use serde_json::json;

use crate::cargo::{self, Profile};
use crate::consumers::{Consumers, Options};
use crate::control_plane::Pods;
use crate::site::emulator::Emulator;
use crate::site::operator::Operator;
use crate::site::{self, Site, install};
use crate::story::Story;
use crate::wait;
use cast::Cast;
use storm::Storm;

pub use crate::story::Error;

/// The namespace of all objects.
const NAMESPACE: &str = "chaos";

/// The two replicas.
const REPLICAS: [&str; 2] = ["replica-0", "replica-1"];

/// How long everything may take to come to rest after the last fault: an object that failed again and again backs off for
/// minutes.
const REST_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long the first publication may take.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Every look is told of, so that a log says why nothing happened.
const LOG: &str = "info,dbt_token_operator=debug";

/// A volume shows the old string so long; the objects say two seconds more.
const VOLUME_LAG: Duration = Duration::from_secs(2);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// For how many minutes things go wrong
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
    minutes: u16,
    /// How many ServiceTokens
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(4..=500))]
    objects: u16,
    /// What decides about faults; a run prints its own
    #[arg(long)]
    seed: Option<u64>,
}

/// Where everything happens.
struct Stage {
    site: Site,
    emulator: Emulator,
    operators: Vec<Operator>,
    cast: Cast,
}

/// Lets things go wrong, waits for rest, and judges.
///
/// # Errors
/// If something cannot be started, does not come to rest, or a promise was broken.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut story = Story::begin();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    story.chapter(&format!("{} objects, {} minutes, --seed {seed}", arguments.objects, arguments.minutes));
    let mut stage = set_up(&mut story, arguments)?;
    story.wait("every token to be published", START_LIMIT, |_| Ok(storm::unsettled(&stage)?.is_empty().then_some(())))?;
    stage.site.kubectl.apply(&stage.cast.workloads())?;
    let consumers = watch(&stage)?;
    story.wait("every consumer to run", START_LIMIT, |_| Ok(stage.cast.all_run(&consumers).then_some(())))?;
    story.say("every token is published, and every consumer holds one");

    story.chapter("Things go wrong");
    let mut storm = Storm::new(seed);
    storm.rage(&mut story, &mut stage, Duration::from_secs(60 * u64::from(arguments.minutes)))?;
    story.chapter("Nothing goes wrong any more");
    let outcome = storm.calm(&mut story, &mut stage, REST_LIMIT);
    let judged = outcome.and_then(|rest| promise::judge(&mut story, &mut stage, &storm, consumers, rest));
    if judged.is_err() {
        keep_logs(&mut story, &stage);
    }
    stage.site.end();
    judged
}

fn set_up(story: &mut Story, arguments: &Arguments) -> Result<Stage, Error> {
    story.say("the operator, the emulator and the programs of the control plane are built if they are missing");
    let programs = cargo::build(Profile::Debug).map_err(site::Error::from)?;
    let mut site = Site::on_a_plane(Pods::Run)?;
    let emulator = site.start_emulator(&programs)?;
    install::install(&site.kubectl)?;
    install::give_credential(&site.kubectl, &emulator)?;
    let cast = Cast::new(usize::from(arguments.objects));
    site.kubectl.apply(&install::namespaces(&[(NAMESPACE, json!({}))]))?;
    site.kubectl.apply(&Cast::account(&emulator).to_string())?;
    cast.make_strangers(&emulator)?;
    let kubeconfig = install::service_account_kubeconfig(&site.kubectl, site.supervised.directory())?;
    let mut operators = Vec::new();
    for name in REPLICAS {
        operators.push(Operator::start(&mut site.supervised, name, &programs.operator, &kubeconfig, &["--log", LOG])?);
    }
    story.say("two replicas are ready");
    site.kubectl.apply(&cast.declarations())?;
    Ok(Stage { site, emulator, operators, cast })
}

fn watch(stage: &Stage) -> Result<Consumers, Error> {
    let kubectl = &stage.site.kubectl;
    Ok(Consumers::start(&Options {
        kubectl: kubectl.program.clone(),
        kubeconfig: kubectl.kubeconfig.clone(),
        cache: kubectl.cache.clone(),
        namespace: NAMESPACE.to_owned(),
        key: cast::KEY,
        volume_lag: VOLUME_LAG,
        dbt: stage.emulator.http_url.clone(),
        dbt_authority: String::new(),
        path: cast::path_of_consumers(&stage.emulator),
    })?)
}

/// The folder of the plane goes with it; what tells of a failure stays.
fn keep_logs(story: &mut Story, stage: &Stage) {
    let folder = crate::repository().join("target").join("chaos");
    let logs = stage.operators.iter().map(|operator| &operator.log).chain([&stage.emulator.log]);
    for log in logs {
        let name = log.file_name().unwrap_or_default();
        if let Err(error) = std::fs::create_dir_all(&folder).and_then(|()| std::fs::copy(log, folder.join(name))) {
            story.say(&format!("{} is not kept: {error}", log.display()));
        }
    }
    let requests = stage.emulator.writes().map(|log| json!(log).to_string()).unwrap_or_default();
    // What cannot be written is missed, and nothing else.
    let _kept = std::fs::write(folder.join("requests.json"), requests);
    story.say(&format!("the logs are in {} (at {})", folder.display(), wait::spoken(story.elapsed())));
}
