//! One order, with its lines and what is known of its payment.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{CancelReason, Orders};
use crate::database::DatabaseError;
use crate::money::{Currency, Money};
use crate::order::{OrderId, PricedLine};

pub(super) const STATEMENTS: [&str; 2] = [FIND, LINES];

const FIND: &str = "
    select id, customer_id, saga_id, orders.status, cancel_reason, orders.currency, total,
           orders.created_at, payment.status as payment_status, payment.captured, payment.refunded,
           (
               select sum(amount)::bigint from orders.refund
               where refund.order_id = orders.id and refund.status in ('requested', 'pending')
           ) as refunding
    from orders.orders
    left join orders.payment on payment.order_id = orders.id
    where id = $1 and ($2::text is null or customer_id = $2)";

const LINES: &str = "
    select sku, name, quantity, unit_price
    from orders.order_line
    where order_id = $1
    order by sku";

/// Where an order stands. See the migration for the ways between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum OrderStatus {
    /// Its saga is still deciding.
    Pending,
    /// Paid in full, and the stock is its.
    Confirmed,
    /// Taken back.
    Cancelled,
}

/// An order as its customer may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Order {
    /// Its name.
    pub order_id: OrderId,
    /// Whose it is.
    pub customer_id: String,
    /// The saga that made it.
    pub saga_id: Uuid,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it was cancelled, when it was.
    pub cancel_reason: Option<CancelReason>,
    /// What it costs.
    pub total: Money,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// What was ordered, by sku.
    pub lines: Vec<PricedLine>,
    /// Its payment, once there is one.
    pub payment: Option<OrderPayment>,
}

/// What our books say about the payment of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderPayment {
    /// As in the table `orders.payment`.
    pub status: String,
    /// Taken.
    pub captured: Money,
    /// Given back of that.
    pub refunded: Money,
    /// More of it, on its way back.
    pub refunding: Money,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: OrderId,
    customer_id: String,
    saga_id: Uuid,
    status: OrderStatus,
    cancel_reason: Option<CancelReason>,
    #[sqlx(try_from = "String")]
    currency: Currency,
    total: i64,
    created_at: OffsetDateTime,
    payment_status: Option<String>,
    captured: Option<i64>,
    refunded: Option<i64>,
    refunding: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct LineRow {
    sku: String,
    name: String,
    quantity: i64,
    unit_price: i64,
}

impl Orders {
    /// The order `order_id`, if it is there and - given a `customer_id` - belongs to that customer.
    pub async fn find(
        &self,
        order_id: OrderId,
        customer_id: Option<&str>,
    ) -> Result<Option<Order>, DatabaseError> {
        let query = sqlx::query_as(FIND).bind(order_id).bind(customer_id);
        let rows: Vec<Row> = self.database.fetch_all(query).await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        // Lines are written with their order and never change: two reads see one truth.
        let lines: Vec<LineRow> =
            self.database.fetch_all(sqlx::query_as(LINES).bind(order_id)).await?;
        Ok(Some(row.with(lines)))
    }
}

impl Row {
    fn with(self, lines: Vec<LineRow>) -> Order {
        let money = |value: Option<i64>| Money::new(value.unwrap_or(0), self.currency);
        let payment = self.payment_status.map(|status| OrderPayment {
            status,
            captured: money(self.captured),
            refunded: money(self.refunded),
            refunding: money(self.refunding),
        });
        let line = |line: LineRow| PricedLine {
            sku: line.sku,
            name: line.name,
            // Merged lines: at most 100 a basket, each below 2^32.
            quantity: u32::try_from(line.quantity).unwrap_or(u32::MAX),
            unit_price: line.unit_price,
        };
        Order {
            order_id: self.id,
            customer_id: self.customer_id,
            saga_id: self.saga_id,
            status: self.status,
            cancel_reason: self.cancel_reason,
            total: Money::new(self.total, self.currency),
            created_at: self.created_at,
            lines: lines.into_iter().map(line).collect(),
            payment,
        }
    }
}
