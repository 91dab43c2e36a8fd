//! Refunds that go on after the undo that made them: the events that tell of them, and how our book
//! follows what the gateway says then.

use std::ops::Range;

use time::OffsetDateTime;

use super::PaymentStore;
use super::change::{RefundRow, refund};
use crate::database::DatabaseError;
use crate::order::OrderId;
use crate::payment_gateway::intent::Refund;

pub(super) const STATEMENTS: [&str; 5] = [WAITING, PENDING, LOCK, IS_SHORT, DEALT_WITH];

/// The events that tell of a refund.
pub const REFUND_EVENTS: [&str; 5] = [
    "charge.refund.updated",
    "charge.refunded",
    "refund.created",
    "refund.failed",
    "refund.updated",
];

/// Why an event waits for a person: money is not on its way back, and nobody here sends it again.
const REFUND_FAILED: &str = "refund_failed";

/// While nothing is captured by our book, the undo is still to write both.
const WAITING: &str = "
    select event.id, event.intent_id, payment.order_id
    from orders.gateway_event event
    join orders.payment on payment.intent_id = event.intent_id and payment.captured > 0
    where event.processed_at is null and event.attention is null
      and event.received_at >= $1 and event.received_at < $2 and event.type = any($3)
    order by event.received_at
    limit $4";

/// Those of which nothing was heard for long. It reads all refunds, every ten minutes.
const PENDING: &str = "
    select distinct payment.order_id, payment.intent_id
    from orders.refund
    join orders.payment on payment.order_id = refund.order_id
    where refund.status in ('requested', 'pending') and refund.updated_at < $1
    order by payment.order_id
    limit $2";

/// Whether some of the money is neither back nor on its way.
const IS_SHORT: &str = "
    select payment.captured > coalesce((
               select sum(amount)::bigint from orders.refund
               where refund.order_id = payment.order_id
                 and refund.status in ('requested', 'pending', 'succeeded')
           ), 0)
    from orders.payment
    where order_id = $1";

/// The payment before its refunds, as an undo takes them.
const LOCK: &str = "
    select order_id
    from orders.payment
    where order_id = $1
    for no key update";

/// Another node may have done it meanwhile. By id alone: see `PROCESSED` of the other events.
const DEALT_WITH: &str = "
    update orders.gateway_event
    set attention = coalesce(attention, $2),
        processed_at =
            case when coalesce(attention, $2) is null then coalesce(processed_at, now()) end
    where id = any($1)";

/// An event about a refund that our book has not followed yet.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RefundEvent {
    /// `evt_..`
    pub id: String,
    /// The intent that is given back.
    pub intent_id: String,
    /// The order that it paid.
    pub order_id: OrderId,
}

impl PaymentStore {
    /// Events about refunds of our payments that came in this time and that nobody has dealt with,
    /// the oldest first; without those that wait for a person.
    pub async fn refund_events(
        &self,
        received: Range<OffsetDateTime>,
        limit: u32,
    ) -> Result<Vec<RefundEvent>, DatabaseError> {
        let query = sqlx::query_as(WAITING).bind(received.start).bind(received.end);
        let query = query.bind(&REFUND_EVENTS[..]).bind(i64::from(limit));
        self.database.fetch_all(query).await
    }

    /// Orders and intents with refunds that are on their way, and have not changed since `before`.
    pub(crate) async fn pending_refunds(
        &self,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<(OrderId, String)>, DatabaseError> {
        let query = sqlx::query_as(PENDING).bind(before).bind(i64::from(limit));
        self.database.fetch_all(query).await
    }

    /// Writes where all refunds of an order's payment stand at the gateway, and with them that the
    /// events which told of it are dealt with - or wait for a person, when a refund has come back
    /// since our book was last written.
    pub(crate) async fn follow_refunds(
        &self,
        order_id: OrderId,
        event_ids: &[String],
        refunds: &[Refund],
    ) -> Result<(), DatabaseError> {
        let rows: Vec<_> = refunds.iter().map(|refund| RefundRow::seen(order_id, refund)).collect();
        let rows: Vec<_> = rows.iter().collect();
        let mut transaction = self.database.begin().await?;
        transaction
            .run(async |connection| sqlx::query(LOCK).bind(order_id).execute(connection).await)
            .await?;
        let changed = transaction.run(async |connection| refund(connection, &rows).await).await?;
        let came_back =
            changed.iter().find(|(_, status)| matches!(status.as_str(), "failed" | "canceled"));
        let is_short: Option<bool> = transaction
            .run(async |connection| {
                sqlx::query_scalar(IS_SHORT).bind(order_id).fetch_optional(connection).await
            })
            .await?;
        // Another one may have gone through since.
        let came_back = came_back.filter(|_| is_short == Some(true));
        if let Some((refund_id, status)) = came_back {
            // Before it is written: it may be said twice, and not never.
            tracing::error!(%order_id, refund_id, status, "a refund did not go through");
        }
        let attention = came_back.map(|_| REFUND_FAILED);
        transaction
            .run(async |connection| {
                sqlx::query(DEALT_WITH).bind(event_ids).bind(attention).execute(connection).await
            })
            .await?;
        transaction.commit().await
    }
}
