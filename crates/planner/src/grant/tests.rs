//! Rows, coverage and names of projects, case by case.

use super::*;
use crate::fixture::{grant, kinds, permission, row, rows};

fn projects() -> Vec<Project> {
    [(700, "Finance"), (701, "Marketing"), (702, "Shop"), (703, "Shop"), (704, "finance"), (705, "Fin"), (706, "Données")]
        .into_iter()
        .map(|(id, name)| Project { id: ProjectId(id), name: name.into() })
        .collect()
}

fn resolved(permissions: &[Permission], expected: &str) {
    let found = match resolve(permissions, &projects()) {
        Ok(rows) => rows.to_string(),
        Err(Unresolved::NotFound { wanted, near }) => {
            format!("no {wanted}, near {}", near.iter().map(|project| project.id.to_string()).collect::<Vec<_>>().join(" "))
        }
        Err(Unresolved::Ambiguous { name, ids }) => {
            format!("{name} is {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        }
    };
    assert_eq!(found, expected);
}

#[test]
fn declared_permissions_become_rows() {
    resolved(&[], "nothing");
    resolved(&[permission("job_admin", &[])], "job_admin on all projects");
    resolved(&[permission("job_admin", &["Finance"])], "job_admin on project 700");
    resolved(&[permission("job_admin", &["Marketing", "Finance"])], "job_admin on project 700; job_admin on project 701");
    resolved(&[permission("job_admin", &["700", "Finance"])], "job_admin on project 700");
    resolved(&[permission("job_admin", &["999"])], "job_admin on project 999");
    resolved(&[permission("b", &[]), permission("a", &["700"])], "a on project 700; b on all projects");
    resolved(&[permission("job_admin", &["Shop"])], "Shop is 702 703");
    resolved(&[permission("job_admin", &["702"])], "job_admin on project 702");
    resolved(&[permission("a", &["Finance"]), permission("b", &["Nowhere"])], "no Nowhere, near 706 700 702 703 704");
}

#[test]
fn near_names_come_closest_first_and_are_at_most_five() {
    resolved(&[permission("a", &["Finanec"])], "no Finanec, near 700 704 705 706 702");
    resolved(&[permission("a", &["FINANCE"])], "no FINANCE, near 700 704 705 706 702");
    resolved(&[permission("a", &["donnees"])], "no donnees, near 706 700 704 705 702");
    resolved(&[permission("a", &[""])], "no , near 705 702 703 706 700");
    assert_eq!(
        resolve(&[permission("a", &["Finance"])], &[]),
        Err(Unresolved::NotFound { wanted: "Finance".into(), near: Vec::new() })
    );
}

fn distant(left: &str, right: &str, expected: usize) {
    assert_eq!(distance(left, right), expected, "{left} {right}");
    assert_eq!(distance(right, left), expected, "{right} {left}");
}

#[test]
fn distances_count_typing_errors() {
    distant("", "", 0);
    distant("", "abc", 3);
    distant("kitten", "sitting", 3);
    distant("flaw", "lawn", 2);
    distant("finance", "finance", 0);
}

#[test]
fn only_names_take_a_reading_of_the_projects() {
    for (permissions, expected) in [
        (vec![], false),
        (vec![permission("a", &[])], false),
        (vec![permission("a", &["700"])], false),
        (vec![permission("a", &["700", "Finance"])], true),
        (vec![permission("a", &[]), permission("b", &["Finance"])], true),
    ] {
        assert_eq!(needs_projects(&permissions), expected, "{permissions:?}");
    }
}

fn writing(set: &str, project: i64, writable: &[&str]) -> GrantRow {
    GrantRow { writable: kinds(writable), ..row(set, project) }
}

fn covered(row: GrantRow, grants: &[AccountGrant], expected: bool) {
    let rows = GrantRows::new(vec![row]);
    assert_eq!(uncovered(&rows, grants).is_none(), expected, "{rows} by {grants:?}");
}

#[test]
fn one_grant_has_to_cover_the_whole_row() {
    covered(row("job_admin", 700), &[], false);
    covered(row("job_admin", 700), &[grant(&["job_admin"], &[700], &[])], true);
    covered(row("job_admin", 700), &[grant(&["job_admin"], &[701], &[])], false);
    covered(row("job_admin", 700), &[grant(&["job_admin"], &[], &[])], true);
    covered(row("job_admin", 700), &[grant(&[], &[], &[])], true);
    covered(row("job_admin", 700), &[grant(&["job_viewer"], &[], &[])], false);
    covered(row("job_admin", 0), &[grant(&["job_admin"], &[700], &[])], false);
    covered(row("job_admin", 0), &[grant(&["job_admin"], &[], &[])], true);
    covered(row("account_admin", 0), &[grant(&[], &[700, 701], &[])], false);
    covered(row("account_admin", 0), &[grant(&[], &[], &[])], true);
    // The set by one grant and the project by another is not enough.
    covered(row("job_admin", 700), &[grant(&["job_admin"], &[701], &[]), grant(&["job_viewer"], &[700], &[])], false);
    covered(row("job_admin", 700), &[grant(&["job_viewer"], &[700], &[]), grant(&["job_admin"], &[700], &[])], true);
}

#[test]
fn writing_has_to_be_granted_by_kind() {
    covered(writing("developer", 700, &["staging"]), &[grant(&[], &[], &[])], false);
    covered(writing("developer", 700, &["staging"]), &[grant(&[], &[], &["staging"])], true);
    covered(writing("developer", 700, &["staging"]), &[grant(&[], &[], &["production"])], false);
    covered(writing("developer", 700, &["staging", "other"]), &[grant(&[], &[], &["staging"])], false);
    covered(writing("developer", 700, &["staging", "other"]), &[grant(&[], &[], &["all"])], true);
    covered(writing("developer", 700, &["all"]), &[grant(&[], &[], &["all"])], true);
    let each = ["development", "staging", "production", "other"];
    covered(writing("developer", 700, &["all"]), &[grant(&[], &[], &each)], false);
    covered(writing("developer", 700, &[]), &[grant(&[], &[], &["all"])], true);
}

#[test]
fn the_first_uncovered_row_is_named() {
    let grants = [grant(&["a"], &[], &[])];
    assert_eq!(
        uncovered(&rows(&[("c", 1), ("b", 2), ("a", 3)]), &grants).map(ToString::to_string),
        Some("b on project 2".into())
    );
    assert_eq!(uncovered(&GrantRows::default(), &[]), None);
}

#[test]
fn of_several_limits_the_largest_counts() {
    let limited = |maximum_tokens| AccountGrant { maximum_tokens, ..grant(&[], &[], &[]) };
    for (limits, expected) in [
        (vec![Some(3)], Some(3)),
        (vec![Some(3), Some(20), Some(5)], Some(20)),
        (vec![Some(3), None], None),
        (vec![None, Some(3)], None),
        // Without a grant nothing is allowed anyway.
        (vec![], Some(0)),
    ] {
        let grants: Vec<_> = limits.iter().copied().map(limited).collect();
        assert_eq!(maximum_tokens(&grants), expected, "{limits:?}");
    }
}

#[test]
fn what_only_one_side_grants() {
    for (here, there, expected) in [
        (rows(&[]), rows(&[]), "nothing"),
        (rows(&[("a", 1)]), rows(&[]), "a on project 1"),
        (rows(&[]), rows(&[("a", 1)]), "nothing"),
        (rows(&[("a", 1), ("b", 2)]), rows(&[("a", 1)]), "b on project 2"),
        (rows(&[("a", 1), ("a", 1)]), rows(&[("a", 1)]), "a on project 1"),
        (rows(&[("a", 0)]), rows(&[("a", 1)]), "a on all projects"),
    ] {
        assert_eq!(here.without(&there).to_string(), expected, "{here} without {there}");
    }
}

#[test]
fn a_fingerprint_is_stable_and_tells_rows_apart() {
    // Written in ledgers and slots: a new value here would make every object mint a new token after an upgrade.
    assert_eq!(GrantRows::default().fingerprint().as_str(), "1c4b98deef5e330a");
    assert_eq!(rows(&[("job_admin", 0)]).fingerprint().as_str(), "7f5e179516d309b0");
    assert_eq!(rows(&[("a", 1), ("b", 2)]).fingerprint(), rows(&[("b", 2), ("a", 1)]).fingerprint());
    let all = [
        rows(&[]),
        rows(&[("a", 0)]),
        rows(&[("a", 1)]),
        rows(&[("a", 1), ("a", 1)]),
        rows(&[("b", 1)]),
        GrantRows::new(vec![writing("a", 1, &["all"])]),
        GrantRows::new(vec![writing("a", 1, &["staging"])]),
        GrantRows::new(vec![writing("a", 1, &["other", "staging"])]),
    ];
    let different: BTreeSet<Fingerprint> = all.iter().map(GrantRows::fingerprint).collect();
    assert_eq!(different.len(), all.len());
}
