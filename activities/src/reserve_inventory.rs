//! Puts stock aside for an order: all lines or none.

use engine::{Activity, Attempt, Call, Failure, Outcome, Undo, UndoFailure, Undoable};
use serde::{Deserialize, Serialize};

use crate::batch::{alone, together};
use crate::inventory_store::{self, Inventory, Reservation, Reserve};
use crate::order::{Line, OrderId, quantities};

/// Puts stock aside. Rejected with `out_of_stock` and `{"items": [{"sku", "requested",
/// "available"}]}` when any line is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveInventory {
    /// For which order.
    pub order_id: OrderId,
    /// What is wanted.
    pub lines: Vec<Line>,
}

impl Activity for ReserveInventory {
    const NAME: &'static str = "reserve-inventory";
    const DEPENDENCY: &'static str = inventory_store::NAME;
    const BATCH_MAX: usize = 256;

    type Services = Inventory;
    type Output = Reservation;
    type Class = Undoable;

    async fn run(&self, inventory: &Inventory, attempt: &Attempt) -> Result<Reservation, Failure> {
        alone(inventory.reserve(&[self.of(attempt)]).await)
    }

    async fn run_batch(
        inventory: &Inventory,
        calls: &[Call<Self>],
    ) -> Vec<Result<Reservation, Failure>> {
        let baskets: Vec<_> = calls.iter().map(|call| call.activity.of(&call.attempt)).collect();
        together(&baskets, |calls| inventory.reserve(calls)).await
    }

    fn describe(&self, _: Option<&Reservation>) -> String {
        let units: i64 = quantities(&self.lines).values().sum();
        let noun = if units == 1 { "unit" } else { "units" };
        format!("{units} {noun} of stock reserved for order {}", self.order_id)
    }
}

impl Undo for ReserveInventory {
    async fn undo(
        &self,
        inventory: &Inventory,
        attempt: &Attempt,
        _: Outcome<'_, Reservation>,
    ) -> Result<(), UndoFailure> {
        inventory.release(attempt, self.order_id).await
    }
}

impl ReserveInventory {
    fn of<'a>(&'a self, attempt: &'a Attempt) -> Reserve<'a> {
        Reserve { attempt, order_id: self.order_id, lines: &self.lines }
    }
}
