//! What the promises' tests use too: processes, databases, the payment gateway.
#![allow(dead_code, unreachable_pub, reason = "each of the programs uses another part of it")]

#[path = "../it/harness/client.rs"]
mod client;
#[path = "../it/harness/postgres.rs"]
mod postgres;
#[path = "../it/harness/program.rs"]
mod program;
#[path = "../it/harness/simulator.rs"]
mod simulator;

pub(crate) use client::{cart, http};
pub(crate) use postgres::Databases;
pub(crate) use program::{Program, amends, free_port};
pub(crate) use simulator::Simulator;

use std::time::{Duration, Instant};

/// Long enough for anything that is going to happen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer; fails when there is none in time.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {SOON:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
