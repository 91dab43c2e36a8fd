//! Listens for hints from other nodes: messages for this node's shards, and shards let go. Who always
//! listens also hears first when the server is gone.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::id::ShardId;
use crate::node::Node;
use crate::store::inbox::{INBOX_CHANNEL, SHARDS_CHANNEL};

/// How long to wait before listening again after the connection was lost. Meanwhile the inbox is
/// polled.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Listens until stopped, on a connection of its own.
pub(crate) async fn run(node: Arc<Node>, stopped: CancellationToken) {
    loop {
        let listening = listen(&node);
        tokio::select! {
            () = stopped.cancelled() => return,
            Err(error) = listening => {
                node.store.broke();
                tracing::warn!(%error, "not listening for messages; polling for them");
            }
        }
        tokio::select! {
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(RECONNECT_AFTER) => {}
        }
    }
}

async fn listen(node: &Arc<Node>) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = node.store.listener().await?;
    listener.listen_all([INBOX_CHANNEL, SHARDS_CHANNEL]).await?;
    // What was left before the first listen is read now.
    node.inbox_poke.notify_one();
    node.shards_poke.notify_one();
    loop {
        match listener.try_recv().await? {
            None => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Some(heard) if heard.channel() == SHARDS_CHANNEL => node.shards_poke.notify_one(),
            Some(heard) => {
                let mut shards = heard.payload().split(',').filter_map(|id| id.parse().ok());
                if shards.any(|shard: ShardId| node.shard(shard).is_some()) {
                    node.inbox_poke.notify_one();
                }
            }
        }
    }
}
