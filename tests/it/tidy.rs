//! The rules of the house: what stands where, what stays absent, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::amends;

/// The most lines of a file.
const LINES_MAX: usize = 400;

/// Files that are longer, by how much, and why. None may grow, and none stays here for nothing.
const LONGER: [(&str, usize, &str); 1] =
    [("orchestrator/local_postgres/tests/private_server.rs", 414, "one story a promise")];

/// What lies at the top; dot-files and what is built beside.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "activities",
    "migrations",
    "orchestrator",
    "tests",
    "workflows",
];

/// A schema, and the only folders whose code knows its tables.
const SCHEMAS: [(&str, &str); 4] = [
    ("saga", "orchestrator/engine/src/store"),
    ("access", "orchestrator/access/src"),
    ("inventory", "activities/src"),
    ("orders", "activities/src"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this extension, with paths from the top.
fn files(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|own| own == extension) {
                let short = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((short, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} files at {}", root().display());
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Fails with all that was found, not with the first.
#[track_caller]
fn nothing(what: &str, found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = files("rs")
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.contains("/compile_fail/"));
    nothing("without a `//!` line", silent.map(|(path, _)| path));
    let silent = files("sql")
        .into_iter()
        .filter(|(path, text)| path.starts_with("migrations/") && !text.starts_with("--"));
    nothing("migrations without a word", silent.map(|(path, _)| path));
    for (path, _) in files("toml").iter().filter(|(path, _)| path.ends_with("/Cargo.toml")) {
        let readme = root().join(path).with_file_name("README.md");
        assert!(readme.exists(), "{} is missing", readme.display());
    }
}

#[test]
fn files_are_short_and_none_is_called_mod() {
    let mut wrong = Vec::new();
    for (path, text) in files("rs") {
        let lines = text.lines().count();
        let listed = LONGER.iter().find(|(longer, ..)| *longer == path);
        match listed {
            None if lines > LINES_MAX => wrong.push(format!("{path} has {lines} lines")),
            Some((_, most, _)) if lines > *most => {
                wrong.push(format!("{path} grew from {most} to {lines} lines: split it"));
            }
            Some(_) if lines <= LINES_MAX => {
                wrong.push(format!("{path} is short again: take it off the list"));
            }
            _ => {}
        }
        if path.ends_with("/mod.rs") {
            wrong.push(format!("{path}: call it by its name"));
        }
    }
    for (path, ..) in LONGER {
        if !root().join(path).exists() {
            wrong.push(format!("{path} is gone: take it off the list"));
        }
    }
    nothing("files", wrong);
}

#[test]
fn the_top_level_stays_as_it_was_agreed() {
    let is_known = |name: &String| {
        name.starts_with('.') || name == "target" || TOP_LEVEL.contains(&name.as_str())
    };
    let names = entries(root()).into_iter();
    let names = names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    nothing("at the top level", names.filter(|name| !is_known(name)));
}

/// The names in the section `[dependencies]` of a crate.
fn dependencies(folder: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let lines = text.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().map(str::to_owned);
    lines.filter_map(name).filter(|name| !name.is_empty() && !name.starts_with('#')).collect()
}

#[test]
fn what_is_absent_stays_absent() {
    let absent: [(&str, &[&str]); 4] = [
        ("orchestrator/engine", &["axum", "reqwest", "activities", "workflows", "gateway"]),
        ("orchestrator/gateway", &["sqlx", "activities", "workflows", "payment_simulator"]),
        ("activities", &["axum", "gateway", "workflows", "payment_simulator"]),
        ("activities/payment_simulator", &["sqlx", "engine", "activities"]),
    ];
    let mut wrong = Vec::new();
    for (folder, names) in absent {
        let listed = dependencies(folder);
        assert!(listed.contains("serde"), "{folder}: {listed:?}");
        let known = names.iter().filter(|name| listed.contains(**name));
        wrong.extend(known.map(|name| format!("{folder} lists {name}")));
    }
    let allowed = ["activities", "engine", "serde", "serde_json", "uuid"];
    let more = dependencies("workflows").into_iter().filter(|name| !allowed.contains(&&**name));
    wrong.extend(more.map(|name| format!("workflows lists {name}")));
    nothing("dependencies", wrong);
}

#[test]
fn what_is_for_tests_is_in_no_program() {
    let folder = "orchestrator/engine/src/testing";
    let mut wrong = Vec::new();
    for (path, text) in files("rs") {
        let is_known = path.starts_with(folder) || path.starts_with("tests/");
        let names = ["AMENDS_TEST_FAULT", "AMENDS_TEST_POISON", "AMENDS_PLANTED_BUG"];
        if !is_known && names.iter().any(|name| text.contains(name)) {
            wrong.push(format!("{path} reads what only tests say"));
        }
    }
    let engine = fs::read_to_string(root().join("orchestrator/engine/src/lib.rs")).unwrap();
    assert!(engine.contains("#[cfg(feature = \"testing\")]\npub mod testing;"));
    for (path, text) in files("toml") {
        let product = text.split("[dev-dependencies]").next().unwrap();
        let turns_on = |line: &&str| line.contains("features = [") && line.contains("\"testing\"");
        wrong.extend(product.lines().filter(turns_on).map(|line| format!("{path}: {line}")));
    }
    nothing("the feature `testing`", wrong);
}

/// Without the tests at its end.
fn product(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests").map_or(text, |end| &text[..end])
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.contains("tests.rs")
}

#[test]
fn a_table_is_known_to_its_store_alone() {
    let mut wrong = Vec::new();
    let sources = [files("rs"), files("sql")].concat();
    let sources =
        sources.iter().filter(|(path, _)| !is_test(path) && !path.starts_with("migrations/"));
    for (path, text) in sources {
        let text = product(text).to_ascii_lowercase();
        let words: Vec<_> = text.split_whitespace().collect();
        let pairs = words.windows(2).filter(|pair| {
            ["from", "into", "update", "join", "only", "table", "truncate"].contains(&pair[0])
        });
        for pair in pairs {
            let stranger = SCHEMAS.iter().find(|(schema, folder)| {
                pair[1].strip_prefix(schema).is_some_and(|rest| rest.starts_with('.'))
                    && !path.starts_with(folder)
            });
            if let Some((_, folder)) = stranger {
                wrong.push(format!("{path}: `{} {}` belongs to {folder}", pair[0], pair[1]));
            }
        }
    }
    nothing("SQL", wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // In two halves, so that this file is not found.
    let later = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!(")];
    let all = [files("rs"), files("sql"), files("md"), files("toml")].concat();
    let left = all.iter().flat_map(|(path, text)| {
        let lines = text.lines().enumerate();
        let found = lines.filter(|(_, line)| later.iter().any(|word| line.contains(word)));
        found.map(move |(number, line)| format!("{path}:{}: {}", number + 1, line.trim()))
    });
    nothing("left for later", left);
}

/// The word after `amends` in what a reader would type: code between backticks, lines of examples.
fn commands(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_example = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_example = !is_example;
            continue;
        }
        let codes: Vec<&str> = match is_example {
            true => vec![line],
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        for code in codes {
            let words: Vec<_> = code.split_whitespace().collect();
            let is_start = |at: usize| at == 0 || ["$", "|", "&&", "--"].contains(&words[at - 1]);
            let runs = (0..words.len()).filter(|at| {
                (words[*at] == "amends" || words[*at].ends_with("/amends")) && is_start(*at)
            });
            let cargo = (0..words.len())
                .filter(|at| words[*at] == "--" && words[..*at].starts_with(&["cargo", "run"]));
            for at in runs.chain(cargo) {
                let next = words.get(at + 1).filter(|word| {
                    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
                        && !word.starts_with('-')
                });
                found.extend(next.map(|word| (*word).to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_readme_names_only_commands_that_there_are() {
    let help = amends(&["--help"], &[]).stdout;
    let list = help.split("Commands:").nth(1).unwrap().split("Options").next().unwrap();
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let known: BTreeSet<_> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(known.contains("serve") && known.contains("simulate-gateway"), "{help}");
    assert_eq!(commands("`amends x` and amends y\n```\namends z\ncargo run -- w\n```").len(), 3);

    let unknown = files("md").into_iter().flat_map(|(path, text)| {
        let named = commands(&text).into_iter();
        let unknown = named.filter(|name| !known.contains(name.as_str()));
        unknown.map(|name| format!("{path}: `amends {name}`")).collect::<Vec<_>>()
    });
    nothing("commands that do not exist", unknown);
}
