//! Durable sagas on PostgreSQL. No HTTP, no orders.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

// What an author sees.
pub mod activity;
pub mod failure;
pub mod retry;
pub mod saga;
pub mod workflow;
// The rules: pure, no clock, no database.
pub mod decide;
pub mod event;
pub mod journal;
pub mod plan;
pub mod state;
// The only SQL on schema saga.
pub mod checkup;
pub mod error;
pub mod gather;
pub mod schema;
pub mod store;
// What runs.
mod batch;
mod boundary;
mod clock;
mod driver;
pub mod engine;
pub mod handler;
mod housekeeper;
mod hub;
mod inbox;
mod lane;
mod lease;
mod listener;
mod metrics;
mod node;
mod ownership;
mod problem;
mod program;
mod read_again;
mod shard;
mod suspects;
mod timekeeper;
// How others talk to it.
pub mod client;
pub mod operator;
mod summary;
pub mod view;
mod why;
// How a workflow is tested, and the engine itself.
mod planted;
mod poison;
#[cfg(feature = "testing")]
pub mod testing;
// Names and values.
pub mod id;
pub mod payload;

pub use activity::{
    Activity, Attempt, Call, ForwardOnly, NoUndo, Outcome, Probe, Undo, Undoable, WithoutUndo,
};
pub use client::Client;
pub use clock::now;
pub use engine::{Engine, LEASE_TTL, Settings, migrate};
pub use failure::{Failure, Rejection, Trouble, UndoFailure, reject, reject_with, unknown};
pub use id::{SagaId, ShardId};
pub use operator::Operator;
pub use payload::Payload;
pub use program::Registry;
pub use retry::RetryPolicy;
pub use saga::{Abort, Forward, Saga};
pub use workflow::{Provides, Workflow};
