//! Two workloads by turns, each time in a new process on a new server: machines are not the same from one
//! minute to the next, so only what was measured side by side can be compared.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;

use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::meter::Usage;

/// How many times as fast the first one is.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    /// Of the first one, the round in the middle.
    #[serde(flatten)]
    first: Usage,
    /// Of the second one.
    against: Usage,
    /// Sagas a second of the first by those of the second, a round each.
    ratios: Vec<f64>,
    pub(crate) ratio_median: f64,
    ratio_min: f64,
    ratio_max: f64,
    /// The same of the median time that a saga takes.
    p50_ratio_median: f64,
    /// The rounds of each, as they were run.
    runs: [Vec<Usage>; 2],
}

/// Runs each of them `rounds` times.
pub(crate) fn by_turns(pair: [Workload; 2], arguments: &Arguments) -> anyhow::Result<Ratio> {
    let mut runs = [Vec::new(), Vec::new()];
    for round in 0..arguments.rounds {
        // Nobody is always the second one.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let usage = run(pair[which], &arguments.load)?;
            eprintln!(
                "{}: {:.0} sagas/s, p50 {:.1} ms",
                usage.workload, usage.sagas_per_s, usage.p50_ms
            );
            runs[which].push(usage);
        }
    }
    let of = |value: fn(&Usage) -> f64| -> Vec<f64> {
        runs[0].iter().zip(&runs[1]).map(|(first, second)| value(first) / value(second)).collect()
    };
    let ratios = of(|usage| usage.sagas_per_s);
    Ok(Ratio {
        first: Usage::middle(&runs[0]),
        against: Usage::middle(&runs[1]),
        ratio_median: median(&ratios),
        ratio_min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratio_max: ratios.iter().copied().fold(0.0, f64::max),
        p50_ratio_median: median(&of(|usage| usage.p50_ms)),
        ratios,
        runs,
    })
}

impl Ratio {
    pub(crate) fn text(&self) -> String {
        let Self { first, against, ratios, ratio_median, ratio_min, ratio_max, .. } = self;
        format!(
            "the middle round of each:\n{}\n{}\n{} is {ratio_median:.2} times as fast as {} ({ratio_min:.2} \
             to {ratio_max:.2} in {} rounds; {:.0} and {:.0} sagas/s), and a saga takes {:.2} times as long",
            first.table(),
            against.table(),
            first.workload,
            against.workload,
            ratios.len(),
            first.sagas_per_s,
            against.sagas_per_s,
            self.p50_ratio_median,
        )
    }
}

/// One run, in a process of its own.
pub(crate) fn run(workload: Workload, load: &LoadArguments) -> anyhow::Result<Usage> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([&workload.name(), "--output", "json"]).args(load.to_words());
    let done =
        command.stderr(Stdio::inherit()).output().context("can not run this program again")?;
    ensure!(done.status.success(), "{} failed: {}", workload.name(), done.status);
    serde_json::from_slice(&done.stdout).context("its output is not what this program writes")
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
