//! Pin: a reservation whose payment begins does not run out any more.

use std::collections::HashMap;

use engine::{Failure, Trouble};
use uuid::Uuid;

use super::Inventory;
use super::pages::ReservationState;
use crate::database::Database;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [PIN];

/// One statement, so one transaction. The locking read waits for whoever changes a row and then
/// sees what they left.
const PIN: &str = "
    with found as materialized (
        select order_id, state
        from inventory.reservation
        where order_id = any($1)
        order by order_id
        for update
    ), pinned as (
        update inventory.reservation
        set state = 'pinned', expires_at = null
        from found
        where reservation.order_id = found.order_id and reservation.state = 'held'
    )
    select order_id, state from found";

/// What became of a request to pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It is pinned, or sold already: it can not run out.
    Pinned,
    /// It ran out before.
    Expired,
    /// It was taken back before.
    Released,
    /// There is none.
    Missing,
}

impl Inventory {
    /// Makes sure that the reservation of `order_id` does not run out. A repeat is harmless. Whoever
    /// calls at the same time shares one statement.
    ///
    /// Rejects with `reservation_expired` or `reservation_released`; a missing one is a
    /// `Failure::Retry` with `reservation_missing`, because the step before made it.
    pub async fn pin(&self, order_id: OrderId) -> Result<(), Failure> {
        match self.pins.call(order_id).await.map_err(Failure::Retry)? {
            Pin::Pinned => Ok(()),
            Pin::Expired => Err(engine::reject(
                "reservation_expired",
                format!("the reservation of order {order_id} has run out"),
            )),
            Pin::Released => Err(engine::reject(
                "reservation_released",
                format!("the reservation of order {order_id} was taken back"),
            )),
            Pin::Missing => Err(Failure::Retry(Trouble::new(
                "reservation_missing",
                format!("order {order_id} has no reservation"),
            ))),
        }
    }
}

pub(super) async fn pin(database: Database, order_ids: Vec<OrderId>) -> Result<Vec<Pin>, Trouble> {
    let ids: Vec<Uuid> = order_ids.iter().map(|order_id| order_id.0).collect();
    let rows = database.fetch_all(sqlx::query_as(PIN).bind(ids)).await;
    let rows: Vec<(OrderId, ReservationState)> = rows.map_err(|error| error.trouble())?;
    let states: HashMap<_, _> = rows.into_iter().collect();
    let answer = |order_id| match states.get(order_id) {
        Some(ReservationState::Held | ReservationState::Pinned | ReservationState::Committed) => {
            Pin::Pinned
        }
        Some(ReservationState::Expired) => Pin::Expired,
        Some(ReservationState::Released) => Pin::Released,
        None => Pin::Missing,
    };
    Ok(order_ids.iter().map(answer).collect())
}
