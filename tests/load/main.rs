//! The load program: `cargo bench --bench load -- noop --in-flight 1024 --seconds 10`.
//!
//! Each workload runs on a private PostgreSQL of its own, and says how many sagas ended a second, how long
//! they took, and what they cost. `compare` runs two of them by turns, and says how many times as fast the
//! first one is.
#![allow(clippy::unwrap_used, reason = "a benchmark that can not go on fails")]

mod arena;
mod arguments;
mod asked;
mod chart;
mod compare;
mod console;
mod floor;
#[allow(unused_imports, reason = "of what the fault suite uses, only the gateway's process")]
#[path = "../chaos/harness.rs"]
mod harness;
mod history;
mod load;
mod meter;
mod nodes;
mod noop;
mod peers;
mod place_order;
mod plain;
mod shop;
mod spread;
mod sweep;
mod takeover;
mod three_stores;
mod turns;
mod waiting;

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::CommandFactory;
use clap::error::ErrorKind;
use engine::Registry;
use local_postgres::LocalPostgres;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, LoadArguments, Output, Workload};
use asked::Asked;
use compare::Ratio;
use load::{Job, drive};
use meter::{Sources, Usage};
use nodes::Nodes;
use place_order::Checkouts;
use plain::Plain;
use shop::Shop;
use sweep::Sweep;
use turns::Rounds;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let asked = arguments.asked().unwrap_or_else(|message| {
        Arguments::command().error(ErrorKind::ArgumentConflict, message).exit()
    });
    match asked {
        Asked::Charge => runtime()?.block_on(arena::charge()),
        Asked::One(workload) => {
            let usage = measure(workload, &arguments.load)?;
            print(&arguments, usage.table(), &usage)?;
            draw(&arguments, || usage.chart())
        }
        Asked::Compare(pair) => {
            let Rounds { runs, ended } = runtime()?.block_on(compare::compare(pair, &arguments));
            if runs[0].is_empty() {
                return ended;
            }
            let ratio = Ratio::of(runs);
            print(&arguments, ratio.text(), &ratio)?;
            ended?;
            let least = arguments.at_least.unwrap_or_default();
            ensure!(ratio.ratio_median >= least, "the ratio is less than {least}");
            Ok(())
        }
        Asked::Sweep(workload, over) => {
            let sweeping = sweep::sweep(workload, over, &arguments);
            let Rounds { runs, ended } = runtime()?.block_on(sweeping)?;
            if runs[0].is_empty() {
                return ended;
            }
            let sweep = Sweep::of(workload, over, &arguments.values, runs);
            print(&arguments, sweep.text(), &sweep)?;
            draw(&arguments, || sweep.chart())?;
            ended
        }
        Asked::Peers => {
            let recorder = meter::recorder()?;
            let (comparison, ended) = runtime()?.block_on(peers::run(&arguments, &recorder))?;
            if comparison.is_empty() {
                return ended;
            }
            print(&arguments, comparison.text(), &comparison)?;
            draw(&arguments, || comparison.chart())?;
            ended
        }
    }
}

fn print(arguments: &Arguments, text: String, json: &impl serde::Serialize) -> anyhow::Result<()> {
    let json = || serde_json::to_string(json);
    println!("{}", if arguments.output == Output::Json { json()? } else { text });
    Ok(())
}

/// After what was measured is printed: it is not lost with a file that can not be written.
fn draw(arguments: &Arguments, chart: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(file) = &arguments.chart else { return Ok(()) };
    std::fs::write(file, chart()).with_context(|| format!("can not write {}", file.display()))
}

fn measure(workload: Workload, arguments: &LoadArguments) -> anyhow::Result<Usage> {
    // For the gateway's client. Another provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let recorder = meter::recorder()?;
    if workload == Workload::ThreeStores {
        return three_stores(arguments, &recorder);
    }
    let directory = tempfile::tempdir()?;
    let usage = runtime()?.block_on(unless_interrupted(async {
        let server = LocalPostgres::start(&local_postgres::Options::new(directory.path()))?;
        meter::create_database(&server.url("postgres"), "amends").await?;
        // As a server on another machine is spoken to, and as the peers speak to theirs.
        let url = server.tcp_url("amends");
        let postmaster = server.pid().context("the server has ended")?;
        let sources = Sources { url: &url, postmaster, recorder: &recorder };
        let shop = async |one_in| Shop::open(&server, directory.path(), one_in, arguments).await;
        match workload {
            Workload::Noop | Workload::History | Workload::Console => {
                noop(arguments, sources, workload).await
            }
            Workload::Floor => floor(arguments, sources).await,
            Workload::PlaceOrder => {
                place_order(arguments, sources, shop(None).await?, &["completed"]).await
            }
            Workload::Declines => {
                let shop = shop(Some(10)).await?;
                place_order(arguments, sources, shop, &["completed", "undone"]).await
            }
            Workload::Plain => {
                let plain = Plain::open(shop(None).await?).await?;
                without_engine(drive(plain, arguments.load(), sources).await?)
            }
            Workload::Waiting => waiting::run(arguments, sources).await,
            Workload::Takeover => takeover::run(arguments, sources).await,
            Workload::ThreeStores
            | Workload::Compare
            | Workload::Sweep
            | Workload::Peers
            | Workload::Charge => unreachable!("{workload:?} has a server of its own"),
        }
    }));
    Ok(usage?.of(workload, arguments))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// `work`, or an error as soon as somebody wants this process to end: what it started ends with it, and its
/// files, which may be many, are removed.
async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = interrupted.recv() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

fn three_stores(arguments: &LoadArguments, recorder: &PrometheusHandle) -> anyhow::Result<Usage> {
    let usage = runtime()?.block_on(unless_interrupted(async {
        let arena = arena::Arena::open().await?;
        let sources = Sources { url: &arena.sagas_url, postmaster: arena.postmaster()?, recorder };
        let usage = three_stores::run(arguments, sources, &arena).await?;
        nodes::ended_as(sources.url, &["completed"]).await?;
        Ok(usage)
    }));
    Ok(usage?.of(Workload::ThreeStores, arguments))
}

async fn noop(
    arguments: &LoadArguments,
    sources: Sources<'_>,
    workload: Workload,
) -> anyhow::Result<Usage> {
    let registry = || Registry::new().workflow::<noop::Noop>(&Arc::new(noop::Nothing));
    let nodes = Nodes::start(sources.url, arguments, || Ok(registry())).await?;
    let sagas = noop::Sagas::new(nodes.clients(), arguments.keyed);
    if workload != Workload::Noop {
        sagas.run().await?;
        history::write(sources.url, arguments.ended).await?;
    }
    let is_open = workload == Workload::Console;
    let console = is_open.then(|| console::open(nodes.operator()));
    let usage = drive(sagas, arguments.load(), sources).await;
    if let Some(console) = console {
        ensure!(!console.is_finished(), "the console broke: {:?}", console.await);
        console.abort();
    }
    nodes.shutdown().await;
    let usage = usage?;
    if workload == Workload::Noop {
        nodes::ended_as(sources.url, &["completed"]).await?;
    }
    Ok(usage)
}

async fn floor(arguments: &LoadArguments, sources: Sources<'_>) -> anyhow::Result<Usage> {
    let input = serde_json::to_vec(&noop::Order::example())?;
    let output = serde_json::to_vec(&noop::Answer::example())?;
    let floor = floor::Floor::open(sources.url, arguments.lanes, input, output).await?;
    without_engine(drive(floor, arguments.load(), sources).await?)
}

/// All that this process takes is the clients'.
fn without_engine(usage: Usage) -> anyhow::Result<Usage> {
    Ok(Usage { client_cpu_us: None, ..usage })
}

async fn place_order(
    arguments: &LoadArguments,
    sources: Sources<'_>,
    shop: Shop,
    endings: &[&str],
) -> anyhow::Result<Usage> {
    let nodes = Nodes::start(sources.url, arguments, || place_order::registry(&shop)).await?;
    let checkouts = Checkouts { clients: nodes.clients(), shop };
    let usage = drive(checkouts, arguments.load(), sources).await;
    nodes.shutdown().await;
    let usage = usage?;
    nodes::ended_as(sources.url, endings).await?;
    Ok(usage)
}
