//! What a person does about a saga that is held: has it tried again, with the command line.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use crate::harness::amends;
use crate::node::Node;
use crate::run::Run;

/// How soon a saga that is going to be held is.
const HELD_WITHIN: Duration = Duration::from_secs(30);

/// Waits until the saga is held, and tells `node` to try it again.
pub(crate) async fn retry_held(run: &Run, node: &Node, saga: &str) -> anyhow::Result<()> {
    let held =
        format!("select count(*) from saga.saga where saga_id = '{saga}' and phase = 'held'");
    let end = Instant::now() + HELD_WITHIN;
    while run.cluster.number(&run.cluster.databases.amends, &held).await? == 0 {
        if Instant::now() > end {
            bail!("saga {saga} is not held after {HELD_WITHIN:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let variables = [
        ("AMENDS_URL", node.operators_url.clone()),
        ("AMENDS_KEY", run.cluster.databases.keys.operator.clone()),
    ];
    let retry = ["retry", saga, "--reason", "what was wrong is mended", "-y"];
    let ended = tokio::task::block_in_place(|| amends(&retry, &variables));
    if ended.code != Some(0) {
        bail!("saga {saga} is not tried again: {} {}", ended.stdout, ended.stderr);
    }
    run.log.count("let_go", 1);
    Ok(())
}
