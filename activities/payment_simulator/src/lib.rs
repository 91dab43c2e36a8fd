//! A Stripe-shaped payment gateway for demos and tests; outside the platform.
#![doc = include_str!("../README.md")]

mod arguments;
mod error;
mod fault_plan;
mod simulator;

mod app;
mod clock;
mod control;
mod events;
mod faults;
mod form;
mod idempotency;
mod intent;
mod intent_body;
mod ledger;
mod log;
mod methods;
mod refund;
mod request;
mod route;
mod server;
mod webhooks;
mod wire;
mod world;

pub use arguments::Arguments;
pub use error::Error;
pub use fault_plan::{Challenges, FaultKind, FaultPlan, Operation, Outage, OutageAnswer, Rule};
pub use simulator::{Options, Simulator};
