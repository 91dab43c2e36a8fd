//! What must be done now and then: partitions made ahead, once among all nodes; and this node's
//! sweep for sagas that fell out of its hands.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error::StoreError;
use crate::id::{SagaId, ShardId};
use crate::node::{Node, Wanted};
use crate::store::load::Open;

/// How often this node looks for open sagas of its own that nobody works on.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long past its time a saga must be before the sweep takes it up.
const SWEEP_AFTER: time::Duration = time::Duration::seconds(5);
/// How many it looks at in one go.
const SWEEP_PAGE: i64 = 500;
/// At the fifth minute of each hour. An in-process ticker, in UTC; once-ness comes from the
/// database.
const PARTITIONS_AT: &str = "0 5 * * * *";

/// Sweeps until stopped.
pub(crate) async fn sweep(node: Arc<Node>, stopped: CancellationToken) {
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        if let Err(error) = sweep_once(&node).await {
            tracing::warn!(%error, "the sweep for overdue sagas failed");
        }
    }
}

/// Takes up the open sagas of this node whose time is past and that are not in memory: ones whose
/// load failed, say. Those that are in memory stay untouched, and keep no other from its turn.
async fn sweep_once(node: &Arc<Node>) -> Result<(), StoreError> {
    let shards: Vec<ShardId> = node.owned().iter().map(|shard| shard.id).collect();
    if shards.is_empty() {
        return Ok(());
    }
    let before = clock::now() - SWEEP_AFTER;
    let mut after = (OffsetDateTime::UNIX_EPOCH, SagaId::floor(OffsetDateTime::UNIX_EPOCH));
    loop {
        let page = node.store.overdue(&shards, before, after, SWEEP_PAGE, &node.known).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.next_at, last.saga_id);
        let is_last = page.len() < SWEEP_PAGE as usize;
        let mut fallen: HashMap<ShardId, Vec<Wanted>> = HashMap::new();
        for Open { saga_id, .. } in page {
            fallen.entry(saga_id.shard()).or_default().push((saga_id, None));
        }
        for (shard, mut sagas) in fallen {
            if let Some(shard) = node.shard(shard) {
                sagas.retain(|(id, _)| !shard.is_active(*id));
                node.bring(&shard, sagas, false);
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Starts the ticker of the schedules.
pub(crate) async fn schedules(node: Arc<Node>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    // The scheduler keeps its jobs after its shutdown: a node they held would keep its connections.
    let node = Arc::downgrade(&node);
    let job = Job::new_async(PARTITIONS_AT, move |_, _| {
        let node = node.clone();
        Box::pin(async move {
            let Some(node) = node.upgrade() else { return };
            if let Err(error) = make_partitions(&node).await {
                tracing::error!(%error, "the partitions of the coming weeks could not be made");
            }
        })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(scheduler)
}

async fn make_partitions(node: &Node) -> Result<(), StoreError> {
    let now = clock::now();
    if node.store.claim_run("make-partitions", hour_of(now), node.name.id).await? {
        node.store.make_partitions(now).await?;
    }
    Ok(())
}

fn hour_of(at: OffsetDateTime) -> OffsetDateTime {
    let hour = time::Time::from_hms(at.hour(), 0, 0).unwrap_or(time::Time::MIDNIGHT);
    at.replace_time(hour)
}
