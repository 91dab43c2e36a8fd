//! Keeps the node's lease, shares the shards evenly among the nodes that are alive, takes over
//! those of the dead, and hands over gracefully.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::StoreError;
use crate::id::ShardId;
use crate::node::Node;
use crate::shard::Shard;
use crate::store::lease::{LeaseConnection, ShardRow, Taken};

/// How soon a renewal that failed is tried again: the lease has time for more than one.
const RENEW_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// How long a shard's sagas get to finish the attempts that are under way.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// The task that owns the node's lease.
pub(crate) struct Ownership {
    node: Arc<Node>,
    connection: LeaseConnection,
    ttl: Duration,
    /// Shards that are handed over, each until its sagas finished what is under way: a slow attempt holds
    /// up neither the lease nor any other shard.
    finishing: FuturesUnordered<BoxFuture<'static, Arc<Shard>>>,
    /// Ends everything of this node at once.
    stopped: CancellationToken,
}

impl Ownership {
    pub(crate) fn new(node: Arc<Node>, ttl: Duration, stopped: CancellationToken) -> Self {
        let connection = LeaseConnection::new(node.store.clone());
        Self { node, connection, ttl, finishing: FuturesUnordered::new(), stopped }
    }

    /// Renews the lease and looks after the shards, once.
    pub(crate) async fn run_once(&mut self) -> Result<(), StoreError> {
        let sent = self.renew().await?;
        let (shards, nodes) = self.connection.shards().await?;
        self.drop_lost(&shards);
        // Only now: what another node has taken meanwhile must not go on calling the outside world.
        self.node.lease.renewed(sent, self.ttl);
        let share = shards.len().div_ceil(nodes.max(1));
        let in_memory = self.node.owned();
        let owned: Vec<_> = in_memory.iter().filter(|shard| shard.is_open()).cloned().collect();
        let room = share.saturating_sub(owned.len());
        self.take_free(&shards, &in_memory, room).await?;
        self.hand_over(owned.into_iter().skip(share));
        Ok(())
    }

    /// When the renewal was sent.
    async fn renew(&mut self) -> Result<Instant, StoreError> {
        let sent = Instant::now();
        self.connection.renew(&self.node.name, self.ttl).await?;
        Ok(sent)
    }

    /// Goes on until `leaving`, then hands everything over.
    pub(crate) async fn run(mut self, leaving: CancellationToken) {
        let mut renew_at = tokio::time::Instant::now() + self.ttl / 3;
        loop {
            tokio::select! {
                () = leaving.cancelled() => break,
                () = self.stopped.cancelled() => return,
                Some(shard) = self.finishing.next() => {
                    self.let_go(shard).await;
                    continue;
                }
                () = self.node.shards_poke.notified() => {}
                () = tokio::time::sleep_until(renew_at) => {}
            }
            let mut pause = self.ttl / 3;
            if let Err(error) = self.run_once().await {
                tracing::warn!(%error, node = %self.node.name.id, "the lease could not be renewed");
                pause = RENEW_AGAIN_AFTER;
            }
            renew_at = tokio::time::Instant::now() + pause;
        }
        self.leave().await;
    }

    /// Hands everything over. The lease is renewed meanwhile: an attempt may take longer than it lasts.
    async fn leave(mut self) {
        // First, whether or not the database answers: nothing new starts.
        self.hand_over(self.node.owned().into_iter().filter(|shard| shard.is_open()));
        if let Err(error) = self.connection.leaving(self.node.name.id).await {
            tracing::warn!(%error, "the others do not know that this node leaves: they take its shards when it has");
        }
        let mut renewals = tokio::time::interval(self.ttl / 3);
        while !self.finishing.is_empty() {
            tokio::select! {
                Some(shard) = self.finishing.next() => self.let_go(shard).await,
                _ = renewals.tick() => {
                    if let Err(error) = self.renew().await {
                        tracing::warn!(%error, "the lease of a node that leaves could not be renewed");
                    }
                }
            }
        }
        if let Err(error) = self.connection.leave(self.node.name.id).await {
            tracing::warn!(%error, "the lease could not be ended; it runs out by itself");
        }
    }

    /// Shards that another node owns by now, and those that were taken before a standby took the server's place:
    /// what their sagas wrote last may be missing.
    fn drop_lost(&self, rows: &[ShardRow]) {
        for shard in self.node.owned() {
            let row = rows.iter().find(|row| row.shard_id == shard.id);
            let is_of_now = shard.timeline == self.connection.timeline();
            if !is_of_now || row.is_none_or(|row| row.fence != shard.fence) {
                self.node.shard_lost(&shard);
            }
        }
    }

    /// Takes at most `room` shards that nobody looks after. Those first that are ours in the database
    /// and not in memory (their sagas could not be read, the answer of a take or of a hand-over was
    /// lost), under a new fence; what there is no room for is let go, because nobody else takes from
    /// a node that is alive.
    async fn take_free(
        &mut self,
        rows: &[ShardRow],
        in_memory: &[Arc<Shard>],
        room: usize,
    ) -> Result<(), StoreError> {
        let in_memory: HashSet<ShardId> = in_memory.iter().map(|shard| shard.id).collect();
        let unattended = rows.iter().filter(|row| !in_memory.contains(&row.shard_id));
        let (ours, others): (Vec<_>, Vec<_>) =
            unattended.partition(|row| row.node_id == Some(self.node.name.id));
        let (taken, let_go) = ours.split_at(room.min(ours.len()));
        let free = others.into_iter().filter(|row| row.is_free());
        let wanted: Vec<_> =
            taken.iter().copied().chain(free).take(room).map(ShardRow::seen).collect();
        if !wanted.is_empty() {
            for taken in self.connection.take(&wanted, self.node.name.id).await? {
                self.take(taken);
            }
        }
        if !let_go.is_empty() {
            let seen: Vec<_> = let_go.iter().copied().map(ShardRow::seen).collect();
            self.connection.release(&seen).await?;
        }
        Ok(())
    }

    fn take(&self, Taken { shard_id, fence, abandoned }: Taken) {
        let lane = self.node.lane(shard_id);
        let (timeline, lost) = (self.connection.timeline(), self.stopped.child_token());
        let shard = Arc::new(Shard::new(shard_id, fence, timeline, lane, lost));
        self.node.own(shard.clone());
        if abandoned {
            self.node.meters.takeovers.increment(1);
        }
        let node = self.node.clone();
        tokio::spawn(async move {
            match node.recover(&shard, abandoned).await {
                Ok(0) => {}
                Ok(open) => tracing::info!(shard = shard_id, open, abandoned, "took a shard"),
                Err(error) => {
                    // Without its sagas the shard would only seem to be looked after.
                    tracing::warn!(shard = shard_id, %error, "a shard's sagas could not be read; it is taken again");
                    node.disown(&shard);
                }
            }
            node.inbox_poke.notify_one();
        });
    }

    /// Starts to let shards go.
    fn hand_over(&mut self, shards: impl Iterator<Item = Arc<Shard>>) {
        for shard in shards {
            shard.drain();
            self.finishing.push(finished(shard).boxed());
        }
    }

    /// Lets a shard go that is finished, and those that are by now.
    async fn let_go(&mut self, shard: Arc<Shard>) {
        let mut shards = vec![shard];
        while let Some(Some(another)) = self.finishing.next().now_or_never() {
            shards.push(another);
        }
        self.release(&shards).await;
    }

    async fn release(&mut self, shards: &[Arc<Shard>]) {
        let released: Vec<(ShardId, Uuid)> =
            shards.iter().map(|shard| (shard.id, shard.fence)).collect();
        for shard in shards {
            self.node.disown(shard);
        }
        if let Err(error) = self.connection.release(&released).await {
            tracing::warn!(%error, "shards could not be handed over; they are free when the lease ends");
        }
    }
}

/// The shard, once its sagas finished what is under way.
async fn finished(shard: Arc<Shard>) -> Arc<Shard> {
    if tokio::time::timeout(DRAIN_MAX, shard.tasks.wait()).await.is_err() {
        tracing::warn!(
            shard = shard.id,
            "some attempts did not end in time; the next owner repeats them under their keys"
        );
    }
    shard
}
