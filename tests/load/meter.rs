//! What a run cost: throughput, latencies, commits, WAL and CPU.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Where the counters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    /// A database of the server.
    pub(crate) url: &'a str,
    /// The server's first process, whose children do the work.
    pub(crate) postmaster: Option<u32>,
}

/// The counters at the beginning of a measurement.
pub(crate) struct Meter<'a> {
    connection: PgConnection,
    sources: Sources<'a>,
    began: Instant,
    commits: i64,
    wal: i64,
    engine_ticks: u64,
    postgres_ticks: u64,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) workload: String,
    pub(crate) in_flight: u32,
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
    /// CPU of this process: engine and client together.
    pub(crate) engine_cpu_us: f64,
    pub(crate) postgres_cpu_us: f64,
    pub(crate) rss_mb: f64,
}

const COUNTERS: &str = "select (select sum(xact_commit)::bigint from pg_stat_database), \
                        (pg_current_wal_lsn() - '0/0')::bigint";

impl<'a> Meter<'a> {
    pub(crate) async fn start(sources: Sources<'a>) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(sources.url).await?;
        let (commits, wal) = sqlx::query_as(COUNTERS).fetch_one(&mut connection).await?;
        let engine_ticks = ticks_of("self");
        let postgres_ticks = ticks_of_children(sources.postmaster);
        let began = Instant::now();
        Ok(Self { connection, sources, began, commits, wal, engine_ticks, postgres_ticks })
    }

    /// What it cost since then, for as many sagas as there are `latencies`, in microseconds.
    pub(crate) async fn stop(mut self, latencies: &Histogram<u64>) -> anyhow::Result<Usage> {
        let seconds = self.began.elapsed().as_secs_f64();
        let sagas = latencies.len();
        let engine = ticks_of("self") - self.engine_ticks;
        let postgres = ticks_of_children(self.sources.postmaster);
        let postgres = postgres.saturating_sub(self.postgres_ticks);
        // Sessions that are busy say once a second what they did, at the beginning as at the end.
        let (commits, wal): (i64, i64) =
            sqlx::query_as(COUNTERS).fetch_one(&mut self.connection).await?;
        let each = |amount: f64| amount / sagas.max(1) as f64;
        let quantile = |q| latencies.value_at_quantile(q) as f64 / 1_000.0;
        Ok(Usage {
            seconds,
            sagas,
            sagas_per_s: sagas as f64 / seconds,
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: latencies.max() as f64 / 1_000.0,
            commits_per_saga: each((commits - self.commits) as f64),
            wal_bytes_per_saga: each((wal - self.wal) as f64),
            engine_cpu_us: each(engine as f64 * TICK_US),
            postgres_cpu_us: each(postgres as f64 * TICK_US),
            rss_mb: rss_mb(),
            ..Usage::default()
        })
    }
}

impl Usage {
    pub(crate) fn of(self, workload: &str, in_flight: u32, nodes: u32) -> Self {
        Self { workload: workload.to_owned(), in_flight, nodes, ..self }
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
        format!(
            "{table}\na saga: {:.3} commits, {:.0} bytes of WAL, {:.0} us engine and client, {:.0} us \
             PostgreSQL; {:.0} MB resident",
            self.commits_per_saga,
            self.wal_bytes_per_saga,
            self.engine_cpu_us,
            self.postgres_cpu_us,
            self.rss_mb
        )
    }
}

/// Linux counts CPU time in hundredths of a second.
const TICK_US: f64 = 10_000.0;

fn ticks_of(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    field(11) + field(12)
}

fn ticks_of_children(parent: Option<u32>) -> u64 {
    let Some(parent) = parent.map(|pid| pid.to_string()) else { return 0 };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = processes.filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ppid = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        (ppid == parent).then(|| ticks_of(&pid))
    });
    children.sum()
}

fn rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1_024.0
}

pub(crate) async fn create_database(admin: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(admin).await?;
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await?;
    Ok(connection.close().await?)
}
