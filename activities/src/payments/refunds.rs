//! Refunds that end after the undo that made them: the gateway tells of it, and our book follows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use engine::Trouble;
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::Payments;
use crate::database::DatabaseError;
use crate::order::OrderId;

/// How many events are read at once.
const EVENTS_MAX: u32 = 500;
/// How many payments are asked for at once; the client's own limits come on top.
const ASKED_AT_ONCE: usize = 4;
/// How long one answer may take with all its waiting in line.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

impl Payments {
    /// Goes once through the events about refunds that came in this time: the gateway is asked for
    /// the refunds of each payment that they are about, and what it says is written down. Where that
    /// fails, the events wait for the next time. It is also asked for those that have been on their
    /// way without a word since `pending_since`: an event may be lost.
    pub async fn follow_refunds(
        &self,
        received: Range<OffsetDateTime>,
        pending_since: Option<OffsetDateTime>,
    ) -> Result<(), DatabaseError> {
        let mut payments: BTreeMap<(OrderId, String), Vec<String>> = BTreeMap::new();
        for event in self.store.refund_events(received, EVENTS_MAX).await? {
            payments.entry((event.order_id, event.intent_id)).or_default().push(event.id);
        }
        if let Some(since) = pending_since {
            for payment in self.store.pending_refunds(since, EVENTS_MAX).await? {
                payments.entry(payment).or_default();
            }
        }
        futures_util::stream::iter(payments)
            .for_each_concurrent(ASKED_AT_ONCE, |((order_id, intent_id), events)| async move {
                if let Err(trouble) = self.follow(order_id, &intent_id, &events).await {
                    let why = trouble.message;
                    tracing::info!(%order_id, why, "the refunds of an order are asked for again");
                }
            })
            .await;
        Ok(())
    }

    async fn follow(
        &self,
        order_id: OrderId,
        intent_id: &str,
        events: &[String],
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let refunds = self.gateway.list_refunds(intent_id, deadline).await;
        let refunds = refunds.map_err(|failure| failure.trouble())?;
        let written = self.store.follow_refunds(order_id, events, &refunds).await;
        written.map_err(|error| error.trouble())
    }
}
