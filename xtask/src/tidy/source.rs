//! A Rust file as the rules see it: its text, and its code with comments and literals blanked out,
//! so that no rule fires on what is only talked about.

use super::Violation;

/// One Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// Seen from the repository's root, with `/` between its parts.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// The same lines, with a blank for every character of a comment or literal.
    pub(super) code: String,
    /// The number of lines before the module of unit tests, or of all lines.
    pub(super) lines_before_tests: usize,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = code_only(text);
        Self { path: path.to_owned(), text: text.to_owned(), lines_before_tests: lines_before_tests(&code), code }
    }

    /// Whether the file is the module at `prefix` (`src/server`) or a part of it.
    pub(super) fn is_within(&self, prefix: &str) -> bool {
        self.path.strip_prefix(prefix).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    /// Whether all of the file is test code: it lies in a `tests` folder, or is named `tests.rs`.
    pub(super) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The line, counted from 1, of an offset into `code`.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        1 + self.code[..offset].matches('\n').count()
    }

    /// Whether a line, counted from 1, is part of the unit tests.
    pub(super) fn is_test_line(&self, line: usize) -> bool {
        self.is_test() || line > self.lines_before_tests
    }

    /// The offsets at which `word` stands in the code, not as the end of a longer word.
    pub(super) fn find<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).filter_map(|(offset, _)| {
            let before = self.code[..offset].chars().next_back();
            let is_longer = word.starts_with(is_identifier) && before.is_some_and(is_identifier);
            (!is_longer).then_some(offset)
        })
    }

    pub(super) fn violation(&self, line: usize, rule: &'static str, message: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, rule, message: message.into() }
    }
}

pub(super) fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Looks for the attribute directly above an inline module; above a single import or a module in
/// another file it does not end the file's own code.
fn lines_before_tests(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let is_start = |index: &usize| {
        lines[*index] == "#[cfg(test)]"
            && lines[index + 1..]
                .iter()
                .find(|line| !line.is_empty() && !line.starts_with("#["))
                .is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    (0..lines.len()).find(is_start).unwrap_or(lines.len())
}

/// Blanks out comments, strings and characters, keeping every line where it is.
fn code_only(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut index = 0;
    while index < characters.len() {
        match end_of_opaque(&characters, index) {
            Some(end) => {
                let end = end.min(characters.len());
                code.extend(characters[index..end].iter().map(|&character| if character == '\n' { '\n' } else { ' ' }));
                index = end;
            }
            None => {
                code.push(characters[index]);
                index += 1;
            }
        }
    }
    code
}

/// Where the comment or literal that begins at `start` ends, if one does.
fn end_of_opaque(characters: &[char], start: usize) -> Option<usize> {
    let rest = &characters[start..];
    match rest {
        ['/', '/', ..] => Some(start + position(rest, |window| window[0] == '\n')),
        ['/', '*', ..] => Some(start + end_of_block_comment(rest)),
        ['"', ..] => Some(start + end_of_string(rest)),
        ['\'', '\\', ..] => {
            // The character after the backslash may itself be a quote.
            Some(start + 3 + position(rest.get(3..)?, |window| window[0] == '\'') + 1)
        }
        ['\'', _, '\'', ..] => Some(start + 3),
        ['r', ..] if begins_word(characters, start) => {
            let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
            if rest.get(1 + hashes) != Some(&'"') {
                return None;
            }
            let body = &rest[2 + hashes..];
            let closes = |window: &[char]| window[0] == '"' && window[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
            Some(start + 2 + hashes + position(body, closes) + 1 + hashes)
        }
        _ => None,
    }
}

/// Whether a raw string may begin here: after no word, or after the `b` or `c` of its kind.
fn begins_word(characters: &[char], index: usize) -> bool {
    match characters[..index] {
        [.., before, 'b' | 'c'] => !is_identifier(before),
        ['b' | 'c'] | [] => true,
        [.., before] => !is_identifier(before),
    }
}

/// The first position whose remainder satisfies `condition`, or the end.
fn position(characters: &[char], condition: impl Fn(&[char]) -> bool) -> usize {
    (0..characters.len()).find(|&index| condition(&characters[index..])).unwrap_or(characters.len())
}

fn end_of_string(characters: &[char]) -> usize {
    let mut index = 1;
    while index < characters.len() {
        match characters[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    index
}

fn end_of_block_comment(characters: &[char]) -> usize {
    let mut depth = 0;
    let mut index = 0;
    while index < characters.len() {
        match characters[index..] {
            ['/', '*', ..] => {
                depth += 1;
                index += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays() {
        let check = |text: &str, expected: &str| {
            let squeezed: Vec<_> = code_only(text).split_whitespace().map(str::to_owned).collect();
            assert_eq!(squeezed.join(" "), expected, "{text}");
            assert_eq!(code_only(text).chars().count(), text.chars().count());
        };
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("a \" b", c)"#, "f( , c)");
        check("f(r#\"a \" b\"#, c)", "f( , c)");
        check("f(br##\"a \"# b\"##, c)", "f(b , c)");
        check("r#type.each::<'a>('b', '\\'', '\\u{1F}', '\"')", "r#type.each::<'a>( , , , )");
        check("for r in bar { \"x\" }", "for r in bar { }");
        check("never closed \"x", "never closed");
    }

    #[test]
    fn the_unit_tests_begin_at_their_inline_module() {
        let check = |text, expected| {
            assert_eq!(Source::new("a.rs", text).lines_before_tests, expected, "{text}");
        };
        check("a\nb\n", 2);
        check("a\n#[cfg(test)]\nmod tests {\n}\n", 1);
        check("a\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\n", 1);
        check("#[cfg(test)]\nuse a;\nb\n", 3);
        check("#[cfg(test)]\nmod tests;\nb\n", 3);
        check("// #[cfg(test)]\nmod tests {\n", 2);
    }

    #[test]
    fn a_file_is_within_its_module_and_no_other() {
        let check = |path, prefix, expected| {
            assert_eq!(Source::new(path, "").is_within(prefix), expected, "{path}");
        };
        check("src/server.rs", "src/server", true);
        check("src/server/routes.rs", "src/server", true);
        check("src/servers.rs", "src/server", false);
        check("src/cli/server.rs", "src/server", false);
    }
}
