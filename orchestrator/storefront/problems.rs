//! What can go wrong in the shop, beyond what can go wrong at any door.

use activities::database::{DatabaseError, REFUSED};
use engine::Trouble;
use gateway::Problem;
use gateway::problem::{INTERNAL, Retry, UNAVAILABLE};

gateway::codes! {
    /// The shop's own problems.
    pub(crate) static PROBLEMS;

    CHECKOUT_NOT_FOUND = 404 "checkout_not_found", Retry::NO,
        "There is no such checkout",
        "This customer has no checkout with this id.",
        "Use the id, or the link, that the checkout was started with, and the key of its customer.";
    ORDER_NOT_FOUND = 404 "order_not_found", Retry::NO,
        "There is no such order",
        "This customer has no order with this id. An order appears once its stock is reserved.",
        "`GET /v1/orders` lists the customer's orders.";
    PRODUCT_NOT_FOUND = 404 "product_not_found", Retry::NO,
        "There is no such product",
        "Nobody here knows this sku.",
        "Check the sku.";
    PRICE_CHANGED = 409 "price_changed", Retry::SAME_KEY,
        "The price has changed",
        "The items cost something else than `expected_total` says. Nothing was started and nothing will be charged.",
        "Show the customer the `total` of this answer; if they agree, send it again with that as `expected_total`.";
    SIGNATURE_INVALID = 400 "signature_invalid", Retry::NO,
        "The event is not signed as it must be",
        "The Stripe-Signature header does not fit the body, or is older than five minutes. The event was not taken.",
        "Check that PAYMENT_WEBHOOK_SECRET is the secret of this endpoint, and both clocks.";
}

/// What a caller reads when a store does not answer.
pub(super) fn of_store(error: &DatabaseError) -> Problem {
    match error {
        DatabaseError::Unreachable { .. }
        | DatabaseError::Interrupted { .. }
        | DatabaseError::Busy { .. } => Problem::new(&UNAVAILABLE).caused_by(error),
        DatabaseError::Refused { .. } => Problem::new(&INTERNAL).caused_by(error),
    }
}

/// The same of a call that was gathered with others. The payment gateway sends an event again that
/// could not be kept.
pub(super) fn of_trouble(trouble: &Trouble) -> Problem {
    let code = if trouble.code == REFUSED { &INTERNAL } else { &UNAVAILABLE };
    let cause = std::io::Error::other(format!("{}: {}", trouble.code, trouble.message));
    Problem::new(code).caused_by(&cause)
}
