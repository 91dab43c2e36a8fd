//! Takes what is reserved for an order off the shelf.

use engine::{Activity, Attempt, Call, Failure, ForwardOnly};
use serde::{Deserialize, Serialize};

use crate::batch::{alone, together};
use crate::inventory_store::{self, Commit, Inventory};
use crate::order::OrderId;

/// Takes stock off the shelf and books the sale. After the pivot: a pinned reservation can always
/// be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInventory {
    /// Whose stock.
    pub order_id: OrderId,
}

impl Activity for CommitInventory {
    const NAME: &'static str = "commit-inventory";
    const DEPENDENCY: &'static str = inventory_store::NAME;
    const BATCH_MAX: usize = 256;

    type Services = Inventory;
    type Output = ();
    type Class = ForwardOnly;

    async fn run(&self, inventory: &Inventory, attempt: &Attempt) -> Result<(), Failure> {
        alone(inventory.commit(&[Commit { attempt, order_id: self.order_id }]).await)
    }

    async fn run_batch(inventory: &Inventory, calls: &[Call<Self>]) -> Vec<Result<(), Failure>> {
        let commit = calls
            .iter()
            .map(|call| Commit { attempt: &call.attempt, order_id: call.activity.order_id });
        let commit: Vec<_> = commit.collect();
        together(&commit, |calls| inventory.commit(calls)).await
    }

    fn describe(&self, _: Option<&()>) -> String {
        format!("stock of order {} taken off the shelf", self.order_id)
    }
}
