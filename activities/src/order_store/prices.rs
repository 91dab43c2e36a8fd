//! What products cost.

use std::collections::{BTreeSet, HashMap};

use engine::Trouble;
use serde::{Deserialize, Serialize};

use super::Orders;
use crate::database::{Database, DatabaseError};
use crate::money::{Currency, Money};
use crate::order::{Line, PricedLine};

pub(super) const STATEMENTS: [&str; 2] = [FIND, LOAD];

/// How many prices one statement takes.
const PRICES_MAX: usize = 1000;

const FIND: &str = "
    select price.sku, price.currency, price.name, price.amount
    from unnest($1::text[], $2::text[]) as asked (sku, currency)
    join orders.price using (sku, currency)";

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
    /// What the lines of a basket cost one by one. Whoever asks at the same time shares one
    /// statement.
    pub async fn price(&self, lines: Vec<Line>, currency: Currency) -> Result<Pricing, Trouble> {
        self.pricings.call((lines, currency)).await
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

/// Prices many baskets in one statement.
pub(super) async fn price(
    database: Database,
    baskets: Vec<(Vec<Line>, Currency)>,
) -> Result<Vec<Pricing>, Trouble> {
    let asked = baskets.iter().flat_map(|(lines, currency)| {
        lines.iter().map(|line| (line.sku.as_str(), currency.code()))
    });
    // PostgreSQL refuses text with a NUL; no sku has one, so it is unknown without asking.
    let asked: BTreeSet<(&str, &str)> = asked.filter(|(sku, _)| !sku.contains('\0')).collect();
    let (skus, codes): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let rows = database.look_up(sqlx::query_as(FIND).bind(skus).bind(codes)).await;
    let rows: Vec<(String, String, String, i64)> = rows.map_err(|error| error.trouble())?;
    let prices = rows
        .iter()
        .map(|(sku, code, name, amount)| ((sku.as_str(), code.as_str()), (name.as_str(), *amount)));
    let prices: Prices<'_> = prices.collect();
    Ok(baskets.into_iter().map(|(lines, currency)| pricing(lines, currency, &prices)).collect())
}

/// By sku and currency: the name of a product, and what one costs.
type Prices<'a> = HashMap<(&'a str, &'a str), (&'a str, i64)>;

fn pricing(basket: Vec<Line>, currency: Currency, prices: &Prices<'_>) -> Pricing {
    let mut pricing = Pricing { lines: Vec::with_capacity(basket.len()), unknown: Vec::new() };
    for Line { sku, quantity } in basket {
        match prices.get(&(sku.as_str(), currency.code())) {
            Some((name, unit_price)) => {
                let (name, unit_price) = ((*name).to_owned(), *unit_price);
                pricing.lines.push(PricedLine { sku, name, quantity, unit_price });
            }
            None => pricing.unknown.push(sku),
        }
    }
    pricing
}
