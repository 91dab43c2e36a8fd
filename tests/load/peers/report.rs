//! What was measured of all systems, as a table and as a chart.

use comfy_table::{Table, presets};

use super::{Comparison, Measured, Rounds, System, WORKLOADS};
use crate::arguments::Workload;
use crate::chart::{self, Bars};
use crate::spread::{Spread, median};

impl Comparison {
    /// A row for each system and saga.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "system",
            "saga",
            "sagas/s",
            "p50",
            "p99",
            "CPU a saga",
            "commits a saga",
            "Amends is faster",
        ]);
        for one in &self.systems {
            for (workload, rounds) in &one.workloads {
                table.add_row(row(one, workload, rounds));
            }
        }
        let mut text = table.to_string();
        for one in &self.systems {
            for reason in &one.run_again {
                text += &format!("\n{} was run again: {reason}", one.name);
            }
            if let Some(reason) = &one.not_run {
                text += &format!("\n{} was not run to the end: {reason}", one.name);
            }
        }
        text
    }

    pub(crate) fn chart(&self) -> String {
        let ran = self.systems.iter().filter(|one| one.not_run.is_none());
        let bars = ran.map(|one| {
            let rate = |workload: Workload| {
                one.workloads.get(&workload.name()).map_or(0.0, |rounds| rounds.sagas_per_s)
            };
            let label = format!("{} {}", one.name, one.version);
            Bars {
                label,
                values: WORKLOADS.map(rate).to_vec(),
                is_ours: one.system == System::Amends,
            }
        });
        let titles = WORKLOADS.map(|workload| match workload {
            Workload::Noop => "three steps that do nothing",
            _ => "stock, order and charge in three stores",
        });
        let title = format!("Sagas a second, {} in flight, one machine", self.in_flight);
        chart::bars(&title, &titles, &bars.collect::<Vec<_>>())
    }
}

fn row(one: &Measured, workload: &str, rounds: &Rounds) -> [String; 8] {
    let ratio = match &rounds.ratios[..] {
        [] => String::new(),
        ratios => format!("{:.1} times", Spread::of(ratios)),
    };
    let commits: Vec<f64> = rounds.runs.iter().map(|run| run.commits_per_saga).collect();
    [
        format!("{} {}", one.name, one.version),
        workload.to_owned(),
        format!("{:.0}", rounds.sagas_per_s),
        format!("{:.1} ms", rounds.p50_ms),
        format!("{:.1} ms", rounds.p99_ms),
        format!("{:.0} us", rounds.cpu_us),
        format!("{:.2}", median(&commits)),
        ratio,
    ]
}
