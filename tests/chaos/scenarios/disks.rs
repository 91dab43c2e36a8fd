//! F10: no byte fits any more on the disk of PostgreSQL's data, then on that of its log, while customers
//! go on asking. They are told to come back, and when there is room again everything goes on.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use sqlx::Executor;
use tokio::time::Instant;

use super::{bad_day, mixed, three_nodes};
use crate::cluster::Setup;
use crate::disk::{Disk, Disks};
use crate::report::Report;
use crate::run::{Run, Size};

const DATA_FULL: &str = "data_full";
const WAL_FULL: &str = "wal_full";
/// Enough for what is there at the beginning, and for what the customers bring.
const DATA_MIB: u32 = 512;
const LOG_MIB: u32 = 192;
/// The log makes do with much less than its disk has, and takes it file by file.
const POSTGRES: [(&str, &str); 2] = [("min_wal_size", "32MB"), ("max_wal_size", "96MB")];
/// How many are accepted before a disk is full.
const CUSTOMERS: usize = 100;
/// How long it stays full, and how soon a customer is told to come back.
const FULL_FOR: Duration = Duration::from_secs(6);
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// How soon somebody is accepted once there is room, and the server runs.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// How long the server's own recovery may take.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// How soon everything has ended after that.
const DRAINED_WITHIN: f64 = 60.0;

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let disks = match Disks::mount(DATA_MIB, LOG_MIB) {
            Ok(disks) => disks,
            Err(error) => return Ok(Report::of_none(name, seed, &format!("{error:#}"))),
        };
        let day = three_nodes(bad_day());
        let setup = Setup { postgres: &POSTGRES, disks: Some(&disks), ..day };
        let run = Run::open(name, seed, size, &logs, &setup, mixed()).await?;
        run.under_load(Box::pin(harm(&run, &disks))).await?;
        let mut report = run.finish().await?;
        report.needs(&[DATA_FULL, WAL_FULL, "refused_data_full", "refused_wal_full"]);
        if report.drained_s > DRAINED_WITHIN {
            report.lacks(format!("{:.0} s until everything had ended", report.drained_s));
        }
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run, disks: &Disks) -> anyhow::Result<()> {
    for _ in 0..run.size.faults {
        full(run, &disks.data, DATA_FULL).await?;
        full(run, &disks.log, WAL_FULL).await?;
    }
    Ok(())
}

/// Fills a disk, keeps it full while one more customer after the other asks, and makes room again.
async fn full(run: &Run, disk: &Disk, kind: &str) -> anyhow::Result<()> {
    run.accepts(run.customers.accepted() + CUSTOMERS).await?;
    let is_full = Cell::new(true);
    let harm = async {
        run.log.note(kind, json!({"bytes": disk.fill()?}));
        let began = Instant::now();
        while began.elapsed() < FULL_FOR {
            // What the server frees is taken too.
            disk.fill()?;
            if kind == WAL_FULL {
                use_up_log(run).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        told(run, kind, began);
        disk.heal()?;
        revive(run).await
    };
    let harm = harm.inspect(|_| is_full.set(false));
    // Whoever shops waits until theirs is over, and can not be told to come back meanwhile.
    let asking = async {
        while is_full.get() {
            run.customers.leave_order("tea").await;
        }
    };
    tokio::join!(harm, asking).0?;
    run.recovers(Some(BACK_WITHIN)).await;
    for node in &run.cluster.nodes {
        // None of them is stuck.
        node.ready().await?;
    }
    Ok(())
}

/// Who asked since the disk was full was told to come back, and soon.
fn told(run: &Run, kind: &str, since: Instant) {
    // What was under way when the last byte went may have waited for it.
    let since = since + TOLD_WITHIN;
    let refusals = run.customers.refusals().into_iter().filter(|refusal| refusal.asked > since);
    let times: Vec<Duration> = refusals.map(|refusal| refusal.told_after).collect();
    run.log.count(&format!("refused_{kind}"), times.len() as u64);
    let slowest = times.into_iter().max().unwrap_or_default();
    run.must("503 within 1 s", slowest <= TOLD_WITHIN, || {
        format!("{kind}: somebody waited {slowest:?}")
    });
}

/// Makes the server begin its next file of the log, as more load would.
async fn use_up_log(run: &Run) {
    if let Ok(mut amends) = run.cluster.amends().await {
        // It may go down over it: that is what a full disk does.
        let _ = amends.execute("select pg_switch_wal()").await;
    }
}

/// Waits until the server answers; starts it where it gave up, as an operator would.
async fn revive(run: &Run) -> anyhow::Result<()> {
    let end = Instant::now() + RECOVERED_WITHIN;
    while run.cluster.amends().await.is_err() {
        if run.cluster.postgres_pid().is_none() {
            run.log.note("server_down", json!(null));
            run.cluster.restart_postgres()?;
        } else if Instant::now() > end {
            bail!("the server does not recover within {RECOVERED_WITHIN:?}");
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}
