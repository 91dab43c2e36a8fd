//! What the shop asks of the stores and of the payment gateway.

use std::ops::Range;
use std::sync::Arc;

use activities::database::DatabaseError;
use activities::inventory_store::Availability;
use activities::order_store::{Cursor, Order, OrderSummary, Pricing};
use activities::payment_gateway::signature::{Event, EventError};
use activities::payment_store::{RecordedEvent, StoredEvent};
use activities::{Currency, Inventory, Line, OrderId, Orders, Payments};
use engine::Trouble;
use futures_util::future::BoxFuture;
use time::OffsetDateTime;

/// How many events of the queue of reconciliation are read at once.
const EVENTS_MAX: u32 = 500;

/// A seam for tests without databases.
pub(crate) trait Stores: Send + Sync {
    fn price(
        &self,
        lines: Vec<Line>,
        currency: Currency,
    ) -> BoxFuture<'_, Result<Pricing, Trouble>>;
    fn availability<'a>(
        &'a self,
        sku: &'a str,
    ) -> BoxFuture<'a, Result<Option<Availability>, DatabaseError>>;
    /// An order, if it is this customer's.
    fn order<'a>(
        &'a self,
        id: OrderId,
        customer: &'a str,
    ) -> BoxFuture<'a, Result<Option<Order>, DatabaseError>>;
    fn orders<'a>(
        &'a self,
        customer: &'a str,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<OrderSummary>, DatabaseError>>;
    /// Checks the signature over the raw bytes and reads the event.
    fn verified_event(&self, signature: &str, body: &[u8]) -> Result<Event, EventError>;
    /// Keeps the event, once.
    fn record_event(&self, event: Event) -> BoxFuture<'_, Result<RecordedEvent, Trouble>>;
    /// Those of the events with which our book of payments agrees by now.
    fn events_agreed(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<String>, DatabaseError>>;
    /// Takes the events off the queue of reconciliation.
    fn events_processed(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseError>>;
    /// Lets our book follow the refunds that events of this time tell of.
    fn follow_refunds(
        &self,
        received: Range<OffsetDateTime>,
        pending_since: Option<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<(), DatabaseError>>;
    /// Events that came in this time and are still in that queue, but for those of refunds.
    fn events_unprocessed(
        &self,
        received: Range<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, DatabaseError>>;
}

/// The shop's stores and its payments.
#[derive(Clone, Debug)]
pub(crate) struct RealStores {
    pub(crate) inventory: Inventory,
    pub(crate) orders: Orders,
    pub(crate) payments: Arc<Payments>,
}

impl Stores for RealStores {
    fn price(
        &self,
        lines: Vec<Line>,
        currency: Currency,
    ) -> BoxFuture<'_, Result<Pricing, Trouble>> {
        Box::pin(self.orders.price(lines, currency))
    }

    fn availability<'a>(
        &'a self,
        sku: &'a str,
    ) -> BoxFuture<'a, Result<Option<Availability>, DatabaseError>> {
        Box::pin(self.inventory.availability(sku))
    }

    fn order<'a>(
        &'a self,
        id: OrderId,
        customer: &'a str,
    ) -> BoxFuture<'a, Result<Option<Order>, DatabaseError>> {
        Box::pin(self.orders.find(id, Some(customer)))
    }

    fn orders<'a>(
        &'a self,
        customer: &'a str,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<OrderSummary>, DatabaseError>> {
        Box::pin(self.orders.list(customer, after, limit))
    }

    fn verified_event(&self, signature: &str, body: &[u8]) -> Result<Event, EventError> {
        self.payments.gateway.verified_event(signature, body, engine::now())
    }

    fn record_event(&self, event: Event) -> BoxFuture<'_, Result<RecordedEvent, Trouble>> {
        Box::pin(self.payments.store.record_event(event))
    }

    fn events_agreed(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<String>, DatabaseError>> {
        Box::pin(async move { self.payments.store.agreed_events(&ids).await })
    }

    fn events_processed(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(async move { self.payments.store.mark_processed(&ids).await })
    }

    fn follow_refunds(
        &self,
        received: Range<OffsetDateTime>,
        pending_since: Option<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<(), DatabaseError>> {
        Box::pin(self.payments.follow_refunds(received, pending_since))
    }

    fn events_unprocessed(
        &self,
        received: Range<OffsetDateTime>,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, DatabaseError>> {
        Box::pin(self.payments.store.unprocessed_events(received, EVENTS_MAX))
    }
}
