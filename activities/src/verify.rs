//! What `amends verify` asks a store: which rows break a promise.

use serde::{Deserialize, Serialize};

/// The most violations that one invariant reports.
pub const VIOLATIONS_MAX: i64 = 100;

/// A promise that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Violation {
    /// Which promise, stable: `reserved_is_sum_of_lines`.
    pub invariant: String,
    /// Whose: an order, a sku.
    pub id: String,
    /// What is there and what should be.
    pub detail: String,
}

/// When the question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At any time: what one transaction must never leave broken.
    Always,
    /// When no saga is open: nothing may be half-way either.
    AtRest,
}
