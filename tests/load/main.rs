//! The load program: `cargo bench --bench load -- noop --in-flight 1024 --seconds 10`.
//!
//! Each workload runs on a private PostgreSQL of its own, and says how many sagas ended a second, how long
//! they took, and what they cost. `compare` runs two of them by turns, and says how many times as fast the
//! first one is.
#![allow(clippy::unwrap_used, reason = "a benchmark that can not go on fails")]

mod compare;
mod floor;
#[allow(unused_imports, reason = "of what the fault suite uses, only the gateway's process")]
#[path = "../chaos/harness.rs"]
mod harness;
mod load;
mod meter;
mod noop;
mod place_order;
mod plain;
mod shop;

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use engine::{Engine, Registry, Settings};
use local_postgres::LocalPostgres;

use load::{Load, drive};
use meter::{Sources, Usage};
use place_order::Checkouts;
use plain::Plain;
use shop::Shop;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// A saga of three steps that do nothing: what the engine itself costs
    Noop,
    /// The same records, written by hand in batches: what PostgreSQL itself costs
    Floor,
    /// Real carts become orders: three databases, the payment gateway over HTTP
    PlaceOrder,
    /// The same, and one customer of ten is declined: everything before the charge is undone
    Declines,
    /// The same calls as of `place-order` made by a plain program, one transaction a call, nothing durable around them
    Plain,
    /// The two workloads that follow, by turns
    Compare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Parser)]
#[command(name = "load", about = "Measures how many sagas a second end, and what one costs")]
struct Arguments {
    /// One of them, or `compare` and two
    #[arg(required = true, num_args = 1..=3)]
    what: Vec<Workload>,
    #[command(flatten)]
    load: LoadArguments,
    /// For `compare`: how often each of the two runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// For `compare`: fail if the middle of the ratios is less
    #[arg(long)]
    at_least: Option<f64>,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, Args)]
struct LoadArguments {
    /// How many sagas are under way at once
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight: u32,
    /// Start so many a second, instead of one whenever one ended
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How long to measure
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// How long to run before measuring
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// How many connections commit
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    lanes: u8,
}

impl Workload {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl LoadArguments {
    fn load(&self) -> Load {
        Load {
            in_flight: self.in_flight,
            rate: self.rate,
            warm_up: Duration::from_secs(self.warm_up),
            measured: Duration::from_secs(self.seconds),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let (text, json) = match arguments.what[..] {
        [Workload::Compare, first, second] => {
            let ratio = compare::by_turns([first, second], &arguments)?;
            if let Some(least) = arguments.at_least {
                anyhow::ensure!(ratio.ratio_median >= least, "less than {least}: {}", ratio.text());
            }
            (ratio.text(), serde_json::to_string(&ratio)?)
        }
        [workload] if workload != Workload::Compare => {
            let usage = measure(workload, &arguments.load)?;
            (usage.table(), serde_json::to_string(&usage)?)
        }
        _ => anyhow::bail!("name one workload, or `compare` and two, such as `compare noop floor`"),
    };
    println!("{}", if arguments.output == Output::Json { json } else { text });
    Ok(())
}

fn measure(workload: Workload, arguments: &LoadArguments) -> anyhow::Result<Usage> {
    // For the gateway's client. Another provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir()?;
    let server = LocalPostgres::start(&local_postgres::Options::new(directory.path()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let usage = runtime.block_on(async {
        meter::create_database(&server.url("postgres"), "amends").await?;
        let url = server.url("amends");
        let sources = Sources { url: &url, postmaster: server.pid() };
        match workload {
            Workload::Noop => noop(arguments, sources).await,
            Workload::Floor => floor(arguments, sources).await,
            Workload::PlaceOrder => {
                let shop = Shop::open(&server, directory.path(), None).await?;
                place_order(arguments, sources, shop, &["completed"]).await
            }
            Workload::Declines => {
                let shop = Shop::open(&server, directory.path(), Some(10)).await?;
                place_order(arguments, sources, shop, &["completed", "undone"]).await
            }
            Workload::Plain => {
                let shop = Shop::open(&server, directory.path(), None).await?;
                drive(Plain::open(shop).await?, arguments.load(), sources).await
            }
            Workload::Compare => anyhow::bail!("`compare` is not a workload"),
        }
    });
    drop(runtime);
    server.stop()?;
    Ok(usage?.of(&workload.name(), arguments.in_flight, 1))
}

async fn noop(arguments: &LoadArguments, sources: Sources<'_>) -> anyhow::Result<Usage> {
    engine::migrate(sources.url, 32).await?;
    let mut settings = Settings::new(sources.url);
    settings.lanes = arguments.lanes.into();
    let registry = Registry::new().workflow::<noop::Noop>(&Arc::new(noop::Nothing));
    let engine = Engine::start(settings, registry).await?;
    let usage = drive(noop::Sagas(engine.client()), arguments.load(), sources).await;
    engine.shutdown().await;
    usage
}

async fn floor(arguments: &LoadArguments, sources: Sources<'_>) -> anyhow::Result<Usage> {
    let input = serde_json::to_vec(&noop::Order::example())?;
    let output = serde_json::to_vec(&noop::Answer::example())?;
    let floor = floor::Floor::open(sources.url, arguments.lanes, input, output).await?;
    drive(floor, arguments.load(), sources).await
}

async fn place_order(
    arguments: &LoadArguments,
    sources: Sources<'_>,
    shop: Shop,
    endings: &[&str],
) -> anyhow::Result<Usage> {
    let engine = place_order::node(sources.url, arguments.lanes, &shop).await?;
    let checkouts = Checkouts { client: engine.client(), shop };
    let usage = drive(checkouts, arguments.load(), sources).await;
    engine.shutdown().await;
    place_order::check(sources.url, endings).await?;
    usage
}
