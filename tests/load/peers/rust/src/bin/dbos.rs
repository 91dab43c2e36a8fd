//! DBOS Transact for Rust: a workflow of three steps, kept in PostgreSQL.

use std::sync::Arc;

use dbos::{Config, DBOS, StartOptions, WorkflowRef, step};
use rust_peers::{Answer, Customers, Order, Stores, variable};
use serde::{Deserialize, Serialize};

/// Faster here than 8, 32 or 64.
const CONNECTIONS: u32 = 16;

/// Why a step failed: it is for good, a run with one is no measurement.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
struct Failed(String);

async fn saga(stores: Arc<Stores>, order: Order) -> dbos::Result<Answer, Failed> {
    let (stores, order) = (&stores, &order);
    step("reserve", || async { failed(stores.reserve(order).await) }).await?;
    step("create", || async { failed(stores.create(order).await) }).await?;
    step("charge", || async { failed(stores.charge(order).await) }).await
}

fn failed(done: anyhow::Result<Answer>) -> dbos::Result<Answer, Failed> {
    done.map_err(|error| dbos::Error::Application(Failed(format!("{error:#}"))))
}

struct Sagas(WorkflowRef<Order, Answer, Failed>);

impl Customers for Sagas {
    async fn buy(&self, order: Order) -> anyhow::Result<()> {
        let id = order.order.clone();
        let options = StartOptions { workflow_id: Some(&id), ..StartOptions::default() };
        self.0.start_with(order, options).await?.result().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dbos = DBOS::new(Config {
        max_connections: CONNECTIONS,
        app_version: Some("1".to_owned()),
        ..Config::new("peer", variable("SAGAS_URL")?)
    });
    let stores = Arc::new(Stores::open()?);
    let sagas = dbos.register_workflow("saga", move |order| saga(stores.clone(), order))?;
    dbos.launch().await?;
    Sagas(sagas).measure("0.5").await?;
    dbos.shutdown().await;
    Ok(())
}
