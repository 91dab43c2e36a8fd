//! What products cost.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Orders;
use crate::database::DatabaseError;
use crate::money::{Currency, Money};
use crate::order::{Line, PricedLine};

pub(super) const STATEMENTS: [&str; 2] = [FIND, LOAD];

/// How many prices one statement takes.
const PRICES_MAX: usize = 1000;

const FIND: &str = "
    select sku, name, amount
    from orders.price
    where currency = $1 and sku = any($2)";

const LOAD: &str = "
    insert into orders.price (sku, currency, amount, name)
    select sku, currency, amount, name
    from unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
        as price (sku, currency, amount, name)
    order by sku, currency
    on conflict (sku, currency) do update
    set amount = excluded.amount, name = excluded.name
    where (price.amount, price.name) is distinct from (excluded.amount, excluded.name)
    returning sku";

/// What one of a product costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The product.
    pub sku: String,
    /// What it is called.
    pub name: String,
    /// What one costs.
    pub unit_price: Money,
}

/// A basket with its prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    /// A line for each line of the basket that has a price, in the basket's order.
    pub lines: Vec<PricedLine>,
    /// The skus that have none in this currency.
    pub unknown: Vec<String>,
}

impl Orders {
    /// What the lines cost one by one, in one statement.
    pub async fn price(
        &self,
        lines: &[Line],
        currency: Currency,
    ) -> Result<Pricing, DatabaseError> {
        // PostgreSQL refuses text with a NUL; no sku has one, so it is unknown without asking.
        let skus = lines.iter().map(|line| line.sku.as_str()).filter(|sku| !sku.contains('\0'));
        let skus: Vec<&str> = skus.collect();
        let query = sqlx::query_as(FIND).bind(currency.code()).bind(skus);
        let rows: Vec<(String, String, i64)> = self.database.fetch_all(query).await?;
        let prices: HashMap<_, _> =
            rows.iter().map(|(sku, name, amount)| (sku.as_str(), (name, *amount))).collect();
        let mut pricing = Pricing { lines: Vec::with_capacity(lines.len()), unknown: Vec::new() };
        for Line { sku, quantity } in lines {
            match prices.get(sku.as_str()) {
                Some((name, unit_price)) => pricing.lines.push(PricedLine {
                    sku: sku.clone(),
                    name: (*name).clone(),
                    quantity: *quantity,
                    unit_price: *unit_price,
                }),
                None => pricing.unknown.push(sku.clone()),
            }
        }
        Ok(pricing)
    }

    /// Sets prices, some at a time; the last one of a sku and currency counts. Answers how many
    /// changed.
    pub async fn load_prices(&self, prices: &[Price]) -> Result<usize, DatabaseError> {
        // One statement can not set a row twice.
        let latest: HashMap<_, _> =
            prices.iter().map(|price| ((&price.sku, price.unit_price.currency), price)).collect();
        let latest: Vec<&Price> = latest.into_values().collect();
        let mut changed = 0;
        for prices in latest.chunks(PRICES_MAX) {
            let skus: Vec<_> = prices.iter().map(|price| price.sku.as_str()).collect();
            let codes: Vec<_> = prices.iter().map(|p| p.unit_price.currency.code()).collect();
            let amounts: Vec<_> = prices.iter().map(|price| price.unit_price.value).collect();
            let names: Vec<_> = prices.iter().map(|price| price.name.as_str()).collect();
            let query = sqlx::query_as(LOAD).bind(skus).bind(codes).bind(amounts).bind(names);
            let rows: Vec<(String,)> = self.database.fetch_all(query).await?;
            changed += rows.len();
        }
        Ok(changed)
    }
}
