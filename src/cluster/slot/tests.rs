//! Slots as they are written and read back, without an API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{PartialObjectMeta, PartialObjectMetaExt};

use dbt_token_planner::observation::CondemnedReason;

use super::*;

const UID: &str = "9bd5a1f4-1f0c-4a60-8f3e-7f6e6c1c2a55";

fn belonging() -> Belonging {
    Belonging {
        installation: Installation::new("prod-eu"),
        owner: Owner { uid: OwnerUid::new(UID), namespace: "finance".to_owned(), name: "dagster".to_owned() },
        account: "analytics".to_owned(),
        account_id: AccountId(70_403_103_922_125),
    }
}

/// As the API server would return it, with some labels and annotations changed; an empty value takes one away.
fn seen(secret: Secret, labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> PartialObjectMeta<Secret> {
    let mut metadata = secret.metadata;
    metadata.uid = Some("slot-uid".to_owned());
    metadata.resource_version = Some("41".to_owned());
    metadata.creation_timestamp = Some(Time("2026-11-24T08:00:00Z".parse().expect("a time")));
    change(metadata.labels.get_or_insert_default(), labels);
    change(metadata.annotations.get_or_insert_default(), annotations);
    metadata.into_response_partial::<Secret>()
}

fn change(map: &mut BTreeMap<String, String>, changes: &[(&str, &str)]) {
    for (key, value) in changes {
        if value.is_empty() {
            map.remove(*key);
        } else {
            map.insert((*key).to_owned(), (*value).to_owned());
        }
    }
}

fn empty() -> Secret {
    empty_slot(&slot_name(&belonging(), Serial(1_790_000_000)), &belonging(), Serial(1_790_000_000))
}

const FILLED: [(&str, &str); 3] = [(names::TOKEN_ID, "2202"), (names::TOKEN_UID, "k0PqL-2"), (names::GRANTED, "00ff")];

fn observed(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> ObservedSlot {
    observe(&seen(empty(), labels, annotations)).unwrap_or_else(|malformed| panic!("{malformed}"))
}

fn filled() -> SlotContent {
    SlotContent::Filled { token: TokenId(2202), uid: TokenUid::new("k0PqL-2"), granted: Fingerprint::new("00ff") }
}

#[test]
fn a_reserved_slot_reads_back_as_empty_and_whose_it_is() {
    let observed = observed(&[], &[]);
    assert_eq!(observed.reference.name, slot_name(&observed.belonging, Serial(1_790_000_000)));
    let elsewhere = Belonging { installation: Installation::new("there"), ..observed.belonging.clone() };
    assert_ne!(
        slot_name(&elsewhere, Serial(1_790_000_000)),
        observed.reference.name,
        "a copy of the cluster has slots of its own"
    );
    assert_eq!(observed.reference.uid, "slot-uid");
    assert_eq!(observed.reference.resource_version, "41");
    assert_eq!(observed.belonging, belonging());
    assert_eq!(observed.slot.serial, Serial(1_790_000_000));
    assert_eq!(observed.slot.content, SlotContent::Empty);
    assert!(is_unmarked(&observed.slot));
}

#[test]
fn what_can_never_be_taken_back_is_read_from_the_labels() {
    assert_eq!(observed(&[], &FILLED).slot.content, filled());
    assert!(observed(&[(names::COMMITTED, "true")], &FILLED).slot.committed);
    let labels = [(names::CONDEMNED, "GrantsDiffer")];
    let annotations = [FILLED.as_slice(), &[(names::CONDEMNED_DETAIL, "dbt granted nothing")]].concat();
    let condemned = observed(&labels, &annotations).slot.condemned.expect("condemned");
    assert_eq!(condemned.reason, CondemnedReason::GrantsDiffer);
    assert_eq!(condemned.detail, "dbt granted nothing");
    let condemned = observed(&[(names::CONDEMNED, "Later")], &annotations).slot.condemned.expect("still condemned");
    assert_eq!(condemned.detail, "Later: dbt granted nothing");
}

#[test]
fn a_record_is_told_from_a_slot() {
    let name = record_name(&belonging(), Serial(7));
    let uid = TokenUid::new("k0PqL-2");
    for uid in [None, Some(&uid)] {
        let secret = record(&name, &belonging(), Serial(7), TokenId(2202), uid);
        assert_eq!((secret.immutable, secret.data.as_ref(), secret.string_data.as_ref()), (Some(true), None, None));
        let observed = observe(&seen(secret, &[], &[])).expect("a record");
        assert!(observed.slot.retained);
        assert_eq!(observed.slot.token(), Some(TokenId(2202)));
        assert_eq!(observed.reference.name, record_name(&observed.belonging, Serial(7)));
    }
}

fn claim() -> Secret {
    let (uid, granted) = (TokenUid::new("k0PqL-2"), Fingerprint::new("00ff"));
    let source = Source { secret: "old".to_owned(), key: "DBT_TOKEN".to_owned() };
    let (serial, token) = (Serial(7), TokenId(2202));
    let claiming = Claiming { belonging: &belonging(), serial, token, uid: &uid, granted: &granted, source: &source };
    adopted::filled_slot(&adopted::adopted_slot_name(&belonging(), token), claiming, &TokenString::new("canary".to_owned()))
}

#[test]
fn the_slot_of_an_adopted_token_is_named_after_the_token_and_born_filled() {
    let secret = claim();
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.data.as_ref().map(|data| data["token"].0.clone()), Some(b"canary".to_vec()));
    let observed = observe(&seen(secret, &[], &[])).expect("a slot");
    assert_eq!((observed.slot.serial, observed.slot.content), (Serial(7), filled()));
    let source = observed.slot.adopted.expect("it was adopted");
    assert_eq!((source.secret.as_str(), source.key.as_str()), ("old", "DBT_TOKEN"));
    let elsewhere = Owner { uid: OwnerUid::new("another"), ..belonging().owner };
    let other = Belonging { owner: elsewhere, ..belonging() };
    let name = adopted::adopted_slot_name(&other, TokenId(2202));
    assert_eq!(name, observed.reference.name, "whoever wants the token wants this name");
    assert_ne!(adopted::adopted_slot_name(&belonging(), TokenId(2203)), name);
    let another = Belonging { account_id: AccountId(7), ..belonging() };
    assert_ne!(adopted::adopted_slot_name(&another, TokenId(2202)), name, "ids are unique in an account only");
}

#[test]
fn a_claim_that_is_not_whole_is_no_slot() {
    let refused = |labels: &[(&str, &str)], annotations: &[(&str, &str)], why: &str| {
        let malformed = observe(&seen(claim(), labels, annotations)).expect_err(why);
        assert!(malformed.why.contains(why), "{why}: {malformed}");
    };
    refused(&[], &[(names::TOKEN_ID, "2203")], "its labels are those of adopted-");
    refused(&[], &[(names::ADOPTED_FROM_SECRET, "")], "adopted-from-secret is missing");
    refused(&[], &[(names::TOKEN_ID, ""), (names::TOKEN_UID, ""), (names::GRANTED, "")], "it claims a token and holds none");
    refused(&[(names::ADOPTED, "")], &[], "its labels are those of slot-");
}

#[test]
fn what_is_no_slot_takes_part_in_nothing() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Pairs, Pairs, &str); 12] = [
        (&[(names::SLOT, "")], &[], "its labels are those of"),
        (&[(names::SERIAL, "8")], &[], "its labels are those of"),
        (&[(names::OWNER_UID, "other")], &[], "its labels are those of"),
        (&[(names::RETAINED, "true")], &[], "its labels are those of record-"),
        (&[(names::SERIAL, "-8")], &[], "serial is no number from 1 on"),
        (&[(names::SERIAL, "x")], &[], "serial is no number from 1 on"),
        (&[(names::OWNER_UID, "")], &[], "owner-uid is missing"),
        (&[(names::INSTALLATION, "")], &[], "installation is missing"),
        (&[], &[(names::ACCOUNT_ID, "0")], "account-id is no number from 1 on"),
        (&[], &[(names::OWNER_NAME, "")], "owner-name is missing"),
        (&[], &FILLED[..2], "granted is missing"),
        (&[], &[(names::TOKEN_ID, "x"), FILLED[1], FILLED[2]], "token-id is no number"),
    ];
    for (labels, annotations, why) in cases {
        let malformed = observe(&seen(empty(), labels, annotations)).expect_err(why);
        assert!(malformed.why.contains(why), "{why}: {malformed}");
    }
}

#[test]
fn the_body_of_a_fill_holds_the_string_and_does_not_show_it() {
    let metadata = on(&observed(&[], &[]).reference, json!({"annotations": {names::TOKEN_ID: "2202"}}));
    let filling = Filling { metadata, string_data: Data { token: "canary" }, immutable: true };
    assert!(!format!("{filling:?} {:?}", Patch::Merge(&filling)).contains("canary"));
    let expected = json!({
        "metadata": {"uid": "slot-uid", "resourceVersion": "41", "annotations": {names::TOKEN_ID: "2202"}},
        "stringData": {"token": "canary"},
        "immutable": true,
    });
    assert_eq!(serde_json::to_value(&filling).expect("JSON"), expected);
}
