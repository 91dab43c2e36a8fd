//! What an order is made of: its name, and what was put into it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::money::{Currency, Money, MoneyError};

/// The name of an order, chosen before its saga starts: the same in every store and at the gateway.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct OrderId(pub Uuid);

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The product.
    pub sku: String,
    /// How many; at least 1.
    pub quantity: u32,
}

/// So many of a product, at the price of the moment it was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricedLine {
    /// The product.
    pub sku: String,
    /// What it was called.
    pub name: String,
    /// How many; at least 1.
    pub quantity: u32,
    /// What one costs, in minor units of the order's currency.
    pub unit_price: i64,
}

/// What the lines cost together.
pub fn total(lines: &[PricedLine], currency: Currency) -> Result<Money, MoneyError> {
    lines.iter().try_fold(Money::zero(currency), |total, line| {
        total.plus(Money::new(line.unit_price, currency).times(line.quantity)?)
    })
}

/// How many of each product, in the order of the sku: a basket may name one twice.
pub fn quantities(lines: &[Line]) -> BTreeMap<&str, i64> {
    let mut wanted = BTreeMap::new();
    for line in lines {
        *wanted.entry(line.sku.as_str()).or_default() += i64::from(line.quantity);
    }
    wanted
}

impl OrderId {
    /// A new name; later ones sort after earlier ones.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basket_that_names_a_sku_twice_wants_the_sum() {
        let line = |sku: &str, quantity| Line { sku: sku.to_owned(), quantity };
        let lines = [line("b", 1), line("a", u32::MAX), line("b", 2), line("a", u32::MAX)];
        let wanted: Vec<_> = quantities(&lines).into_iter().collect();
        assert_eq!(wanted, [("a", 2 * i64::from(u32::MAX)), ("b", 3)]);
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let line = |quantity, unit_price| PricedLine {
            sku: "1".to_owned(),
            name: "One".to_owned(),
            quantity,
            unit_price,
        };
        let lines = [line(2, 250), line(1, 99)];
        assert_eq!(total(&lines, Currency::Usd), Ok(Money::new(599, Currency::Usd)));
        assert_eq!(total(&[line(2, i64::MAX)], Currency::Usd), Err(MoneyError::TooLarge));
    }
}
