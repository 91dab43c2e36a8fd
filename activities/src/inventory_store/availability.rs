//! How many of a product there are.

use serde::Serialize;

use super::Inventory;
use crate::database::DatabaseError;

pub(super) const STATEMENTS: [&str; 1] = [FIND];

const FIND: &str = "
    select sku, on_hand, reserved, on_hand - reserved as available
    from inventory.stock
    where sku = $1";

/// The stock of one product, in units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Availability {
    /// The product.
    pub sku: String,
    /// On the shelf.
    pub on_hand: i64,
    /// Of those, promised to open orders.
    pub reserved: i64,
    /// Of those, still to be had.
    pub available: i64,
}

impl Inventory {
    /// The stock of `sku`; `None` when nobody knows it.
    pub async fn availability(&self, sku: &str) -> Result<Option<Availability>, DatabaseError> {
        if sku.contains('\0') {
            return Ok(None);
        }
        let rows = self.database.fetch_all(sqlx::query_as(FIND).bind(sku)).await?;
        Ok(rows.into_iter().next())
    }
}
