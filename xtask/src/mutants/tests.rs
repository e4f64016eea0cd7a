//! The list fits the present source, a bug is planted in exactly one place, the copy follows its original, and the table tells
//! who has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::level::{End, Name};
use super::plant::{ALL_PROMISES, Change, Malformed, Mutant, NoPlace, Promise, list};
use super::scratch::{Error, Scratch};
use super::table::{Fate, Row, Table};
use super::{Arguments, trials};
use crate::repository;

const SOURCE: &str = "fn a() {\n    one();\n    two();\n}\n\nfn b() {\n    one();\n}\n";

fn mutant(file: &str, change: &str) -> Mutant {
    Mutant {
        name: "m".to_owned(),
        promise: Promise::P1,
        bug: "A bug.".to_owned(),
        level: Name::Model,
        searches: Vec::new(),
        seeds: 0,
        file: file.to_owned(),
        change: Change::try_from(change.to_owned()).expect("a change"),
    }
}

fn all() -> Vec<Mutant> {
    list(repository()).expect("the list can be read")
}

#[test]
fn every_bug_has_a_place_in_the_shipped_source() {
    let misfits = all().into_iter().filter_map(|mutant| {
        let source = fs::read_to_string(repository().join(&mutant.file)).unwrap_or_default();
        Some(format!("{}: {}", mutant.name, mutant.plant(&source).err()?))
    });
    assert_eq!(misfits.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn the_list_speaks_of_every_promise_and_of_every_level() {
    let mutants = all();
    assert!(mutants.len() >= 18, "{} bugs", mutants.len());
    let broken: BTreeSet<Promise> = mutants.iter().map(|mutant| mutant.promise).collect();
    assert_eq!(broken, BTreeSet::from(ALL_PROMISES));
    let mut levels: BTreeMap<Name, usize> = BTreeMap::new();
    mutants.iter().for_each(|mutant| *levels.entry(mutant.level).or_default() += 1);
    for level in [Name::Model, Name::Simulate, Name::Chaos] {
        assert!(levels.get(&level).is_some_and(|count| *count >= 2), "{levels:?}");
    }
    for Mutant { name, bug, .. } in &mutants {
        assert!(name.len() <= 42 && name.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-'), "{name}");
        assert!(bug.ends_with('.') && bug.len() <= 140, "{name}: {bug}");
    }
}

/// A filter that fits no test runs none, and passes.
#[test]
fn every_search_is_one_of_the_model() {
    let model = fs::read_to_string(repository().join("crates/planner/tests/model.rs")).expect("the model");
    let (_, named) = model.split_once("holds![").expect("the configurations");
    let named: BTreeSet<&str> = named.split(']').next().unwrap_or_default().split(',').map(str::trim).collect();
    for Mutant { name, file, searches, .. } in &all() {
        let is_planner = file.starts_with("crates/planner/");
        assert_eq!(is_planner, !searches.is_empty(), "{name}: the model runs the planner alone");
        assert!(searches.iter().all(|search| named.contains(search.as_str())), "{name}: {searches:?}");
    }
}

#[test]
fn a_bug_is_planted_in_one_place_or_not_at_all() {
    let check = |file: &str, change: &str, expected: Result<&str, NoPlace>| {
        let planted = mutant(file, change).plant(SOURCE);
        assert_eq!(planted.as_deref().map_err(Clone::clone), expected, "{change}");
    };
    let file = || "src/a.rs".to_owned();
    check("src/a.rs", "-    two();", Ok("fn a() {\n    one();\n}\n\nfn b() {\n    one();\n}\n"));
    check(
        "src/a.rs",
        " fn b() {\n-    one();\n+    two();",
        Ok("fn a() {\n    one();\n    two();\n}\n\nfn b() {\n    two();\n}\n"),
    );
    check("src/a.rs", " }\n\n+// here", Ok("fn a() {\n    one();\n    two();\n}\n\n// here\nfn b() {\n    one();\n}\n"));
    check("src/a.rs", "-    three();", Err(NoPlace::Gone(file())));
    // Whole lines count, with their beginning and their end.
    check("src/a.rs", "-two();", Err(NoPlace::Gone(file())));
    check("src/a.rs", "-    two()", Err(NoPlace::Gone(file())));
    check("src/a.rs", "-    one();", Err(NoPlace::Ambiguous { file: file(), times: 2 }));
    check("tests/a.rs", "-    two();", Err(NoPlace::NotShipped("tests/a.rs".to_owned())));
}

#[test]
fn a_change_takes_away_or_adds() {
    let read = |text: &str| Change::try_from(text.to_owned());
    assert_eq!(read("    one();"), Err(Malformed::Nothing), "nothing changes");
    assert_eq!(read("+    one();"), Err(Malformed::Nothing), "nobody knows where");
    assert_eq!(read(""), Err(Malformed::Nothing));
    assert_eq!(read("one();"), Err(Malformed::Sign("one();".to_owned())));
    assert_eq!(read("ö"), Err(Malformed::Sign("ö".to_owned())));
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// A time that no copy gives, so that a file which was left alone still has it.
fn make_old(path: &Path) -> SystemTime {
    let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
    fs::File::options().append(true).open(path).and_then(|file| file.set_modified(long_ago)).expect("a time");
    modified(path)
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a time")
}

#[test]
fn a_copy_follows_its_original_and_leaves_alone_what_is_the_same() {
    let root = tempfile::tempdir().expect("a folder");
    let (original, folder) = (root.path().join("original"), root.path().join("copy"));
    write(&original.join("src/a.rs"), SOURCE);
    write(&original.join("src/b.rs"), "b");
    write(&original.join("gone/c.rs"), "c");
    write(&original.join(".gitignore"), "/target\n");
    write(&original.join("target/d.rs"), "d");
    std::os::unix::fs::symlink("src", original.join("link")).expect("a link");
    let git = |arguments: &[&str]| {
        let status = Command::new("git").args(arguments).current_dir(&original).status().expect("git");
        assert!(status.success(), "{arguments:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "src/a.rs", "gone", ".gitignore"]);
    let tree = folder.join("tree");
    let read = |name: &str| fs::read_to_string(tree.join(name)).ok();

    drop(Scratch::open(&original, &folder).expect("a copy"));
    assert_eq!((read("src/a.rs").as_deref(), read("src/b.rs").as_deref()), (Some(SOURCE), Some("b")), "new files come as well");
    assert_eq!(read("target/d.rs"), None, "what is ignored does not come");
    assert_eq!(fs::read_link(tree.join("link")).expect("a link"), Path::new("src"));

    let old = make_old(&tree.join("src/a.rs"));
    make_old(&tree.join("src/b.rs"));
    write(&original.join("src/b.rs"), "changed");
    fs::remove_dir_all(original.join("gone")).expect("a folder");
    write(&tree.join("target/chaos.log"), "kept");
    let scratch = Scratch::open(&original, &folder).expect("a copy");
    assert_eq!(modified(&tree.join("src/a.rs")), old, "what is the same is left alone");
    assert_eq!((read("src/b.rs").as_deref(), read("gone/c.rs")), (Some("changed"), None));
    assert_eq!(read("target/chaos.log").as_deref(), Some("kept"));
    assert!(matches!(Scratch::open(&original, &folder), Err(Error::InUse(_))), "one at a time");

    let bug = mutant("src/a.rs", "-    two();");
    let seen = scratch.with(&bug, || read("src/a.rs")).expect("a place");
    assert_eq!(seen.map(|text| text.contains("two")), Some(false));
    assert_eq!(read("src/a.rs").as_deref(), Some(SOURCE), "it is taken out again");
    assert!(modified(&tree.join("src/a.rs")) > old, "and built again");
    assert_eq!(fs::read_to_string(original.join("src/a.rs")).expect("the original"), SOURCE);
    let nowhere = mutant("src/a.rs", "-    three();");
    assert!(matches!(scratch.with(&nowhere, || ()), Err(Error::NoPlace { .. })));
}

#[test]
fn a_bug_goes_through_the_levels_that_see_it_up_to_its_own() {
    let planner = |level| Mutant { level, ..mutant("crates/planner/src/a.rs", "-a") };
    let shell = |level| Mutant { level, ..mutant("src/a.rs", "-a") };
    let check = |mutant: Mutant, levels: &[Name], expected: &[Name]| {
        let arguments = Arguments { only: Vec::new(), levels: levels.to_vec(), seeds: 1 };
        let found: Vec<Name> =
            trials(vec![mutant.clone()], &arguments).iter().flat_map(|trial| trial.levels.iter().map(|it| it.name)).collect();
        assert_eq!(found, expected, "{mutant:?} {levels:?}");
    };
    use Name::{Chaos, Model, Simulate};
    check(planner(Model), &[], &[Model]);
    check(planner(Simulate), &[], &[Model, Simulate]);
    check(shell(Simulate), &[], &[Simulate]);
    check(shell(Chaos), &[], &[Simulate, Chaos]);
    check(planner(Model), &[Chaos, Simulate], &[Simulate, Chaos]);
    check(shell(Simulate), &[Model], &[]);
    let another = Arguments { only: vec!["another".to_owned()], levels: Vec::new(), seeds: 1 };
    assert!(trials(vec![planner(Model)], &another).is_empty());
}

#[test]
fn a_rare_bug_gets_the_histories_that_it_takes() {
    let seeds = |own, seeds| {
        let arguments = Arguments { only: Vec::new(), levels: Vec::new(), seeds };
        let trials = trials(vec![Mutant { seeds: own, level: Name::Simulate, ..mutant("src/a.rs", "-a") }], &arguments);
        trials.iter().map(|trial| trial.asked(&arguments).seeds).collect::<Vec<_>>()
    };
    assert_eq!([seeds(0, 300), seeds(2000, 300), seeds(2000, 5000)], [[300], [2000], [5000]]);
}

#[test]
fn a_bug_fails_only_the_level_that_it_names() {
    let check = |fate: Fate, failures: usize, word: &str| {
        let row = Row { name: "m".to_owned(), promise: Promise::P1, named: Name::Simulate, fate, took: Duration::ZERO };
        let mut table = Table::default();
        table.add(row);
        assert_eq!(table.failures(), failures, "{table}");
        assert!(table.to_string().contains(word), "{table}");
    };
    let caught = |by| Fate::Caught { by, finding: "P1: x".to_owned() };
    let missed = |levels: &[Name]| Fate::Missed(levels.iter().map(|level| (*level, End::Passed)).collect());
    check(caught(Name::Simulate), 0, "simulate         0.0 s  P1: x");
    check(caught(Name::Model), 0, "(before simulate) P1: x");
    check(missed(&[Name::Model, Name::Simulate]), 1, "SURVIVED");
    check(missed(&[Name::Model]), 0, "model found nothing; it is for simulate");
    check(Fate::Missed(vec![(Name::Simulate, End::Hung(Duration::from_secs(60)))]), 1, "did not end within 1 min 00 s");
    let another = Fate::Missed(vec![(Name::Simulate, End::Failed(vec!["P3: x".to_owned()]))]);
    check(another, 1, "simulate found only P3: x");
    check(Fate::Unplanted("gone".to_owned()), 1, "NOT PLANTED");
    check(Fate::NotBuilt, 1, "NOT BUILT");
}
