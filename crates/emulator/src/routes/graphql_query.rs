//! Just enough of the GraphQL language to read what real clients send: operations, fields with
//! aliases and arguments, fragments, variables. Types are skipped, not checked.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How deep selections may nest; real queries stay far below.
const MAX_DEPTH: usize = 32;

/// A selected field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) alias: String,
    pub(crate) name: String,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) selections: Vec<Field>,
}

#[derive(Clone, Debug)]
enum Selection {
    Field { alias: String, name: String, arguments: Map<String, Value>, selections: Vec<Selection> },
    Spread(String),
    Inline(Vec<Selection>),
}

/// Reads the first operation of `text`, with variables and fragments put in their places.
pub(crate) fn parse(text: &str, variables: &Value) -> Result<Vec<Field>, String> {
    let mut parser = Parser { tokens: tokenize(text)?, position: 0, variables };
    let mut operation = None;
    let mut fragments = HashMap::new();
    while let Some(token) = parser.peek() {
        match token {
            "{" => {
                let selections = parser.selections(0)?;
                operation.get_or_insert(selections);
            }
            "query" | "mutation" => {
                parser.skip_to_selections()?;
                let selections = parser.selections(0)?;
                operation.get_or_insert(selections);
            }
            "fragment" => {
                parser.next()?;
                let name = parser.next()?.to_owned();
                parser.skip_to_selections()?;
                fragments.insert(name, parser.selections(0)?);
            }
            other => return Err(format!("Syntax Error: Unexpected \"{other}\".")),
        }
    }
    let operation = operation.ok_or("Syntax Error: Unexpected <EOF>.")?;
    flatten(&operation, &fragments, 0)
}

/// Puts fragments in the place of their spreads.
fn flatten(selections: &[Selection], fragments: &HashMap<String, Vec<Selection>>, depth: usize) -> Result<Vec<Field>, String> {
    if depth > MAX_DEPTH {
        return Err("The query nests too deep.".to_owned());
    }
    let mut fields = Vec::new();
    for selection in selections {
        match selection {
            Selection::Field { alias, name, arguments, selections } => fields.push(Field {
                alias: alias.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
                selections: flatten(selections, fragments, depth + 1)?,
            }),
            Selection::Inline(inner) => fields.extend(flatten(inner, fragments, depth + 1)?),
            Selection::Spread(name) => {
                let inner = fragments.get(name).ok_or(format!("Unknown fragment \"{name}\"."))?;
                fields.extend(flatten(inner, fragments, depth + 1)?);
            }
        }
    }
    Ok(fields)
}

struct Parser<'a> {
    tokens: Vec<String>,
    position: usize,
    variables: &'a Value,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.position).map(String::as_str)
    }

    fn next(&mut self) -> Result<String, String> {
        let token = self.tokens.get(self.position).ok_or("Syntax Error: Unexpected <EOF>.")?;
        self.position += 1;
        Ok(token.clone())
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let token = self.next()?;
        if token == wanted { Ok(()) } else { Err(format!("Syntax Error: Expected \"{wanted}\", found \"{token}\".")) }
    }

    /// Passes over an operation's name, variable definitions and directives.
    fn skip_to_selections(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                None => return Err("Syntax Error: Unexpected <EOF>.".to_owned()),
                Some("{") if depth == 0 => return Ok(()),
                Some("(" | "[" | "{") => depth += 1,
                Some(")" | "]" | "}") => depth = depth.saturating_sub(1),
                Some(_) => {}
            }
            self.position += 1;
        }
    }

    fn selections(&mut self, depth: usize) -> Result<Vec<Selection>, String> {
        if depth > MAX_DEPTH {
            return Err("The query nests too deep.".to_owned());
        }
        self.expect("{")?;
        let mut selections = Vec::new();
        while !self.take("}") {
            if self.take("...") {
                selections.push(self.spread(depth)?);
            } else {
                selections.push(self.field(depth)?);
            }
        }
        Ok(selections)
    }

    fn spread(&mut self, depth: usize) -> Result<Selection, String> {
        if self.take("on") {
            self.next()?;
        } else if self.peek() != Some("{") {
            return Ok(Selection::Spread(self.next()?));
        }
        Ok(Selection::Inline(self.selections(depth + 1)?))
    }

    fn field(&mut self, depth: usize) -> Result<Selection, String> {
        let mut name = self.name()?;
        let alias = name.clone();
        if self.take(":") {
            name = self.name()?;
        }
        let mut arguments = Map::new();
        if self.take("(") {
            while !self.take(")") {
                let argument = self.name()?;
                self.expect(":")?;
                arguments.insert(argument, self.value(0)?);
            }
        }
        let nested = self.peek() == Some("{");
        let selections = if nested { self.selections(depth + 1)? } else { Vec::new() };
        Ok(Selection::Field { alias, name, arguments, selections })
    }

    fn name(&mut self) -> Result<String, String> {
        let token = self.next()?;
        let is_name = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if is_name { Ok(token) } else { Err(format!("Syntax Error: Expected Name, found \"{token}\".")) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("The query nests too deep.".to_owned());
        }
        let token = self.next()?;
        Ok(match token.as_str() {
            "$" => {
                let name = self.name()?;
                self.variables.get(&name).cloned().unwrap_or(Value::Null)
            }
            "[" => {
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.value(depth + 1)?);
                }
                Value::Array(items)
            }
            "{" => {
                let mut fields = Map::new();
                while !self.take("}") {
                    let name = self.name()?;
                    self.expect(":")?;
                    fields.insert(name, self.value(depth + 1)?);
                }
                Value::Object(fields)
            }
            // Numbers, strings, booleans and null are JSON; what is not is the name of an enum.
            other => serde_json::from_str(other).unwrap_or_else(|_| Value::String(other.to_owned())),
        })
    }
}

fn tokenize(text: &str) -> Result<Vec<String>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if c.is_whitespace() || c == ',' => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '#' => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
            '"' => string_length(rest)?,
            '.' if rest.starts_with("...") => 3,
            c if c.is_ascii_alphanumeric() || c == '_' || c == '-' => {
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-.+".contains(c))).unwrap_or(rest.len())
            }
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '$' | '!' | '=' | '@' | '|' | '&' => 1,
            other => return Err(format!("Syntax Error: Unexpected character \"{other}\".")),
        };
        tokens.push(rest[..length].to_owned());
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn string_length(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Ok(position + 1),
            _ => escaped = false,
        }
    }
    Err("Syntax Error: Unterminated string.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde_json::json;

    #[test]
    fn variables_aliases_and_fragments_are_resolved() {
        let text = "query q($e: BigInt! = 1, $m: [In!]!) { a: metrics(environmentId: $e, n: [1, x]) \
                    { ...f ... on M { label } } } fragment f on Metric { name # comment\n }";
        let fields = parse(text, &json!({ "e": 7 })).expect("parses");
        assert_eq!(fields.len(), 1);
        assert_eq!((fields[0].alias.as_str(), fields[0].name.as_str()), ("a", "metrics"));
        assert_eq!(fields[0].arguments["environmentId"], json!(7));
        assert_eq!(fields[0].arguments["n"], json!([1, "x"]));
        let names: Vec<&str> = fields[0].selections.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["name", "label"]);
    }

    #[test]
    fn nonsense_is_a_syntax_error() {
        for text in ["", "{", "query {", "{ a(", "nonsense", "{ ...nowhere }", "{ \"x\" }"] {
            assert!(parse(text, &json!({})).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cycle_of_fragments_ends() {
        assert!(parse("{ ...a } fragment a on X { ...a }", &json!({})).is_err());
    }
}
