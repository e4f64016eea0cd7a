//! No token in any output, at the most verbose log level: when things go well, when they go wrong in ways in which a library
//! would quote what it was given, and when the process crashes. And the scan itself: it finds what is there, so that finding
//! nothing means something.

use std::os::unix::process::ExitStatusExt;

use dbt_cloud_emulator::{Fault, Grant, Rule, SeedToken};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use xtask::leaks::Needles;

use crate::support::case::{Case, cases};
use crate::support::operator::{Operator, OperatorOptions};
use crate::support::relay::Relay;
use crate::support::scene::Scene;
use crate::support::wait::{LIMIT, until};

pub fn cases() -> Vec<Case> {
    let alone = cases!(Own: nothing_that_goes_wrong_puts_a_token_into_any_output, a_crash_leaves_no_core_file);
    let beside_others = cases!(Shared: a_leaked_token_is_found, everything_that_is_searched_is_really_read);
    alone.into_iter().chain(beside_others).collect()
}

/// The label of a slot whose token was the current one.
const COMMITTED: &str = "tokens.dbt-operator.dev/committed";

/// The number of the signal by which a process ends itself after a panic that does not unwind.
const ABORTED: i32 = 6;

fn runner() -> Value {
    json!([{"permissionSet": "job_runner", "projects": [{"id": 700}]}])
}

/// Everything that was emitted about a scene so far, each with its place.
async fn emitted(scene: &Scene, operators: &[&Operator]) -> Vec<(String, String)> {
    let mut all = scene.emitted(std::slice::from_ref(&scene.namespace)).await;
    all.extend(scene.stage.emitted().await);
    for operator in operators {
        all.push(("the metrics of an operator".to_owned(), operator.metrics().await));
    }
    all
}

async fn a_leaked_token_is_found(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    let string = scene.published("ci").await;
    let needles = Needles::of(&scene.dbt.issued_token_strings());
    assert!(needles.count() >= 4, "every string that dbt ever knew is searched for");
    // Through all that is searched: an event with the string in it.
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "leak", "namespace": scene.namespace},
        "eventTime": "2026-11-24T08:00:00.000000Z", "action": "Leak", "reason": "Leak", "type": "Normal", "note": string,
        "regarding": {"kind": "Namespace", "name": scene.namespace, "namespace": scene.namespace}, "reportingController": "it", "reportingInstance": "it",
    });
    let find = async || {
        let emitted = scene.emitted(std::slice::from_ref(&scene.namespace)).await;
        emitted.iter().flat_map(|(place, text)| needles.find(place, text)).collect::<Vec<_>>()
    };
    assert_eq!(find().await, Vec::<String>::new());
    scene.apply(&event).await;
    let found = find().await;
    assert!(found.len() == 1 && found[0].starts_with("the events of"), "{found:?}");
    scene.stage.kubectl(&["delete", "event", "leak", "-n", &scene.namespace]).expect("it is deleted");
    assert!(needles.find("here", &format!("token {} of {}", scene.id_of(&string), &string[..12])).is_empty());
}

/// What certainly stands everywhere is found everywhere: the uid of the operator's namespace, or the names of things.
async fn everything_that_is_searched_is_really_read(scene: &Scene) {
    scene.connect(|_| {}).await;
    scene.apply(&scene.token("ci", runner())).await;
    scene.published("ci").await;
    scene.event("ci", "TokenCreated").await;
    let words = [scene.stage.installation.as_str(), &scene.namespace, &scene.account, "dbt-token-operator", "service-tokens"];
    let needles = Needles::of(&words.map(str::to_owned));
    for (place, text) in emitted(scene, &[]).await {
        let is_elsewhere = place == "the events of default" || place == "the ServiceTokens of default";
        assert_eq!(needles.are_in(&text), !is_elsewhere || !text.is_empty(), "{place}");
    }
}

/// An admission policy that quotes the token of what it refuses, as a well-meant one may do.
fn policy_that_quotes(name: &str, namespace: &str, allows: &str) -> [Value; 2] {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]});
    let version = "admissionregistration.k8s.io/v1";
    [
        json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "resourceRules": [rule],
                },
                "validations": [{
                    "expression": format!("!has(object.data) || !('token' in object.data) || {allows}"),
                    "messageExpression": "'no tokens here: ' + string(object.data['token'])",
                }],
            },
        }),
        json!({
            "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        }),
    ]
}

/// Sets such a policy, and waits until it quotes.
async fn quote(scene: &Scene, name: &str, namespace: &str, allows: &str) {
    for object in policy_that_quotes(name, namespace, allows) {
        scene.apply(&object).await;
    }
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "try", "namespace": namespace, "labels": {COMMITTED: "true"}}, "stringData": {"token": "canary"},
    }))
    .expect("a Secret");
    let secrets: Api<Secret> = Api::namespaced(scene.stage.client(), namespace);
    until(LIMIT, "the policy quotes what it refuses", async || {
        let tried = secrets.create(&PostParams { dry_run: true, ..PostParams::default() }, &secret).await;
        match tried.map_err(|error| error.to_string()) {
            Err(refusal) if refusal.contains("Y2FuYXJ5") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

fn forget(scene: &Scene, name: &str) {
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        scene.stage.kubectl(&["delete", kind, name]).expect("it is deleted");
    }
}

/// Waits until the status of an object says something.
async fn says(scene: &Scene, name: &str, words: &str) {
    until(LIMIT, &format!("{name} says {words}"), async || {
        let told = crate::support::objects::told(&scene.status(name).await.conditions);
        if told.contains(words) { Ok(()) } else { Err(told) }
    })
    .await;
}

async fn nothing_that_goes_wrong_puts_a_token_into_any_output(scene: &Scene) {
    let relay = Relay::start(scene.stage.operators_kubeconfig()).await;
    let options = OperatorOptions { kubeconfig: Some(relay.kubeconfig.clone()), ..OperatorOptions::default() };
    let operator = scene.stage.start_operator(&options).await;
    scene.connect(|_| {}).await;
    scene.expect_account("Ready", "True", "Connected").await;
    let made_up = dbt_answers_with_half_a_token(scene).await;

    // The API server answers with a Secret that the client cannot read, and whose data its error would quote.
    relay.spoil();
    scene.apply(&scene.token("spoiled", runner())).await;
    says(scene, "spoiled", "the API server's answer makes no sense").await;
    assert!(relay.has_spoiled());
    relay.spare();
    scene.published("spoiled").await;

    the_cluster_quotes_what_it_refuses(scene).await;

    // The process dies with a string in its hands.
    let hang = scene.dbt.add_fault(Rule::new(Fault::HangAfter { ms: None }).on("POST", "service-tokens/").times(1));
    let made = scene.created();
    let metrics = operator.metrics().await;
    scene.apply(&scene.token("dying", runner())).await;
    assert!(scene.dbt.wait_until(LIMIT, |_| scene.created() > made).await);
    operator.signal("ABRT");
    ended(&operator).await;
    scene.dbt.remove_fault(hang);

    let mut strings = scene.dbt.issued_token_strings();
    strings.push(made_up);
    scene.world.note_strings(&strings);
    let needles = Needles::of(&strings);
    let held = scene.data("spoiled-dbt").await.expect("the Secret is there");
    assert!(needles.are_in(&held["token"]), "a token is found where it is");
    let mut found = needles.find("the metrics", &metrics);
    found.extend(emitted(scene, &[]).await.iter().flat_map(|(place, text)| needles.find(place, text)));
    assert_eq!(found, Vec::<String>::new());
}

/// dbt's answers break off, or are no text, behind a token that was made. And strings are held of which dbt refuses one; it is
/// given back, since dbt never issued it.
async fn dbt_answers_with_half_a_token(scene: &Scene) -> String {
    for fault in [Fault::Truncated, Fault::InvalidUtf8] {
        scene.dbt.add_fault(Rule::new(fault).on("POST", "service-tokens/").times(1));
    }
    for name in ["cut", "garbled"] {
        scene.apply(&scene.token(name, runner())).await;
    }
    let by_hand = || scene.dbt.add_token(SeedToken::new("made by hand", &[Grant::new("job_runner").in_project(700)]));
    let (old, other) = (by_hand(), by_hand());
    let made_up = format!("dbtc_{}{}", other.uid, "s3cr3t".repeat(8).get(..43).expect("ASCII"));
    let uri = format!("dbt-cloud://1:{}@ab123.us1.dbt.com", old.string.replace('_', "%5F"));
    for (name, held) in [("refused", &made_up), ("adopted", &uri)] {
        scene
            .apply(&json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-old"), "namespace": scene.namespace},
                "stringData": {"held": held},
            }))
            .await;
        let mut token = scene.token(name, runner());
        token["spec"]["adopt"] = json!({"secretRef": {"name": format!("{name}-old"), "key": "held"}});
        scene.apply(&token).await;
    }
    assert_eq!(scene.published("adopted").await, old.string);
    scene.expect("refused", "Stalled", "True", "AdoptRefused").await;
    for name in ["cut", "garbled"] {
        scene.published(name).await;
    }
    made_up
}

/// A token is refused and quoted: in the Secret that is wanted, in the operator's own, and where it is there already and only a
/// label is put on it.
async fn the_cluster_quotes_what_it_refuses(scene: &Scene) {
    let unlabelled = format!("!('{COMMITTED}' in object.metadata.labels)");
    let policies = [
        ("quotes-targets", &scene.namespace, "false"),
        ("quotes-slots", &scene.stage.namespace, "false"),
        ("quotes-labelled-slots", &scene.stage.namespace, unlabelled.as_str()),
    ];
    for (name, namespace, allows) in policies {
        quote(scene, name, namespace, allows).await;
        scene.apply(&scene.token(name, runner())).await;
        says(scene, name, "the message is withheld, since it repeats data of the Secret").await;
        forget(scene, name);
    }
}

async fn ended(operator: &Operator) {
    until(LIMIT, "the process has ended", async || if operator.has_ended() { Ok(()) } else { Err("it runs".to_owned()) }).await;
}

/// Every operator of these tests is started with as large core files as the system allows.
async fn a_crash_leaves_no_core_file(scene: &Scene) {
    let operator = scene.stage.start_operator(&OperatorOptions::default()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", operator.id())).expect("the process runs");
    let of_core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux tells of it");
    let words: Vec<&str> = of_core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "soft and hard limit: {of_core}");
    operator.signal("ABRT");
    ended(&operator).await;
    let exit = operator.exit().expect("it has ended");
    assert_eq!((exit.signal(), exit.core_dumped()), (Some(ABORTED), false), "{exit}");
}
