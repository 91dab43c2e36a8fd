//! All orders with their money, a page at a time, and the sums: for the comparison with other books.

use uuid::Uuid;

use super::{OrderStatus, Orders};
use crate::database::DatabaseError;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 2] = [PAGE, SUMS];

const PAGE: &str = "
    select orders.id as order_id, saga_id, orders.status, orders.currency, total, intent_id,
           payment.status as payment_status, coalesce(captured, 0) as captured,
           coalesce(refunded, 0) as refunded,
           exists (
               select from orders.refund
               where refund.order_id = orders.id and refund.status in ('requested', 'pending')
           ) as refund_under_way
    from orders.orders
    left join orders.payment on payment.order_id = orders.id
    where orders.id > $1
    order by orders.id
    limit $2";

const SUMS: &str = "
    select currency, sum(captured)::bigint as captured, sum(refunded)::bigint as refunded,
           sum(confirmed)::bigint as confirmed
    from (
        select currency, captured, refunded, 0 as confirmed from orders.payment
        union all
        select currency, 0, 0, total from orders.orders where status = 'confirmed'
    ) as book
    group by currency
    order by currency";

/// An order and its money, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Account {
    /// Its name.
    pub order_id: OrderId,
    /// The saga that made it.
    pub saga_id: Uuid,
    /// Where it stands.
    pub status: OrderStatus,
    /// ISO 4217.
    pub currency: String,
    /// What it costs.
    pub total: i64,
    /// The gateway's name of its payment, once there is one.
    pub intent_id: Option<String>,
    /// As in the table `orders.payment`.
    pub payment_status: Option<String>,
    /// Taken.
    pub captured: i64,
    /// Given back of that.
    pub refunded: i64,
    /// Whether more is on its way back.
    pub refund_under_way: bool,
}

/// The sums over all orders of a currency, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Books {
    /// ISO 4217.
    pub currency: String,
    /// Taken.
    pub captured: i64,
    /// Given back of that.
    pub refunded: i64,
    /// What the confirmed orders cost together.
    pub confirmed: i64,
}

impl Orders {
    /// At most `limit` orders that follow `after`, in the order of their id.
    pub async fn accounts(
        &self,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<Account>, DatabaseError> {
        let query =
            sqlx::query_as(PAGE).bind(after.unwrap_or(OrderId(Uuid::nil()))).bind(i64::from(limit));
        self.database.fetch_all(query).await
    }

    /// The sums of each currency.
    pub async fn books(&self) -> Result<Vec<Books>, DatabaseError> {
        self.database.scan(sqlx::query_as(SUMS)).await
    }
}
