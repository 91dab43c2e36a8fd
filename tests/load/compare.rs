//! Two workloads by turns: how many times as fast the first one is.

use serde::Serialize;

use crate::arguments::{Arguments, Workload};
use crate::meter::Usage;
use crate::spread::{Spread, median};
use crate::turns::{Rounds, Turn, by_turns};

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
    runs: Vec<Vec<Usage>>,
}

/// Runs each of them as often as `arguments` say.
pub(crate) async fn compare(pair: [Workload; 2], arguments: &Arguments) -> Rounds {
    let turn = |workload: Workload| Turn { workload, load: arguments.load, label: workload.name() };
    by_turns(&pair.map(turn), arguments.rounds).await
}

impl Ratio {
    /// Of one round of both at least.
    pub(crate) fn of(runs: Vec<Vec<Usage>>) -> Self {
        let of = |value: fn(&Usage) -> f64| -> Vec<f64> {
            runs[0].iter().zip(&runs[1]).map(|(one, other)| value(one) / value(other)).collect()
        };
        let ratios = of(|usage| usage.sagas_per_s);
        let Spread { median: ratio_median, least: ratio_min, most: ratio_max } =
            Spread::of(&ratios);
        Self {
            first: Usage::middle(&runs[0]),
            against: Usage::middle(&runs[1]),
            ratio_median,
            ratio_min,
            ratio_max,
            p50_ratio_median: median(&of(|usage| usage.p50_ms)),
            ratios,
            runs,
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { first, against, ratios, .. } = self;
        let ratio = Spread::of(ratios);
        format!(
            "the middle round of each:\n{}\n{}\n{} is {ratio} times as fast as {} in {} rounds ({:.0} and {:.0} \
             sagas/s), and a saga takes {:.2} times as long",
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
