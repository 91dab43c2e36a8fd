//! What the programs for each system share: the customers, the order, and the three stores.

mod customers;
mod stores;

pub use customers::{Customers, variable};
pub use stores::{Answer, Order, Stores};

/// What speaks HTTP: to nobody but this machine.
pub fn http() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build()
}

/// As Amends has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
