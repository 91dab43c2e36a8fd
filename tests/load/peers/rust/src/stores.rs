//! What the three steps do: nothing, or a unit of stock, an order and a charge in three stores.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const CONNECTIONS: u32 = 16;
/// In one statement, which is a transaction of its own. Two attempts at once: the second one fails, and is made again.
const RESERVE: &str = "with taken as (
                           update stock set available = available - $3
                           where sku = $2 and available >= $3
                             and not exists (select from reservation where saga = $1)
                           returning sku
                       )
                       insert into reservation (saga, sku, quantity) select $1, $2, $3 from taken";
const IS_RESERVED: &str = "select exists (select from reservation where saga = $1)";
const CREATE: &str = "insert into orders (saga, customer, sku, quantity, amount, status)
                      values ($1, $2, $3, $4, $5, 'created') on conflict do nothing";

/// What a customer orders: as `Order::number` of three_stores.rs.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    pub order: String,
    customer: String,
    sku: String,
    quantity: i32,
    amount: i32,
    note: String,
}

impl Order {
    pub fn number(number: u64) -> Self {
        Self {
            order: format!("o-{number}"),
            customer: format!("c-{}", number % 1000),
            sku: format!("sku-{}", number % 1000),
            quantity: 1,
            amount: 1999,
            note: "x".repeat(110),
        }
    }
}

/// What a step gives.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    ok: bool,
    pad: String,
}

/// None: its steps do nothing.
pub struct Stores(Option<Real>);

struct Real {
    inventory: PgPool,
    orders: PgPool,
    http: reqwest::Client,
    charge_url: String,
}

impl Stores {
    pub fn open() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name);
        if variable("WORKLOAD")? == "noop" {
            return Ok(Self(None));
        }
        let pool = || PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        Ok(Self(Some(Real {
            inventory: pool().connect_lazy(&variable("INVENTORY_URL")?)?,
            orders: pool().connect_lazy(&variable("ORDERS_URL")?)?,
            http: crate::http()?,
            charge_url: variable("CHARGE_URL")?,
        })))
    }

    pub async fn reserve(&self, order: &Order) -> anyhow::Result<Answer> {
        if let Some(real) = &self.0 {
            let reserve =
                sqlx::query(RESERVE).bind(&order.order).bind(&order.sku).bind(order.quantity);
            if reserve.execute(&real.inventory).await?.rows_affected() == 0 {
                // By an earlier attempt?
                let asked = sqlx::query_scalar(IS_RESERVED).bind(&order.order);
                let is_reserved: bool = asked.fetch_one(&real.inventory).await?;
                ensure!(is_reserved, "out of stock");
            }
        }
        Ok(answer())
    }

    pub async fn create(&self, order: &Order) -> anyhow::Result<Answer> {
        if let Some(real) = &self.0 {
            let create = sqlx::query(CREATE)
                .bind(&order.order)
                .bind(&order.customer)
                .bind(&order.sku)
                .bind(order.quantity)
                .bind(order.amount);
            create.execute(&real.orders).await?;
        }
        Ok(answer())
    }

    pub async fn charge(&self, order: &Order) -> anyhow::Result<Answer> {
        if let Some(real) = &self.0 {
            let charge =
                serde_json::json!({"order": order.order, "amount": order.amount.to_string()});
            let sent = real.http.post(&real.charge_url).json(&charge).send().await?;
            sent.error_for_status()?.bytes().await?;
        }
        Ok(answer())
    }
}

fn answer() -> Answer {
    Answer { ok: true, pad: "y".repeat(60) }
}
