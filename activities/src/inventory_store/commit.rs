//! Commit: what was promised leaves the shelf, for many orders in one transaction.

use std::collections::HashMap;

use engine::{Attempt, Failure, Trouble};
use uuid::Uuid;

use super::Inventory;
use super::pages::ReservationState;
use super::release::states;
use crate::database::DatabaseError;
use crate::effect::Effects;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [COMMIT];

const COMMIT: &str = "
    with line as materialized (
        select sku, sum(quantity)::bigint as quantity
        from inventory.reservation_line
        where order_id = any($1)
        group by sku
        order by sku
    ), sold as (
        update inventory.stock
        set on_hand = stock.on_hand - line.quantity,
            reserved = stock.reserved - line.quantity,
            updated_at = now()
        from line
        where stock.sku = line.sku
    ), booked as (
        insert into inventory.stock_movement (sku, delta, kind, ref)
        select sku, -quantity, 'sale', order_id::text
        from inventory.reservation_line
        where order_id = any($1)
    )
    update inventory.reservation
    set state = 'committed', closed_at = now()
    where order_id = any($1) and state = 'pinned'";

/// One order of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Which attempt of which step asks.
    pub attempt: &'a Attempt,
    /// Whose reservation.
    pub order_id: OrderId,
}

impl Inventory {
    /// Takes what is reserved for each order off the shelf and books the sale.
    ///
    /// A pinned reservation can always be committed. One that is in another state answers
    /// `Failure::Retry` with `reservation_not_pinned`, each by itself.
    pub async fn commit(
        &self,
        calls: &[Commit<'_>],
    ) -> Result<Vec<Result<(), Failure>>, DatabaseError> {
        let attempts: Vec<_> = calls.iter().map(|call| call.attempt).collect();
        let mut effects = Effects::begin(&self.database, &attempts, vec![(); calls.len()]).await?;
        let fresh = effects.fresh();
        if !fresh.is_empty() {
            let ids: Vec<Uuid> = fresh.iter().map(|i| calls[*i].order_id.0).collect();
            let found = effects.run(async |connection| states(connection, &ids).await).await?;
            let found: HashMap<_, _> = found.into_iter().collect();
            let mut pinned = Vec::new();
            for i in fresh {
                let order_id = calls[i].order_id;
                match found.get(&order_id) {
                    Some(ReservationState::Pinned) => pinned.push(order_id.0),
                    Some(ReservationState::Committed) => {}
                    other => effects.fail(i, not_pinned(order_id, other.copied())),
                }
            }
            if !pinned.is_empty() {
                let sell = sqlx::query(COMMIT).bind(pinned);
                effects.run(async |connection| sell.execute(connection).await).await?;
            }
        }
        effects.finish().await
    }
}

fn not_pinned(order_id: OrderId, state: Option<ReservationState>) -> Failure {
    let state = state.map_or("missing", ReservationState::name);
    let why = format!("the reservation of order {order_id} is {state}, not pinned");
    Failure::Retry(Trouble::new("reservation_not_pinned", why).not_executed())
}
