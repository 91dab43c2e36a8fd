//! The doors: the HTTP toolkit, the operator API and the command line. No SQL, no orders.
#![doc = include_str!("../README.md")]

// Who may, and what is said when not.
pub mod auth;
pub mod problem;
pub mod request_id;
pub mod routes;
// What a request carries.
pub mod body;
pub mod etag;
pub mod idempotency;
pub mod prefer;
// The doors.
pub mod app;
pub mod config;
pub mod health;
pub mod limits;
pub mod listen;
// What operators do through them.
pub mod api;
pub mod cli;
pub mod operations;

pub use app::Doors;
pub use auth::{Caller, Customer, Gate, Role};
pub use problem::Problem;
pub use routes::{Access, Routes};
