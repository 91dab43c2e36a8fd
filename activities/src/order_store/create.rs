//! Create: pending orders, many in one transaction.

use std::collections::{BTreeMap, HashSet};

use engine::{Attempt, Failure, Rejection};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Orders;
use crate::database::DatabaseError;
use crate::effect::Effects;
use crate::money::{Currency, Money};
use crate::order::{OrderId, PricedLine, total};

pub(super) const STATEMENTS: [&str; 1] = [CREATE];

/// One order of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// Which attempt of which step asks; its saga has at most one order.
    pub attempt: &'a Attempt,
    /// The name it will have.
    pub order_id: OrderId,
    /// Who ordered: 1 to 200 bytes.
    pub customer_id: &'a str,
    /// Of all prices.
    pub currency: Currency,
    /// What was ordered. A sku that is named twice is ordered twice, at one price.
    pub lines: &'a [PricedLine],
}

/// An order that waits for its payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedOrder {
    /// Its name.
    pub order_id: OrderId,
    /// What is to be paid.
    pub total: Money,
}

/// $1..$5 the orders, $6..$10 their lines. Answers the orders that were not there yet, neither
/// under their id nor for their saga; the others are left as they were.
const CREATE: &str = "
    with made as (
        insert into orders.orders (id, customer_id, saga_id, status, currency, subtotal)
        select id, customer_id, saga_id, 'pending', currency, subtotal
        from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::bigint[])
            as asked (id, customer_id, saga_id, currency, subtotal)
        order by id
        on conflict do nothing
        returning id, saga_id
    ), line as (
        insert into orders.order_line (order_id, sku, name, quantity, unit_price)
        select line.order_id, line.sku, line.name, line.quantity, line.unit_price
        from unnest($6::uuid[], $7::text[], $8::text[], $9::bigint[], $10::bigint[])
            as line (order_id, sku, name, quantity, unit_price)
        join made on made.id = line.order_id
    ), event as (
        insert into orders.order_event (order_id, seq, type, actor)
        select id, 1, 'created', 'saga ' || saga_id from made
    )
    select id from made";

impl Orders {
    /// Writes each order as pending, each by itself.
    ///
    /// Rejects with `order_exists` (an order of that id, or another one of the saga),
    /// `invalid_lines` (none, one of quantity 0, a price below 0 or two prices for a sku, a total
    /// above 64 bits) and `invalid_customer`.
    pub async fn create(
        &self,
        calls: &[Create<'_>],
    ) -> Result<Vec<Result<CreatedOrder, Failure>>, DatabaseError> {
        let attempts: Vec<_> = calls.iter().map(|call| call.attempt).collect();
        let totals: Vec<_> = calls.iter().map(|call| total(call.lines, call.currency)).collect();
        let created = calls.iter().zip(&totals).map(|(call, total)| {
            let total = total.unwrap_or(Money::zero(call.currency));
            CreatedOrder { order_id: call.order_id, total }
        });
        let mut effects = Effects::begin(&self.database, &attempts, created.collect()).await?;

        let mut rows = Rows::default();
        let mut accepted = Vec::new();
        for i in effects.fresh() {
            let valid = totals[i].map_err(|error| invalid_lines(error.to_string()));
            match valid.and_then(|total| rows.add(&calls[i], total)) {
                Ok(()) => accepted.push(i),
                Err(rejection) => effects.reject(i, rejection),
            }
        }
        if !accepted.is_empty() {
            let made = rows.insert(&mut effects).await?;
            for i in accepted {
                if !made.contains(&calls[i].order_id.0) {
                    effects.reject(i, exists(calls[i].order_id));
                }
            }
        }
        effects.finish().await
    }
}

/// The columns of [`CREATE`].
#[derive(Default)]
struct Rows<'a> {
    ids: Vec<Uuid>,
    customers: Vec<&'a str>,
    sagas: Vec<Uuid>,
    currencies: Vec<&'static str>,
    subtotals: Vec<i64>,
    line_ids: Vec<Uuid>,
    skus: Vec<&'a str>,
    names: Vec<&'a str>,
    quantities: Vec<i64>,
    unit_prices: Vec<i64>,
    seen: HashSet<Uuid>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, call: &Create<'a>, total: Money) -> Result<(), Rejection> {
        let customer = call.customer_id;
        if customer.is_empty() || customer.len() > 200 || customer.contains('\0') {
            return Err(Rejection {
                code: "invalid_customer".into(),
                reason: "a customer id has 1 to 200 bytes".to_owned(),
                details: None,
            });
        }
        let lines = merge(call.lines)?;
        if !self.seen.insert(call.order_id.0) {
            return Err(exists(call.order_id));
        }
        self.ids.push(call.order_id.0);
        self.customers.push(customer);
        self.sagas.push(call.attempt.saga_id.uuid());
        self.currencies.push(call.currency.code());
        self.subtotals.push(total.value);
        for (sku, (name, quantity, unit_price)) in lines {
            self.line_ids.push(call.order_id.0);
            self.skus.push(sku);
            self.names.push(name);
            self.quantities.push(quantity);
            self.unit_prices.push(unit_price);
        }
        Ok(())
    }

    async fn insert(
        self,
        effects: &mut Effects<CreatedOrder>,
    ) -> Result<HashSet<Uuid>, DatabaseError> {
        let query = sqlx::query_scalar(CREATE)
            .bind(self.ids)
            .bind(self.customers)
            .bind(self.sagas)
            .bind(self.currencies)
            .bind(self.subtotals)
            .bind(self.line_ids)
            .bind(self.skus)
            .bind(self.names)
            .bind(self.quantities)
            .bind(self.unit_prices);
        let made = effects.run(async |connection| query.fetch_all(connection).await).await?;
        Ok(made.into_iter().collect())
    }
}

/// One line a sku: its name, how many, and what one costs.
fn merge(lines: &[PricedLine]) -> Result<BTreeMap<&str, (&str, i64, i64)>, Rejection> {
    if lines.is_empty() {
        return Err(invalid_lines("an order needs at least one line".to_owned()));
    }
    let mut merged = BTreeMap::new();
    for line in lines {
        if line.quantity == 0 || line.unit_price < 0 || line.sku.contains('\0') {
            return Err(invalid_lines(format!("the line of {:?} is not valid", line.sku)));
        }
        let first = (line.name.as_str(), 0, line.unit_price);
        let entry = merged.entry(line.sku.as_str()).or_insert(first);
        if entry.2 != line.unit_price {
            return Err(invalid_lines(format!("there are two prices for {:?}", line.sku)));
        }
        entry.1 += i64::from(line.quantity);
    }
    Ok(merged)
}

fn exists(order_id: OrderId) -> Rejection {
    Rejection {
        code: "order_exists".into(),
        reason: format!("order {order_id}, or another one of its saga, is there already"),
        details: None,
    }
}

fn invalid_lines(reason: String) -> Rejection {
    Rejection { code: "invalid_lines".into(), reason, details: None }
}
