//! dbt's JSON: the only serde structs for it. Unknown fields are ignored, known ones may be null where dbt was seen or may
//! be expected to send null. Judges nothing beyond shape; `convert.rs` does.
//!
//! Sources: OpenAPI v3 and captured answers (`dbt-cloud-api.md`, section 2; `tests/contract`).

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

/// Items of one list. With the hundred that are asked for at once it is a thousand pages, an order of magnitude above any
/// account heard of.
pub(super) const ITEM_LIMIT: usize = 100_000;
/// Rows of one token's permissions: every set on some hundreds of projects.
pub(super) const GRANT_LIMIT: usize = 10_000;
/// Kinds of environments in one of them; dbt has five.
const CATEGORY_LIMIT: usize = 64;

/// A list of so many items at most. Reading ends as soon as there is one more, since a short text can stand for far more
/// memory than it takes itself.
pub(super) struct AtMost<const LIMIT: usize, T>(pub(super) Vec<T>);

/// The items of a list, as far as one answer holds them.
pub(super) type Page<T> = AtMost<ITEM_LIMIT, T>;

impl<'de, const LIMIT: usize, T: Deserialize<'de>> Deserialize<'de> for AtMost<LIMIT, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting<const LIMIT: usize, T>(PhantomData<T>);

        impl<'de, const LIMIT: usize, T: Deserialize<'de>> Visitor<'de> for Counting<LIMIT, T> {
            type Value = AtMost<LIMIT, T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of {LIMIT} items at most")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    if items.len() == LIMIT {
                        return Err(A::Error::custom("too many items"));
                    }
                    items.push(item);
                }
                Ok(AtMost(items))
            }
        }

        deserializer.deserialize_seq(Counting(PhantomData))
    }
}

/// Whether something is there: anything but null and an empty list. What it is was never seen, so it is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence(pub(super) bool);

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Looking;

        impl<'de> Visitor<'de> for Looking {
            type Value = Presence;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Presence, E> {
                Ok(Presence(false))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Presence, E> {
                Ok(Presence(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Presence, E> {
                Ok(Presence(true))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Presence, E> {
                Ok(Presence(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Presence, E> {
                Ok(Presence(true))
            }

            fn visit_str<E>(self, _: &str) -> Result<Presence, E> {
                Ok(Presence(true))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Presence, A::Error> {
                let mut is_there = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    is_there = true;
                }
                Ok(Presence(is_there))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Presence, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Presence(true))
            }
        }

        deserializer.deserialize_any(Looking)
    }
}

/// The envelope of nearly every answer of the Admin API.
#[derive(Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) data: Option<T>,
    pub(super) extra: Option<Extra>,
}

/// An answer that is not a success. `data` may be null, `{}` or an object with details `[OBS]`.
#[derive(Deserialize)]
pub(super) struct ErrorEnvelope {
    pub(super) status: Option<Status>,
    #[serde(default)]
    pub(super) data: Value,
}

/// The envelope's own status.
#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) user_message: Option<String>,
}

/// Comes with lists only.
#[derive(Deserialize)]
pub(super) struct Extra {
    pub(super) pagination: Option<Pagination>,
}

/// `count` is the page's size and of no use; `total_count` is the whole.
#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) total_count: Option<u64>,
}

/// A token in a list or a single read: never with its string `[OBS]`.
#[derive(Deserialize)]
pub(super) struct WireToken {
    pub(super) id: i64,
    pub(super) account_id: Option<i64>,
    pub(super) uid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) state: Option<i64>,
    pub(super) permission_grants: Option<WireGrants>,
    pub(super) created_at: Option<String>,
    pub(super) last_used: Option<String>,
    /// Null in every answer that was seen `[OBS]`, so its form is unknown.
    #[serde(default)]
    pub(super) semantic_layer_credentials: Presence,
}

/// A token's permissions as dbt reports them.
pub(super) type WireGrants = AtMost<GRANT_LIMIT, WireGrant>;

/// One row of a token's permissions as dbt reports it.
#[derive(Deserialize)]
pub(super) struct WireGrant {
    pub(super) permission_set: String,
    /// Null or absent: every project.
    pub(super) project_id: Option<i64>,
    pub(super) writable_environment_categories: Option<AtMost<CATEGORY_LIMIT, String>>,
}

/// The answer to a create call, as far as it is needed. The field `token` is not read at all: OpenAPI calls it hashed, but
/// it was seen to be the plain tail of the string `[OBS]`.
#[derive(Deserialize)]
pub(super) struct WireCreated {
    pub(super) id: Option<i64>,
    pub(super) account_id: Option<i64>,
    pub(super) uid: Option<String>,
    pub(super) permission_grants: Option<WireGrants>,
    pub(super) token_string: Option<WipedString>,
}

/// A project of the list.
#[derive(Deserialize)]
pub(super) struct WireProject {
    pub(super) id: i64,
    pub(super) account_id: Option<i64>,
    pub(super) name: Option<String>,
    pub(super) state: Option<i64>,
}

/// An environment of the list.
#[derive(Deserialize)]
pub(super) struct WireEnvironment {
    pub(super) id: i64,
    pub(super) account_id: Option<i64>,
    pub(super) project_id: Option<i64>,
    /// `deployment` or `development`.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// `production`, `staging` or null.
    pub(super) deployment_type: Option<String>,
    pub(super) state: Option<i64>,
}

/// A Semantic Layer credential of the list `[DOC]`.
#[derive(Deserialize)]
pub(super) struct WireCredential {
    pub(super) id: i64,
    pub(super) account_id: Option<i64>,
    pub(super) project_id: Option<i64>,
    pub(super) state: Option<i64>,
    pub(super) service_tokens: Option<Vec<WireLinkedToken>>,
}

/// A token that a credential is linked to.
#[derive(Deserialize)]
pub(super) struct WireLinkedToken {
    pub(super) id: i64,
}

/// A link, as it is made `[TF]`.
#[derive(Serialize)]
pub(super) struct WireMapping {
    /// dbt gives it one.
    pub(super) id: Option<i64>,
    pub(super) account_id: i64,
    pub(super) project_id: i64,
    pub(super) semantic_layer_credentials_id: i64,
    pub(super) service_token_id: i64,
    pub(super) state: i64,
}

/// The account. `plan` is an open list.
#[derive(Deserialize)]
pub(super) struct WireAccount {
    pub(super) id: i64,
    pub(super) name: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) locked: Option<bool>,
    pub(super) lock_reason: Option<String>,
    pub(super) lock_cause: Option<String>,
}

/// An answer of one of the GraphQL hosts.
#[derive(Deserialize)]
pub(super) struct GraphqlAnswer {
    #[serde(default)]
    pub(super) data: Value,
    pub(super) errors: Option<Vec<GraphqlError>>,
}

/// One error of such an answer.
#[derive(Deserialize)]
pub(super) struct GraphqlError {
    pub(super) message: Option<String>,
}

/// A question to one of the GraphQL hosts.
#[derive(Serialize)]
pub(super) struct GraphqlRequest {
    pub(super) query: &'static str,
    pub(super) variables: GraphqlVariables,
}

/// The only variable that any probe needs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GraphqlVariables {
    pub(super) environment_id: i64,
}

/// The documented body of a create call: name and permissions in one.
#[derive(Serialize)]
pub(super) struct CreateRequest<'a> {
    pub(super) name: &'a str,
    pub(super) permission_grants: Vec<RequestedGrant<'a>>,
}

/// A token's new name; the only thing of it that dbt lets change `[DOC]`.
#[derive(Serialize)]
pub(super) struct RenameRequest<'a> {
    pub(super) name: &'a str,
}

/// A row to be granted. Two variants instead of an optional project: to dbt a missing project means *every* project, so no
/// mistake must be able to lose it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum RequestedGrant<'a> {
    /// On one project.
    OnProject {
        permission_set: &'a str,
        project_id: i64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        writable_environment_categories: Vec<&'a str>,
    },
    /// On every project, which is said by leaving the project out.
    Everywhere {
        permission_set: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        writable_environment_categories: Vec<&'a str>,
    },
}

/// A row of the older second call. Here `all_projects` says it as well, and the two must agree.
#[derive(Serialize)]
pub(super) struct OlderPermission<'a> {
    pub(super) account_id: i64,
    pub(super) service_token_id: i64,
    pub(super) all_projects: bool,
    #[serde(flatten)]
    pub(super) grant: RequestedGrant<'a>,
}

/// A string that is wiped when dropped, read without a copy that is not. If the sender escapes a character (which no
/// token needs), the parser's own scratch buffer holds a copy that is freed, not wiped.
pub(super) struct WipedString(pub(super) Zeroizing<String>);

impl<'de> Deserialize<'de> for WipedString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wiping;

        impl Visitor<'_> for Wiping {
            type Value = WipedString;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WipedString, E> {
                Ok(WipedString(Zeroizing::new(text.to_owned())))
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<WipedString, E> {
                Ok(WipedString(Zeroizing::new(text)))
            }

            // serde's own message would repeat the bytes.
            fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<WipedString, E> {
                Err(E::custom("bytes in place of a string"))
            }
        }

        deserializer.deserialize_str(Wiping).map_err(|_| D::Error::custom("no string"))
    }
}

/// A body that is not the JSON that was expected. Deliberately without serde's message, which repeats values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    line: usize,
    column: usize,
}

impl Unreadable {
    fn at(body: &[u8], place: usize) -> Self {
        let before = &body[..place];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the answer is not the expected JSON (line {}, column {})", self.line, self.column)
    }
}

/// Reads a body. All of it has to be UTF-8, which the parser would not check in fields that are skipped: an answer that is
/// broken in one place is not believed in another.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|error| Unreadable::at(body, error.valid_up_to()))?;
    serde_json::from_str(text).map_err(|error| Unreadable { line: error.line(), column: error.column() })
}

/// Reads a time as dbt writes it: `2025-10-01 08:15:30.123456+00:00` for tokens, projects and groups, with a `T` for some
/// other objects `[OBS]`; with or without fraction, with `Z`, and without any offset, which is taken for UTC `[ASSUMED]`.
pub(super) fn read_time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().or_else(|| {
        let time: DateTime = text.parse().ok()?;
        time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let expected = Some("2025-10-01T08:15:30Z".parse().expect("valid"));
        for text in [
            "2025-10-01 08:15:30+00:00",
            "2025-10-01 08:15:30.000000+00:00",
            "2025-10-01T08:15:30.000000+00:00",
            "2025-10-01T08:15:30Z",
            "2025-10-01 08:15:30Z",
            "2025-10-01T08:15:30.0Z",
            "2025-10-01 10:15:30+02:00",
            "2025-10-01 08:15:30",
            "2025-10-01T08:15:30",
        ] {
            assert_eq!(read_time(text), expected, "{text}");
        }
        let fraction: Timestamp = "2025-10-01T08:15:30.123456Z".parse().expect("valid");
        assert_eq!(read_time("2025-10-01 08:15:30.123456+00:00"), Some(fraction));
        for text in ["", "yesterday", "2025-13-01 00:00:00+00:00", "1759306530"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn the_project_is_left_out_for_all_projects_alone() {
        let body = CreateRequest {
            name: "n",
            permission_grants: vec![
                RequestedGrant::OnProject {
                    permission_set: "developer",
                    project_id: 7,
                    writable_environment_categories: vec!["all"],
                },
                RequestedGrant::OnProject { permission_set: "job_admin", project_id: 8, writable_environment_categories: vec![] },
                RequestedGrant::Everywhere { permission_set: "metadata_only", writable_environment_categories: vec![] },
            ],
        };
        let text = serde_json::to_string(&body).expect("plain data");
        assert_eq!(
            text,
            r#"{"name":"n","permission_grants":[{"permission_set":"developer","project_id":7,"writable_environment_categories":["all"]},{"permission_set":"job_admin","project_id":8},{"permission_set":"metadata_only"}]}"#
        );
    }

    #[test]
    fn the_older_form_says_it_twice() {
        let row = OlderPermission {
            account_id: 1,
            service_token_id: 2,
            all_projects: true,
            grant: RequestedGrant::Everywhere { permission_set: "job_admin", writable_environment_categories: vec![] },
        };
        let text = serde_json::to_string(&row).expect("plain data");
        assert_eq!(text, r#"{"account_id":1,"service_token_id":2,"all_projects":true,"permission_set":"job_admin"}"#);
    }

    #[test]
    fn what_cannot_be_read_is_never_repeated() {
        for body in [
            r#"{"data":{"id":"dbtc_SECRET","token_string":1}}"#,
            r#"{"data":{"token_string":["dbtc_SECRET"]}}"#,
            r#"{"data":{"token_string":"dbtc_SECRET"#,
            r#"{"data":"dbtc_SECRET"}"#,
        ] {
            let Err(error) = read::<Envelope<WireCreated>>(body.as_bytes()) else { panic!("accepted: {body}") };
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_body_that_is_not_utf8_is_not_read() {
        let result = read::<Envelope<WireCreated>>(b"{\n\"new\":\"\xff\",\"data\":{}}");
        assert_eq!(result.err(), Some(Unreadable { line: 2, column: 8 }));
    }

    #[test]
    fn the_string_is_read_whether_escaped_or_not() {
        for body in [r#"{"data":{"token_string":"dbtc_x"}}"#, r#"{"data":{"token_string":"dbtc\u005fx"}}"#] {
            let created: Envelope<WireCreated> = read(body.as_bytes()).expect("valid");
            let string = created.data.and_then(|data| data.token_string).expect("there");
            assert_eq!(string.0.as_str(), "dbtc_x");
        }
    }

    #[test]
    fn unknown_fields_and_nulls_are_no_trouble() {
        let body = r#"{"status":{"code":200},"data":[{"id":9007199254740993,"uid":null,"name":null,"state":null,"permission_grants":null,"new":{"a":[1]}}],"extra":null}"#;
        let list: Envelope<Page<WireToken>> = read(body.as_bytes()).expect("valid");
        assert_eq!(list.data.expect("there").0[0].id, 9_007_199_254_740_993);
    }

    #[test]
    fn a_list_that_is_too_long_is_not_read_to_its_end() {
        let of = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(read::<AtMost<3, i64>>(of(3).as_bytes()).map(|list| list.0).ok(), Some(vec![1; 3]));
        // The rest would not even be JSON.
        let long = of(4).replace(']', ",nonsense");
        assert_eq!(read::<AtMost<3, i64>>(long.as_bytes()).err(), Some(Unreadable { line: 1, column: 9 }));
        let grants = vec![r#"{"permission_set":"x"}"#; GRANT_LIMIT + 1].join(",");
        assert!(read::<WireGrants>(format!("[{grants}]").as_bytes()).is_err());
    }

    #[test]
    fn a_grant_without_its_set_is_not_read() {
        for grant in [r#"{"project_id":1}"#, r#"{"permission_set":null}"#, r#"{"permission_set":["x"]}"#] {
            let token = format!(r#"{{"data":{{"id":1,"permission_grants":[{grant}]}}}}"#);
            assert!(read::<Envelope<WireToken>>(token.as_bytes()).is_err(), "{grant}");
        }
    }

    /// What would overflow a stack, or a number, ends the reading and nothing else.
    #[test]
    fn depth_and_size_of_numbers_have_an_end() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for field in ["new", "semantic_layer_credentials"] {
            let token = format!(r#"{{"data":{{"id":1,"{field}":{}}}}}"#, deep(100_000));
            assert!(read::<Envelope<WireToken>>(token.as_bytes()).is_ok(), "{field}");
        }
        for depth in [200, 100_000] {
            assert!(read::<ErrorEnvelope>(format!(r#"{{"data":{}}}"#, deep(depth)).as_bytes()).is_err(), "{depth}");
        }
        for number in ["1e400", "99999999999999999999", "-99999999999999999999", "1.5", "1e2", "\"1\""] {
            assert!(read::<Envelope<WireToken>>(format!(r#"{{"data":{{"id":{number}}}}}"#).as_bytes()).is_err(), "{number}");
        }
        for total in ["-1", "1e400", "18446744073709551616"] {
            let body = format!(r#"{{"data":[],"extra":{{"pagination":{{"total_count":{total}}}}}}}"#);
            assert!(read::<Envelope<Page<WireToken>>>(body.as_bytes()).is_err(), "{total}");
        }
    }
}
