//! The engine's promises, against real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod script;
mod stock;

mod batches;
mod cancels;
mod crash_points;
mod examines;
mod joins;
mod keeps_nul;
mod owns_shards;
mod panics;
mod parks;
mod pauses;
mod pivots;
mod resolves;
mod rests;
mod retries;
mod runs_sagas;
mod shares_commits;
mod survives_the_database;
mod sweeps_faults;
mod waits;
