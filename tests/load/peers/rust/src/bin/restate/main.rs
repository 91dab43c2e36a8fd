//! Restate: the saga is a handler of its SDK for Rust, called through the server's ingress.

mod server;

use std::sync::Arc;

use anyhow::ensure;
use restate_sdk::prelude::*;
use rust_peers::{Answer, Customers, Order, Stores, variable};

use server::{Server, free_ports};

struct Saga(Arc<Stores>);

#[service]
impl Saga {
    #[handler]
    async fn run(
        &self,
        context: Context<'_>,
        order: Json<Order>,
    ) -> Result<Json<Answer>, HandlerError> {
        let (stores, order) = (&self.0, Arc::new(order.into_inner()));
        let (with, of) = (stores.clone(), order.clone());
        let reserve = context.run(|| async move { step(with.reserve(&of).await) });
        reserve.name("reserve").await?;
        let (with, of) = (stores.clone(), order.clone());
        let create = context.run(|| async move { step(with.create(&of).await) });
        create.name("create").await?;
        let (with, of) = (stores.clone(), order.clone());
        let charge = context.run(|| async move { step(with.charge(&of).await) });
        Ok(charge.name("charge").await?)
    }
}

/// An error is for good: a run with one is no measurement.
fn step(done: anyhow::Result<Answer>) -> Result<Json<Answer>, HandlerError> {
    done.map(Json::from).map_err(|error| TerminalError::new(error.to_string()).into())
}

/// Over HTTP, as a shop would.
struct Ingress {
    http: reqwest::Client,
    url: String,
}

impl Customers for Ingress {
    async fn buy(&self, order: Order) -> anyhow::Result<()> {
        let request = self.http.post(&self.url).header("idempotency-key", &order.order);
        let answer = request.json(&order).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        answer.bytes().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let version = variable("RESTATE_VERSION")?;
    let server = Server::start().await?;
    let [port] = free_ports()?;
    let endpoint = Endpoint::builder().bind(Saga(Arc::new(Stores::open()?))).build();
    let address = format!("127.0.0.1:{port}");
    let listener = HttpServer::new(endpoint).listen_and_serve(address.parse()?);
    tokio::spawn(listener);
    server.register(&format!("http://{address}")).await?;
    let url = format!("{}/Saga/run", server.ingress);
    let customers = Ingress { http: rust_peers::http()?, url };
    customers.measure(&format!("{version} (SDK 0.13)")).await
}
