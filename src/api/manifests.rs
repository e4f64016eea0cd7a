//! Tests of the manifests that people read and that other tests apply: `examples/` and `tests/manifests/`.
//!
//! Whether the API server accepts and refuses them is tested on a real one; here it is only whether the parse agrees with
//! what the files say of themselves.

use std::path::{Path, PathBuf};

use dbt_token_planner::desired::Refusal;
use serde::Deserialize;
use serde_yaml::Value;

use super::desired::desired;
use super::desired_account::account_settings;

/// The YAML files of a folder, in order of their names.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
}

/// What a file says of itself, and its documents.
struct Manifest {
    path: PathBuf,
    verdicts: Vec<String>,
    documents: Vec<Value>,
}

fn manifests(folder: &str) -> Vec<Manifest> {
    files(folder)
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("readable");
            let comments = text.lines().map_while(|line| line.strip_prefix("# "));
            let verdicts = comments.map(str::to_owned).collect();
            let documents =
                serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).expect("YAML")).collect();
            Manifest { path, verdicts, documents }
        })
        .collect()
}

/// What the parse says to one document; `None` for what is no object of ours.
fn refusal(document: &Value) -> Option<Option<Refusal>> {
    match document["kind"].as_str() {
        Some("ServiceToken") => Some(desired(&serde_yaml::from_value(document.clone()).expect("a ServiceToken")).err()),
        Some("DbtAccount") => Some(account_settings(&serde_yaml::from_value(document.clone()).expect("a DbtAccount")).err()),
        _ => None,
    }
}

#[test]
fn every_example_is_served() {
    for manifest in manifests("examples") {
        for document in &manifest.documents {
            assert_eq!(refusal(document), Some(None), "{}", manifest.path.display());
        }
    }
}

#[test]
fn every_manifest_gives_its_verdict_in_the_first_line() {
    let forms = ["refused: ", "stalled: ", "ready: ", "accepted: "];
    for folder in ["scenarios", "right", "wrong"] {
        for manifest in manifests(&format!("tests/manifests/{folder}")) {
            let path = manifest.path.display();
            let first = manifest.verdicts.first().unwrap_or_else(|| panic!("{path} has no verdict"));
            assert!(forms.iter().any(|form| first.starts_with(form)), "{path}");
            assert!(!manifest.documents.is_empty(), "{path}");
            if folder == "right" {
                // Whatever the API server accepts can be read; only a person may know whether it is served yet.
                manifest.documents.iter().for_each(|document| assert!(refusal(document).is_some(), "{path}"));
            }
        }
    }
}

#[test]
fn what_the_parse_must_refuse_is_refused_with_the_words_of_the_file() {
    for folder in ["scenarios", "wrong"] {
        for manifest in manifests(&format!("tests/manifests/{folder}")) {
            let path = manifest.path.display();
            let Some(verdict) = manifest.verdicts.first().filter(|verdict| !verdict.starts_with("refused: ")) else { continue };
            let last = manifest.documents.last().expect("a document");
            let told = match refusal(last).expect("an object of ours") {
                Some(Refusal::InvalidSpec { field, why, remedy }) => format!("stalled: InvalidSpec: {field}: {why}; {remedy}"),
                Some(Refusal::NotImplemented { field }) => {
                    format!("stalled: NotImplemented: {field} is not available in this version")
                }
                None => {
                    let parsed = ["stalled: InvalidSpec: ", "stalled: NotImplemented: "];
                    assert!(!parsed.iter().any(|form| verdict.starts_with(form)), "{path} is not refused");
                    continue;
                }
            };
            assert!(told.starts_with(verdict), "{path}: {told}");
        }
    }
}
