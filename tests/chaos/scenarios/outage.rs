//! F9: the database is down for minutes while customers go on asking. They are told so at once, nothing
//! that was accepted is lost, and when it is back everything ends soon.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use tokio::time::Instant;

use super::{bad_day, mixed, three_nodes};
use crate::harness::{cart, http};
use crate::report::Report;
use crate::run::{Run, Size};

/// How soon a customer is told that the database is away.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How soon everything has ended after it is back.
const DRAINED_WITHIN: f64 = 60.0;
/// How much more memory a node may have by the end of it.
const GROWTH_KB: u64 = 64 * 1_024;

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
        report.needs(&["outage", "refused_at_once"]);
        if report.drained_s > DRAINED_WITHIN {
            report.lacks(format!("{:.0} s until everything had ended", report.drained_s));
        }
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    run.accepts(run.size.sagas / 2).await?;
    let before: Vec<u64> = run.cluster.nodes.iter().filter_map(|node| node.resident_kb()).collect();
    run.log.note("outage", json!({"s": run.size.time.as_secs()}));
    run.cluster.kill_postgres()?;
    let end = Instant::now() + run.size.time;
    // What was under way when it died may still wait for its answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut late = Vec::new();
    while Instant::now() < end {
        for node in &run.cluster.nodes {
            let asked = Instant::now();
            let request = http().post(format!("{}/v1/checkouts", node.url));
            let request = request.bearer_auth(&run.cluster.databases.keys.shop);
            let request =
                request.header("amends-customer", "probe").header("idempotency-key", "probe");
            let answer = request.json(&cart(&[("tea", 1)], "pm_card_visa")).send().await?;
            let took = asked.elapsed();
            run.log.count("refused_at_once", 1);
            if answer.status() != 503 || took > TOLD_WITHIN {
                late.push(format!("{} after {took:?}", answer.status()));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    run.must("503 within 1 s", late.is_empty(), || {
        format!("{} of the answers, such as {:?}", late.len(), &late[..late.len().min(3)])
    });
    let after = run.cluster.nodes.iter().filter_map(|node| node.resident_kb());
    for (before, after) in before.into_iter().zip(after) {
        run.must("bounded memory", after <= before + GROWTH_KB, || {
            format!("a node went from {before} to {after} KiB")
        });
    }
    run.cluster.restart_postgres()?;
    run.recovers(Some(Duration::from_secs(15))).await;
    Ok(())
}
