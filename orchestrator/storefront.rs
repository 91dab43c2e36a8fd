//! The shop's own routes: thin, no SQL, no business rules. They check what comes in, start and follow
//! sagas, and say what became of them in the customer's words.

mod checkout_events;
mod checkout_request;
mod checkout_view;
mod checkouts;
mod inventory;
mod orders;
mod payment_events;
mod problems;
mod sagas;
mod stores;

pub(crate) use problems::PROBLEMS;
pub(crate) use sagas::Sagas;
pub(crate) use stores::{RealStores, Stores};

use std::sync::Arc;

use gateway::{Access, Role, Routes};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// The workflow a checkout starts.
const PLACE_ORDER: &str = "place-order";

/// The most payment events that wait for their sagas to be told; the gateway waits then.
const EVENTS_WAITING_MAX: usize = 4_096;

/// The most streams of events that are open at once.
const STREAMS_MAX: usize = 1_000;

const CUSTOMERS: Access = Access::Roles(&[Role::Shop, Role::Customer]);

/// What the routes work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Storefront {
    sagas: Arc<dyn Sagas>,
    shop: Arc<dyn Stores>,
    /// Payment events that sagas are still to be told of.
    kept_events: mpsc::Sender<payment_events::Kept>,
    streams: Arc<Semaphore>,
    /// Ends streams and waits when the program stops.
    stopping: CancellationToken,
}

impl Storefront {
    pub(crate) fn new(
        sagas: Arc<dyn Sagas>,
        shop: Arc<dyn Stores>,
        stopping: CancellationToken,
    ) -> Self {
        let (kept_events, queue) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(payment_events::tell(sagas.clone(), shop.clone(), queue));
        tokio::spawn(payment_events::tell_again(shop.clone(), kept_events.downgrade()));
        tokio::spawn(payment_events::follow_refunds(shop.clone(), stopping.clone()));
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Self { sagas, shop, kept_events, streams, stopping }
    }

    /// The table of the shop's routes.
    pub(crate) fn routes(self) -> Routes {
        let signed = Access::Public("the payment gateway signs what it sends");
        Routes::new()
            .post("/v1/checkouts", CUSTOMERS, "start a checkout", checkouts::start)
            .get("/v1/checkouts/{id}", CUSTOMERS, "where a checkout stands", checkouts::see)
            .get(
                "/v1/checkouts/{id}/events",
                CUSTOMERS,
                "follow a checkout",
                checkout_events::follow,
            )
            .post("/v1/checkouts/{id}/cancel", CUSTOMERS, "cancel a checkout", checkouts::cancel)
            .get("/v1/orders", CUSTOMERS, "the customer's orders, newest first", orders::list)
            .get("/v1/orders/{id}", CUSTOMERS, "one order", orders::one)
            .get("/v1/inventory/{sku}", CUSTOMERS, "how many there are", inventory::availability)
            .post("/v1/payment-events", signed, "the gateway's webhook", payment_events::take)
            .with_state(self)
    }
}

#[cfg(test)]
mod tests;
