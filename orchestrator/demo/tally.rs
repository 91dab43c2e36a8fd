//! What became of all carts, and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::plan::Checkout;
use super::shopper::{Outcome, Placed};

/// Longer than anything is followed.
const MICROS_MAX: u64 = 600_000_000;

/// Counts as it goes.
pub(super) struct Tally {
    began: Instant,
    /// Each cart's worst outcome: a cart that was cut is complete when all of it is.
    outcomes: BTreeMap<usize, Outcome>,
    /// In microseconds.
    answers: Histogram<u64>,
    flows: Histogram<u64>,
    ended_at: Vec<Instant>,
    /// Those that were not over when they were left.
    open: Vec<Checkout>,
}

/// How many carts ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) carts: usize,
    pub(super) completed: usize,
    pub(super) declined: usize,
    pub(super) out_of_stock: usize,
    pub(super) cancelled: usize,
    /// By code.
    pub(super) failed: BTreeMap<String, usize>,
    pub(super) open: usize,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            began: Instant::now(),
            outcomes: BTreeMap::new(),
            answers: Histogram::new_with_max(MICROS_MAX, 3)?,
            flows: Histogram::new_with_max(MICROS_MAX, 3)?,
            ended_at: Vec::new(),
            open: Vec::new(),
        })
    }

    /// A checkout that its shopper followed.
    pub(super) fn add(&mut self, placed: Placed) {
        self.answers.saturating_record(micros(placed.answer));
        if placed.outcome == Outcome::Open {
            self.open.push(placed.checkout.clone());
        } else {
            self.flows.saturating_record(micros(placed.flow));
            self.ended_at.push(placed.ended_at);
        }
        self.note(placed.checkout.cart, placed.outcome);
    }

    /// The checkouts that were open when they were left, to be asked for again.
    pub(super) fn take_open(&mut self) -> Vec<Checkout> {
        self.outcomes.retain(|_, outcome| *outcome != Outcome::Open);
        std::mem::take(&mut self.open)
    }

    fn note(&mut self, cart: usize, outcome: Outcome) {
        let worst = self.outcomes.entry(cart).or_insert(Outcome::Completed);
        *worst = outcome.max(worst.clone());
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts { carts: self.outcomes.len(), ..Counts::default() };
        for outcome in self.outcomes.values() {
            match outcome {
                Outcome::Completed => counts.completed += 1,
                Outcome::Declined => counts.declined += 1,
                Outcome::OutOfStock => counts.out_of_stock += 1,
                Outcome::Cancelled => counts.cancelled += 1,
                Outcome::Failed(code) => *counts.failed.entry(code.clone()).or_default() += 1,
                Outcome::Open => counts.open += 1,
            }
        }
        counts
    }

    /// How long the API took to answer, in milliseconds.
    pub(super) fn answer_ms(&self, quantile: f64) -> f64 {
        millis(&self.answers, quantile)
    }

    /// How long orders took to their end, in milliseconds.
    pub(super) fn flow_ms(&self, quantile: f64) -> f64 {
        millis(&self.flows, quantile)
    }

    /// From the first request until this share of the checkouts that ended had ended, and how many
    /// those are.
    pub(super) fn within(&self, share: f64) -> (Duration, usize) {
        let mut ended_at = self.ended_at.clone();
        ended_at.sort_unstable();
        let count = (ended_at.len() as f64 * share).ceil() as usize;
        let last = count.checked_sub(1).and_then(|last| ended_at.get(last));
        (last.map_or(Duration::ZERO, |last| *last - self.began), count)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    (histogram.value_at_quantile(quantile) as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed(cart: usize, outcome: Outcome, ms: u64) -> Placed {
        let checkout = Checkout {
            cart,
            key: cart.to_string(),
            customer: "c".to_owned(),
            body: json!({}),
            is_cancelled: false,
        };
        let (answer, flow) = (Duration::from_millis(ms), Duration::from_millis(10 * ms));
        Placed { checkout, outcome, answer, flow, ended_at: Instant::now() }
    }

    #[test]
    fn a_cart_that_was_cut_is_counted_once_by_its_worst_part() {
        let mut tally = Tally::new().unwrap();
        tally.add(placed(0, Outcome::OutOfStock, 1));
        tally.add(placed(0, Outcome::Completed, 1));
        tally.add(placed(1, Outcome::Completed, 1));
        tally.add(placed(2, Outcome::Failed("amount_too_small".to_owned()), 1));
        let counts = tally.counts();
        assert_eq!((counts.carts, counts.completed, counts.out_of_stock), (3, 1, 1));
        assert_eq!(counts.failed["amount_too_small"], 1);
    }

    #[test]
    fn an_open_checkout_is_asked_for_again() {
        let mut tally = Tally::new().unwrap();
        tally.add(placed(0, Outcome::Open, 1));
        assert_eq!(tally.counts().open, 1);
        let open = tally.take_open();
        assert_eq!(open.len(), 1);
        tally.add(placed(0, Outcome::Declined, 1));
        let counts = tally.counts();
        assert_eq!((counts.open, counts.declined, counts.carts), (0, 1, 1));
    }

    #[test]
    fn quantiles_are_of_all_answers() {
        let mut tally = Tally::new().unwrap();
        (1..=100).for_each(|ms| tally.add(placed(ms as usize, Outcome::Completed, ms)));
        assert!((tally.answer_ms(0.5) - 50.0).abs() < 0.2);
        assert!((tally.flow_ms(0.99) - 990.0).abs() < 2.0);
        assert_eq!(tally.within(0.99).1, 99);
        assert_eq!(Tally::new().unwrap().within(0.99), (Duration::ZERO, 0));
    }
}
