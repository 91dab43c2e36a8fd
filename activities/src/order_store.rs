//! Orders and what they cost: the SQL on schema `orders`, but for the payments.
//!
//! Orders are locked in the order of their id, in every verb: two batches never deadlock.

mod cancel;
mod confirm;
mod create;
mod find;
mod list;
mod pages;
mod prices;
mod verify;

pub use cancel::CancelReason;
pub use confirm::Confirm;
pub use create::{Create, CreatedOrder};
pub use find::{Order, OrderPayment, OrderStatus};
pub use list::{Cursor, OrderSummary};
pub use pages::{Account, Books};
pub use prices::{Price, Pricing};

use engine::gather::Gather;
use engine::{Attempt, UndoFailure};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{Database, DatabaseError};
use crate::effect::{EffectSql, effect_sql};
use crate::money::Currency;
use crate::order::{Line, OrderId};

/// What an operator reads when it does not answer.
pub const NAME: &str = "order database";

static EFFECTS: EffectSql = effect_sql!("orders");

/// How many cancellations, or baskets to be priced, are gathered into one transaction.
const GATHERED_MAX: usize = 256;

/// The order service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Orders {
    database: Database,
    cancellations: Gather<(Attempt, OrderId, CancelReason), Result<(), UndoFailure>>,
    pricings: Gather<(Vec<Line>, Currency), Pricing>,
}

impl Orders {
    /// Opens at most `connections_max` connections to the database at `url`, when they are needed.
    /// Must be called within a tokio runtime.
    pub fn connect(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        let database = Database::connect(url, connections_max, NAME, &EFFECTS)?;
        let cancellations = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |calls| cancel::cancel(database.clone(), calls)
        });
        let pricings = Gather::new(GATHERED_MAX, {
            let database = database.clone();
            move |baskets| prices::price(database.clone(), baskets)
        });
        Ok(Self { database, cancellations, pricings })
    }

    /// The database, which the payments share.
    pub fn database(&self) -> &Database {
        &self.database
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
            &[LOCK],
            &cancel::STATEMENTS,
            &confirm::STATEMENTS,
            &create::STATEMENTS,
            &find::STATEMENTS,
            &list::STATEMENTS,
            &pages::STATEMENTS,
            &prices::STATEMENTS,
            &verify::STATEMENTS,
        ]
        .concat()
    }
}

/// Locks orders in the order of their id. `holds_money`: captured, not returned, and no refund is
/// under way.
const LOCK: &str = "
    select orders.id, orders.status,
           coalesce(payment.captured > payment.refunded, false) and not exists (
               select from orders.refund
               where refund.order_id = orders.id and refund.status in ('requested', 'pending')
           ) as holds_money
    from orders.orders
    left join orders.payment on payment.order_id = orders.id
    where orders.id = any($1)
    order by orders.id
    for update of orders";

#[derive(sqlx::FromRow)]
struct Locked {
    id: OrderId,
    status: OrderStatus,
    holds_money: bool,
}

/// Locks orders and says in what state each is.
async fn lock(
    connection: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<Locked>, sqlx::Error> {
    sqlx::query_as(LOCK).bind(order_ids).fetch_all(connection).await
}
