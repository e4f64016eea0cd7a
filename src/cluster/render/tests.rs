//! What templates become.

use super::*;

/// With every kind of character that a URI or JSON text must not take literally.
const STRING: &str = "dbtc_aB-9._~/+=:@?#%&\"\\ é";

fn variables() -> Variables {
    Variables {
        account_id: AccountId(70_403_103_922_125),
        access_url: "https://ab123.us1.dbt.com".to_owned(),
        discovery_url: Some("https://ab123.metadata.us1.dbt.com/graphql".to_owned()),
        semantic_layer_url: Some("https://ab123.semantic-layer.us1.dbt.com:8443/api/graphql?x=1".to_owned()),
    }
}

fn template(data: &[(&str, &str)]) -> Template {
    Template {
        kind: DEFAULT_TYPE.to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        data: data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect(),
    }
}

fn try_render(data: &[(&str, &str)], variables: &Variables, string: &str) -> Result<RenderedSecret, RenderError> {
    let uid = TokenUid::new("aB-9._~");
    let token = TokenIdentity { id: TokenId(2202), uid: &uid };
    render(&template(data), variables, token, &TokenString::new(string.to_owned()))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let rendered = try_render(&[("key", text)], &variables(), STRING).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (_, bytes) = rendered.entries().next().expect("one key");
    assert_eq!(std::str::from_utf8(bytes).expect("text"), expected, "{text}");
}

#[test]
fn templates_become_what_their_readers_expect() {
    check("{{ token }}", STRING);
    check("{{ token }}\n", &format!("{STRING}\n"));
    check("218762", "218762");
    check(
        "dbt-cloud://{{ accountId }}:{{ token | uri_component }}@{{ accessUrl | host }}",
        "dbt-cloud://70403103922125:dbtc_aB-9._~%2F%2B%3D%3A%40%3F%23%25%26%22%5C%20%C3%A9@ab123.us1.dbt.com",
    );
    check("{{ discoveryUrl | host }}", "ab123.metadata.us1.dbt.com");
    check("{{ semanticLayerUrl | host }}", "ab123.semantic-layer.us1.dbt.com:8443");
    check("{{ semanticLayerUrl }}", "https://ab123.semantic-layer.us1.dbt.com:8443/api/graphql?x=1");
    check("{{ tokenId }}/{{ tokenUid }}", "2202/aB-9._~");
    check("{{ accountId | tojson }}", "70403103922125");
}

#[test]
fn json_reads_back_as_the_token() {
    let text = r#"{"token": {{ token | tojson }}, "account": {{ accountId }}}"#;
    let rendered = try_render(&[("key", text)], &variables(), STRING).unwrap_or_else(|error| panic!("{error}"));
    let (_, bytes) = rendered.entries().next().expect("one key");
    let read: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(read, serde_json::json!({"token": STRING, "account": 70_403_103_922_125_i64}));
}

#[test]
fn a_template_that_cannot_be_rendered_is_named_by_its_key_and_never_quotes_a_value() {
    let bare = Variables { discovery_url: None, semantic_layer_url: None, ..variables() };
    for (text, variables, why) in [
        ("{{ discoveryUrl }}", &bare, "discoveryUrl is not known"),
        ("{{ semanticLayerUrl | host }}", &bare, "semanticLayerUrl is not known"),
        ("{{ semanticLayerUrl | uri_component }}", &bare, "semanticLayerUrl is not known"),
        ("{{ discoveryUrl | tojson }}", &bare, "discoveryUrl is not known"),
        ("{{ tokn }}", &bare, "no variable tokn"),
        ("{{ token * 99999999 }}", &bare, "is not a variable with filters"),
        ("{% for x in token %}{% endfor %}", &bare, "none here"),
        ("{{ token | host }}", &bare, "takes a variable that holds a URL"),
    ] {
        let error = try_render(&[("a", "1"), ("b", text)], variables, STRING).err().expect(text);
        assert_eq!(error.key, "b", "{text}");
        assert!(error.why.contains(why), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains("dbtc_"), "{text}: {error}");
    }
}

#[test]
fn what_becomes_too_large_is_refused() {
    let large = "x".repeat(LARGEST_VALUE_BYTES);
    assert!(try_render(&[("key", "{{ token }}")], &variables(), &large).is_ok());
    let error = try_render(&[("key", "{{ token }}!")], &variables(), &large).err().expect("too large");
    assert!(error.why.contains("larger than 65536 bytes"), "{error}");
    // Escaped twice, every quote becomes four characters.
    let quotes = "\"".repeat(20 * 1024);
    let error = try_render(&[("key", "{{ token | tojson | tojson }}")], &variables(), &quotes).err().expect("too large");
    assert!(error.why.contains("larger than 65536 bytes"), "{error}");

    let names: Vec<String> = (10..32).map(|number| format!("key{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "{{ token }}")).collect();
    let error = try_render(&many, &variables(), &large).err().expect("too large together");
    assert!(error.why.contains("the Secret becomes larger"), "{error}");
}

#[test]
fn only_our_own_keys_are_compared() {
    let render = |data: &[(&str, &str)]| try_render(data, &variables(), STRING).unwrap_or_else(|error| panic!("{error}"));
    let ours = render(&[("a", "{{ token }}")]);
    assert!(ours.stands_in(&render(&[("a", "{{ token }}")])));
    assert!(ours.stands_in(&render(&[("a", "{{ token }}"), ("b", "theirs")])));
    assert!(!ours.stands_in(&render(&[("a", "{{ token }}\n")])));
    assert!(!ours.stands_in(&render(&[("b", "{{ token }}")])));
}

#[test]
fn the_rule_is_stable_and_changes_with_everything_that_decides_the_look() {
    let base = template(&[("token", "{{ token }}")]);
    let one = |key: &str| BTreeMap::from([(key.to_owned(), "x".to_owned())]);
    // Pinned: another value here means that every target of every cluster is written anew on upgrade.
    assert_eq!(rule(&base, &variables()).as_str(), "cd8bf51a768a1c2dd7262f7938d72b98");
    let looks = [
        (base.clone(), variables()),
        (template(&[("token", "{{ token }}\n")]), variables()),
        (template(&[("TOKEN", "{{ token }}")]), variables()),
        (Template { kind: "x/y".to_owned(), ..base.clone() }, variables()),
        (Template { labels: one("k"), ..base.clone() }, variables()),
        (Template { annotations: one("k"), ..base.clone() }, variables()),
        (base.clone(), Variables { account_id: AccountId(1), ..variables() }),
        (base.clone(), Variables { access_url: String::new(), ..variables() }),
        (base.clone(), Variables { discovery_url: None, ..variables() }),
        (base, Variables { semantic_layer_url: None, ..variables() }),
    ];
    let rules: std::collections::BTreeSet<_> = looks.iter().map(|(template, variables)| rule(template, variables)).collect();
    assert_eq!(rules.len(), looks.len());
}
