//! Starts on shards of other nodes: key, saga and announcement in one commit. And whose key it is.

use sqlx::FromRow;
use sqlx::types::Json;

use crate::clock;
use crate::error::StoreError;
use crate::event::Message;
use crate::id::{SagaId, ShardId};
use crate::store::Store;
use crate::store::record::NewSaga;
use crate::store::text::storable;
use crate::summary::Standing;

/// The row is written by the node that accepts the start; from then on by the shard's owner alone,
/// which learns of it by the message. No fence: a row that nobody has seen can not conflict.
pub(crate) const START: &str = "\
with keyed as (
    insert into saga.start_key (shard_id, key_hash, saga_id, fingerprint, created_at)
    select $1, $2::bytea, $3, $4, $5 where $2::bytea is not null
        on conflict do nothing
    returning saga_id
), started as (
    insert into saga.saga (shard_id, saga_id, created_at, changed_at, workflow, root, business_key,
                           subject, codec, input, next_at)
    select $1, $3, $5, $5, $6, $7, $8, $9, 0, $10, $11
     where $2::bytea is null or exists (select 1 from keyed)
        on conflict do nothing
    returning saga_id
)
insert into saga.inbox (shard_id, message_id, saga_id, at, body)
select $1, $12, saga_id, $5, $13 from started";

pub(crate) const FIND_KEY: &str = "\
select saga_id, fingerprint from saga.start_key where shard_id = $1 and key_hash = $2";

/// Whose a start key is.
#[derive(Debug, FromRow)]
pub(crate) struct KeyOwner {
    pub(crate) saga_id: SagaId,
    pub(crate) fingerprint: Vec<u8>,
}

impl Store {
    /// Starts a saga on somebody else's shard; false: its key is taken, nothing was written.
    pub(crate) async fn start_elsewhere(
        &self,
        id: SagaId,
        saga: &NewSaga,
        standing: &Standing,
    ) -> Result<bool, StoreError> {
        let key = saga.key.as_ref();
        let query = sqlx::query(START)
            .bind(id.shard())
            .bind(key.map(|key| &key.hash[..]))
            .bind(id)
            .bind(key.map(|key| &key.fingerprint[..]))
            .bind(saga.created_at)
            .bind(saga.workflow)
            .bind(saga.root)
            .bind(saga.business_key.as_deref().map(storable))
            .bind(saga.subject.as_deref().map(storable))
            .bind(&saga.input)
            .bind(standing.next_at)
            .bind(clock::new_id())
            .bind(Json(Message::Started));
        let started = self.look_up(async |connection| query.execute(connection).await).await?;
        Ok(started.rows_affected() > 0)
    }

    /// Whose key it is, if anybody's.
    pub(crate) async fn key_owner(
        &self,
        shard: ShardId,
        hash: &[u8; 32],
    ) -> Result<Option<KeyOwner>, StoreError> {
        let query = sqlx::query_as(FIND_KEY).bind(shard).bind(&hash[..]);
        self.look_up(async |connection| query.fetch_optional(connection).await).await
    }
}
