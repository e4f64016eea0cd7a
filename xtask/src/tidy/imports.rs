//! Who may use whom in the shell: the arrows of the architecture as a table.
//!
//! Every mention of another top-level module counts, be it in a `use` or in the middle of a line,
//! since `crate::x::f()` binds as tightly as an import does.

use std::collections::BTreeSet;

use super::Violation;
use super::source::{Source, is_identifier};

/// A top-level module of `src/`, and the other ones that it may name. Whom a module may use, it may
/// also see through: the rows are closed under the arrows, except that `main` names `cli` alone.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("lib", &[]),
    ("main", &["cli"]),
    (
        "cli",
        &[
            "controller",
            "server",
            "api",
            "telemetry",
            "account",
            "backend",
            "cluster",
            "metrics",
            "health",
            "clock",
            "pace",
            "token",
        ],
    ),
    ("controller", &["account", "backend", "cluster", "api", "metrics", "health", "clock", "pace", "token"]),
    ("account", &["backend", "cluster", "api", "metrics", "clock", "pace", "token"]),
    ("backend", &["token"]),
    ("cluster", &["api", "token"]),
    ("server", &["metrics", "health"]),
    ("api", &[]),
    ("health", &[]),
    ("metrics", &[]),
    ("telemetry", &[]),
    ("clock", &[]),
    ("pace", &[]),
    ("token", &[]),
];

/// Crates that may be named in some places only, each group with the places and the reason.
const OUTSIDE: [(&[&str], &[&str], &str); 4] = [
    (
        &["dbt_token_planner"],
        &["src/cli", "src/controller", "src/account", "src/api", "src/backend", "src/cluster"],
        "the planner's vocabulary is for those who observe and act",
    ),
    (
        &["kube", "k8s_openapi", "kube_lease_manager"],
        &["src/api", "src/cluster", "src/controller"],
        "Kubernetes types stay in api, cluster and controller",
    ),
    (
        &["http", "http_body_util", "hyper", "hyper_rustls", "hyper_util", "axum"],
        &["src/backend/dbt", "src/server"],
        "HTTP stays in backend/dbt and server",
    ),
    (&["rustix"], &["src/cli"], "what the process asks of the kernel about itself is asked once, at its start"),
];

/// Checks one file of `src/`; any other file is free.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let Some(own) = top_level(&source.path) else {
        return Vec::new();
    };
    let Some((_, allowed)) = MAY_USE.iter().find(|(module, _)| *module == own) else {
        return vec![source.violation(
            1,
            "imports",
            format!(
                "module `{own}` is not in the table of who may use whom; give it a row in \
                 xtask/src/tidy/imports.rs, and in the architecture"
            ),
        )];
    };
    let mut violations: Vec<_> = mentioned(source)
        .into_iter()
        .filter(|(_, module)| *module != own && !allowed.contains(&module.as_str()))
        .filter(|(_, module)| MAY_USE.iter().any(|(known, _)| known == module))
        .map(|(line, module)| {
            let allowed = match allowed {
                [] => "no other module".to_owned(),
                names => names.join(", "),
            };
            let message = format!(
                "`{own}` may not use `{module}`, only {allowed}; pass the value in from a caller \
                 that may, or move the code to where it belongs"
            );
            source.violation(line, "imports", message)
        })
        .collect();
    violations.extend(outside(source));
    violations
}

/// The module of `src/` that a file belongs to.
fn top_level(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let first = rest.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// Every top-level module that is named, with its line.
fn mentioned(source: &Source) -> BTreeSet<(usize, String)> {
    let roots = ["crate::", "dbt_token_operator::"];
    let absolute = roots.into_iter().flat_map(|root| {
        source.find(root).filter(|&offset| begins_path(&source.code, offset)).map(move |offset| offset + root.len())
    });
    absolute
        .chain(ends_of_supers(source))
        .flat_map(|offset| {
            let line = source.line_of(offset);
            first_names(&source.code[offset..]).into_iter().map(move |name| (line, name))
        })
        .collect()
}

/// Where each chain of `super::` ends that is long enough to reach the root. Chains in unit tests
/// start one module deeper, and are left alone.
fn ends_of_supers(source: &Source) -> impl Iterator<Item = usize> + '_ {
    const WORD: &str = "super::";
    let depth = module_depth(&source.path);
    source.find(WORD).filter_map(move |offset| {
        let is_start = begins_path(&source.code, offset);
        let rest = &source.code[offset..];
        let end = rest.find(|c: char| !is_identifier(c) && c != ':').unwrap_or(rest.len());
        let mut length = 0;
        while rest[length..end].starts_with(WORD) {
            length += WORD.len();
        }
        let reaches_root = length / WORD.len() == depth;
        let is_test = source.is_test_line(source.line_of(offset));
        (is_start && reaches_root && !is_test).then_some(offset + length)
    })
}

/// How many modules a file lies below the crate: 1 for `src/a.rs` and `src/a/mod.rs`.
fn module_depth(path: &str) -> usize {
    let parts = path.split('/').count() - 1;
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// Whether a path begins here, rather than going on from `a::`.
fn begins_path(code: &str, offset: usize) -> bool {
    match code[..offset].strip_suffix("::") {
        Some(before) => !before.ends_with(|c| is_identifier(c) || c == '>'),
        None => true,
    }
}

/// The first name of a path, or of each path of a group `{a, b::{c, d}}`.
fn first_names(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut names = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (index, character) in group.char_indices() {
        let ends_item = depth == 0 && matches!(character, ',' | '}');
        if ends_item {
            names.push(name(group[start..index].trim_start()));
            start = index + 1;
        }
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    let text = text.strip_prefix("r#").unwrap_or(text);
    text.chars().take_while(|&c| is_identifier(c)).collect()
}

fn outside(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (crates, places, reason) in OUTSIDE {
        if places.iter().any(|place| source.is_within(place)) {
            continue;
        }
        for name in crates {
            let path = format!("{name}::");
            let lines =
                source.find(&path).filter(|&offset| begins_path(&source.code, offset)).map(|offset| source.line_of(offset));
            violations.extend(lines.map(|line| {
                let message = format!(
                    "`{name}` is used outside {}: {reason}; move the code there, or wrap the type \
                     there",
                    places.join(", ")
                );
                source.violation(line, "imports", message)
            }));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[usize]) {
        let lines: Vec<_> = super::check(&Source::new(path, text)).iter().map(|violation| violation.line).collect();
        assert_eq!(lines, expected, "{path}: {text}");
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        check("src/backend/dbt/http.rs", "use crate::token::TokenString;", &[]);
        check("src/backend/dbt/http.rs", "use crate::cluster::slot;", &[1]);
        check("src/cluster/slot.rs", "\nuse crate::backend::Backend;", &[2]);
        check("src/account/mod.rs", "use crate::controller::retry;", &[1]);
        check("src/controller/mod.rs", "use crate::account::Account;", &[]);
        check("src/server.rs", "use crate::metrics::Metrics;", &[]);
        check("src/server.rs", "use crate::telemetry;", &[1]);
        check("src/metrics.rs", "use crate::{\n  token,\n};", &[1]);
        check("src/main.rs", "use dbt_token_operator::cli;", &[]);
        check("src/main.rs", "dbt_token_operator::controller::run()", &[1]);
        check("tests/it/main.rs", "use dbt_token_operator::controller;", &[]);
    }

    #[test]
    fn every_way_to_name_a_module_is_seen() {
        let check = |text: &str, expected| check("src/backend/mod.rs", text, expected);
        check("fn a() -> crate::cluster::Slot {", &[1]);
        check("use crate::{token, cluster::{slot, target}};", &[1]);
        check("use crate::{backend::{cluster}, token};", &[]);
        check("use super::cluster;", &[1]);
        check("use super::token;", &[]);
        check("pub(crate) fn a() { mycrate::cluster::b() }", &[]);
        check("a::crate::cluster", &[]);
        check("// crate::cluster\n\"crate::cluster\";", &[]);
        check("use crate::backend::cluster;", &[]);
        check("#[cfg(test)]\nmod tests {\n  use crate::cluster;\n}", &[3]);
    }

    #[test]
    fn a_chain_of_supers_counts_when_it_reaches_the_root() {
        let http = "src/backend/dbt/http.rs";
        check(http, "use super::cluster;", &[]);
        check(http, "use super::super::cluster;", &[]);
        check(http, "use super::super::super::cluster;", &[1]);
        let slot = "src/cluster/slot.rs";
        check(slot, "use super::super::backend;", &[1]);
        check(slot, "use super::super::{api, backend};", &[1]);
        let test = "#[cfg(test)]\nmod tests {\n  use super::backend;\n}";
        check("src/metrics.rs", test, &[]);
    }

    #[test]
    fn a_module_without_a_row_is_found() {
        check("src/helpers.rs", "", &[1]);
        check("src/helpers/mod.rs", "", &[1]);
        check("src/lib.rs", "pub mod api;", &[]);
    }

    #[test]
    fn outside_crates_stay_in_their_places() {
        check("src/controller/mod.rs", "use kube::Client;", &[]);
        check("src/account/mod.rs", "use kube::Client;", &[1]);
        check("src/backend/mod.rs", "fn a() -> ::http::StatusCode", &[1]);
        check("src/backend/dbt/http.rs", "use http::StatusCode;\nuse hyper::body;", &[]);
        check("src/server.rs", "use axum::Router;", &[]);
        check("src/metrics.rs", "use dbt_token_planner::Serial;", &[1]);
        check("src/api/desired.rs", "use dbt_token_planner::Desired;", &[]);
        check("src/account/mod.rs", "use crate::backend::dbt::http::Transport;", &[]);
    }

    #[test]
    fn the_table_is_closed_under_its_own_arrows() {
        for (module, allowed) in MAY_USE.iter().filter(|(module, _)| *module != "main") {
            for next in *allowed {
                let row = MAY_USE.iter().find(|(known, _)| known == next);
                let (_, further) = row.expect("every name has a row");
                for name in *further {
                    assert!(allowed.contains(name), "{module} -> {next} -> {name}");
                }
            }
        }
    }
}
