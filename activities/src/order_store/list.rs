//! A customer's orders, newest first, a page at a time.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{OrderStatus, Orders};
use crate::database::DatabaseError;
use crate::money::{Currency, Money};
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [LIST];

const LIST: &str = "
    select id, saga_id, status, currency, total, created_at
    from orders.orders
    where customer_id = $1 and (created_at, id) < ($2, $3)
    order by created_at desc, id desc
    limit $4";

/// One order of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderSummary {
    /// Its name.
    pub order_id: OrderId,
    /// The saga that made it.
    pub saga_id: Uuid,
    /// Where it stands.
    pub status: OrderStatus,
    /// What it costs.
    pub total: Money,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// When the last order of the page was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Its name.
    pub order_id: OrderId,
}

impl Cursor {
    /// Before the newest order.
    const START: Self = Self {
        created_at: time::macros::datetime!(9999-01-01 0:00 UTC),
        order_id: OrderId(Uuid::max()),
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    id: OrderId,
    saga_id: Uuid,
    status: OrderStatus,
    #[sqlx(try_from = "String")]
    currency: Currency,
    total: i64,
    created_at: OffsetDateTime,
}

impl Orders {
    /// At most `limit` orders of the customer, older than `after`.
    pub async fn list(
        &self,
        customer_id: &str,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<OrderSummary>, DatabaseError> {
        let after = after.unwrap_or(Cursor::START);
        let query = sqlx::query_as(LIST)
            .bind(customer_id)
            .bind(after.created_at)
            .bind(after.order_id)
            .bind(i64::from(limit));
        let rows: Vec<Row> = self.database.fetch_all(query).await?;
        let summary = |row: Row| OrderSummary {
            order_id: row.id,
            saga_id: row.saga_id,
            status: row.status,
            total: Money::new(row.total, row.currency),
            created_at: row.created_at,
        };
        Ok(rows.into_iter().map(summary).collect())
    }
}

impl OrderSummary {
    /// Where the page after this order begins.
    pub fn cursor(&self) -> Cursor {
        Cursor { created_at: self.created_at, order_id: self.order_id }
    }
}
