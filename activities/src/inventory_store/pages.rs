//! All reservations, a page at a time, for the comparison with the other books.

use uuid::Uuid;

use super::Inventory;
use crate::database::DatabaseError;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [PAGE];

const PAGE: &str = "
    select order_id, state
    from inventory.reservation
    where order_id > $1
    order by order_id
    limit $2";

/// What became of a promise. See the migration for the ways between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ReservationState {
    /// Put aside until it runs out.
    Held,
    /// Put aside, and does not run out: money may be moving.
    Pinned,
    /// Sold.
    Committed,
    /// Taken back.
    Released,
    /// Ran out.
    Expired,
}

impl ReservationState {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

impl Inventory {
    /// At most `limit` reservations that follow `after`, in the order of their id.
    pub async fn reservations(
        &self,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<(OrderId, ReservationState)>, DatabaseError> {
        let query =
            sqlx::query_as(PAGE).bind(after.unwrap_or(OrderId(Uuid::nil()))).bind(i64::from(limit));
        self.database.fetch_all(query).await
    }
}
