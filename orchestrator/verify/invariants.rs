//! Every promise that `amends verify` checks, where, and in words.

/// A promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invariant {
    /// Stable: what scripts look for.
    pub(super) name: &'static str,
    /// Which book it is about.
    pub(super) book: &'static str,
    /// What must be true.
    pub(super) promise: &'static str,
    /// Whether it holds only while no saga is open.
    pub(super) at_rest: bool,
}

const ENGINE: &str = "engine";
const INVENTORY: &str = "inventory";
const ORDERS: &str = "orders";
const ACROSS: &str = "across";

const fn always(name: &'static str, book: &'static str, promise: &'static str) -> Invariant {
    Invariant { name, book, promise, at_rest: false }
}

const fn at_rest(name: &'static str, book: &'static str, promise: &'static str) -> Invariant {
    Invariant { name, book, promise, at_rest: true }
}

/// All of them, in the order they are shown.
pub(super) const ALL: &[Invariant] = &[
    always("id_says_the_shard", ENGINE, "a saga is on the shard that its id says"),
    always("journal_readable", ENGINE, "every journal can be read"),
    always("journal_gap_free", ENGINE, "no entry of a journal is missing"),
    always("rev_within_journal", ENGINE, "a saga's row is not newer than its journal"),
    always("open_has_a_next_time", ENGINE, "every open saga has a time at which it goes on"),
    always("journal_folds_to_direction", ENGINE, "the row goes the way its journal says"),
    always("journal_folds_to_ending", ENGINE, "the row ended as its journal says"),
    always("nothing_after_the_end", ENGINE, "nothing happens after a saga's end"),
    always("ended_means_undone", ENGINE, "a saga that was undone left nothing done"),
    always("plan_digest", ENGINE, "a plan of undos is what was frozen"),
    always("plan_is_complete", ENGINE, "a plan of undos leaves out nothing that was done"),
    always("journal_has_a_saga", ENGINE, "every journal has its saga"),
    always("start_key_has_a_saga", ENGINE, "every start key has its saga"),
    always("stock_in_bounds", INVENTORY, "0 <= reserved <= on hand"),
    always("reserved_is_sum_of_lines", INVENTORY, "reserved is the sum of open reservations"),
    always("on_hand_is_sum_of_movements", INVENTORY, "on hand is the sum of all movements"),
    at_rest("no_reservation_half_way", INVENTORY, "nothing is held or pinned"),
    always("subtotal_is_sum_of_lines", ORDERS, "an order costs the sum of its lines"),
    always(
        "refunded_captured_authorized_amount",
        ORDERS,
        "refunded <= captured <= authorized <= amount",
    ),
    always("payment_is_of_the_total", ORDERS, "a payment is of its order's total"),
    always("refunded_is_sum_of_refunds", ORDERS, "refunded is the sum of the refunds"),
    always("confirmed_is_captured", ORDERS, "a confirmed order has its total captured"),
    always("cancelled_holds_no_money", ORDERS, "a cancelled order keeps no money"),
    at_rest("no_order_half_way", ORDERS, "no order is pending"),
    at_rest("no_payment_half_way", ORDERS, "no payment is on its way or unknown"),
    always("charge_has_an_order", ACROSS, "every charge of the gateway has exactly one order"),
    always("charged_once", ACROSS, "at most one captured charge an order"),
    always("charged_at_most_the_total", ACROSS, "no charge above its order's total"),
    always("given_back_at_most_the_charge", ACROSS, "no refund above its charge"),
    always("charged_means_reserved", ACROSS, "captured: the stock is pinned or committed"),
    always("cancelled_means_given_back", ACROSS, "cancelled: the gateway keeps no money"),
    always("confirmed_means_captured", ACROSS, "confirmed: the gateway captured the total"),
    always("booked_means_charged", ACROSS, "our books have no money the gateway has not"),
    always("unknown_keeps_the_stock", ACROSS, "no stock let go while a payment is unknown"),
    at_rest("charged_means_booked", ACROSS, "every charge and refund is in our books"),
    at_rest("committed_means_confirmed", ACROSS, "stock is sold exactly for confirmed orders"),
    at_rest("sums_agree", ACROSS, "our books, the gateway and the confirmed orders add up alike"),
    at_rest("no_open_sagas", ENGINE, "no saga is open (with --at-rest)"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_promise_has_a_name_of_its_own() {
        let names: BTreeSet<_> = ALL.iter().map(|invariant| invariant.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
