//! Release: takes reservations back, for many orders in one transaction.

use engine::{Attempt, Trouble, UndoFailure};
use sqlx::PgConnection;
use uuid::Uuid;

use super::pages::ReservationState;
use super::reserve::Reservation;
use super::{Inventory, LOCK_RESERVATIONS};
use crate::database::{Database, DatabaseError};
use crate::effect::Undoing;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 2] = [LOCK_RESERVATIONS, RELEASE];

const RELEASE: &str = "
    with line as materialized (
        select sku, sum(quantity)::bigint as quantity
        from inventory.reservation_line
        where order_id = any($1)
        group by sku
        order by sku
    ), back as (
        update inventory.stock
        set reserved = stock.reserved - line.quantity, updated_at = now()
        from line
        where stock.sku = line.sku
    )
    update inventory.reservation
    set state = 'released', expires_at = null, closed_at = now()
    where order_id = any($1) and state in ('held', 'pinned')";

impl Inventory {
    /// Takes back what this step reserved for `order_id`. When it reserved nothing yet, it never
    /// will. Whoever calls at the same time shares one transaction.
    ///
    /// Stuck with `reservation_committed` when the stock is sold already.
    pub async fn release(&self, attempt: &Attempt, order_id: OrderId) -> Result<(), UndoFailure> {
        let answer = self.releases.call((attempt.clone(), order_id)).await;
        answer.map_err(UndoFailure::Retry)?
    }
}

pub(super) async fn release(
    database: Database,
    calls: Vec<(Attempt, OrderId)>,
) -> Result<Vec<Result<(), UndoFailure>>, Trouble> {
    release_all(&database, &calls).await.map_err(|error| error.trouble())
}

async fn release_all(
    database: &Database,
    calls: &[(Attempt, OrderId)],
) -> Result<Vec<Result<(), UndoFailure>>, DatabaseError> {
    let attempts: Vec<_> = calls.iter().map(|(attempt, _)| attempt).collect();
    let mut undoing = Undoing::<Reservation>::begin(database, &attempts).await?;
    let to_release: Vec<usize> = undoing.to_take_back().map(|(i, _)| i).collect();
    if !to_release.is_empty() {
        let ids: Vec<Uuid> = to_release.iter().map(|i| calls[*i].1.0).collect();
        let states = undoing.run(async |connection| states(connection, &ids).await).await?;
        let mut open = Vec::new();
        for i in to_release {
            let order_id = calls[i].1;
            match states.iter().find(|(id, _)| *id == order_id).map(|(_, state)| *state) {
                Some(ReservationState::Held | ReservationState::Pinned) => open.push(order_id.0),
                Some(ReservationState::Released | ReservationState::Expired) => {}
                Some(ReservationState::Committed) => {
                    let why = format!("the stock of order {order_id} is sold");
                    let trouble = Trouble::new("reservation_committed", why);
                    undoing.fail(i, UndoFailure::Stuck(trouble));
                }
                None => {
                    let why = format!("order {order_id} has no reservation, though one was made");
                    let trouble = Trouble::new("reservation_missing", why);
                    undoing.fail(i, UndoFailure::Stuck(trouble));
                }
            }
        }
        if !open.is_empty() {
            let put_back = sqlx::query(RELEASE).bind(open);
            undoing.run(async |connection| put_back.execute(connection).await).await?;
        }
    }
    undoing.finish().await
}

/// Locks reservations and says in what state each is.
pub(super) async fn states(
    connection: &mut PgConnection,
    order_ids: &[Uuid],
) -> Result<Vec<(OrderId, ReservationState)>, sqlx::Error> {
    sqlx::query_as(LOCK_RESERVATIONS).bind(order_ids).fetch_all(connection).await
}
