//! What the programs for each system share: the customers, the order, and the three stores.

mod customers;
mod stores;

pub use customers::{Customers, variable};
pub use stores::{Answer, Order, Stores};

/// As Amends has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
