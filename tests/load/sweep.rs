//! One workload again and again, each time with more of something: what grows, and what does not.

use std::collections::BTreeMap;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::chart::{self, Bars};
use crate::compare::{median, run};
use crate::meter::Usage;

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
    fn with(self, value: u64, mut load: LoadArguments) -> anyhow::Result<LoadArguments> {
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
pub(crate) fn sweep(
    workload: Workload,
    over: Over,
    arguments: &Arguments,
) -> anyhow::Result<Sweep> {
    let mut runs: BTreeMap<usize, Vec<Usage>> = BTreeMap::new();
    let mut order: Vec<usize> = (0..arguments.values.len()).collect();
    for _ in 0..arguments.rounds {
        for at in &order {
            let value = arguments.values[*at];
            let usage = run(workload, &over.with(value, arguments.load)?)?;
            let rate = usage.sagas_per_s;
            eprintln!("{} {value}: {rate:.0} sagas/s, p50 {:.1} ms", over.name(), usage.p50_ms);
            runs.entry(*at).or_default().push(usage);
        }
        // Back the way it came, so that a slow minute is nobody's alone.
        order.reverse();
    }
    let first = runs[&0].clone();
    let point = |(at, runs): (usize, Vec<Usage>)| {
        let middle = |value: fn(&Usage) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
        let pairs = runs.iter().zip(&first);
        Point {
            value: arguments.values[at],
            sagas_per_s: middle(|run| run.sagas_per_s),
            p50_ms: middle(|run| run.p50_ms),
            p99_ms: middle(|run| run.p99_ms),
            rss_mb: middle(|run| run.rss_mb),
            ratios: pairs.map(|(run, first)| run.sagas_per_s / first.sagas_per_s).collect(),
            runs,
        }
    };
    let points = runs.into_iter().map(point).collect();
    Ok(Sweep { workload: workload.name(), over, points })
}

impl Sweep {
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let over = self.over.name();
        let header =
            [over.as_str(), "sagas/s", "by the first", "p50", "p99", "CPU a saga", "resident"];
        table.set_header(header);
        for point in &self.points {
            let least = point.ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let most = point.ratios.iter().copied().fold(0.0, f64::max);
            let cpu = point
                .runs
                .iter()
                .map(|run| run.engine_cpu_us + run.postgres_cpu_us + run.gateway_cpu_us);
            table.add_row([
                chart::grouped(point.value as f64),
                chart::grouped(point.sagas_per_s),
                format!("{:.2} ({least:.2} to {most:.2})", median(&point.ratios)),
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
