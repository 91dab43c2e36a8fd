//! F11: somebody sets the clocks of nodes wrong by an hour, ahead and behind, while customers shop and
//! nodes die. Who owns what and when something is due goes by the database's clock, so nobody notices.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{bad_day, mixed, three_nodes};
use crate::cluster::Setup;
use crate::node::{LEASE_TTL, Node};
use crate::report::Report;
use crate::run::{RECOVER_WITHIN, Run, Size};
use crate::wall_clock;

const HOUR_S: i64 = 3_600;
/// How soon a process notices that its clock was set, and how exactly it is looked at.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
const EXACT_S: f64 = 3.0;
/// How many are accepted between two jumps: some of them wait for a bank, or for another try.
const CUSTOMERS: usize = 60;
/// How long clocks stay wrong at the least: every lease is renewed, and would have ended.
const WRONG_FOR: Duration = Duration::from_secs(LEASE_TTL.as_secs() * 3);
/// Each of those who shop waits until theirs is over: none comes after them while sagas rest too long.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
/// How soon all shards have their owners after a node died or came.
const OWNED_WITHIN: Duration = Duration::from_secs(LEASE_TTL.as_secs() * 2 + 5);
/// How soon everything has ended after the last jump.
const DRAINED_WITHIN: f64 = 60.0;
/// What a customer is told whose time to authenticate was over. Each of them has a quarter of an hour.
const TIMED_OUT: &str = "authentication_timeout";

pub(super) fn run(
    name: &'static str,
    seed: u64,
    size: Size,
    logs: PathBuf,
) -> LocalBoxFuture<'static, anyhow::Result<Report>> {
    async move {
        let Some(library) = wall_clock::library() else {
            return Ok(Report::of_none(name, seed, wall_clock::MISSING));
        };
        // A line for each answer: they tell what time a node takes it to be.
        let variables = vec![("RUST_LOG", "info,sqlx=warn".to_owned())];
        let setup = Setup { faketime: Some(library), variables, ..three_nodes(slow_day()) };
        let mut run = Run::open(name, seed, size, &logs, &setup, mixed()).await?;
        run.in_flight = 48;
        run.under_load(harm(&run)).await?;
        let hurried = run.customers.ledger().into_values();
        let hurried = hurried.filter(|told| told.last.to_string().contains(TIMED_OUT)).count();
        run.must("time to authenticate", hurried == 0, || {
            format!("{hurried} customers were told that their time was over")
        });
        let mut report = run.finish().await?;
        report.needs(&["clock_ahead", "clock_behind", "clock_right", "kill", "takeovers"]);
        if report.drained_s > DRAINED_WITHIN {
            report.lacks(format!("{:.0} s until everything had ended", report.drained_s));
        }
        Ok(report)
    }
    .boxed_local()
}

/// A bad day on which many wait for a time when a clock jumps: for the bank, or to try again.
fn slow_day() -> Value {
    let mut day = bad_day();
    let busy =
        json!({"op": "confirm", "kind": "rate_limit_429", "millis": 2_000, "probability": 0.3});
    day["rules"].as_array_mut().unwrap().insert(0, busy);
    day["challenges"] = json!({"after_millis": 2_000, "fail_share": 0.2});
    day
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    let mut dice = run.dice();
    for number in 0..run.size.faults {
        jumps(run, number, &mut dice).await?;
    }
    run.recovers(Some(RECOVER_WITHIN)).await;
    Ok(())
}

/// Two clocks jump apart, change places, and are set right; meanwhile one of the three nodes dies: by
/// turns the one that is ahead, the one that is behind, the one that is right.
async fn jumps(run: &Run, number: usize, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    settled(run, run.cluster.nodes.len()).await?;
    let owned = owners(run).await?;
    let mut nodes: Vec<&Node> = run.cluster.nodes.iter().collect();
    dice.shuffle(&mut nodes);
    jump(run, nodes[0], HOUR_S).await?;
    jump(run, nodes[1], -HOUR_S).await?;
    customers(run).await;
    jump(run, nodes[0], -HOUR_S).await?;
    jump(run, nodes[1], HOUR_S).await?;
    customers(run).await;
    let owned_now = owners(run).await?;
    run.must("a clock moves no shard", owned == owned_now, || {
        format!("{owned:?} before, {owned_now:?} after")
    });

    let dies = nodes[number % nodes.len()];
    let gone = id_of(run, dies).await?;
    dies.read_counters().await;
    dies.kill();
    run.log.note("kill", json!(dies.name));
    settled(run, run.cluster.nodes.len() - 1).await?;
    let owned_now = owners(run).await?;
    let taken = owned
        .iter()
        .filter(|(shard, owner)| owner.0 != gone && owned_now.get(*shard) != Some(*owner));
    let taken: Vec<_> = taken.collect();
    run.must("only the dead lose shards", taken.is_empty(), || {
        format!("taken from others: {taken:?}")
    });
    customers(run).await;

    for node in &nodes[..2] {
        // A node does not start with a clock that is wrong.
        node.set_clock(0)?;
    }
    dies.start(&[]);
    for node in &nodes[..2] {
        noticed(node, 0).await?;
        run.log.note("clock_right", json!(node.name));
    }
    dies.ready().await?;
    customers(run).await;
    Ok(())
}

/// Sets a node's clock.
async fn jump(run: &Run, node: &Node, ahead_s: i64) -> anyhow::Result<()> {
    node.set_clock(ahead_s)?;
    noticed(node, ahead_s).await?;
    let kind = if ahead_s > 0 { "clock_ahead" } else { "clock_behind" };
    run.log.note(kind, json!(node.name));
    Ok(())
}

/// Waits until the node goes by its clock as it was set.
async fn noticed(node: &Node, ahead_s: i64) -> anyhow::Result<()> {
    let end = Instant::now() + NOTICED_WITHIN;
    loop {
        // A node that is starting does not answer yet.
        let ahead = node.clock_ahead().await.map(time::Duration::as_seconds_f64);
        if ahead.as_ref().is_ok_and(|ahead| (ahead - ahead_s as f64).abs() < EXACT_S) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("the clock of {} was set {ahead_s} s ahead, and is {ahead:?}", node.name);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until some more were accepted, and for as long as a clock stays wrong.
async fn customers(run: &Run) {
    let began = Instant::now();
    let before = run.customers.accepted();
    let served = || run.customers.accepted() - before;
    while (served() < CUSTOMERS || began.elapsed() < WRONG_FOR) && began.elapsed() < SERVED_WITHIN {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run.must("customers are served", served() >= CUSTOMERS, || {
        format!("{} within {SERVED_WITHIN:?}, not {CUSTOMERS}", served())
    });
}

/// Each shard with its owner and the fence of that ownership.
async fn owners(run: &Run) -> anyhow::Result<BTreeMap<i16, (Uuid, Uuid)>> {
    let mut amends = run.cluster.amends().await?;
    let sql = "select shard_id, coalesce(node_id, fence), fence from saga.shard";
    let rows: Vec<(i16, Uuid, Uuid)> = sqlx::query_as(sql).fetch_all(&mut amends).await?;
    Ok(rows.into_iter().map(|(shard, owner, fence)| (shard, (owner, fence))).collect())
}

/// Under which id the database knows a node's process.
async fn id_of(run: &Run, node: &Node) -> anyhow::Result<Uuid> {
    let mut amends = run.cluster.amends().await?;
    let name = format!("%-{}", node.pid().context("a node without a process")?);
    let sql = "select node_id from saga.node where name like $1 order by started_at desc limit 1";
    Ok(sqlx::query_scalar(sql).bind(name).fetch_one(&mut amends).await?)
}

/// Waits until `nodes` that are alive share all shards evenly.
async fn settled(run: &Run, nodes: usize) -> anyhow::Result<()> {
    let uneven = format!(
        "select count(*) from (
             select n.node_id, count(*) over (partition by n.node_id) as owned,
                    ceil(count(*) over () / {nodes}.0) as share
               from saga.shard s
               left join saga.node n
                 on n.node_id = s.node_id and n.lease_until > clock_timestamp()) shards
          where node_id is null or owned > share"
    );
    let end = Instant::now() + OWNED_WITHIN;
    while run.cluster.number(&run.cluster.databases.amends, &uneven).await? > 0 {
        if Instant::now() > end {
            run.must("all shards are owned", false, || format!("not by {nodes} nodes"));
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
