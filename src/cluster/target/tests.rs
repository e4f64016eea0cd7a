//! Targets as they are written and read back, without an API server.

use dbt_token_planner::identity::{TokenId, TokenUid};
use dbt_token_planner::observation::{Target, TargetState};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};

use super::*;

fn template(kind: &str, keys: &[&str]) -> Template {
    Template {
        kind: kind.to_owned(),
        labels: BTreeMap::from([("team".to_owned(), "data".to_owned())]),
        annotations: BTreeMap::from([("reloader".to_owned(), "yes".to_owned())]),
        data: keys.iter().map(|key| ((*key).to_owned(), "{{ token }}".to_owned())).collect(),
    }
}

fn reference() -> TargetReference {
    let [namespace, name, uid, resource_version] = ["finance", "dagster-dbt", "target-uid", "41"].map(str::to_owned);
    TargetReference { namespace, name, uid, resource_version }
}

fn data() -> RenderedSecret {
    let value = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    RenderedSecret::from_wiped(BTreeMap::from([("a.id".to_owned(), value("7")), ("token".to_owned(), value("dbtc_canary"))]))
}

/// What is sent, by a projection of token 2202.
fn application() -> Value {
    let template = template("Opaque", &["a.id", "token"]);
    let uid = TokenUid::new("k0PqL-2");
    let (rule, data) = (RenderRule::new("00ff"), data());
    let projection = Projection {
        service_token: "dagster",
        token: TokenIdentity { id: TokenId(2202), uid: &uid },
        published_at: "2026-11-24T08:00:00.123456Z".parse().expect("a time"),
        rule: &rule,
        template: &template,
        data: &data,
    };
    let application = Application::new(&reference(), projection);
    let shown = format!("{application:?}");
    assert!(!shown.contains("canary") && !shown.contains("ZGJ0Y19jYW5hcnk="), "{shown}");
    serde_json::to_value(&application).expect("JSON")
}

#[test]
fn an_application_names_what_was_seen_and_everything_of_ours() {
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": "finance", "name": "dagster-dbt", "uid": "target-uid", "resourceVersion": "41",
            "labels": {"team": "data", names::MANAGED: "true", names::MANAGED_BY: "dbt-token-operator"},
            "annotations": {
                "reloader": "yes", names::SERVICE_TOKEN: "dagster", names::TOKEN_ID: "2202", names::TOKEN_UID: "k0PqL-2",
                names::PUBLISHED_AT: "2026-11-24T08:00:00Z", names::RULE: "00ff", names::DATA_KEYS: "a.id,token",
            },
        },
        "data": {"a.id": "Nw==", "token": "ZGJ0Y19jYW5hcnk="},
    });
    assert_eq!(application(), expected);
}

#[test]
fn a_refusal_that_quotes_the_data_is_withheld() {
    let data = data();
    for (message, is_withheld) in [
        ("value dbtc_canary is forbidden", true),
        ("data.token: ZGJ0Y19jYW5hcnk= is forbidden", true),
        ("data of 7 bytes is forbidden", false),
    ] {
        let failure = Failure { class: Class::Refused { message: message.to_owned() }, detail: message.to_owned() };
        let failure = failure.without(data.entries().map(|(_, bytes)| bytes));
        assert_eq!(!format!("{failure:?}").contains(message), is_withheld, "{failure:?}");
    }
}

#[test]
fn a_claim_holds_no_more_than_its_type_asks_for() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &[&str], Pairs); 6] = [
        ("Opaque", &["token"], &[]),
        ("example.com/dbt", &["password"], &[]),
        ("kubernetes.io/basic-auth", &["password", "url"], &[("password", "")]),
        ("kubernetes.io/basic-auth", &["token"], &[]),
        ("kubernetes.io/ssh-auth", &["ssh-privatekey"], &[("ssh-privatekey", "-")]),
        ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"], &[(".dockerconfigjson", "{}")]),
    ];
    for (kind, keys, expected) in cases {
        let secret = claimed("dagster-dbt", "dagster", &template(kind, keys));
        let data = secret.data.unwrap_or_default();
        let found: Vec<_> =
            data.iter().map(|(key, value)| (key.as_str(), std::str::from_utf8(&value.0).expect("text"))).collect();
        assert_eq!(found, expected, "{kind}");
        assert_eq!(secret.type_.as_deref(), Some(kind));
        assert_eq!(secret.metadata.owner_references, None);
    }
}

/// A target as the API server shows it after a projection, before `change`.
fn seen(change: impl FnOnce(&mut ObjectMeta)) -> PartialObjectMeta<Secret> {
    let mut metadata: ObjectMeta = serde_json::from_value(application()["metadata"].clone()).expect("metadata");
    let fields = json!({
        "f:data": {"f:a.id": {}, "f:token": {}},
        "f:metadata": {
            "f:labels": {"f:team": {}, "f:app.kubernetes.io/managed-by": {}, "f:tokens.dbt-operator.dev/managed": {}},
            "f:annotations": ANNOTATIONS.iter().map(|name| (format!("f:{name}"), json!({}))).collect::<BTreeMap<_, _>>(),
        },
    });
    metadata.managed_fields = Some(vec![entry(names::OPERATOR, "Apply", fields)]);
    change(&mut metadata);
    metadata.into_response_partial::<Secret>()
}

fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some(operation.to_owned()),
        time: Some(Time("2026-11-24T08:00:00Z".parse().expect("a time"))),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }
}

fn fields(metadata: &mut ObjectMeta) -> &mut Value {
    &mut metadata.managed_fields.as_mut().expect("fields")[0].fields_v1.as_mut().expect("fields").0
}

#[track_caller]
fn check(change: impl FnOnce(&mut ObjectMeta), intact: bool) {
    let observed = observe(&seen(change), "dagster");
    let rule = Some(RenderRule::new("00ff"));
    assert_eq!(observed.target, Target::Ours(TargetState { token: Some(TokenId(2202)), rule, intact, taken_over: false }));
    assert_eq!(observed.reference, Some(reference()));
}

#[test]
fn a_target_is_intact_as_long_as_all_of_ours_is_ours() {
    check(|_| (), true);
    let others = json!({"f:data": {"f:token": {}, "f:other": {}}});
    check(|metadata| metadata.managed_fields.as_mut().expect("fields").push(entry("helm", "Apply", others)), true);
    check(|metadata| metadata.managed_fields = None, false);
    check(|metadata| metadata.managed_fields.as_mut().expect("fields")[0].operation = Some("Update".to_owned()), false);
    for (map, name) in [
        ("/f:data", "f:token".to_owned()),
        ("/f:metadata/f:labels", format!("f:{}", names::MANAGED)),
        ("/f:metadata/f:annotations", format!("f:{}", names::TOKEN_ID)),
        ("/f:metadata/f:annotations", format!("f:{}", names::DATA_KEYS)),
    ] {
        check(
            |metadata| {
                let map = fields(metadata).pointer_mut(map).and_then(Value::as_object_mut).expect("a map");
                map.remove(&name).expect("ours");
            },
            false,
        );
    }
    check(|metadata| fields(metadata)["f:data"]["f:more"] = json!({}), false);
    let annotation = |metadata: &mut ObjectMeta, name: &str| metadata.annotations.as_mut().expect("some").remove(name);
    check(|metadata| drop(annotation(metadata, names::DATA_KEYS)), false);
}

#[test]
fn a_claimed_target_is_ours_and_holds_no_token() {
    let claimed = claimed("dagster-dbt", "dagster", &template("Opaque", &["token"]));
    let observed = observe(
        &seen(|metadata| {
            metadata.labels = claimed.metadata.labels;
            metadata.annotations = claimed.metadata.annotations;
            metadata.managed_fields = None;
        }),
        "dagster",
    );
    assert_eq!(observed.target, Target::Ours(TargetState { token: None, rule: None, intact: true, taken_over: false }));
}

#[test]
fn only_our_label_together_with_the_name_makes_it_ours() {
    let foreign = Target::Foreign { manager: names::OPERATOR.to_owned() };
    let other = Target::OtherOwner { name: "airflow".to_owned() };
    type Change = fn(&mut ObjectMeta);
    let cases: [(Change, &Target); 5] = [
        (|metadata| drop(metadata.labels.as_mut().expect("some").remove(names::MANAGED)), &foreign),
        (|metadata| drop(metadata.labels.as_mut().expect("some").insert(names::MANAGED.to_owned(), "no".to_owned())), &foreign),
        (|metadata| drop(metadata.annotations.as_mut().expect("some").remove(names::SERVICE_TOKEN)), &foreign),
        (
            |metadata| {
                let annotations = metadata.annotations.as_mut().expect("some");
                annotations.insert(names::SERVICE_TOKEN.to_owned(), "airflow".to_owned());
            },
            &other,
        ),
        (|metadata| metadata.resource_version = None, &foreign),
    ];
    for (change, expected) in cases {
        let observed = observe(&seen(change), "dagster");
        assert_eq!((&observed.target, &observed.reference), (expected, &None));
    }
}

#[test]
fn a_release_takes_only_what_is_ours() {
    let labels = |value: &str| BTreeMap::from([(names::MANAGED_BY.to_owned(), value.to_owned())]);
    let patch = release(&reference(), Some(&labels(names::OPERATOR)));
    assert_eq!(patch["metadata"]["labels"], json!({names::MANAGED: null, names::MANAGED_BY: null}));
    assert_eq!(patch["metadata"]["annotations"].as_object().expect("a map").len(), ANNOTATIONS.len() + 1);
    assert!(patch["metadata"]["annotations"][names::TAKEN_OVER].is_null(), "what says that it was there before goes as well");
    assert_eq!((&patch["metadata"]["uid"], &patch["metadata"]["resourceVersion"]), (&json!("target-uid"), &json!("41")));
    for labels in [Some(labels("helm")), None] {
        assert_eq!(release(&reference(), labels.as_ref())["metadata"]["labels"], json!({names::MANAGED: null}));
    }
}
