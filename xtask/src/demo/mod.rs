//! `cargo xtask demo`: the main job from end to end, on a real control plane, told so that a person can follow it. It ends
//! well only if every claim on its way was proven.
//!
//! | file | its job |
//! |---|---|
//! | `acts` | what happens, one function an act |
//! | `legacy` | the act that needs a file of its own: an old token is taken over and replaced under a running consumer |
//! | `reader` | the consumers |
//! | `order` | what the logs say about the order of things |

mod acts;
mod legacy;
mod order;
mod reader;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::cargo::{self, Profile};
use crate::control_plane::{Binaries, NodeBinaries, Pods};
use crate::site::{self, Site, emulator::Emulator, install, operator::Operator};
use crate::story::Story;
use crate::wait;

pub use crate::story::Error;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave everything running at the end, and say how to reach it
    #[arg(long)]
    keep: bool,
    /// Use the cluster of this kubeconfig instead of a control plane of the demo's own. The operator and the emulator run
    /// on this machine all the same
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Everything that the acts need.
struct Stage {
    site: Site,
    emulator: Emulator,
    operator: Operator,
}

/// Every namespace of the examples; the label is the one that a grant of the account asks for.
const NAMESPACES: [(&str, Option<&str>); 6] = [
    ("airflow", None),
    ("dagster", None),
    ("dbt-tools", None),
    ("prefect", None),
    ("terraform", None),
    ("web-shop", Some("self-service")),
];

/// How long the removal of one group of objects from a user's cluster may take.
const REMOVAL_LIMIT: Duration = Duration::from_secs(60);

/// Shows the main job, and proves each step of it.
///
/// # Errors
/// If something cannot be started, or is not as it should be. Everything is ended all the same, unless it shall be kept.
pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut story = Story::begin();
    let stage = set_up(&mut story, arguments)?;
    let outcome = acts::perform(&mut story, &stage);
    if let Err(error) = &outcome {
        story.say(&format!("FAILED: {error}"));
        story.show(&site::end_of_log(&stage.operator.log));
    }
    if arguments.keep {
        keep(&mut story, &stage);
    }
    if stage.site.plane.is_none() {
        story.chapter("Removing what the demo created");
    }
    stage.site.end();
    outcome?;
    story.chapter(&format!("Everything above is proven; {} in all", wait::spoken(story.elapsed())));
    Ok(())
}

fn set_up(story: &mut Story, arguments: &Arguments) -> Result<Stage, Error> {
    story.chapter("Building what is missing");
    story.say("the operator and the emulator of dbt Cloud, with cargo (some minutes from nothing, nothing to do when built)");
    let programs = cargo::build(Profile::Debug).map_err(site::Error::from)?;
    let mut site = match &arguments.kubeconfig {
        None => start_plane(story)?,
        Some(kubeconfig) => enter_cluster(story, kubeconfig)?,
    };
    let emulator = site.start_emulator(&programs)?;
    story.say(&format!("the emulator of dbt Cloud answers at {}, with a certificate of a test authority", emulator.https_url));

    story.chapter("Installing the operator");
    install::install(&site.kubectl)?;
    install::give_credential(&site.kubectl, &emulator)?;
    story.say("CustomResourceDefinitions, namespace, ServiceAccount and the roles of the chart are in place");
    story.say("its credential for dbt and the certificate of the authority are Secrets in its own namespace");
    let operator = site.start_operator(&programs, &[])?;
    story.say("the operator is ready; it may do what its ServiceAccount may, and nothing else");
    Ok(Stage { site, emulator, operator })
}

fn start_plane(story: &mut Story) -> Result<Site, Error> {
    story.say("the programs of the control plane, with Go (seven minutes, once for a version)");
    Binaries::find_or_build().map_err(site::Error::from)?;
    NodeBinaries::find_or_build().map_err(site::Error::from)?;
    story.chapter("Starting");
    story.say("a control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok in place of nodes");
    let site = Site::on_a_plane(Pods::Run)?;
    story.say("the control plane is ready");
    Ok(site)
}

fn enter_cluster(story: &mut Story, kubeconfig: &std::path::Path) -> Result<Site, Error> {
    story.chapter("Starting on your cluster");
    let namespaces: Vec<_> = [install::NAMESPACE]
        .into_iter()
        .chain(NAMESPACES.map(|(name, _)| name))
        .map(|name| format!("namespace/{name}"))
        .collect();
    let needed = [namespaces.clone(), install::cluster_objects()].concat();
    story.say("the demo creates these objects, and what is in the namespaces, and removes them at the end:");
    story.show(&needed.join("\n"));
    let mut site = Site::on_the_users(kubeconfig, &needed)?;
    let [own, of_consumers @ ..] = namespaces.as_slice() else {
        return Ok(site);
    };
    // The declarations first, while the operator can still revoke; then what it needs for that.
    let of_consumers: Vec<_> = of_consumers.iter().map(String::as_str).collect();
    site.remove_at_end(&of_consumers, REMOVAL_LIMIT)?;
    site.remove_at_end(&["dbtaccounts.tokens.dbt-operator.dev", "--all"], REMOVAL_LIMIT)?;
    let rest: Vec<_> = [own.clone()].into_iter().chain(install::cluster_objects()).collect();
    site.remove_at_end(&rest.iter().map(String::as_str).collect::<Vec<_>>(), REMOVAL_LIMIT)?;
    Ok(site)
}

/// Waits until the person has seen enough.
fn keep(story: &mut Story, stage: &Stage) {
    let kubectl = &stage.site.kubectl;
    story.chapter("Left running, until Enter, Ctrl-D or Ctrl-C");
    story.show(&format!("export KUBECONFIG={}", kubectl.kubeconfig.display()));
    story.show(&format!("{} get dacct,dst -A", kubectl.program.display()));
    story.show(&format!("operator log    {} (process {})", stage.operator.log.display(), stage.operator.process_id));
    story.show(&format!("metrics         {}/metrics", stage.operator.url));
    let emulator = &stage.emulator;
    story.show(&format!("dbt (emulator)  {} (process {})", emulator.https_url, emulator.process_id));
    story.show(&format!("its authority   {}", emulator.ca.display()));
    story.show(&format!("its admin token {}", stage.emulator.admin_token.display()));
    // Whatever is typed is of no interest, and a failure to read it means that nobody is there.
    let _ = std::io::stdin().lock().read(&mut [0; 1]);
}

/// The namespaces of the examples as objects.
fn namespaces() -> String {
    let wanted = NAMESPACES.map(|(name, label)| (name, label.map_or_else(|| json!({}), |label| json!({"dbt-tokens": label}))));
    install::namespaces(&wanted)
}
