//! Confirm: orders that are paid in full, many in one transaction.

use std::collections::{HashMap, HashSet};

use engine::{Attempt, Failure, Trouble};
use uuid::Uuid;

use super::{OrderStatus, Orders, lock};
use crate::database::DatabaseError;
use crate::effect::Effects;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [CONFIRM];

/// The payment decides: nothing is confirmed that is not captured to the last cent. Answers the
/// orders that were.
const CONFIRM: &str = "
    with confirmed as (
        update orders.orders
        set status = 'confirmed', confirmed_at = now()
        from orders.payment
        where orders.id = any($1) and orders.status = 'pending'
          and payment.order_id = orders.id
          and payment.captured = orders.total and payment.currency = orders.currency
        returning orders.id, orders.saga_id, payment.captured
    ), event as (
        insert into orders.order_event (order_id, seq, type, actor, data)
        select id, (select coalesce(max(seq), 0) + 1 from orders.order_event where order_id = confirmed.id),
               'confirmed', 'saga ' || saga_id, jsonb_build_object('captured', captured)
        from confirmed
    )
    select id from confirmed";

/// One order of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Confirm<'a> {
    /// Which attempt of which step asks.
    pub attempt: &'a Attempt,
    /// Which order.
    pub order_id: OrderId,
}

impl Orders {
    /// Confirms each order, and writes the event of it, each by itself.
    ///
    /// A pending order whose payment is captured in full can always be confirmed. Another one
    /// answers `Failure::Retry` with `order_not_paid` or `order_not_pending`.
    pub async fn confirm(
        &self,
        calls: &[Confirm<'_>],
    ) -> Result<Vec<Result<(), Failure>>, DatabaseError> {
        let attempts: Vec<_> = calls.iter().map(|call| call.attempt).collect();
        let mut effects = Effects::begin(&self.database, &attempts, vec![(); calls.len()]).await?;
        let fresh = effects.fresh();
        if !fresh.is_empty() {
            let ids: Vec<Uuid> = fresh.iter().map(|i| calls[*i].order_id.0).collect();
            let locked = effects.run(async |connection| lock(connection, &ids).await).await?;
            let states: HashMap<_, _> = locked.into_iter().map(|o| (o.id, o.status)).collect();
            let query = sqlx::query_scalar(CONFIRM).bind(ids);
            let confirmed =
                effects.run(async |connection| query.fetch_all(connection).await).await?;
            let confirmed: HashSet<Uuid> = confirmed.into_iter().collect();
            for i in fresh {
                let order_id = calls[i].order_id;
                match states.get(&order_id) {
                    Some(OrderStatus::Confirmed) => {}
                    Some(OrderStatus::Pending) if confirmed.contains(&order_id.0) => {}
                    Some(OrderStatus::Pending) => effects.fail(i, not(order_id, "paid in full")),
                    _ => effects.fail(i, not(order_id, "pending")),
                }
            }
        }
        effects.finish().await
    }
}

fn not(order_id: OrderId, what: &str) -> Failure {
    let code = if what == "pending" { "order_not_pending" } else { "order_not_paid" };
    Failure::Retry(Trouble::new(code, format!("order {order_id} is not {what}")).not_executed())
}
