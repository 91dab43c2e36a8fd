//! The nodes of this database, with the shards they own.

use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::StoreError;
use crate::operator::NodeView;
use crate::store::Store;

pub(super) const NODES: &str = "
select n.node_id, n.name, n.version, n.workflows, n.started_at, n.lease_until,
       n.lease_until > clock_timestamp() as alive,
       array(select h.shard_id from saga.shard h where h.node_id = n.node_id order by h.shard_id)
         as shards
  from saga.node n
 where n.lease_until > clock_timestamp() - interval '1 day'
 order by n.started_at, n.node_id";

#[derive(FromRow)]
struct NodeRow {
    node_id: Uuid,
    name: String,
    version: String,
    workflows: Vec<String>,
    started_at: OffsetDateTime,
    lease_until: OffsetDateTime,
    alive: bool,
    shards: Vec<i16>,
}

impl Store {
    /// All nodes whose lease ended less than a day ago, the oldest first.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeView>, StoreError> {
        let rows: Vec<NodeRow> =
            self.with(async |connection| sqlx::query_as(NODES).fetch_all(connection).await).await?;
        let nodes = rows.into_iter().map(|row| NodeView {
            id: row.node_id,
            name: row.name,
            version: row.version,
            workflows: row.workflows,
            started_at: row.started_at,
            lease_until: row.lease_until,
            alive: row.alive,
            shards: row.shards,
        });
        Ok(nodes.collect())
    }
}
