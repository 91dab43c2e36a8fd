//! What the three steps do: nothing, or a unit of stock, an order and a charge in three stores.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const CONNECTIONS: u32 = 16;
const TAKE: &str = "update stock set available = available - $2 where sku = $1 and available >= $2";
const RESERVE: &str =
    "insert into reservation (saga, sku, quantity) values ($1, $2, $3) on conflict do nothing";
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
            let mut transaction = real.inventory.begin().await?;
            let reserve =
                sqlx::query(RESERVE).bind(&order.order).bind(&order.sku).bind(order.quantity);
            // What is there already was reserved by an earlier attempt.
            if reserve.execute(&mut *transaction).await?.rows_affected() == 1 {
                let take = sqlx::query(TAKE).bind(&order.sku).bind(order.quantity);
                let taken = take.execute(&mut *transaction).await?;
                ensure!(taken.rows_affected() == 1, "out of stock");
            }
            transaction.commit().await?;
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
