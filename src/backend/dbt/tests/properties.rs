//! What holds of any answer, address and string at all.

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use serde_json::{Map, Value, json};

use crate::backend::dbt::fuzzing;

/// The seed is fixed, so that a red run can be repeated.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(20_261_124), failure_persistence: None, ..ProptestConfig::default() }
}

/// What may stand in the place of anything.
fn odd() -> impl Strategy<Value = Value> {
    let number = select(vec![
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
        json!(70_403_103_922_125_i64),
    ]);
    let text = prop_oneof![
        2 => "\\PC{0,8}".prop_map(Value::from),
        1 => "[\\x00-\\x1f\u{202e}\u{200d}]{1,3}".prop_map(Value::from),
        1 => (500_usize..1100).prop_map(|length| json!("é".repeat(length))),
        1 => select(vec!["dbtc_SECRET7secretsecretsecretsecretsecretsecretsecre7", "Forbidden: Access denied", "account is locked", "2025-10-01 08:15:30+00:00"])
            .prop_map(Value::from),
    ];
    let leaf = prop_oneof![1 => Just(Value::Null), 1 => any::<bool>().prop_map(Value::from), 3 => number, 4 => text];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let keys = select(vec!["id", "reason", "name", "message", "account_access_denied"]).prop_map(str::to_owned);
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            vec((keys, inner), 0..3).prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// An object of dbt's in which now and then something else stands, or nothing.
fn nearly(object: &Value) -> impl Strategy<Value = Value> + use<> {
    let fields = object.as_object().cloned().unwrap_or_default().into_iter();
    let fields: Vec<_> = fields
        .map(|(name, value)| {
            let value = prop_oneof![24 => Just(Some(value)), 2 => odd().prop_map(Some), 1 => Just(None)];
            value.prop_map(move |value| Some((name.clone(), value?)))
        })
        .collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
}

fn token() -> impl Strategy<Value = Value> {
    // What reaches messages and comparisons is odd more often than the rest.
    let word = |valid: &'static str| {
        let odd = prop_oneof!["\\PC{0,9}", "[a-z\\x00-\\x1f\u{202e}]{1,9}", "[a-z]{60,70}", "dbtc_[a-zA-Z]{50}"];
        prop_oneof![6 => Just(valid.to_owned()), 1 => odd]
    };
    let grant = nearly(&json!({"project_id": 7}));
    let grant = (grant, word("developer"), word("staging")).prop_map(|(mut grant, set, category)| {
        grant["permission_set"] = json!(set);
        grant["writable_environment_categories"] = json!([category]);
        grant
    });
    let token = nearly(&json!({
        "id": 17, "account_id": 70_403_103_922_125_i64, "state": 1, "last_used": null,
        "name": "finance/dagster [dbt-token-operator here uid-1 5]", "created_at": "2025-10-01 08:15:30.123456+00:00",
        "semantic_layer_credentials": null, "token_string": format!("dbtc_k0PqL-2{}", "x".repeat(43)),
    }));
    (token, vec(grant, 0..3), word("k0PqL-2"), word("finance")).prop_map(|(mut token, grants, uid, name)| {
        token["permission_grants"] = json!(grants);
        token["uid"] = json!(uid);
        if name != "finance" {
            token["name"] = json!(name);
        }
        token
    })
}

fn data() -> impl Strategy<Value = Value> {
    let account = nearly(&json!({"id": 70_403_103_922_125_i64, "name": "Example", "plan": "enterprise", "locked": true,
        "lock_reason": "unpaid", "lock_cause": null}));
    let project = nearly(&json!({"id": 7, "account_id": null, "name": "Finance", "state": 1}));
    let environment =
        nearly(&json!({"id": 9, "project_id": 7, "type": "deployment", "deployment_type": "production", "state": 1}));
    let credential = nearly(&json!({"id": 51, "project_id": 7, "state": 1, "service_tokens": [{"id": 17}]}));
    let graphql = nearly(&json!({"environment": {"dbtProjectName": "finance"}, "environmentInfo": {"dialect": "X"}}));
    let one = prop_oneof![4 => token(), 1 => account.boxed(), 1 => project.boxed(), 1 => environment.boxed(),
        1 => credential.boxed()]
    .boxed();
    prop_oneof![3 => one.clone(), 3 => vec(one, 0..4).prop_map(Value::Array), 1 => graphql, 1 => odd()]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let status = nearly(&json!({"code": 400, "is_success": false, "user_message": "The request was invalid.",
        "developer_message": null}));
    let errors = vec(nearly(&json!({"message": "User is not authorized"})), 0..3);
    let extra = prop_oneof![
        3 => Just(json!({"pagination": {"count": 1, "total_count": 1}})),
        1 => odd().prop_map(|total| json!({"pagination": {"total_count": total}})),
        1 => odd(),
    ];
    let whole = (data(), status, extra, prop_oneof![3 => Just(None), 1 => errors.prop_map(Some)]).prop_map(
        |(data, status, extra, errors)| {
            let mut envelope = json!({"data": data, "status": status, "extra": extra});
            errors.into_iter().for_each(|errors| envelope["errors"] = json!(errors));
            envelope
        },
    );
    let text = prop_oneof![9 => whole, 1 => odd()].prop_map(|value| value.to_string().into_bytes());
    let damage = prop_oneof![
        6 => Just(Damage::None),
        1 => any::<Index>().prop_map(Damage::CutOff),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(place, byte)| Damage::Byte(place, byte)),
    ];
    (text, damage).prop_map(|(text, damage)| damage.done_to(text))
}

/// What happens to a body on its way.
#[derive(Clone, Debug)]
enum Damage {
    None,
    CutOff(Index),
    Byte(Index, u8),
}

impl Damage {
    fn done_to(self, mut text: Vec<u8>) -> Vec<u8> {
        match self {
            _ if text.is_empty() => {}
            Self::None => {}
            Self::CutOff(place) => text.truncate(place.index(text.len())),
            Self::Byte(place, byte) => {
                let place = place.index(text.len());
                text[place] = byte;
            }
        }
        text
    }
}

/// Shown as text where it is one.
struct Shown(Vec<u8>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

fn judged() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        4 => select(vec![400_u16, 401, 403, 404, 408, 409, 429, 302, 307, 500, 502, 503]),
        1 => 100_u16..1000,
    ];
    let header = prop_oneof![
        2 => Just(String::new()),
        1 => "[0-9]{1,25}",
        1 => "https://[a-z.]{1,9}/[a-z]{0,4}",
        1 => "Tue, 24 Nov 20[0-9]{2} 08:02:00 GMT",
        1 => "\\PC{0,20}",
    ];
    let body = prop_oneof![6 => body(), 1 => Just(b"<html>502</html>".to_vec()), 1 => Just(Vec::new())];
    (status, header, body).prop_map(|(status, header, body)| {
        let header = header.into_bytes();
        let length = u8::try_from(header.len()).expect("a short header");
        let [first, second] = (status - 100).to_be_bytes();
        [vec![first, second, length], header, body].concat()
    })
}

fn pages() -> impl Strategy<Value = Vec<u8>> {
    let page = (prop_oneof![1 => Just(1_u8), 2 => 2_u8..20], vec(1_u8..16, 0..8));
    let page = page.prop_map(|(announced, ids)| [vec![announced], ids].concat());
    vec(page, 1..6).prop_map(|pages| pages.join(&0))
}

fn address() -> impl Strategy<Value = String> {
    let scheme = select(vec!["https://", "https://", "HTTPS://", "http://", "Http://", "ftp://", "//", ""]);
    let host = prop_oneof![
        3 => select(vec!["ab123.us1.dbt.com", "cloud.getdbt.com", "localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]",
            "127.0.0.1.attacker.example", "us1.dbt.com.attacker.example", "10.0.0.1"]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9.%_~!$&'()*+,;=\\[\\]:@-]{0,12}",
    ];
    let user = prop_oneof![9 => "", 1 => "[a-z:%]{0,4}@"];
    let port = prop_oneof![3 => "", 2 => ":[0-9]{1,5}", 1 => ":[0-9a-z]{0,7}"];
    let path = prop_oneof![3 => "", 1 => "/", 2 => "/[a-z/%]{0,6}", 1 => "[?#/\\\\@ ][a-z]{0,3}"];
    (scheme, user, host, port, path).prop_map(|(scheme, user, host, port, path)| format!("{scheme}{user}{host}{port}{path}"))
}

fn held() -> impl Strategy<Value = String> {
    let today = "dbtc_[a-zA-Z0-9_-]{7}[a-zA-Z0-9_-]{43}";
    let piece = prop_oneof![
        3 => today,
        1 => today.prop_map(|string| string.replace('_', "%5F").replace('-', "%2d")),
        1 => "dbtc_[a-zA-Z0-9_-]{0,60}",
        1 => "dbtc%5f[a-z0-9%]{0,9}",
        2 => "[ \n:/@\"%{}=&]{0,3}",
        1 => "[0-9a-f]{20,40}",
        1 => "\\PC{0,6}",
    ];
    let uid = prop_oneof![1 => "\0[a-z0-9]{0,8}", 2 => ""];
    (vec(piece, 0..4), uid).prop_map(|(pieces, uid)| pieces.concat() + &uid)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_answer_is_believed_that_cannot_be_shown(input in prop_oneof![1 => bytes(), 6 => body()].prop_map(Shown)) {
        fuzzing::answer(&input.0);
    }

    #[test]
    fn every_answer_has_a_class_and_a_short_reason(input in prop_oneof![1 => bytes(), 6 => judged()].prop_map(Shown)) {
        fuzzing::judgement(&input.0);
    }

    #[test]
    fn a_list_is_whole_or_there_is_none(input in prop_oneof![1 => bytes(), 3 => pages()]) {
        fuzzing::list(&input);
    }

    #[test]
    fn a_credential_goes_where_it_was_said_and_nowhere_else(input in prop_oneof![1 => "\\PC{0,40}", 6 => address()]) {
        fuzzing::address(input.as_bytes());
    }

    #[test]
    fn a_string_is_found_whole_or_not_at_all(input in prop_oneof![1 => "\\PC{0,40}", 6 => held()]) {
        fuzzing::held(input.as_bytes());
    }
}
