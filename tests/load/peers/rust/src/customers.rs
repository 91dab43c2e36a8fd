//! A closed loop: so many customers, each with the next saga as soon as the last one ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::stores::Order;

/// What a customer does with an order: start its saga and wait for its end.
pub trait Customers: Send + Sync + 'static {
    fn buy(&self, order: Order) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Warms up, prints `measure`, and at the end one line of JSON. `version` is what it runs on.
    fn measure(self, version: &str) -> impl Future<Output = anyhow::Result<()>> + Send
    where
        Self: Sized,
    {
        async move {
            let number = |name| -> anyhow::Result<u64> { variable(name)?.parse().context(name) };
            let customers = Arc::new(Loop {
                customers: self,
                in_flight: number("IN_FLIGHT")? as usize,
                next: AtomicU64::new(0),
            });
            customers.run(Duration::from_secs(number("WARM_UP")?)).await?;
            println!("measure");
            let latencies = customers.run(Duration::from_secs(number("SECONDS")?)).await?;
            let at = |q: f64| {
                latencies[((q * latencies.len() as f64) as usize).min(latencies.len() - 1)]
            };
            let measured = json!({
                "version": version,
                "sagas": latencies.len(),
                "p50_ms": at(0.5),
                "p95_ms": at(0.95),
                "p99_ms": at(0.99),
                "max_ms": latencies.last(),
            });
            println!("{measured}");
            Ok(())
        }
    }
}

/// A variable of the environment that must be there.
pub fn variable(name: &'static str) -> anyhow::Result<String> {
    std::env::var(name).context(name)
}

struct Loop<C> {
    customers: C,
    in_flight: usize,
    next: AtomicU64,
}

impl<C: Customers> Loop<C> {
    /// How long each saga took, in milliseconds, the shortest first.
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
            self.customers.buy(Order::number(number)).await?;
            latencies.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(latencies)
    }
}
