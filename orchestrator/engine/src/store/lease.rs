//! Who is alive and who owns which shard. All times are the database's.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, FromRow};
use uuid::Uuid;

use crate::clock;
use crate::error::StoreError;
use crate::id::ShardId;
use crate::store::inbox::{NOTIFY, SHARDS_CHANNEL};
use crate::store::{Store, Timeline};

/// `clock_timestamp()` and not `now()`, which stands still in a transaction.
pub(crate) const RENEW: &str = "\
insert into saga.node (node_id, name, version, workflows, started_at, lease_until)
values ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + $5 * interval '1 millisecond')
    on conflict (node_id) do update
       set lease_until = clock_timestamp() + $5 * interval '1 millisecond'
returning clock_timestamp()";

/// Every shard with its owner's state.
pub(crate) const SHARDS: &str = "\
select s.shard_id, s.fence, s.node_id, n.lease_until > clock_timestamp() as owner_is_alive
  from saga.shard s left join saga.node n on n.node_id = s.node_id
 order by s.shard_id";

/// How many share the shards.
pub(crate) const LIVE_NODES: &str = "\
select count(*) from saga.node where lease_until > clock_timestamp() and not leaving";

/// Takes shards that nobody alive owns, or that this node owns without knowing it. The update waits
/// for the commits in flight of a former owner, and its fence shuts out all later ones. Only under
/// the fence that was seen: whoever took a shard meanwhile keeps it. `abandoned`: the former owner
/// did not let go.
pub(crate) const TAKE: &str = "\
with free as (
    select s.shard_id, s.node_id is not null and s.node_id <> $2 as abandoned
      from saga.shard s
      join unnest($1::smallint[], $3::uuid[]) seen(shard_id, fence)
        on s.shard_id = seen.shard_id and s.fence = seen.fence
      left join saga.node n on n.node_id = s.node_id
     where s.node_id is null or s.node_id = $2
        or n.node_id is null or n.lease_until <= clock_timestamp()
     order by s.shard_id
       for update of s skip locked
)
update saga.shard s
   set fence = gen_random_uuid(), node_id = $2, taken_at = clock_timestamp()
  from free
 where s.shard_id = free.shard_id
returning s.shard_id, s.fence, free.abandoned";

/// Lets shards go that are still held under these fences.
pub(crate) const RELEASE: &str = "\
update saga.shard s
   set fence = gen_random_uuid(), node_id = null
  from unnest($1::smallint[], $2::uuid[]) mine(shard_id, fence)
 where s.shard_id = mine.shard_id and s.fence = mine.fence";

pub(crate) const LEAVING: &str = "update saga.node set leaving = true where node_id = $1";

pub(crate) const LEAVE: &str = "\
update saga.node set lease_until = clock_timestamp() where node_id = $1";

/// Who this node is, as others see it.
#[derive(Clone, Debug)]
pub(crate) struct NodeName {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) workflows: Vec<String>,
}

/// A shard and its owner.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct ShardRow {
    pub(crate) shard_id: ShardId,
    pub(crate) fence: Uuid,
    pub(crate) node_id: Option<Uuid>,
    pub(crate) owner_is_alive: Option<bool>,
}

/// A shard that was taken.
#[derive(Debug, FromRow)]
pub(crate) struct Taken {
    pub(crate) shard_id: ShardId,
    pub(crate) fence: Uuid,
    pub(crate) abandoned: bool,
}

/// The lease's own connection: nothing that the API or the lanes do can starve it.
#[derive(Debug)]
pub(crate) struct LeaseConnection {
    store: Store,
    connection: Option<PgConnection>,
    /// Of the last connection.
    timeline: Timeline,
}

/// How long a statement of the lease may take before its connection is given up.
const TIMEOUT: Duration = Duration::from_secs(2);

impl LeaseConnection {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, connection: None, timeline: 0 }
    }

    /// Runs `statement` on the connection; one that fails or takes too long costs the connection,
    /// because a half-open socket never answers again.
    async fn with<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let (connection, timeline) = self.store.writing().await?;
                self.timeline = timeline;
                connection
            }
        };
        match tokio::time::timeout(TIMEOUT, statement(&mut connection)).await {
            Ok(Ok(value)) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(StoreError::unavailable(sqlx::Error::PoolTimedOut)),
        }
    }

    /// Says that the node is alive for `ttl` more, and hears what time it is.
    pub(crate) async fn renew(&mut self, node: &NodeName, ttl: Duration) -> Result<(), StoreError> {
        let renewed = self.with(async |connection| {
            let query = sqlx::query_scalar(RENEW).bind(node.id).bind(&node.name);
            let query = query.bind(env!("CARGO_PKG_VERSION")).bind(&node.workflows);
            let (asked, query) = (Instant::now(), query.bind(ttl.as_millis() as f64));
            Ok((asked, query.fetch_one(connection).await?))
        });
        let (asked, there) = renewed.await?;
        clock::set(asked, there);
        Ok(())
    }

    /// The line of history that the last answer is of.
    pub(crate) fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// All shards with their owners, and how many nodes are alive.
    pub(crate) async fn shards(&mut self) -> Result<(Vec<ShardRow>, usize), StoreError> {
        self.with(async |connection| {
            let shards = sqlx::query_as(SHARDS).fetch_all(&mut *connection).await?;
            let nodes: i64 = sqlx::query_scalar(LIVE_NODES).fetch_one(connection).await?;
            Ok((shards, nodes as usize))
        })
        .await
    }

    /// Takes those of `shards`, seen with these fences, that nobody else alive owns.
    pub(crate) async fn take(
        &mut self,
        shards: &[(ShardId, Uuid)],
        node: Uuid,
    ) -> Result<Vec<Taken>, StoreError> {
        let (ids, fences): (Vec<ShardId>, Vec<Uuid>) = shards.iter().copied().unzip();
        self.with(async |connection| {
            sqlx::query_as(TAKE).bind(ids).bind(node).bind(fences).fetch_all(connection).await
        })
        .await
    }

    /// Lets shards go.
    pub(crate) async fn release(&mut self, shards: &[(ShardId, Uuid)]) -> Result<(), StoreError> {
        let (ids, fences): (Vec<ShardId>, Vec<Uuid>) = shards.iter().copied().unzip();
        self.with(async |connection| {
            sqlx::query(RELEASE).bind(ids).bind(fences).execute(&mut *connection).await?;
            tell_nodes(connection).await
        })
        .await
    }

    /// Says that the node takes no more shards and lets go of those it has: the others' shares grow.
    pub(crate) async fn leaving(&mut self, node: Uuid) -> Result<(), StoreError> {
        self.with(async |connection| {
            sqlx::query(LEAVING).bind(node).execute(&mut *connection).await?;
            tell_nodes(connection).await
        })
        .await
    }

    /// Ends the node's lease and the connection.
    pub(crate) async fn leave(mut self, node: Uuid) -> Result<(), StoreError> {
        self.with(async |connection| sqlx::query(LEAVE).bind(node).execute(connection).await)
            .await?;
        if let Some(connection) = self.connection {
            connection.close().await?;
        }
        Ok(())
    }
}

/// Has every node look after the shards.
async fn tell_nodes(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let notify = sqlx::query(NOTIFY).bind(SHARDS_CHANNEL).bind("");
    notify.execute(connection).await.map(drop)
}

impl ShardRow {
    /// Whether anybody may take it.
    pub(crate) fn is_free(&self) -> bool {
        self.node_id.is_none() || self.owner_is_alive != Some(true)
    }
    /// The shard and the fence that was seen on it.
    pub(crate) fn seen(&self) -> (ShardId, Uuid) {
        (self.shard_id, self.fence)
    }
}
