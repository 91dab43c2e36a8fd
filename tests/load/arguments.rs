//! What to run, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, ValueEnum};

use crate::load::Load;
use crate::peers::System;
use crate::sweep::Over;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// A saga of three steps that do nothing: what the engine itself costs
    Noop,
    /// The same records, written by hand in batches: what PostgreSQL itself costs
    Floor,
    /// Real carts become orders: three databases, the payment gateway over HTTP
    PlaceOrder,
    /// The same, and one customer of ten is declined: everything before the charge is undone
    Declines,
    /// The same calls as of `place-order` made by a plain program, one transaction a call, nothing durable around them
    Plain,
    /// `noop` beside a history of `--ended` sagas
    History,
    /// The same, and every other second the queries of an operator's lists and pages
    Console,
    /// `--in-flight` sagas wait for a signal: what one takes in memory, and how fast they wake
    Waiting,
    /// A node with `--in-flight` open sagas dies: how soon another one has them
    Takeover,
    /// A unit of stock, an order and a charge in three stores: as small as such a saga gets
    ThreeStores,
    /// The two workloads that follow, by turns
    Compare,
    /// The workload that follows, each time with another of `--values` of what `--over` names
    Sweep,
    /// `noop` and `three-stores` on other systems, by turns with Amends
    Peers,
    /// Says yes to every charge: a part of `three-stores`
    #[value(hide = true)]
    Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

#[derive(Debug, Parser)]
#[command(name = "load", about = "Measures how many sagas a second end, and what one costs")]
pub(crate) struct Arguments {
    /// One of them, or `compare` and two
    #[arg(required = true, num_args = 1..=3)]
    pub(crate) what: Vec<Workload>,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
    /// For `compare`, `sweep` and `peers`: how often each of them runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// For `compare`: fail if the middle of the ratios is less
    #[arg(long)]
    pub(crate) at_least: Option<f64>,
    /// For `sweep`: what there is more of each time
    #[arg(long, value_enum)]
    pub(crate) over: Option<Over>,
    /// For `sweep`: how much of it
    #[arg(long, value_delimiter = ',')]
    pub(crate) values: Vec<u64>,
    /// For `peers`: run these only
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<System>,
    /// Draw what was measured into this file, as SVG: of one workload its memory over time
    #[arg(long)]
    pub(crate) chart: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
    /// The names of those that were given
    #[arg(skip)]
    pub(crate) given: Vec<String>,
}

impl Arguments {
    /// Those of the command line; without them, if they can not be read, the program ends.
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        let arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let is_given = |argument: &&Arg| {
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        };
        let command = Self::command();
        let given = command.get_arguments().filter(is_given).filter_map(Arg::get_long);
        Self { given: given.map(str::to_owned).collect(), ..arguments }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LoadArguments {
    /// How many sagas are under way at once
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) in_flight: u32,
    /// Start so many a second, instead of one whenever one ended; later if `--in-flight` are under way
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: u64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(crate) warm_up: u64,
    /// How many engines share the database
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) nodes: u32,
    /// How many connections commit, of each node, and of the floor: two unless told otherwise
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) lanes: Option<u8>,
    /// Start each saga with a key of its own, so that a repeat would be harmless; orders always have one
    #[arg(long)]
    pub(crate) keyed: bool,
    /// In which order the carts come, and who is declined
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// For `history` and `console`: how many sagas have ended before
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) ended: u64,
    /// For orders: so many lines each, instead of those of a real cart
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) lines: Option<u32>,
    /// For orders: of so many goods, instead of those of a real cart
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) skus: Option<u32>,
}

impl LoadArguments {
    pub(crate) fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight,
            rate: self.rate,
            warm_up: Duration::from_secs(self.warm_up),
            measured: Duration::from_secs(self.seconds),
        }
    }

    /// Those that mean something to `workload`, as another process of this program takes them.
    pub(crate) fn to_words(self, workload: Workload) -> Vec<String> {
        let Self { in_flight, rate, seconds, warm_up, nodes, lanes, .. } = self;
        let Self { keyed, seed, ended, lines, skus, .. } = self;
        let words = [
            ("in-flight", Some(u64::from(in_flight))),
            ("rate", rate.map(u64::from)),
            ("seconds", Some(seconds)),
            ("warm-up", Some(warm_up)),
            ("nodes", Some(u64::from(nodes))),
            ("lanes", lanes.map(u64::from)),
            ("seed", Some(seed)),
            ("ended", Some(ended)),
            ("lines", lines.map(u64::from)),
            ("skus", skus.map(u64::from)),
        ];
        let words = words.into_iter().filter(|(name, _)| workload.takes(name));
        let words = words.filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
        words.chain((keyed && workload.takes("keyed")).then(|| "--keyed".to_owned())).collect()
    }
}
