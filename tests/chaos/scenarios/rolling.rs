//! F13: nodes are restarted one after the other, as a deployment does it. Nobody notices.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use super::{good_day, mixed, three_nodes};
use crate::node::Node;
use crate::report::Report;
use crate::run::{Run, Size};

/// So long nobody may wait for an answer.
const SILENCE_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let run = Run::open(name, seed, size, &logs, &three_nodes(good_day()), mixed()).await?;
        run.under_load(harm(&run)).await?;
        let silence = run.customers.longest_silence();
        run.must("no stall", silence <= SILENCE_MAX, || {
            format!("nobody was served for {silence:?}")
        });
        let mut report = run.finish().await?;
        report.needs(&["restart"]);
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    for number in 0..run.size.faults {
        let node = &run.cluster.nodes[number % run.cluster.nodes.len()];
        restart(run, node).await?;
        run.recovers(Some(SILENCE_MAX)).await;
    }
    Ok(())
}

/// SIGTERM, a graceful end, and the next process.
pub(super) async fn restart(run: &Run, node: &Node) -> anyhow::Result<()> {
    run.log.note("restart", json!(node.name));
    node.stop().await?;
    node.start(&[]);
    node.ready().await
}
