//! The fault suite: `cargo test --release --test chaos -- short --seed 7`. See its README.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod cases;
mod cluster;
mod customers;
mod disk;
mod harness;
mod invariants;
mod log;
mod node;
mod operator;
mod planted;
mod proxy;
mod report;
mod run;
mod scenarios;
mod wall_clock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::{Arguments, Output};
use report::Report;
use scenarios::{Chosen, Form, Scenario};

fn main() -> anyhow::Result<ExitCode> {
    let Some(arguments) = arguments::parse() else { return Ok(ExitCode::SUCCESS) };
    if let [first, bugs @ ..] = &arguments.what[..]
        && first == "planted"
    {
        return hunt(bugs, &arguments);
    }
    if arguments.what == ["control"] {
        let reports = runtime()?.block_on(planted::control(arguments.seed, &logs()))?;
        return show(&reports, &arguments);
    }
    let chosen = scenarios::chosen(&arguments.what)?;
    if chosen.mounts() {
        // Whoever may not is told so by the scenario.
        let _ = disk::mounts::apart();
    }
    show(&runtime()?.block_on(run_all(&arguments, &chosen)), &arguments)
}

fn show(reports: &[Report], arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(reports)?),
        Output::Table => println!("{}", report::table(reports)),
    }
    Ok(success(reports.iter().all(Report::is_clean)))
}

/// The suite against itself.
fn hunt(bugs: &[String], arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let findings = runtime()?.block_on(planted::hunt(bugs, arguments.seed, &logs()))?;
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&findings)?),
        Output::Table => println!("{}", planted::table(&findings)),
    }
    Ok(success(findings.iter().all(planted::Finding::is_found)))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

fn success(is_it: bool) -> ExitCode {
    if is_it { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run_all(arguments: &Arguments, chosen: &Chosen) -> Vec<Report> {
    let Chosen { form, by_name, ref scenarios } = *chosen;
    let end = arguments.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let mut reports: Vec<Report> = Vec::new();
    let mut seed = arguments.seed;
    loop {
        for scenario in scenarios {
            let mut report = run_one(scenario, form, seed, arguments).await;
            if let Some(why) = report.not_run.clone().filter(|_| by_name) {
                report.lacks(format!("it was asked for: {why}"));
            }
            reports.push(report);
        }
        let goes_on = form == Form::Soak && end.is_some_and(|end| Instant::now() < end);
        if !goes_on || !reports.iter().all(Report::is_clean) {
            return reports;
        }
        seed += 1;
    }
}

async fn run_one(scenario: &Scenario, form: Form, seed: u64, arguments: &Arguments) -> Report {
    let mut size = scenario.size(form);
    size.sagas = arguments.sagas.unwrap_or(size.sagas);
    size.faults = arguments.kills.unwrap_or(size.faults);
    if let Some(minutes) = arguments.minutes.filter(|_| form != Form::Soak) {
        size.time = Duration::from_secs(minutes * 60);
    }
    eprintln!("{} {}, seed {seed} ...", scenario.name, scenario.about);
    let report = match (scenario.run)(scenario.name, seed, size, logs()).await {
        Ok(report) => report,
        // The others are run all the same.
        Err(error) => Report::of_error(scenario.name, seed, &error),
    };
    report.say();
    report
}

/// Where the fault logs are kept.
fn logs() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_BIN_EXE_amends"));
    target.parent().map_or_else(PathBuf::new, |directory| directory.join("chaos"))
}
