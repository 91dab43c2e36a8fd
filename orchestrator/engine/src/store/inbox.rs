//! Messages to sagas: left by anybody, read and taken by the owner of the shard.

use std::collections::HashMap;

use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::client::Told;
use crate::error::StoreError;
use crate::event::Message;
use crate::id::{SagaId, ShardId};
use crate::store::Store;

/// Where nodes listen for messages: the payload names shards, separated by commas.
pub(crate) const INBOX_CHANNEL: &str = "amends_inbox";
/// Where nodes listen for shards that were let go.
pub(crate) const SHARDS_CHANNEL: &str = "amends_shards";

pub(crate) const NOTIFY: &str = "select pg_notify($1, $2)";

/// Leaves messages for open sagas, and says of each whether its saga is open; a message that does not
/// come back has no saga. The same message twice is one message, as long as it is not taken.
pub(crate) const LEAVE: &str = "\
with sent as (
    select m.shard_id, m.message_id, m.saga_id, m.body::json as body, s.phase <> 'ended' as is_open
      from unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[])
           m(shard_id, message_id, saga_id, body)
      join saga.saga s on s.shard_id = m.shard_id and s.saga_id = m.saga_id
), left_behind as (
    insert into saga.inbox (shard_id, message_id, saga_id, at, body)
    select shard_id, message_id, saga_id, $5, body from sent where is_open
        on conflict do nothing
)
select message_id, is_open from sent";

pub(crate) const READ: &str = "\
select shard_id, message_id, saga_id, body::text from saga.inbox
 where shard_id = any($1) and (shard_id, message_id) > ($2, $3)
 order by shard_id, message_id
 limit $4";

/// What waits for one saga.
pub(crate) const READ_OF: &str = "\
select shard_id, message_id, saga_id, body::text from saga.inbox
 where shard_id = $1 and saga_id = $2
 order by message_id";

/// A message as it is kept.
#[derive(Debug, FromRow)]
pub(crate) struct Kept {
    pub(crate) shard_id: ShardId,
    pub(crate) message_id: Uuid,
    pub(crate) saga_id: SagaId,
    body: String,
}

impl Kept {
    /// What it says; none for what only another build can read.
    pub(crate) fn message(&self) -> Option<Message> {
        let message = serde_json::from_str(&self.body);
        message
            .inspect_err(|error| {
                tracing::error!(saga = %self.saga_id, message = %self.message_id, %error,
                    "a message can not be read and stays in the inbox");
            })
            .ok()
    }
}

impl Store {
    /// Leaves messages in one commit, and says what became of each, in their order.
    pub(crate) async fn leave_messages(
        &self,
        messages: &[(SagaId, Uuid, Message)],
        at: OffsetDateTime,
    ) -> Result<Vec<Told>, StoreError> {
        let shards: Vec<ShardId> = messages.iter().map(|(saga, ..)| saga.shard()).collect();
        let ids: Vec<Uuid> = messages.iter().map(|(_, id, _)| *id).collect();
        let sagas: Vec<SagaId> = messages.iter().map(|(saga, ..)| *saga).collect();
        let bodies: Vec<String> = messages.iter().map(|(.., body)| body.json()).collect();
        let query = sqlx::query_as(LEAVE).bind(shards).bind(&ids).bind(sagas).bind(bodies).bind(at);
        let sent: Vec<(Uuid, bool)> =
            self.with(async |connection| query.fetch_all(connection).await).await?;
        let sent: HashMap<Uuid, bool> = sent.into_iter().collect();
        let told = |id| match sent.get(id) {
            Some(true) => Told::Pending,
            Some(false) => Told::Refused("already_ended".to_owned()),
            None => Told::NoSuchSaga,
        };
        Ok(ids.iter().map(told).collect())
    }

    /// Tells the owners of `shards`, wherever they are, that messages wait.
    pub(crate) async fn notify_owners(&self, shards: &[ShardId]) -> Result<(), StoreError> {
        let shards: Vec<String> = shards.iter().map(ShardId::to_string).collect();
        let query = sqlx::query(NOTIFY).bind(INBOX_CHANNEL).bind(shards.join(","));
        self.with(async |connection| query.execute(connection).await).await?;
        Ok(())
    }

    /// The messages that wait for one saga.
    pub(crate) async fn messages_of(&self, saga: SagaId) -> Result<Vec<Kept>, StoreError> {
        let query = sqlx::query_as(READ_OF).bind(saga.shard()).bind(saga);
        self.with(async |connection| query.fetch_all(connection).await).await
    }

    /// A page of the messages of `shards`, after the one named by `after`.
    pub(crate) async fn read_messages(
        &self,
        shards: &[ShardId],
        after: (ShardId, Uuid),
        limit: i64,
    ) -> Result<Vec<Kept>, StoreError> {
        let query = sqlx::query_as(READ).bind(shards).bind(after.0).bind(after.1).bind(limit);
        self.with(async |connection| query.fetch_all(connection).await).await
    }
}
