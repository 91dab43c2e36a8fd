//! F4: PostgreSQL dies. Nothing that was acknowledged is lost.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{bad_day, mixed, three_nodes};
use crate::report::Report;
use crate::run::{Run, Size};

/// With the server's own recovery in it.
const BACK_WITHIN: Duration = Duration::from_secs(20);

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
        report.needs(&["kill_session", "kill_server", "immediate_stop", "ambiguous_commits"]);
        Ok(report)
    }
    .boxed_local()
}

async fn harm(run: &Run) -> anyhow::Result<()> {
    let mut dice = run.dice();
    for number in 0..run.size.faults {
        tokio::time::sleep(Duration::from_millis(dice.u64(200..1_200))).await;
        match number % 3 {
            0 => kill_session(run, &mut dice).await?,
            1 => kill_server(run)?,
            _ => stop_immediately(run)?,
        }
        run.recovers(Some(BACK_WITHIN)).await;
    }
    Ok(())
}

/// kill -9 of one session: the server ends all others and recovers.
pub(super) async fn kill_session(run: &Run, dice: &mut fastrand::Rng) -> anyhow::Result<()> {
    let mut amends = run.cluster.amends().await?;
    let sessions: Vec<i32> = sqlx::query_scalar(
        "select pid from pg_stat_activity
          where application_name = 'amends' and pid <> pg_backend_pid()",
    )
    .fetch_all(&mut amends)
    .await?;
    let pid = *dice.choice(&sessions).context("no node has a session")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    run.log.note("kill_session", json!(pid));
    Ok(())
}

/// kill -9 of the server.
pub(super) fn kill_server(run: &Run) -> anyhow::Result<()> {
    run.log.note("kill_server", json!(null));
    run.cluster.kill_postgres()?;
    run.cluster.restart_postgres()
}

/// An immediate stop: no session ends its work, nothing is written out.
fn stop_immediately(run: &Run) -> anyhow::Result<()> {
    let pid = run.cluster.postgres_pid().context("the server has no process")?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGQUIT)?;
    run.log.note("immediate_stop", json!(pid));
    run.cluster.kill_postgres()?;
    run.cluster.restart_postgres()
}
