//! The suite against itself: a scenario that finds nothing where a bug is planted has a hole.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use engine::testing::PlantedBug;
use serde::Serialize;

use crate::invariants::Violation;
use crate::report::Report;
use crate::run::Size;
use crate::scenarios;

/// How many seeds a bug is given to show itself.
const TRIES: u64 = 3;

/// How a bug was found, or that it was not.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    bug: &'static str,
    scenario: &'static str,
    /// The seed that found it, or the last one that did not.
    seed: u64,
    seconds: f64,
    /// What did not hold.
    violations: Vec<Violation>,
}

impl Finding {
    pub(crate) fn is_found(&self) -> bool {
        !self.violations.is_empty()
    }
}

/// The scenario that must find a bug, and how much of it: sagas, faults.
fn hunter(bug: PlantedBug) -> (&'static str, usize, usize) {
    match bug {
        PlantedBug::NoFence => ("F5", 400, 12),
        PlantedBug::FenceOnlyRead => ("F5", 400, 12),
        PlantedBug::NewKeyPerAttempt => ("F7", 400, 0),
        PlantedBug::TimeoutIsFailure => ("F7", 400, 0),
        PlantedBug::LookupThenCompensate => ("F7", 600, 0),
        PlantedBug::NoEffectRows => ("F3", 300, 10),
        PlantedBug::RefundWithoutKey => ("F7", 1_500, 0),
        PlantedBug::AsyncCommit => ("F4", 300, 9),
        PlantedBug::AcceptBeforeCommit => ("F4", 300, 9),
        PlantedBug::KeepTimedOutConnection => ("F6", 300, 10),
        PlantedBug::ReadThenWriteStock => ("F15", 400, 0),
        PlantedBug::DropUnknownWebhooks => ("F7", 400, 0),
    }
}

/// Hunts the bugs of these names, or all.
pub(crate) async fn hunt(names: &[String], seed: u64, logs: &Path) -> anyhow::Result<Vec<Finding>> {
    let bugs: Result<Vec<PlantedBug>, _> = names.iter().map(|name| name.parse()).collect();
    let mut bugs = bugs.map_err(|error| anyhow::anyhow!("{error}"))?;
    if bugs.is_empty() {
        bugs = PlantedBug::ALL.to_vec();
    }
    let mut findings = Vec::new();
    for bug in bugs {
        let finding = hunt_one(bug, seed, &logs.join("planted")).await;
        findings.push(finding.unwrap_or_else(|error| {
            eprintln!("{bug} could not be hunted: {error:?}");
            let (bug, scenario) = (bug.name(), hunter(bug).0);
            Finding { bug, scenario, seed, seconds: 0.0, violations: Vec::new() }
        }));
    }
    Ok(findings)
}

/// Runs what hunts them without any bug, under the same limits: what it finds is not theirs.
pub(crate) async fn control(seed: u64, logs: &Path) -> anyhow::Result<Vec<Report>> {
    let hunters: BTreeSet<_> = PlantedBug::ALL.iter().map(|bug| hunter(*bug)).collect();
    let mut reports = Vec::new();
    for (name, sagas, faults) in hunters {
        eprintln!("{name} without a bug, {sagas} sagas, {faults} faults, seed {seed} ...");
        let run = scenarios::named(name)?.run;
        let report = run(name, seed, size(sagas, faults, None), logs.join("control")).await;
        let report = report.unwrap_or_else(|error| Report::of_error(name, seed, &error));
        report.say();
        reports.push(report);
    }
    Ok(reports)
}

fn size(sagas: usize, faults: usize, bug: Option<PlantedBug>) -> Size {
    Size { sagas, faults, time: Duration::from_secs(20), bug, is_hunt: true }
}

async fn hunt_one(bug: PlantedBug, first: u64, logs: &Path) -> anyhow::Result<Finding> {
    let (name, sagas, faults) = hunter(bug);
    let scenario = scenarios::named(name)?;
    let size = size(sagas, faults, Some(bug));
    let began = Instant::now();
    let mut seed = first;
    loop {
        eprintln!("{bug} in {name}, seed {seed} ...");
        let report = (scenario.run)(name, seed, size, logs.to_owned()).await?;
        // A run that was too small to show anything has found nothing.
        let mut violations = report.violations;
        violations.retain(|violation| violation.invariant != "I10");
        let seconds = began.elapsed().as_secs_f64();
        if !violations.is_empty() || seed + 1 == first + TRIES {
            let said = if violations.is_empty() { "NOT FOUND" } else { "found" };
            eprintln!("{bug} {said} after {seconds:.0} s");
            let bug = bug.name();
            return Ok(Finding { bug, scenario: name, seed, seconds, violations });
        }
        seed += 1;
    }
}

/// What was found, as a table.
pub(crate) fn table(findings: &[Finding]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["planted bug", "scenario", "seed", "s", "found by"]);
    for finding in findings {
        // The first of each kind.
        let mut kinds = BTreeSet::new();
        let first = finding.violations.iter().filter(|found| kinds.insert(&found.invariant));
        let mut by: Vec<String> = first
            .map(|Violation { invariant, detail }| {
                format!("{invariant}: {}", detail.chars().take(100).collect::<String>())
            })
            .collect();
        if by.is_empty() {
            by.push("NOT FOUND".to_owned());
        }
        table.add_row([
            finding.bug.to_owned(),
            finding.scenario.to_owned(),
            finding.seed.to_string(),
            format!("{:.0}", finding.seconds),
            by.join("\n"),
        ]);
    }
    table.to_string()
}
