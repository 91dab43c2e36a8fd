//! What the inventory store promises, in a few maps: the reference its answers are compared with.

use std::collections::{BTreeMap, BTreeSet};

/// A product, an order, a saga: by number.
pub(crate) type Sku = usize;
pub(crate) type Order = usize;
pub(crate) type Saga = usize;

/// How many of which product.
pub(crate) type Basket = BTreeMap<Sku, i64>;

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Done,
    No(&'static str),
    NotNow(&'static str),
    Stuck(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    Held,
    Pinned,
    Committed,
    Released,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) received: i64,
    pub(crate) held: i64,
    pub(crate) committed: i64,
}

impl Stock {
    pub(crate) fn available(self) -> i64 {
        self.received - self.held - self.committed
    }
}

/// The whole store.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) stock: BTreeMap<Sku, Stock>,
    pub(crate) promises: BTreeMap<Order, Promise>,
    /// What each saga was answered.
    reserved: BTreeMap<Saga, Said>,
    released: BTreeSet<Saga>,
    committed: BTreeSet<Saga>,
    deliveries: BTreeSet<(u8, Sku)>,
}

impl Ledger {
    pub(crate) fn receive(&mut self, delivery: u8, sku: Sku, quantity: i64) -> u64 {
        let is_new = quantity > 0 && self.deliveries.insert((delivery, sku));
        self.stock.entry(sku).or_default().received += if is_new { quantity } else { 0 };
        u64::from(is_new)
    }

    /// The first answer stands, also that it was taken back before it was done.
    pub(crate) fn reserve(&mut self, saga: Saga, order: Order, basket: &Basket) -> Said {
        if let Some(said) = self.reserved.get(&saga) {
            return *said;
        }
        let left = |sku| self.stock.get(sku).map_or(0, |stock| stock.available());
        let is_short = basket.iter().any(|(sku, quantity)| left(sku) < *quantity);
        let said = match self.promises.get(&order) {
            Some(_) => Said::No("order_already_reserved"),
            None if is_short => Said::No("out_of_stock"),
            None => {
                self.promises.insert(order, Promise::Held);
                self.each(basket, |stock, quantity| stock.held += quantity);
                Said::Done
            }
        };
        self.reserved.insert(saga, said);
        said
    }

    pub(crate) fn release(&mut self, saga: Saga, order: Order, basket: &Basket) -> Said {
        if self.released.contains(&saga) {
            return Said::Done;
        }
        let reserved = *self.reserved.entry(saga).or_insert(Said::No("undone_before_done"));
        match self.promises.get(&order) {
            Some(Promise::Committed) if reserved == Said::Done => {
                return Said::Stuck("reservation_committed");
            }
            Some(Promise::Held | Promise::Pinned) if reserved == Said::Done => {
                self.promises.insert(order, Promise::Released);
                self.each(basket, |stock, quantity| stock.held -= quantity);
            }
            _ => {}
        }
        self.released.insert(saga);
        Said::Done
    }

    pub(crate) fn pin(&mut self, order: Order) -> Said {
        match self.promises.get_mut(&order) {
            None => Said::NotNow("reservation_missing"),
            Some(Promise::Released) => Said::No("reservation_released"),
            Some(Promise::Pinned | Promise::Committed) => Said::Done,
            Some(promise) => {
                *promise = Promise::Pinned;
                Said::Done
            }
        }
    }

    pub(crate) fn commit(&mut self, saga: Saga, order: Order, basket: &Basket) -> Said {
        match self.promises.get(&order) {
            _ if self.committed.contains(&saga) => {}
            Some(Promise::Committed) => {}
            Some(Promise::Pinned) => {
                self.promises.insert(order, Promise::Committed);
                self.each(basket, |stock, quantity| {
                    stock.held -= quantity;
                    stock.committed += quantity;
                });
            }
            _ => return Said::NotNow("reservation_not_pinned"),
        }
        self.committed.insert(saga);
        Said::Done
    }

    fn each(&mut self, basket: &Basket, change: impl Fn(&mut Stock, i64)) {
        for (sku, quantity) in basket {
            change(self.stock.entry(*sku).or_default(), *quantity);
        }
    }
}
