//! Walks through all orders of the three books side by side, in the order of their id: pages of each,
//! merged here. No statement sees two databases.

use std::collections::VecDeque;

use activities::database::DatabaseError;
use activities::inventory_store::ReservationState;
use activities::order_store::Account;
use activities::verify::{Moment, Violation};
use activities::{Inventory, OrderId, Orders};
use futures_util::future::BoxFuture;

use super::cross::{Sides, of_order};
use super::gateway_book::GatewayBook;

/// How many rows a statement reads.
const PAGE: u32 = 1_000;
/// The most violations of a walk: more have one cause.
const VIOLATIONS_MAX: usize = 1_000;

/// What a walk saw.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) orders: u64,
    pub(super) reservations: u64,
    pub(super) refunds_under_way: bool,
    pub(super) violations: Vec<Violation>,
}

/// Compares every order that any of the three knows.
pub(super) async fn walk(
    inventory: &Inventory,
    orders: &Orders,
    gateway: &GatewayBook,
    moment: Moment,
) -> Result<Walked, DatabaseError> {
    let mut reservations = reservations(inventory);
    let mut accounts = accounts(orders);
    let mut charges = gateway.orders.iter().peekable();
    let mut walked = Walked::default();
    loop {
        let charged = charges.peek().map(|(id, _)| **id);
        let next = [reservations.next_id().await?, accounts.next_id().await?, charged];
        let Some(id) = next.into_iter().flatten().min() else { break };
        let (reservation, order) = (reservations.take(id), accounts.take(id));
        let charges = charges.next_if(|(next, _)| **next == id).map(|(_, charges)| charges);
        walked.reservations += u64::from(reservation.is_some());
        walked.orders += u64::from(order.is_some());
        walked.refunds_under_way |= order.as_ref().is_some_and(|order| order.refund_under_way);
        if walked.violations.len() < VIOLATIONS_MAX {
            let sides = Sides { order: order.as_ref(), reservation, charges };
            walked.violations.extend(of_order(id, sides, moment));
        }
    }
    Ok(walked)
}

type Page<T> = Result<Vec<(OrderId, T)>, DatabaseError>;

/// One side's rows, a page at a time.
struct Pages<'a, T> {
    /// The page that follows an id.
    fetch: Box<dyn Fn(Option<OrderId>) -> BoxFuture<'a, Page<T>> + Send + 'a>,
    rows: VecDeque<(OrderId, T)>,
    last: Option<OrderId>,
    is_over: bool,
}

fn reservations(inventory: &Inventory) -> Pages<'_, ReservationState> {
    Pages::new(move |after| Box::pin(inventory.reservations(after, PAGE)))
}

fn accounts(orders: &Orders) -> Pages<'_, Account> {
    Pages::new(move |after| {
        Box::pin(async move {
            let page = orders.accounts(after, PAGE).await?;
            Ok(page.into_iter().map(|account| (account.order_id, account)).collect())
        })
    })
}

impl<'a, T> Pages<'a, T> {
    fn new(fetch: impl Fn(Option<OrderId>) -> BoxFuture<'a, Page<T>> + Send + 'a) -> Self {
        Self { fetch: Box::new(fetch), rows: VecDeque::new(), last: None, is_over: false }
    }

    /// The id of the next row.
    async fn next_id(&mut self) -> Result<Option<OrderId>, DatabaseError> {
        if self.rows.is_empty() && !self.is_over {
            self.rows = (self.fetch)(self.last).await?.into();
            self.last = self.rows.back().map(|(id, _)| *id);
            self.is_over = self.rows.len() < PAGE as usize;
        }
        Ok(self.rows.front().map(|(id, _)| *id))
    }

    /// The next row, if it is of this order.
    fn take(&mut self, id: OrderId) -> Option<T> {
        self.rows.pop_front_if(|(next, _)| *next == id).map(|(_, row)| row)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn pages_follow_one_another_without_a_gap() {
        let all: Vec<_> = (0..2_500_u128).map(|n| OrderId(Uuid::from_u128(2 * n + 1))).collect();
        let mut pages = Pages::new(|after| {
            let rest = all.iter().filter(|id| after.is_none_or(|after| **id > after));
            let page: Vec<_> = rest.take(PAGE as usize).map(|id| (*id, ())).collect();
            Box::pin(async move { Ok(page) })
        });
        let mut seen = Vec::new();
        while let Some(id) = pages.next_id().await.unwrap() {
            assert_eq!(pages.take(OrderId(Uuid::nil())), None);
            assert_eq!(pages.take(id), Some(()));
            seen.push(id);
        }
        assert_eq!(seen, all);
    }
}
