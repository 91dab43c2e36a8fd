//! Everything this shop's sagas work with.

use std::sync::Arc;

use engine::Provides;

use crate::inventory_store::Inventory;
use crate::order_store::Orders;
use crate::payments::Payments;

/// The services of the shop's workflows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shop {
    /// What is in stock.
    pub inventory: Inventory,
    /// Who ordered what.
    pub orders: Orders,
    /// Who paid.
    pub payments: Arc<Payments>,
}

impl Provides<Inventory> for Shop {
    fn provide(&self) -> &Inventory {
        &self.inventory
    }
}

impl Provides<Orders> for Shop {
    fn provide(&self) -> &Orders {
        &self.orders
    }
}

impl Provides<Payments> for Shop {
    fn provide(&self) -> &Payments {
        &self.payments
    }
}
