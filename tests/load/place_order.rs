//! The real saga: three databases, the payment gateway over HTTP.

use std::sync::Arc;
use std::time::Duration;

use activities::payment_store::PaymentStore;
use activities::{Inventory, Orders, Payments};
use anyhow::ensure;
use engine::client::{Start, StartKey};
use engine::{Payload, Registry, Workflow};
use workflows::PlaceOrder;

use crate::load::Job;
use crate::nodes::Clients;
use crate::shop::Shop;

/// How many connections each store gets: as in the program.
const STORE_CONNECTIONS: u32 = 4;
/// How long an order may take.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// What a node runs, with connections of its own, as in the program.
pub(crate) fn registry(shop: &Shop) -> anyhow::Result<Registry> {
    let inventory = Inventory::connect(&shop.inventory_url, STORE_CONNECTIONS)?;
    let orders = Orders::connect(&shop.orders_url, STORE_CONNECTIONS)?;
    let payments = Arc::new(Payments {
        gateway: shop.gateway()?,
        store: PaymentStore::new(&orders),
        inventory: inventory.clone(),
    });
    let services = activities::Shop { inventory, orders, payments };
    Ok(Registry::new().workflow::<PlaceOrder>(&Arc::new(services)))
}

/// Places an order, and waits for its end.
pub(crate) struct Checkouts {
    pub(crate) clients: Clients,
    pub(crate) shop: Shop,
}

impl Job for Checkouts {
    async fn run(&self) -> anyhow::Result<()> {
        let checkout = self.shop.checkout();
        let order = checkout.order_id.to_string();
        let key = StartKey { scope: "load".into(), key: order.clone(), fingerprint: [0; 32] };
        let start = Start {
            workflow: PlaceOrder::NAME.into(),
            input: Payload::encode(&checkout)?,
            key: Some(key),
            business_key: Some(order),
            subject: Some(checkout.customer_id),
        };
        let client = self.clients.next();
        let id = client.start(start).await?.id;
        ensure!(client.ended(id, ENDS_WITHIN).await?, "{id} does not end");
        Ok(())
    }
}
