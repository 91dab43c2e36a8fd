//! One workload again and again, each time with more of something: what grows, and what does not.

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::chart::{self, Bars};
use crate::meter::Usage;
use crate::spread::{Spread, median};
use crate::turns::{Rounds, Turn, by_turns};

/// What there is more of each time: the argument of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Over {
    InFlight,
    Rate,
    Nodes,
    Ended,
    Lines,
    Skus,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Sweep {
    workload: String,
    over: Over,
    points: Vec<Point>,
}

#[derive(Debug, Serialize)]
struct Point {
    value: u64,
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    rss_mb: f64,
    /// How many times as fast as with the first value, a round each.
    ratios: Vec<f64>,
    runs: Vec<Usage>,
}

impl Over {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How a person calls so much of it.
    fn label(self, value: u64) -> String {
        let (one, many) = match self {
            Self::InFlight => ("in flight", "in flight"),
            Self::Rate => ("a second", "a second"),
            Self::Nodes => ("node", "nodes"),
            Self::Ended => ("ended", "ended"),
            Self::Lines => ("line", "lines"),
            Self::Skus => ("good", "goods"),
        };
        format!("{} {}", chart::grouped(value as f64), if value == 1 { one } else { many })
    }

    /// These arguments, with another value of this one.
    pub(crate) fn with(self, value: u64, mut load: LoadArguments) -> anyhow::Result<LoadArguments> {
        let small = u32::try_from(value)?;
        match self {
            Self::InFlight => load.in_flight = small,
            Self::Rate => load.rate = Some(small),
            Self::Nodes => load.nodes = small,
            Self::Ended => load.ended = value,
            Self::Lines => load.lines = Some(small),
            Self::Skus => load.skus = Some(small),
        }
        Ok(load)
    }
}

/// Runs `workload` with each of the values that `arguments` name, as many rounds as they say.
pub(crate) async fn sweep(
    workload: Workload,
    over: Over,
    arguments: &Arguments,
) -> anyhow::Result<Rounds> {
    let turn = |value: &u64| {
        let label = format!("{} {value}", over.name());
        anyhow::Ok(Turn { workload, load: over.with(*value, arguments.load)?, label })
    };
    let turns = arguments.values.iter().map(turn).collect::<Result<Vec<_>, _>>()?;
    Ok(by_turns(&turns, arguments.rounds).await)
}

impl Point {
    /// Of runs with this value, beside those with the first one.
    fn of(value: u64, runs: Vec<Usage>, first: &[Usage]) -> Self {
        let middle = |value: fn(&Usage) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
        let pairs = runs.iter().zip(first);
        Self {
            value,
            sagas_per_s: middle(|run| run.sagas_per_s),
            p50_ms: middle(|run| run.p50_ms),
            p99_ms: middle(|run| run.p99_ms),
            rss_mb: middle(|run| run.rss_mb),
            ratios: pairs.map(|(run, first)| run.sagas_per_s / first.sagas_per_s).collect(),
            runs,
        }
    }
}

impl Sweep {
    /// Of one round of each value at least.
    pub(crate) fn of(
        workload: Workload,
        over: Over,
        values: &[u64],
        runs: Vec<Vec<Usage>>,
    ) -> Self {
        let first = runs[0].clone();
        let points = values.iter().zip(runs);
        let points = points.map(|(value, runs)| Point::of(*value, runs, &first)).collect();
        Self { workload: workload.name(), over, points }
    }

    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let over = self.over.name();
        let header =
            [over.as_str(), "sagas/s", "by the first", "p50", "p99", "CPU a saga", "resident"];
        table.set_header(header);
        for point in &self.points {
            let cpu = point.runs.iter().map(Usage::cpu_us);
            table.add_row([
                chart::grouped(point.value as f64),
                chart::grouped(point.sagas_per_s),
                Spread::of(&point.ratios).to_string(),
                format!("{:.1} ms", point.p50_ms),
                format!("{:.1} ms", point.p99_ms),
                format!("{:.0} us", median(&cpu.collect::<Vec<_>>())),
                format!("{:.0} MB", point.rss_mb),
            ]);
        }
        format!("{} over {over}\n{table}", self.workload)
    }

    pub(crate) fn chart(&self) -> String {
        let bars = self.points.iter().map(|point| Bars {
            label: self.over.label(point.value),
            values: vec![point.sagas_per_s, point.p99_ms],
            is_ours: true,
        });
        let title = format!("{} over {}", self.workload, self.over.name());
        chart::bars(&title, &["sagas a second", "p99, ms"], &bars.collect::<Vec<_>>())
    }
}
