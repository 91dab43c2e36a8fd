//! F8: all of it together, in an order that the seed decides.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::{bad_day, database, kills, mixed, network, rolling, three_nodes, zombies};
use crate::proxy::{Strike, Weather};
use crate::report::Report;
use crate::run::{Run, Size};

/// What is done in turn before chance takes over: in a short run each of them happens.
const TURNS: usize = 9;
/// How often it is tried to see a refused write and a commit whose answer is lost.
const TRIES: usize = 8;

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
            "kill",
            "kill_server",
            "pause",
            "reset",
            "half_open",
            "cut_answer",
            "takeovers",
            "fenced_writes",
            "ambiguous_commits",
            "repeated_requests",
        ]);
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    let mut dice = run.dice();
    let end = Instant::now() + run.size.time;
    let mut order: Vec<usize> = (0..TURNS).collect();
    dice.shuffle(&mut order);
    let mut turns = order.into_iter();
    let by_chance = |dice: &mut fastrand::Rng| (Instant::now() < end).then(|| dice.usize(..TURNS));
    while let Some(turn) = turns.next().or_else(|| by_chance(&mut dice)) {
        one(run, turn, &mut dice).await?;
        tokio::time::sleep(Duration::from_millis(dice.u64(50..800))).await;
    }
    until_it_counts(run, &mut dice).await?;
    run.recovers(None).await;
    Ok(())
}

/// A node that stops or is cut off while it has nothing to write shows nothing: once more, then.
async fn until_it_counts(run: &Run, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        run.cluster.read_counters().await;
        let node = dice.choice(&run.cluster.nodes).unwrap();
        if run.cluster.counted("amends_fenced_writes_total") == 0 {
            zombies::pause(run, node, dice).await?;
        } else if run.cluster.counted("amends_ambiguous_commits_total") == 0 {
            network::strike(run, node, Strike::Reset, "reset");
        } else {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

async fn one(run: &Run, turn: usize, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    let node = dice.choice(&run.cluster.nodes).unwrap();
    match turn {
        0 | 1 => kills::kill_one(run, dice).await?,
        2 => zombies::pause(run, node, dice).await?,
        3 => network::strike(run, node, Strike::Reset, "reset"),
        4 => network::strike(run, node, Strike::HalfOpen, "half_open"),
        5 => network::strike(run, node, Strike::CutAnswer, "cut_answer"),
        6 => {
            let lasts = Duration::from_millis(dice.u64(500..4_000));
            network::weather(run, node, Weather::Blackhole, "blackhole", lasts).await;
        }
        7 => rolling::restart(run, node).await?,
        _ => {
            database::kill_server(run)?;
            run.recovers(None).await;
        }
    }
    Ok(())
}
