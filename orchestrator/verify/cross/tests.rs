//! Each promise, broken on purpose.

use uuid::Uuid;

use super::*;

const TOTAL: i64 = 4200;

fn account(status: OrderStatus, captured: i64, refunded: i64) -> Account {
    Account {
        order_id: OrderId(Uuid::nil()),
        saga_id: Uuid::nil(),
        status,
        currency: "USD".to_owned(),
        total: TOTAL,
        intent_id: Some("pi_1".to_owned()),
        payment_status: Some("captured".to_owned()),
        captured,
        refunded,
        refund_under_way: false,
    }
}

fn charges(captured: i64, refunded: i64) -> Charges {
    let captures = u32::from(captured > 0);
    Charges { captures, captured, refunded, currency: "USD".to_owned() }
}

fn broken(
    order: Option<&Account>,
    reservation: Option<ReservationState>,
    charges: Option<&Charges>,
    moment: Moment,
) -> Vec<String> {
    let sides = Sides { order, reservation, charges };
    let violations = of_order(OrderId(Uuid::nil()), sides, moment);
    violations.into_iter().map(|violation| violation.invariant).collect()
}

use Moment::{Always, AtRest};
use OrderStatus::{Cancelled, Confirmed, Pending};
use ReservationState::{Committed, Held, Pinned, Released};

#[test]
fn orders_that_went_well_break_nothing() {
    let sold = account(Confirmed, TOTAL, 0);
    assert!(broken(Some(&sold), Some(Committed), Some(&charges(TOTAL, 0)), AtRest).is_empty());
    let undone = account(Cancelled, TOTAL, TOTAL);
    let given_back = charges(TOTAL, TOTAL);
    assert!(broken(Some(&undone), Some(Released), Some(&given_back), AtRest).is_empty());
    let declined = account(Cancelled, 0, 0);
    assert!(broken(Some(&declined), Some(Released), None, AtRest).is_empty());
    assert!(broken(None, Some(Released), None, AtRest).is_empty());
}

#[test]
fn an_order_that_is_under_way_breaks_nothing() {
    let pending = account(Pending, 0, 0);
    assert!(broken(Some(&pending), Some(Held), None, Always).is_empty());
    assert!(broken(Some(&pending), Some(Pinned), Some(&charges(TOTAL, 0)), Always).is_empty());
    assert!(broken(None, Some(Held), None, Always).is_empty());
}

#[test]
fn a_captured_charge_without_an_order() {
    let found = broken(None, Some(Pinned), Some(&charges(TOTAL, 0)), Always);
    assert_eq!(found, ["charge_has_an_order"]);
}

#[test]
fn a_charge_captured_twice() {
    let sold = account(Confirmed, TOTAL, 0);
    let twice = Charges { captures: 2, ..charges(2 * TOTAL, TOTAL) };
    let found = broken(Some(&sold), Some(Committed), Some(&twice), Always);
    assert_eq!(found, ["charged_once", "charged_at_most_the_total"]);
}

#[test]
fn a_charge_above_the_total_or_in_another_currency() {
    let pending = account(Pending, 0, 0);
    let found = broken(Some(&pending), Some(Pinned), Some(&charges(TOTAL + 1, 0)), Always);
    assert_eq!(found, ["charged_at_most_the_total"]);
    let yen = Charges { currency: "JPY".to_owned(), ..charges(TOTAL, 0) };
    let found = broken(Some(&pending), Some(Pinned), Some(&yen), Always);
    assert_eq!(found, ["charged_at_most_the_total"]);
}

#[test]
fn more_given_back_than_was_taken() {
    let undone = account(Pending, TOTAL, TOTAL);
    let found = broken(Some(&undone), Some(Released), Some(&charges(TOTAL, TOTAL + 1)), Always);
    assert_eq!(found, ["given_back_at_most_the_charge"]);
}

#[test]
fn a_reservation_released_while_the_charge_is_captured() {
    let pending = account(Pending, TOTAL, 0);
    for reservation in [Some(Released), Some(Held), None] {
        let found = broken(Some(&pending), reservation, Some(&charges(TOTAL, 0)), Always);
        assert_eq!(found, ["charged_means_reserved"], "{reservation:?}");
    }
}

#[test]
fn a_cancelled_order_whose_money_is_kept() {
    let cancelled = account(Cancelled, TOTAL, 0);
    let found = broken(Some(&cancelled), Some(Pinned), Some(&charges(TOTAL, 0)), Always);
    assert_eq!(found, ["cancelled_means_given_back"]);
    let on_its_way = Account { refund_under_way: true, ..cancelled };
    assert!(broken(Some(&on_its_way), Some(Pinned), Some(&charges(TOTAL, 0)), Always).is_empty());
}

#[test]
fn a_confirmed_order_without_a_capture() {
    let sold = account(Confirmed, 0, 0);
    let found = broken(Some(&sold), Some(Committed), None, Always);
    assert_eq!(found, ["confirmed_means_captured"]);
}

#[test]
fn money_in_our_books_that_the_gateway_never_took() {
    let pending = account(Pending, TOTAL, 0);
    assert_eq!(broken(Some(&pending), Some(Pinned), None, Always), ["booked_means_charged"]);
}

#[test]
fn stock_let_go_while_nobody_knows_the_payment() {
    let unknown = Account { payment_status: Some("unknown".to_owned()), ..account(Pending, 0, 0) };
    assert_eq!(broken(Some(&unknown), Some(Released), None, Always), ["unknown_keeps_the_stock"]);
}

#[test]
fn stock_held_at_rest() {
    for reservation in [Held, Pinned] {
        let found = broken(None, Some(reservation), None, AtRest);
        assert_eq!(found, ["no_reservation_half_way"]);
    }
}

#[test]
fn an_order_pending_at_rest() {
    let pending = account(Pending, 0, 0);
    assert_eq!(broken(Some(&pending), Some(Released), None, AtRest), ["no_order_half_way"]);
}

#[test]
fn stock_committed_for_an_order_that_is_not_confirmed() {
    let cancelled = account(Cancelled, 0, 0);
    let found = broken(Some(&cancelled), Some(Committed), None, AtRest);
    assert_eq!(found, ["committed_means_confirmed"]);
    let sold = account(Confirmed, TOTAL, 0);
    let found = broken(Some(&sold), Some(Pinned), Some(&charges(TOTAL, 0)), AtRest);
    assert_eq!(found, ["no_reservation_half_way", "committed_means_confirmed"]);
}

#[test]
fn a_capture_that_is_not_in_our_books_at_rest() {
    let undone = account(Cancelled, 0, 0);
    let found = broken(Some(&undone), Some(Released), Some(&charges(TOTAL, TOTAL)), AtRest);
    assert_eq!(found, ["charged_means_booked"]);
}

#[test]
fn sums_that_differ_by_one_cent() {
    let book = |captured, confirmed| {
        let currency = "USD".to_owned();
        [Books { currency, captured, refunded: 100, confirmed }]
    };
    let gateway = |captured| BTreeMap::from([("USD".to_owned(), Sums { captured, refunded: 100 })]);
    assert!(of_sums(&book(1000, 900), &gateway(1000), false).is_empty());
    assert!(of_sums(&book(1000, 850), &gateway(1000), true).is_empty());
    for (books, ledger) in [
        (book(1000, 900), gateway(1001)),
        (book(999, 900), gateway(1000)),
        (book(1000, 901), gateway(1000)),
        (book(1000, 900), BTreeMap::new()),
    ] {
        let found = of_sums(&books, &ledger, false);
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].invariant, &*found[0].id), ("sums_agree", "USD"));
    }
    assert_eq!(of_sums(&[], &gateway(101), false).len(), 1);
    assert!(of_sums(&[], &BTreeMap::new(), false).is_empty());
}
