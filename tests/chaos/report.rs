//! What a run shows at its end.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::invariants::Violation;

/// One scenario's result.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) sagas: i64,
    pub(crate) endings: BTreeMap<String, i64>,
    /// How often each kind of fault happened.
    pub(crate) faults: BTreeMap<String, u64>,
    /// After a fault was over: until somebody was accepted, until they had what they paid for.
    pub(crate) slowest_recovery_s: Option<(f64, f64)>,
    pub(crate) drained_s: f64,
    pub(crate) violations: Vec<Violation>,
    /// Why nothing was done, if nothing was.
    pub(crate) not_run: Option<String>,
    /// Where each fault is written down.
    pub(crate) log: String,
}

impl Report {
    /// Of a scenario that this machine can not run.
    pub(crate) fn of_none(scenario: &str, seed: u64, why: &str) -> Self {
        let (scenario, not_run) = (scenario.to_owned(), Some(why.to_owned()));
        Self { scenario, seed, not_run, ..Self::default() }
    }

    /// Of a scenario that came to no end.
    pub(crate) fn of_error(scenario: &str, seed: u64, error: &anyhow::Error) -> Self {
        let mut report = Self { scenario: scenario.to_owned(), seed, ..Self::default() };
        report.lacks(format!("it broke off: {error:#}"));
        report
    }

    /// Of all clusters that did the same scenario at the same time.
    pub(crate) fn of_all(reports: Vec<Self>) -> Self {
        let whole = reports.into_iter().reduce(|mut whole, report| {
            whole.add(report);
            whole
        });
        whole.unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.sagas += other.sagas;
        for (ending, count) in other.endings {
            *self.endings.entry(ending).or_default() += count;
        }
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        let slower =
            |(accepted, ended): (f64, f64), (a, e): (f64, f64)| (accepted.max(a), ended.max(e));
        let recoveries = [self.slowest_recovery_s, other.slowest_recovery_s];
        self.slowest_recovery_s = recoveries.into_iter().flatten().reduce(slower);
        self.drained_s = self.drained_s.max(other.drained_s);
        self.violations.extend(other.violations);
    }

    /// I10: a run in which one of these never happened has proved nothing.
    pub(crate) fn needs(&mut self, counters: &[&str]) {
        for counter in counters {
            if self.faults.get(*counter).copied().unwrap_or(0) == 0 {
                let detail = format!("no {counter} happened");
                self.violations.push(Violation { invariant: "I10".to_owned(), detail });
            }
        }
    }

    /// Something that the scenario promises besides.
    pub(crate) fn lacks(&mut self, detail: String) {
        self.violations.push(Violation { invariant: "promise".to_owned(), detail });
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// A line as soon as it is over.
    pub(crate) fn say(&self) {
        let Self { scenario, seconds, sagas, .. } = self;
        match &self.not_run {
            Some(why) => eprintln!("{scenario} is skipped: {why}"),
            None => {
                let verdict = if self.is_clean() { "holds" } else { "DOES NOT HOLD" };
                eprintln!("{scenario} {verdict} after {seconds:.0} s, {sagas} sagas");
            }
        }
    }

    /// Whether its promises were kept, in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        match (&self.not_run, self.is_clean()) {
            (Some(_), _) => "NOT RUN",
            (None, true) => "yes",
            (None, false) => "NO",
        }
    }
}

/// All results as a table.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["", "seed", "s", "sagas", "ended", "faults", "recovery", "drained", "holds"]);
    for report in reports {
        let list = |counts: Vec<String>| counts.join("\n");
        let recovery = report.slowest_recovery_s;
        let recovery = recovery.map(|(accepted, ended)| format!("{accepted:.1} s, {ended:.1} s"));
        table.add_row([
            report.scenario.clone(),
            report.seed.to_string(),
            format!("{:.0}", report.seconds),
            report.sagas.to_string(),
            list(report.endings.iter().map(|(ending, n)| format!("{n} {ending}")).collect()),
            list(report.faults.iter().map(|(kind, n)| format!("{n} {kind}")).collect()),
            recovery.unwrap_or_else(|| "-".to_owned()),
            format!("{:.1} s", report.drained_s),
            report.verdict().to_owned(),
        ]);
    }
    let mut text = table.to_string();
    for report in reports {
        if let Some(why) = &report.not_run {
            text += &format!("\n{} seed {}: skipped: {why}", report.scenario, report.seed);
        }
        for Violation { invariant, detail } in &report.violations {
            text += &format!("\n{} seed {}: {invariant}: {detail}", report.scenario, report.seed);
        }
        if !report.is_clean() {
            text += &format!(
                "\nagain: cargo test --release --test chaos -- {} --seed {}   (faults: {})",
                report.scenario, report.seed, report.log
            );
        }
    }
    text
}
