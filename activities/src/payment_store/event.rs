//! Webhooks, kept before they are answered. Those that nobody has dealt with are the queue of
//! reconciliation.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use engine::{SagaId, Trouble};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::PaymentStore;
use crate::database::{Database, DatabaseError};
use crate::order::OrderId;
use crate::payment_gateway::signature::Event;

pub(super) const STATEMENTS: [&str; 4] = [RECORD, WHOSE, PROCESSED, UNPROCESSED];

const RECORD: &str = "
    insert into orders.gateway_event (id, type, intent_id, created, payload)
    select event.id, event.type, event.intent_id, event.created, event.payload
    from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
        as event (id, type, intent_id, created, payload)
    order by event.id
    on conflict (id) do nothing
    returning id";

const WHOSE: &str = "
    select payment.intent_id, orders.id, orders.saga_id
    from orders.payment
    join orders.orders on orders.id = payment.order_id
    where payment.intent_id = any($1)";

const PROCESSED: &str = "
    update orders.gateway_event
    set processed_at = now()
    where id = any($1) and processed_at is null
    returning id";

const UNPROCESSED: &str = "
    select event.id, event.type as kind, event.intent_id, event.created, event.received_at,
           orders.saga_id
    from orders.gateway_event event
    left join orders.payment on payment.intent_id = event.intent_id
    left join orders.orders on orders.id = payment.order_id
    where event.processed_at is null and event.received_at >= $1 and event.received_at < $2
    order by event.received_at
    limit $3";

/// An event that is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Whether it came for the first time.
    pub is_fresh: bool,
    /// The order it is about and the saga that placed it; `None`: nobody here knows its intent.
    pub whose: Option<(OrderId, SagaId)>,
}

/// An event that waits for somebody to deal with it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredEvent {
    /// `evt_..`
    pub id: String,
    /// `payment_intent.succeeded`, ...
    pub kind: String,
    /// The intent it is about.
    pub intent_id: Option<String>,
    /// When it happened, at the gateway.
    pub created: OffsetDateTime,
    /// When it came here.
    pub received_at: OffsetDateTime,
    /// The saga that placed the order it is about, if anybody here knows the intent.
    pub saga_id: Option<Uuid>,
}

impl PaymentStore {
    /// Keeps an event, once, and says whose it is. Whoever calls at the same time shares a commit.
    /// After an error it may be kept or not: answer 5xx, and it is sent again.
    pub async fn record_event(&self, event: Event) -> Result<RecordedEvent, Trouble> {
        self.events.call(event).await
    }

    /// Takes events off the queue of reconciliation.
    pub async fn mark_processed(&self, event_ids: &[String]) -> Result<(), DatabaseError> {
        let query = sqlx::query_as(PROCESSED).bind(event_ids);
        self.database.fetch_all::<(String,)>(query).await?;
        Ok(())
    }

    /// Events that came in this time and that nobody has dealt with, the oldest first.
    pub async fn unprocessed_events(
        &self,
        received: Range<OffsetDateTime>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, DatabaseError> {
        let query = sqlx::query_as(UNPROCESSED).bind(received.start).bind(received.end);
        let query = query.bind(i64::from(limit));
        self.database.fetch_all(query).await
    }
}

pub(super) async fn record(
    database: Database,
    events: Vec<Event>,
) -> Result<Vec<RecordedEvent>, Trouble> {
    record_all(&database, &events).await.map_err(|error| error.trouble())
}

/// [`RECORD`] as the planted bug `drop_unknown_webhooks` has it.
fn of_known_intents() -> String {
    RECORD.replace("order by", "join orders.payment using (intent_id) order by")
}

async fn record_all(
    database: &Database,
    events: &[Event],
) -> Result<Vec<RecordedEvent>, DatabaseError> {
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let intent_ids: Vec<_> = events.iter().map(|event| event.intent_id.as_deref()).collect();
    let created: Vec<_> = events.iter().map(|event| event.created).collect();
    let payloads: Vec<_> = events.iter().map(|event| event.payload.to_string()).collect();
    let record = match engine::planted!(DropUnknownWebhooks) {
        true => sqlx::query_as(AssertSqlSafe(of_known_intents())),
        false => sqlx::query_as(RECORD),
    };
    let record = record.bind(ids).bind(kinds).bind(&intent_ids);
    let fresh = database.fetch_all(record.bind(created).bind(payloads)).await?;
    let mut fresh: HashSet<String> = fresh.into_iter().map(|(id,)| id).collect();

    let known: Vec<&str> = intent_ids.into_iter().flatten().collect();
    let whose: Vec<(String, Uuid, Uuid)> =
        database.fetch_all(sqlx::query_as(WHOSE).bind(known)).await?;
    let whose: HashMap<_, _> = whose
        .into_iter()
        .map(|(intent_id, order_id, saga_id)| (intent_id, (OrderId(order_id), saga_id.into())))
        .collect();
    let mut recorded = |event: &Event| RecordedEvent {
        // The second of two in one batch is not the first.
        is_fresh: fresh.remove(&event.id),
        whose: event.intent_id.as_ref().and_then(|id| whose.get(id).copied()),
    };
    Ok(events.iter().map(&mut recorded).collect())
}
