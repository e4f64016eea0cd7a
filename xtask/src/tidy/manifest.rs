//! The planner stays pure because it has nothing to be impure with: its manifest may name jiff as a
//! dependency, and nothing else.

use super::Violation;

/// The one dependency.
const ALLOWED: &str = "jiff";

/// Checks the planner's manifest. Development dependencies are free: tests are not shipped.
pub(super) fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let dependency = if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').trim();
            named_by_header(section)
        } else {
            named_by_entry(section, line)
        };
        if let Some(dependency) = dependency.filter(|&name| name != ALLOWED) {
            violations.push(Violation {
                path: path.to_owned(),
                line: index + 1,
                rule: "pure-planner",
                message: format!(
                    "the planner may depend on {ALLOWED} and std alone, not on {dependency}; do \
                     the work in the shell and pass its result in"
                ),
            });
        }
    }
    violations
}

/// `[dependencies.serde]` names a dependency in its header.
fn named_by_header(section: &str) -> Option<&str> {
    let (table, name) = section.rsplit_once('.')?;
    is_restricted(table).then(|| name.trim_matches('"'))
}

/// `serde = "1"` and `serde.workspace = true` name one in a restricted section.
fn named_by_entry<'a>(section: &str, line: &'a str) -> Option<&'a str> {
    if !is_restricted(section) || line.is_empty() || line.starts_with('#') {
        return None;
    }
    let key = line.split('=').next()?.trim();
    // A continued line of a longer value has no key.
    let name = key.split('.').next()?.trim_matches('"');
    (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))).then_some(name)
}

fn is_restricted(section: &str) -> bool {
    let last = section.rsplit('.').next().unwrap_or(section);
    last == "dependencies" || last == "build-dependencies"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jiff_may_be_named() {
        let check = |text: &str, expected: &[usize]| {
            let lines: Vec<_> = check("Cargo.toml", text).iter().map(|violation| violation.line).collect();
            assert_eq!(lines, expected, "{text}");
        };
        check("[dependencies]\njiff.workspace = true\n", &[]);
        check("[dependencies]\n# why\njiff = { version = \"0.2\" }\n", &[]);
        check("[dev-dependencies]\nproptest.workspace = true\n", &[]);
        check("[dev-dependencies.proptest]\nversion = \"1\"\n", &[]);
        check("[dependencies]\njiff = \"0.2\"\nserde = \"1\"\n", &[3]);
        check("[dependencies]\ntokio.workspace = true\n", &[2]);
        check("[dependencies.serde]\nversion = \"1\"\n", &[1]);
        check("[build-dependencies]\ncc = \"1\"\n", &[2]);
        check("[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n", &[2]);
        check("[target.'cfg(unix)'.dependencies.libc]\nversion = \"1\"\n", &[1]);
        check("[package]\nname = \"x\"\n[lints]\nworkspace = true\n", &[]);
    }
}
