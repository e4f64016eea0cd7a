//! Templates of Secrets: which expressions there are, and whether a template is one of them. Rendering with a real token
//! is not done here (`cluster/render.rs` does it, with [`environment`]); no value of a token is ever seen here.
//!
//! A template is less than the template language could do: constant text, and `{{ variable | filter | ... }}` with the
//! variables and filters of the API. Loops and arithmetic are refused, since whoever may create a ServiceToken could
//! otherwise keep the operator busy, or fill its memory, with one line such as `{{ token * 9999999999 }}`.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, context};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// The variables of a template, in the order in which messages name them.
pub const VARIABLES: [&str; 7] = ["token", "accountId", "accessUrl", "discoveryUrl", "semanticLayerUrl", "tokenId", "tokenUid"];

/// The filters of a template.
pub const FILTERS: [&str; 3] = ["host", "uri_component", "tojson"];

/// Filters of one expression. `tojson` doubles every backslash, so that thirty of them would fill any memory.
pub const MOST_FILTERS: usize = 4;

/// What one key may hold: far more than any connection string, far less than what a Secret takes.
pub const LARGEST_VALUE_BYTES: usize = 64 * 1024;

/// How much of an expression a refusal repeats.
const LONGEST_QUOTATION: usize = 60;

/// What RFC 3986 calls unreserved stays; everything else is percent-encoded, so that a token may stand anywhere in a URI.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong with it.
    pub why: String,
    /// What to write instead.
    pub remedy: String,
}

/// The environment in which templates are checked and rendered: the three filters, no globals, no tests, no escaping, a
/// last line break stays, and an unknown variable is an error.
///
/// Its errors never contain a value.
pub fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the standard delimiters are valid"));
    environment.add_filter("host", host);
    environment.add_filter("uri_component", uri_component);
    environment.add_filter("tojson", to_json);
    environment
}

/// Checks one template, and tells whether it uses the variable `token`.
///
/// # Errors
/// [`Unusable`] if it is not constant text with `{{ variable | filter }}` in it, if a variable or a filter is unknown,
/// or if a filter does not fit its variable (`host` of something that is no URL).
pub fn check(template: &str) -> Result<bool, Unusable> {
    let (mut uses_token, mut has_filters) = (false, false);
    for expression in expressions(template)? {
        let mut words = expression.split('|').map(str::trim);
        let variable = words.next().unwrap_or_default();
        if !VARIABLES.contains(&variable) {
            return Err(unknown("variable", variable, &VARIABLES));
        }
        let filters: Vec<&str> = words.collect();
        if filters.len() > MOST_FILTERS {
            return Err(Unusable {
                why: format!("an expression has {} filters", filters.len()),
                remedy: format!("write at most {MOST_FILTERS}; no consumer needs more"),
            });
        }
        for filter in filters {
            has_filters = true;
            if !FILTERS.contains(&filter) {
                return Err(unknown("filter", filter, &FILTERS));
            }
        }
        uses_token |= variable == "token";
    }
    if has_filters {
        render_placeholder(template)?;
    }
    Ok(uses_token)
}

/// The insides of all `{{ }}`.
fn expressions(template: &str) -> Result<Vec<&str>, Unusable> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(start) = ["{{", "{%", "{#"].iter().filter_map(|mark| rest.find(mark)).min() {
        if !rest[start..].starts_with("{{") {
            return Err(Unusable {
                why: "{% and {# begin a block or a comment, and there are none here".to_owned(),
                remedy: "write plain text and {{ variable | filter }} only".to_owned(),
            });
        }
        let (inside, behind) = rest[start + 2..]
            .split_once("}}")
            .ok_or_else(|| Unusable { why: "a {{ has no }}".to_owned(), remedy: "close it, as in {{ token }}".to_owned() })?;
        // A sign next to the braces takes the white space outside of them away.
        let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
        let inside = inside.strip_suffix(['-', '+']).unwrap_or(inside);
        if !inside.split('|').all(|word| is_word(word.trim())) {
            return Err(Unusable {
                why: format!("{{{{{}}}}} is not a variable with filters", quoted(inside)),
                remedy: "write a variable, then each filter after a |, as in {{ token | uri_component }}".to_owned(),
            });
        }
        found.push(inside);
        rest = behind;
    }
    Ok(found)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// An expression as a message may repeat it.
fn quoted(text: &str) -> String {
    let shown = text.chars().take(LONGEST_QUOTATION).flat_map(char::escape_debug).collect::<String>();
    if text.chars().count() > LONGEST_QUOTATION { shown + "..." } else { shown }
}

fn unknown(kind: &str, name: &str, known: &[&str]) -> Unusable {
    Unusable { why: format!("there is no {kind} {}", quoted(name)), remedy: format!("use one of {}", known.join(", ")) }
}

/// What is left is whether the filters fit their variables; the surest way to know is to try.
fn render_placeholder(template: &str) -> Result<(), Unusable> {
    let values = context! {
        token => "placeholder",
        accountId => 1,
        accessUrl => "https://ab123.us1.dbt.com",
        discoveryUrl => "https://ab123.metadata.us1.dbt.com/graphql",
        semanticLayerUrl => "https://ab123.semantic-layer.us1.dbt.com/api/graphql",
        tokenId => 1,
        tokenUid => "placehl",
    };
    render(&environment(), template, &values).map(|_| ()).map_err(|error| Unusable {
        why: match error.kind() {
            ErrorKind::WriteFailure => format!("it becomes larger than {LARGEST_VALUE_BYTES} bytes"),
            _ => error.detail().unwrap_or("it cannot be rendered").to_owned(),
        },
        remedy: "see the variables and filters in the description of the field".to_owned(),
    })
}

/// Renders a template that was checked, and stops as soon as it becomes too large.
///
/// # Errors
/// What the engine says; `WriteFailure` if it becomes larger than [`LARGEST_VALUE_BYTES`].
pub fn render(environment: &Environment<'_>, template: &str, values: &Value) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bounded = Bounded(Zeroizing::new(Vec::with_capacity(template.len().min(LARGEST_VALUE_BYTES))));
    environment.template_from_str(template)?.render_captured_to(values, &mut bounded)?;
    Ok(bounded.0)
}

/// What was rendered so far.
struct Bounded(Zeroizing<Vec<u8>>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.len() + bytes.len();
        if length > LARGEST_VALUE_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        // A `Vec` that grows by itself frees its old memory without wiping it.
        if length > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two()));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The host of a URL, with its port if it has one: what tools want that put `https://` before it themselves.
fn host(value: &Value) -> Result<String, Error> {
    let host = value
        .as_str()
        .and_then(|url| url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")))
        .map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default())
        .filter(|host| !host.is_empty());
    host.map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the filter host takes a variable that holds a URL"))
}

fn uri_component(value: &Value) -> Result<String, Error> {
    Ok(utf8_percent_encode(&defined(value)?.to_string(), RESERVED).to_string())
}

fn to_json(value: &Value) -> Result<Value, Error> {
    minijinja::filters::tojson(defined(value)?, None, Kwargs::from_iter([] as [(&str, Value); 0]))
}

/// The engine hands a variable without a value to a filter as if it were an empty text.
fn defined(value: &Value) -> Result<&Value, Error> {
    if value.is_undefined() { Err(ErrorKind::UndefinedError.into()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refuses(template: &str, why: &str) {
        let refusal = check(template).expect_err(template);
        assert!(refusal.why.contains(why), "{template}: {refusal:?}");
    }

    #[test]
    fn templates_of_the_known_consumers_are_accepted() {
        for (template, uses_token) in [
            ("{{ token }}", true),
            ("{{token}}\n", true),
            ("{{- token -}}", true),
            ("218762", false),
            ("{{ semanticLayerUrl | host }}", false),
            ("dbt-cloud://{{ accountId }}:{{ token | uri_component }}@{{ accessUrl | host }}", true),
            (r#"{"token": {{ token | tojson }}, "id": {{ accountId }}}"#, true),
            ("{{ accessUrl | host | uri_component }}", false),
            ("}} and { and }", false),
        ] {
            assert_eq!(check(template), Ok(uses_token), "{template}");
        }
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        refuses("{{ tokn }}", "no variable tokn");
        refuses("{{ true }}", "no variable true");
        refuses("{{ token | b64encode }}", "no filter b64encode");
        refuses("{{ token | host | nothing }}", "no filter nothing");
    }

    #[test]
    fn nothing_that_could_keep_the_operator_busy_is_accepted() {
        refuses("{% for letter in token %}{{ token }}{% endfor %}", "{%");
        refuses("{# a comment #}{{ token }}", "{#");
        for expression in [
            "token * 9999999999",
            "[token]",
            "token.upper()",
            "token[0]",
            "\"}}\"",
            "",
            "token | ",
            "1",
            "token ~ token",
            "tojson(1)",
        ] {
            refuses(&format!("{{{{ {expression} }}}}"), "is not a variable");
        }
        refuses("{{{ token }}", "is not a variable");
        refuses("{{ token", "has no }}");
    }

    /// Each `tojson` doubles the backslashes of what it is given.
    #[test]
    fn filters_cannot_pile_up() {
        let piled = |count: usize| format!("{{{{ token{} }}}}", " | tojson".repeat(count));
        assert_eq!(check(&piled(MOST_FILTERS)), Ok(true));
        refuses(&piled(MOST_FILTERS + 1), "an expression has 5 filters");
        refuses(&"{{ discoveryUrl | uri_component }}".repeat(1500), "it becomes larger than 65536 bytes");
    }

    #[test]
    fn a_refusal_repeats_little_and_nothing_that_moves_a_cursor() {
        let refusal = check(&format!("{{{{ a\u{1b}[2J{} }}}}", "x".repeat(5000))).expect_err("no variable");
        assert!(refusal.why.starts_with("{{ a\\u{1b}[2Jxxx"), "{}", refusal.why);
        assert!(refusal.why.len() < 120, "{}", refusal.why);
    }

    #[test]
    fn a_filter_must_fit_its_variable() {
        refuses("{{ token | host }}", "takes a variable that holds a URL");
        refuses("{{ accountId | host }}", "takes a variable that holds a URL");
    }

    #[test]
    fn rendering_keeps_constants_and_encodes_what_it_is_told_to() {
        let render = |template: &str, token: &str| {
            environment().render_str(template, context! { token, accessUrl => "https://localhost:8443/" }).expect("renders")
        };
        assert_eq!(render("<{{ token }}>\n", "a&b"), "<a&b>\n");
        assert_eq!(render("{{ token | uri_component }}", "aZ9-._~ /:@%é"), "aZ9-._~%20%2F%3A%40%25%C3%A9");
        assert_eq!(render("{{ accessUrl | host }}", ""), "localhost:8443");
        assert_eq!(render("{{ token | tojson }}", "a\"b"), r#""a\"b""#);
    }

    #[test]
    fn errors_of_the_environment_never_contain_a_value() {
        let error = environment().render_str("{{ token | host }}", context! { token => "canary" }).expect_err("no URL");
        assert!(!format!("{error:?} {error:#}").contains("canary"));
    }
}
