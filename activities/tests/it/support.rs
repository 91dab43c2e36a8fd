//! Databases of a test's own, and the small change of every test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use activities::inventory_store::{Receipt, ReceiptKind, Reservation, Reserve};
use activities::migrate::{INVENTORY, ORDERS, Schema};
use activities::money::Currency;
use activities::order_store::{Create, CreatedOrder};
use activities::{Inventory, Line, Money, OrderId, Orders, PricedLine};
use engine::{Attempt, Failure, SagaId};
use local_postgres::testing::server;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

/// A database of the test's own. On somebody's server it is dropped with this; a private server ends
/// with all it has, and dropping costs a checkpoint each.
pub(crate) struct OwnDatabase {
    pub(crate) name: String,
}

impl OwnDatabase {
    /// An empty one.
    pub(crate) async fn empty() -> Self {
        Self::create("template1").await
    }

    /// One that is migrated: cloned, which is faster.
    pub(crate) async fn migrated(schema: Schema) -> Self {
        static TEMPLATES: [OnceCell<OwnDatabase>; 2] =
            [OnceCell::const_new(), OnceCell::const_new()];
        let template = &TEMPLATES[usize::from(schema.name == ORDERS.name)];
        let make = || async {
            let template = Self::empty().await;
            schema.migrate(&template.url()).await.unwrap();
            template
        };
        Self::create(&template.get_or_init(make).await.name).await
    }

    async fn create(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stores_{}_{number}", std::process::id());
        execute("postgres", &format!("create database {name} template {template}")).await;
        Self { name }
    }

    pub(crate) fn url(&self) -> String {
        server().url(&self.name)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Any SQL, as somebody would who works around the store.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.name, sql).await;
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(&mut self.connect().await).await.unwrap()
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        if std::env::var_os("AMENDS_TEST_DATABASE_URL").is_none() {
            return;
        }
        let sql = format!("drop database {} with (force)", self.name);
        // A thread of its own, because the runtime of the test is in the middle of something.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(execute("postgres", &sql));
        });
        let _ = dropping.join();
    }
}

async fn execute(database: &str, sql: &str) {
    let mut connection = PgConnection::connect(&server().url(database)).await.unwrap();
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// An inventory of the test's own.
pub(crate) async fn inventory() -> (Inventory, OwnDatabase) {
    let database = OwnDatabase::migrated(INVENTORY).await;
    (Inventory::connect(&database.url(), 8).unwrap(), database)
}

/// An inventory with so many of each sku.
pub(crate) async fn inventory_with(stock: &[(&str, u32)]) -> (Inventory, OwnDatabase) {
    let (inventory, database) = inventory().await;
    let receipt = Receipt { kind: ReceiptKind::Initial, reference: "count", lines: &lines(stock) };
    inventory.receive(receipt).await.unwrap();
    (inventory, database)
}

/// Orders of the test's own.
pub(crate) async fn orders() -> (Orders, OwnDatabase) {
    let database = OwnDatabase::migrated(ORDERS).await;
    (Orders::connect(&database.url(), 8).unwrap(), database)
}

pub(crate) fn lines(lines: &[(&str, u32)]) -> Vec<Line> {
    let line = |(sku, quantity): &(&str, u32)| Line { sku: (*sku).to_owned(), quantity: *quantity };
    lines.iter().map(line).collect()
}

/// At 250 minor units each.
pub(crate) fn priced(skus: &[(&str, u32)]) -> Vec<PricedLine> {
    let priced = |line: Line| PricedLine {
        name: format!("Product {}", line.sku),
        sku: line.sku,
        quantity: line.quantity,
        unit_price: 250,
    };
    lines(skus).into_iter().map(priced).collect()
}

pub(crate) fn usd(value: i64) -> Money {
    Money::new(value, Currency::Usd)
}

/// The first attempt of the first step of a new saga.
pub(crate) fn attempt() -> Attempt {
    Attempt::for_test(SagaId::new(1, engine::now()), 1, 1)
}

/// The next attempt of the same step.
pub(crate) fn again(attempt: &Attempt) -> Attempt {
    Attempt::for_test(attempt.saga_id, attempt.step, attempt.number + 1)
}

/// Reserves alone.
pub(crate) async fn reserve(
    inventory: &Inventory,
    attempt: &Attempt,
    order_id: OrderId,
    skus: &[(&str, u32)],
) -> Result<Reservation, Failure> {
    let lines = lines(skus);
    let basket = Reserve { attempt, order_id, lines: &lines };
    inventory.reserve(&[basket]).await.unwrap().pop().unwrap()
}

/// Creates an order alone: one unit at 250 cents.
pub(crate) async fn create(
    orders: &Orders,
    attempt: &Attempt,
    order_id: OrderId,
) -> Result<CreatedOrder, Failure> {
    let lines = priced(&[("1", 1)]);
    let currency = Currency::Usd;
    let call = Create { attempt, order_id, customer_id: "ann", currency, lines: &lines };
    orders.create(&[call]).await.unwrap().pop().unwrap()
}

/// Puts a captured payment into our books.
pub(crate) async fn capture(database: &OwnDatabase, order_id: OrderId, amount: i64) {
    database
        .execute(&format!(
            "insert into orders.payment
                 (order_id, intent_id, status, currency, amount, authorized, captured)
             values ('{order_id}', 'pi_{order_id}', 'captured', 'USD', {amount}, {amount}, {amount})"
        ))
        .await;
}

/// The code of a "no".
pub(crate) fn code<T>(result: &Result<T, Failure>) -> &str {
    match result {
        Ok(_) => "done",
        Err(Failure::Rejected(rejection)) => &rejection.code,
        Err(Failure::Retry(trouble) | Failure::Unknown(trouble)) => &trouble.code,
    }
}

/// Polls `call` so many times and then drops it, as a caller does that goes away: at every point
/// where it waits, for every `polls`. `None` when it was not done by then.
pub(crate) async fn cut_off<T>(polls: u32, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    let mut left = polls;
    std::future::poll_fn(|context| match call.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}
