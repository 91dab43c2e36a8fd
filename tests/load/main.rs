//! The load program: `cargo bench --bench load -- noop --in-flight 1024 --seconds 10`.
//!
//! It runs a private PostgreSQL and one engine in this process, keeps so many sagas in flight, and
//! says how many ended a second, how long they took, and what they cost.
#![allow(clippy::unwrap_used, reason = "a benchmark that can not go on fails")]

mod meter;
mod noop;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use engine::client::Start;
use engine::{Client, Engine, Payload, Registry, Settings};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use local_postgres::LocalPostgres;

use meter::{Meter, Usage};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to run.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// A saga of three steps that do nothing: what the engine itself costs.
    Noop,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Parser)]
#[command(name = "load", about = "Measures how many sagas a second end, and what one costs")]
struct Arguments {
    workload: Workload,
    /// How many sagas are under way at once
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// How many connections commit
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let directory = tempfile::tempdir()?;
    let server = LocalPostgres::start(&local_postgres::Options::new(directory.path()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let measured = runtime.block_on(run(&arguments, &server))?;
    match arguments.output {
        Output::Json => println!("{}", serde_json::to_string(&measured)?),
        Output::Table => println!("{}", measured.table()),
    }
    drop(runtime);
    server.stop()?;
    Ok(())
}

async fn run(arguments: &Arguments, server: &LocalPostgres) -> anyhow::Result<Usage> {
    meter::create_database(&server.url("postgres"), "amends").await?;
    let url = server.url("amends");
    engine::migrate(&url, 32).await?;
    let mut settings = Settings::new(&url);
    settings.lanes = arguments.lanes.into();
    let registry = Registry::new().workflow::<noop::Noop>(&Arc::new(noop::Nothing));
    let engine = Engine::start(settings, registry).await?;
    let load = Arc::new(Load::new(engine.client()));
    let end = Instant::now() + Duration::from_secs(arguments.warm_up + arguments.seconds);
    let clients: Vec<_> = (0..arguments.in_flight)
        .map(|_| tokio::spawn(load.clone().keep_one_in_flight(end)))
        .collect();
    let bar = progress(arguments.warm_up + arguments.seconds);
    wait(&bar, arguments.warm_up).await;
    let meter = Meter::start(&url, server.pid()).await?;
    load.begin();
    wait(&bar, arguments.seconds).await;
    let (sagas, latencies) = load.finish();
    let usage = meter.stop(sagas, &latencies).await?;
    for client in clients {
        client.await??;
    }
    bar.finish_and_clear();
    engine.shutdown().await;
    Ok(usage.of(&format!("{:?}", arguments.workload).to_lowercase(), arguments.in_flight, 1))
}

async fn wait(bar: &ProgressBar, seconds: u64) {
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
}

fn progress(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s");
    ProgressBar::new(seconds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A closed loop: each client starts the next saga when its last one ended.
struct Load {
    client: Client,
    measuring: std::sync::Mutex<Option<Histogram<u64>>>,
    ended: AtomicU64,
}

impl Load {
    fn new(client: Client) -> Self {
        Self { client, measuring: std::sync::Mutex::new(None), ended: AtomicU64::new(0) }
    }

    fn begin(&self) {
        *self.measuring.lock().unwrap() = Histogram::new(3).ok();
        self.ended.store(0, Ordering::SeqCst);
    }

    fn finish(&self) -> (u64, Histogram<u64>) {
        let latencies = self.measuring.lock().unwrap().take().unwrap();
        (self.ended.load(Ordering::SeqCst), latencies)
    }

    async fn keep_one_in_flight(self: Arc<Self>, end: Instant) -> anyhow::Result<()> {
        let input = Payload::encode(&noop::Order::example())?;
        while Instant::now() < end {
            let began = Instant::now();
            let start = Start {
                workflow: "noop".into(),
                input: input.clone(),
                key: None,
                business_key: None,
                subject: None,
            };
            let id = self.client.start(start).await?.id;
            self.client.ended(id, Duration::from_secs(60)).await?;
            let micros = began.elapsed().as_micros() as u64;
            if let Some(latencies) = &mut *self.measuring.lock().unwrap() {
                latencies.record(micros)?;
                self.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
