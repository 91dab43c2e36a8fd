//! Cancel: pending orders are taken back, many in one transaction.

use engine::{Attempt, Trouble, UndoFailure};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::create::CreatedOrder;
use super::{Locked, OrderStatus, Orders, lock};
use crate::database::{Database, DatabaseError};
use crate::effect::Undoing;
use crate::order::OrderId;

pub(super) const STATEMENTS: [&str; 1] = [CANCEL];

/// $1 orders, $2 why. A checkout that was undone after its card was declined says so.
const CANCEL: &str = "
    with cancelled as (
        update orders.orders
        set status = 'cancelled', cancelled_at = now(),
            cancel_reason = case
                when call.reason = 'checkout_undone' and payment.decline_code is not null
                then 'card_declined'
                else call.reason
            end
        from unnest($1::uuid[], $2::text[]) as call (id, reason)
        left join orders.payment on payment.order_id = call.id
        where orders.id = call.id and orders.status = 'pending'
        returning orders.id, orders.saga_id, orders.cancel_reason
    )
    insert into orders.order_event (order_id, seq, type, actor, data)
    select id, (select coalesce(max(seq), 0) + 1 from orders.order_event where order_id = cancelled.id),
           'cancelled', 'saga ' || saga_id, jsonb_build_object('reason', cancel_reason)
    from cancelled";

/// Why an order was cancelled; nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CancelReason {
    /// The card was declined.
    CardDeclined,
    /// Another step of the checkout could not be done.
    CheckoutUndone,
    /// The customer asked for it.
    CustomerRequest,
    /// An operator did it.
    Admin,
}

impl CancelReason {
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::CardDeclined => "card_declined",
            Self::CheckoutUndone => "checkout_undone",
            Self::CustomerRequest => "customer_request",
            Self::Admin => "admin",
        }
    }
}

impl Orders {
    /// Cancels the pending order that this step created. When it created none yet, it never will.
    /// Whoever calls at the same time shares one transaction.
    ///
    /// Stuck with `order_confirmed` when the order is past that; `Retry` with `order_holds_money`
    /// as long as money was captured for it and is not on its way back.
    pub async fn cancel(
        &self,
        attempt: &Attempt,
        order_id: OrderId,
        reason: CancelReason,
    ) -> Result<(), UndoFailure> {
        let answer = self.cancellations.call((attempt.clone(), order_id, reason)).await;
        answer.map_err(UndoFailure::Retry)?
    }
}

type Call = (Attempt, OrderId, CancelReason);

pub(super) async fn cancel(
    database: Database,
    calls: Vec<Call>,
) -> Result<Vec<Result<(), UndoFailure>>, Trouble> {
    cancel_all(&database, &calls).await.map_err(|error| error.trouble())
}

async fn cancel_all(
    database: &Database,
    calls: &[Call],
) -> Result<Vec<Result<(), UndoFailure>>, DatabaseError> {
    let attempts: Vec<_> = calls.iter().map(|(attempt, ..)| attempt).collect();
    let mut undoing = Undoing::<CreatedOrder>::begin(database, &attempts).await?;
    let to_cancel: Vec<usize> = undoing.to_take_back().map(|(i, _)| i).collect();
    if !to_cancel.is_empty() {
        let ids: Vec<Uuid> = to_cancel.iter().map(|i| calls[*i].1.0).collect();
        let locked = undoing.run(async |connection| lock(connection, &ids).await).await?;
        let (mut pending, mut reasons) = (Vec::new(), Vec::new());
        for i in to_cancel {
            let (_, order_id, reason) = calls[i];
            match may_cancel(order_id, locked.iter().find(|order| order.id == order_id)) {
                Ok(true) => {
                    pending.push(order_id.0);
                    reasons.push(reason.name());
                }
                Ok(false) => {}
                Err(failure) => undoing.fail(i, failure),
            }
        }
        if !pending.is_empty() {
            let query = sqlx::query(CANCEL).bind(pending).bind(reasons);
            undoing.run(async |connection| query.execute(connection).await).await?;
        }
    }
    undoing.finish().await
}

/// Whether there is something to cancel.
fn may_cancel(order_id: OrderId, order: Option<&Locked>) -> Result<bool, UndoFailure> {
    let stuck =
        |code, why: &str| UndoFailure::Stuck(Trouble::new(code, format!("order {order_id} {why}")));
    let order = order.ok_or_else(|| stuck("order_missing", "is not there, though it was made"))?;
    match order.status {
        OrderStatus::Cancelled => Ok(false),
        OrderStatus::Confirmed => Err(stuck("order_confirmed", "is confirmed")),
        OrderStatus::Pending if order.holds_money => Err(UndoFailure::Retry(Trouble::new(
            "order_holds_money",
            format!("money of order {order_id} was captured and is not on its way back"),
        ))),
        OrderStatus::Pending => Ok(true),
    }
}
