//! The payment steps against the gateway simulator over HTTP and a real PostgreSQL: money is never
//! taken twice, never kept for an order that was turned back, and a doubt is settled by asking.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "payment_steps/charges.rs"]
mod charges;
#[path = "payment_steps/customer_acts.rs"]
mod customer_acts;
#[path = "payment_steps/events.rs"]
mod events;
#[path = "payment_steps/old_attempts.rs"]
mod old_attempts;
#[path = "payment_steps/refunds.rs"]
mod refunds;
#[path = "payment_steps/shop.rs"]
mod shop;
#[path = "payment_steps/undoes.rs"]
mod undoes;
