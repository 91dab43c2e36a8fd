//! Where the payment of an order stands in our book.

use serde::Serialize;

use super::PaymentStore;
use crate::database::DatabaseError;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [FIND];

const FIND: &str = "
    select order_id, intent_id, status, currency, amount, captured, refunded, decline_code,
           next_action ->> 'redirect_to_url' as action_url
    from orders.payment
    where order_id = $1";

/// A payment. Amounts are in minor units of `currency`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Payment {
    /// Whose.
    pub order_id: OrderId,
    /// `pi_..`
    pub intent_id: String,
    /// `created`, `requires_action`, `processing`, `authorized`, `captured`, `declined`, `voided`
    /// or `unknown`.
    pub status: String,
    /// ISO 4217.
    pub currency: String,
    /// What is to be paid.
    pub amount: i64,
    /// What was paid.
    pub captured: i64,
    /// What was given back of it.
    pub refunded: i64,
    /// Why the card was refused.
    pub decline_code: Option<String>,
    /// Where the customer authenticates.
    pub action_url: Option<String>,
}

impl PaymentStore {
    /// The payment of an order, if one was prepared.
    pub async fn payment(&self, order_id: OrderId) -> Result<Option<Payment>, DatabaseError> {
        let rows = self.database.fetch_all(sqlx::query_as(FIND).bind(order_id)).await?;
        Ok(rows.into_iter().next())
    }
}
