//! What starts a place-order saga: a priced cart.

use activities::{Currency, Line, Money, OrderId, PricedLine};
use serde::{Deserialize, Serialize};

/// A cart as it was accepted. Its prices are fixed here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkout {
    /// The order it becomes. Made from the start key, so a start that is sent again is the same
    /// order.
    pub order_id: OrderId,
    /// Who buys.
    pub customer_id: String,
    /// The currency of all prices.
    pub currency: Currency,
    /// What is bought, at which price.
    pub lines: Vec<PricedLine>,
    /// The sum of the lines.
    pub total: Money,
    /// The customer's payment method at the gateway: `pm_..`
    pub payment_method: String,
}

impl Checkout {
    /// What is bought, without prices.
    pub(crate) fn unpriced(&self) -> Vec<Line> {
        let line = |line: &PricedLine| Line { sku: line.sku.clone(), quantity: line.quantity };
        self.lines.iter().map(line).collect()
    }
}
