//! The promises of the platform: the real program, real PostgreSQL, real HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

mod cancels;
mod charges_once;
mod crash_points;
mod explains_refusals;
mod fences_zombies;
mod never_oversells;
mod places_an_order;
mod planted_bugs;
mod receives_stock;
mod refuses_bad_commands;
mod refuses_bad_input;
mod survives_kill;
mod survives_the_database;
mod tidy;
mod undoes_everything;
mod unsticks;
