//! The schemas of the two stores: their migrations, and the check that they are there.

pub use engine::schema::{Durability, Schema, SchemaError};

use crate::{inventory_store, order_store};

/// Schema `inventory`.
pub const INVENTORY: Schema = Schema {
    name: "inventory",
    database: inventory_store::NAME,
    migrator: || sqlx::migrate!("../migrations/inventory"),
};

/// Schema `orders`.
pub const ORDERS: Schema = Schema {
    name: "orders",
    database: order_store::NAME,
    migrator: || sqlx::migrate!("../migrations/orders"),
};
