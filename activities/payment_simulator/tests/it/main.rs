//! The simulator's promises, held over real HTTP.
#![allow(clippy::unwrap_used, reason = "a helper that can not go on fails its test")]

mod gateway;

mod charges;
mod faults;
mod idempotency;
mod ledger;
mod webhooks;
