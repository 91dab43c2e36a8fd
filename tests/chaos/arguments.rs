//! What to run.

use clap::{Parser, ValueEnum};

use crate::scenarios;

/// The fault suite: real nodes, a real PostgreSQL, harm, and what must hold afterwards.
#[derive(Debug, Parser)]
#[command(name = "chaos", after_help = scenarios::HELP)]
pub(crate) struct Arguments {
    /// `brief`, `short`, `soak`, or scenarios by their names: F1 F3 F8
    #[arg(default_value = "brief")]
    pub(crate) what: Vec<String>,
    /// Decides what is done, when, and to whom
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// At least so many sagas, instead of what the form says
    #[arg(long)]
    pub(crate) sagas: Option<usize>,
    /// So many kills (crashes, pauses, cuts), instead of what the form says
    #[arg(long, alias = "faults")]
    pub(crate) kills: Option<usize>,
    /// How long, for scenarios with a time; a soak repeats until it is over
    #[arg(long)]
    pub(crate) minutes: Option<u64>,
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// What the command line asks for. None: it is meant for other tests, as `cargo test` passes its filters
/// to all of them.
pub(crate) fn parse() -> Option<Arguments> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let is_ours = |word: &str| scenarios::is_known(word) || matches!(word, "--help" | "-h");
    match given.first() {
        None => Some(Arguments::parse_from(["chaos"])),
        Some(first) if is_ours(first) => Some(Arguments::parse()),
        Some(_) if given.iter().any(|word| word == "--list") => None,
        // Only options of the test harness, such as --nocapture: everything is meant.
        Some(_) if given.iter().all(|word| word.starts_with('-')) => {
            Some(Arguments::parse_from(["chaos"]))
        }
        Some(_) => {
            given.iter().any(|word| word == "chaos").then(|| Arguments::parse_from(["chaos"]))
        }
    }
}
