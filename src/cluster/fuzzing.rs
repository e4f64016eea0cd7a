//! What must hold of anything that a stranger may have written to the API server and that is read back: templates, metadata
//! of Secrets, statuses. The properties below and the fuzz targets in `fuzz/` call the same checks. No part of what is
//! shipped.

mod stage;

use std::collections::BTreeMap;

use dbt_token_planner::identity::{AccountId, TokenId, TokenUid};
use dbt_token_planner::ledger::{Entry, MAXIMUM_RETIRING};
use dbt_token_planner::observation::Target;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};

use super::render::{DEFAULT_TYPE, RenderedSecret, Template, TokenIdentity, Variables, render as fill_in};
use super::{ledger as ledgers, names, slot as slots, status as statuses, target as targets, text as texts};
use crate::api::template::{self as templates, LARGEST_VALUE_BYTES};
use crate::api::v1alpha1::ServiceTokenStatus;
use crate::token::TokenString;

/// The string that is rendered: with every kind of character that a URI or JSON text must not take literally.
const CANARY: &str = "dbtc_CANARY/+=:@?#%&\"\\<'é";

/// The most that a refusal says beyond the names that it repeats.
const LONGEST_REFUSAL: usize = 1000;

/// A template, rendered: it holds constants and the values of its own variables, each filtered as it says, and nothing else.
///
/// # Panics
/// If a promise is broken.
pub fn render(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    if text.contains("CANARY") || text.contains(BORDER) {
        return;
    }
    let uses_token = templates::check(&text);
    let variables = Variables {
        account_id: AccountId(70_403_103_922_125),
        access_url: "https://ab123.us1.dbt.com".to_owned(),
        discovery_url: Some("https://ab123.metadata.us1.dbt.com/graphql".to_owned()),
        semantic_layer_url: None,
    };
    let template = Template {
        kind: DEFAULT_TYPE.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        data: BTreeMap::from([("key".to_owned(), text.clone())]),
    };
    let uid = TokenUid::new("CANARYu");
    let token = TokenIdentity { id: TokenId(2202), uid: &uid };
    let fill_in = |string: &str| fill_in(&template, &variables, token, &TokenString::new(string.to_owned()));
    match fill_in(CANARY) {
        Ok(rendered) => {
            let rendered = only(&rendered);
            assert!(rendered.len() <= LARGEST_VALUE_BYTES, "{} bytes of {text:?}", rendered.len());
            let expected = expected(&text, &variables);
            assert_eq!(String::from_utf8_lossy(&rendered), expected, "{text:?}");
            let depends = fill_in("another").ok().is_none_or(|other| only(&other) != rendered);
            assert_eq!(uses_token, Ok(depends), "{text:?}");
        }
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("CANARY"), "{shown}");
            assert!(error.why.len() <= LONGEST_REFUSAL && !error.why.contains(char::is_control), "{shown}");
        }
    }
}

fn only(rendered: &RenderedSecret) -> Vec<u8> {
    let (_, bytes) = rendered.entries().next().expect("one key");
    bytes.to_vec()
}

/// The same, worked out in another way: cut at the braces.
fn expected(template: &str, variables: &Variables) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (inside, mut behind) = piece.split_once("}}").expect("a template that was taken is closed");
        if inside.starts_with('-') {
            // Of the constant before it alone, which nothing else was added to yet.
            text.truncate(text.trim_end().len().max(constant_begins(&text)));
        }
        if inside.ends_with('-') {
            behind = behind.trim_start();
        }
        let mut words = inside.trim_matches(['-', '+']).split('|').map(str::trim);
        let variable = words.next().unwrap_or_default();
        let mut value = value(variable, variables);
        for filter in words {
            value = filtered(filter, &value);
        }
        text.push_str(&value.text);
        text.push(BORDER);
        text.push_str(behind);
    }
    text.replace(BORDER, "")
}

/// Marks where a value ends; a template that holds it is not tried.
const BORDER: char = '\u{10ffff}';

fn constant_begins(text: &str) -> usize {
    text.rfind(BORDER).map_or(0, |place| place + BORDER.len_utf8())
}

/// A value and whether it is a text, which JSON puts into quotation marks.
struct Filled {
    text: String,
    is_text: bool,
}

fn value(variable: &str, variables: &Variables) -> Filled {
    let (text, is_text) = match variable {
        "token" => (CANARY.to_owned(), true),
        "accountId" => (variables.account_id.to_string(), false),
        "accessUrl" => (variables.access_url.clone(), true),
        "discoveryUrl" => (variables.discovery_url.clone().expect("it is known"), true),
        "tokenId" => ("2202".to_owned(), false),
        "tokenUid" => ("CANARYu".to_owned(), true),
        other => panic!("{other:?} has a value"),
    };
    Filled { text, is_text }
}

fn filtered(filter: &str, value: &Filled) -> Filled {
    let text = match filter {
        "host" => {
            let (_, rest) = value.text.split_once("://").expect("host is taken of URLs alone");
            rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
        }
        "uri_component" => value.text.bytes().map(encoded).collect(),
        "tojson" if value.is_text => {
            let json = serde_json::to_string(&value.text).expect("a text is JSON");
            [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\'', "\\u0027")]
                .into_iter()
                .fold(json, |json, (sign, escaped)| json.replace(sign, escaped))
        }
        "tojson" => value.text.clone(),
        other => panic!("{other:?} is a filter"),
    };
    Filled { text, is_text: true }
}

fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// A message of somebody else, cut to what the API server takes.
///
/// # Panics
/// If a promise is broken.
pub fn text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for limit in [3, 10, 64, 1024] {
        let (characters, bytes) = (texts::cut_to_characters(&text, limit), texts::cut_to_bytes(&text, limit));
        assert!(characters.chars().count() <= limit && bytes.len() <= limit, "{text:?}");
        for cut in [characters, bytes] {
            let kept = cut == *text || cut.strip_suffix("...").is_some_and(|kept| text.starts_with(kept));
            assert!(kept, "{text:?} is cut to {cut:?}");
        }
    }
}

fn metadata(input: &[u8]) -> Option<PartialObjectMeta<Secret>> {
    let metadata: ObjectMeta = serde_json::from_slice(input).ok()?;
    Some(metadata.into_response_partial())
}

/// The metadata of a Secret that carries the label of a slot: what is taken for a slot is whole and named as it says.
///
/// # Panics
/// If a promise is broken.
pub fn slot(input: &[u8]) {
    let Some(secret) = metadata(input) else { return };
    let values = secret.metadata.labels.iter().flatten().map(|(_, value)| value);
    // The API server takes no other labels.
    if !values.chain(&secret.metadata.name).all(|value| names::is_label_value(value)) {
        return;
    }
    let name = secret.metadata.name.clone().unwrap_or_default();
    match slots::observe(&secret) {
        Ok(observed) => {
            let labels = secret.metadata.labels.as_ref().expect("a slot has labels");
            let says = |label: &str, text: &str| labels.get(label).is_some_and(|found| found == text);
            let (slot, belonging) = (&observed.slot, &observed.belonging);
            assert_eq!(observed.reference.name, name);
            assert!(labels.contains_key(names::SLOT) && slot.serial.0 > 0 && belonging.account_id.0 > 0, "{observed:?}");
            assert!(says(names::OWNER_UID, belonging.owner.uid.as_str()), "{observed:?}");
            assert!(says(names::INSTALLATION, belonging.installation.as_str()), "{observed:?}");
            assert!(slot.token().is_none_or(|token| token.0 > 0), "{observed:?}");
            let kind = if slot.retained { "record" } else { "slot" };
            let named = format!("{kind}-{}-{}-", belonging.owner.uid, slot.serial);
            assert!(name.starts_with(&named) || slot.adopted.is_some() && !slot.retained, "{observed:?}");
            assert_eq!(slot.condemned.is_some(), labels.contains_key(names::CONDEMNED), "{observed:?}");
        }
        Err(malformed) => {
            let message = malformed.to_string();
            assert_eq!(malformed.name, name);
            assert!(malformed.why.len() <= LONGEST_REFUSAL && !malformed.why.contains(char::is_control), "{message:?}");
        }
    }
}

/// The metadata of the Secret that users named: it is ours only if it says so, and then it can be written.
///
/// # Panics
/// If a promise is broken.
pub fn target(input: &[u8]) {
    let Some(secret) = metadata(input) else { return };
    let metadata = &secret.metadata;
    let observed = targets::observe(&secret, "dagster");
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(names::MANAGED)).map(String::as_str);
    let owner = metadata.annotations.as_ref().and_then(|annotations| annotations.get(names::SERVICE_TOKEN));
    assert_ne!(observed.target, Target::Missing);
    assert_eq!(matches!(observed.target, Target::Ours(_)), observed.reference.is_some(), "{observed:?}");
    if let Target::Ours(state) = &observed.target {
        assert!(label == Some(names::TRUE) && owner.is_some_and(|owner| owner == "dagster"), "{observed:?}");
        let is_claimed = state.token.is_none() && state.rule.is_none();
        assert!(!state.intact || is_claimed || metadata.managed_fields.is_some(), "{observed:?}");
    }
}

/// A status: a ledger is read whole or not at all, and what is read is written back as it was.
///
/// # Panics
/// If a promise is broken.
pub fn ledger(input: &[u8]) {
    let Ok(status) = serde_json::from_slice::<ServiceTokenStatus>(input) else { return };
    let ledgers::Reading { ledger, problem } = ledgers::read(&status);
    assert!(problem.is_none() || ledger.is_blank(), "half a ledger is read of {status:?}");
    let named: Vec<&Entry> = ledger.current.iter().chain(&ledger.retiring).collect();
    let serials = || named.iter().map(|entry| entry.serial).chain(ledger.next.iter().map(|attempt| attempt.serial));
    assert!(ledger.retiring.len() <= MAXIMUM_RETIRING, "{ledger:?}");
    assert!(serials().all(|serial| (1..=ledger.serial).contains(&serial.0)), "{ledger:?}");
    assert!(named.iter().all(|entry| entry.token.0 > 0), "{ledger:?}");
    let differ = |values: Vec<i64>| {
        let different: std::collections::BTreeSet<_> = values.iter().collect();
        different.len() == values.len()
    };
    assert!(differ(serials().map(|serial| serial.0).collect()), "a serial twice: {ledger:?}");
    assert!(differ(named.iter().map(|entry| entry.token.0).collect()), "a token twice: {ledger:?}");
    let written = ServiceTokenStatus {
        ledger: ledgers::written(&ledger),
        last_handled_rotate_at: ledger.handled_rotate_at.clone(),
        ..ServiceTokenStatus::default()
    };
    assert_eq!(ledgers::read(&written), ledgers::Reading { ledger, problem: None });
}

/// A status that a stranger wrote, in front of the planner: what is planned is lawful, and destroys nothing that the status
/// alone names.
///
/// # Panics
/// If a promise is broken.
pub fn status(input: &[u8]) {
    let Ok(status) = serde_json::from_slice::<ServiceTokenStatus>(input) else { return };
    stage::play(ledgers::read(&status).ledger, statuses::record(&status), &status);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
    use proptest::sample::select;
    use proptest::test_runner::RngSeed;
    use serde_json::{Map, Value, json};

    use super::names;
    use crate::api::fuzzing::tests::template;

    /// The seed is fixed, so that a red run can be repeated.
    fn config() -> ProptestConfig {
        ProptestConfig {
            cases: 1000,
            rng_seed: RngSeed::Fixed(20_261_124),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    fn written(value: impl Strategy<Value = Value>) -> impl Strategy<Value = String> {
        value.prop_map(|value| value.to_string())
    }

    fn map(names: &'static [&'static str], value: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
        vec((select(names), value), 0..12)
            .prop_map(|entries| entries.into_iter().map(|(name, text)| (name.to_owned(), json!(text))).collect::<Map<_, _>>())
            .prop_map(Value::Object)
    }

    fn words() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => select(vec!["true", "prod-eu", "dagster", "dbt-token-operator", "GrantsDiffer", "token"]).prop_map(str::to_owned),
            3 => (0_i64..9).prop_map(|number| number.to_string()),
            1 => Just("token,a.id".to_owned()),
            1 => "\\PC{0,8}",
            1 => "[\\x00-\\x1f]{1,3}",
        ]
    }

    const LABELS: &[&str] = &[
        names::SLOT,
        names::OWNER_UID,
        names::SERIAL,
        names::INSTALLATION,
        names::COMMITTED,
        names::RETAINED,
        names::CONDEMNED,
        names::ADOPTED,
        names::MANAGED,
        names::MANAGED_BY,
    ];
    const ANNOTATIONS: &[&str] = &[
        names::OWNER_NAMESPACE,
        names::OWNER_NAME,
        names::ACCOUNT,
        names::ACCOUNT_ID,
        names::TOKEN_ID,
        names::TOKEN_UID,
        names::GRANTED,
        names::CONDEMNED_DETAIL,
        names::ADOPTED_FROM_SECRET,
        names::ADOPTED_FROM_KEY,
        names::SERVICE_TOKEN,
        names::PUBLISHED_AT,
        names::RULE,
        names::DATA_KEYS,
        names::TAKEN_OVER,
    ];

    /// Metadata in which anything may stand at the operator's own names.
    fn metadata() -> impl Strategy<Value = String> {
        let fields = prop_oneof![
            Just(json!({"f:data": {"f:token": {}, "f:a.id": {}}, "f:metadata": {"f:labels": {}, "f:annotations": {}}})),
            Just(json!([1])),
            Just(Value::Null),
        ];
        let entry = (words(), select(vec!["Apply", "Update", ""]), fields)
            .prop_map(|(manager, operation, fields)| json!({"manager": manager, "operation": operation, "fieldsV1": fields}));
        let parts = (map(LABELS, words()), map(ANNOTATIONS, words()), vec(entry, 0..3), option::of(Just("41")), words());
        written(parts.prop_map(|(labels, annotations, entries, version, name)| {
            json!({
                "name": name, "namespace": "finance", "uid": "uid", "resourceVersion": version, "labels": labels,
                "annotations": annotations, "managedFields": entries, "creationTimestamp": "2026-11-24T08:00:00Z",
            })
        }))
    }

    /// Metadata as the operator writes it, with a few things changed.
    fn nearly_a_slot() -> impl Strategy<Value = String> {
        let changes = vec((prop_oneof![select(LABELS), select(ANNOTATIONS)], option::of(words())), 0..3);
        written(changes.prop_map(|changes| {
            let mut metadata = super::stage::slot_metadata();
            for (name, value) in changes {
                let part = if LABELS.contains(&name) { "labels" } else { "annotations" };
                let part = metadata[part].as_object_mut().expect("a map");
                match value {
                    Some(value) => drop(part.insert(name.to_owned(), json!(value))),
                    None => drop(part.remove(name)),
                }
            }
            metadata
        }))
    }

    fn number() -> impl Strategy<Value = Value> {
        prop_oneof![
            12 => (0_i64..9).prop_map(|number| json!(number)),
            1 => select(vec![i64::MIN, -1, 1_795_506_000, i64::MAX - 1, i64::MAX]).prop_map(|number| json!(number)),
            1 => Just(Value::Null),
        ]
    }

    fn time() -> impl Strategy<Value = Value> {
        select(vec![
            json!(null),
            json!("2026-11-24T07:40:00Z"),
            json!("2026-11-24T07:30:00Z"),
            json!("2026-11-25T00:00:00Z"),
            json!("-009999-01-02T01:59:59Z"),
            json!("9999-12-30T22:00:00Z"),
        ])
    }

    /// A status in which anything may stand, though mostly numbers that meet those of the stage.
    fn status() -> impl Strategy<Value = String> {
        // As the stage has them, and as it has not.
        let known = select(vec![(5, 1), (5, 1), (5, 1), (4, 2), (4, 2), (3, 3), (2, 4), (1, 5), (6, 6), (7, 7)]);
        let known = known.prop_map(|(serial, token)| (json!(serial), json!(token)));
        let entry = prop_oneof![3 => known, 1 => (number(), number())];
        let entry = || entry.clone().prop_map(|(serial, token)| json!({"serial": serial, "tokenId": token}));
        let cause = select(vec![json!(null), json!("First"), json!("TokenUnusable"), json!("MaxAge"), json!("nonsense")]);
        let next =
            (number(), option::of("[0-9a-f]{2}"), number(), cause.clone()).prop_map(|(serial, fingerprint, failures, cause)| {
                let failures = failures.as_i64().map(|count| count % 9);
                json!({"serial": serial, "fingerprint": fingerprint, "failures": failures, "cause": cause})
            });
        let names = (option::weighted(0.3, next), option::weighted(0.8, entry()), vec(entry(), 0..5), number());
        let facts = (option::weighted(0.1, number()), option::weighted(0.1, number()), option::weighted(0.2, number()));
        let deletion = select(vec![json!(null), json!(null), json!("Retain"), json!("Revoke")]);
        let installation = select(vec![json!("here"), json!("here"), json!("here"), json!("there"), json!(null)]);
        let ledger = (names, facts, deletion, installation).prop_map(
            |((next, current, retiring, serial), (set_back, compromised, restarted), deletion, installation)| {
                let serial = serial.as_i64().map(|serial| if (0..9).contains(&serial) { 9 } else { serial });
                json!({
                    "installation": installation, "serial": serial, "next": next, "current": current, "retiring": retiring,
                    "deletion": deletion, "setBack": set_back, "compromised": compromised, "restarted": restarted,
                })
            },
        );
        let id = prop_oneof![2 => Just(json!(1)), 1 => number()];
        let published = (id, time()).prop_map(|(id, at)| json!({"id": id, "publicationTime": at}));
        let retiring = (1_i64..9, time()).prop_map(|(id, at)| json!({"id": id, "replacementTime": at}));
        let history = (cause, number(), number(), time(), time()).prop_map(|(cause, token, previous, published, retired)| {
            json!({"cause": cause, "tokenId": token, "previousTokenId": previous, "publicationTime": published,
                   "retirementTime": retired})
        });
        let kind = select(vec!["Ready", "TokenUsable", "Rotating", "Reconciling", "Stalled", "Odd"]);
        let condition = (kind, select(vec!["True", "False", "Unknown", "Odd"]), "\\PC{0,8}", "\\PC{0,8}").prop_map(
            |(kind, status, reason, message)| {
                json!({"type": kind, "status": status, "reason": reason, "message": message,
                       "lastTransitionTime": "2026-11-24T07:00:00Z"})
            },
        );
        let rest = (option::of(published), vec(retiring, 0..4), vec(history, 0..4), vec(condition, 0..4), time(), number());
        written((option::weighted(0.9, ledger), rest, option::of("\\PC{0,8}")).prop_map(
            |(ledger, (published, retiring, history, conditions, time, generation), handled)| {
                let mut status = json!({
                    "ledger": ledger, "token": published, "retiringTokens": retiring, "history": history,
                    "conditions": conditions, "lastRotationTime": time, "nextRotationTime": time,
                    "observedGeneration": generation, "lastHandledRotateAt": handled,
                });
                status.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
                without_nulls(&mut status);
                status
            },
        ))
    }

    /// Lists and required numbers are never null in what the API server stores.
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| !value.is_null());
                fields.values_mut().for_each(without_nulls);
            }
            Value::Array(items) => items.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }

    fn anything() -> impl Strategy<Value = String> {
        let bytes = vec(any::<u8>(), 0..80).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        prop_oneof![bytes, "\\PC{0,40}"]
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn a_rendered_template_holds_what_it_declares_and_nothing_else(input in prop_oneof![1 => anything(), 4 => template()]) {
            super::render(input.as_bytes());
        }

        #[test]
        fn a_cut_text_fits_and_begins_as_it_did(input in anything()) {
            super::text(input.as_bytes());
        }

        #[test]
        fn no_secret_is_taken_for_a_slot_that_is_none(input in prop_oneof![1 => metadata(), 2 => nearly_a_slot()]) {
            super::slot(input.as_bytes());
        }

        #[test]
        fn no_secret_is_taken_for_ours_that_does_not_say_so(input in metadata()) {
            super::target(input.as_bytes());
        }

        #[test]
        fn a_ledger_is_read_whole_or_not_at_all(input in status()) {
            super::ledger(input.as_bytes());
        }

        #[test]
        fn a_status_of_a_stranger_destroys_nothing_that_it_alone_names(input in status()) {
            super::status(input.as_bytes());
        }
    }

    /// The properties above say nothing if what they are given is never read.
    #[test]
    fn the_statuses_are_read_and_lead_to_something() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let (mut whole, mut words) = (0, std::collections::BTreeSet::new());
        for _ in 0..2000 {
            let input = status().new_tree(&mut runner).expect("a status").current();
            let Ok(read) = serde_json::from_str::<super::ServiceTokenStatus>(&input) else { continue };
            whole += usize::from(super::ledgers::read(&read).problem.is_none());
            words.extend(super::stage::words(super::ledgers::read(&read).ledger, super::statuses::record(&read)));
        }
        assert!(whole > 500, "{whole} of 2000 are whole");
        for word in ["retire", "revoke", "close_slot", "project", "rebuild", "open", "forget"] {
            assert!(words.contains(word), "{word} is never reached: {words:?}");
        }
    }
}
