//! The faults of the suite, one file each, with what is done in each form.

mod clocks;
mod crash_points;
mod database;
mod disks;
mod everything;
mod gateway;
mod kills;
mod network;
mod outage;
mod oversell;
mod poison;
mod repeats;
mod rolling;
mod takeover;
mod zombies;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

use crate::cluster::Setup;
use crate::customers::Habits;
use crate::report::Report;
use crate::run::Size;

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// What a plain `cargo test` does: at most two minutes.
    Brief,
    /// What CI does: at most fifteen.
    Short,
    /// For as long as one likes.
    Soak,
}

type RunScenario =
    fn(&'static str, u64, Size, PathBuf) -> LocalBoxFuture<'static, anyhow::Result<Report>>;

/// One fault and its numbers.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: RunScenario,
    /// In the forms brief (none: it is not part of it), short and soak.
    sizes: [Option<Size>; 3],
}

impl Scenario {
    pub(crate) fn size(&self, form: Form) -> Size {
        let [brief, short, soak] = self.sizes;
        let of = match form {
            Form::Brief => brief.or(short),
            Form::Short => short,
            Form::Soak => soak,
        };
        of.or(size(100, 1, 10)).unwrap()
    }
}

const fn size(sagas: usize, faults: usize, seconds: u64) -> Option<Size> {
    let time = Duration::from_secs(seconds);
    Some(Size { sagas, faults, time, bug: None, is_hunt: false })
}

/// In the order in which they are run.
const ALL: &[Scenario] = &[
    Scenario {
        name: "F1",
        about: "harm at every boundary of every step and undo",
        run: crash_points::run,
        sizes: [None, size(0, 1_000, 0), size(0, 1_000, 0)],
    },
    Scenario {
        name: "F2",
        about: "every activity and every undo twice, an error at every step",
        run: repeats::run,
        sizes: [None, size(0, 1_000, 0), size(0, 1_000, 0)],
    },
    Scenario {
        name: "F3",
        about: "kill -9 of 3 nodes at random",
        run: kills::run,
        sizes: [size(200, 8, 0), size(5_000, 100, 0), size(100_000, 1_000, 0)],
    },
    Scenario {
        name: "F4",
        about: "PostgreSQL: kill -9 of a session, of the server, immediate stop",
        run: database::run,
        sizes: [None, size(1_000, 20, 0), size(10_000, 200, 0)],
    },
    Scenario {
        name: "F5",
        about: "nodes that wake up after their lease",
        run: zombies::run,
        sizes: [None, size(1_000, 50, 0), size(10_000, 500, 0)],
    },
    Scenario {
        name: "F6",
        about: "the network between nodes and database",
        run: network::run,
        sizes: [None, size(1_000, 10, 0), size(5_000, 100, 0)],
    },
    Scenario {
        name: "F7",
        about: "the payment gateway",
        run: gateway::run,
        sizes: [None, size(5_000, 0, 0), size(100_000, 0, 0)],
    },
    Scenario {
        name: "F8",
        about: "all together",
        run: everything::run,
        sizes: [None, size(1_000, 0, 45), size(5_000, 0, 300)],
    },
    Scenario {
        name: "F9",
        about: "the database is down for minutes",
        run: outage::run,
        sizes: [None, size(300, 0, 45), size(1_000, 0, 900)],
    },
    Scenario {
        name: "F10",
        about: "PostgreSQL's disks are full",
        run: disks::run,
        sizes: [None, size(500, 1, 0), size(3_000, 10, 0)],
    },
    Scenario {
        name: "F11",
        about: "nodes whose clocks jump by an hour",
        run: clocks::run,
        sizes: [None, size(1_000, 3, 0), size(10_000, 40, 0)],
    },
    Scenario {
        name: "F13",
        about: "rolling restarts",
        run: rolling::run,
        sizes: [None, size(1_000, 10, 0), size(10_000, 100, 0)],
    },
    Scenario {
        name: "F14",
        about: "a node with thousands of open sagas dies",
        run: takeover::run,
        sizes: [None, size(5_000, 1, 0), size(10_000, 1, 0)],
    },
    Scenario {
        name: "F15",
        about: "more customers than goods",
        run: oversell::run,
        sizes: [None, size(10_000, 0, 0), size(10_000, 0, 0)],
    },
    Scenario {
        name: "F16",
        about: "sagas that kill whoever runs them",
        run: poison::run,
        sizes: [None, size(1_000, 10, 0), size(10_000, 30, 0)],
    },
];

pub(crate) const HELP: &str = "\
brief: F3 with a few kills. short: everything, as CI does it. soak: everything, larger, again with the \
next seed until --minutes are over. A scenario: as in short, with --sagas, --kills, --minutes in its place. \
planted: each bug that can be planted, or those that are named, with the scenario that must find it; control: \
the same scenarios without a bug, which must find nothing.";

/// Whether the command line means this suite with it.
pub(crate) fn is_known(word: &str) -> bool {
    matches!(word, "brief" | "short" | "soak" | "planted" | "control")
        || ALL.iter().any(|scenario| scenario.name == word)
}

/// The scenario of this name.
pub(crate) fn named(name: &str) -> anyhow::Result<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name).with_context(|| {
        let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("no scenario {name}: there are {}", known.join(" "))
    })
}

/// What the words of the command line name.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) form: Form,
    /// Whether each of them was asked for, and not just the whole form.
    pub(crate) by_name: bool,
    pub(crate) scenarios: Vec<&'static Scenario>,
}

impl Chosen {
    /// Whether one of them needs disks of its own.
    pub(crate) fn mounts(&self) -> bool {
        self.scenarios.iter().any(|scenario| scenario.name == "F10")
    }
}

/// The form and the scenarios that the words name.
pub(crate) fn chosen(words: &[String]) -> anyhow::Result<Chosen> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (form, names) = match &words[..] {
        ["brief", names @ ..] => (Form::Brief, names),
        ["short", names @ ..] => (Form::Short, names),
        ["soak", names @ ..] => (Form::Soak, names),
        names => (Form::Short, names),
    };
    let is_part = |scenario: &&Scenario| form != Form::Brief || scenario.sizes[0].is_some();
    let mut scenarios: Vec<_> = match names {
        [] => ALL.iter().filter(is_part).collect(),
        _ => Vec::new(),
    };
    for name in names {
        scenarios.push(named(name)?);
    }
    Ok(Chosen { form, by_name: !names.is_empty(), scenarios })
}

/// Plenty of everything, and little of one thing.
const STOCK: [(&str, u32); 4] =
    [("tea", 10_000_000), ("cup", 10_000_000), ("pot", 10_000_000), ("rare", 200)];

/// Three nodes, plenty of stock, a gateway that does what `gateway` says.
fn three_nodes(gateway: Value) -> Setup<'static> {
    Setup {
        nodes: 3,
        stock: &STOCK,
        gateway,
        postgres: &[],
        variables: Vec::new(),
        faketime: None,
        disks: None,
    }
}

/// One node, which is told what to do wrong, and one that takes over.
pub(crate) fn node_and_heir(gateway: Value) -> Setup<'static> {
    Setup { nodes: 2, ..three_nodes(gateway) }
}

/// Most pay, some are declined, some are asked by their bank, some change their mind.
pub(crate) fn mixed() -> Habits {
    Habits {
        skus: vec!["tea", "cup", "pot", "rare"],
        cards: vec![
            ("pm_card_visa", 85),
            ("pm_card_visa_chargeDeclined", 10),
            ("pm_card_authenticationRequired", 5),
        ],
        cancels_one_in: Some(30),
        follow: true,
    }
}

/// A payment gateway that does what it should.
fn good_day() -> Value {
    json!({"challenges": {"after_millis": 300, "fail_share": 0.2}})
}

/// A payment gateway on an ordinary bad day: its answers get lost, late, or are errors.
fn bad_day() -> Value {
    json!({
        "rules": [
            {"op": "confirm", "kind": "timeout_after", "millis": 1_500, "probability": 0.01, "attempts_max": 1},
            {"op": "confirm", "kind": "reset_after", "probability": 0.02, "attempts_max": 1},
            {"op": "confirm", "kind": "late_delivery", "millis": 1_000, "probability": 0.01, "attempts_max": 1},
            {"op": "confirm", "kind": "error_500_committed", "probability": 0.01, "attempts_max": 1},
            {"op": "any", "kind": "latency", "millis": 100, "probability": 0.1},
            {"op": "any", "kind": "error_503", "probability": 0.01},
            {"op": "any", "kind": "duplicate_webhook", "probability": 0.05},
            {"op": "confirm", "kind": "early_webhook", "probability": 0.05}
        ],
        "challenges": {"after_millis": 300, "fail_share": 0.2}
    })
}
