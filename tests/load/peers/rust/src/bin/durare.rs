//! durare: a workflow of three steps, kept in PostgreSQL in the tables of DBOS.

use std::sync::Arc;

use durare::{DurableContext, DurableEngine, PostgresProvider, WorkflowOptions};
use rust_peers::{Answer, Customers, Order, Stores, variable};
use sqlx_of_durare::postgres::PgPoolOptions;

/// Faster here than its 8, 32 or 64.
const CONNECTIONS: u32 = 16;
const SAGA: &str = "saga";

async fn saga(
    context: DurableContext,
    stores: Arc<Stores>,
    order: Order,
) -> durare::Result<Answer> {
    let (stores, order) = (&stores, &order);
    context.step("reserve", || async { failed(stores.reserve(order).await) }).await?;
    context.step("create", || async { failed(stores.create(order).await) }).await?;
    context.step("charge", || async { failed(stores.charge(order).await) }).await
}

/// It is for good: a run with a failure is no measurement.
fn failed(done: anyhow::Result<Answer>) -> durare::Result<Answer> {
    done.map_err(|error| durare::Error::app(format!("{error:#}")))
}

struct Sagas(DurableEngine);

impl Customers for Sagas {
    async fn buy(&self, order: Order) -> anyhow::Result<()> {
        let options = WorkflowOptions::with_id(&order.order);
        self.0.start::<_, Answer>(SAGA, order, options).await?.result().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false)
        .connect(&variable("SAGAS_URL")?)
        .await?;
    let provider = PostgresProvider::from_pool_with_schema(pool, "dbos")?;
    let stores = Arc::new(Stores::open()?);
    let mut builder = DurableEngine::builder(Arc::new(provider));
    builder.register(SAGA, move |context, order| saga(context, stores.clone(), order));
    let engine = builder.build().await?;
    engine.launch().await?;
    Sagas(engine).measure("0.5").await
}
