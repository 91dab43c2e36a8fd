//! The same two sagas on other systems, by turns with Amends: each time new processes and a new server with
//! the same settings.

mod install;
mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::ValueEnum;
use metrics_exporter_prometheus::PrometheusHandle;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::arena::Arena;
use crate::arguments::{Arguments, LoadArguments, Workload};
use crate::meter::{self, Latencies, Meter, Sources, Usage};
use crate::spread::median;
use crate::{turns, unless_interrupted};
use install::Programs;

/// What each of them runs.
const WORKLOADS: [Workload; 2] = [Workload::Noop, Workload::ThreeStores];
/// How much longer than the measurement a run may take: to start, and to end what is under way.
const SPARE: Duration = Duration::from_secs(120);

/// A system that keeps sagas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum System {
    Amends,
    Restate,
    DbosRust,
    Durare,
    OpenWorkflow,
    Absurd,
    DbosTypescript,
    DbosPython,
}

/// What was measured of all of them.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    in_flight: u32,
    seconds: u64,
    systems: Vec<Measured>,
}

#[derive(Debug, Serialize)]
struct Measured {
    #[serde(skip)]
    system: System,
    name: &'static str,
    version: String,
    keeps_sagas_in: &'static str,
    /// Why it was not run to the end; none: it was.
    not_run: Option<String>,
    /// Why some of its runs were run again.
    run_again: Vec<String>,
    workloads: BTreeMap<String, Rounds>,
}

#[derive(Debug, Default, Serialize)]
struct Rounds {
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Of everything: PostgreSQL, the system with its client, and what it charges at.
    cpu_us: f64,
    /// How many times as fast Amends is, a round each; empty for itself.
    ratios: Vec<f64>,
    runs: Vec<Usage>,
}

/// What a peer's program says at the end.
#[derive(Deserialize)]
struct Said {
    version: String,
    #[serde(flatten)]
    latencies: Latencies,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Amends => "Amends",
            Self::Restate => "Restate",
            Self::DbosRust => "DBOS Rust",
            Self::Durare => "durare",
            Self::OpenWorkflow => "OpenWorkflow",
            Self::Absurd => "absurd",
            Self::DbosTypescript => "DBOS TypeScript",
            Self::DbosPython => "DBOS Python",
        }
    }

    fn keeps_sagas_in(self) -> &'static str {
        if self == Self::Restate { "a log of its own" } else { "PostgreSQL" }
    }
}

/// Runs those that `arguments` name, all unless told otherwise, as many rounds as they say. What was measured in
/// whole rounds is not lost if somebody wants this process to end; the second value says why there are no more.
pub(crate) async fn run(
    arguments: &Arguments,
    recorder: &PrometheusHandle,
) -> anyhow::Result<(Comparison, anyhow::Result<()>)> {
    let mut systems = match &arguments.only[..] {
        [] => System::value_variants().to_vec(),
        only => only.to_vec(),
    };
    systems.push(System::Amends);
    systems.sort_unstable();
    systems.dedup();
    let mut all: Vec<Measured> = systems.into_iter().map(Measured::nothing).collect();
    let programs = Programs::open()?;
    let ended = unless_interrupted(async {
        for one in all.iter_mut().filter(|one| one.system != System::Amends) {
            eprintln!("getting {} ...", one.name);
            let installed = programs.install(one.system).await;
            one.not_run = installed.err().map(|error| format!("{error:#}"));
        }
        for _ in 0..arguments.rounds {
            // Nobody is always the first one.
            all.rotate_left(1);
            for one in all.iter_mut().filter(|one| one.not_run.is_none()) {
                one.round(&programs, arguments, recorder).await;
            }
        }
        Ok(())
    });
    let mut ended = ended.await;
    all.sort_by_key(|one| one.system);
    if ended.is_err() {
        drop_half_rounds(&mut all);
    }
    for one in &all {
        if let (Ok(()), Some(reason)) = (&ended, &one.not_run) {
            ended = Err(anyhow!("{} was not run to the end: {reason}", one.name));
        }
    }
    let comparison = Comparison {
        in_flight: arguments.load.in_flight,
        seconds: arguments.load.seconds,
        systems: summed_up(all),
    };
    Ok((comparison, ended))
}

/// Of those that still run, what others have not run as often.
fn drop_half_rounds(all: &mut [Measured]) {
    let run = |one: &Measured| -> usize {
        let runs = WORKLOADS.map(|workload| one.workloads.get(&workload.name()));
        runs.map(|rounds| rounds.map_or(0, |rounds| rounds.runs.len()))
            .into_iter()
            .min()
            .unwrap_or(0)
    };
    let whole = all.iter().filter(|one| one.not_run.is_none()).map(run).min().unwrap_or(0);
    for rounds in all.iter_mut().flat_map(|one| one.workloads.values_mut()) {
        rounds.runs.truncate(whole);
    }
}

impl Measured {
    fn nothing(system: System) -> Self {
        Self {
            system,
            name: system.name(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keeps_sagas_in: system.keeps_sagas_in(),
            not_run: None,
            run_again: Vec::new(),
            workloads: BTreeMap::new(),
        }
    }

    /// A run of each workload. One that fails is run again, once.
    async fn round(
        &mut self,
        programs: &Programs,
        arguments: &Arguments,
        recorder: &PrometheusHandle,
    ) {
        for workload in WORKLOADS {
            let mut done = self.run(workload, programs, arguments, recorder).await;
            if let Err(error) = done {
                eprintln!("{} failed, and is run again: {error:#}", self.name);
                self.run_again.push(format!("{}: {error:#}", workload.name()));
                done = self.run(workload, programs, arguments, recorder).await;
            }
            if let Err(error) = done {
                eprintln!("{} failed: {error:#}", self.name);
                self.not_run = Some(format!("{}, twice: {error:#}", workload.name()));
                return;
            }
        }
    }

    /// One run.
    async fn run(
        &mut self,
        workload: Workload,
        programs: &Programs,
        arguments: &Arguments,
        recorder: &PrometheusHandle,
    ) -> anyhow::Result<()> {
        let usage = if self.system == System::Amends {
            // With keys, as all of them: a repeat is harmless.
            turns::run(workload, &LoadArguments { keyed: true, ..arguments.load }).await?
        } else {
            let (said, usage) =
                peer(self.system, workload, programs, &arguments.load, recorder).await?;
            self.version = said;
            usage
        };
        let (rate, p50) = (usage.sagas_per_s, usage.p50_ms);
        eprintln!("{}, {}: {rate:.0} sagas/s, p50 {p50:.1} ms", self.name, workload.name());
        self.workloads.entry(workload.name()).or_default().runs.push(usage);
        Ok(())
    }
}

/// One run of a peer: what version it is, and what it cost.
async fn peer(
    system: System,
    workload: Workload,
    programs: &Programs,
    load: &LoadArguments,
    recorder: &PrometheusHandle,
) -> anyhow::Result<(String, Usage)> {
    let arena = Arena::open().await?;
    programs.prepare(system, &arena.sagas_url).await?;
    let mut command = programs.command(system)?;
    command
        .env("WORKLOAD", workload.name())
        .env("SAGAS_URL", &arena.sagas_url)
        .env("INVENTORY_URL", &arena.inventory_url)
        .env("ORDERS_URL", &arena.orders_url)
        .env("CHARGE_URL", &arena.charge_url)
        .env("IN_FLIGHT", load.in_flight.to_string())
        .env("WARM_UP", load.warm_up.to_string())
        .env("SECONDS", load.seconds.to_string())
        .envs(turns::NO_BACKTRACES)
        // What it writes and leaves ends with the arena.
        .env("TMPDIR", arena.scratch())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut family = Family(command.spawn().context("its program does not start")?);
    let output = family.0.stdout.take().context("its output is a pipe")?;
    let sources = Sources { url: &arena.sagas_url, postmaster: arena.postmaster()?, recorder };
    let measuring = async {
        let connection = PgConnection::connect(sources.url).await?;
        let mut lines = BufReader::new(output).lines();
        while lines.next_line().await?.context("it ends before it is warm")? != "measure" {}
        let meter = Meter::start_on(connection, sources).await?;
        let said: Said = loop {
            let line = lines.next_line().await?.context("it ends without a result")?;
            match serde_json::from_str(&line) {
                Ok(said) => break said,
                Err(_) => eprintln!("{}: {line}", system.name()),
            }
        };
        let usage = meter.stop(said.latencies).await?;
        let status = family.0.wait().await?;
        ensure!(status.success(), "it ended with {status}");
        anyhow::Ok((said.version, usage.of(workload, load)))
    };
    let limit = Duration::from_secs(load.warm_up + load.seconds) + SPARE;
    tokio::time::timeout(limit, measuring).await.context("it does not end").flatten()
}

/// A peer's program, and what it has started: if it has not ended by itself, all of it ends with this, and
/// does not slow down whoever comes next.
struct Family(Child);

impl Drop for Family {
    fn drop(&mut self) {
        for started in self.0.id().map_or(Vec::new(), |program| meter::children(program, None)) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(started.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// With the medians of all rounds, and how many times as fast Amends was in each.
fn summed_up(mut all: Vec<Measured>) -> Vec<Measured> {
    let rates = |one: &Measured, workload: &str| -> Vec<f64> {
        let runs = one.workloads.get(workload).map_or(&[][..], |rounds| &rounds.runs);
        runs.iter().map(|run| run.sagas_per_s).collect()
    };
    let ours: BTreeMap<String, Vec<f64>> = WORKLOADS
        .map(|workload| (workload.name(), rates(&all[0], &workload.name())))
        .into_iter()
        .collect();
    for one in &mut all {
        let is_ours = one.system == System::Amends;
        for (workload, rounds) in &mut one.workloads {
            let middle = |value: fn(&Usage) -> f64| {
                median(&rounds.runs.iter().map(value).collect::<Vec<_>>())
            };
            rounds.sagas_per_s = middle(|run| run.sagas_per_s);
            rounds.p50_ms = middle(|run| run.p50_ms);
            rounds.p99_ms = middle(|run| run.p99_ms);
            rounds.cpu_us = middle(Usage::cpu_us);
            if !is_ours {
                let pairs = ours[workload].iter().zip(&rounds.runs);
                rounds.ratios = pairs.map(|(ours, run)| ours / run.sagas_per_s).collect();
            }
        }
    }
    all
}

impl Comparison {
    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.systems.iter().all(|one| one.workloads.values().all(|rounds| rounds.runs.is_empty()))
    }
}

/// Where the peers' programs are kept as written here.
fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/load/peers"))
}
