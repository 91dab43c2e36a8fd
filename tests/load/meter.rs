//! What a run cost: throughput, latencies, commits, WAL, CPU and memory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::arguments::{LoadArguments, Workload};
use crate::chart::{self, Bars};

/// How often the counters are added up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// In how many parts the memory of a run is looked at.
pub(crate) const PARTS: usize = 12;
const MB: f64 = 1_048_576.0;

/// Starts to count what the engine says. Once a process.
pub(crate) fn recorder() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let upkeep = recorder.clone();
    // As the program does. Until they are added up each number is kept.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(UPKEEP_EVERY);
            upkeep.run_upkeep();
        }
    });
    Ok(recorder)
}

/// Where the counters are.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// A database of the server.
    pub(crate) url: &'a str,
    /// The server's first process, whose children do the work.
    pub(crate) postmaster: u32,
    /// What the engine counts.
    pub(crate) recorder: &'a PrometheusHandle,
}

/// The counters at the beginning of a measurement.
pub(crate) struct Meter<'a> {
    connection: PgConnection,
    sources: Sources<'a>,
    began: Instant,
    commits: i64,
    wal: i64,
    ticks: Ticks,
    batches: Batches,
}

/// CPU time so far, in [`TICK_US`].
#[derive(Clone, Copy, Debug)]
struct Ticks {
    /// Of this process.
    engine: u64,
    postgres: u64,
    /// Of the processes that this one started, but for PostgreSQL: the payment gateway's, a peer's.
    gateway: u64,
}

/// What the lanes wrote so far.
#[derive(Clone, Copy, Debug, Default)]
struct Batches {
    sagas: f64,
    commits: f64,
}

/// How many sagas ended while it was measured, and how long they took.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Latencies {
    sagas: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) workload: String,
    pub(crate) in_flight: u32,
    /// How many were to begin in a second; none: as many as ended.
    pub(crate) rate: Option<u32>,
    pub(crate) nodes: u32,
    pub(crate) seconds: f64,
    pub(crate) sagas: u64,
    pub(crate) sagas_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) commits_per_saga: f64,
    pub(crate) wal_bytes_per_saga: f64,
    /// How many sagas a lane wrote in one commit, in the mean; none: nothing has lanes here.
    pub(crate) batch_sagas: Option<f64>,
    /// CPU of this process: the engine, and the clients.
    pub(crate) engine_cpu_us: f64,
    /// Of that, what the clients' tasks take: a saga's start, and the wait for its end. None: not measured, or
    /// there is no engine, and all of it are the clients.
    pub(crate) client_cpu_us: Option<f64>,
    pub(crate) postgres_cpu_us: f64,
    /// CPU of the payment gateway's simulator; of a peer, if one was measured.
    pub(crate) gateway_cpu_us: f64,
    /// At the end.
    pub(crate) rss_mb: f64,
    /// The mean of each twelfth of the run, of an hour five minutes each; empty: shorter than twelve
    /// seconds, or without clients.
    pub(crate) rss_mb_over_time: Vec<f64>,
    /// What a waiting saga takes in memory; none: none waits.
    pub(crate) memory_bytes_per_saga: Option<f64>,
}

const COUNTERS: &str = "select (select sum(xact_commit)::bigint from pg_stat_database), \
                        (pg_current_wal_lsn() - '0/0')::bigint";

impl<'a> Meter<'a> {
    pub(crate) async fn start(sources: Sources<'a>) -> anyhow::Result<Self> {
        let connection = PgConnection::connect(sources.url).await?;
        Self::start_on(connection, sources).await
    }

    /// With a connection that was made before, so that nothing passes unmeasured meanwhile.
    pub(crate) async fn start_on(
        mut connection: PgConnection,
        sources: Sources<'a>,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let (ticks, batches) = (Ticks::now(sources.postmaster), Batches::now(sources.recorder));
        let (commits, wal) = sqlx::query_as(COUNTERS).fetch_one(&mut connection).await?;
        Ok(Self { connection, sources, began, commits, wal, ticks, batches })
    }

    /// What it cost since then.
    pub(crate) async fn stop(mut self, latencies: Latencies) -> anyhow::Result<Usage> {
        let seconds = self.began.elapsed().as_secs_f64();
        let (now, batches) =
            (Ticks::now(self.sources.postmaster), Batches::now(self.sources.recorder));
        let lane_commits = batches.commits - self.batches.commits;
        // Sessions that are busy say once a second what they did, at the beginning as at the end.
        let (commits, wal): (i64, i64) =
            sqlx::query_as(COUNTERS).fetch_one(&mut self.connection).await?;
        let Latencies { sagas, p50_ms, p95_ms, p99_ms, max_ms } = latencies;
        ensure!(sagas > 0, "no saga ended within the {seconds:.0} s that were measured");
        let usage = Usage {
            seconds,
            sagas,
            p50_ms,
            p95_ms,
            p99_ms,
            max_ms,
            wal_bytes_per_saga: (wal - self.wal) as f64 / sagas as f64,
            batch_sagas: (lane_commits > 0.0)
                .then(|| (batches.sagas - self.batches.sagas) / lane_commits),
            rss_mb: rss_bytes() as f64 / MB,
            ..Usage::default()
        };
        Ok(usage.cost(self.ticks, now, commits - self.commits))
    }
}

impl From<&Histogram<u64>> for Latencies {
    /// Of microseconds.
    fn from(micros: &Histogram<u64>) -> Self {
        let quantile = |q| micros.value_at_quantile(q) as f64 / 1_000.0;
        Self {
            sagas: micros.len(),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: micros.max() as f64 / 1_000.0,
        }
    }
}

impl Usage {
    pub(crate) fn of(self, workload: Workload, arguments: &LoadArguments) -> Self {
        let LoadArguments { in_flight, rate, nodes, .. } = *arguments;
        Self { workload: workload.name(), in_flight, rate, nodes, ..self }
    }

    /// With what was `resident` each second, in bytes.
    pub(crate) fn resident_over(self, resident: &[u64]) -> Self {
        let seconds = resident.len();
        if seconds < PARTS {
            return self;
        }
        let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64 / MB;
        let part = |at: usize| mean(&resident[at * seconds / PARTS..(at + 1) * seconds / PARTS]);
        Self { rss_mb_over_time: (0..PARTS).map(part).collect(), ..self }
    }

    /// What was resident, from the beginning to the end.
    pub(crate) fn chart(&self) -> String {
        let part = self.seconds / PARTS as f64;
        let bars = self.rss_mb_over_time.iter().enumerate().map(|(at, mb)| Bars {
            label: format!("{:.0} to {:.0} s", part * at as f64, part * (at + 1) as f64),
            values: vec![*mb],
            is_ours: true,
        });
        let title = format!("{}: memory over {:.0} s", self.workload, self.seconds);
        chart::bars(&title, &["MB resident"], &bars.collect::<Vec<_>>())
    }

    /// CPU of everything.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.engine_cpu_us + self.postgres_cpu_us + self.gateway_cpu_us
    }

    /// The one of these runs that was neither fast nor slow.
    pub(crate) fn middle(runs: &[Self]) -> Self {
        let mut runs: Vec<&Self> = runs.iter().collect();
        runs.sort_by(|one, other| one.sagas_per_s.total_cmp(&other.sagas_per_s));
        runs.get(runs.len() / 2).map(|run| (*run).clone()).unwrap_or_default()
    }

    pub(crate) fn table(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["workload", "in flight", "sagas/s", "p50", "p95", "p99", "max"]);
        let ms = |value: f64| format!("{value:.1} ms");
        table.add_row([
            self.workload.clone(),
            self.in_flight.to_string(),
            format!("{:.0}", self.sagas_per_s),
            ms(self.p50_ms),
            ms(self.p95_ms),
            ms(self.p99_ms),
            ms(self.max_ms),
        ]);
        let mut text = format!(
            "{table}\na saga: {:.3} commits, {:.0} bytes of WAL; CPU: {:.0} us engine and client, {:.0} us \
             PostgreSQL, {:.0} us payment gateway",
            self.commits_per_saga,
            self.wal_bytes_per_saga,
            self.engine_cpu_us,
            self.postgres_cpu_us,
            self.gateway_cpu_us,
        );
        if let Some(client) = self.client_cpu_us {
            text += &format!("; {client:.0} us the client alone");
        }
        text += &format!("; {:.0} MB resident", self.rss_mb);
        if let Some(rate) = self.rate {
            let begun =
                if self.sagas_per_s < 0.99 * f64::from(rate) { "not reached" } else { "reached" };
            text += &format!("; {rate} a second, {begun}");
        }
        if let Some(batch) = self.batch_sagas {
            text += &format!("; {batch:.1} sagas in a lane's commit");
        }
        if let [first, .., last] = self.rss_mb_over_time[..] {
            text +=
                &format!("; {first:.0} MB resident in the first twelfth, {last:.0} in the last");
        }
        if let Some(memory) = self.memory_bytes_per_saga {
            text += &format!("; {memory:.0} bytes of memory for one that waits");
        }
        text
    }
}

impl Ticks {
    fn now(postmaster: u32) -> Self {
        Self {
            engine: ticks_of("self", OWN),
            postgres: ticks_of_children(postmaster, None),
            gateway: ticks_of_children(std::process::id(), Some(postmaster)),
        }
    }
}

impl Batches {
    fn now(recorder: &PrometheusHandle) -> Self {
        let text = recorder.render();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
        };
        Self {
            sagas: value("amends_lane_batch_sagas_sum"),
            commits: value("amends_lane_batch_sagas_count"),
        }
    }
}

impl Usage {
    /// With what it cost between `before` and `after`.
    fn cost(self, before: Ticks, after: Ticks, commits: i64) -> Self {
        let each = |amount: f64| amount / self.sagas as f64;
        let cpu = |before: u64, after: u64| each(after.saturating_sub(before) as f64 * TICK_US);
        Self {
            sagas_per_s: self.sagas as f64 / self.seconds,
            commits_per_saga: each(commits as f64),
            engine_cpu_us: cpu(before.engine, after.engine),
            postgres_cpu_us: cpu(before.postgres, after.postgres),
            gateway_cpu_us: cpu(before.gateway, after.gateway),
            ..self
        }
    }
}

/// Linux counts CPU time in hundredths of a second.
const TICK_US: f64 = 10_000.0;

/// Where `/proc/{pid}/stat` says, after the name, what a process took itself, in user and system mode, and
/// what its children did that have ended (proc(5)).
const OWN: [usize; 2] = [11, 12];
const ENDED_CHILDREN: [usize; 2] = [13, 14];

fn ticks_of(process: &str, which: [usize; 2]) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    which.map(field).iter().sum()
}

/// Of the children of `parent` and of theirs, also of those that have ended, but for one of them.
fn ticks_of_children(parent: u32, but: Option<u32>) -> u64 {
    let of_ended = |pid: u32| ticks_of(&pid.to_string(), ENDED_CHILDREN);
    let each = |pid: u32| ticks_of(&pid.to_string(), OWN) + of_ended(pid);
    of_ended(parent) + children(parent, but).into_iter().map(each).sum::<u64>()
}

/// The living children of `parent` and theirs, but for one of them.
pub(crate) fn children(parent: u32, but: Option<u32>) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let family = processes.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?))
    });
    let family: Vec<(u32, u32)> = family.collect();
    let (mut children, mut parents) = (Vec::new(), vec![parent]);
    while let Some(parent) = parents.pop() {
        for (pid, _) in family.iter().filter(|(pid, of)| *of == parent && Some(*pid) != but) {
            children.push(*pid);
            parents.push(*pid);
        }
    }
    children
}

pub(crate) fn rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

pub(crate) async fn create_database(admin: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(admin).await?;
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    Ok(connection.close().await?)
}
