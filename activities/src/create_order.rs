//! Writes the order as pending: from here on it has a name and a price.

use engine::{Activity, Attempt, Call, Failure, Outcome, Undo, UndoFailure, Undoable};
use serde::{Deserialize, Serialize};

use crate::batch::{alone, together};
use crate::money::Currency;
use crate::order::{OrderId, PricedLine, total};
use crate::order_store::{self, CancelReason, Create, CreatedOrder, Orders};

/// Writes the order as pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateOrder {
    /// The name it gets.
    pub order_id: OrderId,
    /// Who orders.
    pub customer_id: String,
    /// Of all prices.
    pub currency: Currency,
    /// What is ordered, at the prices that the customer agreed to.
    pub lines: Vec<PricedLine>,
}

impl Activity for CreateOrder {
    const NAME: &'static str = "create-order";
    const DEPENDENCY: &'static str = order_store::NAME;
    const BATCH_MAX: usize = 256;

    type Services = Orders;
    type Output = CreatedOrder;
    type Class = Undoable;

    async fn run(&self, orders: &Orders, attempt: &Attempt) -> Result<CreatedOrder, Failure> {
        alone(orders.create(&[self.of(attempt)]).await)
    }

    async fn run_batch(
        orders: &Orders,
        calls: &[Call<Self>],
    ) -> Vec<Result<CreatedOrder, Failure>> {
        let created: Vec<_> = calls.iter().map(|call| call.activity.of(&call.attempt)).collect();
        together(&created, |calls| orders.create(calls)).await
    }

    fn describe(&self, output: Option<&CreatedOrder>) -> String {
        let order_id = self.order_id;
        let price = output.map(|order| order.total);
        match price.or_else(|| total(&self.lines, self.currency).ok()) {
            Some(price) => format!("order {order_id} over {price} created"),
            None => format!("order {order_id} created"),
        }
    }
}

impl Undo for CreateOrder {
    async fn undo(
        &self,
        orders: &Orders,
        attempt: &Attempt,
        _: Outcome<'_, CreatedOrder>,
    ) -> Result<(), UndoFailure> {
        orders.cancel(attempt, self.order_id, CancelReason::CheckoutUndone).await
    }
}

impl CreateOrder {
    fn of<'a>(&'a self, attempt: &'a Attempt) -> Create<'a> {
        Create {
            attempt,
            order_id: self.order_id,
            customer_id: &self.customer_id,
            currency: self.currency,
            lines: &self.lines,
        }
    }
}
