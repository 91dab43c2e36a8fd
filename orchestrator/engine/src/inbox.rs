//! Reads the messages left for this node's shards and gives them to their sagas.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::StoreError;
use crate::id::ShardId;
use crate::node::{Node, Wanted};
use crate::shard::Shard;

/// A notification is only a hint: without one the inbox is read this often.
const POLL: Duration = Duration::from_secs(5);
/// Messages read at once.
const PAGE: i64 = 1_000;

/// Reads whenever somebody says that there is something, and slowly otherwise.
pub(crate) async fn run(node: Arc<Node>, stopped: CancellationToken) {
    let mut page = PAGE;
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = node.inbox_poke.notified() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        page = match run_once(&node, page).await {
            Ok(()) => (page * 2).min(PAGE),
            Err(error) => {
                tracing::warn!(%error, "the inbox could not be read");
                tokio::time::sleep(Duration::from_millis(200)).await;
                // They may be more than can be read in time.
                (page / 2).max(1)
            }
        };
    }
}

/// Reads all messages of this node's shards, a page at a time.
async fn run_once(node: &Arc<Node>, size: i64) -> Result<(), StoreError> {
    // What is read is for those who own the shards now: one that is taken anew meanwhile does not know what its
    // former owner took, and reads for itself.
    let owned: HashMap<ShardId, Arc<Shard>> =
        node.owned().into_iter().map(|shard| (shard.id, shard)).collect();
    let shards: Vec<ShardId> = owned.keys().copied().collect();
    if shards.is_empty() {
        return Ok(());
    }
    let mut after = (ShardId::MIN, Uuid::nil());
    loop {
        owned.values().for_each(|shard| shard.asking());
        let page = node.store.read_messages(&shards, after, size).await?;
        let is_last = page.len() < size as usize;
        let mut absent: HashMap<ShardId, Vec<Wanted>> = HashMap::new();
        for kept in page {
            after = (kept.shard_id, kept.message_id);
            let Some(shard) = owned.get(&kept.shard_id) else { continue };
            let Some(message) = kept.message() else { continue };
            if let Some(message) = shard.deliver(kept.saga_id, kept.message_id, message) {
                absent.entry(kept.shard_id).or_default().push((kept.saga_id, Some(message)));
            }
        }
        for (shard, sagas) in absent {
            node.bring(&owned[&shard], sagas, false);
        }
        if is_last {
            return Ok(());
        }
    }
}
