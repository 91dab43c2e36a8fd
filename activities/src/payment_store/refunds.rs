//! Refunds that go on after the undo that made them: the events that tell of them, and how our book
//! follows what the gateway says then.

use std::ops::Range;

use time::OffsetDateTime;

use super::PaymentStore;
use super::change::{RefundRow, refund};
use crate::database::DatabaseError;
use crate::order::OrderId;
use crate::payment_gateway::intent::Refund;

pub(super) const STATEMENTS: [&str; 3] = [WAITING, LOCK, DEALT_WITH];

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
