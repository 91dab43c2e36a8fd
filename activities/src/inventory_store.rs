//! The stock and what is promised of it: the only SQL on schema `inventory`.
//!
//! Stock rows are locked in the order of their sku, reservations in the order of their id and before
//! the stock, in every verb: two baskets never wait for each other. An update that is joined to sorted
//! lines takes them one by one as they come, because a store's sessions know no other join.

mod availability;
mod commit;
mod pages;
mod pin;
mod receive;
mod release;
mod reserve;
mod verify;

pub use availability::Availability;
pub use commit::Commit;
pub use pages::ReservationState;
pub use pin::Pin;
pub use receive::{Receipt, ReceiptKind};
pub use reserve::{HOLD, Reservation, Reserve};

use engine::gather::Gather;
use engine::{Attempt, UndoFailure};

use crate::database::{Database, DatabaseError};
use crate::effect::{EffectSql, effect_sql};
use crate::order::OrderId;

/// What an operator reads when it does not answer.
pub const NAME: &str = "inventory database";

static EFFECTS: EffectSql = effect_sql!("inventory");

/// How many releases and pins are gathered into one transaction.
const GATHERED_MAX: usize = 256;

/// The inventory service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inventory {
    database: Database,
    releases: Gather<(Attempt, OrderId), Result<(), UndoFailure>>,
    pins: Gather<OrderId, Pin>,
}

impl Inventory {
    /// Opens at most `connections_max` connections to the database at `url`, when they are needed.
    /// Must be called within a tokio runtime.
    pub fn connect(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        let database = Database::connect(url, connections_max, NAME, &EFFECTS)?;
        let releases = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |calls| release::release(database.clone(), calls)
        });
        let pins = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |order_ids| pin::pin(database.clone(), order_ids)
        });
        Ok(Self { database, releases, pins })
    }

    /// Waits for the connections that are in use and closes all.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Every statement, to be prepared by a test.
    #[doc(hidden)]
    pub fn statements() -> Vec<&'static str> {
        [
            &EFFECTS.all()[..],
            &availability::STATEMENTS,
            &commit::STATEMENTS,
            &pages::STATEMENTS,
            &pin::STATEMENTS,
            &receive::STATEMENTS,
            &release::STATEMENTS,
            &reserve::STATEMENTS,
            &verify::STATEMENTS,
        ]
        .concat()
    }
}

/// Locks reservations in the order of their id.
const LOCK_RESERVATIONS: &str = "
    select order_id, state
    from inventory.reservation
    where order_id = any($1)
    order by order_id
    for update";
