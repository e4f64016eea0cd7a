//! Every direct dependency has a row with its reason in `docs/dependencies.md`, and no row is left over.

use std::collections::BTreeSet;

use super::Violation;

/// The document with the reasons.
pub(super) const REASONS: &str = "docs/dependencies.md";

/// The manifests of the workspace and of the Go modules.
pub(super) const MANIFESTS: [&str; 6] = [
    "Cargo.toml",
    "crates/planner/Cargo.toml",
    "crates/emulator/Cargo.toml",
    "crates/simulation/Cargo.toml",
    "xtask/Cargo.toml",
    "fuzz/Cargo.toml",
];
pub(super) const GO_MODULES: [&str; 2] = ["tests/control-plane/go.mod", "tests/helm/go.mod"];

/// Checks the reasons against manifests and Go modules, each given as its text.
pub(super) fn check(reasons: &str, manifests: &[String], go_modules: &[String]) -> Vec<Violation> {
    let crates: BTreeSet<_> = manifests.iter().flat_map(|text| crates(text)).collect();
    let tools: BTreeSet<_> = go_modules.iter().flat_map(|text| tools(text)).collect();
    let rows: Vec<_> = reasons.lines().enumerate().filter_map(|(index, line)| Some((index + 1, row(line)?))).collect();
    let explains = |name: &str, row: &str| name == row || name.starts_with(&format!("{row}/"));
    let unexplained = crates
        .iter()
        .chain(&tools)
        .filter(|name| !rows.iter().any(|(_, row)| explains(name, row)))
        .map(|name| violation(1, format!("`{name}` has no row; give the reason for it in one line")));
    let left_over = rows
        .iter()
        // A Go module that is gone takes its tests with it, which nobody overlooks; a crate is one line among many.
        .filter(|(_, row)| !row.contains('/') && !crates.contains(*row))
        .map(|(line, row)| violation(*line, format!("nothing depends on `{row}` any more; remove its row")));
    unexplained.chain(left_over).collect()
}

fn violation(line: usize, message: String) -> Violation {
    Violation { path: REASONS.to_owned(), line, rule: "dependencies", message }
}

/// The name in the first cell of a row of a table.
fn row(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)
}

/// What the sections of dependencies of a manifest name.
fn crates(manifest: &str) -> Vec<String> {
    let mut is_dependencies = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            // `[workspace.dependencies]` is only a list of versions to choose from.
            is_dependencies = section.ends_with("dependencies") && section != "workspace.dependencies";
        } else if is_dependencies && !line.starts_with('#') {
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            names.extend((!name.is_empty()).then_some(name));
        }
    }
    names
}

/// The packages that the `tool` directives of a Go module name.
fn tools(go_mod: &str) -> Vec<String> {
    let mut is_block = false;
    let mut names = Vec::new();
    for line in go_mod.lines().map(str::trim) {
        match line {
            "tool (" => is_block = true,
            ")" => is_block = false,
            _ if is_block => names.push(line.to_owned()),
            _ => names.extend(line.strip_prefix("tool ").map(str::to_owned)),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_dependency_without_a_row_and_a_row_without_a_dependency_are_found() {
        let manifest = "[workspace.dependencies]\nunused = \"1\"\n[dependencies]\n# why\naa.workspace = true\n\
                        [dev-dependencies]\nb-b = { version = \"1\" }\n[lints]\nworkspace = true\n";
        let go =
            "module x\n\ngo 1.26.0\n\ntool (\n\tm.io/a/v3\n\tm.io/k/cmd/x\n)\n\ntool m.io/h/cmd/h\n\nrequire (\n\tm.io/z v1\n)\n";
        let check = |reasons: &str, expected: &[(usize, &str)]| {
            let found = super::check(reasons, &[manifest.to_owned()], &[go.to_owned()]);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (violation, (line, name)) in found.iter().zip(expected) {
                assert!(violation.line == *line && violation.message.contains(&format!("`{name}`")), "{violation}");
            }
        };
        let full = "# D\n| `aa` | x | y |\n| `b-b` | x | y |\n| `m.io/a/v3` | |\n| `m.io/k` | |\n| `m.io/h` | |\n";
        check(full, &[]);
        check(&full.replace("| `aa`", "| `a`"), &[(1, "aa"), (2, "a")]);
        check(&full.replace("| `m.io/k`", "| `m.io/kk`"), &[(1, "m.io/k/cmd/x")]);
    }
}
