//! F5: a node stops for longer than its lease, others take over, and it wakes up in the middle of what
//! it was doing: a third of them, of writing what it did. Its writes are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use engine::journal::Direction;
use engine::testing::{Boundary, BoundaryFault, BoundaryHarm, FAULT, FAULT_LOG};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, try_join_all};
use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::Connection;
use tokio::time::Instant;

use super::{bad_day, mixed, three_nodes};
use crate::cases::BEFORE_PIVOT;
use crate::node::{LEASE_TTL, Node};
use crate::report::Report;
use crate::run::{Run, Size};

/// How soon a node comes to where it stops itself: four clusters share the machine, which may be a slow one.
const STOPS_WITHIN: Duration = Duration::from_secs(90);

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        // They wait for leases most of the time: side by side it takes a quarter as long.
        let in_a_write = size.faults / 3;
        let shares = [
            (Harm::StopInAWrite, in_a_write / 2),
            (Harm::StopInAWrite, in_a_write.div_ceil(2)),
            (Harm::Pause, (size.faults - in_a_write) / 2),
            (Harm::Pause, (size.faults - in_a_write).div_ceil(2)),
        ];
        let sagas = size.sagas / shares.len();
        let clusters = shares.iter().zip(1..).map(|((harm, faults), number)| {
            let size = Size { sagas, faults: *faults, ..size };
            zombies(name, seed, size, &logs, *harm, number)
        });
        let mut report = Report::of_all(try_join_all(clusters).await?);
        report.needs(&["pause", "stop_in_a_write", "takeovers", "fenced_writes"]);
        let refused = report.faults.get("fenced_writes").copied().unwrap_or(0);
        if refused < size.faults as u64 {
            report.lacks(format!("{refused} writes refused in {} pauses", size.faults));
        }
        Ok(report)
    }
    .boxed_local()
}

/// Where a node stops.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Pause,
    StopInAWrite,
}

/// One cluster, whose nodes stop one after the other. The number gives each its own dice.
async fn zombies(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: &Path,
    harm: Harm,
    number: u64,
) -> anyhow::Result<Report> {
    let mut run = Run::open(name, seed, size, logs, &three_nodes(bad_day()), mixed()).await?;
    run.in_flight /= 4;
    run.under_load(async {
        let mut dice = fastrand::Rng::with_seed(seed ^ number.rotate_right(8));
        for _ in 0..run.size.faults {
            let node = dice.choice(&run.cluster.nodes).unwrap();
            match harm {
                Harm::Pause => pause(&run, node, &mut dice).await?,
                Harm::StopInAWrite => stop_in_a_write(&run, node, &mut dice).await?,
            }
        }
        run.recovers(None).await;
        Ok(())
    })
    .await?;
    run.finish().await
}

/// Stops a node beyond twice its lease. Every second time its renewal has to wait when it wakes up, so
/// that only the fence is left to stop it.
pub(super) async fn pause(run: &Run, node: &Node, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    let is_blind = run.log.of("pause").is_multiple_of(2);
    run.log.note("pause", json!({"node": node.name, "blind": is_blind}));
    node.signal(Signal::SIGSTOP);
    tokio::time::sleep(LEASE_TTL * 2 + Duration::from_millis(dice.u64(0..300))).await;
    let mut amends = run.cluster.amends().await?;
    let mut lock = amends.begin().await?;
    if is_blind {
        let name = format!("%-{}", node.pid().unwrap_or_default());
        let row = "select node_id from saga.node where name like $1 for update";
        sqlx::query(row).bind(name).execute(&mut *lock).await?;
    }
    node.signal(Signal::SIGCONT);
    tokio::time::sleep(Duration::from_millis(dice.u64(50..300))).await;
    lock.rollback().await?;
    Ok(())
}

/// Has a node stop itself when it has everything together that it is going to write, and nothing of it
/// is sent.
async fn stop_in_a_write(run: &Run, node: &Node, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    let fault = BoundaryFault {
        boundary: Boundary::BeforeOutcome,
        direction: Direction::Forward,
        activity: (*dice.choice(&BEFORE_PIVOT).unwrap()).to_owned(),
        harm: BoundaryHarm::Stop,
    };
    let fired = run.directory().join(format!("stopped-{}", run.log.of("stop_in_a_write")));
    node.stop().await?;
    node.start(&[(FAULT, fault.to_string()), (FAULT_LOG, fired.display().to_string())]);
    node.ready().await?;
    let end = Instant::now() + STOPS_WITHIN;
    while std::fs::metadata(&fired).map_or(0, |file| file.len()) == 0 {
        if Instant::now() > end {
            bail!("{} never came to {fault}", node.name);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.log.note("stop_in_a_write", json!({"node": node.name, "fault": fault.to_string()}));
    // Time for the others to take its sagas over, and to end them.
    tokio::time::sleep(LEASE_TTL * 4 + Duration::from_millis(dice.u64(0..300))).await;
    node.signal(Signal::SIGCONT);
    nothing_is_turned_back(run).await
}

/// I7, at once: a row that an older one replaced is mended when its saga is next looked at.
async fn nothing_is_turned_back(run: &Run) -> anyhow::Result<()> {
    let back = "select count(*) from saga.saga s join saga.history h using (shard_id, saga_id)
                 where s.ending is null and h.fact = 'ended'";
    let end = Instant::now() + LEASE_TTL;
    while Instant::now() < end {
        let back = run.cluster.number(&run.cluster.databases.amends, back).await?;
        run.must("I7", back == 0, || format!("{back} sagas that had ended have not"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
