//! The rules over one file that need no more than a look at its words.

use super::Violation;
use super::source::{Source, is_identifier};

/// A file that is longer does more than one job.
const MOST_LINES: usize = 400;

/// Where tests may sleep: the helper that waits for a condition with a limit.
const WAITING_HELPER: &str = "support/wait.rs";

/// Who may open a `TokenString`.
const MAY_EXPOSE: [&str; 4] = ["src/cluster/slot", "src/cluster/target", "src/cluster/render", "src/backend/dbt"];

/// Each file opens with its one job and what it must never do.
pub(super) fn header(source: &Source) -> Vec<Violation> {
    if source.text.starts_with("//!") {
        return Vec::new();
    }
    vec![source.violation(
        1,
        "header",
        "the file does not open with `//!`; say there what its one job is and what it must never do",
    )]
}

/// A file has a bounded length, its tests left out.
pub(super) fn size(source: &Source) -> Vec<Violation> {
    let lines = source.lines_before_tests;
    if source.is_test() || lines <= MOST_LINES {
        return Vec::new();
    }
    vec![source.violation(
        MOST_LINES + 1,
        "size",
        format!("{lines} lines without tests, {MOST_LINES} are allowed; move one of its jobs to a file of its own"),
    )]
}

/// Nothing is left for later.
pub(super) fn unfinished(source: &Source) -> Vec<Violation> {
    let message = "unfinished code; write it, or leave the feature out altogether";
    every(source, &["todo!", "unimplemented!"], "unfinished", message)
}

/// A test that does not run proves nothing.
pub(super) fn ignored(source: &Source) -> Vec<Violation> {
    let message = "a test that is never run; make it quick and reliable, or remove it";
    every(source, &["#[ignore", ".with_ignored_flag("], "ignored", message)
}

/// Tests wait for a condition with a limit, and never for time to pass.
pub(super) fn sleep(source: &Source) -> Vec<Violation> {
    let in_test_folder = source.path.split('/').any(|part| part == "tests");
    if !in_test_folder || source.path.ends_with(WAITING_HELPER) {
        return Vec::new();
    }
    let message = format!("a test sleeps; wait for a condition with the helper in {WAITING_HELPER}");
    every(source, &["sleep(", "sleep_until("], "sleep", &message)
}

/// A token string is opened in few places. Unit tests may look into one: they are not shipped.
pub(super) fn exposure(source: &Source) -> Vec<Violation> {
    let is_shell = source.path.starts_with("src/");
    if !is_shell || MAY_EXPOSE.iter().any(|prefix| source.is_within(prefix)) {
        return Vec::new();
    }
    let opened = [".expose", "::expose"].into_iter().flat_map(|word| {
        source.find(word).filter(move |offset| {
            let after = source.code[offset + word.len()..].chars().next();
            !after.is_some_and(is_identifier)
        })
    });
    opened
        .map(|offset| source.line_of(offset))
        .filter(|&line| !source.is_test_line(line))
        .map(|line| {
            let message = "a token string is opened here; only cluster/{slot,target,render}.rs and \
                 backend/dbt may, so pass the TokenString on to them";
            source.violation(line, "exposure", message)
        })
        .collect()
}

fn every(source: &Source, words: &[&str], rule: &'static str, message: &str) -> Vec<Violation> {
    words
        .iter()
        .flat_map(|word| source.find(word))
        .map(|offset| source.violation(source.line_of(offset), rule, message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Source) -> Vec<Violation>, path: &str, text: &str, expected: &[usize]) {
        let lines: Vec<_> = rule(&Source::new(path, text)).iter().map(|violation| violation.line).collect();
        assert_eq!(lines, expected, "{path}: {text}");
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        check(header, "src/a.rs", "//! Its job.\n", &[]);
        check(header, "src/a.rs", "// Its job.\n", &[1]);
        check(header, "src/a.rs", "\n//! Its job.\n", &[1]);
        check(header, "src/a.rs", "", &[1]);
    }

    #[test]
    fn a_long_file_is_found_without_counting_its_tests() {
        let full = "a;\n".repeat(400);
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"b;\n".repeat(400);
        check(size, "src/a.rs", &full, &[]);
        check(size, "src/a.rs", &(full.clone() + &tests), &[]);
        check(size, "src/a.rs", &(full.clone() + "b;\n"), &[401]);
        check(size, "crates/x/src/a.rs", &(full.clone() + "b;\n" + &tests), &[401]);
        check(size, "tests/it/a.rs", &(full + "b;\n"), &[]);
    }

    #[test]
    fn unfinished_code_is_found() {
        check(unfinished, "src/a.rs", "fn a() { todo!() }", &[1]);
        check(unfinished, "tests/a.rs", "\nunimplemented!(\"x\")", &[2]);
        check(unfinished, "src/a.rs", "// todo!\nlet a = \"todo!\"; not_todo!()", &[]);
    }

    #[test]
    fn an_ignored_test_is_found() {
        check(ignored, "src/a.rs", "#[test]\n#[ignore]\nfn a() {}", &[2]);
        check(ignored, "src/a.rs", "#[ignore = \"slow\"]", &[1]);
        check(ignored, "tests/it/a.rs", "Trial::test(a).with_ignored_flag(true)", &[1]);
        check(ignored, "src/a.rs", "// #[ignore]\nlet ignored = 1;", &[]);
    }

    #[test]
    fn a_sleeping_test_is_found() {
        check(sleep, "tests/it/a.rs", "\nthread::sleep(x);", &[2]);
        check(sleep, "crates/planner/tests/model.rs", "time::sleep(x).await", &[1]);
        check(sleep, "tests/it/a.rs", "sleep_until(x).await", &[1]);
        check(sleep, "tests/it/support/wait.rs", "sleep(x)", &[]);
        check(sleep, "src/controller/retry.rs", "sleep(x).await", &[]);
        check(sleep, "tests/it/a.rs", "// sleep(x)\nasleep(x)", &[]);
    }

    #[test]
    fn opening_a_token_string_elsewhere_is_found() {
        check(exposure, "src/controller/execute.rs", "\ntoken.expose()", &[2]);
        check(exposure, "src/account/mod.rs", "token\n    .expose()", &[2]);
        check(exposure, "src/account/mod.rs", "map(TokenString::expose)", &[1]);
        check(exposure, "src/token.rs", "pub fn expose(&self) -> &str { &self.0 }", &[]);
        check(exposure, "src/token.rs", "fn a() { self.expose() }", &[1]);
        let test = "#[cfg(test)]\nmod tests {\n    fn a() { token.expose(); }\n}\n";
        check(exposure, "src/token.rs", test, &[]);
        check(exposure, "src/token.rs", &format!("b.expose();\n{test}"), &[1]);
        check(exposure, "src/cluster/slot.rs", "token.expose()", &[]);
        check(exposure, "src/cluster/status.rs", "token.expose()", &[1]);
        check(exposure, "src/backend/dbt/http.rs", "token.expose()", &[]);
        check(exposure, "src/backend/mod.rs", "token.expose()", &[1]);
        check(exposure, "src/cli/run.rs", "a.exposed(); // .expose()", &[]);
    }
}
