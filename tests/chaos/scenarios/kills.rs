//! F3: nodes die at any moment, at random, and come back.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use super::{bad_day, mixed, three_nodes};
use crate::report::Report;
use crate::run::{Run, Size};

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let mut run = Run::open(name, seed, size, &logs, &three_nodes(bad_day()), mixed()).await?;
        run.in_flight = 48;
        run.under_load(harm(&run)).await?;
        let mut report = run.finish().await?;
        report.needs(&["kill", "takeovers", "repeated_requests"]);
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    let mut dice = run.dice();
    for _ in 0..run.size.faults {
        // It gets so far, no further.
        tokio::time::sleep(Duration::from_millis(dice.u64(50..600))).await;
        kill_one(run, &mut dice).await?;
    }
    run.recovers(None).await;
    Ok(())
}

/// Kills a node and starts it again.
pub(super) async fn kill_one(run: &Run, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    let node = dice.choice(&run.cluster.nodes).unwrap();
    node.read_counters().await;
    node.kill();
    run.log.note("kill", json!(node.name));
    node.start(&[]);
    node.ready().await
}
