//! F14: a node dies that had thousands of open sagas. Another one owns them soon after the lease ends,
//! and does not storm the payment gateway.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use tokio::time::Instant;

use super::three_nodes;
use crate::cluster::Setup;
use crate::customers::Habits;
use crate::node::LEASE_TTL;
use crate::report::Report;
use crate::run::{Run, Size};

/// How long after the death everything has an owner again: the lease, and as long again.
const OWNED_WITHIN: Duration = Duration::from_secs(LEASE_TTL.as_secs() * 2 + 2);

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        // Each of them waits for its customer, who answers the bank late.
        let gateway = json!({"challenges": {"after_millis": 30_000}});
        let setup = Setup { nodes: 2, ..three_nodes(gateway) };
        let habits = Habits {
            skus: vec!["tea", "cup"],
            cards: vec![("pm_card_authenticationRequired", 1)],
            cancels_one_in: None,
            follow: false,
        };
        let mut run = Run::open(name, seed, size, &logs, &setup, habits).await?;
        run.in_flight = 256;
        run.customers.close();
        run.customers.shop(run.size.sagas, run.in_flight).await;
        die(&run).await?;
        let mut report = run.finish().await?;
        report.needs(&["kill", "takeovers"]);
        Ok(report)
    }
    .boxed_local()
}

async fn die(run: &Run) -> anyhow::Result<()> {
    let [dies, lives] = &run.cluster.nodes[..] else { return Ok(()) };
    dies.kill();
    let died = Instant::now();
    run.log.note("kill", json!(dies.name));
    let shards =
        run.cluster.number(&run.cluster.databases.amends, "select count(*) from saga.shard");
    let shards = shards.await? as f64;
    let end = died + OWNED_WITHIN;
    loop {
        if lives.gauge("amends_shards_owned").await.is_ok_and(|owned| owned >= shards) {
            break;
        }
        if Instant::now() > end {
            run.must("owned within two leases", false, || format!("not after {OWNED_WITHIN:?}"));
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.log.recovered(died.elapsed(), died.elapsed());
    dies.start(&[]);
    dies.ready().await
}
