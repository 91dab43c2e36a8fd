//! A shop as its customers and its operators meet it: real databases, the real program, the payment
//! gateway's simulator, each a process of its own.

mod client;
mod crowd;
mod postgres;
mod program;
mod shop;
mod simulator;

pub(crate) use client::{Answer, Customer, cart, http};
pub(crate) use crowd::Crowd;
pub(crate) use postgres::{Databases, server};
pub(crate) use program::{Finished, Program, amends, free_port};
pub(crate) use shop::{Node, Setup, Shop};
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
