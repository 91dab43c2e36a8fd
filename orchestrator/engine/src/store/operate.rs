//! What operators do to sagas: a message to the saga and its audit row, in one statement.

use std::time::Duration;

use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::Told;
use crate::clock::LONGEST_WAIT;
use crate::error::StoreError;
use crate::event::Message;
use crate::id::SagaId;
use crate::journal::Fact;
use crate::operator::{AuditRow, Who};
use crate::store::Store;
use crate::store::query::unreadable;
use crate::store::text::{storable, storable_json};

/// Nothing is written unless the saga is where the operator saw it (`$3`).
pub(super) const SEND: &str = "
with target as materialized (
  select s.shard_id, s.saga_id,
         coalesce((select max(e.seq) from saga.entry e
                    where e.shard_id = s.shard_id and e.saga_id = s.saga_id), 0) as rev
    from saga.saga s
   where s.shard_id = $1 and s.saga_id = $2
), allowed as materialized (
  select * from target where $3::integer is null or rev = $3
), message as (
  insert into saga.inbox (shard_id, message_id, saga_id, at, body)
  select shard_id, $4, saga_id, $5, $6::text::json from allowed
), audit as (
  insert into saga.audit (audit_id, at, actor, action, shard_id, saga_id, reason, request_id, detail)
  select $7, $5, $8, $9, shard_id, saga_id, $10, $11,
         jsonb_build_object('action', $12::jsonb, 'rev', rev, 'message_id', $4::uuid)
    from allowed
)
select rev, exists (select from allowed) as sent from target";

pub(super) const IS_WAITING: &str = "
select exists (select from saga.inbox where shard_id = $1 and message_id = $2)";

pub(super) const AUDIT_OF_SAGA: &str = "
select audit_id, at, actor, action, saga_id, reason, request_id, detail
  from saga.audit
 where saga_id = $1
 order by at desc, audit_id desc
 limit 1000";

/// The waits between two looks for a message's answer: short at first, a local owner takes
/// milliseconds.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LOOKS_APART_MAX: Duration = Duration::from_millis(200);

/// A message to a saga, with what its audit row says.
pub(crate) struct Sending<'a> {
    pub(crate) id: SagaId,
    pub(crate) message_id: Uuid,
    pub(crate) audit_id: Uuid,
    pub(crate) at: OffsetDateTime,
    pub(crate) message: &'a Message,
    /// The action's name.
    pub(crate) action: &'static str,
    /// The action as it was asked for.
    pub(crate) detail: Value,
    pub(crate) who: &'a Who,
    pub(crate) if_rev: Option<i32>,
}

/// What became of a [`Sending`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// Nothing was written: the saga is there.
    Stale(i32),
    NoSuchSaga,
}

impl Store {
    /// Writes the message and its audit row, both or none, and notifies the owner.
    pub(crate) async fn send_audited(&self, sending: &Sending<'_>) -> Result<Sent, StoreError> {
        let query = sqlx::query_as(SEND)
            .bind(sending.id.shard())
            .bind(sending.id.uuid())
            .bind(sending.if_rev)
            .bind(sending.message_id)
            .bind(sending.at)
            .bind(sending.message.json())
            .bind(sending.audit_id)
            .bind(storable(&sending.who.actor))
            .bind(sending.action)
            .bind(storable(&sending.who.reason))
            .bind(sending.who.request_id.as_deref().map(storable))
            .bind(Json(storable_json(sending.detail.clone())));
        let row: Option<(i32, bool)> =
            self.with(async |connection| query.fetch_optional(connection).await).await?;
        match row {
            None => Ok(Sent::NoSuchSaga),
            Some((rev, false)) => Ok(Sent::Stale(rev)),
            Some((_, true)) => {
                // The message is written; owners also look by themselves from time to time.
                if let Err(error) = self.notify_owners(&[sending.id.shard()]).await {
                    tracing::warn!(saga_id = %sending.id, %error, "could not notify the saga's owner");
                }
                Ok(Sent::Yes)
            }
        }
    }

    /// Waits at most `timeout` until the owner took the message, and says what the saga made of it.
    pub(crate) async fn told(
        &self,
        id: SagaId,
        message_id: Uuid,
        timeout: Duration,
    ) -> Result<Told, StoreError> {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let mut apart = FIRST_LOOK;
        while self.is_waiting(id, message_id).await? {
            let now = Instant::now();
            if now >= deadline {
                return Ok(Told::Pending);
            }
            tokio::time::sleep_until(deadline.min(now + apart)).await;
            apart = (apart * 2).min(LOOKS_APART_MAX);
        }
        let Some(loaded) = self.load_one(id).await? else { return Ok(Told::NoSuchSaga) };
        let entries = loaded.stored.entries.map_err(unreadable)?;
        let refused =
            entries.iter().rev().flat_map(|entry| &entry.facts).find_map(|fact| match fact {
                Fact::Refused { message, code } if *message == message_id => Some(code.clone()),
                _ => None,
            });
        Ok(refused.map_or(Told::Taken, Told::Refused))
    }

    async fn is_waiting(&self, id: SagaId, message_id: Uuid) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(IS_WAITING).bind(id.shard()).bind(message_id);
        self.with(async |connection| query.fetch_one(connection).await).await
    }

    /// What was done to one saga, the latest first; at most 1,000 rows.
    pub(crate) async fn audit(&self, id: SagaId) -> Result<Vec<AuditRow>, StoreError> {
        let rows = self
            .with(async |connection| {
                sqlx::query(AUDIT_OF_SAGA).bind(id.uuid()).fetch_all(connection).await
            })
            .await?;
        let rows = rows.iter().map(AuditRow::from_row).collect::<Result<_, _>>();
        Ok(rows?)
    }
}
