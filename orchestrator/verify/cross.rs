//! What must be true across the stores and the gateway. Pure: it is given the three sides of an
//! order and says which promises they break.

use std::collections::BTreeMap;

use activities::OrderId;
use activities::inventory_store::ReservationState;
use activities::order_store::{Account, Books, OrderStatus};
use activities::verify::{Moment, Violation};

use super::gateway_book::{Charges, Sums};

/// One order as each book has it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides<'a> {
    pub(super) order: Option<&'a Account>,
    pub(super) reservation: Option<ReservationState>,
    pub(super) charges: Option<&'a Charges>,
}

/// The promises that one order breaks.
pub(super) fn of_order(id: OrderId, sides: Sides<'_>, moment: Moment) -> Vec<Violation> {
    let mut found = Found { id: id.to_string(), violations: Vec::new() };
    charged(&mut found, sides);
    told(&mut found, sides);
    if moment == Moment::AtRest {
        at_rest(&mut found, sides);
    }
    found.violations
}

/// The promises that the sums break when nothing is under way. `refunds_under_way`: money is on its
/// way back, so what is kept is not yet what was sold.
pub(super) fn of_sums(
    books: &[Books],
    gateway: &BTreeMap<String, Sums>,
    refunds_under_way: bool,
) -> Vec<Violation> {
    let mut currencies: BTreeMap<&str, (Option<&Books>, Sums)> = BTreeMap::new();
    for book in books {
        currencies.entry(&book.currency).or_default().0 = Some(book);
    }
    for (currency, sums) in gateway {
        currencies.entry(currency).or_default().1 = *sums;
    }
    let mut violations = Vec::new();
    for (currency, (book, sums)) in currencies {
        let ours = book.map_or(0, |book| book.captured - book.refunded);
        let sold = book.map_or(0, |book| book.confirmed);
        let theirs = sums.captured - sums.refunded;
        if ours != theirs || (ours != sold && !refunds_under_way) {
            violations.push(Violation {
                invariant: "sums_agree".to_owned(),
                id: currency.to_owned(),
                detail: format!("our books {ours}, the gateway {theirs}, confirmed orders {sold}"),
            });
        }
    }
    violations
}

struct Found {
    id: String,
    violations: Vec<Violation>,
}

impl Found {
    fn must(&mut self, invariant: &str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            let (invariant, id) = (invariant.to_owned(), self.id.clone());
            self.violations.push(Violation { invariant, id, detail: detail() });
        }
    }
}

/// What follows from money that moved at the gateway.
fn charged(found: &mut Found, sides: Sides<'_>) {
    let Some(charges) = sides.charges else { return };
    let kept = charges.captured - charges.refunded;
    found.must("charged_once", charges.captures <= 1, || {
        format!("{} charges were captured, {} in all", charges.captures, charges.captured)
    });
    found.must("charge_has_an_order", sides.order.is_some() || charges.captured == 0, || {
        format!("{} was captured and there is no such order", charges.captured)
    });
    if let Some(order) = sides.order {
        let same_currency = charges.currency == order.currency;
        let within = same_currency && charges.captured <= order.total;
        found.must("charged_at_most_the_total", within, || {
            format!(
                "captured {} {}, the total is {} {}",
                charges.captured, charges.currency, order.total, order.currency
            )
        });
    }
    found.must("given_back_at_most_the_charge", kept >= 0, || {
        format!("captured {}, given back {}", charges.captured, charges.refunded)
    });
    let safe =
        matches!(sides.reservation, Some(ReservationState::Pinned | ReservationState::Committed));
    found.must("charged_means_reserved", kept <= 0 || safe, || {
        format!("{kept} is kept, the reservation is {}", state(sides.reservation))
    });
}

/// What follows from what our books tell.
fn told(found: &mut Found, sides: Sides<'_>) {
    let Some(order) = sides.order else { return };
    let (captured, refunded) = sides.charges.map_or((0, 0), |c| (c.captured, c.refunded));
    let kept = captured - refunded;
    let given_back = kept == 0 || order.refund_under_way;
    found.must(
        "cancelled_means_given_back",
        order.status != OrderStatus::Cancelled || given_back,
        || format!("it is cancelled, and the gateway keeps {kept}"),
    );
    found.must(
        "confirmed_means_captured",
        order.status != OrderStatus::Confirmed || kept == order.total,
        || format!("it is confirmed at {}, and the gateway keeps {kept}", order.total),
    );
    found.must(
        "booked_means_charged",
        order.captured <= captured && order.refunded <= refunded,
        || {
            format!(
                "our books say captured {} refunded {}, the gateway {captured} and {refunded}",
                order.captured, order.refunded
            )
        },
    );
    let is_let_go =
        matches!(sides.reservation, Some(ReservationState::Released | ReservationState::Expired));
    let is_unknown = order.payment_status.as_deref() == Some("unknown");
    found.must("unknown_keeps_the_stock", !(is_let_go && is_unknown), || {
        format!("nobody knows the payment, and the stock is {}", state(sides.reservation))
    });
}

/// What must be true besides when no saga is open.
fn at_rest(found: &mut Found, sides: Sides<'_>) {
    let is_half_way =
        matches!(sides.reservation, Some(ReservationState::Held | ReservationState::Pinned));
    found.must("no_reservation_half_way", !is_half_way, || state(sides.reservation).to_owned());
    let status = sides.order.map(|order| order.status);
    found.must("no_order_half_way", status != Some(OrderStatus::Pending), || "pending".to_owned());
    let is_sold = status == Some(OrderStatus::Confirmed);
    let is_taken = sides.reservation == Some(ReservationState::Committed);
    found.must("committed_means_confirmed", is_sold == is_taken, || {
        let order = status.map_or_else(|| "not there".to_owned(), |status| format!("{status:?}"));
        format!("the order is {order}, its reservation {}", state(sides.reservation))
    });
    let ours = sides.order.map_or((0, 0), |order| (order.captured, order.refunded));
    let theirs = sides.charges.map_or((0, 0), |c| (c.captured, c.refunded));
    found.must("charged_means_booked", ours == theirs, || {
        format!(
            "our books say captured {} refunded {}, the gateway {} and {}",
            ours.0, ours.1, theirs.0, theirs.1
        )
    });
}

fn state(reservation: Option<ReservationState>) -> &'static str {
    reservation.map_or("not there", ReservationState::name)
}

#[cfg(test)]
mod tests;
