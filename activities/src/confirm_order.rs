//! Confirms an order that is paid.

use engine::{Activity, Attempt, Call, Failure, ForwardOnly};
use serde::{Deserialize, Serialize};

use crate::batch::{alone, together};
use crate::order::OrderId;
use crate::order_store::{self, Confirm, Orders};

/// Confirms the order. After the pivot: one that is paid in full can always be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmOrder {
    /// Which order.
    pub order_id: OrderId,
}

impl Activity for ConfirmOrder {
    const NAME: &'static str = "confirm-order";
    const DEPENDENCY: &'static str = order_store::NAME;
    const BATCH_MAX: usize = 256;

    type Services = Orders;
    type Output = ();
    type Class = ForwardOnly;

    async fn run(&self, orders: &Orders, attempt: &Attempt) -> Result<(), Failure> {
        alone(orders.confirm(&[Confirm { attempt, order_id: self.order_id }]).await)
    }

    async fn run_batch(orders: &Orders, calls: &[Call<Self>]) -> Vec<Result<(), Failure>> {
        let confirm = calls
            .iter()
            .map(|call| Confirm { attempt: &call.attempt, order_id: call.activity.order_id });
        let confirm: Vec<_> = confirm.collect();
        together(&confirm, |calls| orders.confirm(calls)).await
    }

    fn describe(&self, _: Option<&()>) -> String {
        format!("order {} confirmed", self.order_id)
    }
}
