//! Restate: the saga is a handler of its SDK for Rust, called through the server's ingress.
//!
//! A closed loop. Prints `measure` when it is warm, and at the end one line of JSON.

mod server;
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use restate_sdk::prelude::*;
use serde_json::json;

use server::{Server, free_ports};
use stores::{Answer, Order, Stores};

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

struct Loop {
    http: reqwest::Client,
    url: String,
    in_flight: usize,
    next: AtomicU64,
}

impl Loop {
    /// So many customers, each with the next saga as soon as the last one ended; how long each took, in
    /// milliseconds.
    async fn run(self: &Arc<Self>, time: Duration) -> anyhow::Result<Vec<f64>> {
        let end = Instant::now() + time;
        let customers = (0..self.in_flight).map(|_| tokio::spawn(self.clone().customer(end)));
        let mut latencies = Vec::new();
        for customer in customers.collect::<Vec<_>>() {
            latencies.extend(customer.await??);
        }
        latencies.sort_by(f64::total_cmp);
        Ok(latencies)
    }

    async fn customer(self: Arc<Self>, end: Instant) -> anyhow::Result<Vec<f64>> {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let (began, number) = (Instant::now(), self.next.fetch_add(1, Ordering::Relaxed));
            let answer = self.http.post(&self.url).json(&Order::number(number)).send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "{status}: {}", answer.text().await?);
            answer.bytes().await?;
            latencies.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(latencies)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let number = |name: &'static str| -> anyhow::Result<u64> {
        Ok(std::env::var(name).context(name)?.parse().context(name)?)
    };
    let version = std::env::var("RESTATE_VERSION").context("RESTATE_VERSION is not set")?;
    let server = Server::start().await?;
    let [port] = free_ports()?;
    let endpoint = Endpoint::builder().bind(Saga(Arc::new(Stores::open()?))).build();
    let address = format!("127.0.0.1:{port}");
    let listener = HttpServer::new(endpoint).listen_and_serve(address.parse()?);
    tokio::spawn(listener);
    server.register(&format!("http://{address}")).await?;
    let customers = Arc::new(Loop {
        http: reqwest::Client::new(),
        url: format!("{}/Saga/run", server.ingress),
        in_flight: number("IN_FLIGHT")? as usize,
        next: AtomicU64::new(0),
    });
    customers.run(Duration::from_secs(number("WARM_UP")?)).await?;
    println!("measure");
    let began = Instant::now();
    let latencies = customers.run(Duration::from_secs(number("SECONDS")?)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let quantile =
        |q: f64| latencies[((q * latencies.len() as f64) as usize).min(latencies.len() - 1)];
    let measured = json!({
        "version": format!("{version} (SDK 0.13)"),
        "seconds": seconds,
        "sagas": latencies.len(),
        "p50_ms": quantile(0.5),
        "p95_ms": quantile(0.95),
        "p99_ms": quantile(0.99),
        "max_ms": latencies.last(),
    });
    println!("{measured}");
    Ok(())
}
