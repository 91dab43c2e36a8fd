//! Webhooks, kept before they are answered. Those that nobody has dealt with are the queue of
//! reconciliation.

use std::collections::HashMap;
use std::ops::Range;

use engine::{SagaId, Trouble};
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{PaymentStore, REFUND_EVENTS};
use crate::database::{Database, DatabaseError};
use crate::order::OrderId;
use crate::payment_gateway::signature::Event;

pub(super) const STATEMENTS: [&str; 4] = [RECORD, AGREED, PROCESSED, UNPROCESSED];

/// Whether the book has the end that the event tells of.
macro_rules! agrees {
    () => {
        "(event.type, payment.status) in (('payment_intent.succeeded', 'captured'),
                                         ('payment_intent.canceled', 'voided'),
                                         ('payment_intent.payment_failed', 'voided'))"
    };
}

/// Keeps the events, and says of each whether it came for the first time, whose it is, and what the
/// book has of it.
const RECORD: &str = concat!(
    "
    with kept as (
        insert into orders.gateway_event (id, type, intent_id, created, payload)
        select event.id, event.type, event.intent_id, event.created, event.payload
        from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
            as event (id, type, intent_id, created, payload)
        order by event.id
        on conflict (id) do nothing
        returning id
    )
    select event.id, event.id in (select id from kept) as is_fresh, orders.id as order_id,
           orders.saga_id, payment.status = 'created' as is_asking, ",
    agrees!(),
    " as agrees
    from unnest($1::text[], $2::text[], $3::text[]) as event (id, type, intent_id)
    left join orders.payment on payment.intent_id = event.intent_id
    left join orders.orders on orders.id = payment.order_id"
);

/// Those of the events with which the book agrees by now.
const AGREED: &str = concat!(
    "
    select event.id
    from unnest($1::text[]) as asked (id)
    join orders.gateway_event event using (id)
    join orders.payment on payment.intent_id = event.intent_id
    where ",
    agrees!()
);

/// By id alone: with `processed_at is null` beside it all that waits would be read.
const PROCESSED: &str = "
    update orders.gateway_event
    set processed_at = coalesce(processed_at, now())
    where id = any($1)
    returning id";

/// Not those of refunds: no saga is told of them.
const UNPROCESSED: &str = "
    select event.id, event.type as kind, event.intent_id, event.created, event.received_at,
           orders.saga_id
    from orders.gateway_event event
    left join orders.payment on payment.intent_id = event.intent_id
    left join orders.orders on orders.id = payment.order_id
    where event.processed_at is null and event.received_at >= $1 and event.received_at < $2
      and event.type <> all($3)
    order by event.received_at
    limit $4";

/// An event that is kept now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Whether it came for the first time.
    pub is_fresh: bool,
    /// The order it is about and the saga that placed it; `None`: nobody here knows its intent.
    pub whose: Option<(OrderId, SagaId)>,
    /// What our book has of what it tells.
    pub book: Book,
}

/// What our book of payments has of what an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// The same.
    Agrees,
    /// Nothing yet: a request of ours is under way, or is about to be sent, and its answer will tell.
    Asking,
    /// Something else.
    Differs,
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

#[derive(sqlx::FromRow)]
struct RecordedRow {
    id: String,
    is_fresh: bool,
    order_id: Option<OrderId>,
    saga_id: Option<Uuid>,
    is_asking: Option<bool>,
    agrees: Option<bool>,
}

impl RecordedRow {
    fn event(&self) -> RecordedEvent {
        let saga_id = self.saga_id.map(SagaId::from);
        let book = match (self.agrees, self.is_asking) {
            (Some(true), _) => Book::Agrees,
            (_, Some(true)) => Book::Asking,
            _ => Book::Differs,
        };
        RecordedEvent { is_fresh: self.is_fresh, whose: self.order_id.zip(saga_id), book }
    }
}

impl PaymentStore {
    /// Keeps an event, once, and says whose it is. Whoever calls at the same time shares a commit.
    /// After an error it may be kept or not: answer 5xx, and it is sent again.
    pub async fn record_event(&self, event: Event) -> Result<RecordedEvent, Trouble> {
        self.events.call(event).await
    }

    /// Those of the events with which our book agrees by now.
    pub async fn agreed_events(&self, event_ids: &[String]) -> Result<Vec<String>, DatabaseError> {
        let rows = self.database.fetch_all(sqlx::query_as(AGREED).bind(event_ids)).await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Takes events off the queue of reconciliation.
    pub async fn mark_processed(&self, event_ids: &[String]) -> Result<(), DatabaseError> {
        let query = sqlx::query_as(PROCESSED).bind(event_ids);
        self.database.fetch_all::<(String,)>(query).await?;
        Ok(())
    }

    /// Events that came in this time and that nobody has dealt with, the oldest first. Those of
    /// refunds are [`PaymentStore::refund_events`].
    pub async fn unprocessed_events(
        &self,
        received: Range<OffsetDateTime>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, DatabaseError> {
        let query = sqlx::query_as(UNPROCESSED).bind(received.start).bind(received.end);
        let query = query.bind(&REFUND_EVENTS[..]).bind(i64::from(limit));
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
    RECORD.replacen("order by", "join orders.payment using (intent_id) order by", 1)
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
    let record = record.bind(ids).bind(kinds).bind(intent_ids).bind(created).bind(payloads);
    let rows: Vec<RecordedRow> = database.fetch_all(record).await?;
    let mut rows: HashMap<String, RecordedEvent> =
        rows.into_iter().map(|row| (row.id.clone(), row.event())).collect();
    let recorded = |event: &Event| match rows.get_mut(&event.id) {
        // The second of two in one batch is not the first.
        Some(row) => RecordedEvent { is_fresh: std::mem::take(&mut row.is_fresh), ..*row },
        None => RecordedEvent { is_fresh: false, whose: None, book: Book::Differs },
    };
    Ok(events.iter().map(recorded).collect())
}
