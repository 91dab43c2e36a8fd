//! What the demo sends for each cart: the same for the same seed, so that a second run of the same
//! command meets the checkouts of the first.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::carts::Cart;

/// The most lines that the API takes. A longer cart becomes several checkouts.
const LINES_MAX: usize = 100;

/// Of 1,000 carts so many are paid with each; the gateway adds faults of its own. Test payment
/// methods of Stripe's.
const METHODS: [(u16, &str); 9] = [
    (500, "pm_card_visa"),
    (250, "pm_card_mastercard"),
    (130, "pm_card_amex"),
    (50, "pm_card_discover"),
    (15, "pm_card_visa_chargeDeclined"),
    (15, "pm_card_visa_chargeDeclinedInsufficientFunds"),
    (10, "pm_card_chargeDeclinedExpiredCard"),
    (25, "pm_card_authenticationRequired"),
    (5, "pm_card_threeDSecureRequiredChargeDeclined"),
];

/// Of 1,000 customers so many change their mind.
const CANCELS: u16 = 15;

/// One request to place an order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkout {
    /// Which of the carts it is of.
    pub(super) cart: usize,
    /// Its idempotency key.
    pub(super) key: String,
    pub(super) customer: String,
    pub(super) body: Value,
    /// Whether the customer cancels right after.
    pub(super) is_cancelled: bool,
}

/// The checkouts of all carts.
pub(super) fn checkouts(carts: &[Cart], seed: u64) -> Vec<Checkout> {
    let mut checkouts = Vec::with_capacity(carts.len());
    for (place, cart) in carts.iter().enumerate() {
        let lines: Vec<_> = cart.lines.iter().collect();
        let method = method(dice(seed, &cart.id, "method"));
        for (part, lines) in lines.chunks(LINES_MAX).enumerate() {
            let items: Vec<_> = lines
                .iter()
                .map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity}))
                .collect();
            let currency = cart.currency;
            checkouts.push(Checkout {
                cart: place,
                key: key(seed, &cart.id, part),
                customer: cart.customer.clone(),
                body: json!({"items": items, "payment_method": method, "currency": currency}),
                is_cancelled: dice(seed, &cart.id, "cancel") < CANCELS,
            });
        }
    }
    checkouts
}

/// The name of the delivery of a seed's stock.
pub(super) fn delivery(seed: u64) -> String {
    format!("demo seed {seed}")
}

fn key(seed: u64, cart: &str, part: usize) -> String {
    match part {
        0 => format!("demo-{seed}-{cart}"),
        part => format!("demo-{seed}-{cart}-part-{}", part + 1),
    }
}

fn method(mut dice: u16) -> &'static str {
    for (share, method) in METHODS {
        if dice < share {
            return method;
        }
        dice -= share;
    }
    METHODS[0].1
}

/// 0 to 999, the same for the same seed, cart and question.
fn dice(seed: u64, cart: &str, question: &str) -> u16 {
    let digest = Sha256::new()
        .chain_update(seed.to_be_bytes())
        .chain_update(question)
        .chain_update([0])
        .chain_update(cart)
        .finalize();
    let number = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (number % 1_000) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use activities::Currency;

    use super::*;

    fn cart(id: usize, lines: usize) -> Cart {
        Cart {
            id: id.to_string(),
            customer: "c".to_owned(),
            currency: Currency::Usd,
            lines: (0..lines).map(|line| (format!("{line:03}"), 2)).collect(),
        }
    }

    #[test]
    fn the_same_seed_sends_the_same_and_another_something_else() {
        let carts: Vec<_> = (0..200).map(|id| cart(id, 1)).collect();
        assert_eq!(checkouts(&carts, 1), checkouts(&carts, 1));
        let differ = checkouts(&carts, 1).iter().zip(checkouts(&carts, 2)).any(|(a, b)| {
            assert_ne!(a.key, b.key);
            a.body["payment_method"] != b.body["payment_method"]
        });
        assert!(differ);
    }

    #[test]
    fn a_long_cart_is_cut_and_nothing_of_it_is_lost() {
        let checkouts = checkouts(&[cart(1, 1), cart(2, 201)], 7);
        let lines = checkouts.iter().map(|c| c.body["items"].as_array().unwrap().len());
        assert_eq!(lines.collect::<Vec<_>>(), [1, 100, 100, 1]);
        let keys: BTreeSet<_> = checkouts.iter().map(|c| &c.key).collect();
        assert_eq!(keys.len(), 4);
        assert_eq!(checkouts[3].key, "demo-7-2-part-3");
        assert!(checkouts[1..].iter().all(|c| c.cart == 1));
    }

    #[test]
    fn every_method_gets_its_share() {
        assert_eq!(METHODS.iter().map(|(share, _)| share).sum::<u16>(), 1_000);
        let mut shares = BTreeMap::new();
        for dice in 0..1_000 {
            *shares.entry(method(dice)).or_insert(0) += 1;
        }
        assert!(METHODS.iter().all(|(share, method)| shares[method] == *share));
    }
}
