//! F6: the network between nodes and their database delays, cuts, forgets, and heals.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use super::{bad_day, mixed, three_nodes};
use crate::node::Node;
use crate::proxy::{Strike, Weather};
use crate::report::Report;
use crate::run::{RECOVER_WITHIN, Run, Size};

/// How long nothing arrives.
const BLACKHOLE: Duration = Duration::from_secs(10);
/// What each piece takes when the network is slow, and how long it is that before it goes dark: then
/// most transactions are half done.
const SLOW: Weather = Weather::Slow(Duration::from_millis(80));
const FADES_FOR: Duration = Duration::from_secs(1);

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let run = Run::open(name, seed, size, &logs, &three_nodes(bad_day()), mixed()).await?;
        run.under_load(harm(&run)).await?;
        let mut report = run.finish().await?;
        report.needs(&[
            "reset",
            "half_open",
            "cut_answer",
            "blackhole",
            "slow",
            "ambiguous_commits",
        ]);
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    let mut dice = run.dice();
    for number in 0..run.size.faults {
        let node = dice.choice(&run.cluster.nodes).unwrap();
        match number % 5 {
            0 => strike(run, node, Strike::Reset, "reset"),
            1 => strike(run, node, Strike::CutAnswer, "cut_answer"),
            2 => strike(run, node, Strike::HalfOpen, "half_open"),
            3 => weather(run, node, SLOW, "slow", BLACKHOLE / 4).await,
            // All of them at once, or nobody would notice.
            _ => all_dark(run, BLACKHOLE).await,
        }
        run.recovers(Some(RECOVER_WITHIN)).await;
        tokio::time::sleep(Duration::from_millis(dice.u64(100..1_000))).await;
    }
    Ok(())
}

/// Strikes all connections of a node.
pub(super) fn strike(run: &Run, node: &Node, strike: Strike, kind: &str) {
    let connections = node.network.strike(strike);
    run.log.note(kind, json!({"node": node.name, "connections": connections}));
}

/// A while of bad weather for one node.
pub(super) async fn weather(run: &Run, node: &Node, weather: Weather, kind: &str, lasts: Duration) {
    run.log.note(kind, json!({"node": node.name, "ms": lasts.as_millis() as u64}));
    node.network.set(weather);
    tokio::time::sleep(lasts).await;
    node.network.set(Weather::Fair);
}

async fn all_dark(run: &Run, lasts: Duration) {
    let everywhere = |weather| run.cluster.nodes.iter().for_each(|node| node.network.set(weather));
    everywhere(SLOW);
    tokio::time::sleep(FADES_FOR).await;
    run.log.note("blackhole", json!({"node": "all", "ms": lasts.as_millis() as u64}));
    everywhere(Weather::Blackhole);
    tokio::time::sleep(lasts).await;
    everywhere(Weather::Fair);
}
