//! The smallest saga of three stores: a unit of stock, an order, a charge.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{
    Abort, Activity, Attempt, Call, Failure, Outcome, Registry, Saga, Trouble, Undo, UndoFailure,
    Undoable, Workflow, reject,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::arena::Arena;
use crate::arguments::LoadArguments;
use crate::load::{Job, drive};
use crate::meter::{Sources, Usage};
use crate::nodes::{Clients, Nodes};
use crate::noop;

/// How many connections each store gets.
const CONNECTIONS: u32 = 4;
const BATCH_MAX: usize = 256;

/// One statement for a batch. What is there already was written by an earlier attempt and counts once.
const RESERVE: &str = "
    with reserved as (
        insert into reservation (saga, sku, quantity)
        select saga, sku, quantity from unnest($1::text[], $2::text[], $3::integer[]) as n (saga, sku, quantity)
        on conflict do nothing
        returning sku, quantity
    ), taken as materialized (
        select sku, sum(quantity)::integer as quantity from reserved group by sku order by sku
    )
    update stock set available = available - taken.quantity from taken where stock.sku = taken.sku";
const RELEASE: &str = "
    with released as (delete from reservation where saga = $1 returning sku, quantity)
    update stock set available = available + released.quantity from released where stock.sku = released.sku";
const CREATE: &str = "
    insert into orders (saga, customer, sku, quantity, amount, status)
    select saga, customer, sku, quantity, amount, 'created'
    from unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::integer[])
         as n (saga, customer, sku, quantity, amount)
    on conflict do nothing";
const CANCEL: &str = "delete from orders where saga = $1";

/// What they act upon.
pub(crate) struct Stores {
    inventory: PgPool,
    orders: PgPool,
    http: reqwest::Client,
    charge_url: String,
}

impl Stores {
    fn open(arena: &Arena) -> anyhow::Result<Self> {
        let pool = || PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        Ok(Self {
            inventory: pool().connect_lazy(&arena.inventory_url)?,
            orders: pool().connect_lazy(&arena.orders_url)?,
            http: reqwest::Client::builder().no_proxy().build()?,
            charge_url: arena.charge_url.clone(),
        })
    }

    async fn reserve(&self, orders: &[&Order]) -> Vec<Result<Answer, Failure>> {
        let reserve = sqlx::query(RESERVE)
            .bind(column(orders, |order| order.order.as_str()))
            .bind(column(orders, |order| order.sku.as_str()))
            .bind(column(orders, |order| order.quantity));
        let done = reserve.execute(&self.inventory).await;
        let is_short = |error: &sqlx::Error| {
            error.as_database_error().is_some_and(|error| error.is_check_violation())
        };
        match (&done, orders) {
            (Err(error), [_]) if is_short(error) => {
                vec![Err(reject("out_of_stock", "there are not as many"))]
            }
            // Not all of them can be had: one after the other takes what those before it have left.
            (Err(error), [_, ..]) if is_short(error) => {
                let mut answers = Vec::new();
                for order in orders {
                    answers.append(&mut Box::pin(self.reserve(&[order])).await);
                }
                answers
            }
            _ => answers(orders.len(), done.as_ref()),
        }
    }

    async fn create(&self, orders: &[&Order]) -> Vec<Result<Answer, Failure>> {
        let create = sqlx::query(CREATE)
            .bind(column(orders, |order| order.order.as_str()))
            .bind(column(orders, |order| order.customer.as_str()))
            .bind(column(orders, |order| order.sku.as_str()))
            .bind(column(orders, |order| order.quantity))
            .bind(column(orders, |order| order.amount));
        answers(orders.len(), create.execute(&self.orders).await.as_ref())
    }
}

/// What a customer orders.
#[derive(Clone, Serialize, Deserialize)]
struct Order {
    order: String,
    customer: String,
    sku: String,
    quantity: i32,
    amount: i32,
    note: String,
}

impl Order {
    fn number(number: u64) -> Self {
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
struct Answer {
    ok: bool,
    pad: String,
}

fn column<'a, T>(orders: &[&'a Order], value: fn(&'a Order) -> T) -> Vec<T> {
    orders.iter().map(|order| value(order)).collect()
}

fn answers<T>(calls: usize, done: Result<&T, &sqlx::Error>) -> Vec<Result<Answer, Failure>> {
    let answer = || match done {
        Ok(_) => Ok(Answer { ok: true, pad: "y".repeat(60) }),
        Err(error) => Err(Failure::Retry(Trouble::new("database", error.to_string()))),
    };
    (0..calls).map(|_| answer()).collect()
}

fn undone<T>(done: Result<T, sqlx::Error>) -> Result<(), UndoFailure> {
    let trouble = |error: sqlx::Error| Trouble::new("database", error.to_string());
    done.map(|_| ()).map_err(|error| UndoFailure::Retry(trouble(error)))
}

#[derive(Serialize, Deserialize)]
struct Reserve(Order);

#[derive(Serialize, Deserialize)]
struct Create(Order);

#[derive(Serialize, Deserialize)]
struct Charge(Order);

impl Activity for Reserve {
    const NAME: &'static str = "reserve";
    const DEPENDENCY: &'static str = "inventory";
    const BATCH_MAX: usize = BATCH_MAX;
    type Services = Stores;
    type Output = Answer;
    type Class = Undoable;

    async fn run(&self, stores: &Stores, _: &Attempt) -> Result<Answer, Failure> {
        stores.reserve(&[&self.0]).await.swap_remove(0)
    }

    async fn run_batch(stores: &Stores, calls: &[Call<Self>]) -> Vec<Result<Answer, Failure>> {
        stores.reserve(&calls.iter().map(|call| &call.activity.0).collect::<Vec<_>>()).await
    }
}

impl Undo for Reserve {
    async fn undo(
        &self,
        stores: &Stores,
        _: &Attempt,
        _: Outcome<'_, Answer>,
    ) -> Result<(), UndoFailure> {
        undone(sqlx::query(RELEASE).bind(&self.0.order).execute(&stores.inventory).await)
    }
}

impl Activity for Create {
    const NAME: &'static str = "create";
    const DEPENDENCY: &'static str = "orders";
    const BATCH_MAX: usize = BATCH_MAX;
    type Services = Stores;
    type Output = Answer;
    type Class = Undoable;

    async fn run(&self, stores: &Stores, _: &Attempt) -> Result<Answer, Failure> {
        stores.create(&[&self.0]).await.swap_remove(0)
    }

    async fn run_batch(stores: &Stores, calls: &[Call<Self>]) -> Vec<Result<Answer, Failure>> {
        stores.create(&calls.iter().map(|call| &call.activity.0).collect::<Vec<_>>()).await
    }
}

impl Undo for Create {
    async fn undo(
        &self,
        stores: &Stores,
        _: &Attempt,
        _: Outcome<'_, Answer>,
    ) -> Result<(), UndoFailure> {
        undone(sqlx::query(CANCEL).bind(&self.0.order).execute(&stores.orders).await)
    }
}

impl Activity for Charge {
    const NAME: &'static str = "charge";
    const DEPENDENCY: &'static str = "charger";
    type Services = Stores;
    type Output = Answer;
    type Class = Undoable;

    async fn run(&self, stores: &Stores, _: &Attempt) -> Result<Answer, Failure> {
        let Order { order, amount, .. } = &self.0;
        let charge = HashMap::from([("order", order.clone()), ("amount", amount.to_string())]);
        let charged = async {
            let sent = stores.http.post(&stores.charge_url).json(&charge).send().await;
            sent?.error_for_status()?.bytes().await
        };
        match charged.await {
            Ok(_) => Ok(Answer { ok: true, pad: "y".repeat(60) }),
            Err(error) => Err(Failure::Retry(Trouble::new("charger", error.to_string()))),
        }
    }
}

impl Undo for Charge {
    async fn undo(
        &self,
        _: &Stores,
        _: &Attempt,
        _: Outcome<'_, Answer>,
    ) -> Result<(), UndoFailure> {
        Ok(())
    }
}

/// The saga.
struct ThreeStores;

impl Workflow for ThreeStores {
    const NAME: &'static str = "three-stores";
    type Services = Stores;
    type Input = Order;
    type Output = bool;
    type Activities = (Reserve, Create, Charge);

    async fn run(saga: &mut Saga<Self>, order: Order) -> Result<bool, Abort> {
        let reserved = saga.step(Reserve(order.clone())).await?;
        let created = saga.step(Create(order.clone())).await?;
        let charged = saga.step(Charge(order)).await?;
        Ok(reserved.ok && created.ok && charged.ok)
    }
}

struct Customers {
    clients: Clients,
    /// Each of their orders has a key of its own.
    keyed: bool,
    next: AtomicU64,
}

impl Job for Customers {
    async fn run(&self) -> anyhow::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key = self.keyed.then(|| noop::key(number));
        self.clients.run::<ThreeStores>(&Order::number(number), key).await
    }
}

/// Runs it as `arguments` say.
pub(crate) async fn run(
    arguments: &LoadArguments,
    sources: Sources<'_>,
    arena: &Arena,
) -> anyhow::Result<Usage> {
    let registry = || {
        let stores = Arc::new(Stores::open(arena)?);
        Ok(Registry::new().workflow::<ThreeStores>(&stores))
    };
    let nodes = Nodes::start(sources.url, arguments, registry).await?;
    let (clients, keyed) = (nodes.clients(), arguments.keyed);
    let customers = Customers { clients, keyed, next: AtomicU64::new(0) };
    let usage = drive(customers, arguments.load(), sources).await;
    nodes.shutdown().await;
    usage
}
