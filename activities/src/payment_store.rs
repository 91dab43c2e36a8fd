//! Our book of the money: the only SQL on `orders.payment`, `orders.refund` and
//! `orders.gateway_event`.
//!
//! What a step or its undo writes here goes in one transaction with its row in `orders.effect`, and
//! many sagas share a commit.

use engine::gather::Gather;
use engine::{Attempt, Failure, Rejection, Trouble, UndoFailure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::database::Database;
use crate::order_store::Orders;
use crate::payment_gateway::signature::Event;
use record::{Done, Undone};

mod change;
mod event;
mod find;
mod record;
mod refunds;

pub use event::{Book, RecordedEvent, StoredEvent};
pub use find::Payment;
pub use refunds::{REFUND_EVENTS, RefundEvent};

pub(crate) use change::{PaymentChange, PaymentStatus, RefundRow};

/// How many calls are gathered into one transaction.
const GATHERED_MAX: usize = 256;

/// The book of payments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PaymentStore {
    database: Database,
    done: Gather<Done, Result<serde_json::Value, Failure>>,
    undone: Gather<Undone, Result<(), UndoFailure>>,
    events: Gather<Event, RecordedEvent>,
}

impl PaymentStore {
    /// In the database of `orders`. Must be called within a tokio runtime.
    pub fn new(orders: &Orders) -> Self {
        let database = orders.database().clone();
        let done = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |calls| record::done(database.clone(), calls)
        });
        let undone = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |calls| record::undone(database.clone(), calls)
        });
        let events = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |events| event::record(database.clone(), events)
        });
        Self { database, done, undone, events }
    }

    /// Writes what a step found at the gateway, and its answer, once: a repeat answers what the
    /// first one answered.
    pub(crate) async fn record<T: Serialize + DeserializeOwned>(
        &self,
        attempt: &Attempt,
        payment: PaymentChange,
        answer: Result<T, Rejection>,
    ) -> Result<T, Failure> {
        let answer = match answer {
            Ok(output) => Ok(serde_json::to_value(output)?),
            Err(rejection) => Err(rejection),
        };
        let done = Done { attempt: attempt.clone(), payment, answer };
        // What was found has happened at the gateway: a failure to write it down never claims that
        // nothing did.
        let answer = self
            .done
            .call(done)
            .await
            .map_err(|trouble| Failure::Unknown(Trouble { not_executed: false, ..trouble }))?;
        Ok(serde_json::from_value(answer?)?)
    }

    /// Writes what the undo of a step came to, and shuts the step out.
    pub(crate) async fn record_undo(
        &self,
        attempt: &Attempt,
        payment: Option<PaymentChange>,
        refunds: Vec<RefundRow>,
    ) -> Result<(), UndoFailure> {
        let undone = Undone { attempt: attempt.clone(), payment, refunds };
        self.undone.call(undone).await.map_err(UndoFailure::Retry)?
    }

    /// Every statement, to be prepared by a test.
    #[doc(hidden)]
    pub fn statements() -> Vec<&'static str> {
        [&change::STATEMENTS[..], &event::STATEMENTS, &find::STATEMENTS, &refunds::STATEMENTS]
            .concat()
    }
}
